"""Records are not checked as programs make them: what nobody could read again is refused before anything is kept."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from renku_store import InvalidIdError, InvalidValueError, Movie, open_store
from renku_store.encoding import manifest_path
from renku_store.records.manifest import ArtefactValue
from tests.authoring import artefact_event, publish


@pytest.fixture
def movie(tmp_path: Path) -> Iterator[Movie]:
    """A movie with one revision."""
    with open_store(tmp_path) as store:
        movie = store.create_movie("film")
        publish(movie, {"a": "one"})
        yield movie


@pytest.mark.parametrize(
    ("changed", "named"),
    [
        ({"status": "bogus"}, "status: there is no status 'bogus'"),
        ({"mime_type": None}, "mimeType: None is no MIME type"),
        ({"mime_type": ""}, "mimeType"),
        ({"size": -1}, "size: -1"),
        ({"size": "7"}, "size: '7'"),
    ],
)
def test_an_event_that_no_revision_could_hold_is_refused(movie: Movie, changed: dict[str, Any], named: str) -> None:
    """Such as one of a file whose type nobody could guess; the others go on."""
    event = artefact_event(movie, "b", "two")
    assert event.value is not None
    status = {key: value for key, value in changed.items() if key == "status"}
    value = ArtefactValue(**{**event.value.values(), **{key: v for key, v in changed.items() if key != "status"}})
    with pytest.raises(InvalidValueError, match=named):
        movie.events.append_artefact(event.replace(value=value, **status))
    assert [kept.artefact for kept in movie.events.stream_artefacts()] == ["a"]
    movie.events.append_artefact(event)


def test_an_event_of_another_blob_than_its_hash_is_refused(movie: Movie) -> None:
    """No revision could hold it, and what reads it would find other bytes than its signature says."""
    event = artefact_event(movie, "b", "two")
    assert event.value is not None
    other = event.value.replace(inline=None, blob=movie.blobs.put(b"other").hash)
    with pytest.raises(InvalidValueError, match=r"value\.blob: the blob .* is not the one of its hash"):
        movie.events.append_artefact(event.replace(value=other))
    assert [kept.artefact for kept in movie.events.stream_artefacts()] == ["a"]


@pytest.mark.parametrize(
    "changed", [{"created_at": 5}, {"format": 2}, {"timeline": 5}, {"run": "x\0", "created_at": None}], ids=str
)
@pytest.mark.parametrize("count", [1, 2_000])
def test_a_revision_that_nobody_could_read_is_not_published(movie: Movie, changed: dict[str, Any], count: int) -> None:
    """Also a large one, whose artefacts are in pages; the movie is as it was, and the right one follows."""
    movie.events.append_many(artefact_event(movie, f"shot[{number}]", f"{number}") for number in range(count))
    manifest = movie.manifests.build_from_events("rev-0002")
    _, before = movie.manifests.load_current()
    with pytest.raises((InvalidValueError, InvalidIdError)):
        movie.manifests.save_manifest(manifest.replace(**changed), previous_hash=before)
    assert movie.driver.stat(manifest_path("rev-0002")) is None
    assert movie.manifests.load_current()[1] == before
    saved = movie.manifests.save_manifest(movie.manifests.build_from_events("rev-0002"), previous_hash=before)
    assert saved.revision == "rev-0002"
    assert len(movie.manifests.load("rev-0002").artefacts) == count + 1


def test_an_artefact_of_a_wrong_shape_is_not_published(movie: Movie) -> None:
    """Whatever wrote it into the manifest."""
    manifest, before = movie.manifests.load_current()
    wrong = {key: held.replace(mime_type=None) for key, held in manifest.artefacts.items()}
    with pytest.raises(InvalidValueError):
        movie.committer.publish(
            manifest.replace(revision="rev-0002", base_revision="rev-0001", base_hash=before, artefacts=wrong)
        )
    assert movie.driver.stat(manifest_path("rev-0002")) is None


def test_a_signature_that_is_none_is_named(movie: Movie) -> None:
    """Instead of an error of the database."""
    with pytest.raises(InvalidIdError, match="'xx' is not a hash"):
        movie.events.find_trace("xx")
