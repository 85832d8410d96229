"""Whether the object of a blob is there, as far as a look at names and sizes tells.

What invariants 8 and 9 mean by "having seen the object".
"""

from __future__ import annotations

from dataclasses import dataclass

from renku_store.blobs.reading import FRAME_HEADER_MAX_BYTES, frame_size
from renku_store.drivers.base import Driver
from renku_store.errors import BlobCorruptError, BlobMissingError
from renku_store.records.blob import BlobRow, Encoding, blob_path


@dataclass(frozen=True, slots=True)
class Presence:
    """An object: how it is stored, the bytes it takes, its content's `size` (None: unknown), whether they disagree."""

    encoding: Encoding
    stored_size: int
    size: int | None
    damaged: bool = False


def see(driver: Driver, digest: str, size: int | None, row: BlobRow | None = None) -> Presence | None:
    """Look for the object of a blob whose content has `size` bytes (None: unknown); a sound one before a damaged one.

    A row saves reading the frame's header of a compressed object.
    """
    found: Presence | None = None
    encodings: tuple[Encoding, ...] = ("zstd", "raw") if row is not None and row.encoding == "zstd" else ("raw", "zstd")
    for encoding in encodings:
        presence = _see_one(driver, digest, encoding, size, row)
        if presence is not None and not presence.damaged:
            return presence
        found = found or presence
    return found


def _see_one(driver: Driver, digest: str, encoding: Encoding, size: int | None, row: BlobRow | None) -> Presence | None:
    status = driver.stat(blob_path(digest, encoding))
    if status is None:
        return None
    if size is None and row is not None:
        size = row.size
    if encoding == "raw":
        return Presence(encoding, status.size, status.size, damaged=size is not None and size != status.size)
    if row is not None and row.encoding == "zstd" and row.size == size:
        return Presence(encoding, status.size, size, damaged=row.stored_size != status.size)
    try:
        header = driver.read(blob_path(digest, encoding), FRAME_HEADER_MAX_BYTES)
        return Presence(encoding, status.size, frame_size(digest, header, size))
    except BlobCorruptError:
        return Presence(encoding, status.size, size, damaged=True)
    except BlobMissingError:
        return None
