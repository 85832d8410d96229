"""Reasons after revisions that left values as they were: what has changed since they were made is named."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from renku_store import (
    Choices,
    InvalidValueError,
    Job,
    JobContext,
    Json,
    Movie,
    PlannedJob,
    Produced,
    RetentionPolicy,
    RunReport,
    Store,
    accept_results,
    collect,
    edit_artefact,
    open_store,
    plan_movie,
    prune,
    run_movie,
    set_inputs,
    tag_revision,
    undo_edit,
)
from tests.authoring import lose_database
from tests.running.conftest import BLUEPRINT, SEGMENTS, Studio


def run(movie: Movie, studio: Studio, **more: object) -> RunReport:
    return asyncio.run(run_movie(movie, produce=studio, **more))  # type: ignore[arg-type]


def changed(**texts: str) -> Json:
    return [{**segment, "text": texts.get(f"t{place}", segment["text"])} for place, segment in enumerate(SEGMENTS)]


def reasons(job: PlannedJob) -> list[tuple[str, str, str]]:
    return [(reason.kind, reason.subject, reason.detail) for reason in job.reasons]


@pytest.fixture
def made(movie: Movie, studio: Studio) -> Movie:
    run(movie, studio)
    return movie


def test_after_a_pin_the_plan_names_what_changed_before_and_after_it(made: Movie, studio: Studio) -> None:
    """The revision that holds the pinned value has the new voice; the value was made with that of an older one."""
    set_inputs(made, {"voice": "de"})
    run(made, studio, choices=Choices(pin=["say[0]"]))
    job = plan_movie(made).jobs["say[0]"]
    assert (job.made_in, reasons(job)) == ("rev-0001", [("input changed", "voice", "voice, since rev-0001")])
    set_inputs(made, {"segments": changed(t0="a new first")})
    assert reasons(plan_movie(made).jobs["say[0]"]) == [
        ("input changed", "segments[0].text", "text, since rev-0001"),
        ("input changed", "voice", "voice, since rev-0001"),
    ]
    assert (plan_movie(made).jobs["draw[0]"].made_in, plan_movie(made).jobs["film"].made_in) == (None, None)


def test_after_a_partial_revision_the_plan_names_the_edit_that_failed(made: Movie, studio: Studio) -> None:
    """Also two revisions later."""
    set_inputs(made, {"segments": changed(t1="a new second")})
    studio.broken = {"say[1]"}
    run(made, studio, allow_partial=True)
    set_inputs(made, {"segments": changed(t1="a new second", t2="a new third")})
    report = run(made, studio, allow_partial=True)
    assert (report.status, report.revision) == ("partial", "rev-0003")
    plan = plan_movie(made)
    assert reasons(plan.jobs["say[1]"])[0] == ("input changed", "segments[1].text", "text, since rev-0001")
    assert plan.jobs["length[1]"].reasons[0].kind == "upstream"
    assert not [job for job in plan.jobs.values() for reason in job.reasons if "made from" in reason.detail]


def test_a_version_that_is_undone_shows_what_changed_under_it(made: Movie, studio: Studio) -> None:
    """The change was published while the version stood."""
    edit_artefact(made, "length[0].seconds", b"77")
    run(made, studio)
    edit_artefact(made, "say[0].audio", b"RIFF\0\0\0\0WAVE")
    run(made, studio)
    set_inputs(made, {"voice": "de"})
    run(made, studio)
    undo_edit(made, "say[0].audio")
    job = plan_movie(made).jobs["say[0]"]
    assert (job.made_in, reasons(job)) == ("rev-0001", [("input changed", "voice", "voice, since rev-0001")])


def test_results_of_other_inputs_cannot_be_accepted_for_a_changed_producer(made: Movie, studio: Studio) -> None:
    """Though the newest revision has those inputs already."""
    set_inputs(made, {"voice": "de"})
    run(made, studio, choices=Choices(pin=["say"]))
    set_inputs(made, {"@blueprint": BLUEPRINT.replace("run: test/say\n", "run: test/say@2\n")})
    assert [reason.kind for reason in plan_movie(made).jobs["say[0]"].reasons] == ["producer changed", "input changed"]
    with pytest.raises(InvalidValueError, match="dirty for another reason: input changed: voice"):
        accept_results(made, "say")


def test_where_the_older_revision_is_gone_the_plan_says_whose_bytes_they_are(made: Movie, studio: Studio) -> None:
    """Nobody can name the input any more."""
    set_inputs(made, {"voice": "de"})
    run(made, studio, choices=Choices(pin=["say[0]"]))
    prune(made, RetentionPolicy(keep_last=1))
    assert plan_movie(made).jobs["say[0]"].made_in == "rev-0001", "in the trash it can be read"
    collect(made, trash_seconds=0, force=True)
    job = plan_movie(made).jobs["say[0]"]
    told = "made from other inputs; its bytes are those of rev-0001"
    assert (job.made_in, reasons(job)) == (None, [("input changed", "say[0]", told)])


def test_what_was_made_twice_alike_is_told_from_the_later_time(made: Movie) -> None:
    """The job gives the same whatever it reads: the revision that first had the bytes had other inputs."""

    async def same(job: Job, context: JobContext) -> Produced:
        return Produced(dict.fromkeys(job.outputs, "0"))

    for title in ("Second", "Third", "Fourth"):
        choices = Choices(pin=["draw[0]"]) if title == "Fourth" else None
        titles = [{**SEGMENTS[0], "title": title}, *SEGMENTS[1:]]
        asyncio.run(run_movie(made, produce=same, inputs={"segments": titles}, choices=choices))  # type: ignore[dict-item]
    told = [("input changed", "segments[0].title", "title, since rev-0003")]
    assert reasons(plan_movie(made).jobs["draw[0]"]) == told
    tag_revision(made, "rev-0002", "earlier")
    prune(made, RetentionPolicy(keep_last=1))
    collect(made, trash_seconds=0, force=True)
    told = [("input changed", "draw[0]", "made from other inputs; its bytes are those of rev-0003")]
    assert reasons(plan_movie(made).jobs["draw[0]"]) == told, "rev-0002 is still there, and had other inputs again"


def test_reasons_survive_the_loss_of_the_database(store: Store, made: Movie, studio: Studio, tmp_path: Path) -> None:
    """They rest on what is published."""
    set_inputs(made, {"voice": "de"})
    run(made, studio, choices=Choices(pin=["say[0]"]))
    before = plan_movie(made).jobs["say[0]"]
    store.close()
    lose_database(tmp_path / "builds", "small")
    with open_store(tmp_path / "builds") as again:
        assert plan_movie(again.movie("small")).jobs["say[0]"] == before
