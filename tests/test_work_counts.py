"""What work is in proportion to, as counts that no machine's mood changes: looks, rows, statements, commits, bytes."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import FrameType

import pytest

from renku_store import ArtefactEvent, ArtefactValue, BlobMissingError, Manifest, Movie, Store, open_store
from renku_store.durability import listening
from renku_store.encoding import cut_pages
from tests.authoring import artefact_event, check_whole, connection_of

CHANGED = 10
NOW = "2026-01-01T00:00:00.000Z"


@dataclass
class Counts:
    """What was done within a context: looks at files by name, statements, rows changed, commits, bytes of new files."""

    looks: int = 0
    statements: int = 0
    rows: int = 0
    commits: int = 0
    written: int = 0
    files: int = 0


@contextmanager
def counted(movie: Movie) -> Iterator[Counts]:
    """Count what this thread does with a movie in a folder."""
    counts, connection, folder = Counts(), connection_of(movie), movie.driver.workspace()
    assert folder is not None
    before, rows = files_in(folder), connection.total_changes()

    def looked(_frame: FrameType, event: str, argument: object) -> None:
        counts.looks += event == "c_call" and getattr(argument, "__name__", "") in {"stat", "lstat"}

    def executed(*_: object) -> bool:
        counts.statements += 1
        return True

    def stepped(moment: str, name: str) -> None:
        counts.commits += (moment, name) == ("after", "database commit")

    connection.exec_trace = executed
    sys.setprofile(looked)
    try:
        with listening(stepped):
            yield counts
    finally:
        sys.setprofile(None)
        connection.exec_trace = None
    after = files_in(folder)
    counts.rows = connection.total_changes() - rows
    counts.files = len(after.keys() - before.keys())
    counts.written = sum(size for name, size in after.items() if name not in before)


def files_in(folder: Path) -> dict[str, int]:
    return {str(path): path.stat().st_size for path in folder.rglob("*") if path.is_file() and path.suffix != ".db"}


def results(movie: Movie, names: list[str], text: str, run: str) -> list[ArtefactEvent]:
    """What a run's calls gave, each a blob of its own."""
    blobs = movie.blobs.put_many([f"{text} of {name}".encode() for name in names])
    return [
        ArtefactEvent(
            id=movie.events.new_id(),
            run=run,
            artefact=name,
            status="succeeded",
            output="image",
            job=name,
            signature=blob.hash,
            result=movie.events.new_id(),
            value=ArtefactValue(hash=blob.hash, size=blob.size, mime_type="image/png", blob=blob.hash),
            created_at=NOW,
        )
        for name, blob in zip(names, blobs, strict=True)
    ]


def built(movie: Movie, names: list[str], text: str, number: int) -> Manifest:
    run = movie.events.new_id()
    movie.events.append_many(results(movie, names, text, run))
    return movie.manifests.build_from_events(f"rev-{number:04}", run=run)


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with open_store(tmp_path / "root") as opened:
        yield opened


def with_artefacts(store: Store, count: int) -> Movie:
    movie = store.create_movie(f"of-{count}")
    manifest = built(movie, [f"picture[{place}].image" for place in range(count)], "first", 1)
    movie.manifests.save_manifest(manifest, previous_hash=None)
    return movie


def next_manifest_of(movie: Movie, text: str = "second", number: int = 2) -> Manifest:
    return built(movie, [f"picture[{place * 100}].image" for place in range(CHANGED)], text, number)


@pytest.mark.long
def test_publishing_costs_what_changed_and_not_what_there_is(store: Store) -> None:
    """Of three times as many no more are looked at, nor rows written; only pages that changed are made."""
    seen: list[Counts] = []
    for count in (1_100, 3_300):
        movie = with_artefacts(store, count)
        manifest = next_manifest_of(movie)
        pages = [*cut_pages(manifest.artefacts)]
        changed = sum(any(f"picture[{place * 100}].image" in page for place in range(CHANGED)) for page in pages)
        with counted(movie) as counts:
            movie.manifests.save_manifest(manifest, previous_hash=manifest.base_hash)
        assert counts.files == changed + 2, "the pages that changed, the archive, the manifest"
        seen.append(counts)
        check_whole(movie)
    small, large = seen
    assert large.looks <= small.looks + 60, "some for each page that changed, and none for what did not"
    assert large.rows <= small.rows + 60
    assert large.rows < 200
    assert large.statements <= small.statements + 60
    assert large.commits == small.commits <= 8


def test_one_event_takes_few_statements_and_many_share_them(store: Store) -> None:
    """One commit however many come at once; for each a row in three tables, and some statements for all."""
    movie = store.create_movie("film")
    events = [artefact_event(movie, f"a{n}.out", str(n), run="r") for n in range(101)]
    with counted(movie) as alone:
        movie.events.append_artefact(events[0])
    with counted(movie) as together:
        movie.events.append_many(events[1:])
    assert (alone.commits, alone.rows, together.commits, together.rows) == (1, 3, 1, 300)
    assert alone.statements <= 6, "begin, one look at what was before, three rows, commit"
    assert together.statements == alone.statements + 3 * 99


def test_a_blob_whose_row_was_lost_is_looked_at_though_it_did_not_change(store: Store) -> None:
    """What the index does not promise is seen again, and promised."""
    movie = with_artefacts(store, 1_100)
    digest = movie.artefact("picture[1].image").hash
    connection_of(movie).execute("DELETE FROM blobs WHERE hash = ?", (bytes.fromhex(digest),))
    manifest = next_manifest_of(movie)
    movie.manifests.save_manifest(manifest, previous_hash=manifest.base_hash)
    with movie.metadata.read() as reader:
        assert reader.blobs.get([digest])[digest].state == "live"
    check_whole(movie)


@pytest.mark.damages
@pytest.mark.parametrize("count", [20, 1_100])
def test_nothing_is_published_that_names_what_is_known_to_be_gone(store: Store, count: int) -> None:
    """Quarantined under the newest revision, a blob is missed by the next one, though its artefact did not change."""
    movie = with_artefacts(store, count)
    digest = movie.artefact("picture[1].image").hash
    folder = movie.driver.workspace()
    assert folder is not None
    path = folder / movie.blobs.stat(digest).path
    path.chmod(0o644)
    path.write_bytes(b"other bytes")
    assert movie.blobs.quarantine(digest)
    manifest = built(movie, ["picture[0].image"], "second", 2)
    with pytest.raises(BlobMissingError, match=digest):
        movie.manifests.save_manifest(manifest, previous_hash=manifest.base_hash)


@pytest.mark.parametrize("noticed", [True, False])
def test_a_page_that_was_lost_under_an_open_movie_is_made_anew(store: Store, *, noticed: bool) -> None:
    """The base was read before; what it has in common with the next revision is all there again, whoever took it."""
    movie = with_artefacts(store, 1_100)
    manifest = next_manifest_of(movie)
    page = (movie.manifests.load_current()[0].pages or [])[-1].hash
    movie.driver.delete(movie.blobs.stat(page).path)
    if noticed:
        assert movie.blobs.quarantine(page)
    movie.manifests.save_manifest(manifest, previous_hash=manifest.base_hash)
    check_whole(movie)


def test_the_base_of_another_index_is_not_relied_on(store: Store) -> None:
    """Where the newest revision of the index is not the base, every object is looked at."""
    movie = with_artefacts(store, 1_100)
    digest = movie.artefact("picture[1].image").hash
    manifest = next_manifest_of(movie)
    connection_of(movie).execute("UPDATE revisions SET hash = zeroblob(32)")
    with movie.metadata.read() as reader:
        assert reader.revisions.doubtful() == []
    movie.driver.delete(movie.blobs.stat(digest).path)
    with pytest.raises(BlobMissingError, match=digest):
        movie.manifests.save_manifest(manifest, previous_hash=manifest.base_hash)
