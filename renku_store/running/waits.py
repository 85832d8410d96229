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
    """What one call does while it waits: its time stands still, and `idle` lends its slot to others."""

    def __init__(
        self,
        job_id: str,
        tell: Tell,
        activity: Activity,
        deadline: Deadline,
        slot: HeldSlot,
        failures: list[JobFailure],
        claim: HeldClaim,
        memory: CallMemory,
    ) -> None:
        self._job_id = job_id
        self._tell = tell
        self._activity = activity
        self._deadline = deadline
        self._slot = slot
        self._failures = failures
        self._claim = claim
        self._memory = memory
        self._shown = 0

    @contextmanager
    def waiting(self, reason: str = "limit", key: str | None = None) -> Iterator[None]:
        """Wait for the length of a block; attempts that have failed before it are told of first."""
        for failure in self._failures[self._shown :]:
            self._shown += 1
            self._tell("job-attempt-failed", self._job_id, data={"attempt": self._shown, "error": failure.to_json()})
        with (
            told_if_long(self._tell, self._job_id, reason, key),
            self._activity.waiting(self._job_id),
            self._deadline.suspended(),
        ):
            yield

    @asynccontextmanager
    async def idle(self, reason: str = "back-off", key: str | None = None) -> AsyncIterator[None]:
        """Wait likewise, and let others have the slot meanwhile; after a long wait see that the claim is ours still."""
        with self.waiting(reason, key):
            async with self._slot.lent():
                yield
            await self.confirm()

    async def confirm(self) -> None:
        """See that the claim is ours still, as `HeldClaim.confirm` does, unless a call has been begun under it.

        What is paid for is fetched whoever has the claim by now: the note of it may have given way to another's.
        """
        if self._memory.call is None:
            await self._claim.confirm()
