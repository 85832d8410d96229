"""Content on the way out: every byte is checked against the name before the last one is handed over.

Keeps invariant 1 for readers, in constant memory: a frame may neither expand beyond the size that is recorded for it
nor ask for more than `COMPRESSION_WINDOW_MAX_BYTES` to be read.
"""

from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, Final, cast

from blake3 import blake3

from renku_store import bounds
from renku_store.errors import BlobCorruptError
from renku_store.hashing import hash_bytes
from renku_store.late import late_module

if TYPE_CHECKING:
    import zstandard
    from _typeshed import WriteableBuffer
else:
    zstandard = late_module("zstandard")

FRAME_HEADER_MAX_BYTES: Final = 18
"""The longest header of a zstd frame (RFC 8878, 3.1.1)."""
_HINT: Final = "Restore its file in blobs/ from a copy, or move it away: the next run makes it anew."


def corrupt(digest: str, what: str) -> BlobCorruptError:
    """The error for a damaged blob; `what` continues the sentence."""
    return BlobCorruptError(f"The blob {digest} is damaged: {what}.", hint=_HINT)


def check(digest: str, data: bytes, size: int | None) -> bytes:
    """Return content that has the recorded size (if known) and hash, or raise `BlobCorruptError`."""
    if size is not None and len(data) != size:
        raise corrupt(digest, f"it has {len(data)} bytes, or more, where {size} are recorded")
    if hash_bytes(data) != digest:
        raise corrupt(digest, "its bytes have another hash")
    return data


def check_file(digest: str, path: Path, size: int | None) -> None:
    """Raise `BlobCorruptError` unless a file has the recorded size (if known) and hash."""
    hasher = blake3()
    count = 0
    with path.open("rb", buffering=0) as file:
        while chunk := file.read(bounds.CHUNK_BYTES):
            hasher.update(chunk)
            count += len(chunk)
    if hasher.hexdigest() != digest or (size is not None and count != size):
        raise corrupt(digest, "its bytes have another hash")


def frame_size(digest: str, header: bytes, size: int | None) -> int:
    """The content size that a frame states; `BlobCorruptError` unless it states one, the recorded one if that is known.

    `header`: the first bytes of the frame, at least `FRAME_HEADER_MAX_BYTES` if there are so many.
    """
    try:
        parameters = zstandard.get_frame_parameters(header)
    except zstandard.ZstdError as error:
        raise corrupt(digest, "it is not a zstd frame") from error
    if parameters.content_size == zstandard.CONTENTSIZE_UNKNOWN:
        raise corrupt(digest, "its frame does not state its size")
    if size is not None and parameters.content_size != size:
        raise corrupt(digest, f"its frame states {parameters.content_size} bytes where {size} are recorded")
    if parameters.window_size > bounds.COMPRESSION_WINDOW_MAX_BYTES:
        raise corrupt(digest, f"its frame asks for {parameters.window_size} bytes of memory")
    return parameters.content_size


def unpack(digest: str, packed: bytes, size: int | None) -> bytes:
    """The verified content of a whole compressed object."""
    stated = frame_size(digest, packed, size)
    if stated > bounds.BLOB_HOLD_MAX_BYTES:
        with verified(PackedSource(digest, io.BytesIO(packed)), digest, stated) as stream:
            return stream.read()
    decompressor = zstandard.ZstdDecompressor(max_window_size=bounds.COMPRESSION_WINDOW_MAX_BYTES)
    try:
        data = decompressor.decompress(packed, max_output_size=stated, allow_extra_data=False)
    except zstandard.ZstdError as error:
        raise corrupt(digest, f"its frame cannot be read ({error})") from error
    return check(digest, data, stated)


class PackedSource(io.RawIOBase):
    """The content of a compressed stream; owns the stream."""

    def __init__(self, digest: str, packed: BinaryIO) -> None:
        super().__init__()
        self._digest = digest
        self._packed = packed
        decompressor = zstandard.ZstdDecompressor(max_window_size=bounds.COMPRESSION_WINDOW_MAX_BYTES)
        self._reader = decompressor.stream_reader(packed, read_size=bounds.CHUNK_BYTES, closefd=False)

    def readable(self) -> bool:
        """Always."""
        return True

    def readinto(self, buffer: WriteableBuffer, /) -> int:
        """Decompress into a buffer, never more than fits."""
        try:
            return self._reader.readinto(buffer)
        except zstandard.ZstdError as error:
            raise corrupt(self._digest, f"its frame cannot be read ({error})") from error

    def close(self) -> None:
        """Close the compressed stream too."""
        if not self.closed:
            self._packed.close()
        super().close()


class VerifiedSource(io.RawIOBase):
    """The content of a blob; `BlobCorruptError` instead of the last bytes if size or hash is wrong. Owns its source.

    `settle` is told, before the last bytes are handed over, whether they are right.
    """

    def __init__(
        self, source: BinaryIO | io.RawIOBase, digest: str, size: int, settle: Callable[[bool], None] | None = None
    ) -> None:
        super().__init__()
        self._source = source
        self._settle = settle or _forget
        self._digest = digest
        self._left = size
        self._hasher = blake3()
        self._error: BlobCorruptError | None = None
        if size == 0:
            self._finish()

    def readable(self) -> bool:
        """Always."""
        return True

    def readinto(self, buffer: WriteableBuffer, /) -> int:
        """Read into a buffer; the read that would hand over the last byte verifies first. A failure is final."""
        if self._error is not None:
            raise self._error
        if self._left == 0:
            return 0
        view = memoryview(buffer).cast("B")[: self._left]
        try:
            count = self._source.readinto(view) or 0  # type: ignore[union-attr]
            if count == 0 and view:
                raise corrupt(self._digest, f"its last {self._left} bytes are missing")
            self._hasher.update(view[:count])
            self._left -= count
            if self._left == 0:
                self._finish()
        except BlobCorruptError as error:
            view[:] = bytes(len(view))
            self._settle(False)
            self._error = error
            raise
        return count

    def readall(self) -> bytes:
        """The rest, verified."""
        return b"".join(iter(lambda: self.read(bounds.CHUNK_BYTES) or b"", b""))

    def _finish(self) -> None:
        if self._source.read(1):
            raise corrupt(self._digest, "it has more bytes than are recorded")
        if self._hasher.hexdigest() != self._digest:
            raise corrupt(self._digest, "its bytes have another hash")
        self._settle(True)

    def close(self) -> None:
        """Close the source too."""
        if not self.closed:
            self._source.close()
        super().close()


def _forget(right: bool) -> None:
    """Nobody asks."""


def verified(
    source: BinaryIO | io.RawIOBase, digest: str, size: int, settle: Callable[[bool], None] | None = None
) -> BinaryIO:
    """A verified, read-only stream of a blob of `size` bytes; closes its source, also if it raises."""
    try:
        content = VerifiedSource(source, digest, size, settle)
        return cast("BinaryIO", io.BufferedReader(content, bounds.COMPRESSION_SAMPLE_BYTES))
    except BlobCorruptError:
        source.close()
        raise
