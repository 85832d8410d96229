"""A stream over an immutable object: what this machine has of it first, then the storage, and kept as it passes.

The first byte does not wait for the last. A chunk that is damaged here is asked of the storage, with all that follow.
"""

from __future__ import annotations

import io
from collections.abc import Callable
from typing import TYPE_CHECKING, BinaryIO, Final

from renku_store import bounds
from renku_store.drivers.caching.cache import ObjectCache
from renku_store.drivers.caching.parts import Part
from renku_store.drivers.caching.records import Records, chunks_of

if TYPE_CHECKING:
    from _typeshed import WriteableBuffer

_STEP_BYTES: Final = 262_144
"""What is taken from the storage's stream at a time: it is handed over at once."""


class CachedStream(io.RawIOBase):
    """The bytes of the object `name`, of `size` bytes; not seekable, for one thread.

    `here` is a complete object of the cache, or a part that what is read completes. `remote` opens the object in the
    storage, as a seekable stream; it is called only when bytes are needed that are not here. `settle` has to be told
    whether the bytes were right.
    """

    def __init__(
        self, cache: ObjectCache, name: str, size: int, here: Records | Part | None, remote: Callable[[], BinaryIO]
    ) -> None:
        super().__init__()
        self._cache = cache
        self._name = name
        self._size = size
        self._here = here
        self._part = here if isinstance(here, Part) else None
        self._open_remote = remote
        self._remote: BinaryIO | None = None
        self._number = 0
        self._window = memoryview(b"")
        self._pending = bytearray()
        self._fetched = 0

    def readable(self) -> bool:
        """True."""
        return True

    def readinto(self, buffer: WriteableBuffer, /) -> int:
        """Read some; raises what the storage raises."""
        self._checkClosed()
        view = memoryview(buffer).cast("B")
        if view and not self._window:
            self._window = memoryview(self._next())
        count = min(len(view), len(self._window))
        view[:count] = self._window[:count]
        self._window = self._window[count:]
        return count

    def settle(self, right: bool) -> None:
        """Say what a check of the bytes has found: right ones are kept, what is here of wrong ones is forgotten."""
        if not right:
            self._cache.drop(self._name)
            if self._part is not None:
                self._part.discard()
                self._part = None
            return
        # A decompressor may leave the last bytes of a frame.
        while self._left() and self._next():
            pass
        if self._part is not None and self._left() == 0:
            self._part.finish()
            self._part = None

    def close(self) -> None:
        """Close all; a part stays, for whoever goes on."""
        if not self.closed:
            if self._here is not None:
                self._here.close()
            if self._remote is not None:
                self._remote.close()
        super().close()

    def _left(self) -> int:
        """The bytes that were not asked for yet, of the last chunk; 0 where there are more: those are not worth it."""
        left = self._size - self._place()
        return left if left <= bounds.CHUNK_BYTES else 0

    def _place(self) -> int:
        return min(self._number * bounds.CHUNK_BYTES, self._size) + self._fetched

    def _next(self) -> bytes:
        """The bytes that come next; none at the end."""
        if self._remote is None:
            if self._number >= chunks_of(self._size):
                return b""
            found = self._chunk_here()
            if found is not None:
                self._number += 1
                return found
            self._remote = self._open_remote()
            if self._number:
                self._remote.seek(self._number * bounds.CHUNK_BYTES)
        data = self._remote.read(min(_STEP_BYTES, self._size - self._place()))
        self._fetched += len(data)
        self._keep(data)
        return data

    def _chunk_here(self) -> bytes | None:
        if self._here is None:
            return None
        try:
            found = self._here.chunk(self._number)
        except OSError:
            found = None
        if found is None and self._part is None:
            self._cache.drop(self._name)
        return found

    def _keep(self, data: bytes) -> None:
        """Collect what came, and let it go into the part by whole chunks."""
        if self._part is None:
            return
        self._pending += data
        is_last = self._place() == self._size
        while len(self._pending) >= bounds.CHUNK_BYTES or (is_last and self._pending):
            chunk = bytes(self._pending[: bounds.CHUNK_BYTES])
            del self._pending[: bounds.CHUNK_BYTES]
            if not self._part.append(chunk):
                self._part = None
                self._pending.clear()
                return
