"""Where the database of a movie is: in a file of this machine, or in memory for all of this process.

One in memory has one connection, which all share who open it: to SQLite they are one. It outlives those who open it,
until it is forgotten, as a file would.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import TYPE_CHECKING, Final, Protocol

from msgspec import Struct

from renku_store.durability import step
from renku_store.errors import StoreUnavailableError
from renku_store.late import late_module
from renku_store.metadata.base import MetadataStore, Reader, Writer
from renku_store.metadata.sqlite.opening import MEMORY, open_sqlite
from renku_store.metadata.sqlite.replacing import is_blank
from renku_store.metadata.sqlite.store import SqliteMetadata

if TYPE_CHECKING:
    from renku_store.metadata.sqlite import examining
else:
    examining = late_module("renku_store.metadata.sqlite.examining")

Lock = Callable[[], AbstractContextManager[None]]


class DatabasePlace(Protocol):
    """A place that has a database, or where one can be made. All raise what `open_sqlite` raises."""

    @property
    def path(self) -> Path | None:
        """The file; None where it is in memory."""
        ...

    def is_blank(self) -> bool:
        """Whether there is no database yet."""
        ...

    def open(self, *, lock: Lock, epoch: Callable[[], int]) -> MetadataStore:
        """The database, made or upgraded if need be; writers queue on `lock`, `epoch` gives that of a new one."""
        ...

    def examine(self, *, lock: Lock) -> MetadataStore:
        """The database as it is, which exists, beside those who use it."""
        ...


class DatabaseFile(Struct, frozen=True):
    """A database in a file."""

    path: Path

    def is_blank(self) -> bool:
        """Whether there is no file, or one without a byte in it."""
        return is_blank(self.path)

    def open(self, *, lock: Lock, epoch: Callable[[], int]) -> MetadataStore:
        """The database; its folder is made if need be."""
        folder = self.path.parent
        try:
            if not folder.is_dir():
                with step("folder make"):
                    folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise StoreUnavailableError(
                f"{folder} cannot be made: {error.strerror}.", hint="Check its permissions and the disk."
            ) from error
        return open_sqlite(self.path, lock=lock, epoch=epoch)

    def examine(self, *, lock: Lock) -> MetadataStore:
        """The database as it is."""
        return examining.examine_sqlite(self.path, lock=lock)


class DatabaseInMemory(Struct, frozen=True):
    """A database that all share who name it alike."""

    name: str

    @property
    def path(self) -> None:
        """There is no file."""
        return

    def is_blank(self) -> bool:
        """Whether nobody has made it yet."""
        return self.name not in _SHARED

    def open(self, *, lock: Lock, epoch: Callable[[], int]) -> MetadataStore:  # noqa: ARG002 (see below)
        """The database. Writers queue for a turn on its one connection: that is a lock already."""
        with _MAKING:
            if self.name not in _SHARED:
                _SHARED[self.name] = open_sqlite(Path(MEMORY), epoch=epoch)
            return _Shared(_SHARED[self.name], self.name)

    def examine(self, *, lock: Lock) -> MetadataStore:  # noqa: ARG002 (see above)
        """The database as it is."""
        return _Shared(_SHARED[self.name], self.name)

    def replace(self, built: SqliteMetadata) -> None:
        """Let another one take its place, for a caller who has the movie alone."""
        with _MAKING:
            old = _SHARED.get(self.name)
            _SHARED[self.name] = built
        if old is not None:
            old.close()


def forget_databases(folder: str) -> None:
    """Close, and with that drop, all databases in memory whose name begins with `folder`; none is no error."""
    with _MAKING:
        gone = [_SHARED.pop(name) for name in list(_SHARED) if name.startswith(folder)]
    for database in gone:
        database.close()


class _Shared:
    """A database as one of those has it who share it; closed for this one alone."""

    def __init__(self, database: SqliteMetadata, name: str) -> None:
        self._database = database
        self._name = name
        self._closed = False

    @property
    def epoch(self) -> int:
        return self._database.epoch

    @property
    def is_within(self) -> bool:
        return self._open().is_within

    def last_id(self) -> str:
        return self._open().last_id()

    def read(self) -> AbstractContextManager[Reader]:
        return self._open().read()

    def write(self) -> AbstractContextManager[Writer]:
        return self._open().write()

    def disk_bytes(self) -> int:
        return self._open().disk_bytes()

    def reclaim(self, *, rewrite: bool) -> None:
        self._open().reclaim(rewrite=rewrite)

    def close(self) -> None:
        self._closed = True

    def _open(self) -> SqliteMetadata:
        if self._closed:
            raise StoreUnavailableError(f"The database of {self._name} was closed.", hint="Open the movie again.")
        return self._database


_SHARED: Final[dict[str, SqliteMetadata]] = {}
_MAKING: Final = threading.Lock()
