"""One call's part in limits that several processes share: asked for apart, and given back whatever happens."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial

from renku_store import bounds
from renku_store.errors import StoreUnavailableError
from renku_store.finishing import outlast
from renku_store.metadata.limits import Demand, Grant, Refused, SharedLimits
from renku_store.running.remembering import patience


class SharedTurn:
    """What a call demands of all processes, and what it has been granted."""

    def __init__(
        self, shared: SharedLimits, demands: Sequence[Demand], priority: float, chance: Callable[[], float]
    ) -> None:
        self._shared = shared
        self._demands = demands
        self._priority = priority
        self._chance = chance
        self._grant: Grant | None = None
        self._ticket: int | None = None
        self._unanswered: float | None = None

    @property
    def granted(self) -> bool:
        """Whether it has its slots."""
        return self._grant is not None

    @property
    def late(self) -> bool:
        """Whether its start was noted so long ago that others may count it as over: it must be noted anew."""
        return self._grant is not None and self._shared.now() - self._grant.at > bounds.LIMIT_START_MARGIN_SECONDS

    async def ask(self, *, queue: bool) -> Refused | None:
        """Ask for slots and starts; with the slots, for a start that is now. With `queue`, keep a place meanwhile."""
        refused, cancelled = await outlast(self._shared.apart(partial(self._ask, queue=queue)))
        if cancelled:
            raise asyncio.CancelledError
        return refused

    async def pause(self, refused: Refused) -> None:
        """Wait until asking again may help; with jitter, where nobody knows."""
        if refused.seconds is not None:
            await asyncio.sleep(min(refused.seconds, bounds.LIMIT_RATE_LOOK_MAX_SECONDS) + 0.001)
        else:
            await asyncio.sleep(bounds.LIMIT_POLL_SECONDS * (0.5 + self._chance()))

    def end(self, paused: Mapping[str, float], *, started: bool) -> None:
        """Give everything back, and tell all for how long a provider wants nobody under which keys (seconds)."""
        for key, seconds in paused.items():
            self._shared.pause(key, seconds)
        if self._grant is not None or self._ticket is not None:
            self._shared.give(self._grant, self._ticket, started=started)

    def _ask(self, *, queue: bool) -> Refused | None:
        try:
            if self._grant is None:
                answer = self._shared.take(self._demands, self._priority, self._ticket, queue=queue)
            else:
                answer = self._shared.restart(self._grant, self._priority)
        except StoreUnavailableError as error:
            self._wait_for(error)
            return Refused("limit", self._demands[0].key, ticket=self._ticket)
        self._unanswered = None
        if isinstance(answer, Grant):
            self._grant, self._ticket = answer, None
            return None
        if self._grant is None or answer.lost:
            self._grant, self._ticket = None, answer.ticket
        else:
            self._grant = replace(self._grant, starts=(), at=-math.inf)
        return answer

    def _wait_for(self, error: StoreUnavailableError) -> None:
        """See that what cannot be asked now is asked again for as long as that may help; else raise the error."""
        now = self._shared.now()
        self._unanswered = now if self._unanswered is None else self._unanswered
        if now - self._unanswered >= patience(error):
            raise error
