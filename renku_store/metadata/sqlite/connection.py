"""How a connection behaves: the policy, one function a rule."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Final

import apsw

from renku_store import bounds
from renku_store.errors import StoreUnavailableError

STATEMENT_CACHE: Final = 256
"""More than the store has statements, so that none is ever prepared twice."""
CACHE_KIB: Final = 32_768
"""Inner pages of the indexes at a million rows; leaves come from the page cache of the system."""
CHECKPOINT_PAGES: Final = 16_000
"""64 MiB of log between two checkpoints: pages of the indexes by hash, which many commits change, are copied once."""
WAL_LEFT_BYTES: Final = 64 * 1_048_576
"""A write-ahead log that a long reader made grow is cut back to this after the next checkpoint."""
PAUSE_MAX_SECONDS: Final = 0.02
"""The longest sleep between two tries for a lock that another program holds."""


class Patience:
    """Until when a connection waits for locks of other programs; the busy handler of SQLite asks it."""

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds
        self._deadline = 0.0
        self.start()

    def start(self) -> None:
        """Count from now."""
        self._deadline = time.monotonic() + self.seconds

    def left(self) -> float:
        """Seconds that are left, at least 0."""
        return max(0.0, self._deadline - time.monotonic())

    def again(self, tries: int) -> bool:
        """Sleep and answer True, or answer False when the time is up; `tries` is how often it was asked before."""
        left = self.left()
        if left <= 0:
            return False
        time.sleep(min(left, PAUSE_MAX_SECONDS, 0.001 * (tries + 1)))
        return True


def require_version() -> None:
    """Refuse an SQLite that is known to corrupt databases."""
    found = tuple(int(part) for part in apsw.sqlite_lib_version().split("."))
    if found < bounds.SQLITE_MIN_VERSION:
        needed = ".".join(map(str, bounds.SQLITE_MIN_VERSION))
        raise StoreUnavailableError(
            f"SQLite {apsw.sqlite_lib_version()} can corrupt a database; {needed} or newer is needed.",
            hint=f"Install apsw {needed}.0 or newer.",
        )


def connect(name: str, flags: int, patience: Patience) -> apsw.Connection:
    """A connection under the rules that hold for reading and writing alike; opens, but reads nothing yet."""
    connection = apsw.Connection(name, flags=flags, statementcachesize=STATEMENT_CACHE)
    connection.set_busy_handler(patience.again)
    distrust_the_file(connection)
    mean_what_is_written(connection)
    plan_once(connection)
    keep_in_memory(connection)
    return connection


def distrust_the_file(connection: apsw.Connection) -> None:
    """What a file says can neither run functions with side effects nor reach the inner tables."""
    connection.config(apsw.SQLITE_DBCONFIG_DEFENSIVE, 1)
    connection.config(apsw.SQLITE_DBCONFIG_TRUSTED_SCHEMA, 0)
    connection.config(apsw.SQLITE_DBCONFIG_ENABLE_LOAD_EXTENSION, 0)


def mean_what_is_written(connection: apsw.Connection) -> None:
    """References hold, REPLACE fires the triggers that forbid it, and a misspelt column is not a text."""
    connection.pragma("foreign_keys", 1)
    connection.pragma("recursive_triggers", 1)
    connection.config(apsw.SQLITE_DBCONFIG_DQS_DML, 0)
    connection.config(apsw.SQLITE_DBCONFIG_DQS_DDL, 0)


def plan_once(connection: apsw.Connection) -> None:
    """A statement has one plan, whatever is bound to it; joins would be planned again for each value (10 us a time)."""
    connection.config(apsw.SQLITE_DBCONFIG_ENABLE_QPSG, 1)


def keep_in_memory(connection: apsw.Connection) -> None:
    """Sorting leaves no files; the page cache fits the indexes."""
    connection.pragma("temp_store", "memory")
    connection.pragma("cache_size", -CACHE_KIB)


def write_durably(connection: apsw.Connection, patience: Patience) -> None:
    """A commit is on the disk when it returns; readers and the writer do not wait for each other."""
    switch_to_wal(connection, patience)
    connection.pragma("synchronous", "full")
    connection.pragma("fullfsync", 1)
    connection.pragma("checkpoint_fullfsync", 1)
    connection.wal_autocheckpoint(CHECKPOINT_PAGES)
    connection.pragma("journal_size_limit", WAL_LEFT_BYTES)


def write_in_haste(connection: apsw.Connection) -> None:
    """Nothing is durable, and a transaction costs no log: for a new file, which is thrown away if it is cut off."""
    connection.pragma("journal_mode", "memory")
    connection.pragma("synchronous", "off")


def switch_to_wal(connection: apsw.Connection, patience: Patience) -> None:
    """Have a write-ahead log: readers and the writer do not wait for each other. A database in memory has none."""
    tries = 0
    while connection.pragma("journal_mode") not in {"wal", "memory"}:
        try:
            connection.pragma("journal_mode", "wal")
        except apsw.BusyError:
            if not patience.again(tries):
                raise
            tries += 1


def file_uri(path: Path, query: str) -> str:
    """The path as the URI that SQLite takes, with parameters such as `mode=ro`."""
    return f"{path.absolute().as_uri()}?{query}"
