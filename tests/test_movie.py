"""The service over revisions, as a caller without a runner uses it."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from renku_store import (
    ArtefactEvent,
    ArtefactValue,
    BlobCorruptError,
    BlobMissingError,
    InvalidIdError,
    ManifestConflictError,
    Movie,
    NotFoundError,
    RevisionExistsError,
    open_store,
)
from renku_store.hashing import hash_bytes, hash_value
from renku_store.records.events import InputEvent
from tests.authoring import LONG, artefact_event, check_whole, lose_database, opened, publish, texts
from tests.roots import Root


@pytest.fixture
def root(any_root: Root) -> Root:
    return any_root


@pytest.fixture
def movie(root: Root) -> Iterator[Movie]:
    with open_store(root) as store:
        yield store.create_movie("film")


@pytest.fixture
def three(movie: Movie) -> Movie:
    """A movie of three revisions."""
    publish(movie, {"a.out": "one", "b.out": LONG}, {"voice": "en", "large": LONG, "nothing": None})
    publish(movie, {"a.out": "two"}, {"voice": None})
    publish(movie, {"c.out": "three"}, {"voice": "fr"})
    return movie


def test_events_are_built_into_a_manifest_and_saved_as_the_next_revision(three: Movie) -> None:
    """Inputs inline and as blobs, null included; artefacts with their makers; the chain of hashes."""
    check_whole(three)
    first, second, third = (three.manifests.load(name) for name in ("rev-0001", "2", "latest"))
    assert {key: three.value(entry) for key, entry in first.inputs.items()} == {
        "voice": "en",
        "large": LONG,
        "nothing": None,
    }
    assert first.inputs["large"].blob == first.inputs["large"].hash == hash_value(LONG)
    assert second.inputs["voice"].value is None
    assert texts(three) == {"a.out": "two", "b.out": LONG, "c.out": "three"}
    assert texts(three, "rev-1") == {"a.out": "one", "b.out": LONG}
    assert third.artefacts["b.out"] == first.artefacts["b.out"]
    held = third.artefacts["c.out"]
    assert (held.produced_by, held.job, held.signature) == ("hand", "c", hash_bytes(b"signature of three"))
    assert three.manifests.load_current() == three.manifests.load_with_hash("rev-0003")


def test_nothing_built_is_published_until_it_is_saved(movie: Movie) -> None:
    """Building writes nothing and may be done again."""
    movie.events.append_input("a", 1)
    one, other = movie.manifests.build_from_events("rev-0001"), movie.manifests.build_from_events("rev-0001")
    assert one.content_hash == other.content_hash
    assert movie.manifests.current() is None
    with pytest.raises(NotFoundError, match="film has no revision yet"):
        movie.manifests.load_current()
    with pytest.raises(NotFoundError):
        movie.manifests.resolve("latest")
    assert [*movie.manifests.revisions()] == []


def test_an_edit_made_between_building_and_saving_waits_for_the_next_revision(movie: Movie) -> None:
    """It is in no manifest, so it stays pending: nothing that a person said is lost."""
    movie.events.append_input("a", 1)
    built = movie.manifests.build_from_events("rev-0001")
    movie.events.append_input("a", 2)
    movie.events.append_artefact(artefact_event(movie, "x.out", "late"))
    saved = movie.manifests.save_manifest(built, previous_hash=None)
    pending = movie.events.pending()
    assert [getattr(event, "value", None) for event in pending][:1] == [2]
    assert len(pending) == 2
    following = movie.manifests.build_from_events("rev-0002")
    assert (following.inputs["a"].value, set(following.artefacts)) == (2, {"x.out"})
    movie.manifests.save_manifest(following, previous_hash=saved.hash)
    assert movie.events.pending() == []
    check_whole(movie)


def test_a_run_takes_the_edits_that_it_had_seen_when_it_planned(movie: Movie) -> None:
    """And its own events over them, private inputs included; what came later is another's."""
    seen = movie.events.append_input("a", 1)
    run = movie.events.new_id()
    movie.leases.start(run, base_revision=None, edits_through=seen.seq or 0)
    movie.events.append_input("b", "private", run=run)
    movie.events.append_input("a", 2)
    movie.events.append_artefact(artefact_event(movie, "x.out", "made", run=run))
    built = movie.manifests.build_from_events("rev-0001", run=run)
    assert {key: entry.value for key, entry in built.inputs.items()} == {"a": 1, "b": "private"}
    assert set(built.artefacts) == {"x.out"}
    movie.manifests.save_manifest(built, previous_hash=None)
    assert [getattr(event, "value", None) for event in movie.events.pending()] == [2]
    latest = movie.events.latest_input("b")
    assert latest is not None
    assert latest.value == "private"


def test_what_is_published_or_has_no_base_cannot_be_built(three: Movie) -> None:
    """Each with the reason."""
    with pytest.raises(RevisionExistsError, match="rev-0002"):
        three.manifests.build_from_events("rev-0002")
    with pytest.raises(NotFoundError, match="rev-0004"):
        three.manifests.build_from_events("rev-0005")
    with pytest.raises(InvalidIdError):
        three.manifests.build_from_events("latest")


def test_saving_on_another_base_is_refused_with_both_hashes(three: Movie) -> None:
    """Nothing is published, nothing archived, and the edit is still there."""
    three.events.append_input("voice", "it")
    built = three.manifests.build_from_events("rev-0004")
    with pytest.raises(ManifestConflictError) as caught:
        three.manifests.save_manifest(built, previous_hash="0" * 64)
    assert (caught.value.expected, caught.value.actual) == ("0" * 64, built.base_hash)
    assert built.run not in three.archives.runs()
    assert len(three.events.pending()) == 1


@pytest.mark.parametrize("name", ["rev-0002", "rev-2", "2", "002"])
def test_a_revision_goes_by_its_name_or_number(three: Movie, name: str) -> None:
    """With or without zeros."""
    assert three.manifests.resolve(name) == "rev-0002"
    assert three.manifests.resolve("latest") == "rev-0003"


@pytest.mark.parametrize("name", ["", "0", "rev-0", "rev-", "rev--1", "x", "rev-2\n", "1" * 30, "../1", "REV-2"])
def test_what_cannot_be_a_revision_is_refused(three: Movie, name: str) -> None:
    """As bad input, not as something missing."""
    with pytest.raises(InvalidIdError):
        three.manifests.load(name)


def test_an_unknown_revision_names_the_newest(three: Movie) -> None:
    """So does an unknown artefact its neighbours."""
    with pytest.raises(NotFoundError, match="rev-0099") as caught:
        three.manifests.load("rev-99")
    assert "rev-0003" in caught.value.hint
    with pytest.raises(NotFoundError, match=r"a\.oot") as caught:
        three.artefact("a.oot")
    assert "a.out" in caught.value.hint
    assert three.read(three.artefact("a.out", "1")) == b"one"
    with three.open(three.artefact("b.out")) as stream:
        assert stream.read() == LONG.encode()


def test_streams_begin_after_a_revision_and_look_ups_are_of_one(three: Movie) -> None:
    """Each event once; each value as of its revision."""
    three.events.append_input("voice", "it")
    assert [event.value for event in three.events.stream_inputs("rev-0002")] == ["fr", "it"]
    assert [event.value for event in three.events.stream_inputs("rev-0003")] == ["it"]
    assert [event.artefact for event in three.events.stream_artefacts("rev-0001")] == ["a.out", "c.out"]
    found: dict[str, InputEvent | None] = {
        name: three.events.latest_input("voice", name) for name in ("rev-0001", "rev-0002", "rev-0003")
    }
    assert {name: event.value for name, event in found.items() if event} == {
        "rev-0001": "en",
        "rev-0002": None,
        "rev-0003": "fr",
    }
    assert three.events.latest_artefact("c.out", "rev-0002") is None
    with pytest.raises(NotFoundError):
        three.events.latest_artefact("c.out", "rev-0004")


@pytest.mark.parametrize("witness", ["index", "pointer", "successor"])
def test_an_altered_manifest_is_found_by_whoever_knows_its_hash(root: Root, three: Movie, witness: str) -> None:
    """The index; without it `current.json` for the newest, the revision after it for any other."""
    three.close()
    name = "rev-0003" if witness == "pointer" else "rev-0002"
    driver, path = root.driver(), f"manifests/{name}.json"
    driver.replace(path, driver.read(path).replace(b'"cost":0', b'"cost":9'))
    if witness != "index":
        lose_database(root)
    with opened(root) as again:
        with pytest.raises(BlobCorruptError, match=name):
            again.manifests.load(name)
        assert again.manifests.load("rev-0001").revision == "rev-0001"
        history = again.manifests.revisions()
        with pytest.raises(BlobCorruptError, match=name):
            list(history)


def test_whole_floats_beyond_what_integers_reach_do_not_stop_a_movie(root: Root, movie: Movie) -> None:
    """Canonical JSON writes them as integers; read again they are floats, in every revision and after a rebuild."""
    publish(movie, {}, {"big": 2.0**60, "deep": {"x": [1e20, -1e18]}})
    publish(movie, {"a.out": "x"})
    movie.close()
    lose_database(root)
    with opened(root) as again:
        publish(again, {"a.out": "y"})
        assert again.value(again.manifests.load("latest").inputs["big"]) == 2.0**60
        assert isinstance(again.manifests.load("latest").inputs["big"].value, float)
        check_whole(again)


def test_an_event_cannot_name_a_blob_that_is_not_there(root: Root) -> None:
    """Refused by name, whole batches of them: the log never points at nothing (invariant 3)."""
    with open_store(root) as store:
        movie = store.create_movie("m")
        value = ArtefactValue(hash="2" * 64, size=9, mime_type="image/png", blob="2" * 64)
        event = ArtefactEvent(
            id=movie.events.new_id(),
            artefact="a",
            status="succeeded",
            value=value,
            created_at="2026-01-01T00:00:00.000Z",
        )
        with pytest.raises(BlobMissingError, match="2222"):
            movie.events.append_artefact(event)
        large = InputEvent(
            id=movie.events.new_id(), input="i", hash="3" * 64, blob="3" * 64, created_at=event.created_at
        )
        with pytest.raises(BlobMissingError, match="3333"):
            movie.events.append_many([large])
        assert movie.events.pending() == []
        assert movie.events.latest_artefact("a") is None
        blob = movie.blobs.put(b"x" * 9)
        there = value.replace(hash=blob.hash, blob=blob.hash)
        movie.events.append_artefact(event.replace(value=there))
        latest = movie.events.latest_artefact("a")
        assert latest is not None
        assert latest.value == there
