"""The metadata store on SQLite, through apsw; no other room imports it."""

from __future__ import annotations

from renku_store.metadata.sqlite.opening import open_sqlite
from renku_store.metadata.sqlite.store import SqliteMetadata

__all__ = ["SqliteMetadata", "open_sqlite"]
