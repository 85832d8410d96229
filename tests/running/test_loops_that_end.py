"""An event loop that ends cancels all its tasks at once: what was paid for is stored, nothing is held for nobody."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from renku_store import (
    Choices,
    ExecutionPlan,
    InvalidValueError,
    Job,
    JobContext,
    Limits,
    Movie,
    Produced,
    Runner,
    Store,
    StoreUnavailableError,
    plan_movie,
    run_movie,
    set_inputs,
    with_limits,
)
from renku_store.running.results import ResultWriter
from renku_store.running.shared_limits import MachineLimits
from tests.running.conftest import Studio

PATIENCE_SECONDS = 120


@contextmanager
def held_up(monkeypatch: pytest.MonkeyPatch, owner: Any, name: str) -> Iterator[threading.Event]:
    """The first call of a function waits until its event loop is about to end; the event says that it waits."""
    waits, real = threading.Event(), getattr(owner, name)

    def slow(*arguments: Any, **options: Any) -> Any:
        if not waits.is_set():
            waits.set()
            time.sleep(0.3)  # the loop ends meanwhile: if it has ended later, nothing was tried, and nothing fails
        return real(*arguments, **options)

    with monkeypatch.context() as patch:
        patch.setattr(owner, name, slow)
        yield waits


def until(waits: threading.Event, work: Callable[[], Any]) -> None:
    """Begin something in an event loop that ends soon after somebody waits."""
    kept: list[object] = []

    async def main() -> None:
        kept.append(asyncio.create_task(work()))
        await asyncio.to_thread(waits.wait, PATIENCE_SECONDS)
        await asyncio.sleep(0.02)

    asyncio.run(main())
    assert waits.is_set()


def test_a_run_that_is_about_to_begin_is_given_up(
    movie: Movie, studio: Studio, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The thread that begins it goes on; what it has begun is let go of."""
    with held_up(monkeypatch, movie.leases, "start") as waits:
        until(waits, partial(Runner(movie).execute, plan_movie(movie), produce=studio))
    assert [run.alive for run in movie.leases.unfinished()] == [False]
    assert not [thread.name for thread in threading.enumerate() if thread.name.startswith("lease of")]
    assert not studio.calls


def test_what_was_paid_for_is_stored(movie: Movie, studio: Studio, monkeypatch: pytest.MonkeyPatch) -> None:
    """What a commit was under way for, and what has come meanwhile; the next run pays for neither."""
    second = threading.Event()

    async def produce(job: Job, context: JobContext) -> Produced:
        if job.job_id != "say[0]":
            await asyncio.sleep(0.1)
            second.set()
        return await studio(job, context)

    with held_up(monkeypatch, ResultWriter, "_commit"):
        until(second, partial(run_movie, movie, produce=produce))
    paid = dict(studio.calls)
    assert len(paid) > 1
    asyncio.run(run_movie(movie, produce=studio))
    assert {job: studio.calls[job] for job in paid} == dict.fromkeys(paid, 1)


def test_what_was_paid_for_again_on_purpose_is_stored(
    movie: Movie, studio: Studio, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The run that is taken up has it."""
    asyncio.run(run_movie(movie, produce=studio))
    plan = plan_movie(movie, choices=Choices(regen=["say[0]"]))
    with held_up(monkeypatch, ResultWriter, "_commit") as waits:
        until(waits, partial(Runner(movie).execute, plan, produce=studio))
    assert studio.calls["say[0]"] == 2
    (unfinished,) = movie.leases.unfinished()
    resumed = asyncio.run(Runner(movie).execute(movie.plans.load(unfinished.run), produce=studio))
    assert resumed.succeeded
    assert studio.calls["say[0]"] == 2


def test_what_the_store_is_too_busy_for_is_tried_once_more(
    movie: Movie, studio: Studio, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever waits for a busy store does not wait for a loop that ends."""
    real, waits, failures = ResultWriter._commit, threading.Event(), [1, 2]

    def busy(writer: ResultWriter, outcomes: Any) -> Any:
        if failures:
            if not failures.pop() - 1:
                waits.set()
            raise StoreUnavailableError("The store is busy.", reason="busy")
        return real(writer, outcomes)

    with monkeypatch.context() as patch:
        patch.setattr(ResultWriter, "_commit", busy)
        until(waits, partial(run_movie, movie, produce=studio))
    paid = dict(studio.calls)
    asyncio.run(run_movie(movie, produce=studio))
    assert {job: studio.calls[job] for job in paid} == dict.fromkeys(paid, 1)


def test_a_call_in_flight_is_noted(movie: Movie) -> None:
    """Although no thread was free for that: the next run fetches what was ordered."""
    ordered: list[str] = []

    async def main() -> None:
        pool = ThreadPoolExecutor(2)
        asyncio.get_running_loop().set_default_executor(pool)
        there = asyncio.Event()

        async def produce(job: Job, context: JobContext) -> Produced:
            for _ in range(2):
                pool.submit(time.sleep, 0.3)
            ordered.append(job.job_id)
            asyncio.get_running_loop().call_soon(there.set)
            await context.memory.remember("order 1")
            raise AssertionError("it was cancelled")

        kept.append(asyncio.create_task(Runner(movie, concurrency=1).execute(plan_movie(movie), produce=produce)))
        await there.wait()

    async def again(job: Job, context: JobContext) -> Produced:
        if context.memory.call is None:
            ordered.append(job.job_id)
        return Produced(dict.fromkeys(job.outputs, "1"))

    kept: list[object] = []
    asyncio.run(main())
    asyncio.run(Runner(movie).execute(plan_movie(movie), produce=again))
    assert ordered.count(ordered[0]) == 1


def test_a_claim_is_given_back(movie: Movie, studio: Studio, monkeypatch: pytest.MonkeyPatch) -> None:
    """Else the runner would wait for itself in its next loop."""
    plan = plan_movie(movie)
    runner = Runner(movie)
    with held_up(monkeypatch, movie.leases, "claim_many") as waits:
        until(waits, partial(runner.execute_job, "say[0]", plan=plan, produce=studio))
    made = asyncio.run(asyncio.wait_for(runner.execute_job("say[0]", plan=plan, produce=studio), PATIENCE_SECONDS))
    assert made.status == "made"
    runner.close()


def test_a_slot_that_processes_share_is_given_back(
    movie: Movie, studio: Studio, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The next job has it, and other runs do."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    limited = with_limits(studio, Limits({"test": {"concurrency": 1, "scope": "machine"}}))
    plan = plan_movie(movie)
    runner = Runner(movie)
    with held_up(monkeypatch, MachineLimits, "take") as waits:
        until(waits, partial(runner.execute_job, "say[0]", plan=plan, produce=limited))
    made = asyncio.run(asyncio.wait_for(runner.execute_job("draw[0]", plan=plan, produce=limited), PATIENCE_SECONDS))
    assert made.status == "made"
    runner.close()


@pytest.mark.parametrize("leaving", [True, False])
def test_a_run_is_let_go_of_though_no_thread_is_free(
    movie: Movie, studio: Studio, monkeypatch: pytest.MonkeyPatch, leaving: bool
) -> None:
    """By whoever leaves a runner and is cancelled, and by whoever has executed a plan in a loop that ends."""
    runner = Runner(movie)

    async def main() -> None:
        pool = ThreadPoolExecutor(1)
        loop = asyncio.get_running_loop()
        loop.set_default_executor(pool)
        there = asyncio.Event()

        def in_the_way(*_: object) -> None:
            pool.submit(time.sleep, 0.3)
            loop.call_soon_threadsafe(there.set)

        async def execute() -> None:
            await runner.execute(plan_movie(movie), produce=studio)

        async def user() -> None:
            async with runner:
                await runner.execute_job("say[0]", plan=plan_movie(movie), produce=studio)
                in_the_way()

        if leaving:
            task = asyncio.create_task(user())
        else:
            result = runner._result

            def watched(*arguments: Any, **options: Any) -> Any:
                in_the_way()
                return result(*arguments, **options)

            monkeypatch.setattr(runner, "_result", watched)
            task = asyncio.create_task(execute())
        await there.wait()
        await asyncio.sleep(0.05)
        if leaving:
            task.cancel()
            await asyncio.wait([task])

    asyncio.run(main())
    assert [run.alive for run in movie.leases.unfinished()] == [False]
    assert not [thread.name for thread in threading.enumerate() if thread.name.startswith("lease of")]


LISTS = """
name: lists
inputs: {topic: {type: string, default: a}}
loops: {line: {over: script.lines}}
producers:
  script: {run: test/script@1, inputs: {topic: topic}, outputs: {lines: {mimeType: application/json}}}
  say: {for: [line], run: test/say@1, inputs: {text: "script.lines[line]"}, outputs: {audio: {mimeType: audio/wav}}}
"""


@pytest.mark.parametrize("cancelled", [True, False])
def test_a_plan_grows_after_an_expansion_that_did_not_end(
    store: Store, monkeypatch: pytest.MonkeyPatch, cancelled: bool
) -> None:
    """Because its caller was cancelled, or the disk full: the next one finds the same lists."""
    movie = store.create_movie("lists")
    set_inputs(movie, {"@blueprint": LISTS})
    save, failures = movie.plans.save, [StoreUnavailableError("The disk is full.")]
    saving, may_save = threading.Event(), threading.Event()

    def hindered(*arguments: Any, **options: Any) -> None:
        saving.set()
        may_save.wait(PATIENCE_SECONDS)
        if failures and not cancelled:
            raise failures.pop()
        save(*arguments, **options)

    async def produce(job: Job, context: JobContext) -> Produced:
        return Produced(dict.fromkeys(job.outputs, '["one", "two"]' if job.producer == "script" else b"sound"))

    async def main() -> ExecutionPlan:
        async with Runner(movie) as runner:
            plan = plan_movie(movie)
            await runner.execute_job("script", plan=plan, produce=produce)
            monkeypatch.setattr(movie.plans, "save", hindered)
            asked = asyncio.create_task(runner.expand(plan))
            await asyncio.to_thread(saving.wait, PATIENCE_SECONDS)
            if cancelled:
                asked.cancel()
            may_save.set()
            await asyncio.wait([asked])
            with pytest.raises(asyncio.CancelledError if cancelled else StoreUnavailableError):
                asked.result()
            return await runner.expand(plan)

    assert {"say[0]", "say[1]"} <= set(asyncio.run(main()).jobs)


def test_two_plans_of_one_run_are_not_executed_at_once(movie: Movie, studio: Studio) -> None:
    """One that names it, and one that has its token: who ended first would take the run from the other."""

    async def main() -> None:
        plan = plan_movie(movie)
        run = movie.events.new_id()
        token = movie.leases.start(run, base_revision=plan.base_revision, edits_through=plan.edits_through)
        studio.hold = asyncio.Event()
        runner = Runner(movie)
        whole = asyncio.create_task(runner.execute(plan.replace(run=run), produce=studio, token=token))
        await studio.called.wait()
        with pytest.raises(InvalidValueError, match=f"works on {run} already"):
            await runner.execute(plan, produce=studio, token=token)
        studio.hold.set()
        assert (await whole).succeeded
        movie.leases.release(token)

    asyncio.run(asyncio.wait_for(main(), PATIENCE_SECONDS))
