"""How many requests one root has under way at once, whoever makes them: threads of its own, the caller's, or one alone.

Listings do not count: their pages come one after another. A large object in parts counts as one.
"""

from __future__ import annotations

import threading
import weakref
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Final, Self

from renku_store.drivers.forking import anew_after_fork
from renku_store.drivers.objects.client import ObjectClient, ObjectHead, OneThreadClient, OneThreadFetches

if TYPE_CHECKING:
    from _typeshed import ReadableBuffer

_LOOK_SECONDS: Final = 1.0
"""How often who waits looks for permits that were dropped."""


class Permits:
    """A number of requests that may be under way. Safe to use from many threads, and after a fork.

    An exception of a signal handler may drop a permit that was not given back: before anybody waits, those are counted
    that somebody has still.
    """

    def __init__(self, total: int) -> None:
        self.total = total
        self.begin_anew()
        anew_after_fork(self)

    def begin_anew(self) -> None:
        """Nothing is under way."""
        self._free = self.total
        self._given: dict[int, weakref.ref[Permit]] = {}
        self._waiting = 0
        self._lock = threading.RLock()
        self._changed = threading.Condition(self._lock)

    def one(self) -> Permit:
        """A permit for one request, after waiting for it."""
        permit = Permit(self)
        with self._lock:
            self._given[id(permit)] = weakref.ref(permit)
            while self._free <= 0 and self._count() <= 0:
                self._waiting += 1
                try:
                    self._changed.wait(_LOOK_SECONDS)
                finally:
                    self._waiting -= 1
            self._free -= 1
            permit.count = 1
        return permit

    def none(self) -> Permit:
        """A permit that can be widened."""
        permit = Permit(self)
        with self._lock:
            self._given[id(permit)] = weakref.ref(permit)
        return permit

    def widen(self, permit: Permit) -> None:
        """Let a permit be for all that are free while nobody waits, but for one.

        That one is for requests that end by themselves: who holds many may let them lie.
        """
        with self._lock:
            if self._free <= 1:
                self._count()
            count = 0 if self._waiting or self._free <= 1 else self._free - 1
            self._free -= count
            permit.count += count

    def narrow(self, permit: Permit, count: int) -> None:
        """Let a permit be for so many requests, if it is for more."""
        with self._lock:
            if id(permit) not in self._given:
                return  # it was given before a fork, of which this process has none
            released = permit.count - count if permit.count > count else 0
            self._free += released
            permit.count -= released
            if self._waiting:
                self._changed.notify_all()

    def end(self, permit: Permit) -> None:
        """Take a permit back."""
        with self._lock:
            self.narrow(permit, 0)
            self._given.pop(id(permit), None)

    def _count(self) -> int:
        """Find out how many are free."""
        given = {key: permit for key, found in self._given.items() if (permit := found()) is not None}
        self._given = {key: self._given[key] for key in given}
        self._free = self.total - sum(permit.count for permit in given.values())
        return self._free


class Permit:
    """How many requests somebody may have under way."""

    def __init__(self, permits: Permits) -> None:
        self._permits = permits
        self.count = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._permits.end(self)

    def widen(self) -> None:
        """Let it be for more, as far as others leave any."""
        self._permits.widen(self)

    def narrow(self, count: int) -> None:
        """Let it be for no more than so many."""
        self._permits.narrow(self, count)


class LimitedClient:
    """A client (`bare`) whose requests wait for a permit of their root."""

    def __init__(self, client: ObjectClient, permits: Permits) -> None:
        self.bare = client
        self.permits = permits

    def fetches_of_one_thread(self) -> OneThreadFetches | None:
        """Those of the client, where it has them; who asks takes the permits (`Permits.none`, `widen`)."""
        return self.bare.fetches_of_one_thread() if isinstance(self.bare, OneThreadClient) else None

    def head(self, key: str) -> ObjectHead | None:
        """As `ObjectClient`; so are all others."""
        with self.permits.one():
            return self.bare.head(key)

    def get(self, key: str, *, start: int = 0, length: int | None = None) -> tuple[bytes, ObjectHead] | None:
        """The bytes and the head."""
        with self.permits.one():
            return self.bare.get(key, start=start, length=length)

    def get_pieces(self, key: str, *, length: int | None = None) -> tuple[Sequence[ReadableBuffer], ObjectHead] | None:
        """The bytes in pieces, and the head."""
        with self.permits.one():
            return self.bare.get_pieces(key, length=length)

    def put(
        self,
        key: str,
        data: bytes | memoryview,
        *,
        if_absent: bool = False,
        if_match: str | None = None,
        mark: str | None = None,
    ) -> str | None:
        """Write an object."""
        with self.permits.one():
            return self.bare.put(key, data, if_absent=if_absent, if_match=if_match, mark=mark)

    def put_file(self, key: str, path: Path, part_bytes: int) -> str | None:
        """Write a large object."""
        with self.permits.one():
            return self.bare.put_file(key, path, part_bytes)

    def compares_checksums(self, key: str, *, in_parts: bool) -> bool | None:
        """Whether uploads with a wrong checksum are refused."""
        with self.permits.one():
            return self.bare.compares_checksums(key, in_parts=in_parts)

    def copy(self, source: str, target: str) -> bool:
        """Copy on the server."""
        with self.permits.one():
            return self.bare.copy(source, target)

    def delete(self, keys: Sequence[str]) -> None:
        """Remove objects."""
        with self.permits.one():
            self.bare.delete(keys)

    def list(self, prefix: str) -> Iterator[ObjectHead]:
        """Every object below a prefix."""
        return self.bare.list(prefix)

    def folders(self, prefix: str) -> Iterator[ObjectHead | str]:
        """What is directly below a prefix."""
        return self.bare.folders(prefix)

    def close(self) -> None:
        """Let go of connections."""
        self.bare.close()
