"""Slots of calls that have ended, kept for a moment for the jobs that have waited for their results.

Those are looked up and claimed before they stand in line for a slot. Given back at once, the slot would go to whoever
stands there, however short the way is that is left behind that job: the longest way would wait for a whole call.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Final

from renku_store.running.concurrency import HeldSlot

KEPT_SECONDS: Final = 0.25
"""A look-up and a claim take less, unless they wait for somebody; then nobody waits for them."""

Follower = tuple[str, float]
"""A job that goes on from one that has ended, and its priority."""


def _nobody(job: str) -> Follower | None:
    del job
    return None


class Handover:
    """Keeps slots for one execution, in one event loop; `follower` names the first of those that a job's end sets free.

    A slot is kept for one job: until that stands in line, needs none, is not begun after all, or `KEPT_SECONDS` are
    over.
    """

    def __init__(self, follower: Callable[[str], Follower | None] = _nobody) -> None:
        self._follower = follower
        self._kept: dict[str, tuple[Callable[[], None], asyncio.TimerHandle]] = {}

    def keep(self, job: str, slot: HeldSlot) -> None:
        """Take over the slot of a job whose result is stored, where another one is to go on in it."""
        following = self._follower(job)
        if following is None or following[0] in self._kept or slot.limiter.first >= following[1]:
            return
        after = following[0]
        timer = asyncio.get_running_loop().call_later(KEPT_SECONDS, self.arrived, after)
        self._kept[after] = slot.hand_over(), timer

    def arrives(self, job: str) -> None:
        """A job is about to ask for its slot: it stands in line when it has done so."""
        if job in self._kept:
            asyncio.get_running_loop().call_soon(self.arrived, job)

    def arrived(self, job: str) -> None:
        """A job stands in line, or will not: whoever is first there now gets the slot that was kept for it."""
        kept = self._kept.pop(job, None)
        if kept is not None:
            release, timer = kept
            timer.cancel()
            release()

    def close(self) -> None:
        """Give back what is kept."""
        for job in [*self._kept]:
            self.arrived(job)
