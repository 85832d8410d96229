"""Large objects fetched side by side by one thread: each reply is put together where the library's own threads get it.

A thread for each reply is woken for every piece that comes, which takes longer than what it does with it. No event loop
runs here, which the exception of a signal handler (Ctrl-C) could leave with half a step done, and which would wait for
the other half when it is closed: the library's replies are taken from a queue, and to give them up waits for nothing.
"""

from __future__ import annotations

import asyncio
import os
import queue
from asyncio.events import _get_running_loop, _set_running_loop
from collections import deque
from collections.abc import Awaitable, Callable, Generator, Iterable
from functools import partial
from typing import TYPE_CHECKING, Any, Final, TypeAlias, cast

import obstore
from obstore.exceptions import BaseError

from renku_store.drivers.objects.obstore_threads import check_process

if TYPE_CHECKING:
    from obstore.store import S3Store

Fetching: TypeAlias = "Generator[asyncio.Future[Any] | None, None, tuple[str, obstore.Bytes | None]]"
"""One object on its way: it gives what it waits for, and ends with the key and the bytes."""
_FAILURES: Final = (BaseError, OSError, ValueError)


class Together:
    """Whole objects of a bucket; for one thread. Each is asked for once.

    What has begun goes on while nobody waits for it. Close it at the end.
    """

    def __init__(self, store: S3Store) -> None:
        self._store = store
        self._process = os.getpid()
        self._calls = _Calls()
        self._under_way: dict[Fetching, asyncio.Future[Any] | None] = {}
        self._ended: deque[tuple[str, obstore.Bytes | None]] = deque()

    def begin(self, keys: Iterable[str]) -> None:
        """Ask for objects; this thread does not wait."""
        check_process()
        for key in keys:
            fetching = self._fetch(key)
            self._under_way[fetching] = None
            self._go_on(fetching)

    def next(self) -> tuple[str, bytes | None] | None:
        """The key and the bytes of one that came, after waiting for it; None where nothing is under way.

        In place of the bytes of one that is not there, or could not be had at once: None.
        """
        check_process()
        while not self._ended:
            if not self._under_way:
                return None
            self._calls.take()
        key, data = self._ended.popleft()
        return key, None if data is None else data.to_bytes()

    def close(self) -> None:
        """Give up what is under way, without waiting."""
        if self._process != os.getpid():
            return  # the parent's requests are not ours to give up, and whom to tell has no thread here
        under_way, self._under_way = self._under_way, {}
        for future in under_way.values():
            if future is not None:
                future.cancel()
        self._calls.close()

    def _fetch(self, key: str) -> Fetching:
        try:
            found = yield from _result(obstore.get_async(self._store, key))
            size = found.meta["size"]
            data = yield from _result(found.bytes_async())
        except _FAILURES:
            return key, None
        return key, data if len(data) == size else None

    def _go_on(self, fetching: Fetching, _came: object = None) -> None:
        """Let one come as far as it does without waiting."""
        if fetching not in self._under_way:
            return  # it was given up
        outer = _get_running_loop()
        try:
            _set_running_loop(self._calls.loop)  # the library asks for it, to know where to reply
            future = next(fetching)
        except StopIteration as end:
            del self._under_way[fetching]
            self._ended.append(end.value)
            return
        finally:
            _set_running_loop(outer)
        self._under_way[fetching] = future
        if future is None:
            self._calls.call_soon(self._go_on, fetching)
        else:
            future.add_done_callback(partial(self._go_on, fetching))


class _Calls:
    """What futures need of an event loop: calls wait in a queue, from any thread, until its owner takes them."""

    def __init__(self) -> None:
        self._waiting: queue.SimpleQueue[tuple[Callable[..., object], tuple[Any, ...]]] = queue.SimpleQueue()
        self._closed = False

    @property
    def loop(self) -> asyncio.AbstractEventLoop:
        """This, as what asks for an event loop takes it."""
        return cast("asyncio.AbstractEventLoop", self)

    def take(self) -> None:
        """Wait for a call, and do it."""
        callback, arguments = self._waiting.get()
        callback(*arguments)

    def close(self) -> None:
        """Do what waits, by which the library hears what was given up; what comes later is forgotten."""
        self._closed = True
        while not self._waiting.empty():
            self.take()

    def call_soon(self, callback: Callable[..., object], *args: Any, context: object = None) -> None:  # noqa: ARG002
        """Let something be called when the owner takes it."""
        self._waiting.put((callback, args))

    def call_soon_threadsafe(
        self,
        callback: Callable[..., object],
        *args: Any,
        context: object = None,  # noqa: ARG002
    ) -> Any:
        """The same, from threads of the library."""
        if not self._closed:
            self._waiting.put((callback, args))

    def create_future(self) -> asyncio.Future[Any]:
        """Something to wait for."""
        return asyncio.Future(loop=self.loop)

    def call_exception_handler(self, context: dict[str, Any]) -> None:
        """Nothing: the error of a reply that nobody waits for any more is of no interest."""

    def get_debug(self) -> bool:
        """No."""
        return False

    def is_closed(self) -> bool:
        """Whether its owner takes no more."""
        return self._closed


def _result(awaitable: Awaitable[Any]) -> Generator[Any, Any, Any]:
    return awaitable.__await__()
