"""The database of a simulated machine: real transactions, a fake clock, rows put back between schedules.

Each process has a connection of its own to one SQLite file (in a temporary folder, never synced), so that isolation is
SQLite's own: who reads while another writes sees what was before. Between two schedules the rows are put back, not the
file: that costs a tenth. The clock of the database is the timeline's: a function takes the place of `unixepoch`.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any, Final

from renku_store import bounds
from renku_store.drivers.base import Driver
from renku_store.metadata.sqlite import SqliteMetadata, open_sqlite
from renku_store.metadata.sqlite.connection import Patience
from renku_store.metadata.sqlite.store import Transaction
from renku_store.testing.interleaving.scheduler import Scheduler
from renku_store.testing.interleaving.timeline import Timeline

Rows = dict[str, list[tuple[Any, ...]]]
"""What a database holds: table to rows, without the tables that are empty."""

EMPTY: Final[Rows] = {"meta": [("epoch", 1), ("token", 0)], "compaction": [(1, 0)]}
_ENABLE_TRIGGER: Final = 1_003
"""SQLITE_DBCONFIG_ENABLE_TRIGGER: whoever puts rows back is not held to append-only tables."""


class SteppingMetadata(SqliteMetadata):
    """The metadata store of one process; it stops before each transaction, and again before it commits one."""

    def __init__(self, connection: Any, path: Path, driver: Driver, scheduler: Scheduler) -> None:
        lock = partial(driver.lock, "write", wait_seconds=bounds.BUSY_MAX_SECONDS)
        super().__init__(connection, path, Patience(0.0), lock=lock)
        self._scheduler = scheduler
        self._writing = False

    @contextmanager
    def read(self) -> Iterator[Transaction]:
        """A moment to read."""
        if not self._writing:
            self._scheduler.step("read transaction")
        with super().read() as transaction:
            yield transaction

    @contextmanager
    def write(self) -> Iterator[Transaction]:
        """The write lock, which is the lock `write` of the driver."""
        with super().write() as transaction:
            self._writing = True
            try:
                yield transaction
                self._scheduler.step("commit")
            finally:
                self._writing = False


class Database:
    """One SQLite file and its connections; the first one is an onlooker's, which nobody schedules."""

    def __init__(self, path: Path, timeline: Timeline) -> None:
        self._path = path
        self._timeline = timeline
        self._opened: list[SqliteMetadata] = []
        self._keeper = self._connection(0)
        self._keeper.pragma("foreign_keys", 0)
        self._keeper.config(_ENABLE_TRIGGER, 0)
        self._tables = dict(self._statements())
        questions = [f"EXISTS (SELECT 1 FROM {name})" for name in self._tables]  # noqa: S608 (our own schema)
        self._occupied = f"SELECT {', '.join(questions)}"

    def close(self) -> None:
        """Close every connection."""
        for store in self._opened:
            store.close()

    def store(self, number: int, driver: Driver, scheduler: Scheduler) -> SteppingMetadata:
        """The metadata store of the process of that number, which counts from 1."""
        return SteppingMetadata(self._connection(number), self._path, driver, scheduler)

    def query(self, statement: str, *bindings: Any) -> list[tuple[Any, ...]]:
        """What an onlooker sees: what is committed."""
        return [*self._keeper.execute(statement, bindings)]

    def rows(self) -> Rows:
        """Everything, to be put back later."""
        everything = {name: self.query(f"SELECT * FROM {name}") for name in self._tables}  # noqa: S608 (our own schema)
        return {name: found for name, found in everything.items() if found}

    def put_back(self, rows: Rows) -> None:
        """Let the tables hold these rows and no others."""
        self._keeper.execute("BEGIN IMMEDIATE")
        occupied = self.query(self._occupied)[0]
        for (name, (delete, insert)), is_occupied in zip(self._tables.items(), occupied, strict=True):
            if is_occupied:
                self._keeper.execute(delete)
            if name in rows:
                self._keeper.executemany(insert, rows[name])
        self._keeper.execute("COMMIT")

    def _connection(self, number: int) -> Any:
        while len(self._opened) <= number:
            store = open_sqlite(self._path)
            store.connection.pragma("synchronous", "off")
            store.connection.create_scalar_function("unixepoch", self._unixepoch, 1)
            self._opened.append(store)
        return self._opened[number].connection

    def _unixepoch(self, *_modifiers: Any) -> float:
        return self._timeline.unix_seconds()

    def _statements(self) -> Iterator[tuple[str, tuple[str, str]]]:
        """For each table how to empty it, and how to fill it."""
        for (name,) in self.query("SELECT name FROM sqlite_schema WHERE type = 'table'"):
            places = ", ".join("?" for _ in self.query("SELECT 1 FROM pragma_table_info(?)", name))
            yield name, (f"DELETE FROM {name}", f"INSERT INTO {name} VALUES ({places})")  # noqa: S608 (our own schema)
