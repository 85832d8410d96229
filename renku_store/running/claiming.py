"""Claims of a run: one call for one signature (invariant 10). Jobs that ask at once share a commit."""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Sequence
from functools import partial
from typing import Final

from renku_store import bounds
from renku_store.errors import StoreError, UnusableError
from renku_store.finishing import in_thread_to_the_end
from renku_store.leases import AlreadyMade, ClaimAnswer, Claimed, RunLeases, Wanted
from renku_store.metadata.calls import CallInFlight
from renku_store.records.events import JobFailure, Trace
from renku_store.records.run import LeaseToken
from renku_store.running.activity import Tell
from renku_store.running.grouping import Grouped

_GROUP_MAX: Final = 256


class ClaimLost(BaseException):
    """A claim that was waited under was taken by another: what it was for is not to be called.

    No error, as `CancelledError` is none: a handler that calls somebody else after any `Exception` lets it pass, and
    its job asks again. `failures` are those of the attempts before; `begun`: this run has begun a call under the claim,
    which whoever has taken that may have fetched.
    """

    def __init__(self, signature: str, failures: Sequence[JobFailure] = (), *, begun: bool = False) -> None:
        super().__init__(signature)
        self.failures = failures
        self.begun = begun


class ClaimUnseen(BaseException):
    """Whether a claim that was waited under is ours still cannot be told, for the reason `error`: nothing is called.

    No error to the handler, as `ClaimLost` is none; to the runner it is that `error`.
    """

    def __init__(self, error: StoreError) -> None:
        super().__init__(str(error))
        self.error = error


class HeldClaim:
    """A claim of ours, as the job goes on with it that has it."""

    __slots__ = ("_claimed", "_job", "_leases", "_signature", "_token", "error", "lost")

    def __init__(self, leases: RunLeases, token: LeaseToken, signature: str, job: str, claimed: Claimed) -> None:
        self._leases = leases
        self._token = token
        self._signature = signature
        self._job = job
        self._claimed = claimed
        self.lost = False
        self.error: StoreError | None = None

    @property
    def call(self) -> CallInFlight | None:
        """The call that an earlier holder has begun and noted."""
        return self._claimed.call

    async def confirm(self) -> None:
        """See, after a wait and before a call, that it is ours still.

        Raises `ClaimLost` where it is not, `ClaimUnseen` where the store does not tell. A process that was stopped for
        longer than its lease wakes up between any two of its lines. The store is asked only where so much time has
        passed that another may have the claim. What is lost stays lost: whoever hides that from the runner is told
        again.
        """
        if not (self.lost or self.error):
            if self._leases.is_sure(self._claimed):
                return
            try:
                still = await asyncio.to_thread(self._leases.still_claims, self._signature, self._token, self._job)
            except StoreError as error:
                self.error = error
            else:
                self.lost = not still
        if self.error:
            raise ClaimUnseen(self.error)
        if self.lost:
            raise ClaimLost(self._signature, begun=self.call is not None and self.call.run == self._token.run)


class Claims:
    """What the jobs of one run claim, from many tasks of one event loop."""

    def __init__(self, leases: RunLeases, token: LeaseToken, tell: Tell) -> None:
        self._leases = leases
        self._token = token
        self._tell = tell
        self._grouped: Grouped[Wanted, ClaimAnswer] = Grouped(self._ask, _GROUP_MAX)
        self._left: set[tuple[str, str]] = set()

    async def claim(self, signature: str, job: str, *, forced: bool) -> Claimed | Trace:
        """Claim a signature: `Claimed` when it is ours to make, else the result that another made while we waited."""
        waiting_for = None
        wanted = Wanted(signature, job, forced=forced)
        while True:
            answer, cancelled = await self._grouped.ask_to_the_end(wanted)
            if cancelled:
                if isinstance(answer, Claimed):  # else nobody could make it before the rest of the run has ended
                    await self.unclaim(signature, job)
                raise asyncio.CancelledError
            if isinstance(answer, Claimed):
                return answer
            if isinstance(answer, AlreadyMade):
                return answer.trace
            if answer.run == self._token.run and await self._give_back(signature):
                continue
            if answer.run != waiting_for:
                waiting_for = answer.run
                self._tell("job-waiting", job, data={"for": "claim", "key": answer.run})
            await asyncio.sleep(bounds.CLAIM_POLL_SECONDS)

    def held(self, signature: str, job: str, claimed: Claimed) -> HeldClaim:
        """What a job has that was told that a signature is its to make."""
        self._left.discard((signature, job))
        return HeldClaim(self._leases, self._token, signature, job, claimed)

    async def unclaim(self, signature: str, job: str) -> None:
        """Give a job's claim up without a result, even if cancelled meanwhile; no error if it is not its any more.

        What the store does not take back now is given back before the run waits for it, or ends with the lease.
        """
        self._left.add((signature, job))
        await self._give_back(signature)

    async def _give_back(self, signature: str) -> bool:
        """Give up what this run has left of the claims of a signature; says whether there were any, and it could."""
        left = {pair for pair in self._left if pair[0] == signature}
        if not left:
            return False
        self._left -= left
        refused, cancelled = await in_thread_to_the_end(partial(self._unclaim_all, left))
        self._left |= refused
        if cancelled:
            raise asyncio.CancelledError
        return bool(left - refused)

    def _unclaim_all(self, pairs: Collection[tuple[str, str]]) -> set[tuple[str, str]]:
        """Give these claims up; gives those that the store has not taken back."""
        refused: set[tuple[str, str]] = set()
        for signature, job in pairs:
            try:
                self._leases.unclaim(signature, self._token, job)
            except StoreError:
                refused.add((signature, job))
        return refused

    async def _ask(self, wanted: Sequence[Wanted]) -> Sequence[ClaimAnswer | Exception]:
        """Answers of one commit; where the matter of one of them fails it, each has a commit of its own."""
        try:
            answers, _ = await in_thread_to_the_end(partial(self._leases.claim_many, wanted, self._token))
        except StoreError as error:
            if len(wanted) == 1 or isinstance(error, UnusableError):
                return [error] * len(wanted)
            return [answer for one in wanted for answer in await self._ask([one])]
        return answers
