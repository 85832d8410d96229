"""Transactions on one connection: many threads and processes, one writer at a time.

Keeps the durability behind invariant 3: what `write` did is on the disk when its context ends, or it never was.
Writers queue for a turn in this process, then for the lock among processes, then for SQLite itself, so that a waiting
writer keeps no reader from reading.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Final

import apsw

from renku_store import bounds
from renku_store.durability import step
from renku_store.errors import DamageError, StoreUnavailableError
from renku_store.late import late_module
from renku_store.metadata.sqlite.appending import EventTables
from renku_store.metadata.sqlite.blobs import BlobTable
from renku_store.metadata.sqlite.checks import CheckTables
from renku_store.metadata.sqlite.connection import Patience
from renku_store.metadata.sqlite.faults import named_errors
from renku_store.metadata.sqlite.revisions import RevisionTables
from renku_store.metadata.sqlite.runs import RunTables
from renku_store.metadata.sqlite.transactions import READ, WRITE, begun
from renku_store.metadata.sqlite.uses import Use, end, let_forks_pass

if TYPE_CHECKING:
    from renku_store.metadata.sqlite import calls, compacting, retirement, space
    from renku_store.metadata.sqlite.calls import CallTable
    from renku_store.metadata.sqlite.compacting import UpkeepTables
    from renku_store.metadata.sqlite.retirement import RetirementTables
else:  # who looks at revisions, or finds nothing to do, has no use for them
    _late = ("calls", "compacting", "retirement", "space")
    calls, compacting, retirement, space = (late_module(f"renku_store.metadata.sqlite.{name}") for name in _late)

EPOCH: Final = "SELECT value FROM meta WHERE key = 'epoch'"
NOW: Final = "SELECT CAST(unixepoch('subsec') * 1000 AS INTEGER)"


class Transaction:
    """The tables, for as long as a transaction lasts."""

    __slots__ = ("_store", "open")

    def __init__(self, store: SqliteMetadata) -> None:
        self._store = store
        self.open = True

    @property
    def events(self) -> EventTables:
        """Events, latest values, traces."""
        return self._tables().events

    @property
    def blobs(self) -> BlobTable:
        """Blobs."""
        return self._tables().blobs

    @property
    def runs(self) -> RunTables:
        """Runs, leases, claims."""
        return self._tables().runs

    @property
    def revisions(self) -> RevisionTables:
        """Revisions and intents."""
        return self._tables().revisions

    @property
    def checks(self) -> CheckTables:
        """The tables held against each other."""
        return self._tables().checks

    @property
    def retirement(self) -> RetirementTables:
        """What old runs leave."""
        return self._tables().retirement

    @property
    def upkeep(self) -> UpkeepTables:
        """Compaction and statistics."""
        return self._tables().upkeep

    @property
    def calls(self) -> CallTable:
        """Calls in flight."""
        return self._tables().calls

    def now_ms(self) -> int:
        """The database's clock, Unix milliseconds."""
        return int(self._tables().connection.execute(NOW).get)

    def _tables(self) -> SqliteMetadata:
        if not self.open:
            raise RuntimeError("This transaction has ended.")
        return self._store


def _epoch(connection: apsw.Connection, path: Path) -> int:
    found = connection.execute(EPOCH).get
    if not isinstance(found, int):
        raise DamageError(f"{path.name} is damaged: it has no epoch.", hint="`renku-store rebuild` makes it anew.")
    return found


class SqliteMetadata:
    """A metadata store in one SQLite file; open it with `open_sqlite`."""

    def __init__(
        self,
        connection: apsw.Connection,
        path: Path,
        patience: Patience,
        use: Use | None = None,
        *,
        lock: Callable[[], AbstractContextManager[None]] = nullcontext,
        read_only: bool = False,
        cleanup: Callable[[], None] | None = None,
    ) -> None:
        self.connection = connection
        self.path = path
        self.read_only = read_only
        self.events = EventTables(connection)
        self.blobs = BlobTable(connection)
        self.runs = RunTables(connection)
        self.revisions = RevisionTables(connection)
        self.checks = CheckTables(connection)
        if use is None:  # a connection that another store has opened
            use = Use(path)
        use.adopt(connection)
        self._use = use
        self._patience = patience
        self._lock = lock
        self._cleanup = cleanup
        self._process = os.getpid()
        self._closed = False
        self._connection_lock = use.lock
        self._writers_turn = threading.RLock()
        self._current: Transaction | None = None
        self._owner: int | None = None
        self._writer: int | None = None
        self._epoch = _epoch(connection, path)

    @cached_property
    def retirement(self) -> RetirementTables:
        """What old runs leave."""
        return retirement.RetirementTables(self.connection)

    @cached_property
    def upkeep(self) -> UpkeepTables:
        """Compaction and statistics."""
        return compacting.UpkeepTables(self.connection)

    @cached_property
    def calls(self) -> CallTable:
        """Calls in flight."""
        return calls.CallTable(self.connection)

    @property
    def epoch(self) -> int:
        """Grows with every rebuild of the database: the Unix milliseconds at which it was created."""
        return self._epoch

    @property
    def is_within(self) -> bool:
        """Whether this thread is within a transaction, or about to begin or end one that writes."""
        return threading.get_ident() in {self._owner, self._writer}

    def last_id(self) -> str:
        """The greatest id of an event, as of the first call or the last append here if that was later; "" for none.

        And "" where another thread is within a transaction for long: it may be waiting for the one who asks.
        """
        known = self.events.known_id
        if known is not None:
            return known
        self._refuse_unusable()
        if not self._connection_lock.acquire(timeout=bounds.LAST_ID_WAIT_SECONDS):
            return ""
        try:
            with named_errors(self.path, self._patience.seconds):
                return self.events.last_id()  # one statement sees one moment by itself
        finally:
            self._connection_lock.release()

    @contextmanager
    def read(self) -> Iterator[Transaction]:
        """A moment to read; within a transaction of the same thread, the moment of that one.

        Raises `StoreUnavailableError`, `DamageError`.
        """
        self._refuse_unusable()
        with self._connection_lock:
            if self._current is not None:
                yield self._current
                return
            with begun(self.connection, self.path, self._patience, READ):
                transaction = Transaction(self)
                self._current, self._owner = transaction, threading.get_ident()
                try:
                    yield transaction
                finally:
                    transaction.open, self._current, self._owner = False, None, None

    @contextmanager
    def write(self) -> Iterator[Transaction]:
        """The write lock; committed durably when the context ends without an error, rolled back otherwise.

        It nests in no other transaction. Raises `StoreUnavailableError` where the lock is not to be had, or the disk is
        full or cannot be written; `DamageError`. The store can be used again after each of them.
        """
        self._refuse_unusable()
        if self.read_only:
            raise StoreUnavailableError(f"{self.path} was opened for reading only.", hint="Open the root for writing.")
        if self.is_within:
            raise RuntimeError("A write transaction cannot begin within another transaction.")
        with (
            self._turn(),
            self._lock(),
            self._connection_lock,
            begun(self.connection, self.path, self._patience, WRITE, step("database commit")),
        ):
            transaction = Transaction(self)
            self._current, self._owner = transaction, threading.get_ident()
            try:
                yield transaction
            finally:
                transaction.open, self._current, self._owner = False, None, None

    def disk_bytes(self) -> int:
        """Bytes that the database takes on the disk now, its log included."""
        self._refuse_unusable()
        with self._connection_lock:
            return space.database_bytes(self.connection, self.path)

    def reclaim(self, *, rewrite: bool) -> None:
        """Cut the log; with `rewrite`, rewrite the database where more than a quarter of its pages are free.

        What keeps it from being done, such as a reader or a full disk, is no error.
        """
        self._refuse_unusable()
        with self._turn(), self._lock(), self._connection_lock, named_errors(self.path, self._patience.seconds):
            space.give_back(self.connection, self._patience, rewrite=rewrite)

    def close(self) -> None:
        """Let go of the store; again is no harm. In a process forked from the opener's, nothing is touched."""
        if self._process != os.getpid():
            return
        with self._connection_lock:
            self._closed = True
            with step("database close"):
                end(self._use)
            if self._cleanup is not None:
                self._cleanup()
                self._cleanup = None

    @contextmanager
    def _turn(self) -> Iterator[None]:
        seconds, noted = self._patience.seconds, False
        try:
            if not self._writers_turn.acquire(timeout=seconds):
                raise StoreUnavailableError(
                    f"Another thread of this process has been writing to {self.path.name} for {seconds:g} seconds.",
                    hint="Keep write transactions short.",
                    reason="busy",
                )
            # A handler that writes amid this would wait for the lock of its own thread: it is refused at once.
            self._writer, noted = threading.get_ident(), True
            yield
        finally:
            if noted:
                self._writer = None
            # A signal's handler may raise between getting the turn and noting it: the lock itself knows whose it is.
            try:  # noqa: SIM105 (a call less before the release, after which a handler may raise)
                self._writers_turn.release()
            except RuntimeError:  # this thread has waited in vain
                pass

    def _refuse_unusable(self) -> None:
        let_forks_pass()
        if self._closed:
            raise StoreUnavailableError(f"{self.path.name} was closed.", hint="Open the movie again.")
        if self._process != os.getpid():
            raise StoreUnavailableError(
                f"{self.path.name} was opened by another process, which this one was forked from.",
                hint="Open the store again in this process: an SQLite connection must not cross a fork.",
            )
