"""The metadata store on SQLite, through apsw; no other room imports it."""

from __future__ import annotations

from renku_store.metadata.sqlite import forked  # noqa: F401 (what holds at a fork holds from the first connection on)
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
