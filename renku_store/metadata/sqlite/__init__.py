"""The metadata store on SQLite, through apsw; no other room imports it."""

from __future__ import annotations

import os
from typing import Any, Final

from renku_store.late import late_module
from renku_store.metadata.sqlite.opening import MEMORY, open_sqlite
from renku_store.metadata.sqlite.places import DatabaseFile, DatabaseInMemory, DatabasePlace, forget_databases
from renku_store.metadata.sqlite.store import SqliteMetadata

__all__ = [
    "MEMORY",
    "DatabaseFile",
    "DatabaseInMemory",
    "DatabasePlace",
    "SqliteMetadata",
    "forget_databases",
    "open_sqlite",
]


# What holds at a fork holds from the first connection on; most processes never fork.
_forked: Final[Any] = late_module(f"{__name__}.forked")


def _before_fork() -> None:
    _forked.before()


def _after_in_parent() -> None:
    _forked.after_in_parent()


def _after_in_child() -> None:
    _forked.after_in_child()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(before=_before_fork, after_in_parent=_after_in_parent, after_in_child=_after_in_child)
