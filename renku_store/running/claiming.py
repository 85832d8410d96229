"""Claims of a run: one call for one signature (invariant 10). Jobs that ask at once share a commit."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Final

from renku_store import bounds
from renku_store.errors import StoreError, UnusableError
from renku_store.finishing import to_the_end
from renku_store.leases import AlreadyMade, ClaimAnswer, Claimed, RunLeases, Wanted
from renku_store.records.events import Trace
from renku_store.records.run import LeaseToken
from renku_store.running.activity import Tell
from renku_store.running.grouping import Grouped

_GROUP_MAX: Final = 256


class Claims:
    """What the jobs of one run claim, from many tasks of one event loop."""

    def __init__(self, leases: RunLeases, token: LeaseToken, tell: Tell) -> None:
        self._leases = leases
        self._token = token
        self._tell = tell
        self._grouped: Grouped[Wanted, ClaimAnswer] = Grouped(self._ask, _GROUP_MAX)

    async def claim(self, signature: str, job: str, *, forced: bool) -> Trace | None:
        """Claim a signature: None when it is ours to make, else the result that another made while we waited."""
        waiting_for = None
        wanted = Wanted(signature, job, forced=forced)
        while True:
            answer, cancelled = await to_the_end(self._grouped.ask(wanted))
            if cancelled:
                if isinstance(answer, Claimed):  # else nobody could make it before the rest of the run has ended
                    await self.unclaim(signature)
                raise asyncio.CancelledError
            if isinstance(answer, Claimed):
                return None
            if isinstance(answer, AlreadyMade):
                return answer.trace
            if answer.run != waiting_for:
                waiting_for = answer.run
                self._tell("job-waiting", job, data={"for": "claim", "key": answer.run})
            await asyncio.sleep(bounds.CLAIM_POLL_SECONDS)

    async def unclaim(self, signature: str) -> None:
        """Give a claim up without a result; no error if it is not ours."""
        await asyncio.to_thread(self._leases.unclaim, signature, self._token)

    async def _ask(self, wanted: Sequence[Wanted]) -> Sequence[ClaimAnswer | Exception]:
        """Answers of one commit; where the matter of one of them fails it, each has a commit of its own."""
        try:
            return await asyncio.to_thread(self._leases.claim_many, wanted, self._token)
        except StoreError as error:
            if len(wanted) == 1 or isinstance(error, UnusableError):
                return [error] * len(wanted)
            return [answer for one in wanted for answer in await self._ask([one])]
