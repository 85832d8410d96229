"""Many small files at a time: the compiled part does what the way of a single file does, and stops where it must."""

from __future__ import annotations

import contextlib
import errno
import os
import re
import sys
import threading
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from renku_store import InvalidValueError, NotFoundError, StoreUnavailableError, bounds
from renku_store.blobs import BlobStore
from renku_store.drivers import bulk
from renku_store.drivers.bulk import HANDED_FILES, SMALL_MAX_BYTES, Compiled, WritingBehind, encoded, one_by_one
from renku_store.drivers.local import LocalDriver
from renku_store.drivers.tree import Tree
from renku_store.durability import listening
from renku_store.hashing import hash_bytes
from renku_store.metadata.sqlite import open_sqlite
from tests import children

pytestmark = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="compiled for Linux only")
AT_ONCE = 1_024
"""Items that the compiled part takes at a time."""


@pytest.fixture
def compiled() -> Compiled:
    """What `make check` has compiled."""
    found = bulk.compiled()
    assert found is not None, "renku_store/drivers/_bulk.c is not compiled: install the checkout (make check)"
    return found


@pytest.fixture
def blobs(tmp_path: Path) -> Iterator[BlobStore]:
    """A store of blobs on a folder."""
    (tmp_path / "root").mkdir()
    metadata = open_sqlite(tmp_path / "root" / "metadata.db")
    yield BlobStore(LocalDriver(tmp_path / "root"), metadata)
    metadata.close()


def paths_below(folder: Path, count: int) -> list[bytes]:
    return [os.fsencode(folder / f"{number}") for number in range(count)]


# The functions


def test_files_are_made_with_their_contents_and_no_others(compiled: Compiled, tmp_path: Path) -> None:
    """Up to the end or 1,024 of them; an empty one too."""
    paths = paths_below(tmp_path, AT_ONCE + 2)
    contents = [b"%d" % number * (number % 7) for number in range(len(paths))]
    assert compiled.write_new(paths, contents, 0) == AT_ONCE
    assert compiled.write_new(paths, contents, AT_ONCE) == len(paths)
    assert compiled.write_new(paths, contents, len(paths)) == len(paths)
    assert [Path(os.fsdecode(path)).read_bytes() for path in paths] == contents
    assert len([*tmp_path.iterdir()]) == len(paths)


def test_a_file_that_is_there_is_left_alone(compiled: Compiled, tmp_path: Path) -> None:
    """Nothing is written to it, nor to those after it."""
    (tmp_path / "1").write_bytes(b"another's")
    assert compiled.write_new(paths_below(tmp_path, 3), [b"a", b"b", b"c"], 0) == 1
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == {"0": b"a", "1": b"another's"}


LIMITED = """
    import resource, sys
    from renku_store.drivers import _bulk
    folder, limit = sys.argv[1], int(sys.argv[2])
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
    paths = [f"{folder}/{number}".encode() for number in range(3)]
    print(_bulk.write_new(paths, [b"small", b"x" * (limit + 1), b"small"], 0))
"""


def test_of_a_file_that_cannot_be_written_whole_nothing_is_left(tmp_path: Path) -> None:
    """A part of it is written before the limit is met."""
    ended = children.run(LIMITED, tmp_path, 5_000)
    assert (ended.code, ended.out) == (0, "1\n"), ended.err
    assert [path.name for path in tmp_path.iterdir()] == ["0"]


def test_files_are_renamed_where_the_name_is_free(compiled: Compiled, tmp_path: Path) -> None:
    """A name that is taken, or whose folder is missing, ends it there, with nothing done to that file."""
    sources, targets = paths_below(tmp_path / "from", 5), paths_below(tmp_path / "to", 5)
    (tmp_path / "from").mkdir()
    for path in sources:
        Path(os.fsdecode(path)).write_bytes(path)
    assert compiled.rename_new(sources, targets, 0) == 0
    (tmp_path / "to").mkdir()
    (tmp_path / "to" / "3").write_bytes(b"another's")
    assert compiled.rename_new(sources, targets, 1) == 3
    assert sorted(path.name for path in (tmp_path / "from").iterdir()) == ["0", "3", "4"]
    assert (tmp_path / "to" / "3").read_bytes() == b"another's"


def test_looking_tells_size_and_time_of_regular_files(compiled: Compiled, tmp_path: Path) -> None:
    """Nothing of folders and of what is missing; a name that cannot be looked at ends it."""
    (tmp_path / "file").write_bytes(b"four")
    os.utime(tmp_path / "file", ns=(0, 1_234_567_890_123_456_789))
    (tmp_path / "folder").mkdir()
    (tmp_path / "link").symlink_to("file")
    folder = os.open(tmp_path, os.O_RDONLY)
    try:
        names = [b"file", b"folder", b"missing", b"file/below", b"link", b"n" * 300, b"file"]
        seen = (4, (tmp_path / "file").stat().st_mtime)
        assert compiled.look(folder, names, 0) == [seen, None, None, None, seen]
        assert compiled.look(folder, names, 5) == []
        assert compiled.look(folder, names, 6) == [seen]
    finally:
        os.close(folder)


def test_small_files_are_read_and_all_else_is_left(compiled: Compiled, tmp_path: Path) -> None:
    """Large ones, folders, pipes that nobody writes to, what is missing, and what says that it is empty and is not."""
    contents = {"empty": b"", "small": b"small", "just": b"j" * 100, "large": b"l" * 101}
    for name, content in contents.items():
        (tmp_path / name).write_bytes(content)
    os.mkfifo(tmp_path / "pipe")
    given = [*(tmp_path / name for name in contents), tmp_path / "pipe", tmp_path, tmp_path / "missing"]
    given += [Path("/proc/self/stat"), tmp_path / "small"]
    found = compiled.read_small([os.fsencode(path) for path in given], 100)
    assert found == [b"", b"small", b"j" * 100, None, None, None, None, None, b"small"]


@pytest.mark.parametrize(
    ("name", "arguments", "error"),
    [
        ("write_new", ((), [], 0), TypeError),
        ("write_new", (["text"], [b""], 0), TypeError),
        ("write_new", ([b"zero\0byte"], [b""], 0), ValueError),
        ("write_new", ([b"a"], [], 0), ValueError),
        ("write_new", ([b"a"], [b""], 2), ValueError),
        ("write_new", ([b"a"], [b""], -1), ValueError),
        ("rename_new", ([b"a"], [b"b", b"c"], 0), ValueError),
        ("rename_new", ([b"a"], [None], 0), TypeError),
        ("look", ("folder", [], 0), TypeError),
        ("look", (0, [b"zero\0byte"], 0), ValueError),
        ("read_small", ([b"a"], -1), ValueError),
        ("read_small", ([1], 10), TypeError),
    ],
)
def test_wrong_arguments_are_refused_before_anything_is_done(
    compiled: Compiled,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    name: str,
    arguments: tuple[object, ...],
    error: type[Exception],
) -> None:
    """By an exception of Python's."""
    monkeypatch.chdir(tmp_path)
    with pytest.raises(error):
        getattr(compiled, name)(*arguments)
    assert [*tmp_path.iterdir()] == []


def test_while_somebody_watches_calls_there_are_no_compiled_ones(compiled: Compiled) -> None:
    """Neither within `one_by_one` nor while a listener hears of steps."""
    with one_by_one():
        assert bulk.compiled() is None
    with listening(lambda moment, name: None):
        assert bulk.compiled() is None
    assert bulk.compiled() is compiled


# Putting


PUT = """
    import contextlib, sys
    from pathlib import Path
    from renku_store.blobs import BlobStore
    from renku_store.drivers import bulk
    from renku_store.drivers.local import LocalDriver
    from renku_store.metadata.sqlite import open_sqlite
    root, way = Path(sys.argv[1]), sys.argv[2]
    metadata = open_sqlite(root / "metadata.db")
    with bulk.one_by_one() if way == "one" else contextlib.nullcontext():
        BlobStore(LocalDriver(root), metadata).put_many(b"content %d" % number for number in range(1_200))
    metadata.close()
"""
_OF_OBJECTS = re.compile(r"(\w+)\(.*root/(?:tmp|blobs)\b")


def objects_trace(root: Path, way: str, log: Path) -> list[str]:
    """The calls on objects that putting makes, by their kinds, in order; syncs of the file system among them."""
    ended, trace = children.trace(PUT, root, way, log=log)
    assert ended.code == 0, ended.err
    calls = [re.match(r"\w+", call) for call in trace if _OF_OBJECTS.match(call) or call.startswith("syncfs(")]
    return [call[0] for call in calls if call is not None]


def test_the_compiled_way_makes_the_calls_of_the_other_one(tmp_path: Path) -> None:
    """As many of each kind, whatever folders there are; data is synced before anything has its name in both."""
    found = {}
    for way in ("one", "many"):
        root = tmp_path / way / "root"
        root.mkdir(parents=True)
        for part in range(0, 256, 2):  # of half of the folders objects are named one by one
            (root / f"blobs/{part:02x}").mkdir(parents=True)
        trace = found[way] = objects_trace(root, way, tmp_path / "log")
        names = [place for place, call in enumerate(trace) if call == "renameat2"]
        syncs = [place for place, call in enumerate(trace) if call == "syncfs"]
        writes = [place for place, call in enumerate(trace) if call == "write"]
        assert len(writes) == 1_200
        assert max(writes) < syncs[0] < min(names)
        assert max(names) < syncs[1]
        assert len([*(root / "blobs").rglob("*/*")]) == 1_200
    assert Counter(found["many"]) == Counter(found["one"])


def test_what_is_read_ahead_is_stored_as_if_it_were_not(blobs: BlobStore, tmp_path: Path) -> None:
    """Small files, empty ones, those too large for that, and the same one twice."""
    sizes = [number * 37 for number in range(2 * HANDED_FILES)] + [SMALL_MAX_BYTES, SMALL_MAX_BYTES + 1, 3_000_000]
    paths = [tmp_path / f"{number}" for number in range(len(sizes))]
    for number, (path, size) in enumerate(zip(paths, sizes, strict=True)):
        path.write_bytes((b"%d " % number * (size // 2 + 1))[:size])
    given: list[str | Path] = [*paths, *map(str, paths)]
    found = blobs.put_many(given)
    assert [blob.hash for blob in found] == [hash_bytes(Path(path).read_bytes()) for path in given]
    assert [blobs.read(blob) for blob in found] == [Path(path).read_bytes() for path in given]


@pytest.mark.parametrize("wrong", ["missing", "folder", "zero\0byte"])
def test_what_cannot_be_read_is_named_when_its_turn_comes(blobs: BlobStore, tmp_path: Path, wrong: str) -> None:
    """As it is where nothing is read ahead."""
    (tmp_path / "folder").mkdir()
    (tmp_path / "file").write_bytes(b"content")
    paths = [str(tmp_path / "file")] * HANDED_FILES + [str(tmp_path / wrong)]
    with pytest.raises(NotFoundError if wrong == "missing" else InvalidValueError, match=wrong.partition("\0")[0]):
        blobs.put_many(paths)
    with pytest.raises(NotFoundError if wrong == "missing" else InvalidValueError, match=wrong.partition("\0")[0]):
        blobs.put_many(iter(paths))


def test_what_a_generator_gives_is_read_before_it_is_asked_for_more(blobs: BlobStore, tmp_path: Path) -> None:
    """One may write the same file again and again."""
    path = tmp_path / "file"
    contents = [b"content %d" % number for number in range(2 * HANDED_FILES)]

    def given() -> Iterator[Path]:
        for content in contents:
            path.write_bytes(content)
            yield path

    assert [blobs.read(blob) for blob in blobs.put_many(given())] == contents


# Writing beside the one that gives


def test_files_written_behind_are_there_when_it_is_finished(tmp_path: Path) -> None:
    """Handed over in parts, or not at all where they are few."""
    for count in (3, 5 * HANDED_FILES + 1):
        folder = tmp_path / str(count)
        folder.mkdir()
        behind = WritingBehind(lambda path, data: pytest.fail(f"{path} was left"))
        for number in range(count):
            behind.add(f"{folder}/{number}", b"%d" % number)
        behind.finish()
        behind.close()
        assert {path.name: path.read_bytes() for path in folder.iterdir()} == {
            f"{number}": b"%d" % number for number in range(count)
        }


@pytest.mark.parametrize("failing", [10, HANDED_FILES + 10, 3 * HANDED_FILES])
def test_a_batch_that_could_not_be_written_stays_unnamed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, failing: int
) -> None:
    """The error comes with some later object, or at the end, and again with whatever is tried after it."""
    write = Tree.write_temporary

    def refused(self: Tree, path: str, data: bytes) -> None:
        if data == b"%d" % failing:
            raise OSError(errno.ENOSPC, "full")
        write(self, path, data)

    monkeypatch.setattr(Tree, "write_temporary", refused)
    # Whatever is special to the compiled part goes the way of a single file: here, a path that cannot be.
    monkeypatch.setattr(bulk, "encoded", lambda paths: [_unlike(path) for path in encoded(paths)])
    driver = LocalDriver(tmp_path)
    with driver.batch() as batch:
        for number in range(3 * HANDED_FILES + 1):
            with contextlib.suppress(StoreUnavailableError):
                batch.add(b"%d" % number, f"n/{number}")
        for reason in ("disk is full", "batch has failed", "batch has failed"):
            with pytest.raises(StoreUnavailableError, match=reason):
                batch.commit()
    assert [*driver.list("n/")] == []
    assert [*(tmp_path / "tmp").iterdir()] == []
    assert not (tmp_path / "n").exists()


def _unlike(path: bytes) -> bytes:
    return path + b"/cannot"


def test_a_batch_goes_on_where_its_folders_are_taken_away(tmp_path: Path) -> None:
    """`tmp` is made again, and a folder that came meanwhile takes what was meant for it."""
    driver = LocalDriver(tmp_path)
    (tmp_path / "n").mkdir()
    with driver.batch() as batch:
        for number in range(bounds.SYNCFS_MIN_FILES):
            batch.add(b"before %d" % number, f"n/{number}")
        for number in range(bounds.SYNCFS_MIN_FILES):
            batch.add(b"between %d" % number, f"m/{number}")
        (tmp_path / "m").mkdir()
        assert batch.commit() == frozenset()
        (tmp_path / "tmp").rmdir()
        for number in range(2 * bounds.SYNCFS_MIN_FILES):
            batch.add(b"after %d" % number, f"n/after-{number}")
        assert batch.commit() == frozenset()
    assert len([*driver.list("")]) == 4 * bounds.SYNCFS_MIN_FILES
    assert [*(tmp_path / "tmp").iterdir()] == []


def test_where_no_thread_can_be_started_all_is_stored_without_one(
    blobs: BlobStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As at a limit of processes."""
    paths = [tmp_path / f"{number}" for number in range(3 * HANDED_FILES)]
    for path in paths:
        path.write_text(path.name)

    def refused(thread: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(threading.Thread, "start", refused)
    found = blobs.put_many(paths)
    assert [blobs.read(blob).decode() for blob in found] == [path.name for path in paths]
