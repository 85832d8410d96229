"""Warm starts: what a provider needs before its first call, once for each handler and event loop, beside other work."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Protocol, TypeVar, cast

from renku_store.calls import Produce
from renku_store.errors import ProducerError, StoreError
from renku_store.records.graph import GraphNode

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class WarmStart:
    """What a handler is told: the nodes that it is to make, as far as they are known, where secrets come from, a log.

    Nothing of it may decide about a result.
    """

    nodes: Sequence[GraphNode]
    secret: Callable[[str], str]
    logger: logging.Logger


class Warmable(Protocol):
    """A handler, or the object whose method it is, that wants to prepare itself. `close`, if it has one, is the end."""

    async def warm_start(self, warm: WarmStart) -> None:
        """Load, connect, look up: what all calls share. An error is the failure of each job of this handler."""
        ...


class Warming:
    """The warm starts of one registry. `clean` makes an error fit to be told."""

    def __init__(
        self, secret: Callable[[str], str], logger: logging.Logger, clean: Callable[[Exception], Exception]
    ) -> None:
        self._secret = secret
        self._logger = logger
        self._clean = clean
        self._started: dict[tuple[int, asyncio.AbstractEventLoop], tuple[object, asyncio.Task[None]]] = {}
        self._used: dict[tuple[int, asyncio.AbstractEventLoop], object] = {}

    def begin_all(self, wanted: Iterable[tuple[Produce, Sequence[GraphNode]]]) -> None:
        """Begin the warm start of each handler, which is told of all nodes that it, or another method of it, makes."""
        groups: dict[int, tuple[Produce, list[GraphNode]]] = {}
        for handler, nodes in wanted:
            groups.setdefault(id(_subject(handler)), (handler, []))[1].extend(nodes)
        for handler, nodes in groups.values():
            self.begin(handler, nodes)

    def begin(self, handler: Produce, nodes: Sequence[GraphNode] = ()) -> asyncio.Task[None] | None:
        """Begin the warm start of a handler, unless this event loop has; None for one that has none."""
        subject = _subject(handler)
        loop = asyncio.get_running_loop()
        if (id(subject), loop) not in self._used:
            for key in [key for key in list(self._used) if key[0] == id(subject) and key[1].is_closed()]:
                self._used.pop(key, None)
                self._started.pop(key, None)
            self._used[id(subject), loop] = subject
        warm_start = getattr(subject, "warm_start", None)
        if warm_start is None:
            return None
        _, task = self._started.get((id(subject), loop), (None, None))
        if task is None or _may_try_again(task):
            warm = WarmStart(tuple(nodes), self._secret, self._logger)
            task = loop.create_task(self._run(cast("Warmable", subject), warm))
            task.add_done_callback(_look)
            self._started[id(subject), loop] = subject, task
        return task

    async def ready(self, handler: Produce) -> None:
        """Wait until a handler is warm; raises what its warm start has raised."""
        task = self.begin(handler)
        if task is None:
            return
        await asyncio.wait([task])
        error = None if task.cancelled() else task.exception()
        if task.cancelled():
            raise ProducerError("The warm start was given up.", retryable=True)
        if isinstance(error, ProducerError):
            # Each job has an error of its own: what wrappers note in one is not the others'.
            raise ProducerError(
                error.message, hint=error.hint, retryable=error.retryable, diagnostics=error.diagnostics
            ) from None
        if error is not None:
            raise error

    async def close(self) -> None:
        """Give up warm starts that go on, and close every handler that was used and can be closed; again is no harm.

        All of that in this event loop, and in those that are closed: another one does so itself.
        """
        here = asyncio.get_running_loop()
        started, used = _taken(self._started, here), {id(subject): subject for subject in _taken(self._used, here)}
        tasks = [task for _, task in started if task.get_loop() is here]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        closing = [close() for subject in used.values() if (close := getattr(subject, "close", None)) is not None]
        ended = await asyncio.gather(*closing, return_exceptions=True)
        for error in ended:
            if isinstance(error, Exception):
                self._logger.warning("A handler could not be closed: %s", self._clean(error))

    async def _run(self, subject: Warmable, warm: WarmStart) -> None:
        try:
            await subject.warm_start(warm)
        except Exception as error:  # noqa: BLE001 (the code of a handler: a failure of its jobs)
            cleaned = self._clean(error)
            if isinstance(cleaned, StoreError):
                raise cleaned from None
            raise ProducerError(
                f"The warm start failed: {type(cleaned).__name__}: {cleaned}",
                retryable=isinstance(cleaned, ConnectionError | TimeoutError),
            ) from None


def _subject(handler: Produce) -> object:
    """The object that is warmed: the handler, or, of a bound method, its object."""
    return handler if hasattr(handler, "warm_start") else getattr(handler, "__self__", handler)


def _taken(held: dict[tuple[int, asyncio.AbstractEventLoop], T], loop: asyncio.AbstractEventLoop) -> list[T]:
    """What is of this event loop, or of one that is closed; it is no longer held then."""
    found = (held.pop(key, None) for key in list(held) if key[1] is loop or key[1].is_closed())
    return [one for one in found if one is not None]


def _may_try_again(task: asyncio.Task[None]) -> bool:
    if not task.done():
        return False
    return task.cancelled() or bool(getattr(task.exception(), "retryable", False))


def _look(task: asyncio.Task[None]) -> None:
    """Look at how a task ended, so that asyncio does not complain where no job asks."""
    if not task.cancelled():
        task.exception()
