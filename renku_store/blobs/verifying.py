"""Whether the bytes of one object are what its name says, in constant memory; what is wrong is moved to quarantine.

What invariant 1 means to a check. Bytes are read without the write lock, which would hold everybody up; under it an
object is the one that was read if it has the same size and time (invariant 8).
"""

from __future__ import annotations

import io
from collections.abc import Callable, Iterable
from contextlib import suppress
from typing import TYPE_CHECKING, BinaryIO, Final

from blake3 import blake3

from renku_store import bounds
from renku_store.blobs.reading import FRAME_HEADER_MAX_BYTES, VerifiedSource, frame_size
from renku_store.drivers.base import Driver, ObjectStat
from renku_store.errors import BlobCorruptError, BlobMissingError, StoreUnavailableError
from renku_store.late import late_module
from renku_store.records.blob import Encoding, blob_path

if TYPE_CHECKING:
    import zstandard
else:
    zstandard = late_module("zstandard")

UNREADABLE: Final = "it cannot be read"
Look = Callable[[Driver, str, Encoding], str | None]
ENCODINGS: Final[tuple[Encoding, ...]] = ("raw", "zstd")


def fault(driver: Driver, digest: str, encoding: Encoding) -> str | None:
    """What is wrong with an object, as the end of a sentence; None where its content has the hash that names it.

    One that cannot be read is wrong, too. Raises `BlobMissingError` where it is not there (any more).
    """
    try:
        return damage(driver, digest, encoding)
    except StoreUnavailableError as error:
        return f"{UNREADABLE} ({error.message.rstrip('.')})"


def damage(driver: Driver, digest: str, encoding: Encoding) -> str | None:
    """The same of an object that can be read; raises `StoreUnavailableError` for another, which may be sound."""
    try:
        return _fault_raw(driver, digest) if encoding == "raw" else _fault_packed(driver, digest)
    except BlobCorruptError as error:
        return error.message.partition(" is damaged: ")[2].rstrip(".")
    except zstandard.ZstdError as error:
        return f"its frame cannot be read ({error})"


def proven(driver: Driver, digest: str, encoding: Encoding) -> str | None:
    """The same, and nothing of an object that cannot be read: rights, or too many open files, are no damage."""
    wrong = fault(driver, digest, encoding)
    return None if wrong is None or wrong.startswith(UNREADABLE) else wrong


def stored(driver: Driver, digest: str) -> dict[Encoding, int]:
    """The objects there are of a blob, with their sizes in bytes."""
    found: dict[Encoding, int] = {}
    for encoding in ENCODINGS:
        status = driver.stat(blob_path(digest, encoding))
        if status is not None:
            found[encoding] = status.size
    return found


def faults(driver: Driver, digest: str) -> dict[Encoding, str]:
    """The objects of a blob that are wrong, with what is wrong; looks at every one there is."""
    found: dict[Encoding, str] = {}
    for encoding in ENCODINGS:
        try:
            wrong = fault(driver, digest, encoding)
        except BlobMissingError:
            continue
        if wrong is not None:
            found[encoding] = wrong
    return found


def wrong_objects(driver: Driver, digest: str, look: Look = fault) -> list[ObjectStat]:
    """The objects of a blob that are wrong to a look at each, as they were before it."""
    found: list[ObjectStat] = []
    for encoding in ENCODINGS:
        # Before the reading: one that is replaced meanwhile is another by then.
        status = driver.stat(blob_path(digest, encoding))
        with suppress(BlobMissingError):
            if status is not None and look(driver, digest, encoding) is not None:
                found.append(status)
    return found


def move_wrong(driver: Driver, wrong: Iterable[ObjectStat], now_ms: int) -> list[str]:
    """Move objects to `quarantine/` that are still the ones that were read; gives their names.

    For a caller that holds the write lock.
    """
    moved: list[str] = []
    for found in wrong:
        aside = f"quarantine/{found.name.rpartition('/')[2]}-{now_ms:x}"
        if driver.stat(found.name) == found and driver.move(found.name, aside):
            moved.append(found.name)
    return moved


def _fault_raw(driver: Driver, digest: str) -> str | None:
    hasher = blake3()
    with driver.open(blob_path(digest)) as stream:
        while chunk := stream.read(bounds.CHUNK_BYTES):
            hasher.update(chunk)
    return None if hasher.hexdigest() == digest else "its bytes have another hash"


def _fault_packed(driver: Driver, digest: str) -> str | None:
    path = blob_path(digest, "zstd")
    size = frame_size(digest, driver.read(path, FRAME_HEADER_MAX_BYTES), None)
    with driver.open(path) as packed:
        read_frame(digest, packed, size)
    return None


def read_frame(digest: str, packed: BinaryIO, size: int) -> None:
    """Read a compressed object whose frame states `size` bytes to its end.

    Raises `BlobCorruptError` or `ZstdError` where it is not one whole frame of the content.
    """
    decompressor = zstandard.ZstdDecompressor(max_window_size=bounds.COMPRESSION_WINDOW_MAX_BYTES)
    # Across frames, so that bytes behind the one frame there should be are not overlooked.
    reader = decompressor.stream_reader(packed, read_across_frames=True, closefd=False)
    with VerifiedSource(_Readable(reader), digest, size) as content:
        while content.read(bounds.CHUNK_BYTES):
            pass


class _Readable(io.RawIOBase):
    """A decompressing reader as the raw stream that it almost is."""

    def __init__(self, reader: zstandard.ZstdDecompressionReader) -> None:
        super().__init__()
        self._reader = reader

    def readable(self) -> bool:
        """Always."""
        return True

    def readinto(self, buffer: bytearray | memoryview, /) -> int:  # type: ignore[override]
        """Decompress into a buffer."""
        return self._reader.readinto(buffer)
