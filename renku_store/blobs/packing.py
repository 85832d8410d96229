"""Whether and how content is compressed on the way in: one zstd frame that states its size, where that saves a tenth.

Invariant 1 is untouched by it: names are hashes of the content before compression.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator
from contextlib import closing
from typing import TYPE_CHECKING, BinaryIO, Final

from renku_store import bounds
from renku_store.drivers.base import Batch, StagedFile
from renku_store.late import late_module
from renku_store.records.blob import Encoding, blob_path

if TYPE_CHECKING:
    import zstandard
else:
    zstandard = late_module("zstandard")

_PIECES: Final = 3
"""A sample is taken from the start, the middle and the end: headers of media compress well, media does not."""


class Packer:
    """Stages content in a batch, compressed where that pays. Keeps a compressor: for one thread at a time."""

    def __init__(self) -> None:
        self._compressor = zstandard.ZstdCompressor(level=bounds.COMPRESSION_LEVEL)

    def add(self, batch: Batch, digest: str, data: bytes) -> tuple[Encoding, int]:
        """Let content that is at hand be the object of its blob; returns how it is stored, and the bytes it takes."""
        size = len(data)
        if size > bounds.COMPRESSION_MIN_BYTES:
            if size > bounds.BLOB_HOLD_MAX_BYTES:
                staged, encoding, stored = self._stage_large(batch, data)
                batch.name(staged, blob_path(digest, encoding))
                return encoding, stored
            if size <= bounds.COMPRESSION_SAMPLE_BYTES or self._pays(_sample_bytes(data)):
                packed = self._compressor.compress(data)
                if len(packed) <= size * bounds.COMPRESSION_MAX_RATIO:
                    data = packed
        encoding = "raw" if len(data) == size else "zstd"
        batch.add(data, blob_path(digest, encoding))
        return encoding, len(data)

    def _stage_large(self, batch: Batch, data: bytes) -> tuple[StagedFile, Encoding, int]:
        if self._pays(_sample_bytes(data)):
            with io.BytesIO(data) as source:
                packed = self._pack(batch, source, len(data))
            if packed is not None:
                return packed[0], "zstd", packed[1]
        staged = batch.stage()
        staged.write(data)
        return staged, "raw", len(data)

    def pack_staged(self, batch: Batch, staged: StagedFile, size: int) -> tuple[StagedFile, Encoding, int]:
        """Replace a file staged raw, of `size` bytes, by a compressed one where that pays."""
        with closing(staged.read_back()) as source:
            if not self._pays(_sample_stream(source, size)):
                return staged, "raw", size
            source.seek(0)
            packed = self._pack(batch, source, size)
        if packed is None:
            return staged, "raw", size
        batch.discard(staged)
        return packed[0], "zstd", packed[1]

    def _pays(self, sample: bytes) -> bool:
        return len(self._compressor.compress(sample)) <= len(sample) * bounds.COMPRESSION_MAX_RATIO

    def _pack(self, batch: Batch, source: BinaryIO, size: int) -> tuple[StagedFile, int] | None:
        """Compress a whole stream into a new staged file; None, and nothing staged, if it does not save a tenth."""
        target = batch.stage()
        stored = 0
        for piece in self._frame(source, size):
            stored += len(piece)
            if stored > size * bounds.COMPRESSION_MAX_RATIO:
                batch.discard(target)
                return None
            target.write(piece)
        return target, stored

    def _frame(self, source: BinaryIO, size: int) -> Iterator[bytes]:
        chunker = self._compressor.chunker(size=size, chunk_size=bounds.CHUNK_BYTES)
        while chunk := source.read(bounds.CHUNK_BYTES):
            yield from chunker.compress(chunk)
        finish: Callable[[], Iterator[bytes]] = chunker.finish
        yield from finish()


def _sample_bytes(data: bytes) -> bytes:
    return b"".join(data[start : start + length] for start, length in _places(len(data)))


def _sample_stream(source: BinaryIO, size: int) -> bytes:
    pieces = []
    for start, length in _places(size):
        source.seek(start)
        pieces.append(source.read(length))
    return b"".join(pieces)


def _places(size: int) -> Iterator[tuple[int, int]]:
    length = bounds.COMPRESSION_SAMPLE_BYTES // _PIECES
    for piece in range(_PIECES):
        yield (size - length) * piece // (_PIECES - 1), length
