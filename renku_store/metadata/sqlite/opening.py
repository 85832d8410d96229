"""Opens a database: for writing, or for reading without leaving a trace.

Keeps invariant 11: of a read-only root nothing changes, not even beside the file. A new database that nobody looks for
yet is filled without a log, and without waiting for the disk; it is durable as a whole before it gets its name.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from importlib import import_module
from pathlib import Path
from typing import Final

import apsw

from renku_store import bounds
from renku_store.durability import step
from renku_store.errors import StoreUnavailableError
from renku_store.metadata.sqlite.connection import (
    Patience,
    connect,
    file_uri,
    require_version,
    write_durably,
    write_in_haste,
)
from renku_store.metadata.sqlite.faults import named_errors
from renku_store.metadata.sqlite.migrations import Migration, migrate, schema_is_current, shipped_migrations
from renku_store.metadata.sqlite.store import SqliteMetadata
from renku_store.metadata.sqlite.uses import opening, reading

MEMORY: Final = ":memory:"
"""As a path: a database that is gone when it is closed."""

_COPY_TRIES: Final = 5
_COPY_BYTES: Final = 1_048_576
_READ: Final = apsw.SQLITE_OPEN_READONLY | apsw.SQLITE_OPEN_URI
_WRITE: Final = apsw.SQLITE_OPEN_READWRITE | apsw.SQLITE_OPEN_CREATE | apsw.SQLITE_OPEN_URI
_PARTS: Final = ("", "-wal", "-journal")


def open_sqlite(
    path: Path,
    *,
    read_only: bool = False,
    lock: Callable[[], AbstractContextManager[None]] | None = None,
    epoch: Callable[[], int] | None = None,
    busy_seconds: float = bounds.BUSY_MAX_SECONDS,
    migrations: Sequence[Migration] | None = None,
) -> SqliteMetadata:
    """Open the database file at `path`, creating or upgrading it if need be; `Path(":memory:")` keeps it in memory.

    Writers of all processes queue on `lock`, which names its holder when it gives up; behind it, locks of foreign
    programs are waited for, `busy_seconds` at most. `epoch` gives that of a database that is made here. With
    `read_only`, nothing at all is written beside the file: it is read in place if it is at rest, else from a private
    copy that goes with `close`.

    Raises `StoreUnavailableError` where the file cannot be opened or stays locked, `DamageError` where it is not a
    database any more, `UnsupportedFormatError` where a newer version or another program wrote it.
    """
    require_version()
    steps = shipped_migrations() if migrations is None else migrations
    patience = Patience(busy_seconds)
    with named_errors(path, busy_seconds):
        if read_only:
            return _open_for_reading(path, patience, steps)
        queue = lock or nullcontext
        with opening(None if str(path) == MEMORY else path) as use:
            connection = _open_for_writing(path, patience, steps, queue, epoch)
            return SqliteMetadata(connection, path, patience, use, lock=queue)


def build_sqlite(path: Path, *, epoch: Callable[[], int]) -> SqliteMetadata:
    """A new database, under a name that nobody looks for; of what is written to it nothing is durable before `finish`.

    Raises what `open_sqlite` raises.
    """
    require_version()
    patience = Patience(bounds.BUSY_MAX_SECONDS)
    with named_errors(path, patience.seconds), opening(path) as use:
        connection = _connect_to_write(file_uri(path, "mode=rwc"), patience)
        try:
            write_in_haste(connection)
            migrate(connection, path.name, shipped_migrations(), epoch)
        except BaseException:
            _close(connection)
            raise
        return SqliteMetadata(connection, path, patience, use)


def finish(built: SqliteMetadata) -> None:
    """Close a database that was built, whole and durable: as if it had had a log from the start. Raises `OSError`."""
    patience = Patience(bounds.BUSY_MAX_SECONDS)
    with named_errors(built.path, patience.seconds), step("database journal"):
        built.connection.pragma("journal_mode", "delete")  # from a log in memory there is no way to one beside the file
        write_durably(built.connection, patience)
    built.close()
    descriptor = os.open(built.path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        with step("file sync"):
            os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _open_for_writing(
    path: Path,
    patience: Patience,
    steps: Sequence[Migration],
    queue: Callable[[], AbstractContextManager[None]],
    epoch: Callable[[], int] | None = None,
) -> apsw.Connection:
    # As a URI, because a path need not be UTF-8 and SQLite's own form of it must.
    name = MEMORY if str(path) == MEMORY else file_uri(path, "mode=rwc")
    connection = _connect_to_write(name, patience)
    try:
        if connection.pragma("journal_mode") != "wal" or not schema_is_current(connection, path.name, steps):
            with queue():
                patience.start()
                schema_is_current(connection, path.name, steps)
                with step("database journal"):
                    write_durably(connection, patience)
                    connection.pragma("user_version")  # the first look after the switch makes the log
                migrate(connection, path.name, steps, epoch)
        write_durably(connection, patience)
    except BaseException:
        _close(connection)
        raise
    return connection


def _connect_to_write(name: str, patience: Patience) -> apsw.Connection:
    with step("database open"):
        connection = connect(name, _WRITE, patience)
        try:
            connection.pragma("journal_mode")  # the first look at the file makes those beside it
        except BaseException:
            connection.close()
            raise
    return connection


def _close(connection: apsw.Connection) -> None:
    with step("database close"):
        connection.close()


def _open_for_reading(path: Path, patience: Patience, steps: Sequence[Migration]) -> SqliteMetadata:
    if not path.is_file():
        raise StoreUnavailableError(
            f"{path} is not there.", hint="Without it, the published objects can still be read."
        )
    if _at_rest(path):
        with opening(path) as use:
            connection = connect(file_uri(path, "immutable=1"), _READ, patience)
            try:
                if schema_is_current(connection, path.name, steps):
                    return SqliteMetadata(connection, path, patience, use, read_only=True)
            except BaseException:
                connection.close()
                raise
            connection.close()
    return _open_copy(path, patience, steps)


def _open_copy(path: Path, patience: Patience, steps: Sequence[Migration]) -> SqliteMetadata:
    """A private copy can be recovered and upgraded, which the original may not."""
    # Loaded here: it takes long, and copies are rare.
    folder = import_module("tempfile").TemporaryDirectory(prefix="renku-store-", ignore_cleanup_errors=True)
    try:
        copy = Path(folder.name, path.name)
        _copy_unchanging(path, copy)
        with opening(copy) as use:
            connection = _open_for_writing(copy, patience, steps, nullcontext)
            return SqliteMetadata(connection, path, patience, use, read_only=True, cleanup=folder.cleanup)
    except OSError as error:
        folder.cleanup()
        raise StoreUnavailableError(
            f"{path} cannot be copied for reading: {error.strerror}.",
            hint="Check its permissions and the temporary folder.",
        ) from error
    except BaseException:
        folder.cleanup()
        raise


def _copy_unchanging(path: Path, copy: Path) -> None:
    for _ in range(_COPY_TRIES):
        before = _fingerprint(path)
        for part in _PARTS:
            source, target = Path(f"{path}{part}"), Path(f"{copy}{part}")
            target.unlink(missing_ok=True)
            if source.is_file():
                _copy(source, target)
        if _fingerprint(path) == before:
            return
    raise StoreUnavailableError(
        f"{path} is being written by another program.", hint="Open the root for writing, or try again later."
    )


def _copy(source: Path, target: Path) -> None:
    with reading(source) as descriptor, target.open("xb") as file:
        offset = 0
        while chunk := os.pread(descriptor, _COPY_BYTES, offset):
            offset += file.write(chunk)


def _at_rest(path: Path) -> bool:
    return all(size == 0 for size, _ in _fingerprint(path)[1:])


def _fingerprint(path: Path) -> list[tuple[int, int]]:
    """Size and time of each part of the database; (0, 0) for one that is not there."""
    found = []
    for part in _PARTS:
        try:
            status = Path(f"{path}{part}").stat()
        except FileNotFoundError:
            found.append((0, 0))
        else:
            found.append((status.st_size, status.st_mtime_ns))
    return found
