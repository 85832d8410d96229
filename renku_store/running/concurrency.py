"""How many calls go on at once: reading the setting, and handing the slots out."""

from __future__ import annotations

import asyncio
import heapq
import os
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from renku_store import bounds
from renku_store.errors import InvalidValueError

_PERCENT = re.compile(r"(\d{1,4}(?:\.\d+)?)\s*%")


def processors() -> int:
    """The processors that this process may use, at least 1."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def resolve_concurrency(setting: int | str, *, cpus: int | None = None) -> int:
    """The number of calls at once that a setting means: `8`, `"50%"` of the processors, or `"auto"`.

    Percentages round half up and are at least 1; `auto` is half of the processors, from 1 to 8. `cpus` defaults to
    those that this process may use. Raises `InvalidValueError` for anything else.
    """
    count = processors() if cpus is None else cpus
    text = "" if isinstance(setting, bool) else str(setting).strip().lower()
    if text == "auto":
        return max(1, min(bounds.CONCURRENCY_AUTO_MAX, count // 2))
    if match := _PERCENT.fullmatch(text):
        share = float(match[1])
        if share > 0:
            return min(bounds.CONCURRENCY_MAX, max(1, int(count * share / 100 + 0.5)))
    elif text.isascii() and text.isdigit() and 1 <= int(text) <= bounds.CONCURRENCY_MAX:
        return int(text)
    raise InvalidValueError(
        f"The concurrency {setting!r} is not allowed.",
        hint=f"Use a number from 1 to {bounds.CONCURRENCY_MAX}, a percentage of the processors such as 50%, or auto.",
    )


class ConcurrencyLimiter:
    """At most `limit` holders at once; the highest priority first, first come first served within it.

    A slot is handed over inside `release`, so that a late-comer can never take it from under a waiter; a waiter that is
    cancelled after the slot was handed to it passes it on.
    """

    def __init__(self, limit: int) -> None:
        if limit < 1:
            raise InvalidValueError(f"A limit of {limit} would let nobody in.", hint="Use 1 or more.")
        self.limit = limit
        self._free = limit
        self._waiting: list[tuple[float, int, asyncio.Future[None]]] = []
        self._arrivals = 0

    @property
    def used(self) -> int:
        """Slots that are held now."""
        return self.limit - self._free

    @property
    def waiting(self) -> int:
        """Those who wait and have not been handed a slot yet."""
        return sum(not future.done() for _, _, future in self._waiting)

    async def acquire(self, priority: float = 0.0) -> None:
        """Wait for a slot; higher `priority` goes first."""
        if self._free:
            self._free -= 1
            return
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._arrivals += 1
        heapq.heappush(self._waiting, (-priority, self._arrivals, future))
        try:
            await future
        except asyncio.CancelledError:
            if future.done() and not future.cancelled():
                self.release()
            raise

    def release(self) -> None:
        """Give a slot back: to the first who waits, else to the free ones."""
        while self._waiting:
            future = heapq.heappop(self._waiting)[2]
            if not future.done():
                future.set_result(None)
                return
        self._free += 1

    @asynccontextmanager
    async def slot(self, priority: float = 0.0) -> AsyncIterator[None]:
        """Hold a slot for the length of a block."""
        await self.acquire(priority)
        try:
            yield
        finally:
            self.release()
