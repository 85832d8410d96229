"""Rows and objects of blobs: invariants 8 and 9, against a collector that works at the same time."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import pytest
from zstandard import ZstdCompressor

from renku_store import bounds
from renku_store.blobs import BlobStore
from renku_store.drivers.base import ObjectStat
from renku_store.drivers.local import LocalDriver
from renku_store.durability import listening
from renku_store.errors import BlobCorruptError, BlobMissingError, StoreUnavailableError
from renku_store.hashing import hash_bytes
from renku_store.metadata.sqlite.opening import MEMORY, open_sqlite
from renku_store.metadata.sqlite.store import SqliteMetadata
from renku_store.records.blob import SUFFIX, BlobRow, blob_path

RAW = os.urandom(50_000)
TEXT = b"compressible " * 5_000


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return tmp_path / "movie"


@pytest.fixture
def metadata() -> Iterator[SqliteMetadata]:
    store = open_sqlite(Path(MEMORY))
    yield store
    store.close()


@pytest.fixture
def blobs(root: Path, metadata: SqliteMetadata) -> BlobStore:
    return BlobStore(LocalDriver(root), metadata)


def set_state(metadata: SqliteMetadata, state: str) -> None:
    with metadata.write():
        metadata.connection.execute("UPDATE blobs SET state = ?, touched_at = 1", (state,))


def drop_rows(metadata: SqliteMetadata) -> None:
    with metadata.write():
        metadata.connection.execute("DELETE FROM blobs")


def row(metadata: SqliteMetadata, digest: str) -> BlobRow | None:
    with metadata.read() as reader:
        return reader.blobs.get([digest]).get(digest)


@pytest.mark.parametrize("content", [RAW, TEXT], ids=["raw", "zstd"])
def test_a_put_makes_a_live_row_that_describes_the_object(
    blobs: BlobStore, metadata: SqliteMetadata, root: Path, content: bytes
) -> None:
    """Size, stored size and encoding are those of the file."""
    stored = blobs.put(content)
    found = row(metadata, stored.hash)
    assert found is not None
    assert (found.size, found.state) == (len(content), "live")
    assert (root / blob_path(stored.hash, found.encoding)).stat().st_size == found.stored_size


@pytest.mark.parametrize("content", [RAW, TEXT], ids=["raw", "zstd"])
@pytest.mark.parametrize("how", ["put", "revive"])
@pytest.mark.parametrize("before", ["live", "condemned", "no row"])
def test_what_is_there_becomes_live_and_touched(
    blobs: BlobStore, metadata: SqliteMetadata, root: Path, content: bytes, how: str, before: str
) -> None:
    """Whatever the row said, the object is seen and kept as it is (invariant 9)."""
    stored = blobs.put(content)
    first = row(metadata, stored.hash)
    path = root / blobs.stat(stored).path
    number = path.stat().st_ino
    set_state(metadata, "live" if before == "live" else "condemned")
    if before == "no row":
        drop_rows(metadata)
    if how == "put":
        assert blobs.put(content) == stored
    else:
        with metadata.write() as writer:
            blobs.revive(writer, [stored.hash, stored.hash])
    after = row(metadata, stored.hash)
    assert first is not None
    assert after is not None
    assert after.touched_at > 1
    assert (after.state, after.size, after.stored_size, after.encoding) == (
        "live",
        first.size,
        first.stored_size,
        first.encoding,
    )
    assert path.stat().st_ino == number


def test_reviving_names_what_is_missing_and_changes_nothing(
    blobs: BlobStore, metadata: SqliteMetadata, root: Path
) -> None:
    """A transaction that names a missing blob is rolled back whole."""
    there, gone = blobs.put_many([RAW, b"gone"])
    (root / blob_path(gone.hash)).unlink()
    set_state(metadata, "condemned")
    with pytest.raises(BlobMissingError, match=gone.hash), metadata.write() as writer:
        blobs.revive(writer, [there.hash, gone.hash])
    found = row(metadata, there.hash)
    assert found is not None
    assert found.state == "condemned"


def test_reviving_refuses_a_shortened_object(blobs: BlobStore, metadata: SqliteMetadata, root: Path) -> None:
    """What is damaged is not published."""
    stored = blobs.put(RAW)
    (root / blob_path(stored.hash)).write_bytes(RAW[:-1])
    with pytest.raises(BlobCorruptError, match=stored.hash), metadata.write() as writer:
        blobs.revive(writer, [stored.hash])


def test_reviving_refuses_what_is_being_deleted(blobs: BlobStore, metadata: SqliteMetadata) -> None:
    """The object may still be seen, but not for long."""
    stored = blobs.put(RAW)
    set_state(metadata, "deleting")
    with pytest.raises(BlobMissingError, match=stored.hash), metadata.write() as writer:
        blobs.revive(writer, [stored.hash])


@pytest.mark.parametrize("content", [RAW, TEXT], ids=["raw", "zstd"])
def test_a_put_waits_for_a_deletion_and_writes_anew(
    blobs: BlobStore, metadata: SqliteMetadata, root: Path, content: bytes
) -> None:
    """The collector removes object and row while the put waits; afterwards both are there again."""
    stored = blobs.put(content)
    path = root / blobs.stat(stored).path
    set_state(metadata, "deleting")
    putting = threading.Thread(target=blobs.put, args=(content,))
    with LocalDriver(root).lock("collect", wait_seconds=1):
        putting.start()
        putting.join(0.1)
        assert putting.is_alive()
        path.unlink()
        drop_rows(metadata)
    putting.join()
    found = row(metadata, stored.hash)
    assert found is not None
    assert found.state == "live"
    assert blobs.read(stored) == content


def test_a_deletion_that_does_not_end_is_named(metadata: SqliteMetadata, root: Path) -> None:
    """After the bound, with what to do about it; nothing temporary stays."""
    blobs = BlobStore(LocalDriver(root), metadata, wait_seconds=0.05)
    stored = blobs.put(RAW)
    set_state(metadata, "deleting")
    with (
        LocalDriver(root).lock("collect", wait_seconds=1),
        pytest.raises(StoreUnavailableError, match=stored.hash) as error,
    ):
        blobs.put_many([b"other", RAW])
    assert "gc" in error.value.hint
    assert list((root / "tmp").iterdir()) == []


def test_no_row_is_left_by_a_put_that_failed(metadata: SqliteMetadata, tmp_path: Path) -> None:
    """A blob folder that is a file: the error is named, no row promises anything (invariant 8)."""
    (tmp_path / "blobs").write_bytes(b"")
    with pytest.raises(StoreUnavailableError):
        BlobStore(LocalDriver(tmp_path), metadata).put(RAW)
    with metadata.read():
        assert metadata.connection.execute("SELECT count(*) FROM blobs").get == 0


class Watched(LocalDriver):
    """Lets something happen once, after many objects were looked at and before their rows are."""

    meanwhile: Callable[[], None] | None = None

    def stat_many(self, names: Iterable[str]) -> dict[str, ObjectStat]:
        """The looks, then what comes between."""
        found = super().stat_many(names)
        happen, self.meanwhile = self.meanwhile, None
        if found and happen is not None:
            happen()
        return found


@pytest.mark.parametrize("content", [RAW, TEXT], ids=["raw", "zstd"])
@pytest.mark.parametrize("state", ["deleting", "gone"])
def test_what_is_collected_between_the_look_and_the_touch_is_written_anew(
    root: Path, metadata: SqliteMetadata, content: bytes, state: str
) -> None:
    """The object was seen, and its row is no longer live under the lock: then it is looked at again."""
    driver = Watched(root)
    blobs = BlobStore(driver, metadata)
    stored = blobs.put(content)

    def collect() -> None:
        set_state(metadata, "condemned" if state == "gone" else "deleting")
        for encoding in SUFFIX:
            driver.delete(blob_path(stored.hash, encoding))
        if state == "gone":
            drop_rows(metadata)

    driver.meanwhile = collect
    assert blobs.put_many([content, b"another"])[0] == stored
    found = row(metadata, stored.hash)
    assert found is not None
    assert found.state == "live"
    assert blobs.read(stored) == content


def test_the_row_of_a_frame_that_another_writer_has_named_first_describes_that_one(
    root: Path, metadata: SqliteMetadata
) -> None:
    """Two versions of zstd may compress the same content to different sizes; the object stays as it is."""
    digest = hash_bytes(TEXT)
    theirs = ZstdCompressor(level=19, write_checksum=True).compress(TEXT)
    path = root / blob_path(digest, "zstd")

    def name_first(moment: str, name: str) -> None:
        if (moment, name) == ("before", "object rename") and not path.exists():
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(theirs)

    with listening(name_first):
        stored = BlobStore(LocalDriver(root), metadata).put(TEXT)
    found = row(metadata, digest)
    assert found is not None
    assert (found.stored_size, path.read_bytes()) == (len(theirs), theirs)
    assert BlobStore(LocalDriver(root), metadata).has(stored)
    assert BlobStore(LocalDriver(root), metadata).read(stored) == TEXT


@pytest.mark.parametrize("state", ["deleting", "gone"])
@pytest.mark.parametrize("file", ["same", "changed", "removed"])
def test_a_file_whose_blob_is_collected_before_its_row_is_touched_is_read_again(
    root: Path, metadata: SqliteMetadata, tmp_path: Path, file: str, state: str
) -> None:
    """Its bytes were let go of; where they cannot be had again the put fails by name, and stores nothing else."""
    driver = Watched(root)
    blobs = BlobStore(driver, metadata)
    path = tmp_path / "clip"
    content = os.urandom(bounds.UNREAD_MIN_BYTES)
    path.write_bytes(content)
    stored = blobs.put_file(path)

    def collect() -> None:
        set_state(metadata, "condemned" if state == "gone" else "deleting")
        driver.delete(blob_path(stored.hash))
        if state == "gone":
            drop_rows(metadata)
        if file == "changed":
            path.write_bytes(b"another")
        if file == "removed":
            path.unlink()

    driver.meanwhile = collect
    if file == "same":
        assert blobs.put_many([path]) == [stored]
        assert blobs.read(stored) == content
    else:
        with pytest.raises(StoreUnavailableError, match="removed while"):
            blobs.put_many([path])
        assert list(driver.list("blobs/")) == []
        assert list(driver.list("tmp/")) == []


def test_a_damaged_object_of_a_large_file_is_written_anew_though_its_path_is_used_again(
    blobs: BlobStore, root: Path, tmp_path: Path
) -> None:
    """Whoever yields one path for many contents has their damage seen while each content is there."""
    path = tmp_path / "clip"
    contents = [os.urandom(bounds.UNREAD_MIN_BYTES) for _ in range(3)]
    stored = blobs.put_many(contents)
    (root / blob_path(stored[0].hash)).write_bytes(b"cut")

    def one_path() -> Iterator[Path]:
        for content in contents:
            path.write_bytes(content)
            yield path

    assert blobs.put_many(one_path()) == stored
    assert [blobs.read(one) for one in stored] == contents
