"""Whether the object of a blob is there and whole, as far as a look at names, sizes and the frame tells.

What invariants 8 and 9 mean by "having seen the object". Everybody who asks is given the same answer: with a row the
object must take the bytes that the row says, without one a compressed object must end where its frame does. Where each
machine has rows of its own, another one may have compressed the content anew: then the frame decides.
"""

from __future__ import annotations

import io
from collections.abc import Mapping
from typing import TYPE_CHECKING, BinaryIO, Final, TypeAlias

from msgspec import Struct

from renku_store.blobs.reading import FRAME_HEADER_MAX_BYTES, frame_size
from renku_store.drivers.base import Driver, ObjectStat, shares_index
from renku_store.errors import BlobCorruptError, BlobMissingError
from renku_store.late import late_module
from renku_store.records.blob import SUFFIX, BlobRow, Encoding, blob_path

if TYPE_CHECKING:
    import zstandard
else:
    zstandard = late_module("zstandard")

_BLOCK_HEADER_BYTES: Final = 3
_CHECKSUM_BYTES: Final = 4
_RUN_LENGTH: Final = 1
_FRAME_HELD_BYTES: Final = 32_768
"""Smaller compressed objects are read whole, many at once, where their frame has to be looked through."""
_FRAMES_HELD: Final = 1_000
_RESERVED: Final = 3


class Presence(Struct, frozen=True):
    """An object: how it is stored, the bytes it takes, its content's `size` (None: unknown), whether they disagree.

    `modified` is when it was written, Unix seconds by the clock of the storage.
    """

    encoding: Encoding
    stored_size: int
    size: int | None
    damaged: bool = False
    modified: float = 0.0


Seen: TypeAlias = Mapping[str, Presence]
"""What was seen of blobs, by hash."""


def see(driver: Driver, digest: str, size: int | None, row: BlobRow | None = None) -> Presence | None:
    """Look for the object of a blob whose content has `size` bytes (None: unknown); a sound one before a damaged one.

    A row saves reading the frame of a compressed object.
    """
    found: Presence | None = None
    for encoding in _encodings(row):
        status = driver.stat(blob_path(digest, encoding))
        presence = None if status is None else _judged(driver, digest, encoding, status, size, row)
        if presence is not None and not presence.damaged:
            return presence
        found = found or presence
    return found


def see_all(driver: Driver, sizes: Mapping[str, int | None], rows: Mapping[str, BlobRow]) -> dict[str, Presence]:
    """`see` for many blobs, given as hash and size; those of which there is no object are left out.

    Where the storage is far away, many are asked for at a time.
    """
    if shares_index(driver):
        seen = ((digest, see(driver, digest, size, rows.get(digest))) for digest, size in sizes.items())
        return {digest: presence for digest, presence in seen if presence is not None}
    found: dict[str, Presence] = {}
    left = dict(sizes)
    for place in range(2):
        names = {blob_path(digest, _encodings(rows.get(digest))[place]): digest for digest in left}
        there = driver.stat_many(names)
        frames = _small_frames(driver, there, {name: rows.get(digest) for name, digest in names.items()})
        for name, status in there.items():
            digest, encoding = names[name], _encodings(rows.get(names[name]))[place]
            presence = _judged(driver, digest, encoding, status, sizes[digest], rows.get(digest), frames.get(name))
            if presence is not None and (not presence.damaged or digest not in found):
                found[digest] = presence
        left = {digest: size for digest, size in left.items() if digest not in found or found[digest].damaged}
    return found


def _small_frames(
    driver: Driver, there: Mapping[str, ObjectStat], rows: Mapping[str, BlobRow | None]
) -> dict[str, bytes]:
    """The bytes of small compressed objects that no row tells of, asked for side by side; as many as may be held."""
    wanted: list[str] = []
    for name, status in there.items():
        row = rows[name]
        told = row is not None and row.encoding == "zstd" and row.stored_size == status.size
        if name.endswith(SUFFIX["zstd"]) and not told and status.size <= _FRAME_HELD_BYTES:
            wanted.append(name)
    return driver.read_many(wanted[:_FRAMES_HELD]) if wanted else {}


def _encodings(row: BlobRow | None) -> tuple[Encoding, Encoding]:
    """In which order one looks for the objects of a blob."""
    return ("zstd", "raw") if row is not None and row.encoding == "zstd" else ("raw", "zstd")


def _judged(
    driver: Driver,
    digest: str,
    encoding: Encoding,
    status: ObjectStat,
    size: int | None,
    row: BlobRow | None,
    frame: bytes | None = None,
) -> Presence | None:
    """What an object is by its size and its frame, of which the bytes may be at hand; None where it has gone since."""
    if size is None and row is not None:
        size = row.size
    if encoding == "raw":
        damaged = size is not None and size != status.size
        return Presence(encoding, status.size, status.size, damaged, status.modified)
    if row is not None and row.encoding == "zstd" and row.size == size:
        differs = row.stored_size != status.size
        if not differs or shares_index(driver):
            return Presence(encoding, status.size, size, differs, status.modified)
    try:
        if frame is not None:
            stated = _look_through(io.BytesIO(frame), digest, len(frame), size)
        else:
            stated = look_through(driver, digest, status.size, size)
    except BlobMissingError:
        return None
    return Presence(encoding, status.size, size if stated is None else stated, stated is None, status.modified)


def look_through(driver: Driver, digest: str, stored_size: int, size: int | None) -> int | None:
    """The content size of a compressed object of `stored_size` bytes; None where its frame does not end with it.

    Reads the header of every block, none of their contents: one small read for each 128 KiB of content. `size`: what
    the frame has to state (None: anything). Raises `BlobMissingError`.
    """
    with driver.open(blob_path(digest, "zstd")) as stream:
        return _look_through(stream, digest, stored_size, size)


def _look_through(stream: BinaryIO, digest: str, stored_size: int, size: int | None) -> int | None:
    header = stream.read(FRAME_HEADER_MAX_BYTES)
    try:
        stated = frame_size(digest, header, size)
    except BlobCorruptError:
        return None
    return stated if _frame_end(stream, header, stored_size) == stored_size else None


def _frame_end(stream: BinaryIO, header: bytes, stored_size: int) -> int | None:
    """Where a frame ends (RFC 8878, 3.1.1); None where it is cut off or is none."""
    place = zstandard.frame_header_size(header)
    last = False
    while not last:
        stream.seek(place)
        block = int.from_bytes(stream.read(_BLOCK_HEADER_BYTES), "little")
        last, kind, length = bool(block & 1), block >> 1 & 3, block >> 3
        place += _BLOCK_HEADER_BYTES + (1 if kind == _RUN_LENGTH else length)
        if kind == _RESERVED or place > stored_size:
            return None
    return place + (_CHECKSUM_BYTES if zstandard.get_frame_parameters(header).has_checksum else 0)
