"""What a job takes of the machine, counted: commits, syncs, threads, folders."""

from __future__ import annotations

import asyncio
import gc
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from tempfile import mkdtemp
from typing import Any

import apsw
import pytest

from renku_store import (
    Job,
    JobContext,
    ManifestArtefact,
    Movie,
    Produced,
    ProducerError,
    ProducerGraph,
    RetryPolicy,
    Runner,
    Store,
    StoreUnavailableError,
    plan_movie,
    set_inputs,
    with_retry,
)
from renku_store.durability import listening
from renku_store.running import preparation
from renku_store.running.session import RunSession

_JOBS = 200
_CONCURRENCY = 64
_BLUEPRINT = """
name: many
inputs: {numbers: {type: list, required: true}}
loops: {number: {over: numbers}}
producers:
  job:
    for: [number]
    run: test/nothing@1
    inputs: {number: "numbers[number]"}
    outputs: {out: {mimeType: text/plain}}
"""


async def nothing(job: Job, _context: JobContext) -> Produced:
    return Produced({"out": str(job.inputs["number"])})


class Full:
    """A disk on which so many folders can be made, and then none."""

    def __init__(self, after: int) -> None:
        self.asked = 0
        self._after = after

    def __call__(self, **where: str) -> str:
        self.asked += 1
        if self.asked > self._after:
            raise OSError(28, "No space left on device")
        return mkdtemp(**where)


@pytest.fixture
def many(store: Store) -> Movie:
    movie = store.create_movie("many")
    set_inputs(movie, {"@blueprint": _BLUEPRINT, "numbers": list(range(_JOBS))})
    return movie


def executed(movie: Movie, during: Callable[[], object] = lambda: None) -> None:
    """Execute all jobs; `during` is called in the loop right before."""
    plan = plan_movie(movie)

    async def go() -> None:
        during()
        result = await Runner(movie, concurrency=_CONCURRENCY).execute(plan, produce=nothing)
        assert result.metrics.made == _JOBS

    asyncio.run(go())


def test_jobs_that_end_together_share_their_commits(many: Movie) -> None:
    """A claim and a result of each of 200 jobs are some commits for each 64 of them, not two for each one."""
    seen: Counter[str] = Counter()

    def hear(moment: str, name: str) -> None:
        seen[name] += moment == "after"

    with listening(hear):
        executed(many)
    assert seen["database commit"] < _JOBS / 5
    assert seen["file sync"] + seen["folder sync"] + seen["filesystem sync"] < _JOBS / 5


def test_jobs_that_are_ready_together_share_their_threads(many: Movie, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing goes to another thread for one job alone: not its look-up, its claim, its folder or its result."""
    hops = 0

    def count() -> None:
        loop = asyncio.get_running_loop()
        submit = loop.run_in_executor

        def counted(*arguments: Any) -> Any:
            nonlocal hops
            hops += 1
            return submit(*arguments)

        monkeypatch.setattr(loop, "run_in_executor", counted)

    executed(many, count)
    assert 0 < hops < _JOBS / 5


def test_statements_of_a_job_are_few(many: Movie) -> None:
    """Look-ups are one statement for a group; what is left are the rows that a claim and a result write and remove."""
    connection: apsw.Connection = many.metadata.connection  # type: ignore[attr-defined]
    statements = 0

    def count(_cursor: object, _sql: str, _bindings: object) -> bool:
        nonlocal statements
        statements += 1
        return True

    connection.exec_trace = count
    try:
        executed(many)
    finally:
        connection.exec_trace = None
    assert statements < 12 * _JOBS


def test_a_job_does_not_look_at_what_other_jobs_have_made(many: Movie, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nor at all that there is of artefacts: the work of a job does not grow with the number of jobs."""
    asked = 0

    class Artefacts(dict[str, ManifestArtefact]):
        def keys(self) -> Any:
            nonlocal asked
            asked += 1
            return super().keys()

        def __iter__(self) -> Iterator[str]:
            nonlocal asked
            asked += 1
            return super().__iter__()

    monkeypatch.setattr(RunSession, "_kept_artefacts", lambda _: Artefacts())
    executed(many)
    assert asked < _JOBS / 10


def test_a_run_begins_without_a_document_of_its_graph(many: Movie, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is stored of the graph, alone and in the plan, is written from columns."""
    documents: list[int] = []

    def document(graph: ProducerGraph) -> dict[str, Any]:
        documents.append(len(graph.nodes))
        return {}

    monkeypatch.setattr(ProducerGraph, "to_json", document)
    executed(many)
    assert set(documents) <= {0}


def test_a_call_in_flight_keeps_few_objects_alive(many: Movie) -> None:
    """The more each of 40 calls keeps, the oftener the garbage collector looks at all that there is."""
    counted: list[int] = []
    in_flight = 0
    there = asyncio.Event()

    async def waiting(job: Job, context: JobContext) -> Produced:
        nonlocal in_flight
        in_flight += 1
        if in_flight in {1, 41}:
            gc.collect()
            counted.append(len(gc.get_objects()))
        if in_flight == 41:
            there.set()
        await there.wait()
        return await nothing(job, context)

    plan = plan_movie(many)
    assert asyncio.run(Runner(many, concurrency=_CONCURRENCY).execute(plan, produce=waiting)).metrics.made == _JOBS
    first, last = counted
    assert 0 < last - first < 40 * 42


def test_a_call_that_needs_no_folder_gets_none(many: Movie, monkeypatch: pytest.MonkeyPatch) -> None:
    """A folder is made when the handler asks for it; one in a run, before its first call, shows that it could be."""
    full = Full(after=1)
    monkeypatch.setattr(preparation, "mkdtemp", full)
    executed(many)
    assert full.asked == 1


def test_a_folder_that_is_asked_for_is_there_once_and_goes_with_the_call(many: Movie) -> None:
    """Each call has its own; whoever asks again gets the same, empty at first, and nothing is left of it."""
    seen: list[Path] = []

    async def asking(job: Job, context: JobContext) -> Produced:
        folder = context.directory
        assert folder.is_absolute()
        assert list(folder.iterdir()) == []
        path = folder / "out"
        path.write_text(job.job_id)
        assert context.directory == folder
        seen.append(folder)
        return Produced({"out": path})

    plan = plan_movie(many)
    result = asyncio.run(Runner(many, concurrency=8).execute(plan, produce=asking))
    assert result.metrics.made == _JOBS
    assert len(set(seen)) == _JOBS
    assert not any(folder.exists() for folder in seen)


@pytest.mark.parametrize("after", [0, 1], ids=["from the start", "from the first call on"])
def test_where_there_can_be_no_folder_the_run_ends(many: Movie, monkeypatch: pytest.MonkeyPatch, after: int) -> None:
    """No handler is at fault, not even one that takes whatever happens for its own failure; none is called in vain."""
    called: list[str] = []

    async def hiding(job: Job, context: JobContext) -> Produced:
        called.append(job.job_id)
        try:
            return Produced({"out": str(context.directory)})
        except Exception as error:
            raise ProducerError("It went wrong.") from error

    monkeypatch.setattr(preparation, "mkdtemp", Full(after))
    with pytest.raises(StoreUnavailableError):
        asyncio.run(Runner(many, concurrency=8).execute(plan_movie(many), produce=hiding))
    assert bool(called) == bool(after)
    assert [*many.events.stream_artefacts()] == [], "no job has failed"


@pytest.mark.parametrize("hides", [False, True])
def test_what_calls_took_is_booked_though_there_can_be_no_folder(
    store: Store, monkeypatch: pytest.MonkeyPatch, hides: bool
) -> None:
    """The run ends with the store's own error, and what is known of the money is in the events."""
    movie = store.create_movie("one")
    set_inputs(movie, {"@blueprint": _BLUEPRINT, "numbers": [1]})

    async def paid(_job: Job, context: JobContext) -> Produced:
        if context.attempt == 1:
            raise ProducerError("It went wrong.", retryable=True, cost=0.5)
        try:
            return Produced({"out": context.directory / "out"}, cost=0.25)
        except StoreUnavailableError as error:
            if hides:
                raise ProducerError("There is no folder.", cost=0.25) from error
            raise

    monkeypatch.setattr(preparation, "mkdtemp", Full(after=1))
    again = with_retry(paid, RetryPolicy(base_seconds=0.0))
    with pytest.raises(StoreUnavailableError):
        asyncio.run(Runner(movie).execute(plan_movie(movie), produce=again))
    booked = [(event.status, event.cost, event.attempts) for event in movie.events.stream_artefacts()]
    assert booked == [("failed", 0.75 if hides else 0.5, 2)]
