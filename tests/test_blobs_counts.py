"""What each blob costs, in system calls: counted, as times depend on the machine and on whatever else it does.

Each count is the difference between two runs, of which one handles more blobs: what a process or a batch needs once
falls out of it.
"""

from __future__ import annotations

import os
import re
from collections import Counter
from pathlib import Path

import pytest

from renku_store import bounds
from renku_store.blobs import BlobStore
from renku_store.drivers.local import LocalDriver
from renku_store.hashing import hash_bytes
from renku_store.metadata.sqlite.blobs import TOUCH, UNLIKE
from renku_store.metadata.sqlite.opening import open_sqlite
from tests import children

WORK = """
    import sys
    from pathlib import Path
    from renku_store.blobs import BlobStore
    from renku_store.drivers.local import LocalDriver
    from renku_store.hashing import hash_bytes
    from renku_store.metadata.sqlite.opening import open_sqlite
    from renku_store.records.blob import BlobRef
    root, work, first, last = Path(sys.argv[1]), sys.argv[2], *map(int, sys.argv[3:5])
    blobs = BlobStore(LocalDriver(root), open_sqlite(root / "metadata.db"))
    contents = [b"content %d" % number for number in range(first, last)]
    if work == "read":
        for content in contents:
            assert blobs.read(hash_bytes(content)) == content
    elif work == "read known":
        for content in contents:
            assert blobs.read(BlobRef(hash_bytes(content), len(content))) == content
    elif work == "put":
        assert len(blobs.put_many(contents)) == last - first
    else:
        assert len(blobs.put_many(root / f"../files/{number}" for number in range(first, last))) == last - first
"""
FEW, MANY, THERE = 1_500, 3_000, 4_000
"""So many are in the root before that every folder is there; then as many are handled as the names say."""
KINDS = {
    "open": ("open", "openat", "creat"),
    "close": ("close",),
    "read": ("read", "pread64", "preadv", "readv"),
    "write": ("write", "writev"),
    "look": ("stat", "lstat", "fstat", "newfstatat", "statx", "access", "faccessat", "faccessat2", "readlink", "lseek"),
    "name": ("rename", "renameat", "renameat2", "link", "linkat", "unlink", "unlinkat"),
    "change": ("ftruncate", "fallocate", "chmod", "fchmod", "utimensat", "copy_file_range", "sendfile", "ioctl"),
    "lock": ("flock", "fcntl"),
    "sync": ("fsync", "fdatasync", "syncfs", "sync_file_range"),
}


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A root in which there are `THERE` blobs."""
    folder = tmp_path_factory.mktemp("counts") / "root"
    folder.mkdir()
    metadata = open_sqlite(folder / "metadata.db")
    BlobStore(LocalDriver(folder), metadata).put_many(b"content %d" % number for number in range(THERE))
    metadata.close()
    (folder / "../files").mkdir()
    for number in range(MANY):
        (folder / f"../files/{number}").write_bytes(b"content %d" % number)
    assert len([*(folder / "blobs").iterdir()]) > 250
    return folder


def calls(root: Path, work: str, first: int, count: int, log: Path) -> Counter[str]:
    """How often a process makes calls of each kind that works on `count` contents from number `first` on."""
    prefix = ["strace", "-f", "-c", "-U", "name,calls", "-o", str(log)]
    ended = children.run(WORK, root, work, first, first + count, prefix=prefix)
    assert ended.code == 0, ended.err
    return counted(log)


def counted(log: Path) -> Counter[str]:
    """The calls of each kind that strace has counted."""
    kinds = {call: kind for kind, names in KINDS.items() for call in names}
    found = Counter[str]()
    for name, number in re.findall(r"^\s*(\w+)\s+(\d+)$", log.read_text(), re.MULTILINE):
        if name in kinds:
            found[kinds[name]] += int(number)
    return found


def per_blob(root: Path, work: str, first: int, log: Path) -> dict[str, int]:
    """The calls that each further blob takes; less than a twentieth of one (pages of the database) counts for none."""
    few = calls(root, work, first, FEW, log)
    many = calls(root, work, first if first < THERE else first + FEW, MANY, log)
    found = {kind: (many[kind] - few[kind]) / (MANY - FEW) for kind in KINDS}
    for number in found.values():
        assert abs(number - round(number)) < 0.05, found
    return {kind: round(number) for kind, number in found.items() if round(number)}


def test_a_new_blob_takes_four_calls_and_no_sync_of_its_own(root: Path, tmp_path: Path) -> None:
    """Made, written, closed, named; that it was not there, and then is before its row is, is seen with its folder."""
    assert per_blob(root, "put", THERE, tmp_path / "log") == {"open": 1, "write": 1, "close": 1, "name": 1}


def test_in_folders_that_are_new_a_blob_takes_three_calls(root: Path, tmp_path: Path) -> None:
    """Made, written, closed: its folder gets its name with all that is in it."""
    found: list[Counter[str]] = []
    for count in (2_000, 3_000):  # enough for all folders
        (tmp_path / str(count)).mkdir()
        found.append(calls(tmp_path / str(count), "put", 0, count, tmp_path / "log"))
    more = {kind: (found[1][kind] - found[0][kind]) / 1_000 for kind in KINDS}
    assert {kind: round(number, 1) for kind, number in more.items() if round(number, 1)} == {
        "open": 1,
        "write": 1,
        "close": 1,
    }


def test_a_blob_that_is_there_takes_one_look(root: Path, tmp_path: Path) -> None:
    """Nothing is opened or written but the database."""
    assert per_blob(root, "put", 0, tmp_path / "log") == {"look": 1}


def test_a_file_whose_blob_is_there_is_read_once_and_both_are_looked_at(root: Path, tmp_path: Path) -> None:
    """The file must be one, and the object has to be seen; no byte of that is read."""
    expected = {"open": 1, "close": 1, "read": 1, "look": 2}
    assert per_blob(root, "files", 0, tmp_path / "log") == expected


def test_blobs_that_are_there_take_as_many_statements_however_many_they_are(tmp_path: Path) -> None:
    """One that gives the rows that are not as expected, which are none, and one that touches all."""
    metadata = open_sqlite(tmp_path / "metadata.db")
    blobs = BlobStore(LocalDriver(tmp_path), metadata)
    contents = [b"content %d" % number for number in range(1_000)]
    blobs.put_many(contents)
    found: list[list[str]] = []

    def executed(_cursor: object, statement: str, _bindings: object) -> bool:
        found[-1].append(statement)
        return True

    metadata.connection.exec_trace = executed
    for count in (1, 1_000):
        found.append([])
        blobs.put_many(contents[:count])
    metadata.connection.exec_trace = None
    metadata.close()
    assert found == [["BEGIN", UNLIKE, "COMMIT", "BEGIN IMMEDIATE", TOUCH, "COMMIT"]] * 2


def test_a_small_blob_is_read_by_one_read_and_one_that_sees_its_end(root: Path, tmp_path: Path) -> None:
    """Nobody looks up its size."""
    assert per_blob(root, "read", 0, tmp_path / "log") == {"open": 1, "read": 2, "close": 1}


def test_a_small_blob_of_a_known_size_is_read_by_one_read(root: Path, tmp_path: Path) -> None:
    """As a manifest lists it: it is asked for a byte more than it has."""
    assert per_blob(root, "read known", 0, tmp_path / "log") == {"open": 1, "read": 1, "close": 1}


def test_a_batch_is_synced_as_often_whatever_its_size(root: Path, tmp_path: Path) -> None:
    """Once for the data, once for the names; beside what the database and the name of the root itself take."""
    batches: list[list[str]] = []
    for first, count in ((10_000, 100), (20_000, 1_000)):
        ended, trace = children.trace(WORK, root, "put", first, first + count, log=tmp_path / "log")
        assert ended.code == 0, ended.err
        synced = [re.sub(r"\d+<", "<", call) for call in trace if re.match(r"(fsync|fdatasync|syncfs)\(", call)]
        batches.append([call for call in synced if "metadata.db" not in call])
    assert batches[0] == batches[1]
    assert sum(call.startswith("syncfs(") for call in batches[0]) == 2


def test_two_bounded_batches_take_the_syncs_of_two(root: Path, tmp_path: Path) -> None:
    """So a batch is worth being large."""
    small = WORK.replace(
        "    root, work", "    from renku_store import bounds\n    bounds.BATCH_MAX_FILES = 100\n    root, work"
    )
    ended, trace = children.trace(small, root, "put", 30_000, 30_200, log=tmp_path / "log")
    assert ended.code == 0, ended.err
    assert sum(call.startswith("syncfs(") for call in trace) == 4


LARGE = """
    import sys
    from pathlib import Path
    from renku_store.blobs import BlobStore
    from renku_store.drivers.local import LocalDriver
    from renku_store.metadata.sqlite.opening import open_sqlite
    root, paths = Path(sys.argv[1]), sys.argv[2:]
    blobs = BlobStore(LocalDriver(root), open_sqlite(root / "metadata.db"))
    print(*(blobs.put_file(path).hash for path in paths))
"""


def test_a_large_file_that_is_there_is_read_and_not_copied(root: Path, tmp_path: Path) -> None:
    """One of the same size, and of another content, is."""
    files = [tmp_path / name for name in ("first", "copy", "other")]
    data = bytearray(os.urandom(bounds.HASH_FIRST_MIN_BYTES))
    for path in files[:2]:
        path.write_bytes(data)
    data[-1] ^= 1
    files[2].write_bytes(data)
    written: list[int] = []
    for path in files:
        ended, trace = children.trace(LARGE, root, path, log=tmp_path / "log")
        assert ended.out.split() == [hash_bytes(path.read_bytes())], ended.err
        written.append(sum(bool(re.match(r"(write|ioctl|copy_file_range)\(\d+<.*/root/tmp/", call)) for call in trace))
    assert written[0] >= 16
    assert written[1] == 0
    assert written[2] == written[0]


MANY_LARGE = """
    import io, resource, sys
    from pathlib import Path
    from renku_store import bounds
    from renku_store.blobs import BlobStore
    from renku_store.drivers.local import LocalDriver
    from renku_store.metadata.sqlite.opening import open_sqlite
    root = Path(sys.argv[1])
    bounds.BLOB_HOLD_MAX_BYTES, bounds.BATCH_MAX_BYTES = 81_920, 2_621_440
    blobs = BlobStore(LocalDriver(root), open_sqlite(root / "metadata.db"))
    resource.setrlimit(resource.RLIMIT_NOFILE, (64, 64))
    for _ in range(2):
        print(len(blobs.put_many(io.BytesIO(b"%08d" % number * 11_000) for number in range(200))))
"""


def test_many_large_contents_keep_few_files_open(root: Path) -> None:
    """With all bounds a hundredth of what they are: as many as a batch may hold bytes for."""
    ended = children.run(MANY_LARGE, root)
    assert (ended.code, ended.out.split()) == (0, ["200", "200"]), ended.err


DEAD = """
    import sys
    from pathlib import Path
    from renku_store import collect, open_store
    name, live, dead = sys.argv[2], *map(int, sys.argv[3:5])
    movie = open_store(sys.argv[1]).movie(name)
    report = collect(movie, grace_seconds=0, force=True)
    assert (report.kept, report.removed) == (live, dead), report
"""
PREPARE = """
    import os, sys, time
    from renku_store import InputEvent, open_store
    store = open_store(sys.argv[1])
    for number, (live, dead) in enumerate([(1500, 1500), (1500, 3000), (3000, 1500)]):
        movie = store.create_movie(f"film-{number}")
        stored = movie.blobs.put_many(b"%d" % content for content in range(live + dead))
        movie.events.append_many(
            InputEvent(
                id=movie.events.new_id(), input=f"value{place}", hash=blob.hash, blob=blob.hash, edited_by="test",
                created_at="2026-01-01T00:00:00.000Z",
            )
            for place, blob in enumerate(stored[:live])
        )
    time.sleep(0.01)
"""


def test_a_collection_takes_one_call_for_what_is_dead_and_none_for_what_lives(tmp_path: Path) -> None:
    """A listing of its folder says which of both names it has; of the others only the names are read, likewise."""
    ended = children.run(PREPARE, tmp_path / "root")
    assert ended.code == 0, ended.err
    found: list[Counter[str]] = []
    for number, (alive, dead) in enumerate([(1500, 1500), (1500, 3000), (3000, 1500)]):
        prefix = ["strace", "-f", "-c", "-U", "name,calls", "-o", str(tmp_path / "log")]
        ended = children.run(DEAD, tmp_path / "root", f"film-{number}", alive, dead, prefix=prefix)
        assert ended.code == 0, ended.err
        found.append(counted(tmp_path / "log"))
    for kind in KINDS:
        assert abs((found[1][kind] - found[0][kind]) / 1500 - (1 if kind == "name" else 0)) < 0.1, (kind, found)
        assert abs((found[2][kind] - found[0][kind]) / 1500) < 0.1, (kind, found)
