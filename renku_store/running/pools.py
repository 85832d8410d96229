"""A pool of things that are dear to make and can be used again: browser pages, connections, loaded models."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from contextlib import asynccontextmanager
from types import TracebackType
from typing import Any, Generic, Self, TypeVar

from renku_store.errors import StoreUnavailableError
from renku_store.finishing import to_the_end
from renku_store.running.concurrency import ConcurrencyLimiter

R = TypeVar("R")


async def _leave(resource: object) -> None:
    del resource


async def _is_fine(resource: object) -> bool:
    del resource
    return True


class ResourcePool(Generic[R]):
    """At most `size` resources, made when they are first needed, lent to one user at a time, closed at the end.

    `create` makes one; `close` ends it; `healthy` is asked before one is lent again. One that is not, or whose use
    ended in an error, is closed and replaced: nobody gets what another has broken. Use as an async context manager, or
    call `close`. For one event loop.
    """

    def __init__(
        self,
        size: int,
        create: Callable[[], Awaitable[R]],
        *,
        close: Callable[[R], Coroutine[Any, Any, None]] = _leave,
        healthy: Callable[[R], Awaitable[bool]] = _is_fine,
    ) -> None:
        self._slots = ConcurrencyLimiter(size)
        self._create = create
        self._end = close
        self._healthy = healthy
        self._idle: list[R] = []
        self._closed = False

    @property
    def idle(self) -> int:
        """Resources that are there and lent to nobody."""
        return len(self._idle)

    @asynccontextmanager
    async def use(self, priority: float = 0.0) -> AsyncIterator[R]:
        """Have a resource for the length of a block; the one that was given back last is lent first.

        Raises `StoreUnavailableError` for a pool that was closed, and whatever `create` raises.
        """
        async with self._slots.slot(priority):
            resource = await self._take()
            try:
                yield resource
            except BaseException:
                await to_the_end(self._end(resource))
                raise
            if self._closed:
                await to_the_end(self._end(resource))
            else:
                self._idle.append(resource)

    async def close(self) -> None:
        """Close what is idle; what is in use is closed when it is given back. Every error is raised at the end."""
        self._closed = True
        idle, self._idle = self._idle, []
        ended = await asyncio.gather(*map(self._end, idle), return_exceptions=True)
        errors = [error for error in ended if isinstance(error, Exception)]
        if errors:
            raise errors[0] if len(errors) == 1 else ExceptionGroup("resources that could not be closed", errors)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self.close()

    async def _take(self) -> R:
        while self._idle and not self._closed:
            resource = self._idle.pop()
            try:
                healthy = await self._healthy(resource)
            except BaseException:
                await to_the_end(self._end(resource))
                raise
            if healthy:
                return resource
            _, cancelled = await to_the_end(self._end(resource))
            if cancelled:
                raise asyncio.CancelledError
        if self._closed:
            raise StoreUnavailableError("The pool of resources was closed.", hint="Keep it open as long as it is used.")
        return await self._create()
