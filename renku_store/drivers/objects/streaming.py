"""A stream over an object of the storage: ranges in constant memory, seekable, and never bytes of two versions.

A reply that ends too early is noticed, because the size is known; the rest is asked for again from the byte reached.
"""

from __future__ import annotations

import io
import time
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from renku_store import bounds
from renku_store.drivers.objects.client import ObjectClient, ObjectHead
from renku_store.drivers.objects.replies import pauses
from renku_store.errors import StoreError, StoreUnavailableError

if TYPE_CHECKING:
    from _typeshed import ReadableBuffer, WriteableBuffer


def read_range(
    client: ObjectClient, key: str, url: str, *, start: int = 0, length: int | None = None
) -> tuple[bytes, ObjectHead] | None:
    """The bytes from `start`, at most `length`, all of them; None where there is no such object.

    Raises `StoreUnavailableError` where replies keep ending too early, or the object is replaced meanwhile.
    """
    found = client.get(key, start=start, length=length)
    if found is None:
        return None
    data, head = found
    whole = max(head.size - start, 0) if length is None else max(min(head.size - start, length), 0)
    waits = pauses()
    while len(data) < whole:
        pause = next(waits, None)
        if pause is None:
            raise StoreUnavailableError(
                f"Cannot read {url}: the replies end after {len(data):,} of {whole:,} bytes.",
                hint="Something between here and the storage cuts them off; try again.",
            )
        time.sleep(pause)
        more = client.get(key, start=start + len(data), length=whole - len(data))
        if more is None or more[1].etag != head.etag or more[1].size != head.size:
            raise changed(url)
        waits = pauses() if more[0] else waits
        data += more[0]
    return data[:whole], head


def read_pieces(
    client: ObjectClient, key: str, url: str, *, length: int | None = None
) -> Sequence[ReadableBuffer] | None:
    """What `read_range` gives from the start, in pieces; so it is put together by whoever needs it."""
    found = client.get_pieces(key, length=length)
    if found is None:
        return None
    pieces, head = found
    whole = head.size if length is None else min(head.size, length)
    count = sum(memoryview(piece).nbytes for piece in pieces)
    if count < whole:
        rest = read_range(client, key, url, start=count, length=whole - count)
        if rest is None or rest[1].etag != head.etag or rest[1].size != head.size:
            raise changed(url)
        return [*pieces, rest[0]]
    return pieces if count == whole else [b"".join(pieces)[:whole]]


def changed(url: str) -> StoreUnavailableError:
    """The error for an object that was replaced or removed while it was read."""
    return StoreUnavailableError(f"{url} was replaced or removed while it was read.", hint="Read it again.")


class ObjectStream(io.RawIOBase):
    """The bytes of an object, asked for window by window; for one thread. Wrap it for small reads.

    `missing` makes the error for an object that is not there.
    """

    def __init__(self, client: ObjectClient, key: str, url: str, missing: Callable[[], StoreError]) -> None:
        super().__init__()
        self._client = client
        self._key = key
        self._url = url
        self._ask_bytes = min(bounds.OBJECT_WINDOW_MIN_BYTES, bounds.OBJECT_WINDOW_BYTES)
        first = read_range(client, key, url, length=self._ask_bytes)
        if first is None:
            raise missing()
        self._window, self._head = first
        self._start = 0
        self._position = 0

    @property
    def size(self) -> int:
        """The object's size in bytes."""
        return self._head.size

    def readable(self) -> bool:
        """True."""
        return True

    def seekable(self) -> bool:
        """True."""
        return True

    def seek(self, offset: int, whence: int = io.SEEK_SET, /) -> int:
        """Move to a place; beyond the end nothing is read."""
        base = {io.SEEK_SET: 0, io.SEEK_CUR: self._position, io.SEEK_END: self.size}[whence]
        if base + offset < 0:
            raise ValueError(f"A stream has no place {base + offset}.")
        self._position = base + offset
        return self._position

    def tell(self) -> int:
        """The place reached."""
        return self._position

    def readinto(self, buffer: WriteableBuffer, /) -> int:
        """Read up to the end of the window; `StoreUnavailableError` where the storage fails or the object changed."""
        self._checkClosed()
        view = memoryview(buffer).cast("B")
        if not view or self._position >= self.size:
            return 0
        if not self._start <= self._position < self._start + len(self._window):
            self._move_window()
        offset = self._position - self._start
        count = min(len(view), len(self._window) - offset)
        view[:count] = memoryview(self._window)[offset : offset + count]
        self._position += count
        return count

    def _move_window(self) -> None:
        read_on = self._position == self._start + len(self._window)
        self._window = b""
        self._ask_bytes = min(
            2 * self._ask_bytes if read_on else bounds.OBJECT_WINDOW_MIN_BYTES, bounds.OBJECT_WINDOW_BYTES
        )
        start = self._position
        found = read_range(
            self._client, self._key, self._url, start=start, length=min(self._ask_bytes, self.size - start)
        )
        if found is None or found[1].etag != self._head.etag or found[1].size != self.size:
            raise changed(self._url)
        self._window, self._start = found[0], start
