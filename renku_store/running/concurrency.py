"""How many calls go on at once: handing the slots out."""

from __future__ import annotations

import asyncio
import heapq
import math
import threading
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Self

from renku_store.errors import InvalidValueError


@dataclass(slots=True, eq=False)
class _Waiter:
    """One who waits for slots. Under the lock of the limiter, either is said once: they are its own, or it has left."""

    weight: int
    future: asyncio.Future[None]
    thread: int = field(default_factory=threading.get_ident)
    served: bool = False
    left: bool = False

    @property
    def waits(self) -> bool:
        """Whether it has not been served, and has not left, as far as can be seen from this thread."""
        return not (self.served or self.left or self.future.done())

    def serve(self) -> None:
        """Let it have what it waits for; it hears of it in its own event loop. Not where that loop was closed."""
        try:
            if self.thread == threading.get_ident():
                self.future.set_result(None)
            else:
                self.future.get_loop().call_soon_threadsafe(self._hear)
        except RuntimeError:
            return
        self.served = True

    def _hear(self) -> None:
        if not self.future.done():
            self.future.set_result(None)


class ConcurrencyLimiter:
    """At most `limit` slots at once; the highest priority first, first come first served within it.

    A slot is handed over inside `release`, so that a late-comer can never take it from under a waiter; a waiter that is
    cancelled after the slot was handed to it passes it on. Who asks for several slots (`weight`) gets them together and
    holds up those behind: heavy ones do not starve. One that asks for more than there are goes alone. Tasks of several
    event loops, in threads of their own, may share one.
    """

    def __init__(self, limit: int) -> None:
        self._limit = _checked(limit)
        self._used = 0
        self._waiting: list[tuple[float, int, _Waiter]] = []
        self._arrivals = 0
        self._lock = threading.RLock()  # may be entered anew: a call that is collected as garbage gives its slot back

    @property
    def limit(self) -> int:
        """Slots there are."""
        return self._limit

    @property
    def used(self) -> int:
        """Slots that are held now; more than `limit` for a while after that was lowered."""
        return self._used

    @property
    def waiting(self) -> int:
        """Those who wait and have not been handed a slot yet."""
        with self._lock:
            return sum(waiter.waits for _, _, waiter in self._waiting)

    @property
    def first(self) -> float:
        """The priority of who is next to be handed a slot; -inf where nobody waits."""
        with self._lock:
            return -min((negative for negative, _, waiter in self._waiting if waiter.waits), default=math.inf)

    def resize(self, limit: int) -> None:
        """Change the limit: who has a slot keeps it, who waits gets those that are new."""
        with self._lock:
            self._limit = _checked(limit)
            self._hand_out()

    def try_acquire(self, weight: int = 1) -> bool:
        """Take `weight` slots if they are free and nobody waits for any."""
        with self._lock:
            if not self._fits(weight) or any(waiter.waits for _, _, waiter in self._waiting):
                return False
            self._used += weight
            return True

    async def acquire(self, priority: float = 0.0, weight: int = 1) -> None:
        """Wait for `weight` slots; higher `priority` goes first."""
        with self._lock:
            if self.try_acquire(weight):
                return
            waiter = _Waiter(weight, asyncio.get_running_loop().create_future())
            self._arrivals += 1
            heapq.heappush(self._waiting, (-priority, self._arrivals, waiter))
            # Whoever goes before a heavy one that does not fit may fit: there is no release to wait for.
            self._hand_out()
        try:
            await waiter.future
        except BaseException:
            with self._lock:
                waiter.left = True
                self._used -= weight if waiter.served else 0
                self._hand_out()
            raise

    def release(self, weight: int = 1) -> None:
        """Give slots back, to the first who wait for them."""
        with self._lock:
            self._used -= weight
            self._hand_out()

    @asynccontextmanager
    async def slot(self, priority: float = 0.0, weight: int = 1) -> AsyncIterator[None]:
        """Hold slots for the length of a block."""
        await self.acquire(priority, weight)
        try:
            yield
        finally:
            self.release(weight)

    def held(self, priority: float = 0.0) -> HeldSlot:
        """Hold a slot, for the length of a block (`async with`), that can be lent to others for a while."""
        return HeldSlot(self, priority)

    def _fits(self, weight: int) -> bool:
        return self._used == 0 or self._used + weight <= self._limit

    def _hand_out(self) -> None:
        while self._waiting:
            _, _, waiter = self._waiting[0]
            if waiter.waits and not self._fits(waiter.weight):
                return
            heapq.heappop(self._waiting)
            if waiter.waits:
                self._used += waiter.weight
                waiter.serve()
                self._used -= 0 if waiter.served else waiter.weight


class HeldSlot:
    """A slot of a `ConcurrencyLimiter`, as its holder has it, in one event loop."""

    __slots__ = ("_ended", "_held", "_lent", "_limiter", "_priority", "_taking")

    def __init__(self, limiter: ConcurrencyLimiter, priority: float) -> None:
        self._limiter = limiter
        self._priority = priority
        self._held = False
        self._lent = 0
        self._ended = False
        self._taking: asyncio.Lock | None = None

    @property
    def priority(self) -> float:
        """The priority that it was taken with."""
        return self._priority

    @property
    def limiter(self) -> ConcurrencyLimiter:
        """Whose slot it is."""
        return self._limiter

    async def take(self) -> None:
        """Wait for the slot, the first time."""
        await self._limiter.acquire(self._priority)
        self._held = True

    async def __aenter__(self) -> Self:
        await self.take()
        return self

    async def __aexit__(self, *_: object) -> None:
        self.end()

    def give(self) -> None:
        """Give the slot back, if it is held."""
        if self._held:
            self._held = False
            self._limiter.release()

    def hand_over(self) -> Callable[[], None]:
        """Leave the slot to the caller, who gives it back by calling what this gives."""
        was_held, self._held, self._ended = self._held, False, True
        return self._limiter.release if was_held else _nothing

    def end(self) -> None:
        """Give the slot back for good: who still lends it does not take it again."""
        self._ended = True
        self.give()

    @asynccontextmanager
    async def lent(self) -> AsyncIterator[None]:
        """Let others have the slot for the length of a block, and wait for one again at its end.

        Who comes back goes before all who begin: it may hold what others wait for.
        """
        self._lent += 1
        self.give()
        try:
            yield
        finally:
            self._lent -= 1
        if not self._lent:
            await self._take(math.inf)

    async def _take(self, priority: float) -> None:
        self._taking = self._taking or asyncio.Lock()
        async with self._taking:  # one for all: a second one would wait for the slot that the first has got
            if self._held:
                return
            await self._limiter.acquire(priority)
            if self._lent or self._ended:  # meanwhile: lent anew, or given back for good
                self._limiter.release()
            else:
                self._held = True


def _nothing() -> None:
    pass


def _checked(limit: int) -> int:
    if isinstance(limit, bool) or not isinstance(limit, int):
        raise InvalidValueError(f"A limit of {limit!r} calls at once cannot be.", hint="Use a whole number from 1.")
    if limit < 1:
        raise InvalidValueError(f"A limit of {limit} would let nobody in.", hint="Use 1 or more.")
    return limit
