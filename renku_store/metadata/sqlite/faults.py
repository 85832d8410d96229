"""Errors of SQLite as errors of the house: one sentence that names the file, and what to do."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import apsw

from renku_store.errors import DamageError, StoreError, StoreUnavailableError

PARTS: Final = ("", "-wal", "-shm", "-journal")
"""What may lie beside a database, and is one with it: the ends of the names."""
_WRITE_LOCK_BYTE: Final = "120"
"""The byte of the `-shm` file that SQLite locks for its one writer (its file format, "WAL-index locks")."""


@contextmanager
def named_errors(path: Path, waited_seconds: float) -> Iterator[None]:
    """Let errors of SQLite leave as errors of the house; those of statements that are wrong in themselves stay."""
    try:
        yield
    except apsw.Error as error:
        named = named_error(error, path, waited_seconds)
        if named is None:
            raise
        raise named from error


def named_error(error: apsw.Error, path: Path, waited_seconds: float) -> StoreError | None:
    """What an error of SQLite means to a caller; None where it means a mistake in this program."""
    if isinstance(error, apsw.BusyError | apsw.LockedError):
        return _locked(path, waited_seconds)
    if isinstance(error, apsw.CorruptError | apsw.NotADBError):
        return damaged(path, "is damaged")
    if isinstance(error, apsw.CantOpenError) and (taken := folder_in_the_way(path)):
        return DamageError(
            f"{taken} is a folder, not a file.",
            hint=f"`renku-store rebuild` moves it to quarantine/ and makes {path.name} anew from the objects.",
        )
    if isinstance(error, apsw.FullError) or getattr(error, "extendedresult", 0) == apsw.SQLITE_IOERR_SHMSIZE:
        return StoreUnavailableError(
            f"The disk of {path} is full; nothing of the change was kept.",
            hint="Free some space and try again.",
            reason="full",
        )
    if isinstance(error, apsw.ReadOnlyError | apsw.PermissionsError):
        return StoreUnavailableError(f"{path} cannot be written.", hint="Check who owns it and its permissions.")
    if isinstance(error, apsw.CantOpenError):
        return StoreUnavailableError(
            f"{path} cannot be opened.", hint="Check that its folder exists and who may use it."
        )
    if isinstance(error, apsw.IOError):
        return StoreUnavailableError(
            f"Reading or writing {path} failed; nothing of the change was kept.", hint=f"The system says: {error}."
        )
    return None


def damaged(path: Path, how: str) -> DamageError:
    """The error for a database that cannot be what was written: `how` goes on from its name."""
    return DamageError(
        f"{path.name} {how}.",
        hint=f"`renku-store rebuild` makes {path.name} anew: what was published comes back from the objects.",
    )


def folder_in_the_way(path: Path) -> str:
    """The name of a folder that stands where a file of the database has to be; empty where there is none."""
    parts = (Path(f"{path}{part}") for part in PARTS)
    return next((part.name for part in parts if part.is_dir()), "")


def _locked(path: Path, waited_seconds: float) -> StoreUnavailableError:
    holder = write_lock_holder(path)
    who = f"process {holder}" if holder else "another program"
    return StoreUnavailableError(
        f"{path.name} is locked by {who}, and was for {waited_seconds:g} seconds.",
        hint="End the program that has it open for writing, such as a database viewer with an unsaved change.",
        reason="busy",
    )


def write_lock_holder(path: Path) -> str:
    """Which process holds SQLite's write lock, as `PID (name)`; empty where the system does not tell.

    Read from `/proc/locks`: asking by opening the file would, by the rules of POSIX, drop the locks of this process.
    """
    try:
        status = Path(f"{path}-shm").stat()
        lines = Path("/proc/locks").read_text(encoding="ascii").splitlines()
    except (OSError, UnicodeDecodeError):
        return ""
    for line in lines:
        fields = line.split()
        if len(fields) == 8 and fields[3] == "WRITE" and fields[5].endswith(f":{status.st_ino}"):
            pid, first, last = fields[4], fields[6], fields[7]
            if first <= _WRITE_LOCK_BYTE <= last and len(first) == len(last) == 3 and pid.isdigit():
                return f"{pid}{_process_name(pid)}"
    return ""


def _process_name(pid: str) -> str:
    try:
        return f" ({Path('/proc', pid, 'comm').read_text(encoding='utf-8', errors='replace').strip()})"
    except OSError:
        return ""
