"""Who lost a claim or a lease: nothing that was paid for is lost, and nothing of it is published (invariant 10)."""

from __future__ import annotations

import asyncio
import json
import os
import random
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from msgspec.structs import replace

from renku_store import (
    Choices,
    ConcurrencyLimiter,
    Job,
    JobContext,
    LeaseLostError,
    Movie,
    NotFoundError,
    Produce,
    Produced,
    ProducerError,
    RetryPolicy,
    Runner,
    RunProgress,
    RunReport,
    Store,
    StoreUnavailableError,
    abandon,
    cancel,
    movie_status,
    open_store,
    plan_movie,
    run_movie,
    set_inputs,
    with_adaptive_concurrency,
    with_concurrency,
    with_rate_limit,
    with_retry,
)
from renku_store.leases import ClaimAnswer, Claimed, RunLeases, Wanted
from renku_store.processes import this_process
from renku_store.records.events import JobFailure, RunEvent, Trace
from renku_store.records.run import LeaseToken
from renku_store.running.adaptive import AdaptiveLimiter
from renku_store.running.pacing import Pacer
from renku_store.running.results import Outcome, ResultWriter, Stored
from tests.authoring import lose_database, opened
from tests.running.conftest import Studio

FAR = replace(this_process(), host="another machine", command="renku-store run")
TWO = """
inputs: {number: {type: integer, default: 0}}
producers:
  first: {run: test/first, outputs: {text: {mimeType: text/plain}}}
  second: {run: test/second, inputs: {text: first.text, number: number}, outputs: {text: {mimeType: text/plain}}}
"""
HOLDER = """
import asyncio, json, msgspec.structs, os, sys, time
from renku_store import Produced, StoreError, open_store, run_movie
from renku_store.leases import RunLeases
root, calls, go, lease_seconds, inputs = sys.argv[1:]
async def produce(job, context):
    with open(calls, "a") as log:
        log.write(job.job_id + "\\n")
    while not os.path.exists(go):
        time.sleep(0.01)  # nothing else of this loop goes on: the call ends before anyone can cancel it
    return Produced({"text": job.job_id + " of the holder"}, cost=0.5)
with open_store(root) as store:
    movie = store.movie("two")
    leases = RunLeases(movie.metadata, movie.clock, lease_seconds=float(lease_seconds), heartbeat_seconds=1000)
    movie = msgspec.structs.replace(movie, leases=leases)
    try:
        print(asyncio.run(run_movie(movie, produce=produce, inputs=json.loads(inputs))).status)
    except StoreError as error:
        print(error.kind)
"""


async def successor(job: Job, context: JobContext) -> Produced:
    return Produced({"text": f"{job.job_id} of the successor"}, cost=0.25)


@pytest.fixture
def two(store: Store) -> Movie:
    movie = store.create_movie("two")
    set_inputs(movie, {"@blueprint": TWO})
    return movie


@contextmanager
def holding(
    movie: Movie, checkout: Path, go: Path, *, lease_seconds: float, **inputs: int
) -> Iterator[subprocess.Popen[str]]:
    """Another process that runs the movie and is in the middle of its first call, until the file `go` is there."""
    calls = go.with_suffix(".calls")
    arguments = [movie.root, str(calls), str(go), str(lease_seconds), json.dumps(inputs)]
    with subprocess.Popen(
        [sys.executable, "-c", HOLDER, *arguments], cwd=checkout, stdout=subprocess.PIPE, text=True
    ) as process:
        try:
            until(calls.exists)
            yield process
        finally:
            process.kill()


def until(condition: Callable[[], object]) -> None:
    pause = threading.Event()
    for _ in range(6_000):
        if condition():
            return
        pause.wait(0.01)
    raise AssertionError("It never came to be.")


def run(movie: Movie, produce: object, **more: object) -> RunReport:
    async def bounded() -> RunReport:
        async with asyncio.timeout(600):
            return await run_movie(movie, produce=produce, **more)  # type: ignore[arg-type]

    return asyncio.run(bounded())


def impatient(movie: Movie) -> Movie:
    return replace(movie, leases=RunLeases(movie.metadata, movie.clock, heartbeat_seconds=0.01))


def rival(movie: Movie, signature: str, job: str) -> LeaseToken:
    """Another run, on another machine, that takes the claim of a signature as if its holder's lease had expired."""
    with movie.metadata.write() as writer:
        writer.runs.create("rival", base_revision=None, edits_through=0, created_at="2026-03-04T05:06:07.890Z")
        token = writer.runs.acquire("rival", FAR, 1_000)
        assert token is not None
        assert writer.runs.claim(signature, token, job, steal=True) is None
    return token


def store_result(movie: Movie, token: LeaseToken, job: str, text: str) -> Stored:
    """Store a result of a job of the movie as the holder of `token` would, from a thread of its own."""
    plan = plan_movie(movie)
    node = next(node for node in plan.graph.nodes if node.job_id == job)
    names = [output.name for output in node.produces]
    outcome = Outcome(
        node, plan.jobs[job].signature or "", dict.fromkeys(names, text.encode()), dict.fromkeys(names, "text/plain")
    )
    with ThreadPoolExecutor(1) as pool:
        return pool.submit(lambda: asyncio.run(writer_of(movie, token).store(outcome))).result()


def writer_of(movie: Movie, token: LeaseToken) -> ResultWriter:
    return ResultWriter(movie.metadata, movie.blobs, movie.events.new_ids, movie.clock, token, movie.archiver.keep_late)


def statuses(movie: Movie, artefact: str) -> list[str]:
    return [e.status for e in movie.events.stream_artefacts() if e.artefact == artefact]


def text_of(movie: Movie, artefact: str) -> str:
    return movie.read(movie.artefact(artefact)).decode()


def takes(movie: Movie, signature: str) -> list[Trace]:
    with movie.metadata.read() as reader:
        return reader.events.traces(signature)


# Claims that were lost


@pytest.mark.parametrize("finished", [True, False], ids=["the other has finished", "the other is at it"])
def test_a_call_that_lost_its_claim_is_kept_and_not_taken_by_itself(two: Movie, finished: bool) -> None:
    """Its run goes on with the other's result if there is one, else with what there is: the late one."""
    signatures: list[str] = []

    async def produce(job: Job, context: JobContext) -> Produced:
        if job.job_id == "first":
            signatures.append(job.signature)
            token = rival(two, job.signature, "first")
            if finished:
                store_result(two, token, "first", "theirs")
        return Produced({"text": f"{job.job_id} of ours"}, cost=0.5)

    report = run(two, produce)
    assert report.status == "published"
    assert text_of(two, "first.text") == ("theirs" if finished else "first of ours")
    assert statuses(two, "first.text") == (["succeeded"] if finished else []) + ["kept", "reused"]
    assert [take.kept for take in takes(two, signatures[0])] == ([False] if finished else []) + [True]
    assert len(signatures) == 1, "what was paid for is not paid for again"
    assert report.cost == 1.0
    assert report.jobs["first"].status == ("reused" if finished else "made")
    manifest = two.manifests.load("latest")
    assert (manifest.metrics.made, manifest.metrics.cost) == (2, 1.0)


APART = """
inputs: {number: {type: integer, default: 0}}
producers:
  one: {run: test/one, inputs: {number: number}, outputs: {text: {mimeType: text/plain}}}
  two: {run: test/two, inputs: {number: number}, outputs: {text: {mimeType: text/plain}}}
"""


def overdue(movie: Movie) -> Movie:
    """Every lease of this one ends as soon as it is taken, as if its process slept between any two of its lines."""
    return replace(movie, leases=RunLeases(movie.metadata, movie.clock, lease_seconds=0.0, heartbeat_seconds=1_000))


@pytest.mark.parametrize("forced", [False, True], ids=["wanted", "forced"])
def test_a_job_whose_claim_was_taken_while_it_waited_for_a_slot_is_not_called(store: Store, forced: bool) -> None:
    """Claimed together with the one that is called first: it takes what the other has made, and pays for nothing."""
    movie = store.create_movie("apart")
    set_inputs(movie, {"@blueprint": APART})
    signatures = {job: planned.signature or "" for job, planned in plan_movie(movie).jobs.items()}
    called: list[str] = []

    async def produce(job: Job, context: JobContext) -> Produced:
        called.append(job.job_id)
        if len(called) == 1:
            other = "two" if job.job_id == "one" else "one"
            store_result(movie, rival(movie, signatures[other], other), other, "theirs")
        return Produced({"text": f"{job.job_id} of ours"}, cost=0.5)

    choices = Choices(regen=["one", "two"] if forced else [])
    report = run(overdue(movie), produce, concurrency=1, choices=choices)
    assert report.status == "published"
    if forced:  # which wants a result of its own, and claims again what nobody holds any more
        assert sorted(called) == ["one", "two"]
    else:
        (first,) = called
        second = "two" if first == "one" else "one"
        assert (report.jobs[second].status, text_of(movie, f"{second}.text")) == ("reused", "theirs")
        assert report.cost == 0.5


ALIKE = """
inputs: {numbers: {type: list, default: [1, 2, 3, 3]}}
loops: {k: {over: numbers}}
producers:
  job: {for: [k], run: test/job, inputs: {number: "numbers[k]"}, outputs: {text: {mimeType: text/plain}}}
"""


class SeenLeases(RunLeases):
    """Every lease of this one is overdue; says when a signature has been claimed for the second time."""

    def __init__(self, movie: Movie, signature: str) -> None:
        super().__init__(movie.metadata, movie.clock, lease_seconds=0.0, heartbeat_seconds=1_000)
        self._signature = signature
        self._holders: list[str] = []
        self.twice = threading.Event()

    def claim_many(self, wanted: Sequence[Wanted], token: LeaseToken) -> list[ClaimAnswer]:
        answers = super().claim_many(wanted, token)
        given = [one.job for one, answer in zip(wanted, answers, strict=True) if isinstance(answer, Claimed)]
        self._holders += [one.job for one in wanted if one.signature == self._signature and one.job in given]
        if len(self._holders) == 2:
            self.twice.set()
        return answers


def test_a_lost_claim_that_another_job_of_the_run_has_taken_is_not_ours(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of two jobs that would make the same, the one lost its claim while it waited for a slot: one call is made."""
    monkeypatch.setattr("renku_store.bounds.CLAIM_POLL_SECONDS", 0.01)
    movie = store.create_movie("alike")
    set_inputs(movie, {"@blueprint": ALIKE})
    signature = plan_movie(movie).jobs["job[3]"].signature or ""
    leases = SeenLeases(movie, signature)
    called: list[str] = []

    async def produce(job: Job, context: JobContext) -> Produced:
        called.append(job.job_id)
        if job.job_id == "job[0]":
            other = rival(movie, signature, "job[3]")  # who has it by then loses it to another run, which gives it up
            leases.unclaim(signature, other)
        if job.job_id in {"job[0]", "job[1]"}:
            assert await asyncio.to_thread(leases.twice.wait, 10)
        return Produced({"text": job.job_id}, cost=1.0)

    report = run(replace(movie, leases=leases), produce, concurrency=2)
    assert report.status == "published"
    assert (len(called), report.cost) == (3, 3.0)
    assert sorted(report.jobs[job].status for job in ("job[2]", "job[3]")) == ["made", "reused"]


def test_a_call_whose_claim_was_taken_before_its_next_attempt_is_not_tried_again(two: Movie) -> None:
    """The result of the other is taken, and what the failed attempt took is counted."""
    attempts: list[str] = []

    async def produce(job: Job, context: JobContext) -> Produced:
        attempts.append(job.job_id)
        if attempts == ["first"]:
            store_result(two, rival(two, job.signature, "first"), "first", "theirs")
            raise ProducerError("Not now.", retryable=True, cost=0.25)
        return Produced({"text": f"{job.job_id} of ours"}, cost=0.5)

    report = run(overdue(two), with_retry(produce, RetryPolicy(base_seconds=0.01)))
    assert (report.status, attempts) == ("published", ["first", "second"])
    assert (report.jobs["first"].status, text_of(two, "first.text")) == ("reused", "theirs")
    assert (report.cost, two.manifests.load("latest").metrics.cost) == (0.75, 0.75)
    assert statuses(two, "first.text") == ["succeeded", "failed", "reused"]


WAITS: dict[str, Callable[[], tuple[object, str, Callable[[Produce], Produce]]]] = {
    "slots": lambda: (found := ConcurrencyLimiter(2), "acquire", lambda produce: with_concurrency(produce, found)),
    "a rate": lambda: (found := Pacer(), "turn", lambda produce: with_rate_limit(produce, found)),
    "slots that adapt": lambda: (
        found := AdaptiveLimiter(),
        "begin",
        lambda produce: with_adaptive_concurrency(produce, found),
    ),
}


@pytest.mark.parametrize("waits_for", WAITS)
def test_a_job_whose_claim_was_taken_while_it_waited_in_a_wrapper_is_not_called(
    store: Store, monkeypatch: pytest.MonkeyPatch, waits_for: str
) -> None:
    """It keeps the slot of its run meanwhile, and looks at its claim all the same."""
    movie = store.create_movie("apart")
    set_inputs(movie, {"@blueprint": APART})
    signatures = {job: planned.signature or "" for job, planned in plan_movie(movie).jobs.items()}
    called: list[str] = []
    waited: list[None] = []
    waits, taken = asyncio.Event(), asyncio.Event()
    limiter, name, wrap = WAITS[waits_for]()
    waiting = getattr(limiter, name)

    async def long_wait(**given: int) -> object:
        waited.append(None)
        if len(waited) == 2:
            waits.set()
            await taken.wait()
        return await waiting(**given)

    async def produce(job: Job, context: JobContext) -> Produced:
        called.append(job.job_id)
        if len(called) == 1:
            await waits.wait()
            other = "two" if job.job_id == "one" else "one"
            store_result(movie, rival(movie, signatures[other], other), other, "theirs")
            taken.set()
        return Produced({"text": f"{job.job_id} of ours"}, cost=0.5)

    monkeypatch.setattr(limiter, name, lambda weight=1: long_wait(**({} if name == "begin" else {"weight": weight})))
    report = run(overdue(movie), wrap(produce))
    assert (report.status, len(called), report.cost) == ("published", 1, 0.5)
    assert sorted(result.status for result in report.jobs.values()) == ["made", "reused"]
    assert waiting.__self__ is limiter
    if isinstance(limiter, ConcurrencyLimiter):
        assert limiter.used == 0


def fallback(tried: Produce, other: Produce) -> Produce:
    async def handler(job: Job, context: JobContext) -> Produced:
        try:
            return await tried(job, context)
        except Exception:  # noqa: BLE001 (what the handlers of others do)
            return await other(job, context)

    return handler


def grouped(tried: Produce, other: Produce) -> Produce:
    async def handler(job: Job, context: JobContext) -> Produced:
        async def part() -> Produced:
            return await tried(job, context)

        async with asyncio.TaskGroup() as group:
            task = group.create_task(part())
        return task.result()

    return handler


def gathered(tried: Produce, other: Produce) -> Produce:
    async def handler(job: Job, context: JobContext) -> Produced:
        (answer,) = await asyncio.gather(tried(job, context), return_exceptions=True)
        if isinstance(answer, BaseException):
            raise ProducerError("A part of it has failed.") from answer
        return answer

    return handler


@pytest.mark.parametrize("wrap", [fallback, grouped, gathered])
def test_a_handler_cannot_hide_that_the_claim_was_lost(two: Movie, wrap: Callable[[Produce, Produce], Produce]) -> None:
    """Whether it calls somebody else after any error or raises another in its place, the other's result is taken."""
    called: list[str] = []

    async def paid(job: Job, context: JobContext) -> Produced:
        called.append(job.job_id)
        if called == ["first"]:
            store_result(two, rival(two, job.signature, "first"), "first", "theirs")
            raise ProducerError("Not now.", retryable=True, cost=0.25)
        return Produced({"text": f"{job.job_id} of ours"}, cost=0.5)

    async def elsewhere(job: Job, context: JobContext) -> Produced:
        called.append("elsewhere")
        return Produced({"text": "elsewhere"}, cost=9.0)

    tried = with_retry(paid, RetryPolicy(base_seconds=0.0))
    report = run(overdue(two), wrap(tried, elsewhere))
    assert (report.status, called) == ("published", ["first", "second"])
    first = report.jobs["first"]
    assert (first.status, first.attempts, first.cost, first.error) == ("reused", 1, 0.25, None)
    assert statuses(two, "first.text") == ["succeeded", "failed", "reused"]


def test_a_claim_is_sure_for_half_of_its_lease_by_either_clock(two: Movie) -> None:
    """A machine that sleeps may stop the one clock; whoever is not sure asks the store, and has a fresh lease then."""
    clock = StillClock()
    leases = RunLeases(two.metadata, clock, lease_seconds=30.0)
    token = leases.start("r", base_revision=None, edits_through=0)
    claimed = leases.claim("0" * 64, token, "n")
    assert isinstance(claimed, Claimed)
    assert leases.is_sure(claimed)
    for seconds, day in ((14.9, 14.9), (15.0, 0.0), (0.0, 15.0), (15.0, -60.0)):
        clock.seconds, clock.day = seconds, day
        assert leases.is_sure(claimed) is (max(seconds, day) < 15.0)
    with two.metadata.write() as writer:
        assert writer.runs.renew(token, 0.0)
    assert leases.still_claims("0" * 64, token, "n")
    assert leases.unfinished()[0].alive
    rival(two, "0" * 64, "n")
    assert not leases.still_claims("0" * 64, token, "n")
    leases.release(token)
    with pytest.raises(LeaseLostError):
        leases.still_claims("0" * 64, token, "n")


class StillClock:
    """A clock that stands where it is put."""

    def __init__(self) -> None:
        self.seconds = self.day = 0.0

    def now(self) -> datetime:
        return datetime(2026, 3, 4, tzinfo=UTC) + timedelta(seconds=self.day)

    def monotonic(self) -> float:
        return self.seconds


def test_a_kept_take_stands_behind_every_other(two: Movie) -> None:
    """It is never the artefact's latest value, however late it came, and is reused where there is nothing else."""
    signature = plan_movie(two).jobs["first"].signature or ""
    late = two.leases.start("late", base_revision=None, edits_through=0)
    assert store_result(two, late, "first", "late").ours is False
    assert two.events.latest_artefact("first.text") is None
    alone = two.events.find_trace(signature)
    assert alone is not None
    assert alone.kept
    right = rival(two, signature, "first")
    assert store_result(two, right, "first", "right").ours
    assert not store_result(two, late, "first", "later still").ours
    best, latest = two.events.find_trace(signature), two.events.latest_artefact("first.text")
    assert best is not None
    assert latest is not None
    assert (best.outputs["text"].inline, best.kept) == ("right", False)
    assert latest.value == best.outputs["text"]
    built = two.manifests.build_from_events("rev-0001", run="late")
    assert not built.artefacts


def test_a_late_take_outlives_the_database(two: Movie) -> None:
    """It came after its run was archived, so it is archived by itself: what was paid for is found in the objects."""
    signature = plan_movie(two).jobs["first"].signature or ""
    run = two.events.new_id()
    late = two.leases.start(run, base_revision=None, edits_through=0)
    two.leases.release(late)
    abandon(two, run)
    assert store_result(two, late, "first", "late").ours is False
    root = two.root
    two.close()
    lose_database(Path(root), two.id)
    with opened(Path(root), two.id) as movie:
        found = movie.events.find_trace(signature)
        assert found is not None
        assert (found.kept, found.outputs["text"].inline) == (True, "late")
        assert movie_status(movie).runs == [], "the archive's own run is not to be taken up"


def test_late_takes_whose_archive_cannot_be_written_are_stored_once(
    two: Movie, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each is a take, and is booked, once, however often the disk is full when they are archived."""
    monkeypatch.setattr("renku_store.bounds.RESULT_PAUSE_SECONDS", 0.01)
    node, late = plan_movie(two).graph.nodes[0], two.leases.start("late", base_revision=None, edits_through=0)
    two.leases.release(late)

    def refuse(_events: object) -> None:
        raise StoreUnavailableError("The disk is full.", reason="full")

    writer = ResultWriter(two.metadata, two.blobs, two.events.new_ids, two.clock, late, refuse)
    outcomes = [
        Outcome(node, place * 64, {"text": place.encode()}, {"text": "text/plain"}, cost=1.0, attempts=1)
        for place in "ab"
    ]

    async def go() -> list[Stored | BaseException]:
        return await asyncio.gather(*map(writer.store, outcomes), return_exceptions=True)

    assert [type(answer) for answer in asyncio.run(go())] == [StoreUnavailableError] * 2
    assert [(event.status, event.cost) for event in two.events.stream_artefacts()] == [("kept", 1.0)] * 2
    assert [len(takes(two, outcome.signature)) for outcome in outcomes] == [1, 1]


def test_a_failure_after_the_lease_was_lost_is_nobodys(two: Movie) -> None:
    """Only what was paid for outlives the lease: the successor's signature is not marked as failed."""
    plan = plan_movie(two)
    node = plan.graph.nodes[0]
    signature = plan.jobs[node.job_id].signature or ""
    token = two.leases.start("r", base_revision=None, edits_through=0)
    with two.metadata.write() as writer:
        writer.runs.acquire("r", FAR, 1_000, steal=True)
    failed = Outcome(node, signature, failure=JobFailure(kind="ProducerError", message="no"))
    with pytest.raises(LeaseLostError):
        asyncio.run(writer_of(two, token).store(failed))
    assert two.events.failed([signature]) == set()
    assert list(two.events.stream(run="r")) == []


# Leases that were lost


def test_a_run_whose_lease_is_lost_stops_and_disturbs_nobody(movie: Movie, studio: Studio) -> None:
    """What had finished is stored, running calls are cancelled, nothing is published, the thief holds on."""
    thieves: list[LeaseToken] = []
    begun: list[str] = []
    finished: list[str | None] = []
    cancelled: list[str] = []

    def steal(run: str) -> None:
        if len(begun) < 3 or "draw[2]" not in finished or thieves:
            return
        with movie.metadata.write() as writer:
            thief = writer.runs.acquire(run, FAR, 1_000, steal=True)
        assert thief is not None
        thieves.append(thief)

    async def produce(job: Job, context: JobContext) -> Produced:
        if job.producer != "say":
            return await studio(job, context)
        begun.append(job.job_id)
        steal(context.run)
        try:
            await asyncio.Event().wait()
        finally:
            cancelled.append(job.job_id)
        return Produced({})

    def listen(event: RunProgress) -> None:
        if event.event == "job-finished":
            finished.append(event.job)
            steal(event.run)

    with pytest.raises(LeaseLostError, match="taken over"):
        run(impatient(movie), produce, on_event=listen)
    (thief,) = thieves
    movie.leases.check(thief)
    assert sorted(cancelled) == ["say[0]", "say[1]", "say[2]"]
    assert movie.manifests.current() is None
    steps = [event.kind for event in movie.events.stream(run=thief.run) if isinstance(event, RunEvent)]
    assert steps == ["planned"], "who lost the run says nothing in its name"
    movie.leases.release(thief)
    studio.calls.clear()
    report = run(movie, studio)
    assert (report.run, report.status) == (thief.run, "published")
    assert "draw[2]" not in studio.calls


def test_a_plan_whose_run_is_taken_over_ends_in_an_error(two: Movie) -> None:
    """A caller of the runner itself hears of it too, and not of a result that he might publish."""

    async def produce(job: Job, context: JobContext) -> Produced:
        with two.metadata.write() as writer:
            assert writer.runs.acquire(context.run, FAR, 1_000, steal=True)
        await asyncio.Event().wait()
        return Produced({})

    with pytest.raises(LeaseLostError, match="taken over"):
        asyncio.run(Runner(impatient(two)).execute(plan_movie(two), produce=produce))


def test_a_process_that_slept_through_its_lease_publishes_nothing(two: Movie, checkout: Path, tmp_path: Path) -> None:
    """Stopped, taken over, woken: it ends with an error, its late result is kept, and the chain is the successor's."""
    go = tmp_path / "go"
    with holding(two, checkout, go, lease_seconds=0.2) as zombie:
        zombie.send_signal(signal.SIGSTOP)
        until(lambda: not movie_status(two).runs[0].alive)
        taken = movie_status(two).runs[0].run
        report = run(two, successor)
        assert (report.run, report.revision, report.status) == (taken, "rev-0001", "published")
        go.touch()
        zombie.send_signal(signal.SIGCONT)
        assert zombie.communicate(timeout=600)[0] == "LeaseLostError\n"
    (last,) = two.manifests.revisions()
    assert {text_of(two, name) for name in last[0].artefacts} == {
        "first of the successor", "second of the successor"
    }  # fmt: skip
    assert statuses(two, "first.text") == ["succeeded", "kept"]
    late = takes(two, last[0].artefacts["first.text"].signature or "")[-1]
    assert (late.kept, late.run, late.cost) == (True, taken, 0.5)
    assert run(two, successor).status == "unchanged"


def test_a_killed_process_hands_over_at_once(two: Movie, checkout: Path, tmp_path: Path) -> None:
    """Who waits for its call makes it, however long the lease; the killed run can be resumed and pays for nothing."""
    calls: list[str] = []

    async def produce(job: Job, context: JobContext) -> Produced:
        calls.append(job.job_id)
        return await successor(job, context)

    with holding(two, checkout, tmp_path / "go", lease_seconds=1_000, number=1) as holder:
        killed = movie_status(two).runs[0].run
        waited: list[object] = []

        def listen(event: RunProgress) -> None:
            if event.event == "job-waiting":
                waited.append((event.data["for"], event.data["key"]))
                holder.kill()

        assert run(two, produce, inputs={"number": 2}, on_event=listen).status == "published"
        assert waited == [("claim", killed)]
    assert calls == ["first", "second"]
    report = run(two, produce, inputs={"number": 1})
    assert (report.run, report.status, report.made) == (killed, "published", 1)
    assert calls == ["first", "second", "second"]


# Cancel


def test_cancel_ends_a_run_from_elsewhere_as_ctrl_c_would(movie: Movie, studio: Studio) -> None:
    """Finished results are kept, the report says interrupted, and the next run goes on and is not cancelled."""
    answers: list[str] = []
    threads: list[threading.Thread] = []

    def elsewhere(number: str) -> None:
        with open_store(movie.root) as other:
            answers.append(cancel(other.movie(movie.id), number))

    async def produce(job: Job, context: JobContext) -> Produced:
        if job.producer == "film":
            threads.append(threading.Thread(target=elsewhere, args=(context.run,)))
            threads[0].start()
            await asyncio.Event().wait()
        return await studio(job, context)

    report = run(movie, produce)
    threads[0].join()
    assert (report.status, answers) == ("interrupted", ["interrupted"])
    assert report.jobs["film"].status == "cancelled"
    (record,) = movie_status(movie).runs
    assert (record.run, record.status, record.alive) == (report.run, "interrupted", False)
    studio.calls.clear()
    again = run(movie, studio)
    assert (again.run, again.status) == (report.run, "published")
    assert set(studio.calls) == {"film"}


def test_cancel_needs_a_run_that_is_running(two: Movie) -> None:
    """The error says what the run is instead, and what to do with it."""
    with pytest.raises(NotFoundError, match="no run 01932c5e"):
        cancel(two, "01932c5e-4a7b-7c3d-8e9f-0a1b2c3d4e5f")
    number = two.events.new_id()
    token = two.leases.start(number, base_revision=None, edits_through=0)
    assert cancel(two, number, wait_seconds=0.0) == "cancelling"
    with pytest.raises(LeaseLostError) as caught:
        abandon(two, number)
    assert f"renku-store cancel {number}" in caught.value.hint
    two.leases.release(token)
    with pytest.raises(NotFoundError, match="not running") as stopped:
        cancel(two, number)
    assert f"renku-store abandon {number}" in stopped.value.hint
    abandon(two, number)
    with pytest.raises(NotFoundError, match="it is abandoned"):
        cancel(two, number)


SLOW = """
inputs: {{}}
producers:
  quick: {{run: command, argv: [sh, -c, 'echo done > outputs/text'], outputs: {{text: {{mimeType: text/plain}}}}}}
  slow:
    run: command
    argv: [sh, -c, 'touch {started}; until test -e {go}; do sleep 0.05; done; cp inputs/* outputs/text']
    inputs: {{text: quick.text}}
    outputs: {{text: {{mimeType: text/plain}}}}
"""


def test_cancel_from_another_terminal(store: Store, tmp_path: Path) -> None:
    """The command there exits with 130, this one says so, and `run` continues the very run."""
    started, go = tmp_path / "started", tmp_path / "go"
    movie = store.create_movie("slow")
    set_inputs(movie, {"@blueprint": SLOW.format(started=started, go=go)})
    program = [sys.executable, "-m", "renku_cli", "--root", movie.root, "--json"]
    with subprocess.Popen([*program, "run"], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as running:
        until(started.exists)
        (record,) = movie_status(movie).runs
        refused = subprocess.run([*program, "abandon", record.run], capture_output=True, check=False)
        assert refused.returncode == 3
        assert f"renku-store cancel {record.run}" in json.loads(refused.stderr)["error"]["hint"]
        cancelled = subprocess.run([*program, "cancel", record.run], capture_output=True, check=True)
        assert json.loads(cancelled.stdout) == {"run": record.run, "status": "interrupted"}
        report = json.loads(running.communicate(timeout=600)[0])
        assert (running.returncode, report["status"]) == (130, "interrupted")
        assert {job: entry["status"] for job, entry in report["jobs"].items()} == {"quick": "made", "slow": "cancelled"}
    again = subprocess.run([*program, "cancel", record.run], capture_output=True, check=False)
    assert again.returncode == 2
    go.touch()
    resumed = json.loads(subprocess.run([*program, "run"], capture_output=True, check=True).stdout)
    assert (resumed["run"], resumed["status"], resumed["made"]) == (record.run, "published", 1)


# Many processes, some of them killed

NAMES = ("a", "b", "c")
MANY = (
    "inputs: {" + ", ".join(f"{name}: {{type: integer, default: 0}}" for name in NAMES) + "}\nproducers:\n"
    + "".join(
        f"  {name}1: {{run: test/one, inputs: {{n: {name}}}, outputs: {{text: {{mimeType: text/plain}}}}}}\n"
        f"  {name}2: {{run: test/two, inputs: {{n: {name}1.text}}, outputs: {{text: {{mimeType: text/plain}}}}}}\n"
        for name in NAMES
    )
)  # fmt: skip
WORKER = """
import asyncio, os, random, sys
from renku_store import ConflictError, Produced, open_store, run_movie
from tests.running.conftest import words
root, calls, end, seed = sys.argv[1:]
rng = random.Random(seed)
log = os.open(calls, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
async def produce(job, context):
    os.write(log, f"{job.signature} {os.getpid()}\\n".encode())
    await asyncio.sleep(rng.random() / 10)
    return Produced({"text": f"{job.producer}<{words(job.inputs['n'])}>"})
with open_store(root) as store:
    movie = store.movie("many")
    while not os.path.exists(end):
        inputs = {name: rng.randrange(8) for name in rng.sample("abc", 2)}
        try:
            asyncio.run(run_movie(movie, produce=produce, inputs=inputs))
        except ConflictError:
            pass
"""


@pytest.mark.parametrize("seed", [1, 2])
def test_killed_processes_cost_nothing_but_the_calls_that_they_were_in(
    store: Store, checkout: Path, tmp_path: Path, seed: int
) -> None:
    """Four processes want the same few signatures, and are killed in the middle of calls: no other call is repeated."""
    movie = store.create_movie("many")
    set_inputs(movie, {"@blueprint": MANY})
    calls, end, rng = tmp_path / "calls", tmp_path / "end", random.Random(seed)
    calls.touch()
    killed: set[int] = set()
    with ExitStack() as stack:

        def another() -> subprocess.Popen[bytes]:
            arguments = [movie.root, str(calls), str(end), str(rng.random())]
            process = subprocess.Popen([sys.executable, "-c", WORKER, *arguments], cwd=checkout)
            stack.callback(process.wait, 60)
            stack.callback(process.kill)
            return process

        workers = {process.pid: process for process in (another() for _ in range(4))}
        seen = 0
        for _ in range(5):
            # A few calls later: the one that was begun last is under way, or has just ended.
            seen += rng.randrange(1, 5)
            until(lambda: _alive_caller(calls, seen, workers.keys() - killed))  # noqa: B023
            victim = _alive_caller(calls, seen, workers.keys() - killed)
            os.kill(victim, signal.SIGKILL)
            killed.add(victim)
            seen = len(calls.read_text().splitlines())
            process = another()
            workers[process.pid] = process
        until(lambda: movie.manifests.current() is not None)
        end.touch()
        codes = {pid: process.wait(60) for pid, process in workers.items()}
    assert {pid for pid, code in codes.items() if code} == killed
    _check_calls(movie, calls, killed)
    _check_whole(movie)


def _alive_caller(calls: Path, after: int, alive: set[int]) -> int:
    """The process that began the last call beyond the first so many, if it is to be killed still; else 0."""
    callers = [int(line.split()[1]) for line in calls.read_text().splitlines()[after:]]
    return next((caller for caller in reversed(callers) if caller in alive), 0)


def _check_calls(movie: Movie, calls: Path, killed: set[int]) -> None:
    by_signature: dict[str, list[int]] = {}
    for line in calls.read_text().splitlines():
        by_signature.setdefault(line.split()[0], []).append(int(line.split()[1]))
    for signature, callers in by_signature.items():
        assert set(callers[:-1]) <= killed, "only a call whose process was killed is made again"
        results = takes(movie, signature)
        assert not any(take.kept for take in results)
        assert len(results) == 1 or (not results and callers[-1] in killed)


def _check_whole(movie: Movie) -> None:
    """Whatever was killed can be given up, the chain is whole, and every artefact is what its inputs make."""
    for record in movie_status(movie).runs:
        assert not record.alive
        abandon(movie, record.run)
    assert run(movie, successor).status == "unchanged"
    last = next(manifest for manifest, _ in list(movie.manifests.revisions()))
    for name in NAMES:
        value = last.inputs[name].value if name in last.inputs else 0
        assert text_of(movie, f"{name}1.text") == f"{name}1<{value}>"
        assert text_of(movie, f"{name}2.text") == f"{name}2<{name}1<{value}>>"
