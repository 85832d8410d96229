"""When calls may start, and how many at once: laws on a loop of its own time."""

from __future__ import annotations

import asyncio
import itertools
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from renku_store import ConcurrencyLimiter, InvalidValueError
from renku_store.running.adaptive import AdaptiveLimiter
from renku_store.running.pacing import Pacer, Start
from renku_store.testing.loop_time import run

SECOND = 1.0


def started(pacer: Pacer, arrivals: list[tuple[float, int]]) -> list[tuple[float, int, int]]:
    """When each of some calls (moment of arrival, weight) starts: (time, weight, place in the order of arrival)."""
    starts: list[tuple[float, int, int]] = []
    arrived = itertools.count()

    async def call(at: float, weight: int) -> None:
        await asyncio.sleep(at)
        place = next(arrived)
        await pacer.turn(weight)
        starts.append((asyncio.get_running_loop().time(), weight, place))

    async def main() -> None:
        await asyncio.gather(*(call(at, weight) for at, weight in arrivals))

    run(main())
    return starts


ARRIVALS = st.lists(st.tuples(st.sampled_from([0.0, 0.1, 0.5, 0.9, 1.0, 2.5]), st.integers(1, 3)), max_size=25)


@given(arrivals=ARRIVALS, limit=st.integers(3, 6), period=st.sampled_from([0.5, 1.0, 3.0]))
def test_in_no_window_do_more_start_than_the_limit(
    arrivals: list[tuple[float, int]], limit: int, period: float
) -> None:
    """Whatever window of that length one looks at, also across the edges of others."""
    starts = started(Pacer(limit, period), arrivals)
    assert len(starts) == len(arrivals)
    for begin, _, _ in starts:
        inside = sum(weight for at, weight, _ in starts if begin <= at < begin + period - 1e-6)
        assert inside <= limit


@given(arrivals=ARRIVALS, limit=st.integers(3, 6))
def test_turns_come_in_the_order_of_arrival_whatever_the_weight(arrivals: list[tuple[float, int]], limit: int) -> None:
    """A heavy call is not overtaken by light ones."""
    starts = started(Pacer(limit, SECOND), arrivals)
    assert [place for _, _, place in starts] == list(range(len(arrivals)))


def test_nobody_waits_without_need() -> None:
    """The first `limit` start at once, the next when the first has left the window."""
    assert [at for at, _, _ in started(Pacer(3, SECOND), [(0.0, 1)] * 7)] == [0, 0, 0, 1, 1, 1, 2]


def test_spacing_lies_between_any_two_starts() -> None:
    """Also where the window would have room."""
    times = [at for at, _, _ in started(Pacer(100, SECOND, spacing_seconds=0.25), [(0.0, 1)] * 4 + [(2.0, 1)])]
    assert times == pytest.approx([0, 0.25, 0.5, 0.75, 2.0])


def test_a_reservoir_lets_a_burst_in_and_then_drips() -> None:
    """It is refilled evenly: at the edge of a window there is no second burst."""
    times = [at for at, _, _ in started(Pacer(reservoir=3, refill_seconds=0.5), [(0.0, 1)] * 6)]
    assert times == pytest.approx([0, 0, 0, 0.5, 1.0, 1.5])


def test_a_pause_holds_back_everybody_who_waits() -> None:
    """Retry-After counts for the whole key, and a shorter one does not shorten it."""

    async def main() -> list[float]:
        pacer, times = Pacer(10, SECOND), []
        loop = asyncio.get_running_loop()

        async def call() -> None:
            await pacer.turn()
            times.append(loop.time())

        pacer.hold(5)
        calls = [asyncio.create_task(call()) for _ in range(3)]
        await asyncio.sleep(1)
        assert pacer.waiting == 3
        pacer.hold(1)
        await asyncio.gather(*calls)
        return times

    assert run(main()) == pytest.approx([5, 5, 5])


@pytest.mark.parametrize("asked", [float("inf"), 1e12])
def test_no_provider_can_hold_everybody_for_ever(asked: float) -> None:
    """A pause that nobody could sit through is cut to an hour."""

    async def main() -> float:
        pacer = Pacer(10, SECOND)
        pacer.hold(asked)
        pacer.hold(float("nan"))
        await pacer.turn()
        return asyncio.get_running_loop().time()

    assert run(main()) == pytest.approx(3_600)


@given(seed=st.integers(0, 2**32))
def test_a_cancelled_waiter_holds_nobody_up(seed: int) -> None:
    """Those behind it start as if it had never come, and none is lost."""
    chance = random.Random(seed)

    async def main() -> None:
        pacer = Pacer(2, SECOND)
        tasks = [asyncio.create_task(pacer.turn()) for _ in range(12)]
        for task in chance.sample(tasks, 5):
            await asyncio.sleep(chance.choice([0, 0.3]))
            task.cancel()
        results = await asyncio.gather(*tasks, return_exceptions=True)
        assert all(isinstance(result, Start | asyncio.CancelledError) for result in results)
        assert pacer.waiting == 0
        assert asyncio.get_running_loop().time() <= 6

    run(main())


@pytest.mark.parametrize(
    "wrong",
    [{"limit": 0}, {"limit": 1, "period_seconds": 0}, {"spacing_seconds": -1}, {"reservoir": 2}, {"reservoir": 0}],
)
def test_a_rate_that_lets_nobody_in_is_refused(wrong: dict[str, float]) -> None:
    """By name, when it is made."""
    with pytest.raises(InvalidValueError):
        Pacer(**wrong)  # type: ignore[arg-type]


def test_a_call_that_could_never_start_is_refused_at_once() -> None:
    """Waiting for it would hold up everybody for ever."""
    with pytest.raises(InvalidValueError, match="weight 4"):
        run(Pacer(3, SECOND).turn(4))


# Concurrency: weights and changing limits


@given(seed=st.integers(0, 2**32), limit=st.integers(1, 5))
def test_weights_and_new_limits_keep_the_laws(seed: int, limit: int) -> None:
    """Never above the limit of that moment by an admission, nobody lost, nothing held at the end."""
    chance = random.Random(seed)

    async def main() -> None:
        limiter = ConcurrencyLimiter(limit)

        async def work(weight: int) -> None:
            async with limiter.slot(chance.randint(0, 2), weight):
                assert limiter.used <= max(limiter.limit, weight) or shrunk
                await asyncio.sleep(chance.random())

        shrunk = False
        tasks = []
        for _ in range(30):
            tasks.append(asyncio.create_task(work(chance.randint(1, 3))))
            if chance.random() < 0.3:
                chance.choice(tasks).cancel()
            if chance.random() < 0.2:
                now = chance.randint(1, 5)
                shrunk = shrunk or now < limiter.limit
                limiter.resize(now)
            await asyncio.sleep(chance.choice([0, 0.1]))
        await asyncio.gather(*tasks, return_exceptions=True)
        assert all(task.cancelled() or task.exception() is None for task in tasks)
        assert (limiter.used, limiter.waiting) == (0, 0)

    run(main())


def test_a_heavy_one_is_not_starved_by_light_ones() -> None:
    """Whoever comes after it waits behind it, though there would be room."""

    async def main() -> list[str]:
        limiter, order = ConcurrencyLimiter(3), []

        async def work(name: str, weight: int) -> None:
            async with limiter.slot(0, weight):
                order.append(name)
                await asyncio.sleep(1)

        tasks = [asyncio.create_task(work(name, weight)) for name, weight in (("a", 2), ("heavy", 3), ("b", 1))]
        await asyncio.gather(*tasks)
        return order

    assert run(main()) == ["a", "heavy", "b"]


# Adaptive limits


def test_a_limit_grows_only_while_it_is_used() -> None:
    """Calls one after another say nothing about how many the provider would take at once."""

    async def main() -> tuple[int, int]:
        alone, crowd = AdaptiveLimiter(4), AdaptiveLimiter(4)

        async def call(limiter: AdaptiveLimiter) -> None:
            async with limiter.slot() as slot:
                await asyncio.sleep(1)
                slot.succeeded()

        for _ in range(50):
            await call(alone)
        await asyncio.gather(*(call(crowd) for _ in range(50)))
        return alone.limit, crowd.limit

    alone, crowd = run(main())
    assert alone == 4
    assert 6 <= crowd <= 12


def test_one_burst_of_refusals_is_one_decrease() -> None:
    """Calls that were under way when the limit fell say nothing about the new one."""

    async def main() -> list[int]:
        limiter, limits = AdaptiveLimiter(16), []

        async def refused() -> None:
            async with limiter.slot() as slot:
                await asyncio.sleep(1)
                slot.overloaded()
                limits.append(limiter.limit)

        await asyncio.gather(*(refused() for _ in range(16)))
        await refused()
        return limits

    limits = run(main())
    assert limits == [8] * 16 + [4]


@given(capacity=st.integers(2, 30), seed=st.integers(0, 2**32))
def test_a_limit_finds_what_the_provider_takes(capacity: int, seed: int) -> None:
    """After a while it swings between half of what the provider takes and a little more than that."""
    chance = random.Random(seed)

    async def main() -> list[int]:
        limiter, busy, limits = AdaptiveLimiter(4, maximum=100), 0, []

        async def call() -> None:
            nonlocal busy
            async with limiter.slot() as slot:
                busy += 1
                refused = busy > capacity
                await asyncio.sleep(0.01 if refused else 0.5 + chance.random())
                busy -= 1
                slot.overloaded() if refused else slot.succeeded()
                limits.append(limiter.limit)

        await asyncio.gather(*(call() for _ in range(60 * capacity)))
        return limits

    settled = run(main())[30 * capacity :]
    assert max(settled) <= capacity + 2
    assert min(settled) >= max(1, capacity // 2 - 1)


def test_limits_out_of_order_are_refused() -> None:
    """A minimum above the start, or nothing at all."""
    for wrong in ((0, 1, 2), (4, 5, 6), (9, 1, 8)):
        with pytest.raises(InvalidValueError):
            AdaptiveLimiter(wrong[0], minimum=wrong[1], maximum=wrong[2])
