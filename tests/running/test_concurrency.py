"""How many calls go on at once."""

from __future__ import annotations

import asyncio
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from renku_store import ConcurrencyLimiter, InvalidValueError, resolve_concurrency


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


@pytest.mark.parametrize("setting", [0, -1, "", "many", "0%", "-5%", "1.5", "5 jobs", "٣", 10_001, True])
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
