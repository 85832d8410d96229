"""The database files that this process has open: nothing takes from SQLite the locks that it believes it has.

SQLite locks by the rules of POSIX. These make two things dangerous that look harmless:

- Closing any descriptor of a file drops all locks that the process has on it. SQLite puts off its own closes until no
  connection locks the file; what else looks into a database file does so through `reading`, which does the same.
- A forked process inherits what SQLite remembers of its files and locks, but none of the locks. There, whoever opens a
  database would believe to hold what nobody holds. So a process forks while no connection is in use (`forked`), and
  its child closes all that it has inherited before it opens any.
"""

from __future__ import annotations

import os
import threading
import time
import weakref
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final

import apsw

from renku_store.errors import StoreUnavailableError

_PAUSE_SECONDS: Final = 0.001

_Identity = tuple[int, int]
"""Device and number of a file."""


class Use:
    """One connection of this process, from before it opens its file; who uses the connection holds `lock`.

    `path` is None for a database in memory.
    """

    __slots__ = ("__weakref__", "connection", "file", "lock", "path")

    def __init__(self, path: Path | None) -> None:
        self.path = path.absolute() if path is not None else None
        self.lock = threading.RLock()
        self.connection: apsw.Connection | None = None
        self.file: _Identity | None = None

    def adopt(self, connection: apsw.Connection) -> None:
        """Note the connection, which has its file open by now."""
        self.connection = connection
        self.file = _identity(self.path)

    def concerns(self, path: Path | None, file: _Identity | None) -> bool:
        """Whether it is, or may be, of the file that has this path and identity."""
        if self.path is None or path is None:
            return False
        own = self.file or _identity(self.path)
        return self.path == path.absolute() if own is None else own == file


class _Here:
    """What this process has open, and what it has inherited. All of it is looked at and changed under `gate`."""

    def __init__(self) -> None:
        self.gate = threading.RLock()
        self.uses: weakref.WeakSet[Use] = weakref.WeakSet()
        self.inherited: list[Use] = []
        self.stuck: list[Use] = []
        """In use when this process was forked: they can neither be closed nor be used, and are kept for ever."""
        self.readers = 0
        self.fork_waits = False
        self.descriptors: list[tuple[Path, _Identity, int]] = []

    def sweep(self) -> None:
        """Close the descriptors that were kept for the sake of locks that are no more."""
        if not self.readers:
            for kept in tuple(self.descriptors):
                path, file, descriptor = kept
                if not any(use.concerns(path, file) for use in self.uses):
                    self.descriptors.remove(kept)
                    os.close(descriptor)

    def inherit(self, use: Use) -> None:
        """Note what this process, just forked, has from its parent; nothing is under way in it."""
        if use.connection is not None:
            # Closed, be it when this process ends, it copies nothing back and removes nothing: whose log lies beside
            # the file by then is not for this connection to say.
            with suppress(apsw.ConnectionClosedError):
                use.connection.config(apsw.SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, 1)
        self.inherited.append(use)

    def let_go(self) -> None:
        """Close what was inherited, before anything is opened: SQLite forgets with it what it believes to hold."""
        while self.inherited:
            use = self.inherited.pop()
            if use.connection is not None:
                use.connection.close()


HERE: Final = _Here()


@contextmanager
def opening(path: Path | None) -> Iterator[Use]:
    """Open a connection within, and let the use adopt it; what adopts none when it ends has closed it.

    `path` is None for a database in memory. Raises `StoreUnavailableError` where the database was in the middle of
    something when this process was forked.
    """
    use = Use(path)
    with HERE.gate:
        HERE.let_go()
        file = _identity(path)
        if any(stuck.concerns(path, file) for stuck in HERE.stuck):
            raise StoreUnavailableError(
                f"{path} was being used by another thread or transaction when this process was forked.",
                hint="Start workers with the start method spawn or forkserver, or fork before the store is opened.",
            )
        use.lock.acquire()
        HERE.uses.add(use)
    try:
        yield use
    finally:
        use.lock.release()
        if use.connection is None:
            with HERE.gate:
                HERE.uses.discard(use)
                HERE.sweep()


def end(use: Use) -> None:
    """Close the connection; again is no harm."""
    if use.connection is not None:
        use.connection.close()
    with HERE.gate:
        HERE.uses.discard(use)
        HERE.sweep()


def let_forks_pass() -> None:
    """Before a connection is used: a thread that goes from one transaction to the next lets who waits to fork get in.

    It waits a moment rather than for the fork, as what that waits for may be another transaction of the same thread.
    """
    if HERE.fork_waits:
        time.sleep(_PAUSE_SECONDS)


@contextmanager
def reading(path: Path) -> Iterator[int]:
    """A descriptor to `os.pread` a database file with, which is not the caller's to close. Raises `OSError`."""
    with HERE.gate:
        wanted = _identity(path)
        found = [descriptor for _, file, descriptor in HERE.descriptors if file == wanted]
        descriptor = found[0] if found else os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        if not found:
            status = os.fstat(descriptor)
            HERE.descriptors.append((path, (status.st_dev, status.st_ino), descriptor))
        HERE.readers += 1
    try:
        yield descriptor
    finally:
        with HERE.gate:
            HERE.readers -= 1
            HERE.sweep()


def _identity(path: Path | None) -> _Identity | None:
    if path is None:
        return None
    try:
        status = path.stat()
    except OSError:
        return None
    return status.st_dev, status.st_ino
