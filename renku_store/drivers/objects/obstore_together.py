"""Large objects fetched side by side by one thread: each reply is put together where the library's own threads get it.

A thread for each reply is woken for every piece that comes, which takes longer than what it does with it.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Iterable
from typing import TYPE_CHECKING, Final, TypeAlias

import obstore
from obstore.exceptions import BaseError

if TYPE_CHECKING:
    from obstore.store import S3Store

Fetching: TypeAlias = "asyncio.Task[tuple[str, obstore.Bytes | None]]"
_FAILURES: Final = (BaseError, OSError, ValueError)


class Together:
    """Whole objects of a bucket; for one thread, in which no event loop runs. Each is asked for once.

    What has begun goes on while nobody waits for it. Close it at the end.
    """

    def __init__(self, store: S3Store) -> None:
        self._store = store
        self._loop = asyncio.new_event_loop()
        self._under_way: set[Fetching] = set()
        self._ended: deque[Fetching] = deque()
        self._waiter: asyncio.Future[None] | None = None

    def begin(self, keys: Iterable[str]) -> None:
        """Ask for objects; this thread does not wait."""
        new = [self._loop.create_task(self._fetch(key)) for key in keys]
        for task in new:
            self._under_way.add(task)
            task.add_done_callback(self._note)
        if new:
            self._loop.run_until_complete(asyncio.sleep(0))

    def next(self) -> tuple[str, bytes | None] | None:
        """The key and the bytes of one that came, after waiting for it; None where nothing is under way.

        In place of the bytes of one that is not there, or could not be had at once: None.
        """
        if not self._ended:
            if not self._under_way:
                return None
            self._loop.run_until_complete(self._wait())
        key, data = self._ended.popleft().result()
        return key, None if data is None else data.to_bytes()

    def close(self) -> None:
        """Give up what is under way."""
        for task in self._under_way:
            task.cancel()
        if self._under_way:
            self._loop.run_until_complete(asyncio.gather(*self._under_way, return_exceptions=True))
        self._loop.close()

    async def _fetch(self, key: str) -> tuple[str, obstore.Bytes | None]:
        try:
            found = await obstore.get_async(self._store, key)
            size = found.meta["size"]
            data = await found.bytes_async()
        except _FAILURES:
            return key, None
        return key, data if len(data) == size else None

    async def _wait(self) -> None:
        if not self._ended:  # one may have come before this began
            self._waiter = self._loop.create_future()
            await self._waiter

    def _note(self, task: Fetching) -> None:
        self._under_way.discard(task)
        self._ended.append(task)
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)


def in_event_loop() -> bool:
    """Whether an event loop runs in this thread."""
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return False
    return True
