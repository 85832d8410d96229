"""A person's own version of an artefact: it stands until it is undone, whatever runs or is published meanwhile."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Sequence

import pytest

from renku_store import (
    BlobMissingError,
    Choices,
    InputConflictError,
    InvalidIdError,
    InvalidValueError,
    Job,
    JobContext,
    Json,
    Movie,
    NotFoundError,
    Produced,
    RetentionPolicy,
    RunReport,
    Store,
    check_movie,
    collect,
    diff_revisions,
    edit_artefact,
    movie_status,
    open_store,
    plan_movie,
    prune,
    rollback,
    run_movie,
    run_seconds,
    set_inputs,
    undo_edit,
)
from renku_store.events import EventLog
from renku_store.records.events import ArtefactEvent
from tests.authoring import lose_database
from tests.roots import Root
from tests.running.conftest import SEGMENTS, Studio

pytestmark = pytest.mark.long_away


@pytest.fixture
def store(any_root: Root) -> Iterator[Store]:
    with open_store(any_root) as store:
        yield store


SOUND, FILM, PICTURE = b"RIFF\0\0\0\0WAVE", b"\0\0\0\x18ftyp", b"\0picture "
"""What the files of people begin with: bytes that are no text, and that the producers of these tests can read."""
OWN = SOUND + b"my own voice, " * 300
"""Longer than what may be inline."""


def run(movie: Movie, studio: Studio, **more: object) -> RunReport:
    return asyncio.run(run_movie(movie, produce=studio, **more))  # type: ignore[arg-type]


def changed(**texts: str) -> Json:
    return [{**segment, "text": texts.get(f"t{place}", segment["text"])} for place, segment in enumerate(SEGMENTS)]


def text(movie: Movie, artefact: str) -> bytes:
    return movie.read(movie.artefact(artefact))


@pytest.fixture
def made(movie: Movie, studio: Studio) -> Movie:
    """The movie with its first revision; the calls so far are forgotten."""
    run(movie, studio)
    studio.calls.clear()
    return movie


def test_a_persons_version_replaces_the_made_one(made: Movie, studio: Studio) -> None:
    """What reads it is made anew, its producer is not called, and the manifest says whose it is and what lies under."""
    before = made.artefact("say[0].audio")
    event = edit_artefact(made, "say[0].audio", OWN, edited_by="ann")
    assert [entry.id for entry in movie_status(made).pending] == [event.id]
    assert sorted(plan_movie(made).dirty) == ["film", "length[0]"]
    report = run(made, studio)
    assert (report.status, dict(studio.calls)) == ("published", {"length[0]": 1, "film": 1})
    after = made.artefact("say[0].audio")
    assert (text(made, "say[0].audio"), after.edited_by, after.mime_type) == (OWN, "ann", "audio/wav")
    assert after.made is not None
    assert (after.made.hash, after.signature, after.job) == (before.hash, before.signature, "say[0]")
    assert b"my own voice" in text(made, "film.video")
    assert movie_status(made).pending == []
    assert run(made, studio).status == "unchanged"


def test_undo_brings_the_made_version_back_without_a_call(made: Movie, studio: Studio) -> None:
    """What reads it is answered by its earlier results: the revision is what it was before the edit."""
    before = made.manifests.load("latest")
    edit_artefact(made, "say[0].audio", OWN)
    run(made, studio)
    studio.calls.clear()
    event = undo_edit(made, "say[0].audio")
    assert event.value is not None
    assert event.value.hash == before.artefacts["say[0].audio"].hash
    report = run(made, studio)
    assert (report.status, dict(studio.calls), report.reused) == ("published", {}, 2)
    after = made.manifests.load("latest")
    assert after.artefacts == before.artefacts
    assert diff_revisions(before, after).artefacts.changed == []
    latest = made.events.latest_artefact("say[0].audio")
    assert latest is not None
    assert latest.value is not None
    assert latest.value.hash == after.artefacts["say[0].audio"].hash


def test_an_edit_that_is_undone_before_a_run_leaves_nothing_to_do(made: Movie, studio: Studio) -> None:
    """The plan is empty, and so is the run; nothing is said to wait for one."""
    edit_artefact(made, "say[0].audio", OWN)
    edit_artefact(made, "draw[0].image", PICTURE)
    undo_edit(made, "say[0].audio")
    assert [getattr(event, "artefact", "") for event in movie_status(made).pending] == ["draw[0].image"]
    undo_edit(made, "draw[0].image")
    assert (plan_movie(made).dirty, movie_status(made).pending) == ([], [])
    assert run(made, studio).status == "unchanged"


def test_undoing_a_published_version_waits_for_a_run_until_it_is_given_again(made: Movie, studio: Studio) -> None:
    """Each time the plan and what is said to wait agree."""
    edit_artefact(made, "say[0].audio", OWN)
    run(made, studio)
    undo_edit(made, "say[0].audio")
    assert (len(movie_status(made).pending), "film" in plan_movie(made).dirty) == (1, True)
    edit_artefact(made, "say[0].audio", OWN)
    assert (movie_status(made).pending, plan_movie(made).dirty) == ([], [])


def test_an_input_that_has_its_former_value_again_waits_for_no_run(made: Movie, studio: Studio) -> None:
    """Unless it overrules what an unfinished run would bring."""
    run(made, studio, inputs={"voice": "en"})
    set_inputs(made, {"voice": "de"})
    assert len(movie_status(made).pending) == 1
    set_inputs(made, {"voice": "en"})
    assert (movie_status(made).pending, run(made, studio).status) == ([], "unchanged")
    studio.broken = {"film"}
    run(made, studio, inputs={"voice": "fr"})
    assert [getattr(event, "value", None) for event in movie_status(made).pending] == ["de", "en"]


def test_the_last_of_several_edits_counts_and_one_undo_ends_them(made: Movie, studio: Studio) -> None:
    """Made under all of them is what the producer made."""
    produced = made.artefact("say[0].audio").hash
    edit_artefact(made, "say[0].audio", SOUND + b"first")
    run(made, studio)
    edit_artefact(made, "say[0].audio", SOUND + b"second", edited_by="bob")
    edit_artefact(made, "say[0].audio", SOUND + b"third", edited_by="ann")
    run(made, studio)
    held = made.artefact("say[0].audio")
    assert (text(made, "say[0].audio"), held.edited_by) == (SOUND + b"third", "ann")
    assert held.made is not None
    assert held.made.hash == produced
    undo_edit(made, "say[0].audio")
    run(made, studio)
    assert made.artefact("say[0].audio").hash == produced


def test_an_edit_that_nothing_reads_is_published(made: Movie, studio: Studio) -> None:
    """Though no job runs."""
    edit_artefact(made, "film.video", FILM + b"cut by hand")
    report = run(made, studio)
    assert (report.status, dict(studio.calls)) == ("published", {})
    assert text(made, "film.video") == FILM + b"cut by hand"


def test_a_version_of_what_was_never_made_keeps_its_job_from_running(movie: Movie, studio: Studio) -> None:
    """Nothing lies under it; undone, it is made."""
    edit_artefact(movie, "say[1].audio", SOUND + b"recorded")
    run(movie, studio)
    assert studio.calls["say[1]"] == 0
    held = movie.artefact("say[1].audio")
    assert (held.made, held.signature, held.produced_by) == (None, None, "say")
    event = undo_edit(movie, "say[1].audio")
    assert event.value is None
    run(movie, studio)
    assert studio.calls["say[1]"] == 1
    assert movie.artefact("say[1].audio").edited_by is None


def test_of_a_job_with_several_outputs_the_others_are_made(made: Movie, studio: Studio) -> None:
    """The edited one keeps the person's version, and the new result lies under it."""
    edit_artefact(made, "film.video", FILM + b"cut by hand")
    run(made, studio)
    older = made.artefact("film.video").made
    set_inputs(made, {"voice": "de"})
    run(made, studio)
    assert studio.calls["film"] == 1
    video, timeline = made.artefact("film.video"), made.artefact("film.timeline")
    assert (text(made, "film.video"), video.signature) == (FILM + b"cut by hand", timeline.signature)
    assert video.made is not None
    assert older is not None
    assert video.made.hash != older.hash
    undo_edit(made, "film.video")
    studio.calls.clear()
    run(made, studio)
    assert not studio.calls
    assert made.artefact("film.video").hash == video.made.hash


def test_it_survives_changes_upstream_with_a_warning(made: Movie, studio: Studio) -> None:
    """Undone afterwards, it is made from the inputs that there are then."""
    edit_artefact(made, "say[0].audio", OWN, edited_by="ann")
    run(made, studio)
    set_inputs(made, {"segments": changed(t0="a new first")})
    plan = plan_movie(made)
    assert (plan.jobs["say[0]"].edited, plan.jobs["say[0]"].state, plan.dirty) == (True, "clean", [])
    [warning] = plan.warnings
    assert "say[0].audio" in warning
    assert "ann" in warning
    assert "segments[0].text" in warning
    studio.calls.clear()
    run(made, studio)
    assert not studio.calls
    assert plan_movie(made).warnings == []
    undo_edit(made, "say[0].audio")
    assert "say[0]" in plan_movie(made).dirty
    run(made, studio)
    assert studio.calls["say[0]"] == 1
    assert b"a new first" in text(made, "say[0].audio")


def test_what_reads_only_a_persons_version_does_not_wait_for_its_job(made: Movie, studio: Studio) -> None:
    """Early cutoff: bytes that stay the same stop what changed upstream of them."""
    edit_artefact(made, "length[0].seconds", text(made, "length[0].seconds"), edited_by="ann")
    report = run(made, studio)
    assert (report.status, dict(studio.calls)) == ("published", {})
    assert made.artefact("length[0].seconds").edited_by == "ann"


PAIR = """
name: pair
producers:
  draw:
    run: test/draw
    outputs: {image: {mimeType: text/plain}, caption: {mimeType: text/plain}}
  frame:
    run: test/frame
    inputs: {image: draw.image}
    outputs: {framed: {mimeType: text/plain}}
  label:
    run: test/label
    inputs: {caption: draw.caption}
    outputs: {printed: {mimeType: text/plain}}
  poster:
    run: test/poster
    inputs: {framed: frame.framed, printed: label.printed}
    outputs: {poster: {mimeType: text/plain}}
"""


def test_who_reads_only_persons_versions_runs_beside_a_job_that_makes_the_rest(store: Store, studio: Studio) -> None:
    """It waits for nothing, and does not fail with a job of whose outputs it reads another's."""
    movie = store.create_movie("pair")
    set_inputs(movie, {"@blueprint": PAIR})
    edit_artefact(movie, "draw.image", b"drawn by hand", edited_by="ann")
    studio.broken = {"draw"}
    report = run(movie, studio)
    told = {job: result.status for job, result in report.jobs.items()}
    assert told == {"draw": "failed", "frame": "made", "label": "upstream failed", "poster": "upstream failed"}
    studio.broken = set()
    began: list[str] = []
    studio.during = lambda job: began.append(job.job_id)
    report = run(movie, studio)
    assert (report.status, sorted(began)) == ("published", ["draw", "label", "poster"])
    assert text(movie, "frame.framed") == b"framed:frame(image=drawn by hand)"
    assert movie.artefact("draw.image").edited_by == "ann"


def test_what_is_spared_a_wait_is_expected_not_to_wait(store: Store) -> None:
    """The frame is made beside the drawing; by the graph alone it would be made after it, and all take 15 seconds."""
    movie = store.create_movie("pair")
    set_inputs(movie, {"@blueprint": PAIR})
    edit_artefact(movie, "draw.image", b"drawn by hand", edited_by="ann")
    plan = plan_movie(movie)
    seconds = {"draw": 4.0, "frame": 10.0, "label": 1.0, "poster": 1.0}
    timed = plan.replace(jobs={job: planned.replace(seconds=seconds[job]) for job, planned in plan.jobs.items()})
    assert (run_seconds(timed, 2), run_seconds(timed, 1)) == (11.0, 16.0)


def test_an_edit_made_while_a_run_goes_is_the_next_ones(movie: Movie, studio: Studio) -> None:
    """What a run has frozen stays so; nothing is lost."""

    def edit(job: Job) -> None:
        if job.job_id == "say[0]":
            edit_artefact(movie, "say[0].audio", OWN)

    studio.during = edit
    run(movie, studio)
    assert movie.artefact("say[0].audio").edited_by is None
    studio.during = lambda job: None
    assert len(movie_status(movie).pending) == 1
    run(movie, studio)
    assert text(movie, "say[0].audio") == OWN


def test_a_run_that_failed_takes_its_edit_along_when_it_is_taken_up(made: Movie, studio: Studio) -> None:
    """The version is there, and no call is made twice."""
    edit_artefact(made, "say[0].audio", OWN)
    studio.broken = {"film"}
    failed = run(made, studio)
    assert failed.status == "failed"
    studio.broken = set()
    again = run(made, studio)
    assert (again.run, again.status) == (failed.run, "published")
    assert studio.calls["length[0]"] == 1
    assert text(made, "say[0].audio") == OWN


def test_what_succeeded_is_published_with_a_persons_version(movie: Movie, studio: Studio) -> None:
    """Also where the job of the edited output has failed."""
    edit_artefact(movie, "film.video", FILM + b"cut by hand")
    studio.broken = {"film"}
    report = run(movie, studio, allow_partial=True)
    assert report.status == "partial"
    held = movie.artefact("film.video")
    assert (held.edited_by, held.outdated) == ("user", None)
    assert "film.timeline" not in movie.manifests.load("latest").artefacts


def test_it_is_published_on_top_of_what_others_have_published(made: Movie, studio: Studio) -> None:
    """A rebase keeps the edit, and what the others changed elsewhere."""
    edit_artefact(made, "say[0].audio", OWN)
    other = Studio()

    def publish(job: Job) -> None:
        if job.job_id == "film" and not other.calls:
            asyncio.run(run_movie(made, produce=other, inputs={"voice": "de"}))

    async def produce(job: Job, context: JobContext) -> Produced:
        produced = await studio(job, context)
        await asyncio.to_thread(publish, job)
        return produced

    report = asyncio.run(run_movie(made, produce=produce))
    newest = made.manifests.load("latest")
    assert (text(made, "say[0].audio"), newest.inputs["voice"].value) == (OWN, "de")
    assert report.status in {"published", "unchanged"}
    assert movie_status(made).pending == []


def test_both_sides_with_another_version_is_a_conflict(made: Movie, studio: Studio) -> None:
    """A rollback to an older version meanwhile contradicts the edit that this run has taken up: both are told."""
    edit_artefact(made, "say[0].audio", SOUND + b"the old take")
    run(made, studio)
    edit_artefact(made, "say[0].audio", SOUND + b"the second take")
    run(made, studio)
    ours = edit_artefact(made, "say[0].audio", OWN)

    async def produce(job: Job, context: JobContext) -> Produced:
        produced = await studio(job, context)
        if job.job_id == "film":
            await asyncio.to_thread(rollback, made, "rev-0002")
        return produced

    with pytest.raises(InputConflictError) as caught:
        asyncio.run(run_movie(made, produce=produce))
    assert ours.value is not None
    theirs = made.manifests.load("rev-0002").artefacts["say[0].audio"].hash
    assert caught.value.values == {"say[0].audio": (theirs, ours.value.hash)}
    assert [event.id for event in movie_status(made).pending] == [ours.id]
    run(made, studio)
    assert text(made, "say[0].audio") == OWN


def test_rollback_restores_versions_and_what_lies_under_them(made: Movie, studio: Studio) -> None:
    """There and back."""
    edit_artefact(made, "say[0].audio", OWN)
    run(made, studio)
    edited = made.manifests.load("latest").artefacts
    rollback(made, "rev-0001")
    assert made.artefact("say[0].audio").edited_by is None
    assert plan_movie(made).dirty == []
    rollback(made, "rev-0002")
    assert made.manifests.load("latest").artefacts == edited
    assert plan_movie(made).dirty == []
    undo_edit(made, "say[0].audio")
    studio.calls.clear()
    run(made, studio)
    assert not studio.calls
    assert made.artefact("say[0].audio").edited_by is None


def test_versions_survive_the_loss_of_the_database(store: Store, made: Movie, studio: Studio) -> None:
    """The archives hold edits and what was undone; so does a rebuilt index."""
    edit_artefact(made, "say[0].audio", OWN)
    edit_artefact(made, "draw[1].image", PICTURE + b"painted by hand")
    run(made, studio)
    undo_edit(made, "draw[1].image")
    run(made, studio)
    before = made.manifests.load("latest")
    store.close()
    lose_database(store.root, "small")
    with open_store(store.root) as again:
        movie = again.movie("small")
        assert movie_status(movie).pending == []
        assert movie.manifests.load("latest") == before
        assert plan_movie(movie).dirty == []
        event = movie.events.latest_artefact("say[0].audio", "rev-0003")
        assert event is not None
        assert (event.status, event.edited_by) == ("edited", "user")
        undo_edit(movie, "say[0].audio")
        studio.calls.clear()
        run(movie, studio)
        assert not studio.calls


def test_collection_keeps_pending_versions_and_what_lies_under_published_ones(movie: Movie, studio: Studio) -> None:
    """Nobody else needs them by then."""
    studio.pause_seconds = 0
    long = {"segments": [{"text": "word " * 600, "title": "First"}]}
    set_inputs(movie, long)  # type: ignore[arg-type]
    run(movie, studio)
    edit_artefact(movie, "say[0].audio", OWN)
    run(movie, studio)
    under = movie.artefact("say[0].audio").made
    assert under is not None
    assert under.blob is not None
    pending = edit_artefact(movie, "draw[0].image", PICTURE + b"painted" * 1000)
    assert pending.value is not None
    assert pending.value.blob is not None
    prune(movie, RetentionPolicy(keep_last=1))
    collect(movie, grace_seconds=0, trash_seconds=0, force=True)
    assert movie.blobs.has(under.blob)
    assert movie.blobs.has(pending.value.blob)
    with open_store(movie.root).examine("small") as examined:
        assert check_movie(examined).ok


def test_a_damaged_version_is_told_and_never_replaced_by_itself(made: Movie, studio: Studio) -> None:
    """No run can make it: its person gives it again, or undoes it."""
    edit_artefact(made, "say[0].audio", OWN)
    run(made, studio)
    digest = made.artefact("say[0].audio").hash
    made.driver.delete(made.blobs.stat(digest).path)
    with pytest.raises(BlobMissingError, match=r"say\[0\].audio"):
        plan_movie(made)
    undo_edit(made, "say[0].audio")
    run(made, studio)
    assert made.artefact("say[0].audio").edited_by is None


def test_what_lies_under_a_version_is_made_anew_where_it_is_damaged(movie: Movie, studio: Studio) -> None:
    """The version itself is not touched by that."""
    set_inputs(movie, {"segments": [{"text": "word " * 600, "title": "First"}]})
    run(movie, studio)
    produced = movie.artefact("say[0].audio").hash
    edit_artefact(movie, "say[0].audio", OWN)
    run(movie, studio)
    movie.driver.delete(movie.blobs.stat(produced).path)
    run(movie, studio)
    held = movie.artefact("say[0].audio")
    assert (held.made, text(movie, "say[0].audio")) == (None, OWN)
    undo_edit(movie, "say[0].audio")
    studio.calls.clear()
    run(movie, studio)
    assert studio.calls["say[0]"] == 1
    assert movie.artefact("say[0].audio").hash == produced


@pytest.mark.parametrize("name", ["say[0]", "say[0].audio"])
def test_what_nobody_would_see_is_not_made_anew(made: Movie, studio: Studio, name: str) -> None:
    """A producer whose other jobs are made says which it leaves."""
    edit_artefact(made, "say[0].audio", OWN)
    with pytest.raises(InvalidValueError, match="under a person's version"):
        plan_movie(made, choices=Choices(regen=[name]))
    plan = plan_movie(made, choices=Choices(regen=["say"]))
    assert any("say[0]" in warning for warning in plan.warnings)
    run(made, studio, choices=Choices(regen=["say"]))
    assert {job for job in studio.calls if job.startswith("say")} == {"say[1]", "say[2]"}


def test_an_edited_job_may_be_pinned(made: Movie, studio: Studio) -> None:
    """It stays as it is in any case."""
    edit_artefact(made, "say[0].audio", OWN)
    set_inputs(made, {"voice": "de"})
    run(made, studio, choices=Choices(pin=["say[0]", "film"]))
    assert text(made, "say[0].audio") == OWN
    assert (studio.calls["say[0]"], studio.calls["film"]) == (0, 0)


@pytest.mark.parametrize("published", [True, False], ids=["published before", "pending"])
def test_a_version_of_what_is_no_more_waits_until_it_is_there_again(
    made: Movie, studio: Studio, published: bool
) -> None:
    """Its job is no part of the graph any more: a warning says so, and no collection takes its bytes."""
    edit_artefact(made, "say[2].audio", OWN, edited_by="ann")
    if published:
        run(made, studio)
    set_inputs(made, {"segments": SEGMENTS[:2]})  # type: ignore[dict-item]
    assert any("say[2].audio, ann's version, has no place" in warning for warning in plan_movie(made).warnings)
    run(made, studio)
    set_inputs(made, {"voice": "de"})
    run(made, studio)
    assert "say[2].audio" not in made.manifests.load("latest").artefacts
    assert [getattr(event, "artefact", None) for event in movie_status(made).pending] == ["say[2].audio"]
    prune(made, RetentionPolicy(keep_last=1))
    collect(made, grace_seconds=0, trash_seconds=0, force=True)
    set_inputs(made, {"segments": SEGMENTS})  # type: ignore[dict-item]
    studio.calls.clear()
    run(made, studio)
    assert (text(made, "say[2].audio"), made.artefact("say[2].audio").edited_by) == (OWN, "ann")
    assert studio.calls["say[2]"] == 0
    assert movie_status(made).pending == []
    assert check_movie(made).ok


def test_what_was_undone_meanwhile_does_not_wait_for_its_place(made: Movie, studio: Studio) -> None:
    """A run whose graph has no place for a version finds that another run has published that it was undone."""
    edit_artefact(made, "say[2].audio", OWN)
    run(made, studio)
    undone = False

    async def produce(job: Job, context: JobContext) -> Produced:
        nonlocal undone
        if not undone:
            undone = True
            undo_edit(made, "say[2].audio")
            assert (await run_movie(made, produce=studio)).status == "published"
        return await studio(job, context)

    report = asyncio.run(run_movie(made, produce=produce, inputs={"segments": SEGMENTS[:2]}))  # type: ignore[dict-item]
    assert (undone, report.status, report.revision) == (True, "published", "rev-0004")
    assert movie_status(made).pending == []


def test_a_version_that_waits_is_there_once_however_often_a_run_changes_nothing(made: Movie, studio: Studio) -> None:
    """A run that makes the same anew publishes nothing, and takes nothing."""
    edit_artefact(made, "say[2].audio", OWN)
    set_inputs(made, {"segments": SEGMENTS[:2]})  # type: ignore[dict-item]
    run(made, studio)
    for _ in range(2):
        assert run(made, studio, choices=Choices(regen=["draw[1]"])).status == "unchanged"
        assert len(made.events.pending()) == 1


def test_what_is_undone_while_a_run_ends_does_not_wait_for_its_place(
    made: Movie, studio: Studio, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Between the look at what waits and the event that lets it wait."""
    edit_artefact(made, "say[2].audio", OWN)
    run(made, studio)
    set_inputs(made, {"segments": SEGMENTS[:2]})  # type: ignore[dict-item]
    real = EventLog.append_unless_later

    def late(self: EventLog, events: Sequence[ArtefactEvent], number: int) -> None:
        undo_edit(made, "say[2].audio")
        real(self, events, number)

    monkeypatch.setattr(EventLog, "append_unless_later", late)
    run(made, studio)
    monkeypatch.undo()
    set_inputs(made, {"segments": SEGMENTS})  # type: ignore[dict-item]
    run(made, studio)
    assert made.artefact("say[2].audio").edited_by is None


def test_an_undo_after_a_manifest_was_built_waits_for_the_next(made: Movie, studio: Studio) -> None:
    """Who saves it takes what it shows; the version still stands in it."""
    edit_artefact(made, "say[2].audio", OWN)
    run(made, studio)
    set_inputs(made, {"voice": "de"})
    built = made.manifests.build_from_events("rev-0003")
    undo_edit(made, "say[2].audio")
    made.manifests.save_manifest(built, previous_hash=built.base_hash)
    assert [type(event).__name__ for event in made.events.pending()] == ["ArtefactEvent"]
    run(made, studio)
    assert made.artefact("say[2].audio").edited_by is None


def test_a_version_that_waits_can_be_undone(made: Movie, studio: Studio) -> None:
    """Then its job makes what is asked for when it is there again."""
    edit_artefact(made, "say[2].audio", OWN)
    set_inputs(made, {"segments": SEGMENTS[:2]})  # type: ignore[dict-item]
    run(made, studio)
    undo_edit(made, "say[2].audio")
    set_inputs(made, {"segments": SEGMENTS})  # type: ignore[dict-item]
    run(made, studio)
    assert (text(made, "say[2].audio") != OWN, made.artefact("say[2].audio").edited_by) == (True, None)
    assert movie_status(made).pending == []


@pytest.mark.parametrize(
    ("artefact", "content", "error", "message"),
    [
        ("say[0].audoi", b"x", NotFoundError, "No job makes an artefact"),
        ("say[9].audio", b"x", NotFoundError, "No job makes an artefact"),
        ("", b"x", InvalidIdError, "artefact"),
        ("film.timeline", b"{not json", InvalidValueError, "is JSON"),
        ("film.timeline", b"", InvalidValueError, "is JSON"),
        ("film.timeline", b"[" * 101 + b"]" * 101, InvalidValueError, "more than 100 levels deep"),
        (
            "film.timeline",
            b'{"a": 12345678901234567890, "b": ' + b"[" * 999 + b"]" * 999 + b"}",
            InvalidValueError,
            "deep",
        ),
        ("draw[0].image", b"\xff\xd8\xff\xe0 jfif", InvalidValueError, "JPEG data"),
        ("draw[0].image", b"a picture, in words", InvalidValueError, "is text"),
        ("draw[0].image", b"", InvalidValueError, "empty"),
        ("draw[0].image", "no/such/file.png", NotFoundError, "no file"),
        ("draw[0].image", "/", InvalidValueError, "folder"),
        ("draw[0].image", "a\0b", InvalidValueError, "cannot be the name"),
    ],
)
def test_what_cannot_be_is_refused_and_nothing_is_left(
    made: Movie, artefact: str, content: bytes | str, error: type[Exception], message: str
) -> None:
    """By name, with the nearest right one."""
    with pytest.raises(error, match=message):
        edit_artefact(made, artefact, content)
    assert movie_status(made).pending == []


def test_another_type_can_be_named(made: Movie, studio: Studio) -> None:
    """For those who read it, it is part of what they read."""
    with pytest.raises(InvalidValueError, match="no MIME type"):
        edit_artefact(made, "draw[0].image", b"GIF89a", mime_type="gif")
    edit_artefact(made, "draw[0].image", b"GIF89a", mime_type="image/gif")
    run(made, studio)
    assert made.artefact("draw[0].image").mime_type == "image/gif"
    assert dict(studio.calls) == {"film": 1}


def test_undoing_what_was_not_edited_is_an_error(made: Movie) -> None:
    """With the nearest name that was."""
    edit_artefact(made, "say[0].audio", OWN)
    with pytest.raises(NotFoundError, match="nothing to undo") as caught:
        undo_edit(made, "say[1].audio")
    assert "say[0].audio" in caught.value.hint
    undo_edit(made, "say[0].audio")
    with pytest.raises(NotFoundError, match="nothing to undo"):
        undo_edit(made, "say[0].audio")
