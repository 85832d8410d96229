"""One call under the limits of its keys: it takes slots, waits for its turn, and gives everything back.

The order is that of the model: the run's slot, the key, the rate, the call.

1. Under no key do more calls go on, or start in any window, than its rule allows, whatever is cancelled meanwhile.
2. While a call waits for a key or a rate, the slot of its run is another's, and its time stands still.
3. Slots of several keys are taken in the order of their names, so that no two calls wait for each other. Who has them
   and waits for its run's slot to come back goes before all that begin there.
4. A start counts when the call starts: what was counted before a wait is counted anew after it.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from functools import partial
from typing import Final

from renku_store import bounds
from renku_store.calls import JobContext
from renku_store.metadata.limits import Demand
from renku_store.running.adaptive import AdaptiveCall, AdaptiveLimiter
from renku_store.running.concurrency import ConcurrencyLimiter
from renku_store.running.limit_rules import LimitRule
from renku_store.running.pacing import Pacer, Start
from renku_store.running.shared_turn import SharedTurn

_ADAPTIVE_START: Final = 4


@dataclass(frozen=True, slots=True)
class LimitUse:
    """How a key is used now: slots held of how many (None: any number), and calls that wait for a slot or a start."""

    used: int
    limit: int | None
    waiting: int


class LimitKey:
    """What the calls of one key share in this process."""

    def __init__(self, name: str, rule: LimitRule) -> None:
        self.name = name
        self.rule = rule
        self.adaptive = _adaptive(rule)
        self.slots = self.adaptive.slots if self.adaptive else _slots(rule)
        self.pacer = Pacer(
            rule.rate,
            rule.period_seconds,
            spacing_seconds=rule.spacing_seconds,
            reservoir=rule.reservoir,
            refill_seconds=rule.refill_seconds,
        )

    def use(self) -> LimitUse:
        """How it is used now."""
        slots = self.slots
        if slots is None:
            return LimitUse(0, None, self.pacer.waiting)
        return LimitUse(slots.used, slots.limit, slots.waiting + self.pacer.waiting)

    def demand(self, weight: int) -> Demand:
        """What a call asks of this key from all processes: windows longer by what a start may be late.

        And by a millisecond, as moments are noted in whole ones.
        """
        rule, margin = self.rule, bounds.LIMIT_START_MARGIN_SECONDS + 0.001
        return Demand(
            self.name,
            weight,
            slots=rule.concurrency,
            starts=rule.rate,
            period_ms=math.ceil((rule.period_seconds + margin) * 1000),
            spacing_ms=math.ceil((rule.spacing_seconds + margin) * 1000) if rule.spacing_seconds else 0,
        )


def _slots(rule: LimitRule) -> ConcurrencyLimiter | None:
    return None if rule.concurrency is None else ConcurrencyLimiter(rule.concurrency)


def _adaptive(rule: LimitRule) -> AdaptiveLimiter | None:
    if rule.adaptive is None:
        return None
    least, most = rule.adaptive
    most = min(most, rule.concurrency or most)
    return AdaptiveLimiter(min(most, max(least, _ADAPTIVE_START)), minimum=least, maximum=most)


@dataclass(frozen=True, slots=True)
class LimitPart:
    """What a call takes of one key."""

    key: LimitKey
    weight: int


class LimitedCall:
    """One call under limits: `begin` waits until it may start; its `end` must come, however that went."""

    def __init__(
        self, parts: Sequence[LimitPart], own: LimitKey, context: JobContext, chance: Callable[[], float]
    ) -> None:
        for part in parts:
            part.key.pacer.check(part.weight)
        self._parts = parts
        self._own = own
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
        self._outcome: AdaptiveCall | None = None
        self._pause: float | None = None

    async def begin(self) -> None:
        """Wait for the slots of all keys, then for their rates."""
        for part in self._parts:
            await self._take_slots(part)
        await self._take_turn()
        self._begun = True
        if self._own.adaptive is not None:
            self._outcome = self._own.adaptive.begun()

    def succeeded(self) -> None:
        """It ended well: an adaptive limit that is used may grow."""
        if self._outcome is not None:
            self._outcome.succeeded()

    def refused(self, retry_after: float | None) -> None:
        """The provider said that it was too much, and maybe for how long nobody should come again (seconds)."""
        if self._outcome is not None:
            self._outcome.overloaded()
        if retry_after is not None:
            self._own.pacer.hold(retry_after)
            self._pause = retry_after

    async def end(self) -> bool:
        """Give everything back: to other processes first, so that who is next here finds it free."""
        cancelled = False
        try:
            if self._turn is not None:
                shared = self._pause is not None and self._own.rule.scope == "machine"
                paused = (self._own.name, self._pause) if shared and self._pause is not None else None
                cancelled = await self._turn.end(paused, started=self._begun)
        finally:
            if not self._begun:
                self._uncount()
            for release in reversed(self._release):
                release()
        return cancelled

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
        slowest = max(self._parts, key=lambda part: (part.key.pacer.delay(part.weight), part.key.pacer.waiting))
        if slowest.key.pacer.waiting or self._delay(self._parts) > 0:
            return "rate", slowest.key.name
        refused = await self._turn.ask(queue=False) if self._turn is not None else None
        # Others may have come, or a pause, while we asked.
        return await self._start_after_wait() if refused is None else (refused.reason, refused.key)

    async def _until_ready(self) -> None:
        """Wait in line for what all processes share, then in line for what is this process's own, and count the start.

        Who has what is shared stands in no line before others that wait for it: they might wait for its slot.
        """
        turn = self._turn
        again = self._waited
        self._waited = True
        if turn is not None and not turn.granted:
            async with self._first_of(self._common, again=again):
                while not turn.granted:
                    await self._until_paced(self._common)
                    refused = await turn.ask(queue=True)
                    if refused is not None:
                        await turn.pause(refused)
        async with self._first_of(self._own_parts, again=again):
            await self._until_paced(self._parts)
            while turn is not None and turn.late:
                refused = await turn.ask(queue=True)
                if refused is not None:
                    await turn.pause(refused)
                await self._until_paced(self._parts)
            self._count()

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
        self._uncount()
        if self._delay(self._parts) > 0:
            return "rate", self._own.name
        self._count()
        return None

    def _delay(self, parts: Sequence[LimitPart]) -> float:
        return max((part.key.pacer.delay(part.weight) for part in parts), default=0.0)

    def _count(self) -> None:
        self._starts = [(part.key.pacer, part.key.pacer.count(part.weight)) for part in self._parts]

    def _uncount(self) -> None:
        for pacer, start in self._starts:
            pacer.forget(start)
        self._starts = []
