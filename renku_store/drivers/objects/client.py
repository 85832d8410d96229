"""What an object storage has to be able to do for the driver: one request each, blocking, from any thread.

A client translates requests and errors, nothing else: retries of what can be repeated are its library's, what a lost
reply means is the driver's. So a client never repeats a conditional request, nor lets its library do so: a refusal of
the second would hide that the first was carried out.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Protocol, runtime_checkable

if TYPE_CHECKING:
    from _typeshed import ReadableBuffer


@dataclass(frozen=True, slots=True)
class ObjectHead:
    """An object: its key, size in bytes, `modified` as Unix seconds by the server's clock, and its entity tag.

    `mark`: what its writer left with it (`put`), in the answers of `get` only.
    """

    key: str
    size: int
    modified: float
    etag: str | None = None
    mark: str | None = None


class ConditionFailedError(Exception):
    """The server refused a conditional write (412, 404, or 409 where somebody else's was under way)."""


class UncertainError(Exception):
    """No reply came to a conditional write, or one that does not tell (5xx): it may have been carried out, or yet be.

    Raised from the `StoreUnavailableError` that says what went wrong.
    """


class ObjectClient(Protocol):
    """Requests to one bucket. All raise `StoreUnavailableError` with what the server said, and what to do.

    Its `reason` tells the cases apart: no such bucket, no permission, cannot be reached, slow down (after the retries).
    """

    def head(self, key: str) -> ObjectHead | None:
        """Size, time and tag, or None where there is no such object."""
        ...

    def get(self, key: str, *, start: int = 0, length: int | None = None) -> tuple[bytes, ObjectHead] | None:
        """The bytes from `start`, at most `length`, and the head; None where there is no such object."""
        ...

    def get_pieces(self, key: str, *, length: int | None = None) -> tuple[Sequence[ReadableBuffer], ObjectHead] | None:
        """What `get` gives from the start, in pieces that nobody has put together yet."""
        ...

    def put(
        self,
        key: str,
        data: bytes | memoryview,
        *,
        if_absent: bool = False,
        if_match: str | None = None,
        mark: str | None = None,
    ) -> str | None:
        """Write an object in one request; gives its tag.

        `mark`: a few letters kept beside the bytes (user metadata), by which a writer knows its own; storages that keep
        none leave it out. Raises `ConditionFailedError` where the object exists (`if_absent`) or has another tag or is
        gone (`if_match`), and `UncertainError`; both only with a condition.
        """
        ...

    def put_file(self, key: str, path: Path, part_bytes: int) -> str | None:
        """Write a large object in parts of so many bytes, in constant memory, with no condition; gives its tag."""
        ...

    def compares_checksums(self, key: str, *, in_parts: bool) -> bool | None:
        """Whether what `put` sends (`in_parts`: `put_file`) is refused where a checksum beside it does not fit.

        Found out by sending a few bytes with a wrong one to `key`, which nobody uses; what is taken nevertheless is
        removed. None where the answer does not tell; False where nothing is sent beside the bytes.
        """
        ...

    def copy(self, source: str, target: str) -> bool:
        """Copy on the server, replacing; False where there is no such object."""
        ...

    def delete(self, keys: Sequence[str]) -> None:
        """Remove objects; no error for those that are not there."""
        ...

    def list(self, prefix: str) -> Iterator[ObjectHead]:
        """Every object whose key begins with `prefix`, in the order of keys, page by page."""
        ...

    def folders(self, prefix: str) -> Iterator[ObjectHead | str]:
        """What is directly below `prefix` (ends in `/`, or empty): objects, and the full prefixes of folders."""
        ...

    def close(self) -> None:
        """Let go of connections."""
        ...


class OneThreadFetches(Protocol):
    """Whole objects that one thread has under way at once, each asked for once, with no repetition."""

    def begin(self, keys: Iterable[str]) -> None:
        """Ask for objects, without waiting."""
        ...

    def next(self) -> tuple[str, bytes | None] | None:
        """The key and the bytes of one that came, after waiting for it; None where nothing is under way.

        In place of the bytes: None, where it is not there or could not be had at once.
        """
        ...

    def close(self) -> None:
        """Give up what is under way."""
        ...


@runtime_checkable
class OneThreadClient(Protocol):
    """A client that can fetch many objects without a thread for each."""

    def fetches_of_one_thread(self) -> OneThreadFetches:
        """For the thread that calls it."""
        ...
