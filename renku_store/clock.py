"""Time as a value that is handed in, so that tests own it; and ids that sort as time does."""

from __future__ import annotations

import re
import threading
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Final, Protocol

from renku_store import bounds

_RANDOM_BITS: Final = 74
_TAIL_BITS: Final = 62
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_UUID7: Final = re.compile(r"([0-9a-f]{8})-([0-9a-f]{4})-7.*")


class Clock(Protocol):
    """What the store and the runner ask of a clock."""

    def now(self) -> datetime:
        """The time of day, aware, in UTC."""
        ...

    def monotonic(self) -> float:
        """Seconds that never go back, for durations."""
        ...


class SystemClock:
    """The clock of this machine."""

    def now(self) -> datetime:
        """The time of day, aware, in UTC."""
        return datetime.now(UTC)

    def monotonic(self) -> float:
        """Seconds that never go back, for durations."""
        return time.monotonic()


def timestamp(moment: datetime) -> str:
    """ISO 8601 in UTC with milliseconds and `Z`: of fixed width, so that text order is time order."""
    return moment.astimezone(UTC).replace(tzinfo=None).isoformat(timespec="milliseconds") + "Z"


def unix_milliseconds(moment: datetime) -> int:
    """Whole milliseconds since 1970: exactly those that `timestamp` shows."""
    return (moment - _EPOCH) // timedelta(milliseconds=1)


def made_at(uuid: str) -> int | None:
    """When a UUID of version 7 was made, in Unix milliseconds; None for what is none, or says what cannot be true."""
    match = _UUID7.fullmatch(uuid)
    milliseconds = int(match[1] + match[2], 16) if match is not None else None
    return milliseconds if milliseconds is not None and milliseconds < bounds.TOLD_TIME_MAX_MS else None


class SteadyClock:
    """A clock for what is noted in a log: it is never behind what it said before, or the log knows already.

    `last_id` gives the greatest id in the log, as far as that is known without asking. While the clock beneath is
    behind (it was set back, or another machine's is ahead) each moment is a millisecond after the one before.
    """

    def __init__(self, clock: Clock, last_id: Callable[[], str]) -> None:
        self._clock = clock
        self._last_id = last_id
        self._lock = threading.RLock()
        self._seen = ""
        self._milliseconds = 0

    def now(self) -> datetime:
        """The time of day, aware, in UTC."""
        moment, known = self._clock.now(), self._last_id()
        milliseconds = unix_milliseconds(moment)
        with self._lock:
            if known != self._seen:
                self._milliseconds = max(self._milliseconds, made_at(known) or 0)
                self._seen = known
            if milliseconds >= self._milliseconds:
                self._milliseconds = milliseconds
                return moment
            self._milliseconds += 1
            return _EPOCH + timedelta(milliseconds=self._milliseconds)

    def monotonic(self) -> float:
        """Seconds that never go back, for durations."""
        return self._clock.monotonic()


def uuid7(milliseconds: int, random_bytes: bytes) -> str:
    """A UUID of version 7 (RFC 9562, 5.7) from a Unix time and ten random bytes: text order is time order."""
    value = (milliseconds & (2**48 - 1)) << 80 | int.from_bytes(random_bytes[:10], "big")
    value = value & ~(0xF << 76) | 0x7 << 76
    value = value & ~(0x3 << 62) | 0x2 << 62
    text = f"{value:032x}"
    return f"{text[:8]}-{text[8:12]}-{text[12:16]}-{text[16:20]}-{text[20:]}"


class IdSource:
    """Ids that sort in the order in which they were asked for: UUIDs of version 7, counted up within a millisecond.

    Safe to use from many threads, and in a signal's handler: who was interrupted meanwhile begins anew. The counter is
    RFC 9562's method 2: random at first, raised by a random step.
    """

    def __init__(self, now: Callable[[], datetime], random_bytes: Callable[[int], bytes]) -> None:
        self._now = now
        self._random_bytes = random_bytes
        self._lock = threading.RLock()
        self._calls = 0
        self._milliseconds = 0
        self._counter = 0

    def next(self) -> str:
        """A new id, greater than any that this source gave before, even where the clock goes back."""
        return self.take(1)[0]

    def take(self, count: int) -> list[str]:
        """So many new ids in their order, each as `next` gives it."""
        now = unix_milliseconds(self._now())
        with self._lock:
            while True:
                call = self._calls = self._calls + 1
                steps = self._random_bytes(4 * count)
                ids = [self._counted(now, steps[4 * place : 4 * place + 4]) for place in range(count)]
                if call == self._calls:
                    return ids

    def _counted(self, now: int, step: bytes) -> str:
        self._counter += 1 + int.from_bytes(step, "big")
        if now > self._milliseconds:
            # The highest bit stays free, so that there is room to count up within the millisecond.
            self._counter = int.from_bytes(self._random_bytes(10), "big") >> (80 - _RANDOM_BITS + 1)
            self._milliseconds = now  # last: who interrupts this counts on from here
        elif self._counter >> _RANDOM_BITS:
            self._milliseconds += 1
            self._counter = 0
        # Version and variant lie over the bits between the two parts of the counter.
        head, tail = self._counter >> _TAIL_BITS, self._counter & (1 << _TAIL_BITS) - 1
        return uuid7(self._milliseconds, (head << 64 | tail).to_bytes(10, "big"))
