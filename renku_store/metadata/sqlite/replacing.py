"""Puts one database file in the place of another.

Keeps invariant 11: killed anywhere, the old database is there as a whole, or the new one. SQLite applies a log (`-wal`,
`-journal`) that lies beside a database to whatever database that is: a log does not say whose it is. So no file takes
the name of a database while a log has that name.
"""

from __future__ import annotations

import os
from pathlib import Path

from renku_store.durability import step
from renku_store.errors import StoreUnavailableError
from renku_store.metadata.sqlite.faults import PARTS
from renku_store.metadata.sqlite.migrations import APPLICATION_ID, VERSION_MAX, shipped_migrations
from renku_store.metadata.sqlite.uses import reading

_HEADER_BYTES = 100
_MAGIC = b"SQLite format 3\0"
"""The head of a database file (its format, 1.3): the schema version lies at 60, the application id at 68."""


def is_blank(path: Path) -> bool:
    """Whether there is no database yet: no file, or one without a byte in it.

    Raises `StoreUnavailableError` where its folder cannot be looked into.
    """
    try:
        return path.stat().st_size == 0
    except (FileNotFoundError, NotADirectoryError):
        return True
    except OSError as error:
        raise StoreUnavailableError(
            f"Cannot look at {path}: {error.strerror}.", hint="Check the rights of its folder."
        ) from error


def is_newer(path: Path) -> bool:
    """Whether a database was written by a newer version of this project, which knows more than this one can keep."""
    try:
        with reading(path) as descriptor:
            head = os.pread(descriptor, _HEADER_BYTES, 0)
    except OSError:
        return False
    version, application = int.from_bytes(head[60:64], "big"), int.from_bytes(head[68:72], "big")
    ours = head.startswith(_MAGIC) and application == APPLICATION_ID
    return ours and len(shipped_migrations()) < version <= VERSION_MAX


def parts_of(path: Path) -> list[str]:
    """The names of what is there of a database: logs first, then the file itself."""
    return [name for name in (f"{path.name}{part}" for part in reversed(PARTS)) if os.path.lexists(path.parent / name)]


def remove_database(path: Path) -> None:
    """Remove a database that nobody uses, in whatever state it is."""
    for name in parts_of(path):
        with step("temporary remove"):
            (path.parent / name).unlink()


def take_place(built: Path, path: Path) -> None:
    """Let the database `built`, which is closed, take the name `path`; the one that has it, closed too, goes.

    Closing has copied their logs into them, durably, and removed the logs. Raises `StoreUnavailableError` where one of
    them still has a log, because another program has it open: then nothing was changed. Raises `OSError`.
    """
    for database in (built, path):
        logs = [name for name in parts_of(database) if name != database.name]
        if logs:
            raise StoreUnavailableError(
                f"{database.name} is in use by another program: {logs[0]} is there.",
                hint="Close what has it open, such as a database viewer, then try again.",
            )
    with step("object replace"):
        built.replace(path)
    for folder in (path.parent, built.parent):
        _sync(folder)


def _sync(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        with step("folder sync"):
            os.fsync(descriptor)
    finally:
        os.close(descriptor)
