"""Lets a new database take the place of a damaged one, in steps that whoever comes next can finish.

    the new one is whole and durable under a name of its own, `metadata.db.complete`
    the parts of the damaged one move to `quarantine/`, logs first
    the new one takes the free name

From the first step on the new database is the movie's, for it alone has all that could be saved of the damaged one.
Keeps invariant 11: killed anywhere, the movie has its old database or a complete one, and whoever opens the movie for
writing, or makes its database anew, finishes before anything else. So nobody writes to a database beside a complete
one, and every step can be done again.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from itertools import count
from pathlib import Path

from renku_store.clock import timestamp
from renku_store.drivers.base import Driver
from renku_store.drivers.posix import unavailable
from renku_store.errors import UnsupportedFormatError
from renku_store.metadata.sqlite.replacing import is_newer, parts_of, take_place


def is_unfinished(path: Path) -> bool:
    """Whether a rebuild of the database at `path` died with the new one complete, but not yet in its place."""
    return os.path.lexists(_complete(path))


def take_damaged_place(built: Path, path: Path, driver: Driver) -> str:
    """Let the closed database `built` be the one at `path`, whose damaged one moves to `quarantine/`; gives where to.

    For a caller that is `alone`. Raises `StoreUnavailableError`.
    """
    with named_errors(path):
        take_place(built, _complete(path))
    return finish_rebuild(path, driver)


def finish_rebuild(path: Path, driver: Driver) -> str:
    """Do what is left once the new database is complete; gives where the damaged one is, relative to the movie.

    For a caller that is `alone`. Raises `StoreUnavailableError`, and `UnsupportedFormatError` where somebody has put
    the database of a newer version in the place of the damaged one.
    """
    refuse_newer(path)
    with named_errors(path):
        aside = _set_aside(path, driver)
        take_place(_complete(path), path)
    return aside


def refuse_newer(path: Path) -> None:
    """Raise `UnsupportedFormatError` for the database of a newer version."""
    if is_newer(path):
        raise UnsupportedFormatError(
            f"{path.name} was written by a newer renku-store, and holds what this one cannot keep.",
            hint="Upgrade renku-store.",
        )


@contextmanager
def named_errors(path: Path) -> Iterator[None]:
    """`StoreUnavailableError` in place of the errors of the operating system."""
    try:
        yield
    except OSError as error:
        raise unavailable(error, "replace", path) from error


def _complete(path: Path) -> Path:
    return path.with_name(f"{path.name}.complete")


def _set_aside(path: Path, driver: Driver) -> str:
    """Move the damaged database to `quarantine/`, its logs first; the names there belong together as they did here."""
    # The time of the complete one: if a killed rebuild has moved the logs, the rest follows under the same name.
    made = timestamp(datetime.fromtimestamp(_complete(path).stat().st_mtime, UTC))
    aside = f"quarantine/{path.name}-{''.join(character for character in made if character.isalnum())}"
    for name in parts_of(path):
        part = name.removeprefix(path.name)
        for attempt in count():
            taken = f".{attempt}" if attempt else ""
            if driver.move(name, f"{aside}{taken}{part}") or not os.path.lexists(path.parent / name):
                break
    return aside
