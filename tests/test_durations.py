"""How long jobs and runs are expected to take."""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from renku_store import (
    ArtefactEvent,
    ExecutionPlan,
    GraphEdge,
    GraphNode,
    GraphOutput,
    Job,
    JobContext,
    Movie,
    Planner,
    Produced,
    ProducerGraph,
    hash_bytes,
    open_store,
    plan_movie,
    run_movie,
    run_seconds,
    set_inputs,
)
from renku_store.records.manifest import ArtefactValue

BLUEPRINT = """
name: film
inputs: {lines: {type: list, required: true}, look: {type: string, default: plain}}
loops: {line: {over: lines}}
producers:
  quick:
    for: [line]
    run: test/quick
    inputs: {text: "lines[line]"}
    outputs: {out: {mimeType: text/plain}}
  slow:
    run: test/slow
    inputs: {look: look, lines: lines}
    outputs: {out: {mimeType: text/plain}}
  film:
    run: test/film
    inputs: {parts: "quick[*].out", main: slow.out}
    outputs: {out: {mimeType: text/plain}}
timeline: film.out
"""


def planned(producers: list[str], edges: list[tuple[int, int]], seconds: dict[str, float]) -> ExecutionPlan:
    """A plan of jobs by number, whose producers take so long where that is known."""
    nodes = [
        GraphNode(
            job_id=f"job{n}",
            producer=producer,
            provider="test",
            provider_model="made",
            produces=[GraphOutput(id=f"job{n}.out", name="out", mime_type="text/plain")],
        )
        for n, producer in enumerate(producers)
    ]
    arrows = [GraphEdge.from_json({"from": f"job{a}", "to": f"job{b}"}) for a, b in edges]
    plan = Planner.compute_plan(graph=ProducerGraph(nodes=nodes, edges=arrows), manifest=None, inputs={})
    jobs = {key: job.replace(seconds=seconds.get(producers[int(key[3:])])) for key, job in plan.jobs.items()}
    return plan.replace(jobs=jobs)


@st.composite
def plans(draw: st.DrawFn) -> tuple[ExecutionPlan, list[float], list[tuple[int, int]]]:
    count = draw(st.integers(1, 12))
    weights = draw(st.lists(st.integers(1, 50).map(float), min_size=count, max_size=count))
    pairs = [(a, b) for b in range(count) for a in range(b)]
    edges = draw(st.lists(st.sampled_from(pairs), unique=True, max_size=20)) if pairs else []
    producers = [f"p{n}" for n in range(count)]
    return planned(producers, edges, dict(zip(producers, weights, strict=True))), weights, edges


def longest_chain(weights: list[float], edges: list[tuple[int, int]]) -> float:
    ends: list[float] = []
    for job, weight in enumerate(weights):
        ends.append(weight + max((ends[a] for a, b in edges if b == job), default=0.0))
    return max(ends)


@given(plans(), st.integers(1, 6))
def test_a_run_takes_what_its_chain_and_its_work_allow_and_at_most_grahams_bound(
    case: tuple[ExecutionPlan, list[float], list[tuple[int, int]]], concurrency: int
) -> None:
    """Never less than the longest chain or the work shared by all, never more than both together."""
    plan, weights, edges = case
    chain, work = longest_chain(weights, edges), sum(weights)
    expected = run_seconds(plan, concurrency)
    assert expected is not None
    assert expected >= max(chain, work / concurrency) - 1e-9
    assert expected <= work / concurrency + chain * (concurrency - 1) / concurrency + 1e-9
    assert run_seconds(plan, 1) == pytest.approx(work)
    assert run_seconds(plan, len(weights)) == pytest.approx(chain)


def test_jobs_of_which_nothing_is_known_take_the_mean_of_the_others() -> None:
    """And where nothing is known of any, there is no estimate."""
    assert run_seconds(planned(["a", "b"], [(0, 1)], {"a": 4.0}), 1) == 8.0
    assert run_seconds(planned(["a", "b"], [(0, 1)], {}), 1) is None


def build(movie: Movie, seconds: dict[str, float], **more: object) -> list[str]:
    """Run a movie with producers that take so long; the jobs in the order of their calls."""
    begun: list[str] = []

    async def produce(job: Job, context: JobContext) -> Produced:
        begun.append(job.job_id)
        await asyncio.sleep(seconds.get(job.producer, 0.0))
        return Produced({"out": f"{job.job_id} {[*job.inputs]} {movie.id}"})

    assert asyncio.run(run_movie(movie, produce=produce, **more)).status == "published"  # type: ignore[arg-type]
    return begun


@pytest.fixture
def film(tmp_path: Path) -> Iterator[Movie]:
    with open_store(tmp_path / "builds") as store:
        movie = store.create_movie("film")
        set_inputs(movie, {"@blueprint": BLUEPRINT, "lines": [*"abcd"]})
        yield movie


def test_what_took_longest_before_is_begun_first(film: Movie) -> None:
    """At first nothing is known, and jobs go in the order of the graph; the next run begins with the long one."""
    assert build(film, {"slow": 0.3}, concurrency=1)[0] == "quick[0]"
    set_inputs(film, {"lines": [*"efgh"]})
    plan = plan_movie(film)
    assert all(plan.jobs[job].seconds is not None for job in plan.dirty)
    assert plan.jobs["slow"].seconds == pytest.approx(0.3, abs=0.25)
    assert build(film, {}, concurrency=1)[0] == "slow"


def test_the_plan_of_a_run_keeps_what_it_expected(film: Movie) -> None:
    """Recorded with the run, to be looked up when it was wrong."""
    build(film, {"slow": 0.05})
    set_inputs(film, {"look": "fine"})
    build(film, {})
    run = film.manifests.load("latest").run
    saved = film.plans.load(run)
    assert saved.jobs["slow"].seconds is not None
    assert saved.jobs["quick[0]"].seconds is None, "it was clean"


def test_durations_survive_the_loss_of_the_database(film: Movie, tmp_path: Path) -> None:
    """They are in the archives, and are back with the traces."""
    build(film, {"slow": 0.05, "quick": 0.02})
    set_inputs(film, {"look": "fine"})
    build(film, {"slow": 0.1})
    before = film.events.durations(["slow", "quick", "film", "nobody"])
    assert before.keys() == {"slow", "quick", "film"}
    trace = film.events.find_trace(film.manifests.load("latest").artefacts["slow.out"].signature or "")
    assert trace is not None
    assert trace.duration_seconds is not None
    copy = tmp_path / "copy"
    shutil.copytree(Path(film.root), copy)
    for path in (copy / "film").glob("metadata.db*"):
        path.unlink()
    with open_store(copy) as store:
        assert store.movie("film").events.durations(before) == pytest.approx(before)


@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(seconds=st.lists(st.floats(0.0, 1_000.0), min_size=1, max_size=60))
def test_the_mean_of_a_producer_follows_its_last_calls(film: Movie, seconds: list[float]) -> None:
    """Each of the first twenty counts alike, later ones a twentieth; it stays among the values seen."""
    producer = film.events.new_id()
    film.events.append_many([_made(film, producer, number, taken) for number, taken in enumerate(seconds)])
    found = film.events.durations([producer])[producer]
    expected = 0.0
    for number, taken in enumerate(seconds, 1):
        expected += (taken - expected) / min(number, 20)
    assert found == pytest.approx(expected, abs=1e-6)
    assert min(seconds) - 1e-9 <= found <= max(seconds) + 1e-9


def _made(movie: Movie, producer: str, number: int, seconds: float) -> ArtefactEvent:
    data = f"{producer} {number}".encode()
    return ArtefactEvent(
        id=movie.events.new_id(),
        artefact=f"clip[{number}].out",
        status="succeeded",
        output="out",
        job=f"clip[{number}]",
        producer=producer,
        signature=hash_bytes(data),
        result=movie.events.new_id(),
        value=ArtefactValue(hash=hash_bytes(data), size=len(data), mime_type="text/plain", inline=data.decode()),
        cost=0.0,
        attempts=1,
        duration_seconds=seconds,
        created_at="2026-01-01T00:00:00.000Z",
    )
