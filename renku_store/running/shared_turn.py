"""One call's part in limits that several processes share: asked for in threads, and given back whatever happens."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from typing import Final

from renku_store import bounds
from renku_store.errors import StoreError
from renku_store.finishing import to_the_end
from renku_store.metadata.limits import Demand, Grant, Refused, SharedLimits

_RATE_LOOK_MAX_SECONDS: Final = 5.0


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
        refused, cancelled = await to_the_end(asyncio.to_thread(self._ask, queue=queue))
        if cancelled:
            raise asyncio.CancelledError
        return refused

    async def pause(self, refused: Refused) -> None:
        """Wait until asking again may help; with jitter, where nobody knows."""
        if refused.seconds is not None:
            await asyncio.sleep(min(refused.seconds, _RATE_LOOK_MAX_SECONDS) + 0.001)
        else:
            await asyncio.sleep(bounds.LIMIT_POLL_SECONDS * (0.5 + self._chance()))

    async def end(self, paused: Mapping[str, float], *, started: bool) -> bool:
        """Give everything back, and tell all for how long a provider wants nobody under which keys (seconds).

        Says whether it was cancelled.
        """
        _, cancelled = await to_the_end(asyncio.to_thread(self._end, paused, started))
        return cancelled

    def _ask(self, *, queue: bool) -> Refused | None:
        if self._grant is None:
            answer = self._shared.take(self._demands, self._priority, self._ticket, queue=queue)
        else:
            answer = self._shared.restart(self._grant, self._priority)
        if isinstance(answer, Grant):
            self._grant, self._ticket = answer, None
            return None
        if self._grant is not None:
            self._grant = replace(self._grant, starts=(), at=-math.inf)
        else:
            self._ticket = answer.ticket
        return answer

    def _end(self, paused: Mapping[str, float], started: bool) -> None:
        for key, seconds in paused.items():
            with suppress(StoreError):  # the others hear of it from the provider, then
                self._shared.pause(key, seconds)
        if self._grant is not None or self._ticket is not None:
            self._shared.give(self._grant, self._ticket, started=started)
