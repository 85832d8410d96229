"""How a runner begins plans and lets go of them: nothing is held for nobody, and nobody's run is taken away."""

from __future__ import annotations

import asyncio
import threading
from pathlib import Path
from typing import Any

import pytest

from renku_store import ExecutionPlan, InvalidValueError, Movie, Runner, StoreUnavailableError, open_store, plan_movie
from renku_store.records.run import LeaseToken
from tests import children
from tests.running.conftest import Studio

PATIENCE_SECONDS = 120


def alive(movie: Movie) -> list[bool]:
    return [run.alive for run in movie.leases.unfinished()]


def test_all_of_a_plan_is_not_executed_while_a_job_of_it_is(movie: Movie, studio: Studio) -> None:
    """Who executes all lets go of the run in the end, and a call that is paid for would have lost its claim."""

    async def main() -> None:
        plan = plan_movie(movie)
        studio.hold = asyncio.Event()
        async with Runner(movie) as runner:
            one = asyncio.create_task(runner.execute_job("say[0]", plan=plan, produce=studio))
            await studio.called.wait()
            with pytest.raises(InvalidValueError, match="Jobs of this plan are being executed by this runner already"):
                await runner.execute(plan, produce=studio)
            studio.hold.set()
            assert (await one).status == "made"
            assert (await runner.execute(plan, produce=studio)).succeeded

    asyncio.run(asyncio.wait_for(main(), PATIENCE_SECONDS))
    assert set(studio.calls.values()) == {1}


def test_no_job_of_a_plan_is_executed_while_all_of_it_is(movie: Movie, studio: Studio) -> None:
    """Nor is the plan expanded: both would go on without the run."""

    async def main() -> None:
        plan = plan_movie(movie)
        studio.hold = asyncio.Event()
        runner = Runner(movie)
        whole = asyncio.create_task(runner.execute(plan, produce=studio))
        await studio.called.wait()
        with pytest.raises(InvalidValueError, match="This plan is being executed by this runner already"):
            await runner.execute_job("say[0]", plan=plan, produce=studio)
        with pytest.raises(InvalidValueError, match="This plan is being executed by this runner already"):
            await runner.expand(plan)
        studio.hold.set()
        assert (await whole).succeeded

    asyncio.run(asyncio.wait_for(main(), PATIENCE_SECONDS))
    assert set(studio.calls.values()) == {1}


def test_jobs_that_wait_for_their_plan_to_begin_take_no_thread(
    movie: Movie, studio: Studio, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Results are stored in threads: those of other plans would wait, too."""
    may_start = threading.Event()
    start = movie.leases.start

    def held_up(*arguments: Any, **options: Any) -> LeaseToken:
        may_start.wait(PATIENCE_SECONDS)
        return start(*arguments, **options)

    monkeypatch.setattr(movie.leases, "start", held_up)

    async def main() -> None:
        plan = plan_movie(movie)
        async with Runner(movie) as runner:
            waiting = [runner.execute_job("say[0]", plan=plan, produce=studio) for _ in range(100)]
            asked = asyncio.gather(*waiting)
            try:
                for _ in range(3):
                    await asyncio.wait_for(asyncio.to_thread(int), PATIENCE_SECONDS / 4)
            finally:
                may_start.set()
            assert {result.status for result in await asked} == {"made"}

    asyncio.run(main())
    assert studio.calls["say[0]"] == 1


@pytest.mark.parametrize("named", [False, True])
def test_a_plan_that_could_not_begin_can_begin_later(
    movie: Movie, studio: Studio, monkeypatch: pytest.MonkeyPatch, named: bool
) -> None:
    """What the first attempt held is given back at once; it is in nobody's way."""
    save, failures = movie.plans.save, [StoreUnavailableError("The disk is full.")]

    def full(*arguments: Any, **options: Any) -> None:
        if failures:
            raise failures.pop()
        save(*arguments, **options)

    monkeypatch.setattr(movie.plans, "save", full)

    async def main() -> None:
        plan = plan_movie(movie)
        if named:
            plan = plan.replace(run=movie.events.new_id())
        async with Runner(movie) as runner:
            with pytest.raises(StoreUnavailableError):
                await runner.execute_job("say[0]", plan=plan, produce=studio)
            assert alive(movie) == [False]
            assert (await runner.execute_job("say[0]", plan=plan, produce=studio)).status == "made"
            assert sorted(alive(movie)) == ([True] if named else [False, True])
        assert not any(alive(movie))

    asyncio.run(main())


def test_a_plan_that_names_no_run_is_of_the_run_of_its_token(movie: Movie, studio: Studio) -> None:
    """One that names another is refused."""

    async def main() -> None:
        plan: ExecutionPlan = plan_movie(movie)
        run = movie.events.new_id()
        token = movie.leases.start(run, base_revision=plan.base_revision, edits_through=plan.edits_through)
        async with Runner(movie) as runner:
            assert (await runner.expand(plan, token=token)).run == run
            other = plan.replace(run=movie.events.new_id())
            with pytest.raises(InvalidValueError, match=f"The plan is of {other.run}, the token of {run}"):
                await runner.execute_job("say[0]", plan=other, produce=studio, token=token)
            assert (await runner.execute_job("say[0]", plan=plan, produce=studio, token=token)).status == "made"
        movie.leases.release(token)

    asyncio.run(main())


def test_a_plan_that_was_left_behind_in_a_closed_loop_says_so(movie: Movie, studio: Studio) -> None:
    """Nobody can wait for it to end."""
    plan = plan_movie(movie)
    runner = Runner(movie)
    loop = asyncio.new_event_loop()
    studio.hold = asyncio.Event()
    left = loop.create_task(runner.execute_job("say[0]", plan=plan, produce=studio))
    loop.run_until_complete(asyncio.wait_for(studio.called.wait(), PATIENCE_SECONDS))
    other = asyncio.new_event_loop()
    try:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(loop, "is_closed", lambda: True)
            with pytest.raises(InvalidValueError, match="in an event loop that is closed"):
                other.run_until_complete(runner.execute(plan, produce=studio))
    finally:
        other.close()
        studio.hold.set()
        assert loop.run_until_complete(asyncio.wait_for(left, PATIENCE_SECONDS)).status == "made"
        loop.close()
        runner.close()


def test_a_runner_that_nobody_closed_ends_quietly_with_its_program(tmp_path: Path) -> None:
    """Its lease is released when the interpreter ends, and nothing is said."""
    program = """
        import asyncio, sys
        import renku_store as rs

        async def produce(job, context):
            return rs.Produced({"out": b"made"})

        movie = rs.open_store(sys.argv[1]).create_movie("film")
        maker = {"producer": "a", "provider": "x", "providerModel": "m"}
        job = {"jobId": "a", "inputs": [], "produces": ["a.out"], **maker}
        graph = rs.parse_graph({"nodes": [job], "edges": []}, [])
        plan = rs.Planner.compute_plan(graph=graph, manifest=None, inputs={})
        runner = rs.Runner(movie)
        print(asyncio.run(runner.execute_job("a", plan=plan, produce=produce)).status)
    """
    ended = children.run(program, tmp_path)
    assert (ended.code, ended.out, ended.err) == (0, "made\n", "")
    with open_store(tmp_path) as store:
        assert [run.holder for run in store.movie("film").leases.unfinished()] == [None]
