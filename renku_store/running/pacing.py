"""When a call may start: a sliding window, a minimum spacing, a reservoir, and pauses that a provider asks for.

First come, first served within a priority, whatever the weights: whoever is first waits until there is room for it, and
the others wait behind. Time is the event loop's.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

from renku_store import bounds
from renku_store.errors import InvalidValueError
from renku_store.running.concurrency import ConcurrencyLimiter


@dataclass(frozen=True, slots=True, eq=False)
class Start:
    """A call that was counted as starting `at` a moment of the event loop, with its weight."""

    at: float
    weight: int


@dataclass(slots=True)
class Pause:
    """Until when nobody may start, as a moment of the event loop. Several pacers may share one."""

    until: float = 0.0


class Pacer:
    """Lets calls start at a bounded rate; safe to use from many tasks of one event loop.

    - `limit` per `period_seconds`: in no window of that length do more calls start (their weights added up).
    - `spacing_seconds`: between two starts.
    - `reservoir`: that many may start at once, then one for each `refill_seconds`: evenly, not at the edge of a window.

    `hold` keeps everybody waiting, as a provider's Retry-After asks. `turn` is all of it in one; who must be let in by
    several pacers at once waits in the `queue` of each, until the `delay` of none is above 0, and then tells each to
    `count`. Who does so under a lock may share them with other threads. Raises `InvalidValueError` for limits that let
    nobody in.
    """

    def __init__(
        self,
        limit: int | None = None,
        period_seconds: float = 1.0,
        *,
        spacing_seconds: float = 0.0,
        reservoir: int | None = None,
        refill_seconds: float = 0.0,
        pause: Pause | None = None,
    ) -> None:
        for name, number in (("limit", limit), ("reservoir", reservoir)):
            if number is not None and number < 1:
                raise InvalidValueError(f"A {name} of {number} would let nobody in.", hint="Use 1 or more.")
        if period_seconds <= 0 or spacing_seconds < 0 or (reservoir is not None and refill_seconds <= 0):
            raise InvalidValueError("A rate needs times above 0.", hint="Give seconds, such as 60 for a minute.")
        self._limit = limit
        self._period = period_seconds
        self._spacing = spacing_seconds
        self._reservoir = reservoir
        self._refill = refill_seconds
        self._level = float(reservoir or 0)
        self._filled_at: float | None = None
        self._starts: deque[Start] = deque()
        self._pause = pause or Pause()
        self._queue = ConcurrencyLimiter(1)

    @property
    def waiting(self) -> int:
        """Those who wait for their turn."""
        return self._queue.used + self._queue.waiting

    async def turn(self, weight: int = 1, priority: float = 0.0) -> Start:
        """Wait until a call of this weight may start, and count it; higher `priority` goes first.

        A start that comes to nothing is given back by `forget`. Raises `InvalidValueError` for a weight that no window
        or reservoir could ever let in.
        """
        self.check(weight)
        async with self.queue(priority):
            # A pause may be asked for, or grow, while we sleep.
            while (delay := self.delay(weight)) > 0:  # noqa: ASYNC110 (time is what is waited for)
                await asyncio.sleep(delay)
            return self.count(weight)

    def hold(self, seconds: float) -> None:
        """Let nobody start for so many seconds from now; a longer pause that was asked for before stays.

        At most `bounds.RETRY_AFTER_MAX_SECONDS`: nobody who waits could tell a longer one from a mistake.
        """
        wanted = min(seconds, bounds.RETRY_AFTER_MAX_SECONDS) if seconds >= 0 else 0.0
        self._pause.until = max(self._pause.until, _now() + wanted)

    @asynccontextmanager
    async def queue(self, priority: float = 0.0) -> AsyncIterator[None]:
        """Be the first of those who wait, for the length of a block."""
        async with self._queue.slot(priority):
            yield

    def check(self, weight: int) -> None:
        """Raise `InvalidValueError` for a weight that no window or reservoir could ever let in."""
        for room in (self._limit, self._reservoir):
            if weight < 1 or (room is not None and weight > room):
                raise InvalidValueError(
                    f"A call of weight {weight} can never start: there is room for {room}.",
                    hint="Lower its weight or raise the limit.",
                )

    def delay(self, weight: int = 1) -> float:
        """Seconds until a call of this weight may start; 0 if it may start now."""
        now = _now()
        ready = max(self._pause.until, self._starts[-1].at + self._spacing if self._starts else 0.0)
        if self._limit is not None:
            ready = max(ready, self._window_has_room(now, weight, self._limit))
        if self._reservoir is not None:
            lacking = weight - self._filled(now)
            ready = max(ready, now + lacking * self._refill if lacking > 0 else 0.0)
        return max(0.0, ready - now)

    def count(self, weight: int = 1) -> Start:
        """Note that a call starts now."""
        start = Start(_now(), weight)
        self._filled(start.at)
        self._level -= weight
        self._starts.append(start)
        if self._limit is None and len(self._starts) > 1:
            self._starts.popleft()
        return start

    def forget(self, start: Start) -> None:
        """Take back what was counted: the call has not started."""
        if start in self._starts:
            self._starts.remove(start)
        self._filled(_now())
        self._level = min(float(self._reservoir or 0), self._level + start.weight)

    def _window_has_room(self, now: float, weight: int, limit: int) -> float:
        """The moment at which enough of the last period's calls have left the window."""
        while len(self._starts) > 1 and self._starts[0].at + self._period <= now:
            self._starts.popleft()
        recent = [start for start in self._starts if start.at + self._period > now]
        excess = sum(start.weight for start in recent) + weight - limit
        for start in recent:
            if excess <= 0:
                break
            excess -= start.weight
            if excess <= 0:
                return start.at + self._period
        return now

    def _filled(self, now: float) -> float:
        if self._filled_at is not None and self._reservoir is not None:
            self._level = min(float(self._reservoir), self._level + (now - self._filled_at) / self._refill)
        self._filled_at = now
        return self._level


def _now() -> float:
    return asyncio.get_running_loop().time()
