"""The table of blobs, and who names them. Keeps invariant 8: a live row says that somebody has seen the object."""

# ruff: noqa: S608 (statements are put together from constants)

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

import apsw
import orjson

from renku_store.metadata.base import BlobUse
from renku_store.metadata.sqlite.rows import all_rows, json_list
from renku_store.records.blob import BlobRow, Encoding

GET: Final = (
    "SELECT j.value, b.size, b.stored_size, b.encoding, b.state, b.touched_at"
    " FROM json_each(?) AS j CROSS JOIN blobs AS b ON b.hash = unhex(j.value)"
)
MAKE_LIVE: Final = (
    "INSERT INTO blobs (hash, size, stored_size, encoding, state, touched_at)"
    " SELECT unhex(value ->> 0), value ->> 1, value ->> 2, value ->> 3, 'live',"
    " CAST(unixepoch('subsec') * 1000 AS INTEGER) FROM json_each(?) WHERE true"
    " ON CONFLICT (hash) DO UPDATE SET size = excluded.size, stored_size = excluded.stored_size,"
    " encoding = excluded.encoding, state = 'live', touched_at = excluded.touched_at WHERE state <> 'deleting'"
)
TOUCH: Final = (
    "UPDATE blobs SET touched_at = CAST(unixepoch('subsec') * 1000 AS INTEGER)"
    " WHERE hash IN (SELECT unhex(value) FROM json_each(?)) AND state = 'live'"
)
UNKNOWN: Final = (
    "SELECT j.value FROM json_each(?) AS j WHERE NOT EXISTS (SELECT 1 FROM blobs AS b WHERE b.hash = unhex(j.value))"
)
UNLIKE: Final = (
    "SELECT j.value, b.size, b.stored_size, b.encoding, b.state, b.touched_at"
    " FROM json_each(?) AS j LEFT JOIN blobs AS b ON b.hash = unhex(j.value)"
    " WHERE b.state IS NOT 'live' OR b.encoding <> ?"
)
SIZES: Final = "SELECT DISTINCT size FROM blobs WHERE size >= ?"

FORGET: Final = "DELETE FROM blobs WHERE hash = ? AND state <> 'deleting'"

PAGE: Final = (
    "SELECT lower(hex(hash)), size, stored_size, encoding, state, touched_at FROM blobs WHERE hash > ?"
    " ORDER BY hash LIMIT ?"
)
DELETING: Final = (
    "SELECT lower(hex(hash)), stored_size FROM blobs WHERE state <> 'live' AND state = 'deleting' AND hash > ?"
    " ORDER BY hash LIMIT ?"
)
"""The first condition lets the index of what is not live be used."""
_ENDED: Final = "EXISTS (SELECT 1 FROM runs AS r WHERE r.run = e.run AND r.status IN ('published', 'abandoned'))"


def _uncovered(events: str, pending: str) -> str:
    return (
        f"SELECT * FROM (SELECT e.seq, lower(hex(e.blob)) FROM {events} AS e WHERE e.seq > ?1 AND e.blob IS NOT NULL"
        f" AND CASE WHEN e.run IS NULL THEN EXISTS (SELECT 1 FROM {pending} AS p WHERE p.seq = e.seq)"
        f" ELSE NOT {_ENDED} END ORDER BY e.seq LIMIT ?2)"
    )


UNCOVERED: Final = (
    f"{_uncovered('input_events', 'pending_inputs')} UNION ALL"
    f" {_uncovered('artefact_events', 'pending_artefacts')} ORDER BY 1 LIMIT ?2"
)
USES: Final = (
    "SELECT * FROM (SELECT e.seq, lower(hex(e.blob)), 'input', e.input, e.run, r.revision, NULL"
    " FROM input_events AS e LEFT JOIN runs AS r ON r.run = e.run"
    " WHERE e.seq > ?1 AND e.blob IS NOT NULL ORDER BY e.seq LIMIT ?2) UNION ALL"
    " SELECT * FROM (SELECT e.seq, lower(hex(e.blob)), 'artefact', e.artefact, e.run, r.revision, t.cost"
    " FROM artefact_events AS e LEFT JOIN runs AS r ON r.run = e.run LEFT JOIN traces AS t ON t.result = e.result"
    " WHERE e.seq > ?1 AND e.blob IS NOT NULL ORDER BY e.seq LIMIT ?2) ORDER BY 1 LIMIT ?2"
)
_NAMED_WITHOUT_ROW: Final = (
    "json_extract(o.value, '$.blob') IS NOT NULL"
    " AND NOT EXISTS (SELECT 1 FROM blobs AS b WHERE b.hash = unhex(json_extract(o.value, '$.blob')))"
)
BROKEN_TRACES: Final = (
    "SELECT t.number, json_group_array(json_extract(o.value, '$.blob')) FROM traces AS t, json_each(t.outputs) AS o"
    f" WHERE t.number > ? AND {_NAMED_WITHOUT_ROW} GROUP BY t.number ORDER BY t.number LIMIT ?"
)
CHOSEN: Final = (
    "SELECT DISTINCT json_extract(o.value, '$.blob') FROM choices AS c CROSS JOIN traces AS t ON t.result = c.result,"
    " json_each(t.outputs) AS o WHERE json_extract(o.value, '$.blob') IS NOT NULL"
)
CONDEMN: Final = (
    "UPDATE blobs SET state = 'condemned' WHERE hash IN (SELECT unhex(value) FROM json_each(?))"
    " AND state = 'live' AND touched_at < ?"
)
BEGIN_DELETING: Final = (
    "UPDATE blobs SET state = 'deleting' WHERE hash IN (SELECT unhex(value) FROM json_each(?))"
    " AND state = 'condemned' RETURNING lower(hex(hash)), stored_size"
)
BEGIN_DELETING_STRAYS: Final = (
    "INSERT INTO blobs (hash, size, stored_size, encoding, state, touched_at)"
    " SELECT unhex(j.value), 0, 0, 'raw', 'deleting', CAST(unixepoch('subsec') * 1000 AS INTEGER)"
    " FROM json_each(?) AS j WHERE true ON CONFLICT (hash) DO NOTHING RETURNING lower(hex(hash))"
)
END_DELETING: Final = "DELETE FROM blobs WHERE hash IN (SELECT unhex(value) FROM json_each(?)) AND state = 'deleting'"
DROP_BROKEN_TRACES: Final = (
    "DELETE FROM traces AS t WHERE t.number IN (SELECT value FROM json_each(?))"
    f" AND EXISTS (SELECT 1 FROM json_each(t.outputs) AS o WHERE {_NAMED_WITHOUT_ROW})"
)
NOTE_DROPPED: Final = (
    "INSERT INTO meta (key, value) SELECT 'traces_dropped', coalesce(max(seq), 0) FROM sqlite_sequence WHERE true"
    " ON CONFLICT (key) DO UPDATE SET value = excluded.value"
)
"""Of events up to here, a result may rightly be missing among the traces."""


class BlobTable:
    """What is known of blobs."""

    def __init__(self, connection: apsw.Connection) -> None:
        self._db = connection

    def get(self, digests: Iterable[str]) -> dict[str, BlobRow]:
        """The rows there are, by hash."""
        given = json_list(digests)
        return {row[0]: BlobRow._make(row) for row in all_rows(self._db.execute(GET, (given,)))}

    def make_live(self, rows: Iterable[tuple[str, int, int, Encoding]]) -> None:
        """Insert or revive (hash, size, stored size, encoding), touched now by the database's clock.

        A `deleting` row is left as it is: its object is about to go.
        """
        given = list(rows)
        if given:
            self._db.execute(MAKE_LIVE, (orjson.dumps(given).decode(),))

    def touch(self, digests: Iterable[str]) -> int:
        """Set `touched_at` of live rows to now; gives how many of these are live."""
        self._db.execute(TOUCH, (json_list(digests),))
        return self._db.changes()

    def forget(self, digests: Iterable[str]) -> None:
        """Drop the rows of objects that turned out to be gone or damaged; a `deleting` one is its collector's."""
        self._db.executemany(FORGET, [(bytes.fromhex(digest),) for digest in digests])

    def unknown(self, digests: Iterable[str]) -> list[str]:
        """Those that have no row."""
        return [row[0] for row in all_rows(self._db.execute(UNKNOWN, (json_list(digests),)))]

    def unlike(self, digests: Iterable[str], encoding: Encoding) -> dict[str, BlobRow | None]:
        """Those that have no live row of an object so stored, with the row that they have."""
        found = all_rows(self._db.execute(UNLIKE, (json_list(digests), encoding)))
        return {row[0]: None if row[1] is None else BlobRow._make(row) for row in found}

    def sizes_from(self, size: int) -> set[int]:
        """Which sizes contents have from `size` bytes on; one pass over all rows."""
        return {row[0] for row in all_rows(self._db.execute(SIZES, (size,)))}

    def page(self, after: str, limit: int) -> list[BlobRow]:
        """Rows in the order of their hashes, beyond `after` (empty: from the first), at most `limit`."""
        return [BlobRow._make(row) for row in all_rows(self._db.execute(PAGE, (bytes.fromhex(after), limit)))]

    def deleting(self, after: str, limit: int) -> dict[str, int]:
        """Stored sizes of what is being deleted, in the order of their hashes, beyond `after`, at most `limit`."""
        return {row[0]: row[1] for row in all_rows(self._db.execute(DELETING, (bytes.fromhex(after), limit)))}

    def uncovered(self, seq: int, limit: int) -> list[tuple[int, str]]:
        """`seq` and blob of events beyond `seq` that no ended run covers, oldest first, at most `limit`."""
        return [(row[0], row[1]) for row in all_rows(self._db.execute(UNCOVERED, (seq, limit)))]

    def uses(self, seq: int, limit: int) -> list[BlobUse]:
        """The events beyond `seq` that name a blob, oldest first, at most `limit`."""
        return [BlobUse(*row) for row in all_rows(self._db.execute(USES, (seq, limit)))]

    def chosen(self) -> list[str]:
        """The blobs of the results that people chose or accepted."""
        return [row[0] for row in all_rows(self._db.execute(CHOSEN))]

    def broken_traces(self, number: int, limit: int) -> list[tuple[int, list[str]]]:
        """Traces beyond `number` some of whose blobs have no row: their numbers, and those blobs."""
        return [(row[0], orjson.loads(row[1])) for row in all_rows(self._db.execute(BROKEN_TRACES, (number, limit)))]

    def condemn(self, digests: Iterable[str], before_ms: int) -> int:
        """Condemn those that are live and were last touched before a moment; gives how many."""
        self._db.execute(CONDEMN, (json_list(digests), before_ms))
        return self._db.changes()

    def begin_deleting(self, digests: Iterable[str]) -> dict[str, int]:
        """Set those that are still condemned to `deleting`; gives their stored sizes."""
        return {row[0]: row[1] for row in all_rows(self._db.execute(BEGIN_DELETING, (json_list(digests),)))}

    def begin_deleting_strays(self, digests: Iterable[str]) -> list[str]:
        """Insert a `deleting` row for each that has no row; gives those."""
        return [row[0] for row in all_rows(self._db.execute(BEGIN_DELETING_STRAYS, (json_list(digests),)))]

    def end_deleting(self, digests: Iterable[str]) -> None:
        """Drop `deleting` rows, whose objects are gone."""
        self._db.execute(END_DELETING, (json_list(digests),))

    def drop_broken_traces(self, numbers: Iterable[int]) -> int:
        """Drop those of the traces that still name a blob without a row; gives how many."""
        self._db.execute(DROP_BROKEN_TRACES, (orjson.dumps(list(numbers)).decode(),))
        count = self._db.changes()
        if count:
            self._db.execute(NOTE_DROPPED)
        return count
