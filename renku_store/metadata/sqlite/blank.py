"""A new database as bytes, to be a file at once: whole and durable before it has its name, as invariant 11 wants it.

To make the tables in a file takes a journal, a log, a copy of the log, and eight waits for the disk.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Final

import apsw

from renku_store import bounds
from renku_store.metadata.sqlite.connection import Patience, connect, require_version
from renku_store.metadata.sqlite.faults import named_errors
from renku_store.metadata.sqlite.migrations import migrate, shipped_migrations
from renku_store.metadata.sqlite.uses import opening

_MEMORY: Final = ":memory:"
_FLAGS: Final = apsw.SQLITE_OPEN_READWRITE | apsw.SQLITE_OPEN_CREATE
_VERSIONS: Final = slice(18, 20)
"""Where the head of a database file says how it is written and read (its format, 1.3.3)."""
_WITH_LOG: Final = b"\x02\x02"
"""With a write-ahead log. A database in memory has none, and says so."""


def blank_database(epoch: Callable[[], int]) -> bytes:
    """The file of a database with all tables and no row, of this epoch. Its tables are made once in a process.

    Raises `StoreUnavailableError` for an SQLite that is too old.
    """
    require_version()
    tables = _tables()
    with named_errors(Path(_MEMORY), bounds.BUSY_MAX_SECONDS), opening(None):
        connection = _connect()
        try:
            connection.deserialize("main", tables)
            connection.execute("UPDATE meta SET value = ? WHERE key = 'epoch'", (epoch(),))
            image = bytearray(connection.serialize("main"))
        finally:
            connection.close()
    image[_VERSIONS] = _WITH_LOG
    return bytes(image)


@cache
def _tables() -> bytes:
    with named_errors(Path(_MEMORY), bounds.BUSY_MAX_SECONDS), opening(None):
        connection = _connect()
        try:
            migrate(connection, _MEMORY, shipped_migrations())
            return bytes(connection.serialize("main"))
        finally:
            connection.close()


def _connect() -> apsw.Connection:
    return connect(_MEMORY, _FLAGS, Patience(bounds.BUSY_MAX_SECONDS))
