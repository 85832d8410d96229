"""Blobs by way of the cache of this machine, where the storage is far away; straight from the storage elsewhere.

Keeps invariant 1 for what is kept: it gets its name in the cache when its content was found to be right, and whoever
reads it checks again. Only content goes this way: whether an object is there, and sound, is asked of the storage.
"""

from __future__ import annotations

import contextlib
import io
import os
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, Final

from blake3 import blake3

from renku_store import bounds
from renku_store.blobs.reading import FRAME_HEADER_MAX_BYTES, PackedSource, check, frame_size, unpack, verified
from renku_store.drivers.base import Driver
from renku_store.drivers.caching.cache import ObjectCache
from renku_store.drivers.caching.records import chunks_of
from renku_store.drivers.caching.streaming import CachedStream
from renku_store.errors import BlobCorruptError, BlobMissingError
from renku_store.records.blob import SUFFIX, BlobRef, Encoding, blob_path

if TYPE_CHECKING:
    from renku_store.blobs.taking import Source

_ENCODINGS: Final[tuple[Encoding, ...]] = ("raw", "zstd")


class ReadThrough:
    """Reads the blobs of one driver, and keeps them in `cache` (None: nothing is kept)."""

    def __init__(self, driver: Driver, cache: ObjectCache | None) -> None:
        self._driver = driver
        self._cache = cache
        self.keeps: Final = cache is not None
        """Whether there is a cache."""

    def streams(self, size: int | None) -> bool:
        """Whether a blob of `size` bytes is better read as a stream: a download of it can go on where it stopped."""
        return self._cache is not None and size is not None and size > bounds.BLOB_HOLD_MAX_BYTES

    # What is here

    def kept(self, digest: str, size: int | None) -> bytes | None:
        """The verified content, if it is in the cache; what is damaged there is dropped."""
        for encoding in _ENCODINGS if self._cache is not None else ():
            name = _name(digest, encoding)
            data = self._cache.read(name) if self._cache is not None else None
            try:
                if data is not None:
                    return check(digest, data, size) if encoding == "raw" else unpack(digest, data, size)
            except BlobCorruptError:
                self.drop(digest)
        return None

    def open_kept(self, digest: str, size: int | None) -> BinaryIO | None:
        """A verified stream of the content, if it is in the cache.

        Where it shows damage on the way, the storage gives the rest.
        """
        return self._open_kept_raw(digest, size) or self._open_kept_packed(digest, size)

    def hand_over(self, digest: str, put: Callable[[BinaryIO], BlobRef]) -> bool:
        """Let what is here of a blob be put; False where it is not here, or not whole."""
        content = self.open_kept(digest, None)
        if content is None:
            return False
        try:
            with content:
                return put(content).hash == digest
        except (BlobCorruptError, BlobMissingError):
            return False

    def drop(self, digest: str) -> None:
        """Forget a blob here."""
        if self._cache is not None:
            for encoding in _ENCODINGS:
                self._cache.drop(_name(digest, encoding))

    def _open_kept_raw(self, digest: str, size: int | None) -> BinaryIO | None:
        found = self._cache.open(digest) if self._cache is not None else None
        if self._cache is None or found is None:
            return None
        if size is not None and found.size != size:
            found.close()
            return None
        stream = CachedStream(self._cache, digest, found.size, found, self._opener(digest, "raw"))
        return verified(stream, digest, found.size, stream.settle)

    def _open_kept_packed(self, digest: str, size: int | None) -> BinaryIO | None:
        name = _name(digest, "zstd")
        found = self._cache.open(name) if self._cache is not None else None
        if self._cache is None or found is None:
            return None
        # The storage may have another frame of the same content: nothing of it fits behind what was read here.
        chunks = range(chunks_of(found.size))
        try:
            if all(found.chunk(number) is not None for number in chunks):
                stated = frame_size(digest, (found.chunk(0) or b"")[:FRAME_HEADER_MAX_BYTES], size)
                stream = CachedStream(self._cache, name, found.size, found, self._opener(digest, "zstd"))
                return verified(PackedSource(digest, _buffered(stream)), digest, stated, stream.settle)
        except (BlobCorruptError, OSError):
            pass
        found.close()
        self._cache.drop(name)
        return None

    # What is in the storage

    def open_raw(self, digest: str, size: int) -> BinaryIO:
        """A verified stream of a plain object of `size` bytes, which is kept as it is read.

        Goes on where an earlier one stopped. `BlobMissingError` where it is not there; later, where it goes on.
        """
        part = self._cache.begin(digest, size) if self._cache is not None else None
        if self._cache is None or part is None:
            return verified(self._driver.open(blob_path(digest)), digest, size)
        opener = self._opener(digest, "raw")
        if part.chunks == 0:
            try:
                opener = _already(opener())
            except BaseException:
                part.discard()
                raise
        stream = CachedStream(self._cache, digest, size, part, opener)
        return verified(stream, digest, size, stream.settle)

    def open_packed(self, digest: str, size: int) -> BinaryIO:
        """A verified stream of a compressed object whose content has `size` bytes; kept when it was read to its end."""
        remote = self._driver.open(blob_path(digest, "zstd"))
        if self._cache is None:
            return verified(PackedSource(digest, remote), digest, size)
        stored = remote.seek(0, io.SEEK_END)
        remote.seek(0)
        name = _name(digest, "zstd")
        part = self._cache.begin(name, stored, resume=False)
        stream = CachedStream(self._cache, name, stored, part, _already(remote))
        return verified(PackedSource(digest, _buffered(stream)), digest, size, stream.settle)

    def keep(self, digest: str, encoding: Encoding, data: bytes) -> None:
        """Keep an object whose content was found to be right."""
        if self._cache is not None:
            self._cache.keep(_name(digest, encoding), data)

    def keep_source(self, reference: BlobRef, source: Source) -> None:
        """Keep what was put from bytes or from a file that has not changed since; a stream is over by then."""
        if self._cache is None:
            return
        if isinstance(source, bytes | bytearray | memoryview):
            data = bytes(source)
            if isinstance(source, bytes) or blake3(data).hexdigest() == reference.hash:
                self._cache.keep(reference.hash, data)
        elif isinstance(source, str | os.PathLike):
            with contextlib.suppress(OSError), Path(source).open("rb", buffering=0) as file:
                self._cache.keep_file(reference.hash, file, reference.size, _comparison(reference.hash))

    def _opener(self, digest: str, encoding: Encoding) -> Callable[[], BinaryIO]:
        return lambda: self._driver.open(blob_path(digest, encoding))


def _name(digest: str, encoding: Encoding) -> str:
    return f"{digest}{SUFFIX[encoding]}"


def _already(stream: BinaryIO) -> Callable[[], BinaryIO]:
    return lambda: stream


def _buffered(stream: CachedStream) -> BinaryIO:
    return io.BufferedReader(stream, bounds.COMPRESSION_SAMPLE_BYTES)


def _comparison(digest: str) -> Callable[[bytes], bool]:
    """Takes chunks; says of all so far whether they have this hash."""
    hasher = blake3()

    def compare(chunk: bytes) -> bool:
        hasher.update(chunk)
        return not chunk and hasher.hexdigest() == digest

    return compare
