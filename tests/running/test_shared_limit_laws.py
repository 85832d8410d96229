"""Limits that processes share, on a loop of its own time: a process is a `Limits` of its own, and all share a store."""

from __future__ import annotations

import asyncio
import itertools
import logging
import random
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any
from unittest.mock import patch

from hypothesis import given, settings
from hypothesis import strategies as st

from renku_store import ConcurrencyLimiter, Job, JobContext, Limits, OutputSpec, Produced, RateLimitedError, with_limits
from renku_store.metadata.limits import Demand, Grant, HeldPlace, Occupancy, Refused, refusal
from renku_store.records.run import Holder
from renku_store.testing.loop_time import run

DONE = Produced({"out": "done"})
NOBODY = Holder("", 0, "", "")
RULES: dict[str, dict[str, object]] = {
    "a": {"concurrency": 2, "rate": "3/2s", "scope": "machine"},
    "gpu": {"concurrency": 2, "spacing": "300ms", "scope": "machine"},
    "own": {"concurrency": 3, "rate": "4/1s"},
}


def now() -> float:
    return asyncio.get_running_loop().time()


@dataclass
class Store:
    """The tables, in memory: slots and tickets are never given again."""

    slots: dict[int, tuple[str, int]] = field(default_factory=dict)
    starts: dict[int, tuple[str, int, int]] = field(default_factory=dict)
    queue: dict[int, tuple[float, list[str]]] = field(default_factory=dict)
    pauses: dict[str, int] = field(default_factory=dict)
    numbers: Iterator[int] = field(default_factory=lambda: itertools.count(1))
    loop: Callable[[], float] = now

    def now(self) -> float:
        return self.loop()

    def apart(self, work: Callable[[], Any]) -> asyncio.Future[Any]:
        return asyncio.ensure_future(asyncio.to_thread(work))

    def found(self, demand: Demand) -> Occupancy:
        after = int(self.now() * 1000) - demand.period_ms
        starts = sorted((at, size) for key, size, at in self.starts.values() if key == demand.key and at > after)
        return Occupancy(
            [HeldPlace(number, size, NOBODY) for number, (key, size) in self.slots.items() if key == demand.key],
            [HeldPlace(ticket, best, NOBODY) for ticket, (best, keys) in self.queue.items() if demand.key in keys],
            starts,
            self.pauses.get(demand.key, 0),
        )

    def take(self, demands: Sequence[Demand], priority: float, ticket: int | None, *, queue: bool) -> Grant | Refused:
        for demand in demands:
            held_up = refusal(demand, self.found(demand), int(self.now() * 1000), ticket=ticket, priority=priority)
            if held_up is not None:
                if queue and ticket is None:
                    ticket = next(self.numbers)
                    self.queue[ticket] = (priority, [demand.key for demand in demands])
                return replace(held_up, ticket=ticket)
        self.queue.pop(ticket or 0, None)
        slots = [next(self.numbers) for demand in demands]
        self.slots |= {slot: (demand.key, demand.weight) for slot, demand in zip(slots, demands, strict=True)}
        return Grant(demands, slots, self.started(demands), self.now())

    def started(self, demands: Sequence[Demand]) -> list[int]:
        starts = [next(self.numbers) for demand in demands]
        for start, demand in zip(starts, demands, strict=True):
            self.starts[start] = (demand.key, demand.weight, int(self.now() * 1000))
        return starts

    def restart(self, grant: Grant, priority: float) -> Grant | Refused:
        for start in grant.starts:
            self.starts.pop(start, None)
        for demand in grant.demands:
            found, rates = replace(self.found(demand), queue=()), replace(demand, slots=None)
            held_up = refusal(rates, found, int(self.now() * 1000), ticket=None, priority=priority)
            if held_up is not None:
                return held_up
        return replace(grant, starts=self.started(grant.demands), at=self.now())

    def pause(self, key: str, seconds: float) -> None:
        self.pauses[key] = max(self.pauses.get(key, 0), int((self.now() + seconds) * 1000))

    def give(self, grant: Grant | None, ticket: int | None, *, started: bool) -> None:
        self.queue.pop(ticket or 0, None)
        for slot in grant.slots if grant else ():
            self.slots.pop(slot, None)
        for start in grant.starts if grant and not started else ():
            self.starts.pop(start, None)


@dataclass
class Call:
    arrival: float
    length: float
    process: int
    key: str
    uses: dict[str, int]
    priority: float
    gives_up: float | None
    retry_after: float | None


@contextmanager
def slow_threads(chance: random.Random) -> Iterator[None]:
    """Threads take their time before and after their work; mostly little, now and then as long as a busy disk."""

    async def to_thread(work: Callable[..., Any], *arguments: Any, **named: Any) -> Any:
        await asyncio.sleep(chance.choice([0, 0.001, 0.01, 0.3]))
        answer = work(*arguments, **named)
        await asyncio.sleep(chance.choice([0, 0.001, 0.02, 0.3]))
        return answer

    with patch("asyncio.to_thread", to_thread):
        yield


def played(
    calls: list[Call], seed: int, slots: int, rules: dict[str, dict[str, object]] = RULES
) -> list[tuple[float, float, Call]]:
    """Play a schedule to its end: when each call began and ended."""
    chance, spans = random.Random(seed), list[tuple[float, float, Call]]()

    async def main() -> None:
        store = Store(loop=asyncio.get_running_loop().time)
        processes = [Limits(rules, shared=False, chance=chance.random) for _ in range(3)]
        pools = [ConcurrencyLimiter(slots) for _ in processes]
        tasks = [asyncio.create_task(one(call, store, processes[call.process], pools[call.process])) for call in calls]
        ended = await asyncio.wait_for(asyncio.gather(*tasks, return_exceptions=True), 1e6)
        for call, end in zip(calls, ended, strict=True):
            gave_up = isinstance(end, asyncio.CancelledError) and call.gives_up is not None
            assert end is DONE or gave_up or (isinstance(end, RateLimitedError) and call.retry_after), end
        assert (store.slots, store.queue) == ({}, {}), "nothing stays held"
        for use in [use for limits in processes for use in limits.usage().values()]:
            assert (use.used, use.waiting) == (0, 0)

    async def one(call: Call, store: Store, limits: Limits, pool: ConcurrencyLimiter) -> Produced:
        async def produce(job: Job, context: JobContext) -> Produced:
            begun = now()
            try:
                await asyncio.sleep(call.length)
            finally:
                spans.append((begun, now(), call))
            if call.retry_after is not None:
                raise RateLimitedError("too much", retry_after=call.retry_after)
            return DONE

        @asynccontextmanager
        async def idle(reason: str = "", key: str | None = None) -> AsyncIterator[None]:
            async with slot.lent():
                yield

        await asyncio.sleep(call.arrival)
        if call.gives_up is not None:
            task = asyncio.current_task()
            assert task is not None
            asyncio.get_running_loop().call_later(call.gives_up, task.cancel)
        job = Job("j", "p", "1", call.key, "m", {}, {}, {}, {"out": OutputSpec("text/plain")}, "0" * 64)
        async with pool.held(call.priority) as slot:
            context = JobContext(
                "j", "r", 1, Path(), logging.getLogger("x"), priority=call.priority, uses=call.uses, idle=idle,
                shared=store,
            )  # fmt: skip
            return await with_limits(produce, limits)(job, context)

    with slow_threads(chance):
        run(main())
    return spans


MOMENTS = st.integers(0, 24).map(lambda step: step * 0.25)
CALLS = st.lists(
    st.builds(
        Call,
        arrival=MOMENTS,
        length=st.sampled_from([0.0, 0.1, 0.5, 3.0]),
        process=st.integers(0, 2),
        key=st.sampled_from(["a", "a", "own", "free"]),
        uses=st.sampled_from([{}, {}, {"gpu": 1}, {"gpu": 2}, {"own": 1}]),
        priority=st.sampled_from([0.0, 0.0, 1.0]),
        gives_up=st.none() | MOMENTS,
        retry_after=st.sampled_from([None, None, None, 1.0]),
    ),
    max_size=20,
)


def _weight(call: Call, name: str) -> int:
    return call.uses.get(name, 1 if call.key == name else 0)


def _peak(spans: list[tuple[float, float, Call]], name: str) -> int:
    changes = [(begun, 1, _weight(call, name)) for begun, _, call in spans]
    changes += [(ended, 0, -_weight(call, name)) for _, ended, call in spans]
    return max(itertools.accumulate(weight for _, _, weight in sorted(changes)), default=0)


@settings(max_examples=400)
@given(calls=CALLS, seed=st.integers(0, 2**32), slots=st.sampled_from([1, 3]))
def test_over_all_processes_no_limit_is_broken_and_nobody_is_left_waiting(
    calls: list[Call], seed: int, slots: int
) -> None:
    """Whatever is cancelled or refused, and however long threads and the run's own slots take."""
    spans = played(calls, seed, slots)
    assert _peak(spans, "a") <= 2
    assert _peak(spans, "gpu") <= 2
    starts = [begun for begun, _, call in spans if _weight(call, "a")]
    for begin in starts:
        assert sum(begin <= at < begin + 2 - 1e-6 for at in starts) <= 3
    spaced = sorted(begun for begun, _, call in spans if _weight(call, "gpu"))
    assert all(later - earlier >= 0.3 - 1e-6 for earlier, later in itertools.pairwise(spaced))
    for process in range(3):
        mine = [span for span in spans if span[2].process == process]
        assert _peak(mine, "own") <= 3
        assert _peak([(*span[:2], replace(span[2], key="all", uses={"all": 1})) for span in mine], "all") <= slots


CROWDED = st.lists(
    st.builds(
        Call,
        arrival=st.sampled_from([0.0, 0.0, 0.5, 1.0]),
        length=st.sampled_from([0.1, 0.5, 3.0]),
        process=st.integers(0, 1),
        key=st.sampled_from(["a", "a", "free"]),
        uses=st.just({}),
        priority=st.sampled_from([0.0, 1.0]),
        gives_up=st.none(),
        retry_after=st.sampled_from([None, None, 1.0, 3.0]),
    ),
    min_size=8,
    max_size=20,
)


@settings(max_examples=100)
@given(calls=CROWDED, seed=st.integers(0, 2**32))
def test_calls_with_shared_slots_never_wait_for_one_another(calls: list[Call], seed: int) -> None:
    """Few slots, pauses, and runs so busy that whoever was let in is late, and must ask for its start again."""
    rule: dict[str, object] = {"concurrency": 2, "rate": "3/2s", "scope": "machine"}
    spans = played(calls, seed, 1, {"a": rule})
    assert len(spans) == len(calls)
    assert _peak(spans, "a") <= 2
