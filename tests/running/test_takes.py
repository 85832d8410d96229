"""Takes: every result that was made for an artefact, and choosing one, whatever happens afterwards."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from itertools import count

import pytest

from renku_store import (
    BlobCorruptError,
    BlobMissingError,
    Choices,
    InputConflictError,
    InvalidValueError,
    Job,
    JobContext,
    Movie,
    NotFoundError,
    Produced,
    RetentionPolicy,
    RunReport,
    Store,
    Take,
    abandon,
    choose_take,
    collect,
    compact,
    edit_artefact,
    list_takes,
    movie_status,
    open_store,
    plan_movie,
    prune,
    rollback,
    run_movie,
    set_inputs,
    take_value,
)
from renku_store.indexing import Indexer
from tests.authoring import let_age, lose_database
from tests.roots import Root
from tests.running.conftest import Studio

pytestmark = pytest.mark.long_away


@pytest.fixture
def store(any_root: Root) -> Iterator[Store]:
    with open_store(any_root) as store:
        yield store


ART = "draw[1].image"


class Painter:
    """A provider that never paints the same picture twice; every one is longer than what may be inline."""

    def __init__(self, studio: Studio) -> None:
        self._studio = studio
        self._number = count(1)

    async def __call__(self, job: Job, context: JobContext) -> Produced:
        produced = await self._studio(job, context)
        if job.producer != "draw":
            return produced
        picture = f"picture {next(self._number)} of {job.job_id} " * 100
        return Produced(dict.fromkeys(produced.outputs, picture), cost=0.25)


@pytest.fixture
def painter(studio: Studio) -> Painter:
    return Painter(studio)


def run(movie: Movie, painter: Painter, **more: object) -> RunReport:
    return asyncio.run(run_movie(movie, produce=painter, **more))  # type: ignore[arg-type]


def again(movie: Movie, painter: Painter) -> None:
    run(movie, painter, choices=Choices(regen=["draw[1]"]))


def summary(takes: list[Take]) -> list[tuple[int, str | None, bool]]:
    return [(take.take, take.revision, take.current) for take in takes]


@pytest.fixture
def painted(movie: Movie, painter: Painter, studio: Studio) -> Movie:
    """A movie in whose three revisions one picture was painted three times."""
    run(movie, painter)
    again(movie, painter)
    again(movie, painter)
    studio.calls.clear()
    return movie


def test_all_takes_are_listed_newest_first(painted: Movie) -> None:
    """Each with what it cost, the revision that has it, and whether it stands."""
    takes = list_takes(painted, ART)
    assert summary(takes) == [(3, "rev-0003", True), (2, "rev-0002", False), (1, "rev-0001", False)]
    assert [take.cost for take in takes] == [0.25, 0.25, 0.25]
    assert len({take.hash for take in takes}) == 3
    assert all(take.usable for take in takes)
    assert list_takes(painted, "film.video")[0].cost == 0.01


def test_a_chosen_take_stands_without_a_call_for_it(painted: Movie, painter: Painter, studio: Studio) -> None:
    """What reads it is answered by what was made from it before, and the choice is no longer pending then."""
    old = painted.manifests.load("rev-0001")
    choose_take(painted, ART, 1)
    assert summary(list_takes(painted, ART))[2] == (1, "rev-0001", True)
    plan = plan_movie(painted)
    assert plan.dirty == ["film"]
    assert plan.jobs["film"].reasons[0].subject == ART
    report = run(painted, painter)
    assert (report.status, dict(studio.calls), report.reused) == ("published", {}, 1)
    after = painted.manifests.load("latest")
    assert after.artefacts == old.artefacts
    assert movie_status(painted).pending == []
    assert run(painted, painter).status == "unchanged"


def test_choosing_what_stands_changes_nothing(painted: Movie) -> None:
    """No event is written."""
    assert choose_take(painted, ART, 3).current
    assert movie_status(painted).pending == []


def test_the_last_choice_counts(painted: Movie, painter: Painter) -> None:
    """Also where it is the one that stood before."""
    choose_take(painted, ART, 1)
    choose_take(painted, ART, 3)
    assert plan_movie(painted).dirty == []
    assert run(painted, painter).status == "unchanged"
    choose_take(painted, ART, 2)
    run(painted, painter)
    assert painted.artefact(ART).hash == list_takes(painted, ART)[1].hash


def test_a_choice_ends_with_its_inputs_and_comes_back_with_them(
    painted: Movie, painter: Painter, studio: Studio
) -> None:
    """A look-up by signature prefers what was chosen, until another take is made."""
    chosen = choose_take(painted, ART, 2)
    run(painted, painter)
    segments = painted.manifests.load("latest").inputs["segments"].value
    assert isinstance(segments, list)
    set_inputs(painted, {"segments": [segments[0], {"text": "two", "title": "Another"}, segments[2]]})
    run(painted, painter)
    assert painted.artefact(ART).hash != chosen.hash
    set_inputs(painted, {"segments": segments})
    studio.calls.clear()
    run(painted, painter)
    assert (painted.artefact(ART).hash, studio.calls["draw[1]"]) == (chosen.hash, 0)
    again(painted, painter)
    newest = painted.artefact(ART).hash
    set_inputs(painted, {"segments": [segments[0], {"text": "two", "title": "Another"}, segments[2]]})
    run(painted, painter)
    set_inputs(painted, {"segments": segments})
    run(painted, painter)
    assert painted.artefact(ART).hash == newest != chosen.hash


def test_a_choice_whose_inputs_change_before_a_run_holds_no_longer(painted: Movie, painter: Painter) -> None:
    """The plan says so, and makes what the inputs give now."""
    choose_take(painted, ART, 1)
    set_inputs(painted, {"segments": [{"text": str(n), "title": f"New {n}"} for n in range(3)]})
    plan = plan_movie(painted)
    assert any(ART in warning for warning in plan.warnings)
    assert ART not in plan.edits
    run(painted, painter)
    assert summary(list_takes(painted, ART))[0] == (4, "rev-0004", True)


def retitled(movie: Movie) -> None:
    segments = movie.manifests.load("latest").inputs["segments"].value
    assert isinstance(segments, list)
    set_inputs(movie, {"segments": [segments[0], {"text": "two", "title": "Another"}, segments[2]]})


def test_what_stands_can_be_chosen_for_inputs_that_have_changed(
    painted: Movie, painter: Painter, studio: Studio
) -> None:
    """It is kept under today's inputs, and nobody is called for another picture."""
    standing = painted.artefact(ART).hash
    retitled(painted)
    choose_take(painted, ART, 3)
    assert painted.events.pending()[-1].type == "artefact"
    assert plan_movie(painted).dirty == []
    run(painted, painter)
    assert (painted.artefact(ART).hash, dict(studio.calls)) == (standing, {})
    assert summary(list_takes(painted, ART))[0] == (3, "rev-0003", True)


def test_a_choice_that_holds_no_longer_can_be_made_again(painted: Movie, painter: Painter, studio: Studio) -> None:
    """Until then it is not current: the next run would not take it."""
    first = list_takes(painted, ART)[2].hash
    choose_take(painted, ART, 1)
    retitled(painted)
    assert summary(list_takes(painted, ART))[0] == (3, "rev-0003", True)
    choose_take(painted, ART, 1)
    choose_take(painted, ART, 1)
    assert [event.type for event in painted.events.pending()] == ["artefact", "input", "artefact"]
    assert summary(list_takes(painted, ART))[2] == (1, "rev-0001", True)
    run(painted, painter)
    assert (painted.artefact(ART).hash, studio.calls["draw[1]"]) == (first, 0)


def test_what_was_chosen_is_listed_while_no_plan_can_be_made(painted: Movie) -> None:
    """Nobody knows then whether it will hold."""
    choose_take(painted, ART, 1)
    painted.events.append_input("@blueprint", "producers: {")
    assert summary(list_takes(painted, ART))[2] == (1, "rev-0001", True)


def test_a_take_of_other_inputs_is_adopted_under_todays(painted: Movie, painter: Painter, studio: Studio) -> None:
    """An older picture may fit the new title better."""
    first = list_takes(painted, ART)[2]
    segments = painted.manifests.load("latest").inputs["segments"].value
    assert isinstance(segments, list)
    titled = [segments[0], {"text": "two", "title": "Another"}, segments[2]]
    set_inputs(painted, {"segments": titled})
    run(painted, painter)
    choose_take(painted, ART, 1)
    run(painted, painter)
    held = painted.artefact(ART)
    assert (held.hash, held.signature != first.signature) == (first.hash, True)
    assert plan_movie(painted).dirty == []
    set_inputs(painted, {"segments": segments})
    run(painted, painter)
    set_inputs(painted, {"segments": titled})
    studio.calls.clear()
    run(painted, painter)
    assert (painted.artefact(ART).hash, dict(studio.calls)) == (first.hash, {})


def test_a_choice_is_one_for_all_outputs_of_a_job(painted: Movie, painter: Painter) -> None:
    """So that they belong together."""
    run(painted, painter, inputs={"voice": "de"})
    run(painted, painter, choices=Choices(regen=["film"]))
    takes = list_takes(painted, "film.video")
    choose_take(painted, "film.video", takes[-1].take)
    assert {event.artefact for event in painted.events.pending() if event.type == "artefact"} == {
        "film.video",
        "film.timeline",
    }


def test_takes_of_runs_that_failed_or_were_given_up_can_be_chosen(
    movie: Movie, painter: Painter, studio: Studio
) -> None:
    """They were paid for."""
    run(movie, painter)
    studio.broken = {"film"}
    assert run(movie, painter, choices=Choices(regen=["draw[1]"])).status == "failed"
    takes = list_takes(movie, ART)
    assert summary(takes) == [(2, None, False), (1, "rev-0001", True)]

    abandon(movie, movie_status(movie).runs[0].run)
    studio.broken = set()
    choose_take(movie, ART, 2)
    run(movie, painter)
    assert movie.artefact(ART).hash == takes[0].hash
    assert summary(list_takes(movie, ART))[0] == (2, "rev-0002", True)


def test_numbers_and_choices_survive_the_database(
    store: Store, painted: Movie, painter: Painter, studio: Studio
) -> None:
    """The archives tell of both."""
    choose_take(painted, ART, 2)
    run(painted, painter)
    before = [take.hash for take in list_takes(painted, ART)]
    store.close()
    lose_database(store.root, "small")
    with open_store(store.root) as reopened:
        movie = reopened.movie("small")
        takes = list_takes(movie, ART)
        assert [take.hash for take in takes] == before
        assert [take.take for take in takes if take.current] == [2]
        segments = movie.manifests.load("latest").inputs["segments"].value
        set_inputs(movie, {"segments": [{"text": "x", "title": "y"}]})
        run(movie, painter)
        set_inputs(movie, {"segments": segments})
        run(movie, painter)
        assert movie.artefact(ART).hash == takes[1].hash


def test_numbers_stay_when_rows_leave_and_bytes_are_collected(painted: Movie, painter: Painter) -> None:
    """What can no longer be chosen is said to be so, in a sentence."""
    choose_take(painted, ART, 2)
    run(painted, painter)
    before = [(take.take, take.hash) for take in list_takes(painted, ART)]
    compact(painted)
    assert [(take.take, take.hash) for take in list_takes(painted, ART)] == before
    prune(painted, RetentionPolicy(keep_last=1))
    let_age(painted)
    collect(painted, grace_seconds=0, trash_seconds=0, force=True)
    takes = list_takes(painted, ART)
    assert [(take.take, take.hash) for take in takes] == before
    assert [take.usable for take in takes] == [False, True, False]
    with pytest.raises(BlobMissingError, match="take 1 of"):
        choose_take(painted, ART, 1)


def test_a_chosen_take_is_not_collected(painted: Movie, painter: Painter) -> None:
    """Neither while the choice is pending nor when no kept revision holds it any more."""
    chosen = choose_take(painted, ART, 1)
    prune(painted, RetentionPolicy(keep_last=1))
    collect(painted, grace_seconds=0, trash_seconds=0, force=True)
    run(painted, painter)
    assert painted.artefact(ART).hash == chosen.hash
    set_inputs(painted, {"segments": [{"text": "x", "title": "y"}]})
    run(painted, painter)
    prune(painted, RetentionPolicy(keep_last=1))
    collect(painted, grace_seconds=0, trash_seconds=0, force=True)
    assert painted.blobs.has(chosen.hash)


@pytest.mark.damages
def test_a_damaged_take_is_refused(painted: Movie) -> None:
    """Before anything is written: every byte is read."""
    take = list_takes(painted, ART)[1]
    found = painted.blobs.stat(take.hash)
    painted.driver.replace(found.path, bytes(found.stored_size))
    with pytest.raises((BlobCorruptError, BlobMissingError)):
        choose_take(painted, ART, 2)
    assert movie_status(painted).pending == []


def test_what_could_not_be_seen_is_refused(painted: Movie, painter: Painter) -> None:
    """Under a person's version, before its inputs are made, or for what is no more."""
    edit_artefact(painted, ART, b"\x89PNG\r\n\x1a\n")
    with pytest.raises(InvalidValueError, match="stands for"):
        choose_take(painted, ART, 1)
    assert not [take for take in list_takes(painted, ART) if take.current]
    set_inputs(painted, {"voice": "de"})
    with pytest.raises(InvalidValueError, match="still to make"):
        choose_take(painted, "film.video", 1)
    with pytest.raises(NotFoundError, match="no take 9"):
        choose_take(painted, ART, 9)
    with pytest.raises(NotFoundError, match="No job makes") as caught:
        list_takes(painted, "draw[1].imag")
    assert ART in caught.value.hint
    set_inputs(painted, {"segments": [{"text": "x", "title": "y"}]})
    with pytest.raises(InvalidValueError, match="any more"):
        choose_take(painted, ART, 1)


def test_what_was_not_made_yet_has_no_takes(movie: Movie) -> None:
    """Which is no error."""
    assert list_takes(movie, ART) == []


def test_a_rollback_brings_the_take_of_then(painted: Movie, painter: Painter, studio: Studio) -> None:
    """And there is nothing to run after it."""
    choose_take(painted, ART, 1)
    run(painted, painter)
    rollback(painted, "rev-0002")
    assert summary(list_takes(painted, ART))[1] == (2, "rev-0002", True)
    assert plan_movie(painted).dirty == []


def run_overtaken(movie: Movie, painter: Painter, theirs: Callable[[Movie], object], **more: object) -> RunReport:
    """Run; when the first call of a job is over, another process does what it does, which is to publish something."""
    overtaken = False

    def overtake() -> None:
        with open_store(movie.root) as store:
            theirs(store.movie(movie.id))

    async def produce(job: Job, context: JobContext) -> Produced:
        nonlocal overtaken
        produced = await painter(job, context)
        if not overtaken:
            overtaken = True
            await asyncio.to_thread(overtake)
        return produced

    report = asyncio.run(run_movie(movie, produce=produce, **more))  # type: ignore[arg-type]
    assert overtaken
    return report


def choose_and_run(painter: Painter, number: int) -> Callable[[Movie], object]:
    def theirs(movie: Movie) -> RunReport:
        choose_take(movie, ART, number)
        return run(movie, painter, choices=Choices(targets=["film"]))

    return theirs


def test_a_take_chosen_there_contradicts_a_new_one_here(painted: Movie, painter: Painter) -> None:
    """Neither is overridden in silence: both are told, the choice stands, and the new take can be chosen."""
    first = painted.artefact(ART, "rev-0001").hash
    with pytest.raises(InputConflictError) as caught:
        run_overtaken(painted, painter, choose_and_run(painter, 1), choices=Choices(regen=["draw[1]"]))
    new = list_takes(painted, ART)[0]
    assert caught.value.values == {ART: (first, new.hash)}
    assert "choose what is meant" in caught.value.hint
    assert painted.artefact(ART).hash == first
    assert (new.take, new.usable, new.current) == (4, True, False)
    choose_take(painted, ART, 4)
    run(painted, painter)
    assert painted.artefact(ART).hash == new.hash


def test_a_new_take_there_contradicts_the_one_chosen_here(painted: Movie, painter: Painter) -> None:
    """The choice is pending still: the next run takes it, whoever begins that knows of both."""
    first = choose_take(painted, ART, 1).hash

    def theirs(movie: Movie) -> None:
        # As a run that had planned before the choice was made: it takes no edit that came later.
        pending = movie.events.pending()
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(type(movie.events), "pending", lambda self: [])
            again(movie, painter)
        assert [event.id for event in movie.events.pending()] == [event.id for event in pending]

    set_inputs(painted, {"voice": "de"})
    with pytest.raises(InputConflictError) as caught:
        run_overtaken(painted, painter, theirs)
    theirs_hash = painted.artefact(ART, "rev-0004").hash
    assert caught.value.values == {ART: (theirs_hash, first)}
    run(painted, painter)
    assert painted.artefact(ART).hash == first


def test_what_is_kept_here_and_made_anew_there_is_a_conflict(painted: Movie, painter: Painter) -> None:
    """A pin keeps what there was when it was asked for."""
    kept = painted.artefact(ART).hash

    def theirs(movie: Movie) -> None:
        retitled(movie)
        run(movie, painter, choices=Choices(targets=["film"]))

    with pytest.raises(InputConflictError) as caught:
        run_overtaken(painted, painter, theirs, choices=Choices(pin=["draw[1]"], regen=["draw[0]"]))
    assert caught.value.values == {ART: (painted.artefact(ART).hash, kept)}


def test_a_new_take_in_the_knowledge_of_a_choice_replaces_it(painted: Movie, painter: Painter) -> None:
    """Also where another run has published that choice meanwhile."""
    choose_take(painted, ART, 1)
    other = Choices(targets=["film"])
    report = run_overtaken(
        painted, painter, lambda movie: run(movie, painter, choices=other), choices=Choices(regen=["draw[1]"])
    )
    assert report.status == "published"
    assert painted.artefact(ART).hash == list_takes(painted, ART)[0].hash


class Killed(BaseException):
    """The end of a process, as far as this one can play it."""


def test_a_revision_that_nobody_has_booked_yet_keeps_nobody_from_its_takes(
    any_root: Root, movie: Movie, painter: Painter, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its publisher was killed between the manifest and the index, beside one who goes on working."""

    def die(*_: object) -> None:
        raise Killed

    run(movie, painter)
    with open_store(any_root) as second:
        other = second.movie("small")
        monkeypatch.setattr(Indexer, "book", die)
        with pytest.raises(Killed):
            again(other, painter)
        monkeypatch.undo()
        assert summary(list_takes(movie, ART)) == [(2, "rev-0002", True), (1, "rev-0001", False)]
        assert take_value(movie, ART, 2) == movie.artefact(ART).value_alone()
        choose_take(movie, ART, 1)
    run(movie, painter)
    assert movie.artefact(ART) == movie.artefact(ART, "rev-0001")


def test_takes_of_a_run_that_is_forgotten_are_no_longer_counted(
    movie: Movie, painter: Painter, studio: Studio, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A collection lets go of what was given up long ago; what was made since moves up, and is the same.

    Where each machine has an index of its own no run is forgotten: the take is told, and cannot be chosen any more.
    """
    run(movie, painter)
    studio.broken = {"film"}
    again(movie, painter)
    given_up = movie_status(movie).runs[0].run
    monkeypatch.setattr("renku_store.conclusion.timestamp", lambda moment: "2020-01-01T00:00:00.000Z")
    abandon(movie, given_up)
    monkeypatch.undo()
    studio.broken = set()
    again(movie, painter)
    first, given_up_take, last = reversed(list_takes(movie, ART))
    let_age(movie)
    for _ in range(2):  # condemned, then swept
        collect(movie, grace_seconds=0, keep_runs_seconds=3_600, force=True)
    left = list_takes(movie, ART)
    if movie.announcer.needed:
        expected = [(3, last.hash, True), (2, given_up_take.hash, False), (1, first.hash, True)]
    else:
        expected = [(2, last.hash, True), (1, first.hash, True)]
    assert [(take.take, take.hash, take.usable) for take in left] == expected
    assert left[0].current
