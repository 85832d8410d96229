"""An artefact as a file that can be read from any place, in constant memory.

Keeps invariant 1 for readers: bytes that were read in order from the start are checked against the hash before the last
of them is handed over. What was read from the middle alone cannot be checked.
"""

from __future__ import annotations

import io
import os
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, BinaryIO, SupportsIndex

from blake3 import blake3

from renku_store import bounds
from renku_store.errors import BlobCorruptError

if TYPE_CHECKING:
    from _typeshed import WriteableBuffer

_BUFFER_BYTES = 65_536
_HINT = "`renku-store fsck` says what brings it back."


class ArtefactFile(io.BufferedReader):
    """The bytes of an artefact; `size` is their number, `path` what was opened.

    Pickled, it is opened again where it is unpickled, at the same place of the same bytes: `again` opens it there.
    """

    def __init__(self, content: Content, path: str, again: Callable[[int], ArtefactFile] | None = None) -> None:
        super().__init__(content, _BUFFER_BYTES)
        self.size = content.size
        self.path = path
        self._again = again

    def __reduce_ex__(self, protocol: SupportsIndex, /) -> tuple[Any, ...]:
        if self._again is None:
            raise TypeError(f"{self.path} cannot be pickled: open it again by its path.")
        return self._again, (self.tell(),)


class Content(io.RawIOBase):
    """`size` bytes of the hash `digest`, as the stream that `opened` gives holds them from its start.

    A stream that cannot seek is read up to where it is needed, and opened anew to go back.
    """

    def __init__(self, opened: Callable[[], BinaryIO], digest: str, size: int) -> None:
        super().__init__()
        self.size = size
        self._opened = opened
        self._source = opened()
        self._at = 0
        self._place = 0
        self._digest = digest
        self._hasher = blake3()
        self._hashed = 0
        self._error: BlobCorruptError | None = None

    def readable(self) -> bool:
        """Always."""
        return True

    def seekable(self) -> bool:
        """Always."""
        return True

    def tell(self) -> int:
        """The place of the next byte."""
        return self._place

    def seek(self, offset: int, whence: int = os.SEEK_SET, /) -> int:
        """Go to a place, without reading anything yet."""
        base = {os.SEEK_SET: 0, os.SEEK_CUR: self._place, os.SEEK_END: self.size}[whence]
        if base + offset < 0:
            raise ValueError(f"There is nothing before the first byte: {base + offset}.")
        self._place = base + offset
        return self._place

    def readinto(self, buffer: WriteableBuffer, /) -> int:
        """Read into a buffer; `BlobCorruptError` where bytes are missing or wrong. Wrong ones are not handed over."""
        if self._error is not None:
            raise self._error
        view = memoryview(buffer).cast("B")[: max(0, self.size - self._place)]
        if not view:
            return 0
        self._go_to_place()
        count = self._source.readinto(view)  # type: ignore[attr-defined]
        if not count:
            raise self._damaged(f"its last {self.size - self._place} bytes are missing", view)
        self._check(view[:count])
        self._place = self._at = self._place + count
        return int(count)

    def readall(self) -> bytes:
        """The rest."""
        return b"".join(iter(lambda: self.read(bounds.CHUNK_BYTES) or b"", b""))

    def close(self) -> None:
        """Close the stream beneath, too."""
        if not self.closed:
            self._source.close()
        super().close()

    def _go_to_place(self) -> None:
        if self._at == self._place:
            return
        if self._source.seekable():
            self._at = self._source.seek(self._place)
            return
        if self._at > self._place:
            self._source.close()
            self._source, self._at = self._opened(), 0
        while self._at < self._place:
            skipped = self._source.read(min(bounds.CHUNK_BYTES, self._place - self._at))
            if not skipped:
                raise self._damaged(f"it ends after {self._at} bytes")
            self._at += len(skipped)

    def _check(self, read: memoryview) -> None:
        """Hash what comes after all that was hashed, if it follows directly; the last byte brings the verdict."""
        if not self._place <= self._hashed < self._place + len(read):
            return
        self._hasher.update(read[self._hashed - self._place :])
        self._hashed = self._place + len(read)
        if self._hashed == self.size and self._hasher.hexdigest() != self._digest:
            raise self._damaged("its bytes have another hash", read)

    def _damaged(self, what: str, read: memoryview | None = None) -> BlobCorruptError:
        if read is not None:
            read[:] = bytes(len(read))
        self._error = BlobCorruptError(f"The blob {self._digest} is damaged: {what}.", hint=_HINT)
        return self._error
