"""Objects in the memory of this process, for tests and notebooks: `memory://NAME`, or `memory://` without a name.

All who open a name share what is below it, until it is forgotten. Keeps what invariants 2, 5 and 7 rest on: every
change of a name is one step, under one lock, and what was read of an object stays as it was. The steps have the names
that they have on a disk, so that tests can interfere with them in memory, too.
"""

from __future__ import annotations

import io
import threading
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, BinaryIO, Final

from renku_store.drivers.base import Guarantees, ObjectStat
from renku_store.drivers.memory.batch import MemoryBatch
from renku_store.drivers.memory.objects import Objects
from renku_store.drivers.tree import LOCKS, TEMPORARY, check_name
from renku_store.drivers.urls import refuse_unknown_options, scheme_of, without_secrets
from renku_store.durability import step
from renku_store.errors import BlobMissingError, InvalidValueError, StoreUnavailableError


class MemoryDriver:
    """Objects below the folder `prefix` (ends in `/`, or empty) of those that share a name."""

    def __init__(self, objects: Objects, prefix: str = "") -> None:
        self._objects = objects
        self._prefix = prefix

    @property
    def guarantees(self) -> Guarantees:
        """All that needs no file."""
        return Guarantees(atomic_create=True, compare_and_swap=True, strong_listing=True)

    @property
    def url(self) -> str:
        """`memory://NAME`, and the folder."""
        return f"{self._objects.url}/{self._prefix}".rstrip("/") if self._prefix else self._objects.url

    @property
    def read_only(self) -> bool:
        """Never."""
        return False

    def workspace(self) -> None:
        """All is in memory."""
        return

    def read(self, name: str, limit: int | None = None) -> bytes:
        """The bytes, at most the first `limit`; `BlobMissingError` where there is no such object."""
        data = self._objects.get(self._name(name))
        if data is None:
            raise BlobMissingError(f"There is no object {self.url}/{name}.", hint="It was removed, or never made.")
        return data if limit is None else data[:limit]

    def read_many(self, names: Iterable[str], limit: int | None = None) -> dict[str, bytes]:
        """`read` of many names; those that are not there are left out."""
        found: dict[str, bytes] = {}
        for name in names:
            with suppress(BlobMissingError):
                found[name] = self.read(name, limit)
        return found

    def open(self, name: str) -> BinaryIO:
        """A stream of the bytes as they are now; `BlobMissingError` where there is no such object."""
        return io.BytesIO(self.read(name))

    def stat(self, name: str) -> ObjectStat | None:
        """Size and time, or None where there is no such object."""
        found = self._objects.stat(self._name(name))
        return None if found is None else ObjectStat(name, found.size, found.modified)

    def stat_many(self, names: Iterable[str]) -> dict[str, ObjectStat]:
        """`stat` of many names; those that are not there are left out."""
        return {found.name: found for found in map(self.stat, names) if found is not None}

    def among(self, names: Iterable[str]) -> set[str]:
        """Those of many names that there are."""
        return set(self.stat_many(names))

    def list(self, prefix: str) -> Iterator[ObjectStat]:
        """Every object below the folder `prefix`, as they are when the listing begins; in no order."""
        start, apart = len(self._prefix), (f"{TEMPORARY}/", f"{LOCKS}/")
        for found in self._objects.below(self._folder(prefix)):
            name = found.name[start:]
            if prefix or not name.startswith(apart):
                yield ObjectStat(name, found.size, found.modified)

    def children(self, prefix: str) -> Iterator[str]:
        """The names directly below the folder `prefix`; folders end in `/`."""
        yield from self._objects.children(self._folder(prefix))

    def batch(self) -> MemoryBatch:
        """Write many new objects; they are in memory anyway."""
        return MemoryBatch(self.create)

    def create(self, name: str, data: bytes) -> bool:
        """Create an object if the name is free."""
        key = self._name(name)
        with step("object link"):
            return self._objects.put(key, bytes(data), replace=False)

    def replace(self, name: str, data: bytes) -> None:
        """Create or replace an object."""
        key = self._name(name)
        with step("object replace"):
            self._objects.put(key, bytes(data), replace=True)

    def compare_and_swap(self, name: str, expected: bytes | None, data: bytes) -> bool:
        """Replace if the bytes are still `expected`."""
        with self._objects.changing:
            if self._objects.get(self._name(name)) != expected:
                return False
            self.replace(name, data)
            return True

    def renew(self, name: str) -> None:
        """Let an object's `modified` be now; nothing where it is not there."""
        with self._objects.changing:
            data = self._objects.get(self._name(name))
            if data is not None:
                self.replace(name, data)

    def settle(self, names: Iterable[str]) -> None:
        """Memory is as durable as it gets; names are checked like everywhere."""
        for name in names:
            check_name(name)

    def move(self, name: str, target: str) -> bool:
        """Give an object another name that is free; False if it is not there or the name is taken."""
        source, key = self._name(name), self._name(target)
        with step("object move"):
            return self._objects.move(source, key)

    def delete(self, name: str) -> None:
        """Remove an object; no error if it is not there."""
        key = self._name(name)
        with step("object delete"):
            self._objects.remove(key)

    def delete_many(self, names: Iterable[str]) -> None:
        """`delete` of many names."""
        for name in names:
            self.delete(name)

    def local_path(self, name: str) -> None:
        """No object is a file."""
        check_name(name)

    def cache(self) -> None:
        """None: nothing is nearer than memory."""

    def free_bytes(self) -> None:
        """How much memory may be used is known to nobody."""
        return

    def clone_to(self, name: str, target: Path) -> bool:  # noqa: ARG002 (the protocol has it)
        """Memory shares no blocks with files; `BlobMissingError` where there is no such object."""
        self.read(name, 0)
        return False

    @contextmanager
    def lock(self, name: str, *, shared: bool = False, wait_seconds: float) -> Iterator[None]:
        """Hold a named lock among the threads of this process; `StoreUnavailableError` names the holder."""
        with self._objects.locks.held(f"{self.url}/{LOCKS}/{check_name(name)}", shared=shared, seconds=wait_seconds):
            yield

    def scratch(self) -> Path:
        """A temporary folder of this machine, which is made now and goes with this process."""
        return self._objects.scratch.folder(f"{self._prefix}scratch")

    def sub(self, prefix: str) -> MemoryDriver:
        """The same objects seen from a folder."""
        return MemoryDriver(self._objects, f"{self._prefix}{check_name(prefix.rstrip('/'))}/")

    def close(self) -> None:
        """Nothing is let go of: the objects stay for whoever opens them next."""

    def _name(self, name: str) -> str:
        return f"{self._below()}{check_name(name)}"

    def _folder(self, prefix: str) -> str:
        return f"{self._below()}{check_name(prefix.rstrip('/'))}/" if prefix else self._below()

    def _below(self) -> str:
        if self._objects.forgotten:
            raise StoreUnavailableError(f"{self._objects.url} was forgotten.", hint="Open it again: it is empty then.")
        return self._prefix


def open_memory(url: str, options: Mapping[str, Any]) -> MemoryDriver:
    """The objects of a `memory://` URL, the same for all of this process who give that name."""
    refuse_unknown_options(url, options)
    name, _, folder = _place(url).partition("/")
    with _OPENING:
        objects = _OPENED.setdefault(name, Objects(name))
    driver = MemoryDriver(objects)
    return driver.sub(folder) if folder else driver


def forget_objects(url: str) -> str:
    """Drop the objects of a `memory://` URL: the name is free, and who has it open cannot use it; gives it as a URL.

    Raises `InvalidValueError` for what is not a whole root in memory.
    """
    name = _place(url)
    if "/" in name:
        raise InvalidValueError(f"{url} is a folder.", hint="Only a whole root can be forgotten: memory://NAME.")
    with _OPENING:
        objects = _OPENED.pop(name, None)
    if objects is not None:
        objects.forget()
    return f"memory://{name}"


def _place(url: str) -> str:
    place = url.partition("://")[2].rstrip("/")
    if scheme_of(url) != "memory" or set(place) & set("?#@"):
        raise InvalidValueError(f"{without_secrets(url)} names no memory.", hint="Write memory://NAME, or memory://.")
    return place


_OPENED: Final[dict[str, Objects]] = {}
_OPENING: Final = threading.Lock()
