"""Bytes of an older layout on their way into a movie: each file once, as a stream, in constant memory."""

from __future__ import annotations

import hashlib
import io
import os
from collections.abc import Callable, Iterable, Iterator
from typing import Any, BinaryIO, Final

from renku_store import bounds
from renku_store.blobs import BlobStore
from renku_store.errors import MigrationError
from renku_store.hashing import hash_bytes
from renku_store.media_types import is_text
from renku_store.migration.described import Content, FileContent, HeldContent
from renku_store.migration.folder import OldFolder, PathError
from renku_store.records.blob import BlobRef
from renku_store.records.manifest import ArtefactValue

_GROUP: Final = 256
"""Contents that are put at a time: they share their syncs, and one that cannot be read costs the others little."""

Lost = Callable[[FileContent, str], None]


class ContentCarrier:
    """Puts contents into a movie; `lost` hears of files that cannot be read, `took` of the bytes of each that was."""

    def __init__(self, folder: OldFolder, blobs: BlobStore, lost: Lost, took: Callable[[int], None]) -> None:
        self._folder = folder
        self._blobs = blobs
        self._lost = lost
        self._took = took
        self._known: dict[Content, BlobRef | None] = {}

    def carry(self, contents: Iterable[tuple[Content, str]]) -> None:
        """Put these contents, each with its MIME type, as far as they are not there yet, and can be read."""
        wanted = dict.fromkeys(content for content, mime in contents if not _inline(content, mime))
        new = [content for content in wanted if content not in self._known]
        for start in range(0, len(new), _GROUP):
            self._put(new[start : start + _GROUP])

    def value(self, content: Content, mime_type: str) -> ArtefactValue | None:
        """What an artefact with this content is; None where it cannot be read. It was carried before."""
        if isinstance(content, HeldContent) and _inline(content, mime_type):
            digest = hash_bytes(content.data)
            inline = content.data.decode()
            return ArtefactValue(hash=digest, size=len(content.data), mime_type=mime_type, inline=inline)
        reference = self._known[content]
        if reference is None:
            return None
        return ArtefactValue(hash=reference.hash, size=reference.size, mime_type=mime_type, blob=reference.hash)

    def _put(self, contents: list[Content]) -> None:
        waiting = [contents]
        while waiting:
            group = waiting.pop()
            source = _Sources(self._folder, group)
            try:
                references = self._blobs.put_many(source)
            except _FileLostError as error:
                self._lost(error.content, error.message)
                self._known[error.content] = None
                place = group.index(error.content)
                waiting += [group[place + 1 :], group[:place]]  # so that none is read more than twice
                continue
            finally:
                source.close()
            for content, reference in zip(group, references, strict=True):
                self._known[content] = reference
                self._took(reference.size)


class _FileLostError(MigrationError):
    def __init__(self, content: FileContent, message: str) -> None:
        super().__init__(message)
        self.content = content


class _Sources:
    """The contents as bytes and streams, one open file at a time."""

    def __init__(self, folder: OldFolder, contents: Iterable[Content]) -> None:
        self._folder = folder
        self._contents = contents
        self._open: _Stream | None = None

    def __iter__(self) -> Iterator[bytes | BinaryIO]:
        for content in self._contents:
            self.close()
            if isinstance(content, HeldContent):
                yield content.data
            else:
                try:
                    file = self._folder.open(content.path)
                except PathError as error:
                    raise _FileLostError(content, error.why) from error
                self._open = _Stream(file, content)
                yield self._open  # type: ignore[misc]

    def close(self) -> None:
        """Close the file that is open."""
        if self._open is not None:
            self._open.close()
            self._open = None


class _Stream(io.RawIOBase):
    """A file that tells by which name it was lost where it cannot be read, or is not what it was, or should be."""

    def __init__(self, file: BinaryIO, content: FileContent) -> None:
        self._file = file
        self._content = content
        self._sha256: Any = hashlib.sha256() if content.sha256 is not None else None
        self._left = content.size
        self._written_at = os.fstat(file.fileno()).st_mtime_ns

    def read(self, size: int = -1, /) -> bytes:
        """Some bytes; none at the end."""
        try:
            data = self._file.read(size)
        except OSError as error:
            raise _FileLostError(self._content, f"It cannot be read: {error.strerror}.") from error
        self._left -= len(data)
        if self._sha256 is not None:
            self._sha256.update(data)
        if not data:
            self._check()
        return data

    def _check(self) -> None:
        """Half of one version and half of another are no version."""
        if self._left or os.fstat(self._file.fileno()).st_mtime_ns != self._written_at:
            raise _FileLostError(self._content, "It changed while it was read.")
        if self._sha256 is not None and self._sha256.hexdigest() != self._content.sha256:
            raise _FileLostError(self._content, "Its bytes do not have the SHA-256 that names them.")

    def close(self) -> None:
        """Close the file."""
        self._file.close()
        super().close()


def _inline(content: Content, mime_type: str) -> bool:
    """Whether a manifest holds the content itself: short text of a document."""
    return (
        isinstance(content, HeldContent)
        and is_text(mime_type)
        and len(content.data) <= bounds.INLINE_MAX_BYTES
        and _is_utf8(content.data)
    )


def _is_utf8(data: bytes) -> bool:
    try:
        data.decode()
    except UnicodeDecodeError:
        return False
    return True
