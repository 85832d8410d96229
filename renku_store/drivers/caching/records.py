"""The file of a cached object: its name and size, then its bytes in chunks, each with a checksum.

So a file that was cut off is as good as the chunks that are whole, and damage shows before a byte of it is handed over.
It does not show whether the object is what its name says: that is the business of whoever names it.
"""

from __future__ import annotations

import os
import struct
from typing import Final

from blake3 import blake3

from renku_store import bounds

_MAGIC: Final = b"renku-c1"
_HEADER: Final = struct.Struct("<8sQ16s")
_SUM_BYTES: Final = 16


def chunks_of(size: int) -> int:
    """How many chunks an object of `size` bytes has."""
    return -(-size // bounds.CHUNK_BYTES)


def file_bytes(size: int) -> int:
    """The length of the whole file of an object of `size` bytes."""
    return _HEADER.size + size + chunks_of(size) * _SUM_BYTES


def place_of(number: int) -> int:
    """Where in the file a chunk begins, counted from 0."""
    return _HEADER.size + number * (bounds.CHUNK_BYTES + _SUM_BYTES)


def header(name: str, size: int) -> bytes:
    """What a file begins with."""
    return _HEADER.pack(_MAGIC, size, _sum(b"%s %d" % (os.fsencode(name), size)))


def record(chunk: bytes | memoryview) -> bytes:
    """A chunk as it lies in the file."""
    return b"".join((chunk, _sum(chunk)))


def record_all(name: str, data: bytes) -> bytes:
    """The whole file of an object."""
    view = memoryview(data)
    starts = range(0, len(data), bounds.CHUNK_BYTES)
    return b"".join((header(name, len(data)), *(record(view[at : at + bounds.CHUNK_BYTES]) for at in starts)))


class Records:
    """An open file of a cached object; owns its descriptor. Methods raise `OSError`."""

    def __init__(self, descriptor: int, name: str) -> None:
        self.descriptor = descriptor
        self._name = name
        self.size = self._stated_size()
        """The object's size in bytes; -1 where the file does not begin as that of this object."""

    def _stated_size(self) -> int:
        data = os.pread(self.descriptor, _HEADER.size, 0)
        if len(data) < _HEADER.size:
            return -1
        _, size, _ = _HEADER.unpack(data)
        return int(size) if data == header(self._name, size) else -1

    def is_complete(self) -> bool:
        """Whether the file is as long as it has to be."""
        return self.size >= 0 and os.fstat(self.descriptor).st_size == file_bytes(self.size)

    def whole_chunks(self) -> int:
        """How many chunks are there by the length of the file."""
        length = os.fstat(self.descriptor).st_size
        if self.size < 0:
            return 0
        if length >= file_bytes(self.size):
            return chunks_of(self.size)
        return max(length - _HEADER.size, 0) // (bounds.CHUNK_BYTES + _SUM_BYTES)

    def chunk(self, number: int) -> bytes | None:
        """A chunk; None where it is not there, not whole or damaged."""
        length = min(bounds.CHUNK_BYTES, self.size - number * bounds.CHUNK_BYTES)
        if length <= 0:
            return None
        data = os.pread(self.descriptor, length + _SUM_BYTES, place_of(number))
        content, checksum = data[:length], data[length:]
        return content if len(content) == length and _sum(content) == checksum else None

    def close(self) -> None:
        """Let go of the file, and of a lock on it; again is no harm."""
        if self.descriptor >= 0:
            descriptor, self.descriptor = self.descriptor, -1
            os.close(descriptor)


def _sum(data: bytes | memoryview) -> bytes:
    return blake3(data).digest(length=_SUM_BYTES)
