"""Runs that grow while they go, and do not get to their end undisturbed: killed, overtaken, rebuilt, shared."""

from __future__ import annotations

import asyncio
import signal
import threading
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace

from renku_store import (
    ExecutionPlan,
    InputConflictError,
    InvalidValueError,
    LeaseLostError,
    Movie,
    Runner,
    RunProgress,
    RunReport,
    Store,
    movie_status,
    open_store,
    plan_movie,
    run_movie,
    set_inputs,
)
from renku_store.processes import this_process
from renku_store.records.blob import BlobRef
from renku_store.records.events import RunEvent
from renku_store.records.run import LeaseToken
from tests.authoring import check_whole, lose_database, opened
from tests.children import run as run_child
from tests.running.dynamic import BLUEPRINT, Writers, artefacts, deferred, run, segment, told, topic

TWO = topic(segment("a", "sun"), segment("bc"))
JOBS = {
    *("script", "say[0]", "say[1]", "board[0]", "board[1]", "draw[0][0]"),
    *("clip[0][0]", "clip[1][0]", "clip[1][1]", "film"),
}
KILLED = """
import asyncio, os, signal, sys
from renku_store import open_store, run_movie
from renku_store.plans import PlanStore
from renku_store.running.session import RunSession
from tests.running.dynamic import Writers

root, log, where, nth = *sys.argv[1:4], int(sys.argv[4])
left = nth

def kill(point):
    global left
    left -= point == where
    if not left:
        os.kill(os.getpid(), signal.SIGKILL)

def called(job):
    with open(log, "a") as calls:
        calls.write(job.job_id + "\\n")
    kill("call")

def before(owner, name, point):
    method = getattr(owner, name)
    def killing(*arguments, **more):
        kill(point)
        return method(*arguments, **more)
    setattr(owner, name, killing)

before(PlanStore, "save", "save")
before(RunSession, "adopt", "adopt")
writers = Writers()
writers.during = called
with open_store(root) as store:
    print(asyncio.run(run_movie(store.movie("dynamic"), produce=writers, concurrency=1)).status)
"""


@pytest.fixture
def writers() -> Writers:
    return Writers()


@pytest.fixture
def root(tmp_path: Path) -> Path:
    with open_store(tmp_path / "builds") as store:
        set_inputs(store.create_movie("dynamic"), {"@blueprint": BLUEPRINT, "topic": TWO})
    return tmp_path / "builds"


@pytest.fixture
def movie(root: Path) -> Iterator[Movie]:
    with opened(root, "dynamic") as movie:
        yield movie


@pytest.fixture
def undisturbed(tmp_path: Path, writers: Writers) -> str:
    """What the revision is where nothing happens: the hash of its content."""
    with open_store(tmp_path / "other") as store:
        return _published(store, writers)


def _published(store: Store, writers: Writers) -> str:
    movie = store.create_movie("dynamic")
    set_inputs(movie, {"@blueprint": BLUEPRINT, "topic": TWO})
    assert run(movie, writers).status == "published"
    return movie.manifests.load("latest").content_hash


@pytest.mark.parametrize(
    ("where", "nth"),
    [("call", 2), ("call", 5), ("call", 9), ("save", 2), ("save", 3), ("adopt", 1), ("adopt", 2)],
)
def test_a_run_that_is_killed_while_it_grows_is_taken_up(root: Path, undisturbed: str, where: str, nth: int) -> None:
    """In the middle of an expanded run, before an expansion is durable, and right after: no result is made twice."""
    log = root.parent / "calls"
    killed = run_child(KILLED, root, log, where, nth)
    assert killed.code == -signal.SIGKILL
    in_flight = Counter(log.read_text().splitlines()[-1:])
    assert run_child(KILLED, root, log, "nowhere", 1).out.strip() == "published"
    made = Counter(log.read_text().splitlines())
    assert made.keys() == JOBS
    assert made - Counter(JOBS) <= in_flight, "only what was under way while a list was expanded may be made again"
    with opened(root, "dynamic") as movie:
        assert movie.manifests.load("latest").content_hash == undisturbed
        assert (plan_movie(movie).layers, movie_status(movie).runs) == ([], [])
        check_whole(movie)


def test_jobs_of_a_list_that_a_stop_came_upon_are_reported_as_cancelled(
    movie: Movie, writers: Writers, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The expansion that was under way is durable, and nothing of it was made; the next run goes on with it."""
    save, saved = movie.plans.save, 0

    async def scenario() -> RunReport:
        loop, stop = asyncio.get_running_loop(), asyncio.Event()

        def stopping(plan: ExecutionPlan, *guard: AbstractContextManager[None], graph: bytes) -> None:
            nonlocal saved
            saved += 1
            if saved == 2:
                loop.call_soon_threadsafe(stop.set)
                asyncio.run_coroutine_threadsafe(asyncio.sleep(0.1), loop).result()
            save(plan, *guard, graph=graph)

        monkeypatch.setattr(movie.plans, "save", stopping)
        return await run_movie(movie, produce=writers, stop=stop)

    report = asyncio.run(scenario())
    assert report.status == "interrupted"
    statuses = {job: result.status for job, result in report.jobs.items()}
    assert {"say[0]", "say[1]", "board[1]", "draw[0][0]"} <= statuses.keys()
    assert statuses.pop("script") == "made"
    assert set(statuses.values()) == {"cancelled"}
    assert run(movie, writers).status == "published"
    assert writers.calls["script"] == 0


def test_what_was_expanded_is_in_the_plan_of_the_run_and_in_its_events(root: Path) -> None:
    """Durable before any of the new jobs begins, so that whoever looks sees the jobs that there are."""
    log = root.parent / "calls"
    assert run_child(KILLED, root, log, "adopt", 1).code == -signal.SIGKILL
    assert log.read_text().split() == ["script"]
    with opened(root, "dynamic") as movie:
        (unfinished,) = movie_status(movie).runs
        saved = movie.plans.load(unfinished.run)
        assert {"say[0]", "say[1]", "clip[0][*]"} <= saved.jobs.keys()
        steps = [event for event in movie.events.stream(run=unfinished.run) if isinstance(event, RunEvent)]
        assert [(step.kind, step.data.get("graph")) for step in steps][-1] == ("extended", saved.graph_hash)
        assert movie.blobs.has(saved.graph_hash)


@pytest.mark.parametrize("when", ["script", "board[1]", "film"])
def test_a_growing_run_that_was_overtaken_plans_again(movie: Movie, writers: Writers, when: str) -> None:
    """Both edits are in the last revision, the list is the newest, and what was made before is not made again."""
    run(movie, writers)
    longer = topic(segment("a", "sun"), segment("bc"), segment("d"))
    writers.calls.clear()
    events: list[RunProgress] = []

    def overtake() -> None:
        with opened(Path(movie.root), "dynamic") as other:
            asyncio.run(run_movie(other, produce=writers, inputs={"voice": "fr"}))

    def listen(event: RunProgress) -> None:
        events.append(event)
        if event.job == when and event.event == "job-finished" and movie.manifests.resolve("latest") == "rev-0001":
            thread = threading.Thread(target=overtake)
            thread.start()
            thread.join()

    report = asyncio.run(run_movie(movie, produce=writers, inputs={"topic": longer}, on_event=listen, concurrency=1))
    assert (report.status, report.revision) == ("published", "rev-0003")
    assert artefacts(movie, "say") == ["say[0].audio", "say[1].audio", "say[2].audio"]
    assert b"voice=fr" in movie.read(movie.artefact("say[2].audio"))
    assert (writers.calls["script"], writers.calls["board[2]"]) == (1, 1)
    assert (plan_movie(movie).layers, movie_status(movie).runs) == ([], [])
    assert len(told(events, "run-extended")) >= 2
    check_whole(movie)


def test_two_scripts_at_once_are_a_conflict(movie: Movie, writers: Writers) -> None:
    """Of two topics nobody can say which is meant, though both lists had been expanded."""
    run(movie, writers)

    def listen(event: RunProgress) -> None:
        if event.job == "film" and event.event == "job-finished":
            thread = threading.Thread(target=overtake)
            thread.start()
            thread.join()

    def overtake() -> None:
        with opened(Path(movie.root), "dynamic") as other:
            run(other, Writers(), inputs={"topic": topic(segment("theirs"))})

    with pytest.raises(InputConflictError, match="topic"):
        run(movie, writers, inputs={"topic": topic(segment("o"), segment("urs"))}, on_event=listen)
    assert artefacts(movie, "say") == ["say[0].audio"]


def test_the_database_can_be_lost_between_two_lists(root: Path, writers: Writers) -> None:
    """The next plan is complete and empty, and an earlier list comes back at no cost."""
    with opened(root, "dynamic") as movie:
        run(movie, writers)
        set_inputs(movie, {"topic": topic(segment("xyz"))})
        run(movie, writers)
    lose_database(root, "dynamic")
    with opened(root, "dynamic") as movie:
        assert plan_movie(movie).layers == []
        kinds = [event.kind for event in movie.events.stream() if isinstance(event, RunEvent)]
        assert kinds.count("extended") >= 2
        set_inputs(movie, {"topic": TWO})
        assert run(movie, writers).status == "published"
        assert dict(writers.calls) == {}
        assert deferred(movie) == []
        check_whole(movie)


def test_callers_with_a_scheduler_of_their_own_expand_as_they_go(movie: Movie, writers: Writers) -> None:
    """`expand` gives the plan with what is known by now; a placeholder itself cannot be executed."""

    async def scenario() -> ExecutionPlan:
        plan = plan_movie(movie)
        async with Runner(movie) as runner:
            done: set[str] = set()
            while to_do := [job for job in plan.dirty if plan.jobs[job].state == "dirty" and job not in done]:
                for job in to_do:
                    await runner.execute_job(job, plan=plan, produce=writers)
                done.update(to_do)
                if done == {"script"}:
                    result = await runner.execute_job("say[*]", plan=plan, produce=writers)
                    assert (result.error and result.error.kind) == InvalidValueError.__name__
                plan = await runner.expand(plan)
            result = runner.result(plan)
            assert result.succeeded
            manifest = result.build_manifest()
        archive = movie.archiver.archive(result.run, 10**9)
        movie.manifests.save_manifest(manifest.replace(archive=archive), previous_hash=None)
        return plan

    plan = asyncio.run(scenario())
    assert dict(writers.calls) == dict.fromkeys(JOBS, 1)
    assert plan.dirty
    assert plan_movie(movie).layers == []


def test_another_process_expands_what_was_made_here(root: Path, movie: Movie, writers: Writers) -> None:
    """It shares the run, its plan and its token, and sees the list in the run's events."""

    async def scenario() -> set[str]:
        plan = plan_movie(movie).replace(run=movie.events.new_id())
        with opened(root, "dynamic") as there:
            token = movie.leases.start(plan.run or "", base_revision=None, edits_through=plan.edits_through)
            with movie.leases.held(token):
                await Runner(movie).execute_job("script", plan=plan, produce=writers, token=token)
                other = Runner(there)
                after = await other.expand(plan, token=token)
                await other.execute_job("say[1]", plan=after, produce=writers, token=token)
        return set(after.jobs)

    assert {"say[0]", "say[1]", "board[1]", "clip[1][*]"} <= asyncio.run(scenario())
    assert dict(writers.calls) == {"script": 1, "say[1]": 1}


# Who was overtaken


FAR = replace(this_process(), host="another machine", command="renku-store run")


def _overtake(root: Path, run: str) -> LeaseToken:
    """Another process takes the run, as if its lease had expired, and writes its plan."""
    with opened(root, "dynamic") as other:
        with other.metadata.write() as writer:
            token = writer.runs.acquire(run, FAR, 1_000, steal=True)
        assert token is not None
        plan = plan_movie(other).replace(run=run, warnings=["of the successor"])
        other.plans.save(plan, other.leases.kept(token))
        return token


def test_who_was_overtaken_while_it_expanded_leaves_the_plan_of_its_successor(
    movie: Movie, writers: Writers, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Between the last sign of its lease and the writing of the plan: the late holder writes nothing, and ends."""
    put, taken = movie.blobs.put, list[LeaseToken]()

    def overtaken(data: bytes) -> BlobRef:
        """The graph of an expansion is written right before its plan."""
        stored = put(data)
        if b"say[0]" in data and not taken:
            taken.append(_overtake(Path(movie.root), movie_status(movie).runs[0].run))
        return stored

    monkeypatch.setattr(movie.blobs, "put", overtaken)
    with pytest.raises(LeaseLostError):
        run(movie, writers)
    (token,) = taken
    assert dict(writers.calls) == {"script": 1}
    assert movie.plans.load(token.run).warnings == ["of the successor"]
    kinds = [event.kind for event in movie.events.stream(run=token.run) if isinstance(event, RunEvent)]
    assert "extended" not in kinds


def test_who_was_overtaken_before_it_wrote_its_first_plan_begins_another_run(
    movie: Movie, writers: Writers, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The plan of the run that was taken from it is that of the one who took it."""
    put, taken = movie.blobs.put_many, list[LeaseToken]()

    def overtaken(contents: Iterable[bytes | Path], **more: Any) -> list[BlobRef]:
        """What a plan names is written right before it."""
        if not taken:
            taken.append(_overtake(Path(movie.root), movie_status(movie).runs[0].run))
        return put(contents, **more)

    monkeypatch.setattr(movie.blobs, "put_many", overtaken)
    report = run(movie, writers)
    (token,) = taken
    assert (report.status, report.run != token.run) == ("published", True)
    assert movie.plans.load(token.run).warnings == ["of the successor"]


def test_a_process_that_is_handed_a_plan_that_has_grown_goes_on_with_it(
    root: Path, movie: Movie, writers: Writers
) -> None:
    """It has seen none of the lists, finds them in the run's events, and expands further."""

    async def scenario() -> set[str]:
        plan = plan_movie(movie).replace(run=movie.events.new_id())
        with opened(root, "dynamic") as there:
            token = movie.leases.start(plan.run or "", base_revision=None, edits_through=plan.edits_through)
            with movie.leases.held(token):
                here = Runner(movie)
                await here.execute_job("script", plan=plan, produce=writers, token=token)
                grown = await here.expand(plan, token=token)
                await here.execute_job("board[1]", plan=grown, produce=writers, token=token)
                after = await Runner(there).expand(grown, token=token)
        return set(after.jobs)

    assert {"say[0]", "say[1]", "clip[0][*]", "clip[1][0]", "clip[1][1]"} <= asyncio.run(scenario())
