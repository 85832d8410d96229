"""Opens a database as it is, to be checked: nothing is created, upgraded or switched to another mode."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path

import apsw

from renku_store import bounds
from renku_store.durability import step
from renku_store.errors import DamageError
from renku_store.metadata.sqlite.connection import Patience, connect, file_uri, require_version, write_durably
from renku_store.metadata.sqlite.faults import named_errors
from renku_store.metadata.sqlite.migrations import schema_is_current, shipped_migrations
from renku_store.metadata.sqlite.opening import open_sqlite
from renku_store.metadata.sqlite.store import SqliteMetadata
from renku_store.metadata.sqlite.uses import opening


def examine_sqlite(path: Path, *, lock: Callable[[], AbstractContextManager[None]]) -> SqliteMetadata:
    """Open an existing database beside its users; of one that has an older schema, a private copy for reading.

    Raises what `open_sqlite` raises.
    """
    require_version()
    patience = Patience(bounds.BUSY_MAX_SECONDS)
    with named_errors(path, patience.seconds), opening(path) as use:
        connection = _connect(path, patience)
        try:
            # What has another schema, or is no write-ahead log's, would have to be changed to be used.
            if connection.pragma("journal_mode") == "wal" and schema_is_current(
                connection, path.name, shipped_migrations()
            ):
                write_durably(connection, patience)
                return SqliteMetadata(connection, path, patience, use, lock=lock)
        except (apsw.SQLError, TypeError) as error:  # tables or rows are missing that every database has
            _close(connection)
            raise DamageError(f"{path.name} is not what it should be: {error}.") from error
        except BaseException:
            _close(connection)
            raise
        _close(connection)
        return open_sqlite(path, read_only=True)


def _connect(path: Path, patience: Patience) -> apsw.Connection:
    with step("database open"):
        connection = connect(file_uri(path, "mode=rw"), apsw.SQLITE_OPEN_READWRITE | apsw.SQLITE_OPEN_URI, patience)
        try:
            connection.pragma("journal_mode")  # the first look at the file makes those beside it
        except BaseException:
            connection.close()
            raise
    return connection


def _close(connection: apsw.Connection) -> None:
    with step("database close"):
        connection.close()
