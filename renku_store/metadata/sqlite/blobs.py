"""The table of blobs. Keeps invariant 8: a live row says that somebody has seen the object."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

import apsw

from renku_store.metadata.sqlite.rows import all_rows, json_list
from renku_store.records.blob import BlobRow, Encoding

GET: Final = (
    "SELECT j.value, b.size, b.stored_size, b.encoding, b.state, b.touched_at"
    " FROM json_each(?) AS j CROSS JOIN blobs AS b ON b.hash = unhex(j.value)"
)
MAKE_LIVE: Final = (
    "INSERT INTO blobs (hash, size, stored_size, encoding, state, touched_at)"
    " VALUES (?, ?, ?, ?, 'live', CAST(unixepoch('subsec') * 1000 AS INTEGER))"
    " ON CONFLICT (hash) DO UPDATE SET size = excluded.size, stored_size = excluded.stored_size,"
    " encoding = excluded.encoding, state = 'live', touched_at = excluded.touched_at WHERE state <> 'deleting'"
)
TOUCH: Final = (
    "UPDATE blobs SET touched_at = CAST(unixepoch('subsec') * 1000 AS INTEGER) WHERE hash = ? AND state = 'live'"
)

FORGET: Final = "DELETE FROM blobs WHERE hash = ? AND state <> 'deleting'"


class BlobTable:
    """What is known of blobs."""

    def __init__(self, connection: apsw.Connection) -> None:
        self._db = connection

    def get(self, digests: Iterable[str]) -> dict[str, BlobRow]:
        """The rows there are, by hash."""
        given = json_list(digests)
        return {row[0]: BlobRow(*row) for row in all_rows(self._db.execute(GET, (given,)))}

    def make_live(self, rows: Iterable[tuple[str, int, int, Encoding]]) -> None:
        """Insert or revive (hash, size, stored size, encoding), touched now by the database's clock.

        A `deleting` row is left as it is: its object is about to go.
        """
        self._db.executemany(MAKE_LIVE, [(bytes.fromhex(row[0]), *row[1:]) for row in rows])

    def touch(self, digests: Iterable[str]) -> None:
        """Set `touched_at` of live rows to now."""
        self._db.executemany(TOUCH, [(bytes.fromhex(digest),) for digest in digests])

    def forget(self, digests: Iterable[str]) -> None:
        """Drop the rows of objects that turned out to be gone or damaged; a `deleting` one is its collector's."""
        self._db.executemany(FORGET, [(bytes.fromhex(digest),) for digest in digests])
