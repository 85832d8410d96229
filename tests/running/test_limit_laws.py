"""Calls under limits on a loop of its own time: laws, over schedules of arrivals, lengths, refusals, cancellations."""

from __future__ import annotations

import asyncio
import itertools
import logging
import random
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from renku_store import (
    ConcurrencyLimiter,
    Job,
    JobContext,
    Limits,
    OutputSpec,
    Produced,
    RateLimitedError,
    RetryPolicy,
    with_limits,
    with_retry,
)
from renku_store.running.adaptive import AdaptiveLimiter
from renku_store.running.pacing import Pacer
from renku_store.testing.loop_time import run

DONE = Produced({"out": "done"})
STEP = 0.25
LAW = settings(max_examples=200)


def job(name: str, provider: str = "openai", model: str = "image") -> Job:
    return Job(name, "p", "1", provider, model, {}, {}, {}, {"out": OutputSpec("text/plain")}, "0" * 64)


def now() -> float:
    return asyncio.get_running_loop().time()


@dataclass
class Call:
    """One call of a schedule: when it comes, how long it takes, and what it asks of whom."""

    arrival: float
    length: float
    key: str = "a"
    priority: float = 0.0
    uses: dict[str, int] = field(default_factory=dict)
    gives_up: float | None = None
    refusals: int = 0
    retry_after: float | None = None
    run: int = 0


@dataclass
class Seen:
    """What a schedule came to: starts (moment, key, place in the schedule), and the most at once of each key."""

    starts: list[tuple[float, str, int]] = field(default_factory=list)
    busy: dict[str, int] = field(default_factory=dict)
    peaks: dict[str, int] = field(default_factory=dict)
    run_busy: dict[int, int] = field(default_factory=dict)
    waits: list[tuple[str, str | None]] = field(default_factory=list)
    arrivals: list[Call] = field(default_factory=list)

    def enter(self, call: Call, place: int, weights: dict[str, int]) -> None:
        self.starts.append((now(), call.key, place))
        for name, weight in weights.items():
            self.busy[name] = self.busy.get(name, 0) + weight
            self.peaks[name] = max(self.peaks.get(name, 0), self.busy[name])
        self.run_busy[call.run] = self.run_busy.get(call.run, 0) + 1

    def leave(self, call: Call, weights: dict[str, int]) -> None:
        for name, weight in weights.items():
            self.busy[name] -= weight
        self.run_busy[call.run] -= 1


def played(limits: Limits, calls: list[Call], *, slots: int | None = None) -> Seen:
    """Play a schedule to its end; `slots` are those of each run, lent as the runner lends them."""
    seen = Seen()

    async def main() -> None:
        runs = {call.run: ConcurrencyLimiter(slots) for call in calls} if slots else {}
        tasks = [asyncio.create_task(one(call, place, runs)) for place, call in enumerate(calls)]
        ended = await asyncio.wait_for(asyncio.gather(*tasks, return_exceptions=True), 1e6)
        for call, end in zip(calls, ended, strict=True):
            gave_up = isinstance(end, asyncio.CancelledError) and call.gives_up is not None
            assert end is DONE or gave_up, end
        for use in limits.usage().values():
            assert (use.used, use.waiting) == (0, 0), "nothing stays held"
        assert all(not limiter.used for limiter in runs.values())

    async def one(call: Call, place: int, runs: dict[int, ConcurrencyLimiter]) -> Produced:
        await asyncio.sleep(call.arrival)
        seen.arrivals.append(call)
        work = asyncio.create_task(called(call, place, runs.get(call.run)))
        if call.gives_up is not None:
            asyncio.get_running_loop().call_later(call.gives_up, work.cancel)
        return await work

    async def called(call: Call, place: int, pool: ConcurrencyLimiter | None) -> Produced:
        weights = {call.key: call.uses.get(call.key, 1), **call.uses}
        left = call.refusals

        async def produce(job: Job, context: JobContext) -> Produced:
            nonlocal left
            seen.enter(call, place, weights)
            assert pool is None or seen.run_busy[call.run] <= pool.limit
            try:
                await asyncio.sleep(call.length)
                if left:
                    left -= 1
                    raise RateLimitedError("too much", retry_after=call.retry_after)
                return DONE
            finally:
                seen.leave(call, weights)

        @asynccontextmanager
        async def told(reason: str = "back-off", key: str | None = None) -> AsyncIterator[None]:
            seen.waits.append((reason, key))
            yield

        @asynccontextmanager
        async def idle(reason: str = "back-off", key: str | None = None) -> AsyncIterator[None]:
            async with told(reason, key), slot.lent():
                yield

        whole = with_retry(with_limits(produce, limits), RetryPolicy(attempts=9, base_seconds=0, total_seconds=1e9))
        base = JobContext("j", "r", 1, Path(), logging.getLogger("limits"), priority=call.priority, uses=call.uses)
        if pool is None:
            return await whole(job(str(place), call.key), replace(base, idle=told))
        async with pool.held(call.priority) as slot:
            return await whole(job(str(place), call.key), replace(base, idle=idle))

    run(main())
    return seen


def greedy(calls: list[Call], limit: int, period: float, spacing: float) -> list[float]:
    """When calls start that start as early as a sliding window and a spacing let them, in the order of arrival."""
    starts: list[float] = []
    for call in calls:
        ready = max([call.arrival, *starts[-1:]])
        if starts:
            ready = max(ready, starts[-1] + spacing)
        if len(starts) >= limit:
            ready = max(ready, starts[-limit] + period)
        starts.append(ready)
    return starts


MOMENTS = st.integers(0, 24).map(lambda step: step * STEP)
PLAIN = st.lists(st.builds(Call, MOMENTS, MOMENTS.map(lambda length: length / 4)), max_size=20)


@LAW
@given(calls=PLAIN, limit=st.integers(1, 5), period=st.sampled_from([0.5, 1.0, 4.0]), spacing=st.sampled_from([0, 0.5]))
def test_calls_start_exactly_when_a_sliding_window_first_lets_them(
    calls: list[Call], limit: int, period: float, spacing: float
) -> None:
    """Not before (the rate), not later (nobody waits without need), and in the order of arrival."""
    rule = {"rate": f"{limit}/{period}s", "spacing": spacing}
    seen = played(Limits({"a": rule}, shared=False), calls)
    assert [at for at, _, _ in seen.starts] == pytest.approx(greedy(seen.arrivals, limit, period, spacing))
    arrivals = [calls[place].arrival for _, _, place in seen.starts]
    assert arrivals == sorted(arrivals)


@LAW
@given(calls=PLAIN, limit=st.integers(1, 5))
def test_slots_are_never_idle_and_never_too_many(calls: list[Call], limit: int) -> None:
    """Calls start exactly when a queue with that many servers would let them, first come, first served."""
    seen = played(Limits({"a": {"concurrency": limit}}, shared=False), calls)
    free = [0.0] * limit
    expected = []
    for call in seen.arrivals:
        free.sort()
        start = max(free[0], call.arrival)
        expected.append(start)
        free[0] = start + call.length
    assert [at for at, _, _ in seen.starts] == pytest.approx(sorted(expected))
    assert seen.peaks.get("a", 0) <= limit


WILD = st.lists(
    st.builds(
        Call,
        arrival=MOMENTS,
        length=MOMENTS.map(lambda length: length / 4),
        key=st.sampled_from(["a", "b", "free"]),
        priority=st.sampled_from([0.0, 0.0, 1.0]),
        uses=st.sampled_from([{}, {}, {"gpu": 1}, {"gpu": 2}, {"a": 2}, {"nobody knows": 3}]),
        gives_up=st.none() | MOMENTS,
        refusals=st.sampled_from([0, 0, 0, 1, 2]),
        retry_after=st.sampled_from([None, 0.5, 2.0]),
        run=st.integers(0, 1),
    ),
    max_size=24,
)
RULES = {
    "a": {"concurrency": 2, "rate": "3/2s", "spacing": "250ms"},
    "b": {"concurrency": 3, "reservoir": 4, "refill": "500ms"},
    "gpu": {"concurrency": 2, "rate": "4/1s"},
}


@settings(max_examples=500)
@given(calls=WILD, slots=st.sampled_from([None, 1, 3]))
def test_whatever_happens_no_limit_is_broken_and_nobody_is_left_waiting(calls: list[Call], slots: int | None) -> None:
    """Several keys, resources, weights, priorities, runs, refusals, retries and cancellations together."""
    seen = played(Limits(RULES, shared=False), calls, slots=slots)
    assert seen.peaks.get("a", 0) <= 2
    assert seen.peaks.get("b", 0) <= 3
    assert seen.peaks.get("gpu", 0) <= 2
    for name, limit, period in (("a", 3, 2.0), ("gpu", 4, 1.0)):
        starts = [(at, _weight(calls[place], name)) for at, _, place in seen.starts if _weight(calls[place], name)]
        for begin, _ in starts:
            assert sum(weight for at, weight in starts if begin <= at < begin + period - 1e-6) <= limit
    spaced = [at for at, _, place in seen.starts if _weight(calls[place], "a")]
    assert all(later - earlier >= STEP - 1e-6 for earlier, later in itertools.pairwise(spaced))


def _weight(call: Call, name: str) -> int:
    return call.uses.get(name, 1 if call.key == name else 0)


@LAW
@given(calls=PLAIN, refused=st.integers(0, 19), seconds=st.sampled_from([1.0, 3.0]))
def test_a_pause_that_a_provider_asks_for_holds_back_every_call_of_its_key(
    calls: list[Call], refused: int, seconds: float
) -> None:
    """Also where the key has no limits, and those that had been waiting for long; other keys go on."""
    for place, call in enumerate(calls):
        call.key = "a" if place % 2 else "b"
        call.refusals, call.retry_after = int(place == refused), seconds
    seen = played(Limits(shared=False), calls)
    if refused >= len(calls):
        return
    key = calls[refused].key
    said = calls[refused].arrival + calls[refused].length
    assert not [at for at, name, _ in seen.starts if name == key and said + 1e-9 < at < said + seconds - 1e-9]
    assert [at for at, name, _ in seen.starts if name != key] == pytest.approx(
        sorted(call.arrival for call in calls if call.key != key)
    )


@LAW
@given(
    calls=st.lists(st.builds(Call, MOMENTS, MOMENTS, priority=st.sampled_from([0.0, 1.0, 2.0])), max_size=16),
    rule=st.sampled_from([{"concurrency": 1}, {"rate": "1/2s"}]),
)
def test_who_waits_goes_by_priority_then_by_arrival(calls: list[Call], rule: dict[str, object]) -> None:
    """Whenever a call starts that had to wait, none that was waiting then had a better claim."""
    seen = played(Limits({"a": rule}, shared=False), calls)
    started = {place: at for at, _, place in seen.starts}
    for first, other in itertools.permutations(range(len(calls)), 2):
        one, two = calls[first], calls[other]
        waited = one.arrival < started[first] and two.arrival < started[first] < started[other]
        # Who is first at a rate stays first: it sleeps until its moment.
        if waited and "concurrency" in rule:
            assert (-one.priority, one.arrival) <= (-two.priority, two.arrival)


@LAW
@given(calls=PLAIN, slots=st.integers(1, 3), limit=st.integers(1, 3))
def test_a_call_that_waits_for_its_key_leaves_the_slot_of_its_run_to_others(
    calls: list[Call], slots: int, limit: int
) -> None:
    """Calls of a key without limits start as if those that wait were not there."""
    for place, call in enumerate(calls):
        call.key = "a" if place % 2 else "free"
        call.length = 2.0 if call.key == "a" else 0.0
    seen = played(Limits({"a": {"concurrency": limit}}, shared=False), calls, slots=slots + limit)
    free = [(at, calls[place].arrival) for at, name, place in seen.starts if name == "free"]
    assert all(at == pytest.approx(arrival) for at, arrival in free)
    assert {reason for reason, _ in seen.waits} <= {"limit"}


@settings(max_examples=100)
@given(seed=st.integers(0, 2**32), capacity=st.integers(2, 20))
def test_an_adaptive_key_finds_what_its_provider_takes(seed: int, capacity: int) -> None:
    """It grows only while it is used, is halved by a refusal, and settles about what is there."""
    chance = random.Random(seed)
    limits, sizes = Limits({"openai": {"adaptive": "1-64"}}, shared=False), []

    async def main() -> None:
        busy = 0

        async def produce(job: Job, context: JobContext) -> Produced:
            nonlocal busy
            busy += 1
            refused = busy > capacity
            await asyncio.sleep(0.01 if refused else 0.5 + chance.random())
            busy -= 1
            sizes.append(limits.usage()["openai"].limit)
            if refused:
                raise RateLimitedError("too much")
            return DONE

        limited = with_retry(
            with_limits(produce, limits), RetryPolicy(attempts=99, total_seconds=1e9), chance=lambda: 1
        )
        bare = JobContext("j", "r", 1, Path(), logging.getLogger("limits"))
        await asyncio.gather(*(limited(job(str(n)), bare) for n in range(40 * capacity)))

    run(main())
    settled = [size or 0 for size in sizes[len(sizes) // 2 : -2 * capacity]]
    assert max(settled, default=0) <= capacity + 2
    assert min(settled, default=99) >= max(1, capacity // 2 - 1)


# The parts


@LAW
@given(seed=st.integers(0, 2**32), limit=st.integers(1, 4))
def test_a_limiter_hands_over_at_once_whoever_comes_or_goes(seed: int, limit: int) -> None:
    """With weights, priorities, cancellations and other limits: the first that waits fits in no moment of rest."""
    chance = random.Random(seed)

    async def main() -> None:
        limiter = ConcurrencyLimiter(limit)
        waiting: dict[int, tuple[float, int, int]] = {}

        async def work(place: int, priority: float, weight: int) -> None:
            waiting[place] = (-priority, place, weight)
            try:
                await limiter.acquire(priority, weight)
            finally:
                del waiting[place]
            try:
                await asyncio.sleep(chance.choice([0.5, 1, 2]))
            finally:
                limiter.release(weight)

        tasks = []
        for place in range(25):
            tasks.append(asyncio.create_task(work(place, chance.randint(0, 2), chance.randint(1, 3))))
            if chance.random() < 0.3:
                chance.choice(tasks).cancel()
            if chance.random() < 0.1:
                limiter.resize(chance.randint(1, 4))
            if chance.random() < 0.5:
                await asyncio.sleep(chance.choice([0, 0.25, 1]))
            for _ in range(4):
                await asyncio.sleep(0)
            if waiting:
                weight = min(waiting.values())[2]
                assert limiter.used
                assert limiter.used + weight > limiter.limit
        await asyncio.gather(*tasks, return_exceptions=True)
        assert (limiter.used, limiter.waiting) == (0, 0)

    run(main())


@LAW
@given(seed=st.integers(0, 2**32))
def test_a_pacer_forgets_a_start_that_was_none(seed: int) -> None:
    """Calls that are counted and taken back, at random, leave the law of the window as it is for the others."""
    chance = random.Random(seed)

    async def main() -> None:
        pacer, starts = Pacer(3, 1.0, spacing_seconds=0.1), []
        for _ in range(40):
            await asyncio.sleep(chance.choice([0, 0.1, 0.3]))
            async with pacer.queue():
                while (delay := pacer.delay()) > 0:  # noqa: ASYNC110 (time is what is waited for)
                    await asyncio.sleep(delay)
                start = pacer.count()
            if chance.random() < 0.4:
                await asyncio.sleep(chance.choice([0, 0.1, 2]))
                pacer.forget(start)
            else:
                starts.append(now())
        for begin in starts:
            assert sum(begin <= at < begin + 1 - 1e-6 for at in starts) <= 3
        assert all(later - earlier >= 0.1 - 1e-6 for earlier, later in itertools.pairwise(starts))

    run(main())


@LAW
@given(seed=st.integers(0, 2**32))
def test_an_adaptive_limit_is_never_exceeded_but_by_those_who_were_there(seed: int) -> None:
    """Nobody is let in while more go on than the limit, however it moves; cancellations leave nothing behind."""
    chance = random.Random(seed)

    async def main() -> None:
        limiter = AdaptiveLimiter(4, maximum=8)

        async def work() -> None:
            async with limiter.slot(weight=1) as call:
                assert limiter.used <= limiter.limit
                await asyncio.sleep(chance.random())
                call.overloaded() if chance.random() < 0.2 else call.succeeded()

        tasks = []
        for _ in range(40):
            tasks.append(asyncio.create_task(work()))
            if chance.random() < 0.3:
                chance.choice(tasks).cancel()
            await asyncio.sleep(chance.choice([0, 0.05]))
        ended = await asyncio.gather(*tasks, return_exceptions=True)
        assert all(end is None or isinstance(end, asyncio.CancelledError) for end in ended)
        assert (limiter.used, limiter.waiting) == (0, 0)
        assert 1 <= limiter.limit <= 8

    run(main())
