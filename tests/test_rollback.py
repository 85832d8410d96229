"""`rollback`: an old state is the newest revision, without a call, whatever happens beside it. Invariant 11."""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from renku_store import (
    BlobMissingError,
    Manifest,
    ManifestConflictError,
    Movie,
    NotFoundError,
    RunReport,
    collect,
    movie_status,
    open_store,
    plan_movie,
    rollback,
    run_movie,
    set_inputs,
)
from renku_store.durability import listening
from renku_store.encoding import encode_stub
from renku_store.manifests import ManifestStore
from renku_store.records._base import Json
from renku_store.records.events import ArtefactEvent, InputEvent, RunEvent
from tests.authoring import (
    LONG,
    artefact_event,
    check_whole,
    connection_of,
    intents,
    lose_database,
    opened,
    publish,
    texts,
)
from tests.roots import Root
from tests.running.conftest import BLUEPRINT, Studio

SEGMENTS: list[Json] = [{"text": text, "title": text.upper()} for text in ("one", "two", "three")]


pytestmark = pytest.mark.long_away


@pytest.fixture
def movie(any_root: Root) -> Iterator[Movie]:
    """Three revisions: the second changes an artefact and an input, the third takes one away and adds one of each."""
    with open_store(any_root) as store:
        movie = store.create_movie("film")
        publish(movie, {"a": "one", "b": LONG}, {"voice": "en", "text": "an input " * 500})
        publish(movie, {"a": "two"}, {"voice": "de"})
        publish(movie, {"c": "three"}, {"pace": 2})
        yield movie


@pytest.fixture
def film(any_root: Root) -> Iterator[Movie]:
    """A movie with a blueprint and two revisions, in two voices."""
    with open_store(any_root) as store:
        movie = store.create_movie("film")
        set_inputs(movie, {"@blueprint": BLUEPRINT, "segments": SEGMENTS})
        run(movie, Studio())
        set_inputs(movie, {"voice": "de"})
        run(movie, Studio())
        yield movie


def run(movie: Movie, studio: Studio) -> RunReport:
    return asyncio.run(run_movie(movie, produce=studio))


def run_count(movie: Movie) -> int:
    with movie.metadata.read() as reader:
        return len(reader.runs.list())


def content(manifest: Manifest) -> tuple[object, ...]:
    return manifest.content_hash, manifest.inputs, manifest.artefacts, manifest.graph, manifest.timeline


def test_the_old_state_is_the_newest_revision(movie: Movie) -> None:
    """Inputs, artefacts and content hash are the old ones, on top of the newest; it cost nothing."""
    old, (before, before_hash) = movie.manifests.load("rev-0001"), movie.manifests.load_current()
    published = rollback(movie, "1")
    current, digest = movie.manifests.load_current()
    assert published is not None
    assert (published.revision, published.hash) == (current.revision, digest) == ("rev-0004", digest)
    assert content(current) == content(old)
    assert (current.base_revision, current.base_hash) == (before.revision, before_hash)
    assert (current.metrics.made, current.metrics.reused, current.metrics.cost) == (0, 0, 0)
    assert texts(movie) == {"a": "one", "b": LONG}
    check_whole(movie)
    assert rollback(movie, "rev-0003") is not None
    assert texts(movie) == {"a": "two", "b": LONG, "c": "three"}
    check_whole(movie)


def test_events_tell_what_was_restored_and_nothing_is_paid_twice(movie: Movie) -> None:
    """Only what differs is restored, as choices that are no results: look-ups by signature stay as they are."""
    made = movie.events.latest_artefact("a", "rev-0001")
    assert made is not None
    assert made.signature is not None
    trace = movie.events.find_trace(made.signature)
    published = rollback(movie, "rev-0001")
    assert published is not None
    told = [*movie.events.stream(run=published.run)]
    steps = [(event.kind, event.data) for event in told if isinstance(event, RunEvent)]
    assert steps == [
        ("rollback", {"base": "rev-0003", "to": "rev-0001"}),
        ("published", {"revision": "rev-0004"}),
    ]
    assert [(e.input, e.value, e.edited_by) for e in told if isinstance(e, InputEvent)] == [("voice", "en", "rollback")]
    [chosen] = [event for event in told if isinstance(event, ArtefactEvent)]
    assert (chosen.artefact, chosen.status, chosen.cost, chosen.result) == ("a", "chosen", None, None)
    assert (chosen.value, chosen.signature, chosen.job, chosen.producer) == (
        made.value, made.signature, made.job, made.producer,
    )  # fmt: skip
    assert movie.events.find_trace(made.signature) == trace
    latest = movie.events.latest_input("voice")
    assert latest is not None
    assert latest.value == "en"


def test_what_a_person_made_is_restored_as_theirs(movie: Movie) -> None:
    """Who edited an artefact belongs to the state, and so says the fold of the events."""
    theirs = artefact_event(movie, "a", "by hand").replace(status="edited", edited_by="ana")
    movie.events.append_artefact(theirs)
    edited = publish(movie, {})
    assert rollback(movie, "rev-0001") is not None
    published = rollback(movie, edited.revision)
    assert published is not None
    assert movie.manifests.load_current()[0].artefacts["a"].edited_by == "ana"
    [chosen] = [e for e in movie.events.stream(run=published.run) if isinstance(e, ArtefactEvent) and e.artefact == "a"]
    assert chosen.edited_by == "ana"


def test_the_present_state_is_left_alone(movie: Movie) -> None:
    """Also where an earlier revision is the same; no run and no event is written."""
    publish(movie, {"a": "four"})
    rollback(movie, "rev-0003")
    events = [event.id for event in movie.events.stream()]
    assert rollback(movie, "rev-0003") is None
    assert rollback(movie, "latest") is None
    assert [event.id for event in movie.events.stream()] == events


def test_nothing_is_dirty_afterwards(film: Movie) -> None:
    """The plan is empty and a run changes nothing; a later edit runs what it always would, reusing what there is."""
    assert rollback(film, "rev-0001") is not None
    assert plan_movie(film).dirty == []
    studio = Studio()
    assert run(film, studio).status == "unchanged"
    set_inputs(film, {"voice": "de"})
    report = run(film, studio)
    assert (report.status, report.made, not studio.calls) == ("published", 0, True)
    assert content(film.manifests.load("latest"))[0] == film.manifests.load("rev-0002").content_hash


def test_pending_edits_stay_pending_and_go_into_the_next_run(film: Movie) -> None:
    """A rollback restores what was published; what a person has set since is not thrown away."""
    set_inputs(film, {"voice": "fr"})
    assert rollback(film, "rev-0001") is not None
    assert [edit.input for edit in movie_status(film).pending] == ["voice"]
    assert "voice" not in film.manifests.load("latest").inputs
    report = run(film, Studio())
    assert report.revision == "rev-0004"
    assert film.manifests.load("latest").inputs["voice"].value == "fr"


@pytest.mark.parametrize("before", [{}, {"segments": SEGMENTS[:2]}], ids=["alone", "before another edit"])
def test_an_edit_that_was_taken_back_does_not_undo_a_rollback(film: Movie, before: dict[str, Json]) -> None:
    """It came to what the newest revision had, so that nothing waited; of other edits nothing is thrown away."""
    set_inputs(film, {"voice": "fr"})
    set_inputs(film, {"voice": "de"})
    assert movie_status(film).pending == []
    set_inputs(film, before)
    assert rollback(film, "rev-0001") is not None
    assert [edit.input for edit in movie_status(film).pending if isinstance(edit, InputEvent)] == [*before]
    run(film, Studio())
    assert "voice" not in film.manifests.load("latest").inputs
    assert set(before) <= set(film.manifests.load("latest").inputs)


def test_what_cannot_be_restored_is_named_and_nothing_is_written(movie: Movie) -> None:
    """A missing blob, an unknown revision, an expired one: an error each, no run, no event, no revision."""
    with pytest.raises(NotFoundError):
        rollback(movie, "rev-0009")
    publish(movie, {"b": "short"})
    events, runs = [event.id for event in movie.events.stream()], run_count(movie)
    blob = movie.manifests.load("rev-0001").artefacts["b"].blob
    assert blob is not None
    movie.driver.delete(movie.blobs.stat(blob).path)
    with pytest.raises(BlobMissingError, match=blob):
        rollback(movie, "rev-0001")
    manifest, digest = movie.manifests.load_with_hash("rev-0002")
    movie.driver.replace("manifests/rev-0002.json", encode_stub(manifest, digest))
    with pytest.raises(NotFoundError, match="expired"):
        rollback(movie, "rev-0002")
    assert [event.id for event in movie.events.stream()] == events
    assert run_count(movie) == runs
    assert movie.manifests.resolve("latest") == "rev-0004"


def test_condemned_blobs_come_back_to_life(movie: Movie) -> None:
    """What a collection was about to remove is live and touched before it is named again (invariant 9)."""
    publish(movie, {"b": "short"})
    blob = movie.manifests.load("rev-0001").artefacts["b"].hash
    with movie.metadata.write():
        connection_of(movie).execute("UPDATE blobs SET state = 'condemned', touched_at = 0")
    assert rollback(movie, "rev-0001") is not None
    with movie.metadata.read() as reader:
        assert reader.blobs.get([blob])[blob].state == "live"
    collect(movie, force=True)
    check_whole(movie)


@pytest.fixture
def before_its_name(monkeypatch: pytest.MonkeyPatch) -> Callable[[Callable[[], None]], None]:
    """Takes what is to be done right before a manifest gets its name, wherever that is stored."""

    def do(interfere: Callable[[], None]) -> None:
        create = ManifestStore.create

        def created(self: ManifestStore, number: int, data: bytes) -> bool:
            interfere()
            return create(self, number, data)

        monkeypatch.setattr(ManifestStore, "create", created)

    return do


def test_it_goes_on_top_of_what_others_publish_meanwhile(
    movie: Movie, before_its_name: Callable[[Callable[[], None]], None]
) -> None:
    """A lost race is run again on the new revision; the attempt before is an abandoned run, and no one's to resume."""
    done: list[str] = []

    def interfere() -> None:
        if not done:
            [intended] = intents(movie)
            done.append(intended.run)
            with opened(movie.root) as other:
                publish(other, {"d": "theirs"})

    before_its_name(interfere)
    published = rollback(movie, "rev-0001")
    assert published is not None
    assert published.revision == "rev-0005"
    assert (done != [], done != [published.run]) == (True, True)
    assert texts(movie, "rev-0004")["d"] == "theirs"
    assert texts(movie) == {"a": "one", "b": LONG}
    assert movie.leases.unfinished() == []
    check_whole(movie)


def test_it_gives_up_where_others_publish_again_and_again(
    movie: Movie, before_its_name: Callable[[Callable[[], None]], None]
) -> None:
    """After a few tries the conflict is the caller's; nothing is left to be resumed."""
    others: list[str] = []
    busy: list[bool] = []

    def interfere() -> None:
        if not busy:
            busy.append(True)
            with opened(movie.root) as other:
                others.append(publish(other, {"d": f"theirs {len(others)}"}).revision)
            busy.clear()

    before_its_name(interfere)
    with pytest.raises(ManifestConflictError):
        rollback(movie, "rev-0001")
    assert len(others) == 5
    assert movie.leases.unfinished() == []
    check_whole(movie)


class Killed(BaseException):
    """The process ends here."""


@pytest.mark.ramdisk
@pytest.mark.files
@pytest.mark.parametrize("lost", [False, True], ids=["with its database", "without its database"])
def test_killed_anywhere_it_is_done_or_not_begun(film: Movie, tmp_path: Path, lost: bool) -> None:
    """The next run finds nothing to take up: it says unchanged, whether the old state was published or not."""
    film.close()
    root, seen, count = tmp_path / "root", set(), 0
    for count in range(1, 200):
        copy = tmp_path / f"copy-{count}"
        shutil.copytree(root, copy)
        left = count

        def kill(moment: str, step: str) -> None:
            nonlocal left
            left -= 1
            if left == 0:
                raise Killed

        with opened(copy) as movie:
            try:
                with listening(kill):
                    rollback(movie, "rev-0001")
            except Killed:
                pass
            else:
                break
        if lost:
            lose_database(copy)
        with opened(copy) as movie:
            assert movie.leases.unfinished() == []
            revision = movie.manifests.resolve("latest")
            seen.add(revision)
            expected = "rev-0001" if revision == "rev-0003" else "rev-0002"
            assert content(movie.manifests.load("latest")) == content(movie.manifests.load(expected))
            studio = Studio()
            assert run(movie, studio).status == "unchanged"
            assert not studio.calls
            assert (rollback(movie, "rev-0001") is None) == (revision == "rev-0003")
            assert intents(movie) == []
            check_whole(movie)
        shutil.rmtree(copy)
    assert seen == {"rev-0002", "rev-0003"}
    assert count > 10
