"""Blobs: what is put is read back under the hash of its content, however it came in."""

from __future__ import annotations

import io
import os
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import BinaryIO

import pytest
from blake3 import blake3
from hypothesis import given
from hypothesis import strategies as st

from renku_store import bounds
from renku_store.blobs import BlobStat, BlobStore
from renku_store.drivers.base import Driver
from renku_store.drivers.local import LocalDriver
from renku_store.errors import (
    BlobMissingError,
    InvalidIdError,
    InvalidValueError,
    NotFoundError,
    StoreUnavailableError,
)
from renku_store.metadata.sqlite.opening import MEMORY, open_sqlite
from renku_store.metadata.sqlite.store import SqliteMetadata
from renku_store.records.blob import BlobRef, blob_path
from tests.roots import Root

pytestmark = pytest.mark.long_away
HELD = bounds.BLOB_HOLD_MAX_BYTES


@pytest.fixture
def metadata() -> Iterator[SqliteMetadata]:
    store = open_sqlite(Path(MEMORY))
    yield store
    store.close()


@pytest.fixture
def driver(any_root: Root) -> Driver:
    return any_root.driver("movie")


@pytest.fixture
def blobs(driver: Driver, metadata: SqliteMetadata) -> BlobStore:
    return BlobStore(driver, metadata)


def reference(data: bytes) -> BlobRef:
    return BlobRef(blake3(data).hexdigest(), len(data))


def text(size: int) -> bytes:
    return (b"A sentence that compresses well. " * (size // 33 + 1))[:size]


def live(metadata: SqliteMetadata, digest: str) -> bool:
    with metadata.read() as reader:
        row = reader.blobs.get([digest]).get(digest)
    return row is not None and row.state == "live"


@given(contents=st.lists(st.binary(max_size=200) | st.binary(max_size=5).map(lambda part: part * 3_000), max_size=8))
def test_any_contents_are_read_back_in_order(tmp_path_factory: pytest.TempPathFactory, contents: list[bytes]) -> None:
    """Whole, as a stream and as a copy; each named by the BLAKE3 of its content (invariant 1)."""
    folder = tmp_path_factory.mktemp("blobs")
    metadata = open_sqlite(Path(MEMORY))
    blobs = BlobStore(LocalDriver(folder), metadata)
    references = blobs.put_many(contents)
    assert references == [reference(data) for data in contents]
    for number, (stored, data) in enumerate(zip(references, contents, strict=True)):
        blobs.copy_to(stored, folder / f"copy-{number}")
        with blobs.open(stored.hash) as stream:
            assert blobs.read(stored) == blobs.read(stored.hash) == stream.read() == data
        assert (folder / f"copy-{number}").read_bytes() == data
    metadata.close()


@pytest.mark.parametrize("size", [0, 1, 4096, 4097, 65_536, 65_537, HELD - 1, HELD, HELD + 1, 2 * HELD + 12_345])
@pytest.mark.parametrize("kind", ["random", "text"])
def test_every_way_in_gives_the_same_blob(
    blobs: BlobStore, driver: Driver, tmp_path: Path, size: int, kind: str
) -> None:
    """Bytes, buffers, streams and files of sizes around every threshold."""
    data = os.urandom(size) if kind == "random" else text(size)
    path = tmp_path / "source"
    path.write_bytes(data)
    expected = reference(data)
    assert blobs.put(data) == expected
    assert blobs.put(bytearray(data)) == expected
    assert blobs.put(memoryview(data)) == expected
    assert blobs.put(io.BytesIO(data)) == expected
    assert blobs.put_file(path) == expected
    assert blobs.put_many([path, str(path), data]) == [expected] * 3
    assert blobs.read(expected) == data
    assert [found.name for found in driver.list("")] == [blob_path(expected.hash, blobs.stat(expected).encoding)]
    assert blobs.stat(expected).encoding == ("zstd" if kind == "text" and size > 4096 else "raw")


@pytest.mark.parametrize("size", [HELD + 1, 2 * HELD])
@pytest.mark.parametrize("kind", ["random", "text"])
def test_every_way_in_of_large_content_works_first(
    blobs: BlobStore, metadata: SqliteMetadata, driver: Driver, tmp_path: Path, size: int, kind: str
) -> None:
    """Streams, files and buffers too large to hold, none of them stored before."""
    contents = [(os.urandom(size) if kind == "random" else text(size - 1) + bytes([number])) for number in range(3)]
    path = tmp_path / "source"
    path.write_bytes(contents[1])
    stored = [blobs.put(io.BytesIO(contents[0])), blobs.put_file(path), blobs.put(memoryview(contents[2]))]
    assert stored == [reference(data) for data in contents]
    for found, data in zip(stored, contents, strict=True):
        assert live(metadata, found.hash)
        assert blobs.stat(found).encoding == ("raw" if kind == "random" else "zstd")
        assert blobs.read(found) == data
    assert list(driver.list("tmp/")) == []


def test_a_stream_is_read_from_where_it_stands(blobs: BlobStore) -> None:
    """In pieces as short as it likes to give."""

    class Trickle(io.RawIOBase):
        def __init__(self) -> None:
            self.left = [b"one", b"2", b"three"]

        def readable(self) -> bool:
            return True

        def read(self, size: int = -1) -> bytes:
            return self.left.pop(0) if self.left else b""

    stream = io.BytesIO(b"skipped content")
    stream.seek(8)
    assert blobs.read(blobs.put(stream)) == b"content"
    assert blobs.read(blobs.put(Trickle())) == b"one2three"  # type: ignore[arg-type]


def test_a_stream_that_fails_leaves_nothing(blobs: BlobStore, driver: Driver) -> None:
    """Its error passes through; neither object nor temporary file nor descriptor stays."""

    class Broken(io.RawIOBase):
        count = 0

        def read(self, size: int = -1) -> bytes:
            self.count += 1
            if self.count > 12:
                raise ConnectionResetError
            return bytes(bounds.CHUNK_BYTES)

    assert [*driver.list("")] == []  # a connection stays open, where there is one
    before = len(list(Path("/proc/self/fd").iterdir()))
    with pytest.raises(ConnectionResetError):
        blobs.put(Broken())  # type: ignore[arg-type]
    assert [*driver.list(""), *driver.list("tmp/")] == []
    assert len(list(Path("/proc/self/fd").iterdir())) == before
    assert not [thread for thread in threading.enumerate() if thread.name == "blob-hash"]


@pytest.mark.parametrize("opened", [lambda: io.StringIO("text"), lambda: open(os.devnull)])  # noqa: PTH123, SIM115
def test_a_text_stream_is_refused(blobs: BlobStore, opened: Callable[[], BinaryIO]) -> None:
    """The hint says how to open it."""
    with opened() as stream, pytest.raises(InvalidValueError, match="instead of bytes") as error:
        blobs.put(stream)
    assert "binary" in error.value.hint


def test_files_that_are_none_are_named(blobs: BlobStore, tmp_path: Path) -> None:
    """Missing, a folder, below a file, a device that never ends, a FIFO that nobody writes to."""
    (tmp_path / "file").write_bytes(b"")
    os.mkfifo(tmp_path / "fifo")
    for path in (tmp_path / "missing", tmp_path / "file" / "below"):
        with pytest.raises(NotFoundError, match=path.name):
            blobs.put_file(path)
    with pytest.raises(InvalidValueError, match="NUL"):
        blobs.put_file(tmp_path / "a\0b")
    for path in (tmp_path, Path("/dev/zero"), tmp_path / "fifo"):
        with pytest.raises(InvalidValueError, match="not a regular file"):
            blobs.put_file(path)


def test_a_file_with_a_non_utf8_name_is_stored(blobs: BlobStore, tmp_path: Path) -> None:
    """And a missing one is named in printable text."""
    path = os.fsdecode(os.fsencode(tmp_path) + b"/\xff")
    Path(path).write_bytes(b"x")
    assert blobs.put_file(path) == reference(b"x")
    with pytest.raises(NotFoundError) as error:
        blobs.put_file(path + "2")
    assert error.value.message.encode()


def test_a_buffer_that_changes_during_the_put_stores_what_was_hashed(blobs: BlobStore) -> None:
    """The name is that of the bytes stored, whichever they are (invariant 1)."""
    data = bytearray(3 * HELD)
    stop = threading.Event()

    def scribble() -> None:
        while not stop.is_set():
            data[:: 64 * 1024] = os.urandom(len(data[:: 64 * 1024]))

    writer = threading.Thread(target=scribble)
    writer.start()
    stored = blobs.put(data)
    stop.set()
    writer.join()
    assert reference(blobs.read(stored)) == stored


def test_content_is_compressed_only_where_that_saves_a_tenth(blobs: BlobStore) -> None:
    """Noise is stored raw; so is what looks compressible in its sample alone, and what fits into one disk block."""
    third = bounds.COMPRESSION_SAMPLE_BYTES
    misleading = text(third) + os.urandom(1_000_000) + text(third) + os.urandom(1_000_000) + text(third)
    noise_with_a_header = text(third) + os.urandom(1_000_000)
    cases = [
        (text(1_000_000), "zstd"),
        (os.urandom(1_000_000), "raw"),
        (misleading, "raw"),
        (noise_with_a_header, "raw"),
        (misleading * 5, "raw"),
        (text(bounds.COMPRESSION_MIN_BYTES), "raw"),
        (text(bounds.COMPRESSION_MIN_BYTES + 1), "zstd"),
    ]
    for data, encoding in cases:
        stored = blobs.put(data)
        found = blobs.stat(stored)
        assert found.encoding == encoding
        assert found == BlobStat(
            stored.hash, len(data), found.stored_size, found.encoding, blob_path(stored.hash, found.encoding)
        )
        assert found.stored_size == len(data) if encoding == "raw" else found.stored_size <= 0.9 * len(data)
        assert blobs.read(stored) == data


@pytest.mark.files
def test_a_second_put_writes_nothing_but_a_touch(
    blobs: BlobStore, metadata: SqliteMetadata, driver: Driver, tmp_path: Path
) -> None:
    """No file is made anew, the row's time moves on."""
    contents = [b"small", text(100_000), os.urandom(100_000), b""]
    blobs.put_many(contents)
    metadata.connection.execute("UPDATE blobs SET touched_at = 1")
    before = {path: path.stat().st_ino for path in tmp_path.rglob("*") if path.is_file()}
    folder_time = (tmp_path / "root" / "movie" / "tmp").stat().st_mtime_ns
    blobs.put_many(contents + contents)
    assert {path: path.stat().st_ino for path in tmp_path.rglob("*") if path.is_file()} == before
    assert (tmp_path / "root" / "movie" / "tmp").stat().st_mtime_ns == folder_time
    with metadata.read() as reader:
        rows = reader.blobs.get([reference(data).hash for data in contents])
    assert all(row.touched_at > 1 for row in rows.values())
    assert len(rows) == len(contents)


def test_a_batch_larger_than_its_bounds_is_stored_whole(
    blobs: BlobStore, metadata: SqliteMetadata, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Any number of items, any number of bytes; several commits make no difference to what comes back."""
    monkeypatch.setattr(bounds, "BATCH_MAX_FILES", 7)
    monkeypatch.setattr(bounds, "BATCH_MAX_BYTES", 40_000)
    contents = [os.urandom(1 + number * 300) for number in range(100)]
    references = blobs.put_many(data for data in contents)
    assert references == [reference(data) for data in contents]
    assert [blobs.read(stored) for stored in references] == contents
    assert all(live(metadata, stored.hash) for stored in references)


def test_a_batch_does_not_wait_for_ever_for_more(
    blobs: BlobStore, metadata: SqliteMetadata, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What comes slowly is made durable before its temporary files can be taken for those of a dead process."""
    monkeypatch.setattr(bounds, "BATCH_MAX_ROWS", 3)
    monkeypatch.setattr(bounds, "BATCH_MAX_SECONDS", -1.0)
    contents = [b"%d" % number for number in range(10)]
    stored: list[int] = []

    def slowly() -> Iterator[bytes]:
        for data in contents:
            stored.append(sum(live(metadata, reference(one).hash) for one in contents))
            yield data

    blobs.put_many(slowly())
    assert stored == [0, 0, 0, 3, 3, 3, 6, 6, 6, 9]


def test_an_error_in_a_batch_keeps_every_stored_item_whole(blobs: BlobStore, driver: Driver, tmp_path: Path) -> None:
    """The item that failed is named, what was staged leaves no trace, the batch can be put again."""
    contents: list[bytes | Path] = [b"%d" % number for number in range(20)]
    with pytest.raises(NotFoundError, match="missing"):
        blobs.put_many([*contents, tmp_path / "missing", b"after"])
    assert list(driver.list("tmp/")) == []
    assert len(blobs.put_many(contents)) == 20


def test_many_threads_that_put_the_same_bytes_store_them_once(blobs: BlobStore, driver: Driver) -> None:
    """All get the same reference, and one object is there."""
    contents = [os.urandom(10_000) for _ in range(5)]
    barrier = threading.Barrier(8)

    def put(_: int) -> list[BlobRef]:
        barrier.wait()
        return [blobs.put(data) for data in contents]

    with ThreadPoolExecutor(8) as pool:
        results = list(pool.map(put, range(8)))
    assert results == [[reference(data) for data in contents]] * 8
    assert len(list(driver.list("blobs/"))) == 5
    assert list(driver.list("tmp/")) == []


def test_what_is_not_there_is_named_as_missing(blobs: BlobStore, tmp_path: Path) -> None:
    """By hash, in every way of reading; a copy leaves no file."""
    absent = reference(b"never put")
    for read in (blobs.read, blobs.open, blobs.stat):
        for blob in (absent, absent.hash):
            with pytest.raises(BlobMissingError, match=absent.hash):
                read(blob)
    with pytest.raises(BlobMissingError, match=absent.hash):
        blobs.copy_to(absent, tmp_path / "copy")
    assert not (tmp_path / "copy").exists()
    assert not blobs.has(absent)


@pytest.mark.parametrize("digest", ["", "../../etc/passwd", "A" * 64, "0" * 63])
def test_what_is_no_hash_is_refused(blobs: BlobStore, digest: str) -> None:
    """Before any path is made of it."""
    for operation in (blobs.read, blobs.open, blobs.stat, blobs.has):
        with pytest.raises(InvalidIdError):
            operation(digest)


def test_a_copy_never_overwrites(blobs: BlobStore, tmp_path: Path) -> None:
    """An existing target is refused and kept; a folder that is not there is named."""
    stored = blobs.put(b"new")
    (tmp_path / "there").write_bytes(b"old")
    with pytest.raises(InvalidValueError, match="exists already"):
        blobs.copy_to(stored, tmp_path / "there")
    assert (tmp_path / "there").read_bytes() == b"old"
    with pytest.raises(StoreUnavailableError, match="nowhere"):
        blobs.copy_to(stored, tmp_path / "nowhere" / "x")


def test_streams_can_be_read_in_any_pieces_but_not_written_to(blobs: BlobStore) -> None:
    """Lines, short reads, reads into a buffer."""
    data = text(200_000) + b"\nlast"
    stored = blobs.put(data)
    with blobs.open(stored) as stream:
        assert stream.readable()
        assert not stream.writable()
        assert not stream.seekable()
        parts = [stream.read(1), stream.read(70_000), stream.readline()]
        rest = bytearray(100)
        count = stream.readinto(rest)  # type: ignore[attr-defined]
        assert b"".join(parts) + rest[:count] == data
        assert stream.read() == b""


def test_without_a_database_blobs_are_read_and_none_is_put(blobs: BlobStore, driver: Driver) -> None:
    """As on a read-only root whose database is gone."""
    stored = blobs.put_many([b"raw", text(50_000)])
    reader = BlobStore(driver, None)
    assert [reader.read(found.hash) for found in stored] == [b"raw", text(50_000)]
    assert reader.stat(stored[1].hash).size == 50_000
    with pytest.raises(StoreUnavailableError, match="reading only"):
        reader.put(b"x")
