"""The daily loop: run, look, tweak, run again."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from renku_store import (
    ExecutionPlan,
    Job,
    JobContext,
    JobResult,
    Movie,
    Planner,
    Produced,
    Runner,
    RunProgress,
    RunReport,
    StalePlanError,
    Store,
    abandon,
    movie_status,
    open_store,
    plan_movie,
    run_movie,
    set_inputs,
)
from tests.authoring import lose_database, read_by_another_hand, texts
from tests.roots import Root
from tests.running.conftest import SEGMENTS, Studio


@pytest.fixture
def store(any_root: Root) -> Iterator[Store]:
    with open_store(any_root) as store:
        yield store


PARTS = ("", "tmp/", "locks/")
"""Everything that a driver can list of a movie."""


def run(movie: Movie, studio: Studio, **more: object) -> RunReport:
    return asyncio.run(run_movie(movie, produce=studio, **more))  # type: ignore[arg-type]


def test_a_first_run_makes_everything_and_publishes(movie: Movie, studio: Studio) -> None:
    """Ten jobs, each called once; rev-0001 holds every artefact, and another reader resolves them all."""
    report = run(movie, studio)
    assert (report.status, report.revision, report.made, report.reused) == ("published", "rev-0001", 10, 0)
    assert set(studio.calls.values()) == {1}
    assert report.cost == pytest.approx(0.10)
    manifest, digest = movie.manifests.load_current()
    assert manifest.timeline == "film.timeline"
    assert manifest.metrics.made == 10
    read = read_by_another_hand(movie.root, movie.id)
    assert read == texts(movie)
    assert len(read) == 11
    assert digest == movie.manifests.load_with_hash("latest")[1]


def test_a_second_run_makes_nothing_and_writes_nothing(movie: Movie, studio: Studio) -> None:
    """Nothing changed: no call, no revision, no run, no new file."""
    run(movie, studio)
    before = sorted(found.name for part in PARTS for found in movie.driver.list(part))
    report = run(movie, studio)
    assert (report.status, report.revision, report.run, report.made) == ("unchanged", "rev-0001", None, 0)
    assert {job.status for job in report.jobs.values()} == {"clean"}
    assert sum(studio.calls.values()) == 10
    assert sorted(found.name for part in PARTS for found in movie.driver.list(part)) == before


def test_one_changed_sentence_remakes_what_depends_on_it_and_nothing_else(movie: Movie, studio: Studio) -> None:
    """Segment 1's text: its narration, its length and the film; not the drawings, not the other segments."""
    run(movie, studio)
    studio.calls.clear()
    set_inputs(movie, {"segments": [SEGMENTS[0], {**SEGMENTS[1], "text": "changed"}, SEGMENTS[2]]})
    report = run(movie, studio)
    assert dict(studio.calls) == {"say[1]": 1, "length[1]": 1, "film": 1}
    assert (report.status, report.revision, report.made) == ("published", "rev-0002", 3)


def test_early_cutoff_stops_where_a_result_is_the_same(movie: Movie, studio: Studio) -> None:
    """A text of the same length gives the same length: what reads only that is not made again."""
    run(movie, studio)
    studio.calls.clear()
    set_inputs(movie, {"segments": [{**SEGMENTS[0], "text": "eno"}, *SEGMENTS[1:]]})
    set_inputs(movie, {"voice": "en"})
    report = run(movie, studio)
    assert dict(studio.calls) == {"say[0]": 1, "length[0]": 1, "film": 1}
    assert report.jobs["length[0]"].status == "made"
    set_inputs(movie, {"segments": [{**SEGMENTS[0], "text": "one"}, *SEGMENTS[1:]]})
    studio.calls.clear()
    assert run(movie, studio).reused == 3
    assert not studio.calls


def test_reverting_an_input_costs_nothing(movie: Movie, studio: Studio) -> None:
    """Every result of before is found by its signature; the revision has the content of the first."""
    run(movie, studio)
    first = movie.manifests.load("rev-0001")
    set_inputs(movie, {"segments": SEGMENTS[:1]})
    run(movie, studio)
    set_inputs(movie, {"segments": SEGMENTS})
    studio.calls.clear()
    report = run(movie, studio)
    assert (report.made, report.cost, report.revision) == (0, 0.0, "rev-0003")
    assert not studio.calls
    assert movie.manifests.load("rev-0003").content_hash == first.content_hash


def test_a_failure_fails_its_dependents_only_and_the_next_run_goes_on(movie: Movie, studio: Studio) -> None:
    """One job breaks: the others are made and kept; nothing is published; the same run continues later."""
    studio.broken = {"say[1]"}
    report = run(movie, studio)
    assert (report.status, report.revision) == ("failed", None)
    assert report.jobs["say[1]"].status == "failed"
    assert report.jobs["say[1]"].error is not None
    assert "say[1] is broken" in report.jobs["say[1]"].error.message
    assert {job for job, result in report.jobs.items() if result.status == "upstream failed"} == {"length[1]", "film"}
    assert report.made == 7
    plan = plan_movie(movie)
    assert "last attempt failed" in [reason.kind for reason in plan.jobs["say[1]"].reasons]
    studio.broken, before = set(), report.run
    studio.calls.clear()
    report = run(movie, studio)
    assert (report.status, report.run, report.made, report.reused) == ("published", before, 3, 7)
    assert set(studio.calls) == {"say[1]", "length[1]", "film"}
    metrics = movie.manifests.load("latest").metrics
    assert (metrics.made, metrics.reused, metrics.cost) == (10, 0, pytest.approx(0.10)), (
        "a revision tells its whole price"
    )


def test_two_jobs_that_ask_the_same_make_one_call(movie: Movie, studio: Studio) -> None:
    """Equal text and voice are one signature: one is made, the other reuses it."""
    set_inputs(movie, {"segments": [SEGMENTS[0], SEGMENTS[0]]})
    report = run(movie, studio)
    assert sum(count for job, count in studio.calls.items() if job.startswith("say")) == 1
    assert report.status == "published"
    assert sorted(report.jobs[f"say[{n}]"].status for n in range(2)) == ["made", "reused"]


def test_concurrency_is_bounded(movie: Movie, studio: Studio) -> None:
    """With 2 at once no third call begins; all the same everything is made."""
    studio.pause_seconds = 0.02
    assert run(movie, studio, concurrency=2).made == 10
    assert studio.peak == 2


def test_jobs_start_when_they_are_ready_not_layer_by_layer(movie: Movie, studio: Studio) -> None:
    """A job whose inputs are there starts while others of an earlier layer still run."""
    order: list[str] = []
    gate = asyncio.Event()

    async def produce(job, context):  # type: ignore[no-untyped-def]
        order.append(job.job_id)
        if job.job_id == "draw[2]":
            await asyncio.wait_for(gate.wait(), 30)
        if job.job_id == "length[0]":
            gate.set()
        return await studio(job, context)

    report = asyncio.run(run_movie(movie, produce=produce, concurrency=10))
    assert report.status == "published"


def test_stopping_keeps_what_is_finished_and_the_next_run_continues(movie: Movie, studio: Studio) -> None:
    """Stop after two results: running calls are cancelled, the two are kept, and nothing of them is made again."""

    async def go() -> RunReport:
        stop = asyncio.Event()
        done: list[str] = []

        def listen(event: RunProgress) -> None:
            if event.event == "job-finished" and event.status == "made":
                done.append(event.job or "")
                if len(done) == 2:
                    studio.hold = asyncio.Event()
                    stop.set()

        return await run_movie(movie, produce=studio, concurrency=1, on_event=listen, stop=stop)

    report = asyncio.run(go())
    assert report.status == "interrupted"
    assert report.made == 2
    assert {result.status for result in report.jobs.values()} == {"made", "cancelled"}
    studio.hold = None
    made = set(studio.calls)
    report = run(movie, studio)
    assert report.status == "published"
    assert report.reused == 2
    assert sum(studio.calls.values()) <= 11
    assert made <= set(studio.calls)


def test_private_inputs_stay_private_until_published(movie: Movie, studio: Studio) -> None:
    """Inputs of a run that fails are seen by nobody else; when it publishes, they are the movie's."""
    run(movie, studio)
    studio.broken = {"film"}
    report = run(movie, studio, inputs={"voice": "fr"})
    assert report.status == "failed"
    assert movie.events.latest_input("voice") is None
    assert "voice" not in movie.manifests.load("latest").inputs
    plan = plan_movie(movie)
    assert plan.run == report.run, "a plan shows what a run would do: take the unfinished one up"
    assert "voice" in plan.warnings[0]
    studio.broken = set()
    assert run(movie, studio).status == "published"
    latest = movie.events.latest_input("voice")
    assert latest is not None
    assert latest.value == "fr"
    assert movie.manifests.load("latest").inputs["voice"].value == "fr"


def test_a_later_edit_wins_over_the_private_inputs_of_a_run_that_is_taken_up(movie: Movie, studio: Studio) -> None:
    """Of two values of one input the one that was given last is published, and never lost."""
    run(movie, studio)
    studio.broken = {"film"}
    assert run(movie, studio, inputs={"voice": "private"}).status == "failed"
    studio.broken = set()
    set_inputs(movie, {"voice": "later"})
    assert plan_movie(movie).inputs["voice"].value == "later"
    assert run(movie, studio).status == "published"
    assert movie.manifests.load("latest").inputs["voice"].value == "later"
    assert movie_status(movie).pending == []


def test_abandoned_runs_are_not_resumed_but_their_results_are_reused(movie: Movie, studio: Studio) -> None:
    """After abandoning, a new run has a new id and pays for nothing that was made."""
    studio.broken = {"film"}
    failed = run(movie, studio)
    assert failed.run is not None
    assert [record.run for record in movie_status(movie).runs] == [failed.run]
    abandon(movie, failed.run)
    assert movie_status(movie).runs == []
    studio.broken = set()
    report = run(movie, studio)
    assert report.run != failed.run
    assert (report.made, report.reused) == (1, 9)


def test_a_deleted_blob_is_made_again(movie: Movie, studio: Studio) -> None:
    """A blob that is gone makes its job dirty with that reason, and reuse does not fall for its trace."""
    set_inputs(movie, {"segments": [{**SEGMENTS[0], "text": "x" * 3000}, *SEGMENTS[1:]]})
    run(movie, studio)
    entry = movie.manifests.load("latest").artefacts["say[0].audio"]
    assert entry.blob is not None
    movie.driver.delete(movie.blobs.stat(entry.blob).path)
    plan = plan_movie(movie)
    assert [reason.kind for reason in plan.jobs["say[0]"].reasons] == ["blob missing or damaged"]
    studio.calls.clear()
    report = run(movie, studio)
    assert dict(studio.calls) == {"say[0]": 1}
    assert report.status == "unchanged"
    assert movie.read(entry) == movie.blobs.read(entry.hash)


@pytest.mark.damages
def test_a_damaged_input_is_set_aside_and_made_again(movie: Movie, studio: Studio) -> None:
    """One flipped bit: the job that reads it fails by name; the next run makes the damaged artefact anew."""
    set_inputs(movie, {"segments": [{**SEGMENTS[0], "text": "x" * 9000}, *SEGMENTS[1:]]})
    run(movie, studio)
    entry = movie.manifests.load("latest").artefacts["say[0].audio"]
    path = movie.blobs.stat(entry.hash).path
    data = bytearray(movie.driver.read(path))
    data[-20] ^= 1
    movie.driver.replace(path, bytes(data))
    set_inputs(movie, {"segments": [{**SEGMENTS[0], "text": "x" * 9000}, SEGMENTS[1]]})
    report = run(movie, studio)
    assert report.status == "failed"
    assert report.jobs["film"].error is not None
    assert report.jobs["film"].error.kind == "BlobCorruptError"
    assert [reason.kind for reason in plan_movie(movie).jobs["say[0]"].reasons] == ["blob missing or damaged"]
    studio.calls.clear()
    assert run(movie, studio).status == "published"
    assert dict(studio.calls) == {"say[0]": 1, "film": 1}
    assert movie.blobs.read(entry.hash) == movie.read(entry)
    assert len(list(movie.driver.children("quarantine/"))) == 1


def test_a_stale_plan_is_refused(movie: Movie, studio: Studio) -> None:
    """A plan whose base is no longer current cannot be executed."""
    plan = plan_movie(movie)
    run(movie, studio)
    with pytest.raises(StalePlanError, match="empty movie"):
        asyncio.run(Runner(movie).execute(plan, produce=studio))


def test_jobs_can_be_driven_by_a_callers_own_scheduler(movie: Movie, studio: Studio) -> None:
    """`execute_job` from many tasks at once, in an order of the caller's; the manifest is published by hand."""

    async def go(plan: ExecutionPlan) -> list[JobResult]:
        async with Runner(movie, concurrency=4) as runner:
            results = []
            for layer in plan.layers:
                results += await asyncio.gather(*(runner.execute_job(job, plan=plan, produce=studio) for job in layer))
            result = runner.result(plan)
            movie.manifests.save_manifest(result.build_manifest(), previous_hash=plan.manifest_base_hash)
            return results

    results = asyncio.run(go(plan_movie(movie)))
    assert {result.status for result in results} == {"made"}
    assert movie.manifests.load_current()[0].revision == "rev-0001"
    assert run(movie, studio).status == "unchanged"


def test_plans_without_a_run_are_not_taken_for_one_that_is_gone(movie: Movie, studio: Studio) -> None:
    """Each is another run, though Python gives the place in memory of one that nobody holds to the next."""
    plan = plan_movie(movie)

    async def go() -> list[str]:
        async with Runner(movie) as runner:
            runs = []
            for _ in range(5):
                copy = plan.replace()
                await runner.execute_job("say[0]", plan=copy, produce=studio)
                runs.append(runner.result(copy).run)
                del copy
            return runs

    assert len(set(asyncio.run(go()))) == 5


@pytest.mark.files
def test_a_movie_moves_by_copying_its_folder(movie: Movie, studio: Studio, store: Store, tmp_path: Path) -> None:
    """The folder is the movie: a copy is clean, verified and complete."""
    import shutil

    run(movie, studio)
    content = movie.manifests.load("latest").content_hash
    store.close()
    shutil.copytree(store.root, tmp_path / "elsewhere")
    with open_store(tmp_path / "elsewhere") as other:
        moved = other.movie("small")
        assert moved.manifests.load("latest").content_hash == content
        assert run(moved, studio).status == "unchanged"


def test_the_published_history_survives_the_database(movie: Movie, studio: Studio, store: Store) -> None:
    """Objects are the truth: without metadata.db the revisions, the inputs' history and reuse are back."""
    run(movie, studio)
    set_inputs(movie, {"voice": "fr"})
    run(movie, studio)
    store.close()
    lose_database(store.root, "small")
    with open_store(store.root) as again:
        movie = again.movie("small")
        assert [manifest.revision for manifest, _ in movie.manifests.revisions()] == ["rev-0002", "rev-0001"]
        latest = movie.events.latest_input("voice")
        assert latest is not None
        assert latest.value == "fr"
        assert run(movie, studio).status == "unchanged"
        set_inputs(movie, {"voice": "en"})
        studio.calls.clear()
        assert run(movie, studio).reused == 7
        assert not studio.calls


def test_typed_events_tell_the_run_from_start_to_end(movie: Movie, studio: Studio) -> None:
    """One start, one finish for each job and one for the run, in that order, with what it all came to."""
    told: list[RunProgress] = []
    report = run(movie, studio, on_event=told.append)
    assert (told[0].event, told[-1].event, told[-1].status) == ("run-started", "run-finished", "published")
    assert told[-1].data == {"revision": "rev-0001", "made": 10, "reused": 0, "cost": pytest.approx(0.10)}
    assert sorted(event.job or "" for event in told if event.event == "job-finished") == sorted(report.jobs)
    assert {event.run for event in told} == {report.run}


def test_producers_see_nothing_that_is_not_signed(movie: Movie, studio: Studio) -> None:
    """The request holds no movie, revision, run, job, time or path outside its folder."""
    seen: list[str] = []

    async def produce(job, context):  # type: ignore[no-untyped-def]
        seen.append(str(job.request(context.directory)))
        return await studio(job, context)

    report = asyncio.run(run_movie(movie, produce=produce))
    text = " ".join(seen)
    for secret in ("small", "rev-0001", report.run, movie.root, "say[0]"):
        assert str(secret) not in text, secret
    assert sys.version not in text


def test_the_contracts_python_flow_works_as_it_reads(movie: Movie, studio: Studio) -> None:
    """Load, compute, save, execute, build, publish: with nothing but what the contract names."""
    run(movie, studio)
    manifest, digest = movie.manifests.load_current()
    graph = plan_movie(movie).graph
    edit = movie.events.append_input("voice", "fr")
    values = {key: movie.value(entry) for key, entry in manifest.inputs.items()}
    plan = Planner.compute_plan(graph=graph, manifest=manifest, inputs=values, pending_edits=[edit])
    assert plan.manifest_base_hash == digest
    assert movie.plans.load(movie.plans.save(plan).run or "").jobs == plan.jobs
    result = asyncio.run(Runner(movie, concurrency="50%").execute(plan, produce=studio))
    published = movie.manifests.save_manifest(result.build_manifest(), previous_hash=digest)
    assert published.revision == "rev-0002"
    assert movie.manifests.load("latest").inputs["voice"].value == "fr"
    assert movie_status(movie).pending == []
    assert run(movie, studio).status == "unchanged"


def test_many_tasks_that_ask_for_one_job_share_one_call(movie: Movie, studio: Studio) -> None:
    """`execute_job` of the same job, at once and again later, pays once; so do two jobs with one signature."""
    set_inputs(movie, {"segments": [SEGMENTS[0], SEGMENTS[0]]})

    async def go(plan: ExecutionPlan) -> list[JobResult]:
        async with Runner(movie, concurrency=8) as runner:
            jobs = ["say[0]"] * 4 + ["say[1]"] * 2
            results = await asyncio.gather(*(runner.execute_job(job, plan=plan, produce=studio) for job in jobs))
            results.append(await runner.execute_job("say[0]", plan=plan, produce=studio))
            assert runner.result(plan).totals.made == 1
            return results

    results = asyncio.run(go(plan_movie(movie)))
    assert sum(studio.calls.values()) == 1
    assert {result.status for result in results} == {"made", "reused"}


def test_a_producer_that_cancels_itself_fails_alone(movie: Movie, studio: Studio) -> None:
    """CancelledError from within a call is that job's failure; nobody asked the run to stop."""

    async def produce(job: Job, context: JobContext) -> Produced:
        if job.job_id == "say[1]":
            raise asyncio.CancelledError
        return await studio(job, context)

    report = asyncio.run(run_movie(movie, produce=produce))
    assert report.status == "failed"
    assert report.jobs["say[1]"].status == "failed"
    assert report.made == 7
