"""The limits of a machine in an SQLite file of its own.

What it says is worth nothing once the processes are gone: it survives the end of any of them, not of the machine.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import apsw

from renku_store import bounds
from renku_store.errors import DamageError, StoreUnavailableError
from renku_store.metadata.sqlite.connection import Patience, connect, file_uri, require_version, switch_to_wal
from renku_store.metadata.sqlite.faults import named_errors
from renku_store.metadata.sqlite.limits import LimitTables
from renku_store.metadata.sqlite.migrations import migrate, shipped_migrations
from renku_store.metadata.sqlite.transactions import READ, WRITE, begun
from renku_store.metadata.sqlite.uses import Use, end, opening
from renku_store.processes import boot

_OPEN: Final = apsw.SQLITE_OPEN_READWRITE | apsw.SQLITE_OPEN_CREATE | apsw.SQLITE_OPEN_URI


class SqliteLimits:
    """Limits in one file; open it with `open_limits`."""

    def __init__(self, connection: apsw.Connection, path: Path, patience: Patience, use: Use) -> None:
        use.adopt(connection)
        self._use = use
        self._connection = connection
        self._path = path
        self._patience = patience
        self._tables = LimitTables(connection, boot())
        self._lock = use.lock
        self._process = os.getpid()
        self._closed = False

    @contextmanager
    def read(self) -> Iterator[LimitTables]:
        """One moment to look at. Raises `StoreUnavailableError`, `DamageError`."""
        with self._begun(READ):
            yield self._tables

    @contextmanager
    def write(self) -> Iterator[LimitTables]:
        """All of what is done within, or nothing. Raises `StoreUnavailableError`, `DamageError`."""
        with self._begun(WRITE):
            yield self._tables

    def close(self) -> None:
        """Let go of it; again is no harm."""
        if self._process != os.getpid():  # it is the parent's
            return
        with self._lock:
            self._closed = True
            end(self._use)

    @contextmanager
    def _begun(self, statement: str) -> Iterator[None]:
        if self._process != os.getpid():
            raise StoreUnavailableError(f"{self._path.name} was opened before this process was forked.")
        with self._lock:
            if self._closed:
                raise StoreUnavailableError(f"{self._path.name} was closed.", hint="Its run has ended.")
            with _own_advice(self._path), begun(self._connection, self._path, self._patience, statement):
                yield


def open_limits(path: Path, *, busy_seconds: float = bounds.LIMIT_BUSY_SECONDS) -> SqliteLimits:
    """Open the file at `path`; it is made, with its folder, if it is not there.

    Raises `StoreUnavailableError` where that cannot be, `DamageError` where it is no such database.
    """
    require_version()
    patience = Patience(busy_seconds)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise StoreUnavailableError(
            f"The folder {path.parent} for the limits of this machine cannot be made: {error.strerror}.",
            hint="Set RENKU_STORE_CACHE to a folder that can be written.",
        ) from error
    with _own_advice(path), named_errors(path, busy_seconds), opening(path) as use:
        connection = connect(file_uri(path, "mode=rwc"), _OPEN, patience)
        try:
            switch_to_wal(connection, patience)
            connection.pragma("synchronous", "normal")
            migrate(connection, path.name, shipped_migrations("sql/limits"))
        except BaseException:
            connection.close()
            raise
        return SqliteLimits(connection, path, patience, use)


@contextmanager
def _own_advice(path: Path) -> Iterator[None]:
    """No command makes this database anew: nothing is lost with it."""
    try:
        yield
    except DamageError as error:
        raise DamageError(
            f"{path}, in which processes count their calls, is damaged: remove it once no run goes on.",
            hint=f"Remove {path.name}-wal and {path.name}-shm with it; nothing that was made is in them.",
        ) from error
