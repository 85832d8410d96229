"""Objects that several machines share, as a storage behind a network has them, each machine with a folder of its own.

For tests of what goes on between machines. One request is one step: reading, writing one object, listing a page. What a
storage has no request for are several: moving an object, giving it the present time, naming a batch. Times are the
storage's own, from its timeline. Locks and workspaces are of one machine.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from pathlib import Path
from typing import BinaryIO, Protocol

from renku_store.drivers.base import Guarantees, ObjectStat, StagedFile
from renku_store.drivers.caching.cache import ObjectCache
from renku_store.drivers.local import LocalDriver
from renku_store.errors import BlobMissingError
from renku_store.testing.interleaving.storage import Storage

Step = Callable[[str, str], None]
"""Called before each request, with what it is and the name of the object."""


class Locking(Protocol):
    """How processes of one machine exclude each other."""

    def __call__(self, name: str, *, shared: bool, wait_seconds: float) -> AbstractContextManager[None]:
        """Hold a lock."""
        ...


class _Staged:
    def __init__(self) -> None:
        self.data = bytearray()

    def write(self, data: bytes | bytearray | memoryview) -> None:
        self.data += data

    def clone_from(self, source: Path) -> bool:  # noqa: ARG002
        return False

    def read_back(self) -> BinaryIO:
        return io.BytesIO(bytes(self.data))


class _Batch:
    full: bool = False

    def __init__(self, driver: SharedObjects) -> None:
        self._driver = driver
        self._files: dict[StagedFile, _Staged] = {}
        self._names: dict[StagedFile, str] = {}

    def stage(self) -> StagedFile:
        staged = _Staged()
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
        named, self._names = self._names, {}
        return frozenset(
            name for staged, name in named.items() if not self._driver.create(name, bytes(self._files[staged].data))
        )


class SharedObjects:
    """The objects of a storage as the processes of one machine see them, whose folder is `workspace`."""

    def __init__(
        self,
        storage: Storage,
        workspace: Path,
        *,
        step: Step = lambda _what, _name: None,
        lock: Locking | None = None,
        prefix: str = "",
        cache: ObjectCache | None = None,
    ) -> None:
        self._storage = storage
        self._workspace = workspace
        self._step = step
        self._lock = lock
        self._prefix = prefix
        self._cache = cache

    @property
    def guarantees(self) -> Guarantees:
        """Those of a storage with conditional writes, to which each machine brings an index of its own."""
        return Guarantees(atomic_create=True, compare_and_swap=True, strong_listing=True, shared_index=False)

    @property
    def url(self) -> str:
        """The same on every machine."""
        return f"shared://objects/{self._prefix}".rstrip("/")

    @property
    def read_only(self) -> bool:
        """Never."""
        return False

    def workspace(self) -> Path:
        """The folder of this machine."""
        return self._workspace

    # Requests

    def read(self, name: str, limit: int | None = None) -> bytes:
        """The bytes; `BlobMissingError` where there is no such object."""
        self._step("get", name)
        found = self._storage.objects.get(self._prefix + name)
        if found is None:
            raise BlobMissingError(f"There is no object {name}.")
        return found[0] if limit is None else found[0][:limit]

    def read_many(self, names: Iterable[str], limit: int | None = None) -> dict[str, bytes]:
        """One request after the other."""
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
        self._step("head", name)
        return self._found(name)

    def _found(self, name: str) -> ObjectStat | None:
        found = self._storage.objects.get(self._prefix + name)
        return None if found is None else ObjectStat(name, len(found[0]), found[1])

    def stat_many(self, names: Iterable[str]) -> dict[str, ObjectStat]:
        """One look after the other."""
        return {found.name: found for found in map(self.stat, names) if found is not None}

    def among(self, names: Iterable[str]) -> set[str]:
        """Those of many names that there are."""
        return set(self.stat_many(names))

    def list(self, prefix: str) -> Iterator[ObjectStat]:
        """Every object below a folder, in one page: as they all are at one moment."""
        self._step("list", prefix)
        below = [name for name in self._storage.objects if name.startswith(self._prefix + prefix)]
        found = [self._found(name.removeprefix(self._prefix)) for name in below]
        yield from [one for one in found if one is not None]

    def children(self, prefix: str) -> Iterator[str]:
        """The names directly below a folder."""
        self._step("list", prefix)
        folder = self._prefix + prefix
        below = [name.removeprefix(folder) for name in self._storage.objects if name.startswith(folder)]
        yield from dict.fromkeys(first + slash for first, slash, _ in (name.partition("/") for name in below))

    def create(self, name: str, data: bytes) -> bool:
        """Put an object if the name is free."""
        self._step("put if absent", name)
        if self._prefix + name in self._storage.objects:
            return False
        self._set(name, data)
        return True

    def replace(self, name: str, data: bytes) -> None:
        """Put an object."""
        self._step("put", name)
        self._set(name, data)

    def compare_and_swap(self, name: str, expected: bytes | None, data: bytes) -> bool:
        """Put an object if the bytes are still `expected`."""
        self._step("put if match", name)
        present = self._storage.objects.get(self._prefix + name)
        if (None if present is None else present[0]) != expected:
            return False
        self._set(name, data)
        return True

    def delete(self, name: str) -> None:
        """Remove an object."""
        self._step("delete", name)
        if self._prefix + name in self._storage.objects:
            self._storage.set(self._prefix + name, None)

    def _set(self, name: str, data: bytes) -> None:
        self._storage.set(self._prefix + name, data, self._storage.now())

    # What takes several requests

    @contextmanager
    def batch(self) -> Iterator[_Batch]:
        """New objects; each is a request of its own."""
        yield _Batch(self)

    def renew(self, name: str) -> None:
        """Copy an object away and back: whoever removes it in between finds it there again."""
        self._step("copy", name)
        found = self._storage.objects.get(self._prefix + name)
        if found is not None:
            self._step("copy back", name)
            self._set(name, found[0])

    def move(self, name: str, target: str) -> bool:
        """Copy an object, then remove it; somebody else may remove it before it was copied."""
        if self.stat(name) is None:
            return False
        try:
            data = self.read(name)
        except BlobMissingError:
            return False
        if not self.create(target, data):
            return False
        self.delete(name)
        return True

    def delete_many(self, names: Iterable[str]) -> None:
        """One removal after the other."""
        for name in names:
            self.delete(name)

    # What such a storage has not

    def settle(self, names: Iterable[str]) -> None:
        """Whatever was answered is durable."""

    def local_path(self, name: str) -> None:  # noqa: ARG002
        """No object is a file."""
        return

    def cache(self) -> ObjectCache | None:
        """That of this machine, if it was given one."""
        return self._cache

    def free_bytes(self) -> None:
        """Nobody knows."""
        return

    def clone_to(self, name: str, target: Path) -> bool:  # noqa: ARG002
        """There are no blocks to share."""
        return False

    # What is this machine's

    def lock(self, name: str, *, shared: bool = False, wait_seconds: float) -> AbstractContextManager[None]:
        """Hold a lock among the processes of this machine."""
        if self._lock is not None:
            return self._lock(name, shared=shared, wait_seconds=wait_seconds)
        return LocalDriver(self._workspace).lock(name, shared=shared, wait_seconds=wait_seconds)

    def scratch(self) -> Path:
        """A folder below the workspace."""
        return LocalDriver(self._workspace).scratch()

    def sub(self, prefix: str) -> SharedObjects:
        """The same storage seen from a folder."""
        below, folder = f"{self._prefix}{prefix}/", self._workspace / prefix
        return SharedObjects(self._storage, folder, step=self._step, lock=self._lock, prefix=below, cache=self._cache)

    def close(self) -> None:
        """There is nothing to let go of."""
