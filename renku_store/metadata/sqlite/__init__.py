"""The metadata store on SQLite, through apsw; no other room imports it."""

from __future__ import annotations

from renku_store.metadata.sqlite.examining import examine_sqlite
from renku_store.metadata.sqlite.opening import MEMORY, open_sqlite
from renku_store.metadata.sqlite.replacing import is_blank
from renku_store.metadata.sqlite.store import SqliteMetadata

__all__ = ["MEMORY", "SqliteMetadata", "examine_sqlite", "is_blank", "open_sqlite"]
