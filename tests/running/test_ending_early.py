"""Runs that end before all is done: drained, stopped after draining, or at their first failure."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from renku_store import (
    ConcurrencyLimiter,
    Job,
    JobContext,
    Movie,
    Produced,
    ProducerError,
    RetryPolicy,
    Runner,
    RunProgress,
    RunReport,
    Store,
    plan_movie,
    run_movie,
    set_inputs,
    with_concurrency,
    with_retry,
)
from renku_store.leases import Wanted
from renku_store.records.run import LeaseToken
from renku_store.running import deciding
from tests.running.conftest import Studio

WIDE = """
name: wide
inputs: {words: {type: list, required: true}}
loops: {word: {over: words}}
producers:
  say:
    for: [word]
    run: test/say
    inputs: {text: "words[word]"}
    outputs: {audio: {mimeType: text/plain}}
  film:
    run: test/film
    inputs: {audio: "say[*].audio"}
    outputs: {video: {mimeType: text/plain}}
timeline: film.video
"""
WORDS = ["a", "b", "c", "d", "e", "f"]
STATUSES = {"made", "cancelled"}


@pytest.fixture
def wide(store: Store) -> Movie:
    movie = store.create_movie("wide")
    set_inputs(movie, {"@blueprint": WIDE, "words": [*WORDS]})
    return movie


class Gate:
    """A producer whose calls wait until they are let through; `begun` are the jobs called, in order."""

    def __init__(self) -> None:
        self.begun: list[str] = []
        self.ended: list[str] = []
        self.open = asyncio.Event()

    async def __call__(self, job: Job, context: JobContext) -> Produced:
        self.begun.append(job.job_id)
        await self.open.wait()
        self.ended.append(job.job_id)
        return Produced({name: f"{job.job_id} {name}" for name in job.outputs}, cost=0.01)


async def until(happened: Callable[[], object]) -> None:
    async with asyncio.timeout(600):
        while not happened():  # noqa: ASYNC110 (what is waited for has no event)
            await asyncio.sleep(0.005)


def statuses(report: RunReport) -> dict[str, str]:
    return {job: result.status for job, result in report.jobs.items()}


def test_a_drained_run_waits_for_running_calls_and_begins_no_other(wide: Movie) -> None:
    """It says which it waits for; what had not begun is cancelled, and the next run makes only that."""
    events: list[RunProgress] = []

    async def go() -> tuple[RunReport, Gate]:
        gate, drain = Gate(), asyncio.Event()
        running = asyncio.create_task(run_movie(wide, produce=gate, concurrency=2, drain=drain, on_event=events.append))
        await until(lambda: len(gate.begun) == 2)
        drain.set()
        await until(lambda: any(event.event == "run-stopping" for event in events))
        await asyncio.sleep(0.05)
        assert not running.done(), "it waits for what is running"
        gate.open.set()
        return await running, gate

    report, gate = asyncio.run(go())
    assert report.status == "interrupted"
    assert gate.begun == gate.ended
    made = {job for job, status in statuses(report).items() if status == "made"}
    assert made == set(gate.begun)
    assert set(statuses(report).values()) == STATUSES
    (stopping,) = [event for event in events if event.event == "run-stopping"]
    calls = stopping.data["calls"]
    assert isinstance(calls, list)
    assert (stopping.status, sorted(map(str, calls))) == ("interrupted", sorted(gate.begun))
    assert events[-1].event == "run-finished"
    again = Studio()
    assert asyncio.run(run_movie(wide, produce=again)).status == "published"
    assert set(again.calls) == {*(f"say[{n}]" for n in range(6)), "film"} - made


def test_stop_after_drain_cancels_what_was_waited_for_and_keeps_what_had_finished(wide: Movie) -> None:
    """The second level: one call ends between the two, the other is cancelled."""

    async def go() -> RunReport:
        first, rest = asyncio.Event(), asyncio.Event()
        begun: list[str] = []
        drain, stop = asyncio.Event(), asyncio.Event()

        async def produce(job: Job, context: JobContext) -> Produced:
            begun.append(job.job_id)
            await (first if len(begun) == 1 else rest).wait()
            return Produced(dict.fromkeys(job.outputs, job.job_id))

        finished: list[str | None] = []

        def listen(event: RunProgress) -> None:
            if event.event == "job-finished" and event.status == "made":
                finished.append(event.job)

        running = asyncio.create_task(
            run_movie(wide, produce=produce, concurrency=2, drain=drain, stop=stop, on_event=listen)
        )
        await until(lambda: len(begun) == 2)
        drain.set()
        first.set()
        await until(lambda: finished)
        stop.set()
        return await asyncio.wait_for(running, 20)

    report = asyncio.run(go())
    assert report.status == "interrupted"
    assert sorted(statuses(report).values()) == ["cancelled"] * 6 + ["made"]
    studio = Studio()
    report = asyncio.run(run_movie(wide, produce=studio))
    assert (report.status, report.made, report.reused) == ("published", 6, 1)


def test_a_run_that_is_drained_during_its_last_call_publishes(wide: Movie) -> None:
    """Nothing was left undone: there is nothing to interrupt."""

    async def go() -> RunReport:
        studio, drain = Studio(), asyncio.Event()
        studio.during = lambda job: drain.set() if job.job_id == "film" else None
        return await run_movie(wide, produce=studio, drain=drain)

    assert asyncio.run(go()).status == "published"


def test_a_run_that_is_drained_before_it_begins_calls_nobody(wide: Movie, studio: Studio) -> None:
    """Asked for while it was still planning."""

    async def go() -> RunReport:
        drain = asyncio.Event()
        drain.set()
        return await run_movie(wide, produce=studio, drain=drain)

    report = asyncio.run(go())
    assert (report.status, set(statuses(report).values()), sum(studio.calls.values())) == (
        "interrupted",
        {"cancelled"},
        0,
    )


async def _in_back_off(gate: Gate) -> tuple[object, Callable[[], bool]]:
    failed: list[str] = []

    async def produce(job: Job, context: JobContext) -> Produced:
        if job.job_id == "say[0]":
            failed.append(job.job_id)
            raise ProducerError("busy", retryable=True)
        return await gate(job, context)

    policy = RetryPolicy(base_seconds=1_000.0, longest_seconds=1_000.0, total_seconds=10_000.0)
    return with_retry(produce, policy, chance=lambda: 1.0), lambda: bool(failed)


async def _in_a_limiter(gate: Gate) -> tuple[object, Callable[[], bool]]:
    limiter = ConcurrencyLimiter(1)
    return with_concurrency(gate, limiter), lambda: limiter.waiting > 0


@pytest.mark.parametrize("waiting", [_in_back_off, _in_a_limiter])
def test_a_draining_run_does_not_stay_for_what_only_waits(wide: Movie, waiting: Callable[[Gate], object]) -> None:
    """A back-off of minutes, or the turn under a limit whose holder has hours to go, is left at once."""

    async def go() -> tuple[RunReport, Gate]:
        gate, drain = Gate(), asyncio.Event()
        produce, waits = await waiting(gate)  # type: ignore[misc]
        left: list[str | None] = []

        def listen(event: RunProgress) -> None:
            if event.event == "job-finished" and event.status == "cancelled":
                left.append(event.job)

        running = asyncio.create_task(run_movie(wide, produce=produce, concurrency=3, drain=drain, on_event=listen))
        await until(lambda: gate.begun and waits())
        working = list(gate.begun)
        drain.set()
        await until(lambda: left)
        assert not set(left) & set(working)
        gate.open.set()
        return await asyncio.wait_for(running, 20), gate

    report, gate = asyncio.run(go())
    assert report.status == "interrupted"
    assert {job for job, status in statuses(report).items() if status == "made"} == set(gate.ended)
    assert gate.begun == gate.ended


def test_a_call_that_fails_while_draining_is_not_tried_again(wide: Movie) -> None:
    """Its back-off would keep the run: it ends there."""

    async def go() -> tuple[RunReport, int]:
        drain = asyncio.Event()
        calls = 0

        async def produce(job: Job, context: JobContext) -> Produced:
            nonlocal calls
            calls += 1
            drain.set()
            await asyncio.sleep(0.05)
            raise ProducerError("busy", retryable=True)

        policy = RetryPolicy(base_seconds=1_000.0, longest_seconds=1_000.0, total_seconds=10_000.0)
        retried = with_retry(produce, policy, chance=lambda: 1.0)
        running = run_movie(wide, produce=retried, concurrency=1, drain=drain)
        return await asyncio.wait_for(running, 20), calls

    report, calls = asyncio.run(go())
    assert (report.status, calls) == ("interrupted", 1)
    assert set(statuses(report).values()) == {"cancelled"}


def test_a_draining_run_does_not_wait_for_the_call_of_another_run(wide: Movie, tmp_path: Path) -> None:
    """Who waits for another run's claim leaves, and that other run is not disturbed."""

    async def go() -> tuple[RunReport, RunReport]:
        gate, other = Gate(), Studio()
        drain = asyncio.Event()
        waiting: list[str | None] = []

        def listen(event: RunProgress) -> None:
            if event.event == "job-waiting" and event.data["for"] == "claim":
                waiting.append(event.job)

        plan = plan_movie(wide)
        async with Runner(wide, concurrency=6) as runner:
            first = asyncio.create_task(runner.execute(plan, produce=gate))
            await until(lambda: len(gate.begun) == 6)
            second = asyncio.create_task(run_movie(wide, produce=other, drain=drain, on_event=listen))
            await until(lambda: len(waiting) == 6)
            drain.set()
            report = await asyncio.wait_for(second, 20)
            gate.open.set()
            result = await first
        assert other.calls.total() == 0
        assert result.succeeded
        return report, report

    report, _ = asyncio.run(go())
    assert report.status == "interrupted"


def test_with_fail_fast_nothing_is_begun_after_the_first_failure(wide: Movie) -> None:
    """What runs ends and is kept; the run has failed, and the next one makes the rest."""

    async def go(*, keep_going: bool) -> tuple[RunReport, list[str]]:
        begun: list[str] = []

        async def produce(job: Job, context: JobContext) -> Produced:
            begun.append(job.job_id)
            if job.job_id == "say[0]":
                await until(lambda: len(begun) > 1)
                raise ProducerError("broken")
            await asyncio.sleep(0.1)
            return Produced(dict.fromkeys(job.outputs, job.job_id))

        return await run_movie(wide, produce=produce, concurrency=2, keep_going=keep_going), begun

    report, begun = asyncio.run(go(keep_going=False))
    assert report.status == "failed"
    found = statuses(report)
    assert (found["say[0]"], found["film"]) == ("failed", "upstream failed")
    assert {found[job] for job in begun} == {"failed", "made"}
    assert len(begun) <= 3
    assert "cancelled" in found.values()
    kept, begun = asyncio.run(go(keep_going=True))
    assert kept.status == "failed"
    found = statuses(kept)
    assert {job for job, status in found.items() if status not in {"made", "reused"}} == {"say[0]", "film"}
    assert kept.made + kept.reused == 5


def test_a_claim_that_comes_after_the_run_was_drained_is_given_back(
    wide: Movie, monkeypatch: pytest.MonkeyPatch
) -> None:
    """While the run still waits for a call of hours, others may make what it has left."""
    asked, answer = threading.Event(), threading.Event()
    claim, groups = wide.leases.claim_many, []

    def slow(wanted: Sequence[Wanted], token: LeaseToken) -> object:
        groups.append([one.job for one in wanted])
        answered = claim(wanted, token)
        if len(groups) == 2:
            asked.set()
            assert answer.wait(600)
        return answered

    monkeypatch.setattr(deciding, "_GROUP_MAX", 1)
    monkeypatch.setattr(wide.leases, "claim_many", slow)

    def claimed() -> set[str]:
        with wide.metadata.read():  # the connection is that of the threads, too
            return {row[0] for row in wide.metadata.connection.execute("SELECT job FROM claims")}  # type: ignore[attr-defined]

    async def go() -> RunReport:
        gate, drain = Gate(), asyncio.Event()
        running = asyncio.create_task(run_movie(wide, produce=gate, concurrency=1, drain=drain))
        await until(lambda: gate.begun and asked.is_set())
        assert set(groups[1]) <= claimed()
        assert not set(groups[1]) & set(gate.begun)
        drain.set()
        await asyncio.sleep(0.05)
        answer.set()
        await until(lambda: claimed() == set(gate.begun))
        assert not running.done()
        gate.open.set()
        return await asyncio.wait_for(running, 600)

    assert asyncio.run(go()).status == "interrupted"
