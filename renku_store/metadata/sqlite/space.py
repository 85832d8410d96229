"""The space that a database takes on the disk, and how some of it is given back."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final

import apsw

from renku_store.durability import step
from renku_store.metadata.sqlite.connection import Patience

REWRITE_MIN_FREE: Final = 0.25
"""Below this share of free pages a rewrite would cost more than it gives back."""
_WAIT_MILLISECONDS: Final = 1_000
"""Whoever reads for longer keeps the log from being cut back this time."""


def database_bytes(connection: apsw.Connection, path: Path) -> int:
    """Bytes of the database and its log; what is in memory takes what its pages take."""
    sizes = []
    for part in ("", "-wal"):
        with suppress(FileNotFoundError):
            sizes.append(Path(f"{path}{part}").stat().st_size)
    return sum(sizes) or int(connection.pragma("page_count")) * int(connection.pragma("page_size"))


def give_back(connection: apsw.Connection, patience: Patience, *, rewrite: bool) -> None:
    """Copy the log back and cut it; before that, rewrite the database if much of it is free and that is allowed.

    A rewrite is one transaction: killed anywhere, the database is as before or as after. It needs as much free space on
    the disk as the database takes; where there is not enough, or somebody reads, nothing happens.
    """
    connection.set_busy_timeout(_WAIT_MILLISECONDS)
    try:
        free, pages = int(connection.pragma("freelist_count")), int(connection.pragma("page_count"))
        if rewrite and free > pages * REWRITE_MIN_FREE:
            busy = suppress(apsw.BusyError, apsw.LockedError, apsw.FullError)
            with busy, _sorting_on_disk(connection), step("database commit"):
                connection.execute("VACUUM")
        with suppress(apsw.BusyError, apsw.LockedError, apsw.FullError), step("database commit"):
            connection.wal_checkpoint(mode=apsw.SQLITE_CHECKPOINT_TRUNCATE)
    finally:
        connection.set_busy_handler(patience.again)


@contextmanager
def _sorting_on_disk(connection: apsw.Connection) -> Iterator[None]:
    """A rewrite makes a copy of everything: in a file, not in memory."""
    connection.pragma("temp_store", "file")
    try:
        yield
    finally:
        connection.pragma("temp_store", "memory")
