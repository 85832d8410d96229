"""New ids for events, runs and results."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Final

from renku_store.clock import Clock
from renku_store.records.ids import uuid7

_RANDOM_BITS: Final = 74
_TAIL_BITS: Final = 62


class IdSource:
    """Ids that sort in the order in which they were asked for: UUIDs of version 7, counted up within a millisecond.

    Safe to use from many threads, and in a signal's handler: who was interrupted meanwhile begins anew. The counter is
    RFC 9562's method 2: random at first, raised by a random step.
    """

    def __init__(self, clock: Clock, random_bytes: Callable[[int], bytes]) -> None:
        self._clock = clock
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
        now = int(self._clock.now().timestamp() * 1000)
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
