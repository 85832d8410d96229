"""How many calls of a key may go on at once, found out while they go: more while it is used, half after an overload.

Source: additive increase, multiplicative decrease (Chiu and Jain, 1989), as in TCP's congestion avoidance.
"""

from __future__ import annotations

import threading
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final

from renku_store.errors import InvalidValueError
from renku_store.running.concurrency import ConcurrencyLimiter

_DECREASE: Final = 0.5


class AdaptiveLimiter:
    """A limit between `minimum` and `maximum` that begins at `start`.

    It grows by one for each `limit` calls that end well while every slot is in use: a limit that nobody reaches says
    nothing. It is halved when a provider says that it is too much; calls that had begun before that count no more, so
    that one burst of refusals is one decrease.
    """

    def __init__(self, start: int = 4, *, minimum: int = 1, maximum: int = 64) -> None:
        if not 1 <= minimum <= start <= maximum:
            raise InvalidValueError(
                f"The limits {minimum} <= {start} <= {maximum} are not in order.", hint="Give 1 <= minimum <= start."
            )
        self._minimum = minimum
        self._maximum = maximum
        self._exact = float(start)
        self._slots = ConcurrencyLimiter(start)
        self._decreases = 0
        self._lock = threading.RLock()

    @property
    def limit(self) -> int:
        """Slots there are now."""
        return self._slots.limit

    @property
    def used(self) -> int:
        """Slots that are held now."""
        return self._slots.used

    @property
    def waiting(self) -> int:
        """Those who wait for a slot."""
        return self._slots.waiting

    @property
    def slots(self) -> ConcurrencyLimiter:
        """Where the slots are taken: for who waits in a way of their own, and says `begun` then."""
        return self._slots

    @asynccontextmanager
    async def slot(self, priority: float = 0.0, weight: int = 1) -> AsyncIterator[AdaptiveCall]:
        """Hold `weight` slots for the length of a call, which says how it went."""
        call = await self.begin(priority, weight)
        try:
            yield call
        finally:
            call.end()

    async def begin(self, priority: float = 0.0, weight: int = 1) -> AdaptiveCall:
        """Wait for slots; the call that has them must come to its `end`."""
        await self._slots.acquire(priority, weight)
        return self.begun(weight)

    def begun(self, weight: int = 1) -> AdaptiveCall:
        """A call begins that has taken its slots; it must come to its `end`."""
        return AdaptiveCall(self, self._decreases, weight)

    def succeeded(self) -> None:
        """A call ended well: grow, if all slots were in use."""
        with self._lock:
            if self._slots.used >= self._slots.limit:
                self._set(min(float(self._maximum), self._exact + 1 / self._exact))

    def overloaded(self, decreases_before: int) -> None:
        """A call was refused that had begun after so many decreases."""
        with self._lock:
            if decreases_before == self._decreases:
                self._decreases += 1
                self._set(max(float(self._minimum), self._exact * _DECREASE))

    def _set(self, exact: float) -> None:
        self._exact = exact
        if int(exact) != self._slots.limit:
            self._slots.resize(max(self._minimum, int(exact)))


class AdaptiveCall:
    """One call under an adaptive limit; tell how it went before its slot is given back."""

    def __init__(self, limiter: AdaptiveLimiter, decreases_before: int, weight: int) -> None:
        self._limiter = limiter
        self._decreases_before = decreases_before
        self._weight = weight

    def succeeded(self) -> None:
        """It ended well."""
        self._limiter.succeeded()

    def overloaded(self) -> None:
        """The provider said that it was too much."""
        self._limiter.overloaded(self._decreases_before)

    def end(self) -> None:
        """It is over: its slots are another's."""
        self._limiter.slots.release(self._weight)
