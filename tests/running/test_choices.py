"""What a person wants of one run: targets, another take, what to keep, how deep, and what succeeded only."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from renku_store import (
    Choices,
    InvalidValueError,
    Job,
    JobContext,
    Json,
    ManifestArtefact,
    Movie,
    NotFoundError,
    Produced,
    ProducerError,
    RunReport,
    movie_status,
    open_store,
    plan_movie,
    run_movie,
    set_inputs,
)
from tests.running.conftest import SEGMENTS, Studio


def run(movie: Movie, studio: Studio, **more: object) -> RunReport:
    return asyncio.run(run_movie(movie, produce=studio, **more))  # type: ignore[arg-type]


def changed(**texts: str) -> Json:
    return [{**segment, "text": texts.get(f"t{place}", segment["text"])} for place, segment in enumerate(SEGMENTS)]


def held(movie: Movie, artefact: str) -> ManifestArtefact:
    return movie.artefact(artefact)


@pytest.fixture
def made(movie: Movie, studio: Studio) -> Movie:
    """The movie with its first revision; the calls so far are forgotten."""
    run(movie, studio)
    studio.calls.clear()
    return movie


@pytest.mark.parametrize("name", ["length[0]", "length[0].seconds"])
def test_only_a_target_and_what_it_needs_are_made(made: Movie, studio: Studio, name: str) -> None:
    """The others keep their older values, which say so, until a plain run makes them."""
    before = dict(made.manifests.load("latest").artefacts)
    set_inputs(made, {"segments": changed(t0="a new first", t1="a new second")})
    report = run(made, studio, choices=Choices(targets=[name]))
    assert report.status == "published"
    assert dict(studio.calls) == {"say[0]": 1, "length[0]": 1}
    assert {job for job, result in report.jobs.items() if result.status == "skipped"} == {"say[1]", "length[1]", "film"}
    after = made.manifests.load("latest").artefacts
    assert after.keys() == before.keys()
    for left in ("say[1].audio", "film.video"):
        assert (after[left].hash, after[left].outdated) == (before[left].hash, True)
    assert after["say[0].audio"].outdated is None
    studio.calls.clear()
    assert run(made, studio).status == "published"
    assert dict(studio.calls) == {"say[1]": 1, "length[1]": 1, "film": 1}
    assert not [key for key, entry in made.manifests.load("latest").artefacts.items() if entry.outdated]


def test_a_target_that_is_clean_changes_nothing(made: Movie, studio: Studio) -> None:
    """Nothing is published, and the edit waits for a run that makes something of it."""
    set_inputs(made, {"voice": "de"})
    report = run(made, studio, choices=Choices(targets=["draw"]))
    assert (report.status, report.run, dict(studio.calls)) == ("unchanged", None, {})
    assert [event.type for event in made.events.pending()] == ["input"]


def test_in_a_new_movie_a_target_alone_is_published(movie: Movie, studio: Studio) -> None:
    """What was never made is absent."""
    run(movie, studio, choices=Choices(targets=["draw[1]"]))
    assert list(movie.manifests.load("latest").artefacts) == ["draw[1].image"]
    assert run(movie, studio).status == "published"
    assert studio.calls["draw[1]"] == 1


def test_a_job_that_is_regenerated_gives_another_take(made: Movie, studio: Studio) -> None:
    """Though nothing has changed; what comes after it is made where the take differs."""

    async def another(job: Job, context: JobContext) -> Produced:
        produced = await studio(job, context)
        if job.job_id != "draw[1]":
            return produced
        return Produced({name: f"another {content!r}" for name, content in produced.outputs.items()}, cost=1.0)

    before = held(made, "draw[1].image")
    plan = plan_movie(made, choices=Choices(regen=["draw[1]"]))
    assert [reason.kind for reason in plan.jobs["draw[1]"].reasons] == ["forced"]
    report = asyncio.run(run_movie(made, produce=another, choices=Choices(regen=["draw[1]"])))
    assert dict(studio.calls) == {"draw[1]": 1, "film": 1}
    assert (report.made, report.cost) == (2, 1.01)
    after = held(made, "draw[1].image")
    assert (after.signature, after.hash != before.hash) == (before.signature, True)
    with made.metadata.read() as reader:
        assert len(reader.events.traces(before.signature or "")) == 2
    assert run(made, studio).status == "unchanged"


def test_a_take_that_comes_out_the_same_stops_there(made: Movie, studio: Studio) -> None:
    """Early cutoff: nothing after it is made, and nothing is published."""
    report = run(made, studio, choices=Choices(regen=["draw[1]"]))
    assert (report.status, dict(studio.calls)) == ("unchanged", {"draw[1]": 1})


def test_a_whole_producer_can_be_named(made: Movie, studio: Studio) -> None:
    """Its name stands for all of its jobs."""
    run(made, studio, choices=Choices(regen=["draw"]))
    assert dict(studio.calls) == {"draw[0]": 1, "draw[1]": 1, "draw[2]": 1}


def test_another_take_that_died_is_paid_for_once(made: Movie, studio: Studio) -> None:
    """The run that is taken up again keeps to its choices, and takes over what it had made."""
    studio.broken = {"draw[2]"}
    failed = run(made, studio, choices=Choices(regen=["draw"]))
    assert (failed.status, studio.calls["draw[0]"], studio.calls["draw[2]"]) == ("failed", 1, 1)
    studio.broken = set()
    assert plan_movie(made).choices == Choices(regen=["draw"])
    again = run(made, studio)
    assert again.run == failed.run
    assert dict(studio.calls) == {"draw[0]": 1, "draw[1]": 1, "draw[2]": 2}


def test_other_choices_begin_another_run(made: Movie, studio: Studio) -> None:
    """An unfinished run is not taken up by one that wants something else."""
    studio.broken = {"draw[2]"}
    failed = run(made, studio, choices=Choices(regen=["draw[2]"]))
    studio.broken = set()
    other = run(made, studio, choices=Choices(regen=["draw[0]"]))
    assert other.run != failed.run
    assert dict(studio.calls) == {"draw[2]": 1, "draw[0]": 1}


def test_a_pinned_job_is_kept_and_what_follows_reads_it(made: Movie, studio: Studio) -> None:
    """Its inputs have changed, it has not; without the pin it is dirty again."""
    before = held(made, "say[0].audio")
    set_inputs(made, {"segments": changed(t0="a new first", t1="a new second")})
    report = run(made, studio, choices=Choices(pin=["say[0]"]))
    assert dict(studio.calls) == {"say[1]": 1, "length[1]": 1, "film": 1}
    assert report.jobs["say[0]"].status == "clean"
    after = held(made, "say[0].audio")
    assert (after.hash, after.signature, after.outdated) == (before.hash, before.signature, True)
    assert plan_movie(made).dirty[0] == "say[0]"


def test_a_pin_needs_something_good_to_keep(movie: Movie, studio: Studio) -> None:
    """Nothing made yet, or bytes that are gone, cannot be kept."""
    with pytest.raises(InvalidValueError, match=r"draw\[0\].image is missing"):
        plan_movie(movie, choices=Choices(pin=["draw[0]"]))
    run(movie, studio)
    set_inputs(movie, {"@blueprint": movie.value(movie.manifests.load("latest").inputs["@blueprint"])})
    long = Studio()

    async def large(job: Job, context: JobContext) -> Produced:
        produced = await long(job, context)
        return Produced({name: str(content) * 500 for name, content in produced.outputs.items()})

    asyncio.run(run_movie(movie, produce=large, choices=Choices(regen=["draw[0]"])))
    blob = held(movie, "draw[0].image").blob
    movie.driver.delete(movie.blobs.stat(blob or "").path)
    with pytest.raises(InvalidValueError, match=r"draw\[0\].image is damaged"):
        plan_movie(movie, choices=Choices(pin=["draw[0].image"]))


def test_choices_that_contradict_or_name_nothing_are_refused(made: Movie, studio: Studio) -> None:
    """Before anything is begun, with the nearest name."""
    with pytest.raises(InvalidValueError, match=r"draw\[0\] is to be made anew and kept"):
        run(made, studio, choices=Choices(regen=["draw"], pin=["draw[0].image"]))
    with pytest.raises(NotFoundError, match="drow") as caught:
        run(made, studio, choices=Choices(targets=["drow"]))
    assert "draw" in caught.value.hint
    assert not studio.calls


def test_deeper_layers_are_left_as_they_are(movie: Movie, studio: Studio) -> None:
    """The first layers are looked at before the dear ones are made."""
    run(movie, studio, choices=Choices(up_to_layer=0))
    assert {job.split("[")[0] for job in studio.calls} == {"say", "draw"}
    assert plan_movie(movie).dirty == ["length[0]", "length[1]", "length[2]", "film"]
    assert run(movie, studio).status == "published"
    assert studio.calls["say[0]"] == 1


@pytest.mark.parametrize("wrong", [-1, 2**53, 10**20, True, 1.5, "1"])
def test_what_is_no_layer_is_refused_before_a_run_is_begun(movie: Movie, studio: Studio, wrong: Any) -> None:
    """A number that no plan can hold would leave a run behind each time."""
    with pytest.raises(InvalidValueError, match="is not the number of a layer"):
        run(movie, studio, choices=Choices(up_to_layer=wrong))
    assert not movie_status(movie).runs
    assert not studio.calls
    assert run(movie, studio, choices=Choices(up_to_layer=2**53 - 1)).status == "published"


def test_what_succeeded_is_published_where_that_is_allowed(made: Movie, studio: Studio) -> None:
    """Older values stand for the rest and say so; the next run makes them, and nothing twice."""
    before = dict(made.manifests.load("latest").artefacts)
    set_inputs(made, {"segments": changed(t0="a new first", t1="a new second")})
    studio.broken = {"say[1]"}
    report = run(made, studio, allow_partial=True)
    assert (report.status, report.revision) == ("partial", "rev-0002")
    after = made.manifests.load("latest").artefacts
    assert {key for key, entry in after.items() if entry.outdated} == {
        "say[1].audio", "length[1].seconds", "film.video", "film.timeline",
    }  # fmt: skip
    assert after["say[1].audio"].hash == before["say[1].audio"].hash
    assert after["say[0].audio"].hash != before["say[0].audio"].hash
    studio.broken = set()
    studio.calls.clear()
    assert run(made, studio).status == "published"
    assert dict(studio.calls) == {"say[1]": 1, "length[1]": 1, "film": 1}


def test_nothing_new_is_not_published_even_in_part(made: Movie, studio: Studio) -> None:
    """A run in which all failed leaves no revision behind."""
    set_inputs(made, {"voice": "de"})
    studio.broken = {"say[0]", "say[1]", "say[2]"}
    studio.calls.clear()
    report = run(made, studio, allow_partial=True)
    assert report.status in {"partial", "failed"}
    assert {entry.hash for entry in made.manifests.load("latest").artefacts.values()} == {
        entry.hash for entry in made.manifests.load("rev-0001").artefacts.values()
    }


def test_a_rebase_keeps_the_choices(made: Movie, studio: Studio) -> None:
    """What somebody else publishes meanwhile does not turn a targeted run into a whole one."""
    set_inputs(made, {"segments": changed(t0="a new first", t1="a new second")})
    overtaken = False

    async def produce(job: Job, context: JobContext) -> Produced:
        nonlocal overtaken
        if not overtaken:
            overtaken = True
            await asyncio.to_thread(_publish_elsewhere, made.root, made.id, studio)
        return await studio(job, context)

    report = asyncio.run(run_movie(made, produce=produce, choices=Choices(targets=["say[0]"])))
    assert report.revision == "rev-0003"
    assert dict(studio.calls) == {"say[1]": 1, "say[0]": 2}, "ours for both voices, theirs for theirs"
    assert report.jobs["film"].status == "skipped"


def _publish_elsewhere(root: str, movie: str, studio: Studio) -> None:
    with open_store(root) as store:
        asyncio.run(
            run_movie(store.movie(movie), produce=studio, inputs={"voice": "fr"}, choices=Choices(targets=["say[1]"]))
        )


def test_a_broken_forced_job_leaves_the_good_take(made: Movie, studio: Studio) -> None:
    """The revision is as it was; a plain run then has nothing to do once the failed one is given up."""
    before = held(made, "draw[0].image")

    async def broken(job: Job, context: JobContext) -> Produced:
        raise ProducerError("broken")

    report = asyncio.run(run_movie(made, produce=broken, choices=Choices(regen=["draw[0]"])))
    assert report.status == "failed"
    assert held(made, "draw[0].image") == before


def test_a_pin_of_what_is_up_to_date_leaves_no_mark(made: Movie, studio: Studio) -> None:
    """It would have been kept anyhow."""
    set_inputs(made, {"segments": changed(t0="a new first", t1=SEGMENTS[1]["text"])})
    assert run(made, studio, choices=Choices(pin=["draw"])).status == "published"
    assert not [key for key, entry in made.manifests.load("latest").artefacts.items() if entry.outdated]


def test_an_unfinished_run_that_fits_no_longer_keeps_nobody_from_running(made: Movie, studio: Studio) -> None:
    """Its target is gone: plan and run go on without it, and it can be given up."""
    set_inputs(made, {"voice": "de"})
    studio.broken = {"say[2]"}
    failed = run(made, studio, choices=Choices(targets=["say[2]"]))
    assert failed.status == "failed"
    studio.broken = set()
    set_inputs(made, {"segments": list(SEGMENTS[:2])})
    assert plan_movie(made).warnings == []
    report = run(made, studio)
    assert (report.status, report.run == failed.run) == ("published", False)
    assert [record.run for record in movie_status(made).runs] == [failed.run]
