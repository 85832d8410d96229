"""Damaged blobs: every altered, shortened, lengthened or lying object is found before its last byte is handed over."""

from __future__ import annotations

import io
import os
from collections.abc import Callable, Iterator
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import BinaryIO

import pytest
import zstandard
from blake3 import blake3
from hypothesis import given
from hypothesis import strategies as st

from renku_store import bounds
from renku_store.blobs import BlobStore
from renku_store.blobs.reading import verified
from renku_store.drivers.local import LocalDriver
from renku_store.errors import BlobCorruptError, StoreError
from renku_store.metadata.sqlite.opening import MEMORY, open_sqlite
from renku_store.metadata.sqlite.store import SqliteMetadata
from renku_store.records.blob import BlobRef, blob_path
from tests import children
from tests.authoring import WritersWatched

RAW = os.urandom(200_000)
NAME = blake3(RAW).hexdigest()
TEXT = b"".join(b"line %d\n" % number for number in range(30_000))


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


def plant(root: Path, path: str, content: bytes) -> None:
    (root / path).parent.mkdir(parents=True, exist_ok=True)
    (root / path).write_bytes(content)


def refused_everywhere(blobs: BlobStore, blob: BlobRef | str, target: Path) -> None:
    """No way of reading gives the content; of a stream all but the last byte at most; a copy is removed."""
    with pytest.raises(BlobCorruptError):
        blobs.read(blob)
    with pytest.raises(BlobCorruptError):
        blobs.copy_to(blob, target)
    assert not target.exists()
    size = blob.size if isinstance(blob, BlobRef) else None
    handed = bytearray()
    with pytest.raises(BlobCorruptError):
        drain(blobs, blob, 1_000, handed)
    assert size is None or len(handed) < size or size == 0


def drain(blobs: BlobStore, blob: BlobRef | str, piece: int, into: bytearray) -> None:
    """Read a stream to its end, piece by piece."""
    with blobs.open(blob) as stream:
        while chunk := stream.read(piece):
            into += chunk


ALTERATIONS: dict[str, Callable[[bytes], bytes]] = {
    "one bit": lambda data: data[:1000] + bytes([data[1000] ^ 4]) + data[1001:],
    "first bit": lambda data: bytes([data[0] ^ 1]) + data[1:],
    "last bit": lambda data: data[:-1] + bytes([data[-1] ^ 128]),
    "last byte gone": lambda data: data[:-1],
    "half gone": lambda data: data[: len(data) // 2],
    "emptied": lambda data: b"",
    "zeroed": lambda data: bytes(len(data)),
    "other content": lambda data: b"something else",
}


@pytest.mark.parametrize("alteration", ALTERATIONS)
@pytest.mark.parametrize("content", [RAW, TEXT], ids=["raw", "zstd"])
@pytest.mark.parametrize("by_hash", [False, True])
def test_an_altered_object_is_never_read(
    blobs: BlobStore, root: Path, tmp_path: Path, alteration: str, content: bytes, by_hash: bool
) -> None:
    """Whether the size is known to the caller or not."""
    stored = blobs.put(content)
    path = root / blobs.stat(stored).path
    path.write_bytes(ALTERATIONS[alteration](path.read_bytes()))
    refused_everywhere(blobs, stored.hash if by_hash else stored, tmp_path / "copy")


def test_appended_bytes_are_found_in_raw_objects(blobs: BlobStore, root: Path, tmp_path: Path) -> None:
    """Also when the true content comes first."""
    stored = blobs.put(RAW)
    with (root / blobs.stat(stored).path).open("ab") as file:
        file.write(b"x")
    refused_everywhere(blobs, stored, tmp_path / "copy")
    refused_everywhere(blobs, stored.hash, tmp_path / "copy")


@pytest.mark.parametrize("content", [b"", b"x"])
def test_the_smallest_blobs_are_verified_too(blobs: BlobStore, root: Path, tmp_path: Path, content: bytes) -> None:
    """An empty blob has no last byte: it is refused when it is opened."""
    stored = blobs.put(content)
    (root / blob_path(stored.hash)).write_bytes(b"y")
    refused_everywhere(blobs, stored, tmp_path / "copy")
    refused_everywhere(blobs, stored.hash, tmp_path / "copy")


@given(place=st.floats(0, 1, exclude_max=True), bit=st.integers(0, 7), chunk=st.integers(1, 100_000))
def test_no_flipped_bit_of_a_stream_reaches_its_end(
    tmp_path_factory: pytest.TempPathFactory, place: float, bit: int, chunk: int
) -> None:
    """Wherever the bit is and in whatever pieces the stream is read."""
    root = tmp_path_factory.mktemp("flip")
    data = bytearray(RAW)
    data[int(place * len(data))] ^= 1 << bit
    digest = blake3(RAW).hexdigest()
    plant(root, blob_path(digest), data)
    handed = bytearray()
    with pytest.raises(BlobCorruptError):
        drain(BlobStore(LocalDriver(root), None), digest, chunk, handed)
    assert len(handed) < len(RAW)


def test_a_stream_that_failed_keeps_failing(blobs: BlobStore, root: Path) -> None:
    """A reader that goes on after the error gets the error again, not the bytes."""
    stored = blobs.put(RAW)
    (root / blob_path(stored.hash)).write_bytes(ALTERATIONS["last bit"](RAW))
    with blobs.open(stored) as stream:
        for _ in range(3):
            with pytest.raises(BlobCorruptError):
                stream.read()


def test_a_source_that_grew_after_it_was_measured_is_refused() -> None:
    """The right content, then more: a stream ends where its recorded size says, or fails."""
    with (
        pytest.raises(BlobCorruptError, match="more bytes"),
        verified(io.BytesIO(RAW + b"x"), NAME, len(RAW)) as stream,
    ):
        stream.read()
    with verified(io.BytesIO(RAW), NAME, len(RAW)) as stream:
        assert stream.read() == RAW


def frame(content: bytes, **options: object) -> bytes:
    parameters = zstandard.ZstdCompressionParameters.from_level(3, **options)  # type: ignore[arg-type]
    return zstandard.ZstdCompressor(compression_params=parameters).compress(content)


def test_a_frame_that_states_another_size_than_recorded_is_refused_unread(
    blobs: BlobStore, root: Path, tmp_path: Path
) -> None:
    """Be the size recorded in the reference or in the row."""
    stored = blobs.put(TEXT)
    (root / blob_path(stored.hash, "zstd")).write_bytes(frame(bytes(100_000_000)))
    for blob in (stored, stored.hash):
        with pytest.raises(BlobCorruptError, match=f"states 100000000 bytes where {len(TEXT)} are recorded"):
            blobs.read(blob)
        refused_everywhere(blobs, blob, tmp_path / "copy")


def test_a_frame_without_a_size_is_refused(blobs: BlobStore, root: Path, tmp_path: Path) -> None:
    """Nothing bounds what it expands to."""
    stored = blobs.put(TEXT)
    (root / blob_path(stored.hash, "zstd")).write_bytes(frame(TEXT, write_content_size=False))
    refused_everywhere(blobs, stored, tmp_path / "copy")


def test_a_frame_that_asks_for_much_memory_is_refused(blobs: BlobStore, root: Path, tmp_path: Path) -> None:
    """Its window may have 8 MiB."""
    content = bytes(64 << 20)
    digest = blake3(content).hexdigest()
    plant(root, blob_path(digest, "zstd"), frame(content, window_log=25))
    refused_everywhere(blobs, digest, tmp_path / "copy")
    with pytest.raises(BlobCorruptError, match="asks for 33554432 bytes of memory"):
        blobs.open(digest)
    plant(root, blob_path(digest, "zstd"), frame(content, window_log=23))
    assert blobs.read(digest) == content


def test_bytes_after_the_frame_are_refused(blobs: BlobStore, root: Path) -> None:
    """An object is one frame."""
    stored = blobs.put(TEXT)
    with (root / blob_path(stored.hash, "zstd")).open("ab") as file:
        file.write(b"more")
    with pytest.raises(BlobCorruptError):
        blobs.read(stored)


BOMB = """
    import sys
    from pathlib import Path
    from renku_store.blobs import BlobStore
    from renku_store.drivers.local import LocalDriver
    from renku_store.errors import BlobCorruptError
    from renku_store.records.blob import BlobRef
    def peak():
        return int(Path("/proc/self/status").read_text().partition("VmHWM:")[2].split()[0])
    blobs = BlobStore(LocalDriver(sys.argv[1]), None)
    blobs.has(sys.argv[2])
    before = peak()
    copy = Path(sys.argv[3])
    for read in (lambda: blobs.read(BlobRef(sys.argv[2], 100_000)), lambda: blobs.copy_to(sys.argv[2], copy)):
        try:
            read()
        except BlobCorruptError:
            print(peak() - before)
"""


def test_a_bomb_is_refused_in_little_memory(root: Path) -> None:
    """A frame whose header says 100 KB and whose body holds 4 GiB."""
    digest = blake3(b"whatever").hexdigest()
    plant(root, blob_path(digest, "zstd"), bomb(100_000, 4 << 30))
    assert zstandard.ZstdDecompressor().decompress(bomb(1 << 20, 1 << 20)) == bytes(1 << 20)
    ended = children.run(BOMB, root, digest, root / "copy")
    assert ended.err == ""
    assert [int(kibibytes) < 32 << 10 for kibibytes in ended.out.split()] == [True, True]


def bomb(stated: int, real: int) -> bytes:
    """A zstd frame (RFC 8878) of blocks that repeat one byte, with a content size of our choice in its header."""
    header = (0xFD2FB528).to_bytes(4, "little") + bytes([0b1000_0000, 0x38]) + stated.to_bytes(4, "little")
    block = 128 << 10
    repeated = (block << 3 | 0b010).to_bytes(3, "little") + b"\0"
    last = (block << 3 | 0b011).to_bytes(3, "little") + b"\0"
    return header + repeated * (real // block - 1) + last


def test_a_look_finds_missing_and_shortened_objects(blobs: BlobStore, root: Path) -> None:
    """Without reading content; an altered byte of the right size is for reading to find."""
    stored = blobs.put_many([RAW, TEXT, b"missing", b"short", b"sound"])
    (root / blob_path(stored[2].hash)).unlink()
    (root / blob_path(stored[3].hash)).write_bytes(b"s")
    assert blobs.damaged({found.hash: found.size for found in stored}) == {stored[2].hash, stored[3].hash}
    assert not blobs.has(stored[3])
    assert blobs.has(stored[4])


@pytest.mark.parametrize("content", [RAW, TEXT], ids=["raw", "zstd"])
@pytest.mark.parametrize("alteration", ["half gone", "emptied", "last byte gone", "one bit", "zeroed"])
def test_a_damaged_object_is_no_dedup_hit_but_set_aside_and_written_anew(
    blobs: BlobStore, root: Path, content: bytes, alteration: str
) -> None:
    """Putting the content again repairs the blob; the damaged object is kept in quarantine."""
    stored = blobs.put(content)
    path = root / blobs.stat(stored).path
    damaged = ALTERATIONS[alteration](path.read_bytes())
    path.write_bytes(damaged)
    assert blobs.put(content) == stored
    assert blobs.read(stored) == content
    [aside] = (root / "quarantine").iterdir()
    assert aside.name.startswith(path.name)
    assert aside.read_bytes() == damaged


def test_of_many_and_of_large_ones_only_the_size_is_looked_at(blobs: BlobStore, root: Path) -> None:
    """Reading what is there would make adding again as slow as reading; a check of the movie finds it."""
    for content, put in ((RAW, blobs.put_many), (os.urandom(bounds.PUT_VERIFY_MAX_BYTES + 1), None)):
        stored = blobs.put(content)
        path = root / blobs.stat(stored).path
        path.write_bytes(ALTERATIONS["one bit"](path.read_bytes()))
        assert (put([content])[0] if put else blobs.put(content)) == stored
        with pytest.raises(BlobCorruptError):
            blobs.read(stored)


def test_a_missing_object_with_a_live_row_is_written_anew(blobs: BlobStore, root: Path) -> None:
    """A row alone is no dedup hit."""
    stored = blobs.put(RAW)
    (root / blob_path(stored.hash)).unlink()
    assert blobs.put(RAW) == stored
    assert blobs.read(stored) == RAW


def test_damage_is_named_with_the_hash_and_says_what_to_do(blobs: BlobStore, root: Path) -> None:
    """The message holds what a person needs."""
    stored = blobs.put(RAW)
    (root / blob_path(stored.hash)).write_bytes(b"x")
    with pytest.raises(StoreError) as error:
        blobs.read(stored)
    assert error.value.kind == "BlobCorruptError"
    assert stored.hash in error.value.message
    assert "from a copy" in error.value.hint


# Two objects of one blob


@pytest.fixture
def both(blobs: BlobStore, root: Path) -> tuple[Path, Path]:
    """The plain and the packed object of `TEXT`, as a copy of another root may bring a second one."""
    packed = root / blobs.stat(blobs.put(TEXT)).path
    assert packed.suffix == ".zst"
    plain = packed.with_suffix("")
    plain.write_bytes(TEXT)
    return plain, packed


def flip(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 8
    path.write_bytes(data)


@pytest.mark.parametrize("damaged", [0, 1], ids=["plain", "packed"])
@pytest.mark.parametrize("damage", [flip, lambda path: path.write_bytes(b"short")], ids=["altered", "short"])
@pytest.mark.parametrize("by_hash", [False, True])
def test_a_sound_object_serves_where_another_of_the_same_blob_is_damaged(
    blobs: BlobStore,
    both: tuple[Path, Path],
    tmp_path: Path,
    damaged: int,
    damage: Callable[[Path], None],
    by_hash: bool,
) -> None:
    """However it is read; and quarantine takes only the damaged one."""
    damage(both[damaged])
    digest = blake3(TEXT).hexdigest()
    blob = digest if by_hash else BlobRef(digest, len(TEXT))
    assert blobs.read(blob) == TEXT
    handed = bytearray()
    drain(blobs, blob, 1_000, handed)
    assert handed == TEXT
    blobs.copy_to(blob, tmp_path / "copy")
    assert (tmp_path / "copy").read_bytes() == TEXT
    assert not blobs.quarantine(blob)
    assert [path.exists() for path in both] == [damaged == 1, damaged == 0]
    assert blobs.read(blob) == TEXT
    assert blobs.has(blob)


def test_where_both_are_damaged_both_go(blobs: BlobStore, both: tuple[Path, Path], root: Path, tmp_path: Path) -> None:
    """Nothing of them is ever handed over."""
    digest = blake3(TEXT).hexdigest()
    for path in both:
        flip(path)
    refused_everywhere(blobs, digest, tmp_path / "copy")
    assert blobs.quarantine(digest)
    assert len(list((root / "quarantine").iterdir())) == 2
    assert blobs.read(blobs.put(TEXT)) == TEXT


def test_bytes_are_looked_at_without_holding_writers_up(root: Path, tmp_path: Path) -> None:
    """Under the lock it is enough that the object is still the one that was read."""
    driver = WritersWatched(root)
    with closing(open_sqlite(tmp_path / "db", lock=partial(driver.lock, "write", wait_seconds=5))) as metadata:
        blobs = BlobStore(driver, metadata)
        stored = blobs.put(RAW)
        flip(root / blobs.stat(stored).path)
        driver.could_write = []
        assert blobs.quarantine(stored)
    assert driver.could_write == [True]


class Mended(LocalDriver):
    """A driver of a root in which somebody mends a blob as soon as the damaged bytes have been opened."""

    def open(self, name: str) -> BinaryIO:
        stream = super().open(name)
        sound = Path(self.root, "sound")
        sound.write_bytes(RAW)
        sound.replace(Path(self.root, name))
        return stream


def test_what_was_mended_while_it_was_read_stays(root: Path, metadata: SqliteMetadata) -> None:
    """The damaged bytes are gone by the time of the lock; the sound ones have their name."""
    stored = BlobStore(LocalDriver(root), metadata).put(RAW)
    flip(root / blob_path(NAME))
    os.utime(root / blob_path(NAME), (1, 1))
    assert not BlobStore(Mended(root), metadata).quarantine(stored)
    assert (root / blob_path(NAME)).read_bytes() == RAW
    assert not (root / "quarantine").exists()
