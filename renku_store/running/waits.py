"""The time of one call, and what it does while it waits: it stands still, and the claim is looked at afterwards."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager

from renku_store.calls import CallMemory
from renku_store.records.events import JobFailure
from renku_store.running.activity import Activity, Tell, told_if_long
from renku_store.running.claiming import HeldClaim
from renku_store.running.concurrency import HeldSlot


class Deadline:
    """How long a call may take: `seconds`, waiting for its turn not counted, and anew for each attempt."""

    __slots__ = ("_left", "_waiting", "limit", "seconds")

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds
        self._left = seconds
        self._waiting = 0
        self.limit = asyncio.timeout(None)

    @property
    def spent(self) -> float:
        """Seconds that the last attempt has taken by now."""
        until = None if self._waiting else self.limit.when()
        left = self._left if until is None else until - asyncio.get_running_loop().time()
        return min(max(self.seconds - left, 0.0), self.seconds)

    @contextmanager
    def suspended(self) -> Iterator[None]:
        """Let the time stand still for the length of a block."""
        loop = asyncio.get_running_loop()
        if not self._waiting:
            self._left = self.seconds - self.spent
            self.limit.reschedule(None)
        self._waiting += 1
        try:
            yield
        finally:
            self._waiting -= 1
            if not self._waiting and not self.limit.expired():
                self.limit.reschedule(loop.time() + self._left)

    def begin_again(self) -> None:
        """Count from now."""
        self.limit.reschedule(asyncio.get_running_loop().time() + self.seconds)


class Waits:
    """What one call does while it waits: its time stands still, and `idle` lends its slot to others.

    `failures` are those of its attempts so far.
    """

    __slots__ = ("_activity", "_job_id", "_shown", "_tell", "claim", "deadline", "failures", "memory", "slot")

    def __init__(
        self,
        job_id: str,
        tell: Tell,
        activity: Activity,
        deadline: Deadline,
        slot: HeldSlot,
        claim: HeldClaim,
        memory: CallMemory,
    ) -> None:
        self._job_id = job_id
        self._tell = tell
        self._activity = activity
        self._shown = 0
        self.deadline = deadline
        self.slot = slot
        self.claim = claim
        self.memory = memory
        self.failures: list[JobFailure] = []

    @contextmanager
    def waiting(self, reason: str = "limit", key: str | None = None) -> Iterator[None]:
        """Wait for the length of a block; attempts that have failed before it are told of first."""
        for failure in self.failures[self._shown :]:
            self._shown += 1
            self._tell("job-attempt-failed", self._job_id, data={"attempt": self._shown, "error": failure.to_json()})
        with (
            told_if_long(self._tell, self._job_id, reason, key),
            self._activity.waiting(self._job_id),
            self.deadline.suspended(),
        ):
            yield

    @asynccontextmanager
    async def idle(self, reason: str = "back-off", key: str | None = None) -> AsyncIterator[None]:
        """Wait likewise, and let others have the slot meanwhile; after a long wait see that the claim is ours still."""
        with self.waiting(reason, key):
            async with self.slot.lent():
                yield
            await self.confirm()

    async def confirm(self) -> None:
        """See that the claim is ours still, as `HeldClaim.confirm` does, unless a call has been begun under it.

        What is paid for is fetched whoever has the claim by now: the note of it may have given way to another's.
        """
        if self.memory.call is None:
            await self.claim.confirm()
