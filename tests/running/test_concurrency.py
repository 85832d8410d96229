"""How many calls go on at once."""

from __future__ import annotations

import asyncio
import random

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from renku_store import ConcurrencyLimiter, InvalidValueError, resolve_concurrency
from renku_store.running.concurrency import HeldSlot
from renku_store.testing.loop_time import run


@pytest.mark.parametrize(
    ("setting", "cpus", "expected"),
    [
        (8, 2, 8),
        ("8", 2, 8),
        ("50%", 8, 4),
        ("50%", 5, 3),  # 2.5 rounds half up
        ("50%", 3, 2),
        ("30%", 5, 2),  # 1.5
        ("25%", 5, 1),  # 1.25
        ("1%", 2, 1),
        ("0%", 8, 1),
        ("0.0 %", 8, 1),
        ("200%", 4, 8),
        (" 50 % ", 4, 2),
        ("auto", 1, 1),
        ("auto", 2, 1),
        ("auto", 6, 3),
        ("AUTO", 64, 8),
    ],
)
def test_a_setting_means_a_number(setting: int | str, cpus: int, expected: int) -> None:
    """Numbers, percentages (half up, at least 1) and auto (half of the processors, 1 to 8)."""
    assert resolve_concurrency(setting, cpus=cpus) == expected


@pytest.mark.parametrize("setting", [0, -1, "", "many", "0", "-5%", "1.5", "5 jobs", "٣", 10_001, True])
def test_nonsense_is_refused_by_name(setting: int | str) -> None:
    """What is no concurrency is named, with what would be one."""
    with pytest.raises(InvalidValueError, match="concurrency") as caught:
        resolve_concurrency(setting)
    assert "auto" in caught.value.hint


@given(limit=st.integers(1, 4), seed=st.integers(0, 2**32), jobs=st.integers(1, 30))
def test_never_more_than_the_limit_and_never_idle_while_someone_waits(limit: int, seed: int, jobs: int) -> None:
    """Whatever the order of arrivals, cancellations and releases: no overrun, no lost wake-up, no idle slot."""
    chance = random.Random(seed)

    async def go() -> None:
        limiter = ConcurrencyLimiter(limit)
        running = 0

        async def work() -> None:
            nonlocal running
            await limiter.acquire(chance.randint(0, 2))
            running += 1
            assert running <= limit
            try:
                for _ in range(chance.randint(0, 3)):
                    await asyncio.sleep(0)
            finally:
                running -= 1
                limiter.release()

        tasks = []
        for _ in range(jobs):
            tasks.append(asyncio.create_task(work()))
            if chance.random() < 0.3:
                chance.choice(tasks).cancel()
            if chance.random() < 0.5:
                await asyncio.sleep(0)
        for _ in range(20 * jobs):
            await asyncio.sleep(0)
            if limiter.waiting:
                assert limiter.used == limit
        await asyncio.gather(*tasks, return_exceptions=True)
        assert all(task.cancelled() or task.exception() is None for task in tasks)
        assert (running, limiter.used, limiter.waiting) == (0, 0, 0)

    asyncio.run(go())


def test_first_come_first_served_within_a_priority() -> None:
    """Waiters go by priority, then by arrival; a late-comer cannot overtake."""

    async def go() -> list[str]:
        limiter = ConcurrencyLimiter(1)
        await limiter.acquire()
        served: list[str] = []

        async def wait(name: str, priority: float) -> None:
            async with limiter.slot(priority):
                served.append(name)
                await asyncio.sleep(0)

        tasks = [asyncio.create_task(wait(f"low{n}", 0)) for n in range(3)]
        await asyncio.sleep(0)
        tasks += [asyncio.create_task(wait(f"high{n}", 1)) for n in range(2)]
        await asyncio.sleep(0)
        limiter.release()
        late = asyncio.create_task(wait("late", 0))
        await asyncio.gather(*tasks, late)
        return served

    assert asyncio.run(go()) == ["high0", "high1", "low0", "low1", "low2", "late"]


MOMENTS = st.integers(0, 6)


@example(limit=1, lendings=[(0, 0), (1, 0)], others=[0])
@given(limit=st.integers(1, 3), lendings=st.lists(st.tuples(MOMENTS, MOMENTS), max_size=5), others=st.lists(MOMENTS))
def test_several_that_lend_one_slot_at_once_give_it_once_and_take_it_once(
    limit: int, lendings: list[tuple[int, int]], others: list[int]
) -> None:
    """Whoever begins and ends when, whoever has the slots meanwhile: held again after the last of them, and no more."""

    async def go() -> None:
        limiter = ConcurrencyLimiter(limit)

        async def work(arrival: int) -> None:
            await asyncio.sleep(arrival)
            async with limiter.slot():
                await asyncio.sleep(1.5)

        async with limiter.held() as slot:

            async def lend(arrival: int, length: int) -> None:
                await asyncio.sleep(arrival)
                async with slot.lent():
                    await asyncio.sleep(length)

            working = asyncio.gather(*map(work, others))
            await asyncio.gather(*(lend(*lending) for lending in lendings))
            await asyncio.sleep(100)  # whoever can get another slot is done then
            assert limiter.used == 1
        await working
        assert (limiter.used, limiter.waiting) == (0, 0)

    run(asyncio.wait_for(go(), 1000))


def test_who_still_lends_a_slot_when_its_holder_has_ended_does_not_take_it_again() -> None:
    """What a failed call left behind keeps no slot of the run, be it in the block or already waiting at its end."""

    async def go() -> None:
        limiter = ConcurrencyLimiter(1)

        async def left_behind(slot: HeldSlot, seconds: int) -> None:
            async with slot.lent():
                await asyncio.sleep(seconds)

        for seconds in (1, 3):
            async with limiter.held() as slot:
                task = asyncio.create_task(left_behind(slot, seconds))
                await asyncio.sleep(0)
                await limiter.acquire()
                await asyncio.sleep(2)
            limiter.release()
            await task
            assert (limiter.used, limiter.waiting) == (0, 0)

    run(go())
