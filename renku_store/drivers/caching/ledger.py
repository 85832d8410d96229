"""How much a folder of cached files takes, kept among processes; what was used least recently goes first.

The limit holds at every moment: who writes holds the lock, notes the bytes before they are there, and makes room before
that. A process that dies leaves the note too high, never too low; the next one that needs room counts anew. Files may
go while somebody reads them (an open file stays as it is), but not a part that somebody writes: its lock tells.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from renku_store import bounds
from renku_store.drivers import locks
from renku_store.drivers.forking import anew_after_fork
from renku_store.errors import StoreError

PART: Final = ".part"
_LOCK: Final = "used"
_NOTE_MAX_BYTES: Final = 32


def blocks(length: int) -> int:
    """What a file of `length` bytes takes on a disk."""
    return -(-length // bounds.CACHE_BLOCK_BYTES) * bounds.CACHE_BLOCK_BYTES


class Ledger:
    """The bytes of one folder. Safe to use from many threads and processes; methods raise `OSError`."""

    def __init__(self, folder: Path, max_bytes: int) -> None:
        self._folder = folder
        self._max_bytes = max_bytes
        self.begin_anew()
        anew_after_fork(self)

    def begin_anew(self) -> None:
        """No thread of this process has the folder."""
        self._threads = threading.Lock()

    @contextlib.contextmanager
    def alone(self) -> Iterator[Account | None]:
        """Have the folder to oneself; None where others do not let go of it in time."""
        if not self._threads.acquire(timeout=bounds.CACHE_WAIT_SECONDS):
            yield None
            return
        try:
            self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            path = self._folder / _LOCK
            descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
            try:
                with contextlib.ExitStack() as stack:
                    try:
                        held = locks.hold(
                            descriptor, str(path), shared=False, wait_seconds=bounds.CACHE_WAIT_SECONDS, sign=False
                        )
                        stack.enter_context(held)
                    except StoreError:
                        yield None
                        return
                    yield Account(self._folder, self._max_bytes, descriptor)
            finally:
                os.close(descriptor)
        finally:
            self._threads.release()

    def noted(self) -> int:
        """The bytes that are noted; 0 where nothing is."""
        try:
            return int((self._folder / _LOCK).read_bytes() or b"0")
        except (FileNotFoundError, NotADirectoryError, ValueError):
            return 0


class Account:
    """The note of a folder, for whoever holds its lock."""

    def __init__(self, folder: Path, max_bytes: int, descriptor: int) -> None:
        self._folder = folder
        self._max_bytes = max_bytes
        self._descriptor = descriptor

    def take(self, count: int) -> bool:
        """Note `count` bytes more, after making room for them; False, and nothing noted, where there is none."""
        used = self._used()
        if used is None or used + count > self._max_bytes:
            used = self._make_room(count)
        if used + count > self._max_bytes:
            self._note(used)
            return False
        self._note(used + count)
        return True

    def give_back(self, count: int) -> None:
        """Note that `count` bytes have gone."""
        used = self._used()
        if used is not None:
            self._note(max(used - count, 0))

    def _used(self) -> int | None:
        try:
            return int(os.pread(self._descriptor, _NOTE_MAX_BYTES, 0))
        except ValueError:
            return None

    def _note(self, used: int) -> None:
        data = b"%d" % used
        os.pwrite(self._descriptor, data.ljust(_NOTE_MAX_BYTES), 0)

    def _make_room(self, count: int) -> int:
        """Remove what was used least recently, down to a part of the limit; gives the bytes that are left."""
        found = sorted(_files(self._folder))
        used = sum(cost for _, cost, _ in found)
        if used + count <= self._max_bytes:
            return used
        aim = int(self._max_bytes * bounds.CACHE_LOW_SHARE) - count
        for _, cost, path in found:
            if used <= max(aim, 0):
                break
            if _remove(path):
                used -= cost
        return used


def _files(folder: Path) -> Iterator[tuple[int, int, str]]:
    """Every cached file: when it was used (nanoseconds), what it takes in bytes, its path."""
    for child in os.scandir(folder):
        if not child.is_dir(follow_symlinks=False):
            continue
        for file in os.scandir(child.path):
            with contextlib.suppress(FileNotFoundError):
                status = file.stat(follow_symlinks=False)
                yield status.st_mtime_ns, blocks(status.st_size), file.path


def _remove(path: str) -> bool:
    """Remove a file; False for a part that somebody writes."""
    if not path.endswith(PART):
        with contextlib.suppress(FileNotFoundError):
            os.unlink(path)
        return True
    try:
        descriptor = os.open(path, os.O_RDWR | os.O_CLOEXEC)
    except FileNotFoundError:
        return True
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        # Under its lock, so that nobody takes it up meanwhile.
        os.unlink(path)
    except BlockingIOError:
        return False
    finally:
        os.close(descriptor)
    return True
