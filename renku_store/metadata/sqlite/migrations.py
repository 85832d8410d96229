"""Brings a database to the schema of this version: numbered files, each run once, all or nothing."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from typing import Final

import apsw
from msgspec import Struct

from renku_store.durability import step
from renku_store.errors import DamageError, StoreUnavailableError, UnsupportedFormatError
from renku_store.schema_files import read_schema_files

APPLICATION_ID: Final = 0x524E4B55
"""Marks the file as ours (`RNKU`): `file` shows it, and no foreign database is taken for an empty one of ours."""
VERSION_MAX: Final = 9_999
"""No version of the schema comes near it: a higher one is damage."""
_NAME: Final = re.compile(r"(\d{4})_[a-z0-9_]+\.sql")


class Migration(Struct, frozen=True):
    """One step: from schema `number` - 1 to `number`."""

    number: int
    name: str
    sql: str


def shipped_migrations(folder: str = "sql/sqlite") -> list[Migration]:
    """The steps that come with this version, 1, 2, 3 and so on, for the database whose schema files lie in `folder`."""
    try:
        files = read_schema_files(folder, ".sql")
    except OSError as error:
        raise StoreUnavailableError(
            f"The schema of renku-store itself cannot be read: {error.strerror}.",
            hint="Raise the limit of open files (ulimit -n), or install again.",
        ) from error
    found: list[Migration] = []
    for name, sql in files.items():
        match = _NAME.fullmatch(name)
        if match is None or int(match[1]) != len(found) + 1:
            raise UnsupportedFormatError(
                f"{name} is not the schema file number {len(found) + 1}.", hint="Install again."
            )
        found.append(Migration(int(match[1]), name, sql))
    return found


def schema_is_current(connection: apsw.Connection, name: str, steps: Sequence[Migration]) -> bool:
    """Whether no step is missing; raises `UnsupportedFormatError` for a database newer than this program, or not ours.

    Raises `DamageError` for a version that no program gives.

    `name` is the file's, for the message.
    """
    version, application, tables = _seen(connection)
    if application not in {0, APPLICATION_ID} or (version == 0 and tables):
        raise UnsupportedFormatError(
            f"{name} is a database of another program.",
            hint=f"Choose another folder; or `renku-store rebuild` puts it aside and makes {name} anew.",
        )
    if not 0 <= version <= VERSION_MAX:
        raise DamageError(
            f"{name} is damaged: there is no schema {version}.",
            hint=f"`renku-store rebuild` makes {name} anew: what was published comes back from the objects.",
        )
    if version > len(steps):
        raise UnsupportedFormatError(
            f"{name} has schema {version}, written by a newer renku-store; this one knows up to {len(steps)}.",
            hint="Upgrade renku-store.",
        )
    return version == len(steps)


def migrate(
    connection: apsw.Connection, name: str, steps: Sequence[Migration], epoch: Callable[[], int] | None = None
) -> None:
    """Run the missing steps in one exclusive transaction; does nothing where none is missing.

    Of many processes that try at once, one does it and the others find it done. `epoch` is asked for the epoch of a
    new database; without it, that is the present time.
    """
    if schema_is_current(connection, name, steps):
        return
    connection.execute("BEGIN EXCLUSIVE")
    try:
        if not schema_is_current(connection, name, steps):
            version = int(connection.pragma("user_version"))
            for missing in steps[version:]:
                _run(connection, missing.sql)
            if version == 0 and epoch is not None:
                connection.execute("UPDATE meta SET value = ? WHERE key = 'epoch'", (epoch(),))
            connection.pragma("application_id", APPLICATION_ID)
            connection.pragma("user_version", len(steps))
        with step("database schema"):
            connection.execute("COMMIT")
    finally:
        if connection.in_transaction:
            connection.execute("ROLLBACK")


def _run(connection: apsw.Connection, script: str) -> None:
    # A script runs statement by statement as its rows are asked for; unread, the later ones would never run.
    for _ in connection.execute(script, can_cache=False):
        pass


def _seen(connection: apsw.Connection) -> tuple[int, int, int]:
    """Version, application and number of tables, of one moment: another process may be making them."""
    begin = not connection.in_transaction
    if begin:
        connection.execute("BEGIN")
    try:
        tables = int(connection.execute("SELECT count(*) FROM sqlite_schema").get)
        return int(connection.pragma("user_version")), int(connection.pragma("application_id")), tables
    finally:
        if begin:
            connection.execute("ROLLBACK")
