"""A root of movies: creating, listing and opening them; from threads, again and again, after a fork, and read-only."""

from __future__ import annotations

import json
import resource
import shutil
import threading
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor, wait
from pathlib import Path

import pytest

from renku_store import (
    DamageError,
    InvalidIdError,
    Movie,
    NotFoundError,
    RevisionExistsError,
    Store,
    StoreUnavailableError,
    UnsupportedFormatError,
    open_store,
)
from renku_store.durability import listening
from tests import children
from tests.authoring import LONG, check_whole, lose_database, opened, publish, texts
from tests.roots import Root


@pytest.fixture
def root(any_root: Root) -> Root:
    """A root with one movie of two revisions."""
    with open_store(any_root) as store:
        movie = store.create_movie("film")
        publish(movie, {"a": "one", "b": LONG}, {"voice": "en"})
        publish(movie, {"a": "two"})
    return any_root


def descriptors() -> int:
    return len([*Path("/proc/self/fd").iterdir()])


def test_a_movie_is_created_once(root: Root) -> None:
    """The second time it says so and harms nothing; its format is written down."""
    with open_store(root) as store:
        with pytest.raises(RevisionExistsError, match="film"):
            store.create_movie("film")
        assert texts(store.movie("film"))["a"] == "two"
    assert json.loads(root.driver().read("format.json")) == {"format": 1, "hash": "blake3"}


def test_a_new_movie_has_its_database_at_once(tmp_path: Path) -> None:
    """One complete file, where SQLite would make it step by step."""
    with open_store(tmp_path / "builds") as store:
        store.create_movie("before").close()  # the tables are made once in a process
        steps: Counter[str] = Counter()
        with listening(lambda moment, name: steps.update([name] if moment == "before" else [])):
            store.create_movie("film").close()
        assert (steps["file sync"], steps["object link"]) == (3, 2)
        assert (steps["database schema"], steps["database commit"]) == (0, 0)
        assert steps["database open"] == steps["database close"] == 1


def test_a_new_movie_takes_nothing_of_a_log_that_lies_there(tmp_path: Path) -> None:
    """SQLite applies a log to whatever database has the name: where there is one, no file takes that name."""
    with open_store(tmp_path) as store:
        publish(other := store.create_movie("other"), {"a": "one"})
        (tmp_path / "film").mkdir()
        shutil.copy(tmp_path / "other/metadata.db-wal", tmp_path / "film/metadata.db-wal")
        assert (tmp_path / "film/metadata.db-wal").stat().st_size > 0
        movie = store.create_movie("film")
        assert movie.events.latest_artefact("a") is None
        assert other.events.latest_artefact("a") is not None
        publish(movie, {"a": "two"})
        check_whole(movie)


@pytest.mark.parametrize("movie", ["", ".", "..", "a/b", "-a", ".a", "a" * 129, "ä", "a b", "a\n"])
def test_what_cannot_be_a_movie_is_refused_before_anything_is_made(any_root: Root, movie: str) -> None:
    """By create and by open alike."""
    with open_store(any_root) as store:
        for call in (store.create_movie, store.movie):
            with pytest.raises(InvalidIdError):
                call(movie)
        assert list(store.driver.children("")) == []
    assert not Path(any_root).exists()


@pytest.mark.parametrize("movie", ["tmp", "locks", "a..b", "A-1_x.y", "0", "a" * 128])
def test_unusual_names_are_movies_like_any_other(any_root: Root, movie: str) -> None:
    """Names that the store itself uses inside a movie, too."""
    with open_store(any_root) as store:
        publish(store.create_movie(movie), {"a": "one"})
        assert store.ids() == [movie]
    with opened(any_root, movie) as again:
        check_whole(again)


@pytest.mark.files
def test_only_folders_with_a_format_are_movies(root: Root) -> None:
    """Foreign folders and files, temporary and lock files, and a creation that was cut off are passed over."""
    for name in ("foreign/deep", "tmp", "locks", ".hidden", "with space", "cut-off/tmp"):
        (root / name).mkdir(parents=True)
    (root / ".hidden/format.json").write_text("{}")
    (root / "file").write_text("x")
    with open_store(root) as store:
        assert store.ids() == ["film"]
        assert [(found.id, found.revision, found.artefacts, found.bytes) for found in store.movies()] == [
            ("film", "rev-0002", 2, 3 + len(LONG))
        ]
        with pytest.raises(NotFoundError, match="cut-off"):
            store.movie("cut-off")
        assert store.create_movie("cut-off").manifests.current() is None
        with pytest.raises(NotFoundError) as caught:
            store.movie("flim")
        assert "film" in caught.value.hint


@pytest.mark.files
def test_a_list_of_many_movies_opens_none_of_them(root: Root) -> None:
    """A root may hold more movies than files can be open, and listing writes nothing."""
    lose_database(root)
    for number in range(60):
        shutil.copytree(root / "film", root / f"copy-{number}")
    before = sorted(root.folder.rglob("*"))
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    with open_store(root) as store:
        resource.setrlimit(resource.RLIMIT_NOFILE, (descriptors() + 20, hard))
        try:
            found = store.movies()
        finally:
            resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    assert len(found) == 61
    assert {(summary.revision, summary.artefacts) for summary in found} == {("rev-0002", 2)}
    assert sorted(root.folder.rglob("*")) == before


@pytest.mark.parametrize(
    "content", ["", "[]", "{}", '{"format":2,"hash":"blake3"}', '{"format":1,"hash":"sha256"}', '{"format":[1]}', "\0"]
)
def test_an_unknown_format_is_refused(root: Root, content: str) -> None:
    """By opening; a list names it and goes on."""
    root.driver().replace("format.json", content.encode())
    with open_store(root) as store:
        with pytest.raises(UnsupportedFormatError, match="film"):
            store.movie("film")
        assert [summary.id for summary in store.movies()] == ["film"]


def test_a_format_may_gain_fields(root: Root) -> None:
    """What a later version adds does not lock this one out."""
    root.driver().replace("format.json", b'{"format":1,"hash":"blake3","later":{}}')
    with opened(root) as movie:
        check_whole(movie)


@pytest.mark.files
@pytest.mark.parametrize("database", [True, False])
def test_a_read_only_root_reads_everything_published_and_writes_nothing(
    root: Root, tmp_path: Path, database: bool
) -> None:
    """With or without its index; an attempt to write says why, whatever it is."""
    if not database:
        lose_database(root)
    before = {path: path.stat().st_mtime_ns for path in root.folder.rglob("*")}
    ended = children.run(READ_ONLY, root, prefix=children.on_read_only(root.folder))
    assert (ended.code, ended.out) == (0, "rev-0002 two one 3\n"), ended.err
    assert {path: path.stat().st_mtime_ns for path in root.folder.rglob("*")} == before


READ_ONLY = """
    import sys
    from renku_store import StoreUnavailableError, open_store
    from tests.authoring import publish, texts
    with open_store(sys.argv[1]) as store:
        movie = store.movie("film")
        assert movie.read_only and store.movies()[0].revision == "rev-0002"
        refused = 0
        for write in (
            lambda: movie.events.append_input("voice", "fr"),
            lambda: movie.blobs.put(b"x"),
            lambda: store.create_movie("other"),
        ):
            try:
                write()
            except StoreUnavailableError:
                refused += 1
        print(movie.manifests.resolve("latest"), texts(movie)["a"], texts(movie, "rev-0001")["a"], refused)
"""


def test_threads_that_open_a_movie_at_once_get_the_same_one(root: Root) -> None:
    """One index is opened, not one for each; they publish through it without losing anything."""
    with open_store(root) as store, ThreadPoolExecutor(8) as pool:
        before = descriptors()
        movies = [*pool.map(lambda _: store.movie("film"), range(32))]
        assert len({id(movie) for movie in movies}) == 1
        assert descriptors() - before < 8
        edits = [*pool.map(lambda number: movies[0].events.append_input(f"i{number}", number), range(40))]
        assert len({edit.seq for edit in edits}) == 40
        assert len(movies[0].events.pending()) == 40


def test_opening_and_closing_leaves_nothing_open(root: Root) -> None:
    """However often; a closed movie says so, and is opened anew when asked for."""
    with opened(root):
        before = descriptors()
    for _ in range(10 if root.url.startswith("s3:") else 100):
        with opened(root) as movie:
            assert movie.manifests.load_current()[0].revision == "rev-0002"
    tick = threading.Event()
    for _ in range(6_000):  # connections to a server are closed in the background
        if descriptors() <= before:
            break
        tick.wait(0.05)
    assert descriptors() <= before
    with open_store(root) as store:
        closed = store.movie("film")
        closed.close()
        with pytest.raises(StoreUnavailableError, match="closed"):
            closed.events.append_input("voice", "x")
        assert store.movie("film") is not closed
        check_whole(store.movie("film"))


@pytest.mark.parametrize(
    "use",
    [
        lambda store: store.ids(),
        lambda store: store.movies(),
        lambda store: store.movie("film"),
        lambda store: store.create_movie("other"),
        lambda store: store.examine("film"),
        lambda store: store.rebuild("film"),
    ],
    ids=["ids", "movies", "movie", "create", "examine", "rebuild"],
)
def test_a_closed_store_says_so(tmp_path: Path, use: Callable[[Store], object]) -> None:
    """What it would open nobody would close; its movies say the same, and closing it again is no error."""
    with open_store(tmp_path) as store:
        movie = store.create_movie("film")
    with pytest.raises(StoreUnavailableError, match="was closed") as caught:
        use(store)
    assert caught.value.hint
    with pytest.raises(StoreUnavailableError, match="was closed"):
        movie.events.append_input("voice", "x")
    store.close()
    with open_store(tmp_path) as store:
        assert store.ids() == ["film"]


def test_a_movie_that_is_being_opened_is_closed_with_its_store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """`close` waits for it: it would stay open otherwise, with nobody who knows of it."""
    with open_store(tmp_path) as store:
        store.create_movie("film")
    opening, may_open = threading.Event(), threading.Event()
    really = Store._open

    def held_up(self: Store, movie: str) -> Movie:
        opening.set()
        may_open.wait(60)
        return really(self, movie)

    monkeypatch.setattr(Store, "_open", held_up)
    with ThreadPoolExecutor(2) as pool:
        store = open_store(tmp_path)
        asked = pool.submit(store.movie, "film")
        opening.wait(60)
        closing = pool.submit(store.close)
        wait([closing], timeout=0.2)
        may_open.set()
        closing.result()
        with pytest.raises(StoreUnavailableError, match="was closed"):
            asked.result().events.append_input("voice", "x")


FORK = """
    import os, sys
    from renku_store import StoreUnavailableError, open_store
    from tests.authoring import check_whole, opened, publish
    root = sys.argv[1]
    with open_store(root) as store:
        movie = store.movie("film")
        child = os.fork()
        if child == 0:
            try:
                store.movie("film").events.append_input("voice", "x")
            except StoreUnavailableError as error:
                assert "fork" in error.message
                with opened(root) as own:
                    publish(own, {"a": "child"})
                os._exit(0)
            os._exit(1)
        assert os.waitpid(child, 0)[1] == 0
        publish(movie, {"a": "parent"})
        check_whole(movie)
        print(movie.manifests.load_current()[0].revision)
"""


@pytest.mark.forks
def test_a_forked_child_opens_its_own_store(root: Root) -> None:
    """What the parent opened is refused by name, and the parent goes on unharmed."""
    ended = children.run(FORK, root)
    assert (ended.code, ended.out) == (0, "rev-0004\n"), ended.err


@pytest.mark.files
def test_a_movie_moves_and_changes_its_name_by_its_folder(root: Root) -> None:
    """Copied beside itself under another id it is read as before, with or without its index."""
    shutil.copytree(root / "film", root / "copy")
    shutil.copytree(root / "film", root / "bare")
    lose_database(root, "bare")
    for name in ("copy", "bare"):
        with opened(root, name) as movie:
            check_whole(movie)
            assert publish(movie, {"a": "three"}).revision == "rev-0003"
            check_whole(movie)


def test_a_root_that_is_a_file_or_of_an_unknown_kind_is_refused(tmp_path: Path) -> None:
    """By opening it, with the path in the sentence."""
    (tmp_path / "file").write_text("x")
    for root in (tmp_path / "file", tmp_path / "file/below", "nowhere://host/x"):
        with pytest.raises(StoreUnavailableError, match=r"file|nowhere"):
            open_store(root).create_movie("film")


def test_a_movie_that_an_init_left_empty_can_be_gone_on_with(any_root: Root) -> None:
    """Creating it again is refused, and the hint says how to give it a blueprint; one with revisions needs none."""
    any_root.driver().create("format.json", b'{"format":1,"hash":"blake3"}')
    with open_store(any_root) as store:
        with pytest.raises(RevisionExistsError) as caught:
            store.create_movie("film")
        assert "`renku-store set @blueprint @FILE`" in caught.value.hint
        movie = store.movie("film")
        assert movie.manifests.current() is None
        publish(movie, {"a": "one"})
        with pytest.raises(RevisionExistsError) as caught:
            store.create_movie("film")
        assert "@blueprint" not in caught.value.hint


def test_a_movie_that_has_lost_its_format_is_not_taken_for_a_new_one(any_root: Root) -> None:
    """Neither made anew nor unknown: damaged, and it says what belongs there."""
    with open_store(any_root) as store:
        publish(store.create_movie("film"), {"a": "one"})
    driver = any_root.driver()
    content = driver.read("format.json")
    driver.delete("format.json")
    with open_store(any_root) as store:
        for attempt in (store.movie, store.create_movie):
            with pytest.raises(DamageError, match=r"format\.json of film is missing") as caught:
                attempt("film")
            assert content.decode() in caught.value.hint
    assert driver.stat("format.json") is None


@pytest.mark.files
def test_a_folder_in_the_place_of_the_database_is_no_missing_database(root: Root) -> None:
    """A check is told so: the next opening cannot make it anew by itself."""
    lose_database(root)
    (root / "film/metadata.db").mkdir()
    with open_store(root) as store:
        with store.examine("film") as movie:
            assert isinstance(movie.problem, DamageError)
            assert "is a folder" in movie.problem.message
        store.rebuild("film")
        check_whole(store.movie("film"))
