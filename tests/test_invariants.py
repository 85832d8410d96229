"""The check of invariants for tests: it finds nothing in a sound movie, and each kind of damage by its number."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from renku_store import Movie, open_store
from renku_store.testing.invariants import check_invariants, violations
from tests.authoring import LONG, artefact_event, intend, next_one, opened, publish

Damage = Callable[[Movie, Path], object]


@pytest.fixture
def movie(tmp_path: Path) -> Iterator[Movie]:
    """Two revisions with blobs, and an edit that none has taken."""
    with open_store(tmp_path / "root") as store:
        movie = store.create_movie("film")
        publish(movie, {"a": "first " + LONG}, {"text": "words " * 1_000})
        publish(movie, {"a": "second " + LONG})
        movie.events.append_artefact(artefact_event(movie, "b", "pending " + LONG))
        yield movie


def test_a_sound_movie_has_no_violations(movie: Movie) -> None:
    """Neither an empty one."""
    check_invariants(movie)
    with open_store(movie.root) as store:
        check_invariants(store.create_movie("empty"))


def blob_of(movie: Movie, revision: str) -> str:
    return movie.manifests.load(revision).artefacts["a"].hash


def path_of(movie: Movie, folder: Path, digest: str) -> Path:
    return folder / movie.blobs.stat(digest).path


def change_a_blob(movie: Movie, folder: Path) -> None:
    path = path_of(movie, folder, blob_of(movie, "rev-0001"))
    data = bytearray(path.read_bytes())
    data[-5] ^= 1
    path.write_bytes(data)


def leave_a_foreign_file(movie: Movie, folder: Path) -> None:
    (folder / "blobs/7f").mkdir(exist_ok=True)
    (folder / "blobs/7f/half-written").write_bytes(b"half")


def lose_a_pending_blob(movie: Movie, folder: Path) -> None:
    event = next(event for event in movie.events.pending() if getattr(event, "artefact", "") == "b")
    path_of(movie, folder, event.value.hash).unlink()  # type: ignore[union-attr]


def lose_a_published_blob(movie: Movie, folder: Path) -> None:
    path_of(movie, folder, blob_of(movie, "rev-0001")).unlink()


def lose_an_archive(movie: Movie, folder: Path) -> None:
    (folder / movie.manifests.load("rev-0001").archive.name).unlink()  # type: ignore[union-attr]


def lose_a_revision(movie: Movie, folder: Path) -> None:
    (folder / "manifests/rev-0001.json").unlink()


def change_a_manifest(movie: Movie, folder: Path) -> None:
    path = folder / "manifests/rev-0001.json"
    path.write_bytes(path.read_bytes().replace(b'"made":0', b'"made":1'))


def take_the_pointer_back(movie: Movie, folder: Path) -> None:
    manifest, digest = movie.manifests.load_with_hash("rev-0001")
    (folder / "current.json").write_text(
        '{"revision":"rev-0001","manifest":"manifests/rev-0001.json",'
        f'"hash":"{digest}","updatedAt":"{manifest.created_at}"}}'
    )


def promise_what_is_not_there(movie: Movie, folder: Path) -> None:
    with movie.metadata.write() as writer:
        writer.blobs.make_live([("7f" * 32, 5, 5, "raw")])


def work_on_a_run_that_was_given_up(movie: Movie, folder: Path) -> None:
    movie.leases.start("r", base_revision=None, edits_through=0)
    with movie.metadata.write() as writer:
        writer.runs.update("r", status="abandoned")


def leave_an_intent(movie: Movie, folder: Path) -> None:
    with open_store(movie.root) as store:
        other = store.create_movie("other")
        publish(other, {"a": "first"})
        manifest, _ = next_one(other, "second")
    intend(movie, manifest)


@pytest.mark.parametrize(
    ("number", "damage"),
    [
        (1, change_a_blob),
        (2, leave_a_foreign_file),
        (3, lose_a_pending_blob),
        (4, lose_an_archive),
        (5, lose_a_published_blob),
        (5, lose_a_revision),
        (6, change_a_manifest),
        (7, take_the_pointer_back),
        (8, promise_what_is_not_there),
        (8, lose_a_published_blob),
        (10, work_on_a_run_that_was_given_up),
        (11, leave_an_intent),
    ],
)
def test_damage_is_found_by_the_number_of_its_invariant(movie: Movie, number: int, damage: Damage) -> None:
    """Each of them, whatever else is wrong then."""
    damage(movie, Path(movie.root, movie.id))
    assert number in {int(found.partition(":")[0]) for found in violations(movie)}
    with pytest.raises(AssertionError):
        check_invariants(movie)


def test_looking_changes_nothing(movie: Movie) -> None:
    """A check repairs nothing: it finds the same again."""
    lose_a_published_blob(movie, Path(movie.root, movie.id))
    found = violations(movie)
    assert found == violations(movie)
    with opened(Path(movie.root)) as again:
        assert violations(again) == found
