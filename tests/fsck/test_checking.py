"""What a check reads and does not: samples, ages, budgets, memory; and that it leaves everything as it was."""

from __future__ import annotations

import shutil
import tracemalloc
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import msgspec.structs
import pytest

from renku_store import (
    CheckProgress,
    CheckReport,
    InvalidValueError,
    Movie,
    NotFoundError,
    RetentionPolicy,
    check_movie,
    collect,
    hash_bytes,
    open_store,
    prune,
)
from tests import children
from tests.authoring import LONG, lose_database, opened, publish
from tests.fsck.conftest import Film, flip

MANY = 60


@pytest.fixture
def movie(tmp_path: Path) -> Iterator[Movie]:
    """A movie of one revision with many blobs, none verified yet."""
    with open_store(tmp_path / "root") as store:
        movie = store.create_movie("film")
        publish(movie, {f"a{number}": f"{number} {LONG}" for number in range(MANY)})
        yield movie


def noted(movie: Movie) -> dict[str, int]:
    """When each blob was verified."""
    with movie.metadata.read() as reader:
        return reader.checks.verified(set(movie.blobs.digests()))


class Ticking:
    """A clock on which each question takes a second."""

    def __init__(self) -> None:
        self.seconds = 0.0

    def now(self) -> datetime:
        return datetime.now(UTC)

    def monotonic(self) -> float:
        self.seconds += 1
        return self.seconds


def test_a_sound_film_has_no_problem_and_every_blob_is_read(film: Film) -> None:
    """Beside the report, what was verified is noted."""
    report = film.check()
    stored = sum(path.stat().st_size for path in (film.folder / "blobs").rglob("*") if path.is_file())
    assert (report.ok, report.problems, report.notes, report.complete) == (True, [], [], True)
    assert (report.checked_bytes, report.skipped) == (stored, 0)
    with film.open() as movie:
        assert noted(movie).keys() == set(movie.blobs.digests())


def test_what_was_verified_lately_is_not_read_again(movie: Movie) -> None:
    """Until it is too long ago; what is new is read."""
    assert check_movie(movie).skipped == 0
    new = movie.blobs.put(b"new")
    report = check_movie(movie, max_age_seconds=3_600)
    assert (report.checked_bytes, report.skipped, report.complete) == (new.size, MANY, True)
    with movie.metadata.write():
        movie.metadata.connection.execute(  # type: ignore[attr-defined]
            "UPDATE verifications SET verified_at = verified_at - 7200000"
        )
    assert check_movie(movie, max_age_seconds=3_600).skipped == 0


def test_a_sample_is_a_part_and_can_be_drawn_again(movie: Movie) -> None:
    """The seed is said; the same seed reads the same blobs, another one others; structure is checked in full."""
    report = check_movie(movie, sample=0.5, seed=7)
    read = noted(movie).keys()
    assert 10 < len(read) < MANY - 10
    assert (report.skipped, report.complete) == (MANY - len(read), False)
    assert "seed 7" in report.notes[0]
    check_movie(movie, sample=0.5, seed=7)
    assert noted(movie).keys() == read
    check_movie(movie, sample=0.5, seed=8)
    assert noted(movie).keys() > read
    gone = next(iter(movie.blobs.digests()))
    Path(movie.root, "film", movie.blobs.stat(gone).path).unlink()
    assert [problem.invariant for problem in check_movie(movie, sample=0.0).problems] == [5]


def test_a_budget_reads_what_was_verified_least_recently_first(movie: Movie) -> None:
    """It stops when the time is up; the next one goes on from there, until it has read everything."""
    ticking = msgspec.structs.replace(movie, clock=Ticking())
    report = check_movie(ticking, budget_seconds=20)
    first = noted(movie)
    assert 0 < len(first) < MANY
    assert (report.complete, report.skipped) == (False, MANY - len(first))
    for _ in range(4):
        report = check_movie(msgspec.structs.replace(movie, clock=Ticking()), budget_seconds=20)
    now = noted(movie)
    assert len(now) == MANY
    assert any(now[digest] > when for digest, when in first.items())
    assert check_movie(movie, budget_seconds=3_600).complete


@pytest.mark.parametrize(
    "extent", [{"sample": 1.1}, {"sample": float("nan")}, {"max_age_seconds": -1}, {"budget_seconds": float("inf")}]
)
def test_an_extent_that_is_none_is_refused(movie: Movie, extent: dict[str, float]) -> None:
    """By name, before anything is read."""
    with pytest.raises(InvalidValueError):
        check_movie(movie, **extent)  # type: ignore[arg-type]


def test_it_tells_how_far_it_is(movie: Movie) -> None:
    """Every step, with the bytes read so far."""
    told: list[CheckProgress] = []
    report = check_movie(movie, on_progress=told.append)
    assert {"database", "revisions", "archives", "blobs"} <= {progress.step for progress in told}
    assert max(progress.bytes for progress in told) == report.checked_bytes


def test_nothing_changes_but_when_blobs_were_verified(film: Film) -> None:
    """Neither files nor rows, whatever is wrong with them: what opening repairs stays as it is, too."""
    (film.folder / "current.json").unlink()
    flip(film.blob("cut.video"))
    (film.folder / "tmp").mkdir(exist_ok=True)
    (film.folder / "tmp/left").write_text("half")
    before, rows = film.files(), film.rows()
    for _ in range(2):
        assert {problem.invariant for problem in film.check().problems} == {1, 7}
    assert film.files() == before
    assert film.rows() == rows


def test_without_a_database_only_objects_are_checked_and_none_is_made(film: Film) -> None:
    """That is no problem by itself: opening makes it anew. Damage is found all the same."""
    lose_database(film.root)
    before = film.files()
    report = film.check()
    assert report.ok
    assert "There is no metadata.db" in report.notes[0]
    path = film.blob("speak[0].audio")
    flip(path)
    [problem] = film.check().problems
    assert (problem.invariant, problem.artefacts, problem.revisions) == (1, ["speak[0].audio"], ["rev-0003"])
    flip(path)
    assert film.files() == before
    assert not list(film.folder.glob("metadata.db*"))


def test_with_a_database_that_is_none_objects_are_checked(film: Film) -> None:
    """The damage of an object stands beside that of the database."""
    lose_database(film.root)
    (film.folder / "metadata.db").write_bytes(b"garbage " * 1_000)
    flip(film.blob("speak[0].audio"))
    assert [problem.invariant for problem in film.check().problems] == [1, 11]
    assert (film.folder / "metadata.db").read_bytes() == b"garbage " * 1_000


READ_ONLY = """
    import sys
    from renku_store import check_movie, open_store
    with open_store(sys.argv[1]) as store, store.examine("film") as movie:
        report = check_movie(movie)
        print(movie.driver.read_only, [problem.invariant for problem in report.problems], report.checked_bytes > 0)
"""


@pytest.mark.parametrize("database", [True, False])
def test_a_read_only_root_is_checked_like_any_other(film: Film, database: bool) -> None:
    """Nothing is written there, not even beside the database."""
    flip(film.blob("speak[0].audio"))
    if not database:
        lose_database(film.root)
    before = sorted((str(path), path.stat().st_mtime_ns) for path in film.root.rglob("*"))
    ended = children.run(READ_ONLY, film.root, prefix=children.on_read_only(film.root))
    assert (ended.code, ended.out) == (0, "True [1] True\n"), ended
    assert sorted((str(path), path.stat().st_mtime_ns) for path in film.root.rglob("*")) == before


def test_a_database_of_an_older_version_is_checked_and_not_upgraded(film: Film, checkout: Path) -> None:
    """What the missing tables would say is read from a private copy."""
    assert film.check().ok
    first = (checkout / "schema/sql/sqlite/0001_initial.sql").read_text()
    with film.open() as movie:
        assert movie.manifests.load_current()
    film.downgrade(first)
    before = (film.folder / "metadata.db").read_bytes()
    report = film.check()
    assert report.ok, report
    assert (film.folder / "metadata.db").read_bytes() == before


def test_a_movie_that_is_not_there_is_not_made(tmp_path: Path) -> None:
    """By name, with the nearest."""
    with open_store(tmp_path) as store, pytest.raises(NotFoundError):
        store.examine("film")
    assert list(tmp_path.iterdir()) == []


def test_a_movie_without_a_revision_is_sound(tmp_path: Path) -> None:
    """Nothing is missing where nothing was promised."""
    with open_store(tmp_path) as store:
        store.create_movie("film").close()
        with store.examine("film") as movie:
            assert check_movie(movie).ok


def test_leftovers_of_a_crash_that_the_next_opening_repairs_are_notes(film: Film) -> None:
    """A pointer and an index that are behind."""
    behind = (film.folder / "current.json").read_bytes()
    shutil.copy(film.folder / "metadata.db", film.root / "earlier.db")
    with film.open() as movie:
        publish(movie, {"more": LONG})
    (film.folder / "current.json").write_bytes(behind)
    report = film.check()
    assert report.ok
    assert any("names rev-0003, the newest is rev-0004" in note for note in report.notes)
    lose_database(film.root)
    shutil.copy(film.root / "earlier.db", film.folder / "metadata.db")
    report = film.check()
    assert any("The index is behind" in note for note in report.notes)
    film.obey("renku-store fsck --repair")
    report = film.check()
    assert (report.ok, report.notes) == (True, [])


def test_pages_of_large_manifests_are_checked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A damaged page is found though bytes are not read, with its revisions; what only a page names is needed."""
    monkeypatch.setattr("renku_store.bounds.MANIFEST_PAGE_MIN_ARTEFACTS", 2)
    with open_store(tmp_path / "root") as store:
        movie = store.create_movie("film")
        publish(movie, {f"a{number}": f"{number} " + LONG for number in range(4)})
        publish(movie, {"b": "more " + LONG})
        lost = movie.manifests.load("latest").artefacts["a2"]
        Path(movie.root, "film", movie.blobs.stat(lost.hash).path).unlink()
        [problem] = check_movie(movie, sample=0.0).problems
        assert (problem.invariant, problem.artefacts) == (5, ["a2"])
        assert problem.revisions == ["rev-0001", "rev-0002"]
        movie.blobs.put(f"2 {LONG}".encode())
        page = (movie.manifests.load("rev-0001").pages or [])[0]
        flip(Path(movie.root, "film", movie.blobs.stat(page.hash).path))
        [problem] = check_movie(movie, sample=0.0).problems
        assert (problem.invariant, problem.revisions) == (1, ["rev-0001"])
        assert "the page of rev-0001" in problem.message
        assert problem.repair == "renku-store fsck --repair; renku-store prune --expire rev-0001"


def test_what_only_the_trash_holds_is_a_note(film: Film) -> None:
    """An expired revision promises nothing any more; bytes that are wrong are a problem wherever they are."""
    lost, damaged = film.blob("cut.video", 1), film.blob("speak[1].audio", 1)
    assert film.call("prune", "--expire", "rev-0001").code == 0
    lost.unlink()
    film.sql(f"DELETE FROM blobs WHERE hash = unhex('{lost.name.removesuffix('.zst')}')")
    report = film.check()
    assert report.ok
    assert "only rev-0001 in the trash named it" in report.notes[0]
    flip(damaged)
    assert [problem.repair for problem in film.check().problems] == ["renku-store fsck --repair"]
    film.obey("renku-store fsck --repair")
    assert film.check().ok


def test_a_graph_or_blueprint_that_is_a_list_of_problems_is_bounded(
    film: Film, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Beyond a bound, problems are counted and not listed."""
    monkeypatch.setattr("renku_store.bounds.FSCK_PROBLEMS_MAX", 2)
    for path in [path for path in (film.folder / "blobs").rglob("*") if path.is_file()]:
        path.unlink()
    report = film.check()
    assert len(report.problems) == 2
    assert "Problems that are not listed: " in report.notes[-1]


def _peak(root: Path, blobs: int) -> tuple[int, CheckReport]:
    with open_store(root) as store:
        movie = store.create_movie("film")
        movie.blobs.put_many(b"%d" % number for number in range(blobs))
        publish(movie, {"a": LONG})
        movie.close()
        with store.examine("film") as examined:
            check_movie(examined, sample=0.0)
            tracemalloc.start()
            try:
                report = check_movie(examined)
                return tracemalloc.get_traced_memory()[1], report
            finally:
                tracemalloc.stop()


def test_memory_does_not_grow_with_blobs_that_nothing_names(tmp_path: Path) -> None:
    """Four times the blobs, about the same peak: one folder of 256 is held at a time."""
    few, report = _peak(tmp_path / "few", 2_000)
    many, more = _peak(tmp_path / "many", 8_000)
    assert (report.ok, more.ok) == (True, True)
    assert many < few * 1.3 + 300_000


def test_memory_does_not_grow_with_the_size_of_a_blob(tmp_path: Path) -> None:
    """Sixty-four megabytes, plain and compressed, in a few."""
    with opened_with(tmp_path / "root", 64 * 1_048_576) as movie:
        tracemalloc.start()
        try:
            report = check_movie(movie)
            peak = tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()
    assert report.ok
    assert peak < 8 * 1_048_576


def opened_with(root: Path, size: int) -> Movie:
    import os

    with open_store(root) as store:
        movie = store.create_movie("film")
        movie.blobs.put(os.urandom(size))
        movie.blobs.put(os.urandom(1_000) * (size // 1_000))
    return open_store(root).examine("film")


def test_an_opened_movie_is_checked_as_well(film: Film) -> None:
    """Not only an examined one."""
    with opened(film.root) as movie:
        assert check_movie(movie).ok


def _three(root: Path) -> tuple[Path, Path]:
    """The manifests of the second and third revision of a movie of three."""
    with open_store(root) as store:
        movie = store.create_movie("film")
        for text in ("one", "two", "three"):
            publish(movie, {"a": text})
    older, newest = (root / f"film/manifests/rev-000{number}.json" for number in (2, 3))
    return older, newest


@pytest.mark.parametrize("kept", [True, False])
def test_lost_manifests_come_back_byte_for_byte(tmp_path: Path, kept: bool) -> None:
    """The index has the bytes of the newest one, and what it takes to make others anew; their hash proves them."""
    film = Film(tmp_path / "root")
    older, newest = _three(film.root)
    before = {path: path.read_bytes() for path in (older, newest)}
    newest.unlink()
    older.write_bytes(before[older][:-9])
    if not kept:
        film.sql("DELETE FROM newest_manifest")
    lost = {problem.object: problem.repair for problem in film.check().problems if "manifests/" in problem.object}
    assert set(lost.values()) == {"renku-store fsck --repair"}
    assert len(lost) == 2
    film.obey("renku-store fsck --repair")
    assert {path: path.read_bytes() for path in (older, newest)} == before
    assert film.check().ok


def test_an_older_manifest_that_cannot_be_made_anew_can_be_let_go(tmp_path: Path) -> None:
    """Once the newest is back, if that is lost, too; and a copy is named beside it."""
    film = Film(tmp_path / "root")
    older, newest = _three(film.root)
    older.unlink()
    newest.unlink()
    film.sql("UPDATE revisions SET made = 9 WHERE number = 2")
    found = {problem.object: problem for problem in film.check().problems if "manifests/" in problem.object}
    lost = found["manifests/rev-0002.json"]
    assert lost.repair == "renku-store fsck --repair; renku-store prune --expire rev-0002"
    assert "fsck --repair --from PATH" in lost.message
    film.obey(lost.repair)
    assert film.check().ok


def test_while_the_newest_manifest_is_lost_for_good_only_a_copy_is_offered(tmp_path: Path) -> None:
    """No command could let an older one go: it is nobody's to say then what the newest is."""
    film = Film(tmp_path / "root")
    older, newest = _three(film.root)
    newest.unlink()
    older.unlink()
    film.sql("DELETE FROM newest_manifest", "UPDATE revisions SET made = 9")
    found = {problem.object: problem.repair for problem in film.check().problems}
    lost = {name: repair for name, repair in found.items() if name.startswith("manifests/")}
    assert set(lost.values()) == {"renku-store fsck --repair --from PATH"}
    assert len(lost) == 2


def test_spans_and_lost_manifests_of_large_revisions(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Pages that most revisions share, revisions between them that expired: no false alarm, and the same bytes."""
    monkeypatch.setattr("renku_store.bounds.MANIFEST_PAGE_MIN_ARTEFACTS", 2)
    cuts = [number for number in range(2_000) if hash_bytes(f"a{number:04}".encode()).startswith("00")][:3]
    ids = [f"a{cut + beside:04}" for cut in cuts for beside in range(3)]
    film = Film(tmp_path / "root")
    with open_store(film.root) as store:
        movie = store.create_movie("film")
        publish(movie, {name: f"{number % 3} " + LONG for number, name in enumerate(ids)})
        for number in range(4):
            publish(movie, {ids[number]: f"new {number} " + LONG, ids[-1 - number]: "1 " + LONG})
        assert len(movie.manifests.load("latest").pages or ()) >= 3
        prune(movie, RetentionPolicy(), expire=["rev-0002"])
        collect(movie, trash_seconds=0, force=True)
        assert check_movie(movie).ok
    path = film.folder / "manifests/rev-0004.json"
    data = path.read_bytes()
    path.unlink()
    film.obey("renku-store fsck --repair")
    assert path.read_bytes() == data
    film.obey("renku-store rebuild")
    assert film.check().ok
    [(digest, first)] = film.ask("SELECT hex(hash), first FROM manifest_blobs WHERE last = 3 LIMIT 1")
    film.sql(f"UPDATE manifest_blobs SET last = 4 WHERE hash = unhex('{digest}') AND first = {first}")
    [problem] = film.check().problems
    assert (problem.object, problem.revisions) == ("manifest_blobs", ["rev-0003", "rev-0004"])
