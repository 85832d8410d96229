"""The order of system calls below a blob and a created object, and what is left when one of them fails or kills.

Invariants 2 and 3: data is synced before its name, names before the rows that promise them.
"""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from renku_store import bounds
from renku_store.blobs import BlobStore
from renku_store.drivers.local import LocalDriver
from renku_store.metadata.sqlite.opening import open_sqlite
from tests import children

PUT = """
    import sys
    from pathlib import Path
    from renku_store.blobs import BlobStore
    from renku_store.drivers.local import LocalDriver
    from renku_store.errors import StoreError
    from renku_store.metadata.sqlite.opening import open_sqlite
    root, count = Path(sys.argv[1]), int(sys.argv[2])
    blobs = BlobStore(LocalDriver(root), open_sqlite(root / "metadata.db"))
    try:
        print(len(blobs.put_many([b"content %d" % number for number in range(count)])))
    except StoreError as error:
        print(error.kind, error.message, error.hint)
"""

CREATE = """
    import sys
    from renku_store.drivers.local import LocalDriver
    from renku_store.errors import StoreError
    try:
        print(LocalDriver(sys.argv[1]).create("manifests/rev-0001.json", b"{}"))
    except StoreError as error:
        print(error.kind, error.message)
"""

MANY = 3 * bounds.SYNCFS_MIN_FILES


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A root with a database, so that a trace shows no set-up."""
    folder = tmp_path / "root"
    folder.mkdir()
    open_sqlite(folder / "metadata.db").close()
    return folder


def places(calls: list[str], pattern: str) -> list[int]:
    """Where calls that match stand in a trace."""
    return [place for place, call in enumerate(calls) if re.match(pattern, call)]


def objects(root: Path) -> list[Path]:
    """Files that have a name under `blobs/`."""
    return [path for path in (root / "blobs").rglob("*") if path.is_file()]


def temporaries(root: Path) -> list[Path]:
    """Files that have none."""
    return [path for path in (root / "tmp").rglob("*") if path.is_file()]


def test_a_blob_is_synced_then_named_then_its_folders_are_synced_then_its_row(root: Path, tmp_path: Path) -> None:
    """Each step of the order ends before the next begins."""
    ended, calls = children.trace(PUT, root, 1, log=tmp_path / "log")
    assert (ended.code, ended.out) == (0, "1\n")
    [written] = places(calls, r"write\(\d+<.*/root/tmp/")
    [synced] = places(calls, r"(fsync|fdatasync|syncfs)\(\d+<.*/root/tmp/")
    [named] = places(calls, r"renameat2\(.*/root/tmp/.*/blobs/.*RENAME_NOREPLACE\)\s+= 0")
    folders = [
        place
        for level in (r"root/blobs/..", "root/blobs", "root")
        for place in places(calls, rf"fsync\(\d+<.*/{level}>")
    ]
    [row, *_] = [place for place in places(calls, r"(fsync|fdatasync)\(\d+<.*/metadata\.db-wal") if place > named]
    assert written < synced < named
    assert len(folders) == 3
    assert named < min(folders) < max(folders) < row
    assert places(calls, r"(link|linkat|unlink|unlinkat)\(.*/root/tmp/") == []


def test_a_batch_is_synced_at_once_before_its_first_name_and_after_its_last(root: Path, tmp_path: Path) -> None:
    """One sync of the file system for the data, one for the folders; its descriptor is older than the writes."""
    ended, calls = children.trace(PUT, root, MANY, log=tmp_path / "log")
    assert (ended.code, ended.out) == (0, f"{MANY}\n")
    written = places(calls, r"write\(\d+<.*/root/tmp/")
    named = places(calls, r"renameat2\(.*/root/tmp/.*/blobs/.*RENAME_NOREPLACE\)\s+= 0")
    data, folders = places(calls, r"syncfs\(")
    [opened, *_] = places(calls, r'openat\(.*"[^"]*/root/tmp", O_RDONLY.*= \d')
    row = min(place for place in places(calls, r"(fsync|fdatasync)\(\d+<.*/metadata\.db-wal") if place > named[0])
    assert len(written) == len(named) == MANY
    assert places(calls, r"fsync\(\d+<.*/root/tmp/") == []
    assert opened < written[0]
    assert written[-1] < data < named[0]
    assert named[-1] < folders < row


def test_an_object_without_a_row_has_its_name_synced_before_it_gets_one(root: Path, tmp_path: Path) -> None:
    """Its writer may have died between rename and sync: the row would promise what a power cut can take back."""
    metadata = open_sqlite(root / "metadata.db")
    BlobStore(LocalDriver(root), metadata).put(b"content 0")
    with metadata.write():
        metadata.connection.execute("DELETE FROM blobs")
    metadata.close()
    ended, calls = children.trace(PUT, root, 1, log=tmp_path / "log")
    assert (ended.code, ended.out) == (0, "1\n")
    [folder] = places(calls, r"fsync\(\d+<.*/root/blobs/..>")
    row = max(places(calls, r"(fsync|fdatasync)\(\d+<.*/metadata\.db-wal"))
    assert folder < row
    assert places(calls, r"(write|link|linkat|renameat2)\(.*/root/tmp/") == []


def test_a_created_object_is_synced_then_linked_then_its_folder_is_synced(root: Path, tmp_path: Path) -> None:
    """The commit of a revision is one link of a complete file."""
    ended, calls = children.trace(CREATE, root, log=tmp_path / "log")
    assert ended.out == "True\n"
    [written] = places(calls, r"write\(\d+<.*/root/tmp/")
    [synced] = places(calls, r"fsync\(\d+<.*/root/tmp/")
    [linked] = places(calls, r"link(at)?\(.*/root/tmp/.*/manifests/rev-0001.json.* = 0")
    [folder] = places(calls, r"fsync\(\d+<.*/manifests>")
    assert written < synced < linked < folder


@pytest.mark.parametrize("code", ["EPERM", "EOPNOTSUPP", "EMLINK"])
def test_without_hard_links_names_are_taken_by_a_rename_that_does_not_replace(
    root: Path, tmp_path: Path, code: str
) -> None:
    """Still atomic; a second creator still loses."""
    ended, calls = children.trace(CREATE, root, log=tmp_path / "log", inject=f"link,linkat:error={code}")
    assert ended.out == "True\n"
    assert places(calls, r"renameat2\(.*RENAME_NOREPLACE\)\s+= 0")
    ended, _ = children.trace(CREATE, root, log=tmp_path / "log", inject=f"link,linkat:error={code}")
    assert ended.out == "False\n"
    ended, _ = children.trace(PUT, root, MANY, log=tmp_path / "log", inject=f"link,linkat:error={code}")
    assert (ended.out, len(objects(root)), temporaries(root)) == (f"{MANY}\n", MANY, [])


@pytest.mark.parametrize("code", ["EINVAL", "ENOSYS", "EOPNOTSUPP", "EPERM"])
def test_without_a_rename_that_does_not_replace_names_are_taken_by_hard_links(
    root: Path, tmp_path: Path, code: str
) -> None:
    """The first name taken so was the last one tried otherwise; synced in the same order."""
    ended, calls = children.trace(PUT, root, MANY, log=tmp_path / "log", inject=f"renameat2:error={code}")
    assert (ended.out, len(objects(root)), temporaries(root)) == (f"{MANY}\n", MANY, [])
    written = places(calls, r"write\(\d+<.*/root/tmp/")
    linked = places(calls, r"link(at)?\(.*/root/tmp/.*/blobs/.* = 0")
    unlinked = places(calls, r"unlink(at)?\(.*/root/tmp/.* = 0")
    data, folders = places(calls, r"syncfs\(")
    assert len(linked) == len(unlinked) == MANY
    assert places(calls, r"renameat2\(")[-1] < linked[0]
    assert written[-1] < data < linked[0] < unlinked[0]
    assert linked[-1] < unlinked[-1] < folders


def test_where_nothing_is_atomic_revisions_are_refused_and_blobs_still_stored(root: Path, tmp_path: Path) -> None:
    """Blobs of one name have one content, so a plain rename does; a revision must never be replaced."""
    neither = "link,linkat,renameat2:error=EINVAL"
    ended, _ = children.trace(CREATE, root, log=tmp_path / "log", inject=neither)
    assert ended.out.startswith("UnsafeDriverError ")
    assert not (root / "manifests/rev-0001.json").exists()
    ended, _ = children.trace(PUT, root, MANY, log=tmp_path / "log", inject=neither)
    assert (ended.out, len(objects(root)), temporaries(root)) == (f"{MANY}\n", MANY, [])


@pytest.mark.parametrize("count", [1, MANY])
@pytest.mark.parametrize(
    ("inject", "reason"),
    [
        ("syncfs,fsync:error=EIO:when=1", "input/output error"),
        ("renameat2:error=ENOSPC", "disk is full"),
        ("renameat2:error=EDQUOT", "quota"),
        ("renameat2:error=EINVAL link,linkat:error=ENOSPC", "disk is full"),
        ("renameat2:error=EINVAL link,linkat:error=EDQUOT", "quota"),
    ],
)
def test_a_failing_disk_is_named_and_nothing_is_promised(
    root: Path, tmp_path: Path, count: int, inject: str, reason: str
) -> None:
    """No name for what was not synced, no row for what has no name, no temporary file left; the next put succeeds."""
    ended, _ = children.trace(PUT, root, count, log=tmp_path / "log", inject=inject)
    assert ended.code == 0
    assert ended.out.startswith("StoreUnavailableError ")
    assert reason in ended.out
    assert objects(root) == temporaries(root) == []
    metadata = open_sqlite(root / "metadata.db")
    with metadata.read() as reader:
        contents = [b"content %d" % number for number in range(count)]
        blobs = BlobStore(LocalDriver(root), metadata)
        assert reader.blobs.get([path.name for path in objects(root)]) == {}
    assert len(blobs.put_many(contents)) == count
    metadata.close()


FILL = """
    import os, sys
    from renku_store.blobs import BlobStore
    from renku_store.drivers.local import LocalDriver
    from renku_store.errors import StoreUnavailableError
    from renku_store.metadata.sqlite.opening import open_sqlite, MEMORY
    from pathlib import Path
    root = Path(sys.argv[1])
    driver = LocalDriver(root)
    blobs = BlobStore(driver, open_sqlite(Path(MEMORY)))
    small = blobs.put(b"small enough")
    failed = 0
    for attempt in (
        lambda: blobs.put(os.urandom(4 << 20)),
        lambda: blobs.put_many([os.urandom(50_000) for _ in range(60)]),
        lambda: blobs.put_file(sys.argv[2]),
        lambda: driver.create("manifests/rev-0001.json", bytes(4 << 20)),
        lambda: driver.replace("current.json", bytes(4 << 20)),
    ):
        try:
            attempt()
        except StoreUnavailableError as error:
            assert "disk is full" in error.message and str(root) in error.message and "Free" in error.hint, error
            failed += 1
        assert not [file for _, _, files in os.walk(root / "tmp") for file in files]
    assert driver.stat("manifests/rev-0001.json") is None and driver.stat("current.json") is None
    for found in list(driver.list("blobs/")):
        blobs.read(found.name[-64:])
    assert blobs.read(small) == b"small enough"
    sys.exit(failed)
"""


def test_a_full_disk_is_named_and_keeps_nothing_half_written(tmp_path: Path) -> None:
    """In the middle of a blob, of a batch, of a large file, of a revision and of a pointer."""
    root = tmp_path / "root"
    root.mkdir()
    large = tmp_path / "large"
    large.write_bytes(bytes(range(256)) * ((bounds.BLOB_HOLD_MAX_BYTES >> 8) + 1))
    ended = children.run(FILL, root, large, prefix=children.on_small_disk(root, 1024))
    assert (ended.err, ended.code) == ("", 5)


LIMITED = """
    import os, resource, sys
    from renku_store.drivers.local import LocalDriver
    from renku_store.errors import StoreUnavailableError
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))
    try:
        LocalDriver(sys.argv[1]).create("x", bytes(200_000))
    except StoreUnavailableError as error:
        print(error.message, error.hint)
"""


def test_a_write_that_is_cut_short_is_continued_and_then_named(tmp_path: Path) -> None:
    """A size limit takes a part of the bytes first; the part is not kept."""
    ended = children.run(LIMITED, tmp_path)
    assert ended.err == ""
    assert "larger than allowed" in ended.out
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == []


@pytest.mark.parametrize("count", [1, MANY])
@pytest.mark.parametrize(
    "call",
    [
        "write",
        "syncfs,fsync",
        "renameat2",
        "unlink,unlinkat",
        "renameat2:error=EINVAL link,linkat",
        "renameat2:error=EINVAL unlink,unlinkat",
    ],
)
def test_a_kill_at_any_call_leaves_whole_blobs_and_a_store_that_works(
    root: Path, tmp_path: Path, count: int, call: str
) -> None:
    """Every object that has its name has its content; the same put, repeated, stores everything."""
    children.trace(PUT, root, count, log=tmp_path / "log", inject=f"{call}:signal=SIGKILL:when=2")
    metadata = open_sqlite(root / "metadata.db")
    blobs = BlobStore(LocalDriver(root), metadata)
    for path in objects(root):
        assert blobs.read(path.name)
    contents = [b"content %d" % number for number in range(count)]
    assert [blobs.read(reference) for reference in blobs.put_many(contents)] == contents
    metadata.close()


def test_a_reflink_is_hashed_from_the_copy_never_from_the_source(root: Path, tmp_path: Path) -> None:
    """Where the system says that it cloned but the copy differs, the name is that of the copy."""
    large = tmp_path / "large"
    large.write_bytes(bytes(bounds.BLOB_HOLD_MAX_BYTES + 1))
    script = PUT.replace("print(len(", "print((").replace(
        '[b"content %d" % number for number in range(count)]', "[sys.argv[3]]"
    )
    ended = children.run(
        script,
        root,
        1,
        large,
        prefix=["strace", "-f", "-qq", "-o", "/dev/null", "-e", "trace=ioctl", "-e", "inject=ioctl:retval=0"],
    )
    assert "size=0" in ended.out
    [stored] = objects(root)
    assert stored.read_bytes() == b""
