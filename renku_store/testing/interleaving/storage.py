"""A disk in memory, and a driver over it that stops before every operation.

What is one step here, and therefore must be atomic in a driver: `read`, `stat`, `create`, `replace`, `delete`, `move`,
`compare_and_swap`, the creation of one name by a batch, taking a lock. What is several steps, between which others go
on: the names of one batch, the names of one `settle`, the entries of one listing. Nothing here forgets what was not
synced: that is another suite.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

from renku_store.drivers.base import Guarantees, ObjectStat, StagedFile
from renku_store.errors import BlobMissingError, StoreUnavailableError
from renku_store.testing.interleaving.scheduler import Scheduler
from renku_store.testing.interleaving.timeline import Timeline

Watcher = Callable[[str, bytes | None], None]
"""Hears of a change before it is made: the name, and the new bytes, None for a removal. It raises if that is wrong."""


class Storage:
    """Objects with their times, and who holds which lock; shared by the drivers of all processes."""

    def __init__(self, timeline: Timeline, scratch: Path) -> None:
        self.objects: dict[str, tuple[bytes, float]] = {}
        self.held: dict[str, int] = {}
        self.watchers: list[Watcher] = []
        self.scratch = scratch
        self._timeline = timeline

    def now(self) -> float:
        """The time that a file gets which is written now."""
        return self._timeline.unix_seconds()

    def set(self, name: str, data: bytes | None, modified: float = 0.0) -> None:
        """Create, replace or remove an object; `modified` is when its bytes were written, under whatever name."""
        for watcher in self.watchers:
            watcher(name, data)
        if data is None:
            self.objects.pop(name, None)
        else:
            self.objects[name] = (data, modified)


class _Staged:
    def __init__(self, written: float) -> None:
        self.data = bytearray()
        self.written = written

    def write(self, data: bytes | bytearray | memoryview) -> None:
        self.data += data

    def clone_from(self, source: Path) -> bool:  # noqa: ARG002
        return False

    def read_back(self) -> BinaryIO:
        return io.BytesIO(bytes(self.data))


class _Batch:
    full: bool = False

    def __init__(self, driver: SimulatedDriver) -> None:
        self._driver = driver
        self._files: dict[StagedFile, _Staged] = {}
        self._names: dict[StagedFile, str] = {}

    def stage(self) -> StagedFile:
        staged = _Staged(self._driver.now())
        self._files[staged] = staged
        return staged

    def name(self, staged: StagedFile, name: str) -> None:
        self._names[staged] = name

    def add(self, data: bytes, name: str) -> None:
        staged = self.stage()
        staged.write(data)
        self.name(staged, name)

    def discard(self, staged: StagedFile) -> None:
        self._names.pop(staged, None)

    def commit(self) -> frozenset[str]:
        there: set[str] = set()
        for staged, name in self._names.items():
            file = self._files[staged]
            if not self._driver.link(bytes(file.data), file.written, name):
                there.add(name)
        self._names = {}
        return frozenset(there)


class SimulatedDriver:
    """The storage as one process sees it; a `Driver` whose every operation is a step of the scheduler."""

    def __init__(self, storage: Storage, scheduler: Scheduler) -> None:
        self._storage = storage
        self._scheduler = scheduler

    @property
    def guarantees(self) -> Guarantees:
        """All of them."""
        return Guarantees(atomic_create=True, compare_and_swap=True, strong_listing=True)

    @property
    def read_only(self) -> bool:
        """Never."""
        return False

    @property
    def url(self) -> str:
        """A name for all processes."""
        return "simulated"

    def workspace(self) -> None:
        """There is none: the database is put in place by the machine."""
        return

    def read(self, name: str, limit: int | None = None) -> bytes:
        """The bytes; `BlobMissingError` where there is no such object."""
        self._scheduler.step("read", name)
        found = self._storage.objects.get(name)
        if found is None:
            raise BlobMissingError(f"There is no object {name}.")
        return found[0] if limit is None else found[0][:limit]

    def read_many(self, names: Iterable[str], limit: int | None = None) -> dict[str, bytes]:
        """One after the other."""
        found: dict[str, bytes] = {}
        for name in names:
            with suppress(BlobMissingError):
                found[name] = self.read(name, limit)
        return found

    def open(self, name: str) -> BinaryIO:
        """A stream of the bytes as they are now."""
        return io.BytesIO(self.read(name))

    def stat(self, name: str) -> ObjectStat | None:
        """Size and time, or None."""
        self._scheduler.step("stat", name)
        return self._stat(name)

    def stat_many(self, names: Iterable[str]) -> dict[str, ObjectStat]:
        """One look after the other."""
        return {found.name: found for found in map(self.stat, names) if found is not None}

    def among(self, names: Iterable[str]) -> set[str]:
        """Those of many names that there are."""
        return set(self.stat_many(names))

    def _stat(self, name: str) -> ObjectStat | None:
        found = self._storage.objects.get(name)
        return None if found is None else ObjectStat(name, len(found[0]), found[1])

    def list(self, prefix: str) -> Iterator[ObjectStat]:
        """Every object below a folder that was there when the listing began and still is when its turn comes."""
        self._scheduler.step("list", prefix)
        for name in [name for name in self._storage.objects if name.startswith(prefix)]:
            self._scheduler.step("list", name)
            found = self._stat(name)
            if found is not None:
                yield found

    def children(self, prefix: str) -> Iterator[str]:
        """The names directly below a folder."""
        self._scheduler.step("children", prefix)
        below = [name.removeprefix(prefix) for name in self._storage.objects if name.startswith(prefix)]
        yield from dict.fromkeys(first + slash for first, slash, _ in (name.partition("/") for name in below))

    @contextmanager
    def batch(self) -> Iterator[_Batch]:
        """New objects; each gets its name in a step of its own."""
        yield _Batch(self)

    def create(self, name: str, data: bytes) -> bool:
        """Create an object if the name is free."""
        return self.link(data, self.now(), name)

    def now(self) -> float:
        """The time that a file gets which is written now."""
        return self._storage.now()

    def link(self, data: bytes, written: float, name: str) -> bool:
        """Give a complete file its name, if that is free."""
        self._scheduler.step("create", name)
        if name in self._storage.objects:
            return False
        self._storage.set(name, data, written)
        return True

    def replace(self, name: str, data: bytes) -> None:
        """Create or replace an object."""
        written = self.now()
        self._scheduler.step("replace", name)
        self._storage.set(name, data, written)

    def compare_and_swap(self, name: str, expected: bytes | None, data: bytes) -> bool:
        """Replace if the bytes are still `expected`."""
        written = self.now()
        self._scheduler.step("swap", name)
        present = self._storage.objects.get(name)
        if (None if present is None else present[0]) != expected:
            return False
        self._storage.set(name, data, written)
        return True

    def renew(self, name: str) -> None:
        """Let an object's time be now."""
        written = self.now()
        self._scheduler.step("renew", name)
        found = self._storage.objects.get(name)
        if found is not None:
            self._storage.set(name, found[0], written)

    def settle(self, names: Iterable[str]) -> None:
        """Nothing is forgotten here; others may go on meanwhile all the same."""
        for name in names:
            self._scheduler.step("settle", name)

    def move(self, name: str, target: str) -> bool:
        """Give an object another name."""
        self._scheduler.step("move", name)
        found = self._storage.objects.get(name)
        if found is None or target in self._storage.objects:
            return False
        self._storage.set(target, *found)
        self._storage.set(name, None)
        return True

    def delete(self, name: str) -> None:
        """Remove an object."""
        self._scheduler.step("delete", name)
        if name in self._storage.objects:
            self._storage.set(name, None)

    def delete_many(self, names: Iterable[str]) -> None:
        """One removal after the other."""
        for name in names:
            self.delete(name)

    def local_path(self, name: str) -> None:  # noqa: ARG002
        """No object is a file."""
        return

    def cache(self) -> None:
        """There is none."""

    def free_bytes(self) -> None:
        """There is no end of it."""
        return

    def clone_to(self, name: str, target: Path) -> bool:  # noqa: ARG002
        """There are no blocks to share."""
        return False

    @contextmanager
    def lock(self, name: str, *, shared: bool = False, wait_seconds: float) -> Iterator[None]:
        """Hold a lock; whoever waits for it goes on in any order. Its holder's death frees it."""
        held = self._storage.held

        def free() -> bool:
            return held.get(name, 0) == 0 or (shared and held[name] > 0)

        if not self._scheduler.wait("lock", name, free, wait_seconds):
            raise StoreUnavailableError(f"The lock {name} is held by somebody else; waited {wait_seconds:g} seconds.")
        held[name] = held.get(name, 0) + 1 if shared else -1
        try:
            self._storage.set(f"locks/{name}", b"", self.now())
            yield
        finally:
            held[name] = held[name] - 1 if shared else 0

    def scratch(self) -> Path:
        """An empty folder of this machine."""
        return self._storage.scratch

    def sub(self, prefix: str) -> SimulatedDriver:
        """There is one movie, and nothing below it."""
        raise NotImplementedError(prefix)

    def close(self) -> None:
        """There is nothing to let go of."""
