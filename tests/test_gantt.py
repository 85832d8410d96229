"""When the jobs of a run went on."""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from renku_store import (
    ArtefactEvent,
    DamageError,
    InvalidIdError,
    Job,
    JobContext,
    Movie,
    NotFoundError,
    Produced,
    ProducerError,
    RetryPolicy,
    compact,
    open_store,
    run_gantt,
    run_movie,
    set_inputs,
    with_retry,
)
from renku_store.gantt import chart
from tests.running.conftest import BLUEPRINT, SEGMENTS, Studio

BEGIN = datetime(2026, 1, 1, tzinfo=UTC)


def at(seconds: float) -> str:
    moment = BEGIN + timedelta(seconds=seconds)
    return moment.strftime("%Y-%m-%dT%H:%M:%S.") + f"{moment.microsecond // 1000:03d}Z"


@pytest.fixture
def movie(tmp_path: Path) -> Iterator[Movie]:
    with open_store(tmp_path / "builds") as store:
        movie = store.create_movie("small")
        set_inputs(movie, {"@blueprint": BLUEPRINT, "segments": SEGMENTS})
        yield movie


def build(movie: Movie, studio: Studio | None = None) -> str:
    return asyncio.run(run_movie(movie, produce=studio or Studio(), concurrency=3)).status


@given(st.lists(st.tuples(st.integers(0, 200), st.integers(0, 60)), max_size=40))
def test_lanes_are_as_many_as_went_on_at_once_and_bars_in_one_never_overlap(spans: list[tuple[int, int]]) -> None:
    """Whatever the spans, those of length nothing too."""
    events = [
        ArtefactEvent(
            id=f"event{number}",
            run="r",
            artefact=f"job{number}.out",
            status="succeeded",
            job=f"job{number}",
            result=f"result{number}",
            duration_seconds=float(length),
            created_at=at(start + length),
        )
        for number, (start, length) in enumerate(spans)
    ]
    gantt = chart("r", events)
    assert {bar.job for bar in gantt.bars} == {f"job{number}" for number in range(len(spans))}
    assert [bar.start for bar in gantt.bars] == sorted(bar.start for bar in gantt.bars)
    lanes: dict[int, str] = {}
    for bar in gantt.bars:
        assert lanes.get(bar.lane, "") <= bar.start
        lanes[bar.lane] = bar.end
    busiest = max((sum(a <= moment < a + n for a, n in spans) for moment, _ in spans), default=0)
    assert busiest <= gantt.lanes <= max(busiest, 1 if spans else 0) or any(not length for _, length in spans)


def test_a_chart_has_each_job_once_with_what_it_cost(movie: Movie) -> None:
    """A job with two outputs is one bar; the run of a revision is found by any of its names."""
    build(movie)
    gantt = run_gantt(movie)
    assert (gantt.revision, gantt.status) == ("rev-0001", "published")
    assert sorted(bar.job for bar in gantt.bars) == sorted(
        [*(f"{name}[{n}]" for name in ("say", "draw", "length") for n in range(3)), "film"]
    )
    assert {(bar.status, bar.attempts, bar.cost) for bar in gantt.bars} == {("made", 1, 0.01)}
    assert gantt.bars[-1].job == "film"
    assert gantt.start is not None
    assert gantt.start <= gantt.bars[0].start <= gantt.bars[-1].end <= (gantt.end or "")
    assert run_gantt(movie, "1") == run_gantt(movie, gantt.run) == gantt


def test_reused_and_failed_jobs_are_marked(movie: Movie) -> None:
    """Of a run that has failed, by its id; and of one that took earlier results over."""
    studio = Studio()
    studio.broken = {"draw[1]"}
    report = asyncio.run(run_movie(movie, produce=studio))
    failed = run_gantt(movie, report.run or "")
    assert (failed.revision, failed.status) == (None, "failed")
    assert [bar.job for bar in failed.bars if bar.status == "failed"] == ["draw[1]"]
    build(movie)
    set_inputs(movie, {"voice": "de"})
    build(movie)
    set_inputs(movie, {"voice": "en"})
    build(movie)
    again = run_gantt(movie)
    assert {bar.status for bar in again.bars} == {"reused"}
    assert all(bar.start == bar.end for bar in again.bars)


def test_failed_attempts_are_counted(movie: Movie) -> None:
    """The bar is that of the last one."""
    studio, failures = Studio(), iter([True, True])
    studio.pause_seconds = 0.02

    async def produce(job: Job, context: JobContext) -> Produced:
        if job.job_id == "film" and next(failures, False):
            raise ProducerError("busy", retryable=True)
        return await studio(job, context)

    retried = with_retry(produce, RetryPolicy(base_seconds=0.02), chance=lambda: 1.0)
    asyncio.run(run_movie(movie, produce=retried))
    (film,) = [bar for bar in run_gantt(movie).bars if bar.job == "film"]
    assert film.attempts == 3
    assert film.end > film.start


def test_a_chart_outlives_compaction_and_the_database(movie: Movie, tmp_path: Path) -> None:
    """It is in the archive of the run."""
    build(movie)
    set_inputs(movie, {"voice": "de"})
    build(movie)
    before = [run_gantt(movie, name) for name in ("rev-0001", "rev-0002")]
    compact(movie)
    assert [run_gantt(movie, name).bars for name in ("rev-0001", "rev-0002")] == [gantt.bars for gantt in before]
    copy = tmp_path / "copy"
    shutil.copytree(Path(movie.root), copy)
    for path in (copy / "small").glob("metadata.db*"):
        path.unlink()
    with open_store(copy) as store:
        rebuilt = run_gantt(store.movie("small"), before[0].run)
    assert (rebuilt.bars, rebuilt.revision, rebuilt.status) == (before[0].bars, "rev-0001", "published")


def test_what_is_not_there_is_told(movie: Movie) -> None:
    """A movie without a revision, a run that nobody knows, an archive that is gone."""
    for name in ("latest", "rev-0007", "01932c5e-4a7b-7c3d-8e9f-0a1b2c3d4e5f", "nonsense"):
        with pytest.raises(InvalidIdError if name == "nonsense" else NotFoundError):
            run_gantt(movie, name)
    build(movie)
    set_inputs(movie, {"voice": "de"})
    build(movie)
    compact(movie)
    run = movie.manifests.load("rev-0001").run
    (Path(movie.root) / "small" / "events" / f"{run}.jsonl.zst").unlink()
    with pytest.raises(DamageError):
        run_gantt(movie, "rev-0001")
