"""What others append events with, in this process: the database that comes with Python, and lines of JSON."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Iterable
from pathlib import Path

Rows = Iterable[tuple[str, str]]
"""Of an id and an event as JSON."""


class Standard:
    """Python's own sqlite3: a row each, with one unique index and the newest row of each id; one synced commit."""

    name = "sqlite3 of Python, one index and one look-up (durable)"

    def __init__(self, folder: Path) -> None:
        self._connection = sqlite3.connect(folder / "standard.db", isolation_level=None)
        self._connection.execute("PRAGMA journal_mode = wal")
        self._connection.execute("PRAGMA synchronous = full")
        self._connection.execute("CREATE TABLE events (seq INTEGER PRIMARY KEY, id TEXT UNIQUE, artefact, body)")
        self._connection.execute("CREATE TABLE latest (artefact TEXT PRIMARY KEY, seq INTEGER) WITHOUT ROWID")
        self._last = 0

    def append(self, rows: Rows) -> None:
        """One commit."""
        self._connection.execute("BEGIN IMMEDIATE")
        for artefact, body in rows:
            self._last += 1
            values = (self._last, f"{self._last:036}", artefact, body)
            self._connection.execute("INSERT INTO events (seq, id, artefact, body) VALUES (?, ?, ?, ?)", values)
            self._connection.execute("INSERT OR REPLACE INTO latest VALUES (?, ?)", (artefact, self._last))
        self._connection.execute("COMMIT")


class Lines:
    """A log of lines, synced once for each group; nothing can be looked up in it."""

    name = "lines of JSON, no index (durable)"

    def __init__(self, folder: Path) -> None:
        self._descriptor = os.open(folder / "events.jsonl", os.O_CREAT | os.O_WRONLY | os.O_APPEND)

    def append(self, rows: Rows) -> None:
        """One write, and one sync."""
        data = "".join(f"{body}\n" for _, body in rows).encode()
        assert os.write(self._descriptor, data) == len(data)
        os.fdatasync(self._descriptor)
