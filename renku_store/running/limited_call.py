"""One call under the limits of its keys: it takes slots, waits for its turn, and gives everything back.

The order is that of the model: the run's slot, the key, the rate, the call.

1. Under no key do more calls go on, or start in any window, than its rule allows, whatever is cancelled meanwhile.
2. While a call waits for a key or a rate, the slot of its run is another's, and its time stands still.
3. Slots of several keys are taken in the order of their names, so that no two calls wait for each other. Who has them
   and waits for its run's slot to come back goes before all that begin there.
4. A start counts when the call starts: what was counted before a wait is counted anew after it.
5. Calls in other threads look and count at the same rates: that the start may be now, and that it is, is one moment.
"""

from __future__ import annotations

import asyncio
import math
import threading
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from functools import partial

from renku_store.calls import JobContext
from renku_store.running.adaptive import AdaptiveCall
from renku_store.running.limit_keys import LimitKey
from renku_store.running.pacing import Pacer, Start
from renku_store.running.shared_turn import SharedTurn


@dataclass(frozen=True, slots=True)
class LimitPart:
    """What a call takes of one key. `provider`: the key is a name of whom it calls, not that of another resource."""

    key: LimitKey
    weight: int
    provider: bool = True


class LimitedCall:
    """One call under limits: `begin` waits until it may start; its `end` must come, however that went."""

    def __init__(
        self, parts: Sequence[LimitPart], lock: threading.RLock, context: JobContext, chance: Callable[[], float]
    ) -> None:
        for part in parts:
            part.key.pacer.check(part.weight)
        self._parts = parts
        self._lock = lock
        self._context = context
        self._common = [part for part in parts if context.shared is not None and part.key.rule.scope == "machine"]
        self._own_parts = [part for part in parts if part not in self._common]
        self._turn: SharedTurn | None = None
        if context.shared is not None and self._common:
            demands = [part.key.demand(part.weight) for part in self._common]
            self._turn = SharedTurn(context.shared, demands, context.priority, chance)
        self._release: list[Callable[[], None]] = []
        self._starts: list[tuple[Pacer, Start]] = []
        self._waited = False
        self._begun = False
        self._outcomes: list[AdaptiveCall] = []
        self._pauses: dict[str, float] = {}

    async def begin(self) -> None:
        """Wait for the slots of all keys, then for their rates."""
        for part in self._parts:
            await self._take_slots(part)
        await self._take_turn()
        self._begun = True
        self._outcomes = [part.key.adaptive.begun() for part in self._parts if part.key.adaptive is not None]

    def succeeded(self) -> None:
        """It ended well: adaptive limits that are used may grow."""
        for outcome in self._outcomes:
            outcome.succeeded()

    def refused(self, retry_after: float | None) -> None:
        """The provider said that it was too much, and maybe for how long nobody should come again (seconds).

        It does not say of which key: each that adapts is lowered, and those that are the provider's pause.
        """
        for outcome in self._outcomes:
            outcome.overloaded()
        if retry_after is not None:
            for part in [part for part in self._parts if part.provider]:
                with self._lock:
                    part.key.pacer.hold(retry_after)
                if part.key.rule.scope == "machine":
                    self._pauses[part.key.name] = retry_after

    def end(self) -> None:
        """Give everything back: to other processes first, so that who is next here finds it free."""
        if self._turn is not None:
            self._turn.end(self._pauses, started=self._begun)
        if not self._begun:
            self._uncount()
        for release in reversed(self._release):
            release()

    # Slots

    async def _take_slots(self, part: LimitPart) -> None:
        slots = part.key.slots
        if slots is None:
            return
        release = partial(slots.release, part.weight)
        if slots.try_acquire(part.weight):
            self._release.append(release)
            return
        async with self._context.idle("limit", part.key.name):
            await slots.acquire(self._context.priority, part.weight)
            self._release.append(release)

    # Starts

    async def _take_turn(self) -> None:
        blocked = await self._start_at_once()
        while blocked is not None:
            async with self._context.idle(*blocked):
                await self._until_ready()
            blocked = await self._start_after_wait()

    async def _start_at_once(self) -> tuple[str, str] | None:
        """Start if nothing holds us up and nobody waits; else for what we have to wait, and under which key."""
        delay, waiting, key = max((self._delay([part]), part.key.pacer.waiting, part.key.name) for part in self._parts)
        if waiting or delay > 0:
            return "rate", key
        refused = await self._turn.ask(queue=False) if self._turn is not None else None
        # Others may have come, or a pause, while we asked.
        return await self._start_after_wait() if refused is None else (refused.reason, refused.key)

    async def _until_ready(self) -> None:
        """Wait in line for what all processes share, then in line for what is this process's own, and count the start.

        Who has what is shared stands in no line before others that wait for it: they might wait for its slot.
        """
        turn = self._turn
        while True:
            again = self._waited
            self._waited = True
            if turn is not None and not turn.granted:
                await self._until_granted(turn, again=again)
            async with self._first_of(self._own_parts, again=again):
                await self._until_paced(self._parts)
                while turn is not None and turn.late:
                    refused = await turn.ask(queue=True)
                    if refused is not None:
                        await turn.pause(refused)
                    await self._until_paced(self._parts)
                if turn is None or turn.granted:  # else its slots were lost meanwhile
                    self._counted()
                    return

    async def _until_granted(self, turn: SharedTurn, *, again: bool) -> None:
        async with self._first_of(self._common, again=again):
            while not turn.granted:
                await self._until_paced(self._common)
                refused = await turn.ask(queue=True)
                if refused is not None:
                    await turn.pause(refused)

    @asynccontextmanager
    async def _first_of(self, parts: Sequence[LimitPart], *, again: bool) -> AsyncIterator[None]:
        priority = math.inf if again else self._context.priority
        async with AsyncExitStack() as queues:
            for part in parts:
                await queues.enter_async_context(part.key.pacer.queue(priority))
            yield

    async def _until_paced(self, parts: Sequence[LimitPart]) -> None:
        # A pause may be asked for, or grow, while we sleep.
        while (delay := self._delay(parts)) > 0:  # noqa: ASYNC110 (time is what is waited for)
            await asyncio.sleep(delay)

    async def _start_after_wait(self) -> tuple[str, str] | None:
        """Count the start anew, as it is only now; if it may not be now, for what we have to wait."""
        while self._turn is not None and self._turn.late:
            refused = await self._turn.ask(queue=True)
            if refused is not None:
                self._uncount()
                return refused.reason, refused.key
        slowest = self._counted()
        return None if slowest is None else ("rate", slowest.name)

    def _delay(self, parts: Sequence[LimitPart]) -> float:
        with self._lock:
            return max((part.key.pacer.delay(part.weight) for part in parts), default=0.0)

    def _counted(self) -> LimitKey | None:
        """Count the start as one that is now, if it may be; else the key that holds it up longest."""
        with self._lock:
            self._uncount()
            slowest = max(self._parts, key=lambda part: part.key.pacer.delay(part.weight))
            if slowest.key.pacer.delay(slowest.weight) > 0:
                return slowest.key
            self._starts = [(part.key.pacer, part.key.pacer.count(part.weight)) for part in self._parts]
            return None

    def _uncount(self) -> None:
        with self._lock:
            for pacer, start in self._starts:
                pacer.forget(start)
            self._starts = []
