"""One runner for several event loops, and for one plan that is asked for twice: it works or is refused, and ends."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Awaitable, Callable, Coroutine
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any, TypeVar

import pytest

from renku_store import ExecutionPlan, InvalidValueError, Movie, Runner, RunResult, plan_movie
from tests.running.conftest import Studio

T = TypeVar("T")
PATIENCE_SECONDS = 120


def plans(movie: Movie, count: int, name: str = "voice") -> list[ExecutionPlan]:
    """So many plans that differ in a voice."""
    return [plan_movie(movie, inputs={"voice": f"{name}-{number}"}) for number in range(count)]


async def in_time(work: Awaitable[T]) -> T:
    return await asyncio.wait_for(work, PATIENCE_SECONDS)


def run_in_time(work: Callable[[], Awaitable[T]]) -> T:
    return asyncio.run(in_time(work()))


def threads(*works: Callable[[], Coroutine[Any, Any, T]]) -> list[T | BaseException]:
    """What comes of each, in an event loop and a thread of its own, all at once."""
    with ThreadPoolExecutor(len(works)) as pool:
        asked = [pool.submit(run_in_time, work) for work in works]
        return [one.exception() or one.result() for one in asked]


async def all_at_once(runner: Runner, studio: Studio, given: list[ExecutionPlan]) -> list[RunResult]:
    return await in_time(asyncio.gather(*(runner.execute(plan, produce=studio) for plan in given)))


def test_runs_of_one_event_loop_after_the_other(movie: Movie, studio: Studio) -> None:
    """Several plans at once in each of several loops, one loop after the other."""
    runner = Runner(movie, concurrency=3)
    results = [
        result
        for name in ("first", "second", "third")
        for result in asyncio.run(all_at_once(runner, studio, plans(movie, 3, name)))
    ]
    assert all(result.succeeded for result in results)
    assert len({result.run for result in results}) == 9


def test_runs_in_event_loops_of_several_threads_at_once(movie: Movie, studio: Studio) -> None:
    """Each plan is executed to its end, and never are there more calls than the one runner has slots."""
    runner = Runner(movie, concurrency=2)
    studio.pause_seconds = 0.01
    results = threads(*(partial(runner.execute, plan, produce=studio) for plan in plans(movie, 6)))
    assert [isinstance(result, RunResult) and result.succeeded for result in results] == [True] * 6
    assert studio.peak <= 2
    assert studio.calls["draw[0]"] == 1


def test_one_plan_is_executed_once_at_a_time(movie: Movie, studio: Studio) -> None:
    """Who asks a second time meanwhile is refused, the first goes on undisturbed; later ones get what is made."""

    async def main() -> None:
        (plan,) = plans(movie, 1)
        runner = Runner(movie)
        studio.hold, stop = asyncio.Event(), asyncio.Event()
        first = asyncio.create_task(runner.execute(plan, produce=studio))
        second = asyncio.create_task(runner.execute(plan, produce=studio, stop=stop))
        with pytest.raises(InvalidValueError, match="is being executed by this runner already"):
            await second
        stop.set()
        studio.hold.set()
        made = await first
        assert (made.succeeded, made.metrics.made) == (True, 10)
        again = await runner.execute(plan, produce=studio)
        assert (again.succeeded, again.metrics.reused, again.run == made.run) == (True, 10, False)

    asyncio.run(in_time(main()))
    assert set(studio.calls.values()) == {1}


def test_one_plan_belongs_to_one_event_loop_at_a_time(movie: Movie, studio: Studio) -> None:
    """Of two loops that execute the same plan at once one is refused; so are jobs of that plan."""
    (plan,) = plans(movie, 1)
    runner = Runner(movie)
    begun, refused = threading.Event(), threading.Event()

    async def first() -> RunResult:
        async def produce(job: Any, context: Any) -> Any:
            begun.set()
            await asyncio.to_thread(refused.wait, PATIENCE_SECONDS)
            return await studio(job, context)

        return await runner.execute(plan, produce=produce)

    async def second() -> None:
        await asyncio.to_thread(begun.wait, PATIENCE_SECONDS)
        try:
            with pytest.raises(InvalidValueError, match="by this runner already"):
                await runner.execute(plan, produce=studio)
            with pytest.raises(InvalidValueError, match="in another event loop"):
                await runner.execute_job("say[0]", plan=plan, produce=studio)
            with pytest.raises(InvalidValueError, match="in another event loop"):
                await runner.expand(plan)
        finally:
            refused.set()

    made, nothing = threads(first, second)
    assert nothing is None
    assert isinstance(made, RunResult)
    assert made.succeeded
    assert set(studio.calls.values()) == {1}


def test_jobs_of_one_plan_in_one_event_loop_after_the_other(movie: Movie, studio: Studio) -> None:
    """A caller with a scheduler of its own may come back in another loop: what is done is done."""
    (plan,) = plans(movie, 1)
    runner = Runner(movie, concurrency=1)

    async def main(jobs: list[str]) -> list[str]:
        asked = [runner.expand(plan) for _ in range(3)]
        await asyncio.gather(*asked)
        results = await asyncio.gather(*(runner.execute_job(job, plan=plan, produce=studio) for job in jobs * 2))
        return sorted({result.status for result in results})

    assert asyncio.run(in_time(main(["say[0]", "draw[0]"]))) == ["made"]
    assert asyncio.run(in_time(main(["say[0]", "draw[1]", "length[0]"]))) == ["made"]
    assert set(studio.calls.values()) == {1}
    runner.close()


def test_a_plan_of_an_event_loop_that_stands_still_is_no_trap(movie: Movie, studio: Studio) -> None:
    """Nobody waits in another loop for what goes on in none; and it goes on where it was left."""
    (plan,) = plans(movie, 1)
    runner = Runner(movie, concurrency=20)
    loop = asyncio.new_event_loop()
    studio.hold = asyncio.Event()
    left = loop.create_task(runner.execute(plan, produce=studio))
    while not studio.calls:
        loop.run_until_complete(asyncio.sleep(0.01))
    with pytest.raises(InvalidValueError, match="by this runner already"):
        asyncio.run(in_time(runner.execute(plan, produce=studio)))
    studio.hold.set()
    assert loop.run_until_complete(in_time(left)).succeeded
    loop.close()


def test_who_is_cancelled_while_a_run_begins_gives_it_up(movie: Movie, studio: Studio) -> None:
    """No lease is held for nobody: the run can be taken up, or abandoned, at once."""

    async def main() -> None:
        (plan,) = plans(movie, 1)
        runner = Runner(movie)
        asked = asyncio.create_task(runner.execute(plan, produce=studio))
        await asyncio.sleep(0)
        asked.cancel()
        await asyncio.wait([asked])
        assert asked.cancelled()
        assert [run.alive for run in movie.leases.unfinished()] == [False]
        assert (await runner.execute(plan, produce=studio)).succeeded

    asyncio.run(in_time(main()))


def test_who_is_cancelled_again_while_a_run_is_given_up_is_waited_for(movie: Movie, studio: Studio) -> None:
    """However often: until its lease is given back and what it knew is forgotten, nobody else begins with the plan."""
    giving_up, may_end = threading.Event(), threading.Event()

    class HeldUp(Runner):
        def _forget(self, plan: ExecutionPlan) -> None:
            giving_up.set()
            may_end.wait(PATIENCE_SECONDS)
            super()._forget(plan)

    async def main() -> None:
        (plan,) = plans(movie, 1)
        runner = HeldUp(movie)
        asked = asyncio.create_task(runner.execute(plan, produce=studio))
        await asyncio.to_thread(giving_up.wait, PATIENCE_SECONDS)
        try:
            for _ in range(3):
                asked.cancel()
                await asyncio.sleep(0)
            with pytest.raises(InvalidValueError, match="by this runner already"):
                await runner.execute(plan, produce=studio)
        finally:
            may_end.set()
        await asyncio.wait([asked])
        assert asked.cancelled()
        assert [run.alive for run in movie.leases.unfinished()] == [False]
        assert (await runner.execute(plan, produce=studio)).succeeded

    asyncio.run(in_time(main()))
