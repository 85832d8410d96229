"""Repair on opening: pointer, index, or the whole database from the objects; by several at once, and beside damage."""

from __future__ import annotations

import asyncio
import json
import shutil
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from renku_store import (
    BlobMissingError,
    DamageError,
    Movie,
    Store,
    abandon,
    movie_status,
    open_store,
    run_movie,
    set_inputs,
)
from renku_store.archives import archive_path
from renku_store.hashing import hash_bytes, manifest_content_hash
from renku_store.records._base import Json
from renku_store.records.manifest import Manifest
from tests import children
from tests.authoring import (
    LONG,
    check_whole,
    intend,
    intents,
    lose_database,
    next_one,
    opened,
    publish,
    read_by_another_hand,
    texts,
)
from tests.running.conftest import BLUEPRINT, Studio

SEGMENTS: list[Json] = [{"text": text, "title": text.upper()} for text in ("one", "two", "three")]


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return tmp_path / "root"


@pytest.fixture
def store(root: Path) -> Iterator[Store]:
    with open_store(root) as store:
        yield store


@pytest.fixture
def studio() -> Studio:
    return Studio()


@pytest.fixture
def movie(store: Store) -> Movie:
    """A movie of one revision."""
    movie = store.create_movie("film")
    publish(movie, {"a": "one", "b": LONG}, {"voice": "en"})
    return movie


@pytest.fixture
def film(store: Store) -> Movie:
    """A movie with a blueprint, not run yet."""
    movie = store.create_movie("film")
    set_inputs(movie, {"@blueprint": BLUEPRINT, "segments": SEGMENTS})
    return movie


def test_a_revision_published_on_one_that_was_never_booked_books_both(movie: Movie) -> None:
    """Its publisher died before the bookkeeping; a process that has the movie open goes on from there."""
    movie.driver.create("manifests/rev-0002.json", intend(movie, next_one(movie, "ours")[0]).manifest)
    assert publish(movie, {"c": "three"}).revision == "rev-0003"
    assert intents(movie) == []
    check_whole(movie)


@pytest.mark.parametrize("pointer", ["missing", "behind", "garbage", "wrong hash"])
def test_opening_puts_the_pointer_right(root: Path, movie: Movie, pointer: str) -> None:
    """Whatever it says; a reader of another kind then sees the newest."""
    current = root / "film/current.json"
    behind = current.read_bytes()
    publish(movie, {"a": "two"})
    movie.close()
    if pointer == "missing":
        current.unlink()
    elif pointer == "behind":
        current.write_bytes(behind)
    else:
        current.write_bytes(b"{" if pointer == "garbage" else current.read_bytes().replace(b'"hash":"', b'"hash":"0'))
    with opened(root) as again:
        check_whole(again)
        assert read_by_another_hand(root)["a"] == "two"


def test_a_wrong_hash_in_the_pointer_is_put_right_from_the_index(root: Path, movie: Movie) -> None:
    """Index and manifest agree: it is the pointer that is wrong. A manifest that is wrong never makes it into one."""
    publish(movie, {"a": "two"})
    movie.close()
    current, manifest = root / "film/current.json", root / "film/manifests/rev-0002.json"
    right = json.loads(current.read_bytes())
    current.write_bytes(json.dumps({**right, "hash": "0" * 64}).encode())
    with opened(root) as again:
        check_whole(again)
    manifest.write_bytes(manifest.read_bytes().replace(b"two", b"owt"))
    with opened(root):
        assert json.loads(current.read_bytes())["hash"] == right["hash"]


def test_an_index_that_is_behind_catches_up(root: Path, movie: Movie, tmp_path: Path) -> None:
    """A database of an earlier day, as from a backup, beside the manifests of today."""
    movie.close()
    shutil.copytree(root, tmp_path / "before")
    with opened(root) as later:
        publish(later, {"a": "two", "c": LONG}, {"voice": "fr"})
        publish(later, {"a": "three"}, {"voice": None})
    lose_database(root)
    shutil.copy(tmp_path / "before/film/metadata.db", root / "film/metadata.db")
    with opened(root) as again:
        check_whole(again)
        latest = again.events.latest_input("voice")
        assert latest is not None
        assert latest.value is None
        assert again.events.pending() == []


def check_history(movie: Movie) -> None:
    """What the movie of the next tests is."""
    check_whole(movie)
    assert [manifest.inputs["voice"].value for manifest, _ in movie.manifests.revisions()] == ["pt", "it", "fr"]
    for revision, value in (("rev-0001", "fr"), ("rev-0002", "it"), ("rev-0003", "pt")):
        edit = movie.events.latest_input("voice", revision)
        assert edit is not None
        assert edit.value == value
    latest = movie.events.latest_input("voice")
    assert latest is not None
    assert latest.value == "de"
    assert [(edit.input, edit.value) for edit in movie_status(movie).pending] == [("voice", "de")]
    [failed] = movie_status(movie).runs
    assert (failed.status, failed.base_revision, failed.alive) == ("failed", "rev-0003", False)


def tell_a_history(movie: Movie, studio: Studio) -> None:
    """Runs with edits, with private inputs, resumed after a later one was published, and one that failed."""
    studio.broken = {"film"}
    run = asyncio.run(run_movie(movie, produce=studio, inputs={"voice": "en"}))
    assert run.status == "failed"
    set_inputs(movie, {"voice": "fr"})
    studio.broken = set()
    with movie.leases.held(movie.leases.take_over(run.run or "")):
        assert asyncio.run(run_movie(movie, produce=studio)).revision == "rev-0001"
    abandon(movie, run.run or "")
    assert asyncio.run(run_movie(movie, produce=studio, inputs={"voice": "it"})).revision == "rev-0002"
    set_inputs(movie, {"voice": "pt"})
    assert asyncio.run(run_movie(movie, produce=studio)).revision == "rev-0003"
    set_inputs(movie, {"voice": "de"})
    studio.broken = {"film"}
    assert asyncio.run(run_movie(movie, produce=studio)).status == "failed"
    check_history(movie)


def test_without_its_database_a_movie_comes_back_whole(root: Path, film: Movie, studio: Studio) -> None:
    """Revisions, history of inputs, archived pending edits, failed runs, reuse: all of it; twice is no harm."""
    tell_a_history(film, studio)
    before = {(event.type, event.id) for event in film.events.stream() if event.type != "run"}
    film.close()
    for _ in range(2):
        lose_database(root)
        with opened(root) as again:
            check_history(again)
            assert {(event.type, event.id) for event in again.events.stream() if event.type != "run"} == before
            again.committer.repair()
            check_history(again)
    with opened(root) as again:
        studio.broken, failed = set(), movie_status(again).runs[0].run
        studio.calls.clear()
        report = asyncio.run(run_movie(again, produce=studio))
        assert (report.status, report.run, dict(studio.calls)) == ("published", failed, {"film": 1})
        check_whole(again)


def test_edits_come_back_in_the_order_in_which_revisions_took_them(root: Path, film: Movie, studio: Studio) -> None:
    """An old run that is resumed takes a late edit: that is the latest, though the run's id is the smaller."""
    studio.broken = {"film"}
    old = asyncio.run(run_movie(film, produce=studio)).run or ""
    studio.broken = set()
    set_inputs(film, {"voice": "early"})
    with film.leases.held(film.leases.take_over(old)):
        assert asyncio.run(run_movie(film, produce=studio)).run > old  # type: ignore[operator]
    set_inputs(film, {"voice": "late"})
    assert asyncio.run(run_movie(film, produce=studio)).run == old
    film.close()
    lose_database(root)
    with opened(root) as again:
        check_whole(again)
        latest = again.events.latest_input("voice")
        assert latest is not None
        assert latest.value == "late"


def test_without_its_database_and_some_blobs_what_is_left_still_opens(root: Path, film: Movie, studio: Studio) -> None:
    """The missing is made again when asked for; the rest is reused."""
    set_inputs(film, {"segments": [{"text": "x" * 3_000, "title": "ONE"}, *SEGMENTS[1:]]})
    asyncio.run(run_movie(film, produce=studio))
    entry = film.manifests.load("latest").artefacts["say[0].audio"]
    film.close()
    lose_database(root)
    for path in (root / "film/blobs").rglob(entry.hash + "*"):
        path.unlink()
    with opened(root) as again:
        check_index_only(again)
        studio.calls.clear()
        report = asyncio.run(run_movie(again, produce=studio))
        assert (report.status, dict(studio.calls)) == ("unchanged", {"say[0]": 1})
        check_whole(again)


def check_index_only(movie: Movie) -> None:
    with movie.metadata.read() as reader:
        newest = reader.revisions.newest()
    assert newest is not None
    assert newest.hash == movie.manifests.load_current()[1]


def test_damage_beside_a_lost_database_does_not_keep_a_movie_from_opening(root: Path, movie: Movie) -> None:
    """A damaged archive, a damaged old manifest: what else was published is read as ever."""
    publish(movie, {"a": "two"}, {"voice": "fr"})
    publish(movie, {"a": "three"})
    runs = [manifest.run for manifest, _ in movie.manifests.revisions()]
    movie.close()
    lose_database(root)
    (root / "film" / archive_path(runs[1])).write_bytes(b"\x28")
    with opened(root) as again:
        assert texts(again)["a"] == "three"
        assert len([*again.manifests.revisions()]) == 3
    lose_database(root)
    second = root / "film/manifests/rev-0002.json"
    second.write_bytes(second.read_bytes()[:-9])
    with opened(root) as again:
        assert texts(again) == {"a": "three", "b": LONG}
        assert texts(again, "rev-0001")["a"] == "one"
        assert publish(again, {"a": "four"}).revision == "rev-0004"


REPAIR = """
    import sys
    from pathlib import Path
    from tests.authoring import check_whole, opened
    with opened(Path(sys.argv[1])) as movie:
        check_whole(movie)
        print(sum(1 for event in movie.events.stream() if event.type == "run" and event.kind == "published"))
"""


def test_four_processes_that_repair_at_once_repair_once(root: Path, film: Movie, studio: Studio) -> None:
    """No revision is booked, and no event appended, twice."""
    for voice in ("en", "fr", "it"):
        set_inputs(film, {"voice": voice})
        asyncio.run(run_movie(film, produce=studio))
    film.close()
    lose_database(root)
    together = [children.start(REPAIR, root) for _ in range(4)]
    ended = [children.finish(child) for child in together]
    assert [(child.code, child.out) for child in ended] == [(0, "3\n")] * 4, ended


def test_an_artefact_that_a_revision_has_no_more_is_not_found_in_it(movie: Movie) -> None:
    """By revision, the look-up says what the manifest says."""
    manifest, base = next_one(movie, "two")
    without = {key: entry for key, entry in manifest.artefacts.items() if key != "b"}
    built = movie.manifests.build_from_events("rev-0002")
    from_scratch = Manifest.from_json(
        {**manifest.to_json(), "artefacts": {key: held.to_json() for key, held in without.items()}, "run": built.run}
    )
    sound = from_scratch.replace(content_hash=manifest_content_hash(from_scratch), archive=None)
    movie.manifests.save_manifest(sound, previous_hash=base)
    assert movie.events.latest_artefact("b", "rev-0001") is not None
    assert movie.events.latest_artefact("b", "rev-0002") is None
    assert hash_bytes(LONG.encode()) in {event.value.hash for event in movie.events.stream_artefacts() if event.value}
    check_whole(movie)


def test_the_number_of_a_revision_whose_manifest_is_lost_is_not_given_out_again(root: Path, movie: Movie) -> None:
    """The index knows that it was there: nothing is planned or published, the pointer stays, older ones are read."""
    publish(movie, {"a": "two"})
    movie.close()
    pointer = (root / "film/current.json").read_bytes()
    lost = root / "film/manifests/rev-0002.json"
    data = lost.read_bytes()
    lost.unlink()
    with opened(root) as again:
        newest = again.manifests
        for look in (newest.current, lambda: list(newest.history()), lambda: newest.resolve("latest")):
            with pytest.raises(BlobMissingError, match="rev-0002"):
                look()
        with pytest.raises(BlobMissingError, match="rev-0002"):
            publish(again, {"a": "three"})
        assert texts(again, "rev-0001")["a"] == "one"
    assert (root / "film/current.json").read_bytes() == pointer
    assert not lost.exists()
    lost.write_bytes(data)
    with opened(root) as again:
        check_whole(again)
        assert publish(again, {"a": "three"}).revision == "rev-0003"


def test_an_index_that_has_lost_its_revisions_is_named_as_damaged(root: Path, movie: Movie) -> None:
    """It cannot be caught up with; the hint is the command that makes it anew, and that does."""
    movie.close()
    with closing(sqlite3.connect(root / "film/metadata.db")) as database:
        database.execute("DELETE FROM revisions")
        database.commit()
    with open_store(root) as store:
        with pytest.raises(DamageError, match="rev-0001") as caught:
            store.movie("film")
        assert "renku-store rebuild" in caught.value.hint
        store.rebuild("film")
        check_whole(store.movie("film"))
