"""Locks among the processes and threads of one machine: flock on a file that says who holds it.

The kernel frees the lock of a process that dies, so nothing has to be cleaned up after a crash (invariant 11). Lock
files are never removed: a lock on a removed file would exclude nobody.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import sys
import time
from collections.abc import Iterator
from functools import lru_cache
from typing import Final

import orjson

from renku_store import clock
from renku_store.drivers.posix import shown, unavailable
from renku_store.errors import StoreUnavailableError, UnsafeDriverError
from renku_store.processes import host_name

_FIRST_PAUSE_SECONDS: Final = 0.000_5
_LONGEST_PAUSE_SECONDS: Final = 0.02
_HOLDER_MAX_BYTES: Final = 1_024
_HELD: Final = frozenset({errno.EWOULDBLOCK, errno.EAGAIN, errno.EACCES})
_NO_LOCKS: Final = frozenset({errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP, errno.ENOTSUP, errno.EINVAL})


@contextlib.contextmanager
def hold(descriptor: int, path: str, *, shared: bool, wait_seconds: float, sign: bool = True) -> Iterator[None]:
    """Hold the lock of an open lock file, which stays open for the caller to close.

    Two descriptors of one file exclude each other even within one thread. Raises `StoreUnavailableError` that names the
    holder after `wait_seconds`, `UnsafeDriverError` where the file system has no locks. `sign`: write who holds it into
    the file; those who share one do not. A process forked meanwhile does not free the lock.
    """
    _acquire(descriptor, path, fcntl.LOCK_SH if shared else fcntl.LOCK_EX, wait_seconds)
    sign, process = sign and not shared, os.getpid()
    try:
        if sign:
            _write_holder(descriptor, _holder(process))
        yield
    finally:
        # The lock belongs to the open file, which a forked process shares.
        if process == os.getpid():
            if sign:
                _write_holder(descriptor, b"")
            fcntl.flock(descriptor, fcntl.LOCK_UN)


def _acquire(descriptor: int, path: str, operation: int, wait_seconds: float) -> None:
    deadline = time.monotonic() + wait_seconds
    pause = _FIRST_PAUSE_SECONDS
    while True:
        try:
            fcntl.flock(descriptor, operation | fcntl.LOCK_NB)
        except OSError as error:
            if error.errno in _NO_LOCKS:
                raise UnsafeDriverError(
                    f"The file system of {shown(path)} has no file locks.", hint="Use a root on a local file system."
                ) from error
            if error.errno not in _HELD:
                raise unavailable(error, "lock", path) from error
        else:
            return
        left = deadline - time.monotonic()
        if left <= 0:
            raise StoreUnavailableError(
                f"The lock {shown(path)} is held by {_described(descriptor)}; waited {wait_seconds:g} seconds.",
                hint="Wait for it to end, or end it.",
                reason="busy",
            )
        time.sleep(min(pause, left))
        pause = min(2 * pause, _LONGEST_PAUSE_SECONDS)


def _holder(process: int) -> bytes:
    since = clock.timestamp(clock.SystemClock().now())
    words = sys.argv or ()  # none are left when the interpreter ends, and a lease that was forgotten is released then
    return b'%b,"since":"%b"}' % (_said_of(process, " ".join(words)), since.encode())


@lru_cache(maxsize=1)
def _said_of(process: int, words: str) -> bytes:
    """What a process says of itself, up to the time: made once, since every commit says it."""
    return orjson.dumps({"pid": process, "host": host_name(), "command": shown(words)[:200]})[:-1]


def _write_holder(descriptor: int, record: bytes) -> None:
    # Who holds a lock is said as a courtesy: a full disk does not keep anyone from locking. It is written over what was
    # there, and is always as long: giving back the space and taking it anew would be synced with the next commit.
    try:  # noqa: SIM105 (every commit comes by twice)
        os.pwrite(descriptor, record.ljust(_HOLDER_MAX_BYTES), 0)
    except OSError:
        pass


def _described(descriptor: int) -> str:
    try:
        record = orjson.loads(os.pread(descriptor, _HOLDER_MAX_BYTES, 0))
        return f"process {record['pid']} on {record['host']} ({record['command']}) since {record['since']}"
    except (OSError, ValueError, KeyError, TypeError):
        return _seen_holding(descriptor) or "another process"


def _seen_holding(descriptor: int) -> str:
    """The processes that hold a lock without having signed, as the system sees them; empty where it does not tell."""
    try:
        number = os.fstat(descriptor).st_ino
        with open("/proc/locks", encoding="ascii") as table:
            rows = [line.split() for line in table]
    except (OSError, UnicodeDecodeError):
        return ""
    # proc(5): 1: FLOCK ADVISORY READ pid major:minor:inode start end; those who wait for a lock have an arrow.
    pids = {row[4] for row in rows if len(row) == 8 and row[1] == "FLOCK" and row[5].endswith(f":{number}")}
    named = [f"{pid}{_name_of(pid)}" for pid in sorted(pids - {"0", "-1"}, key=int)]
    return f"process {', '.join(named)}" if named else ""


def _name_of(pid: str) -> str:
    try:
        with open(f"/proc/{pid}/comm", encoding="utf-8", errors="replace") as file:
            return f" ({file.read().strip()})"
    except OSError:
        return ""
