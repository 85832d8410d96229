"""Whether what arrived in an object storage is what was sent.

The entity tag of an object written in one request is the MD5 of its bytes, that of one written in parts the MD5 of the
parts' MD5s with their number (AWS S3 and what speaks like it). With keys of the customer's or of KMS it is something
else; then the first object whose tag does not fit is read back, and if its bytes are right, tags say nothing here and
sizes have to do. The SHA-256 that goes with each request is for the server to compare, which not all do.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from typing import BinaryIO

from renku_store import bounds
from renku_store.drivers.objects.client import ObjectClient
from renku_store.drivers.objects.streaming import read_range


def part_bytes(size: int) -> int:
    """How large the parts of an object of `size` bytes are, but for the last."""
    least = -(-size // bounds.OBJECT_PARTS_MAX)
    return max(bounds.OBJECT_PART_BYTES, least)


class SentBytes:
    """What was sent, where it was in memory."""

    def __init__(self, data: bytes | memoryview) -> None:
        self._data = data
        self.size = len(data)

    def tag(self, in_parts: bool) -> str:
        """The entity tag that it has as an object, written in one request or in parts."""
        digest = _md5(self._data)
        return f"{_md5(digest).hex()}-1" if in_parts else digest.hex()

    def windows(self) -> Iterator[bytes | memoryview]:
        """The bytes, some at a time."""
        yield self._data


class SentFile:
    """What was sent, where it was in a file; methods raise `OSError`."""

    def __init__(self, path: str, size: int) -> None:
        self._path = path
        self.size = size

    def tag(self, in_parts: bool) -> str:
        """The entity tag that it has as an object, written in one request or in parts."""
        length = part_bytes(self.size) if in_parts else max(self.size, 1)
        with open(self._path, "rb") as file:
            digests = [_md5_of_next(file, length) for _ in range(0, max(self.size, 1), length)]
        return f"{_md5(b''.join(digests)).hex()}-{len(digests)}" if in_parts else digests[0].hex()

    def windows(self) -> Iterator[bytes]:
        """The bytes, some at a time."""
        with open(self._path, "rb") as file:
            while window := file.read(bounds.OBJECT_WINDOW_BYTES):
                yield window


class Verifier:
    """Compares uploads with their sources; one for a root, so that it learns once what tags are worth there."""

    def __init__(self, client: ObjectClient) -> None:
        self._client = client
        self._tags_tell = True

    def arrived(
        self,
        key: str,
        url: str,
        tag: str | None,
        sent: SentBytes | SentFile,
        *,
        compared: bool = False,
        doubtful: bool = False,
    ) -> bool:
        """Whether the object under `key`, whose tag came with the reply or a look, holds what was sent.

        `compared`: the server has compared the bytes of each request with a checksum before it took them, so that
        nothing but the number of parts can be wrong. `doubtful`: it never said that it had taken them, so that a size
        that fits is not enough.
        """
        if compared:
            return isinstance(sent, SentBytes) or self._has_size(key, sent.size)
        if self._tags_tell and tag is not None and tag.strip('"') == sent.tag("-" in tag):
            return True
        if not self._has_size(key, sent.size):
            return False
        if not self._tags_tell and not doubtful:
            return True
        if not self._equal(key, url, sent):
            return False
        self._tags_tell = False
        return True

    def _has_size(self, key: str, size: int) -> bool:
        head = self._client.head(key)
        return head is not None and head.size == size

    def _equal(self, key: str, url: str, sent: SentBytes | SentFile) -> bool:
        start = 0
        for window in sent.windows():
            found = read_range(self._client, key, url, start=start, length=len(window))
            if found is None or found[0] != window:
                return False
            start += len(window)
        return True


def _md5(data: bytes | memoryview) -> bytes:
    return hashlib.md5(data, usedforsecurity=False).digest()


def _md5_of_next(file: BinaryIO, length: int) -> bytes:
    digest = hashlib.md5(usedforsecurity=False)
    while length > 0 and (chunk := file.read(min(length, bounds.CHUNK_BYTES))):
        digest.update(chunk)
        length -= len(chunk)
    return digest.digest()
