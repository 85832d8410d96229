"""What a driver is: objects under names, and the guarantees that it declares.

A name is a relative path with forward slashes (`blobs/7f/7f3c...`), always below the root that the driver was opened
for. Drivers raise `StoreUnavailableError` where the storage cannot be reached, is full or read-only; never a bare
`OSError`.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from typing import BinaryIO, Protocol, runtime_checkable

from msgspec import Struct

from renku_store.drivers.caching.cache import ObjectCache


class Guarantees(Struct, frozen=True):
    """What the protocols may rest on.

    `atomic_create`: of many creators of one name exactly one wins, seen by all. `compare_and_swap`: a replacement
    happens only if the bytes are still those expected. `strong_listing`: a listing holds whatever was created before it
    began. `shared_index`: everybody who writes here shares one metadata store and the locks, so that its rows are
    promises (invariant 8); else each machine has its own, which promises nothing to others. `links`: objects are files
    of this machine that can be linked and cloned. `free_space`: `free_bytes` knows.
    """

    atomic_create: bool
    compare_and_swap: bool
    strong_listing: bool
    shared_index: bool = True
    links: bool = False
    free_space: bool = False


class ObjectStat(Struct, frozen=True):
    """An object: its `name`, `size` in bytes, and `modified` as Unix seconds."""

    name: str
    size: int
    modified: float


class StagedFile(Protocol):
    """A new object that has no name yet; it is written front to back, then named or discarded by its batch."""

    def write(self, data: bytes | bytearray | memoryview) -> None:
        """Append bytes."""
        ...

    def clone_from(self, source: Path) -> bool:
        """Take a whole file's content without passing it through memory (reflink); False where that cannot be done."""
        ...

    def read_back(self) -> BinaryIO:
        """The bytes written so far, from the start; the caller closes it."""
        ...


class Batch(Protocol):
    """New objects that share their syncs.

    Nothing has its name before `commit`, and then only whole and synced files do. Leaving the context without `commit`
    discards everything staged.
    """

    @property
    def full(self) -> bool:
        """Whether it should be committed before more is staged, for what it takes in memory; more can be staged."""
        ...

    def stage(self) -> StagedFile:
        """Begin a new object."""
        ...

    def name(self, staged: StagedFile, name: str) -> None:
        """Say under which name it shall appear; existing names are left as they are."""
        ...

    def add(self, data: bytes, name: str) -> None:
        """Stage a whole object, and say under which name it shall appear; after an error nothing of it is staged.

        A batch that writes it later tells of an error then, at another `add` or at `commit`; it commits nothing more.
        """
        ...

    def discard(self, staged: StagedFile) -> None:
        """Forget a staged object."""
        ...

    def commit(self) -> frozenset[str]:
        """Sync the data, create the names, sync the directories (invariant 2). The batch can be used again.

        Returns the names that existed already and were left as they are; they are durable too.
        """
        ...


@runtime_checkable
class EarlyBatch(Batch, Protocol):
    """A batch that need not wait for its commit: what some drivers have for writers that share no index.

    Only they may use it: where an index is shared, no object may appear whose row is not about to be written.
    """

    def begin(self) -> None:
        """Let what is named appear, each whole, and return as soon as there is room for more; `commit` waits for all.

        Raises what `commit` raises.
        """
        ...


class Driver(Protocol):
    """Objects under names below one root."""

    @property
    def guarantees(self) -> Guarantees:
        """What may be relied on."""
        ...

    @property
    def url(self) -> str:
        """What was opened, without secrets: a path, or such as `s3://bucket/videos`; the same for all who share it."""
        ...

    @property
    def read_only(self) -> bool:
        """Whether nothing can be written here; then nothing is tried either."""
        ...

    def workspace(self) -> Path | None:
        """The folder of this machine for what belongs to this folder of the storage and to this machine alone.

        The database, locks, temporary files; not made by asking. None where all that is in memory.
        """
        ...

    def cache(self) -> ObjectCache | None:
        """Where this machine keeps copies of blobs that were read or written here; None where none are worth it.

        The driver itself never reads from it: what it says of an object is what the storage says.
        """
        ...

    def read(self, name: str, limit: int | None = None) -> bytes:
        """The bytes, at most the first `limit`; raises `BlobMissingError` where there is no such object."""
        ...

    def read_many(self, names: Iterable[str], limit: int | None = None) -> dict[str, bytes]:
        """`read` of many names, as fast as the storage allows; those that are not there are left out.

        All of them are in memory then: who asks for much asks for a part of it at a time.
        """
        ...

    def open(self, name: str) -> BinaryIO:
        """A stream of the bytes; raises `BlobMissingError` where there is no such object."""
        ...

    def stat(self, name: str) -> ObjectStat | None:
        """Size and time, or None where there is no such object."""
        ...

    def stat_many(self, names: Iterable[str]) -> dict[str, ObjectStat]:
        """`stat` of many names, as fast as the storage allows; those that are not there are left out."""
        ...

    def among(self, names: Iterable[str]) -> set[str]:
        """Those of many names that there are, as fast as the storage allows: nothing else is asked of them."""
        ...

    def list(self, prefix: str) -> Iterator[ObjectStat]:
        """Every object whose name begins with the folder `prefix` (ends in `/`, or empty), in no order."""
        ...

    def children(self, prefix: str) -> Iterator[str]:
        """The names directly below the folder `prefix`, without it; folders end in `/`."""
        ...

    def batch(self) -> AbstractContextManager[Batch]:
        """Write many new objects with shared syncs."""
        ...

    def create(self, name: str, data: bytes) -> bool:
        """Create a durable object if the name is free, atomically; False, and nothing written, if it is not."""
        ...

    def replace(self, name: str, data: bytes) -> None:
        """Create or replace an object, atomically and durably."""
        ...

    def compare_and_swap(self, name: str, expected: bytes | None, data: bytes) -> bool:
        """Replace durably if the object's bytes are still `expected` (None: it does not exist); else False."""
        ...

    def renew(self, name: str) -> None:
        """Let an object's `modified` be now, its bytes as they are; nothing where it is not there.

        Asked for only where writers do not share an index: there its age is what protects an object.
        """
        ...

    def settle(self, names: Iterable[str]) -> None:
        """Make durable the names of objects that another writer may have created a moment ago."""
        ...

    def move(self, name: str, target: str) -> bool:
        """Give an object another, free name; False if it is not there or the name is taken."""
        ...

    def delete(self, name: str) -> None:
        """Remove an object; no error if it is not there. A crash may bring it back, whole."""
        ...

    def delete_many(self, names: Iterable[str]) -> None:
        """`delete` of many names, as fast as the storage allows."""
        ...

    def local_path(self, name: str) -> Path | None:
        """The file that an object is, to be read or linked and never to be changed; None where it is none."""
        ...

    def free_bytes(self) -> int | None:
        """How many bytes can still be written; None where nobody knows."""
        ...

    def clone_to(self, name: str, target: Path) -> bool:
        """Let the empty file `target` share the object's blocks (reflink); False where that cannot be done."""
        ...

    def lock(self, name: str, *, shared: bool = False, wait_seconds: float) -> AbstractContextManager[None]:
        """Hold a lock among all processes of this machine; `StoreUnavailableError` names the holder after the wait."""
        ...

    def scratch(self) -> Path:
        """A local folder for temporary files, best on the same file system; leftovers go after the grace time."""
        ...

    def sub(self, prefix: str) -> Driver:
        """The same storage seen from a folder."""
        ...

    def close(self) -> None:
        """Let go of connections; what was made of this driver by `sub` goes with it. Again is no harm."""
        ...


@runtime_checkable
class OnServer(Protocol):
    """What a driver has whose `url` does not say on which server it is, as that of a bucket does not."""

    @property
    def identity(self) -> str:
        """The URL and the server or account, without secrets: another storage has another one."""
        ...


def identity_of(driver: Driver) -> str:
    """What tells a place of a storage from all others, of which some may have the same URL on another server."""
    return driver.identity if isinstance(driver, OnServer) else driver.url


def shares_index(driver: Driver) -> bool:
    """Whether all who write here share one metadata store, so that its rows are promises (invariant 8).

    Asked often, and of roots where nothing may be written: it does not try out what a file system can do.
    """
    return is_near(driver) or driver.guarantees.shared_index


def is_near(driver: Driver) -> bool:
    """Whether the objects are in a folder or in the memory of this machine: there, many are made durable at once."""
    folder = driver.workspace()
    return folder is None or driver.url == str(folder)
