"""Tables that derive from others, held against those; and the bytes of the newest manifest.

Rows of events may have left by compaction: then nothing can be said, and nothing is.
"""

# ruff: noqa: S608 (statements are put together from constants)

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Final

import apsw
import orjson

from renku_store.metadata.derived import Held, KeptManifest, SpanSide
from renku_store.metadata.sqlite.appending import MADE
from renku_store.metadata.sqlite.rows import (
    ARTEFACT_COLUMNS,
    INPUT_COLUMNS,
    all_rows,
    artefact_event,
    input_event,
    json_list,
)
from renku_store.records.events import ArtefactEvent, InputEvent

_MADE: Final = ", ".join(f"'{status}'" for status in sorted(MADE))
# What expired revisions alone point at may have left the look-ups of a database that was made anew.
_SHARED: Final = "(e.run IS NULL OR e.run IN (SELECT run FROM revisions WHERE expired = 0))"
STALE_LOOKUPS: Final = (
    "SELECT * FROM (SELECT 'latest_inputs ' || d.input FROM (SELECT e.input, max(e.seq) AS seq FROM input_events AS e"
    f" WHERE {_SHARED} GROUP BY e.input) AS d LEFT JOIN latest_inputs AS l ON l.input = d.input"
    " WHERE coalesce(l.seq, 0) < d.seq LIMIT ?1)"
    " UNION ALL SELECT * FROM (SELECT 'latest_inputs ' || l.input FROM latest_inputs AS l"
    " CROSS JOIN input_events AS e ON e.seq = l.seq WHERE e.input <> l.input LIMIT ?1)"
    " UNION ALL SELECT * FROM (SELECT 'latest_artefacts ' || d.artefact FROM"
    " (SELECT e.artefact, max(e.seq) AS seq FROM artefact_events AS e"
    " WHERE e.hash IS NOT NULL AND e.status <> 'kept' GROUP BY e.artefact) AS d"
    " LEFT JOIN latest_artefacts AS l ON l.artefact = d.artefact WHERE l.seq IS NOT d.seq LIMIT ?1)"
)
_RESULT: Final = (
    f"e.status IN ({_MADE}) AND e.signature IS NOT NULL AND e.result IS NOT NULL AND e.hash IS NOT NULL"
    " AND NOT EXISTS (SELECT 1 FROM traces AS t WHERE t.result = e.result)"
)
_DROPPED: Final = "coalesce((SELECT value FROM meta WHERE key = 'traces_dropped'), 0)"
LOST_TRACES: Final = (
    f"SELECT DISTINCT e.result FROM artefact_events AS e WHERE e.seq > {_DROPPED} AND {_RESULT} LIMIT ?"
)
_NOT_LIVE: Final = "NOT EXISTS (SELECT 1 FROM blobs AS b WHERE b.hash = s.blob AND b.state = 'live')"
UNLISTED_TRACES: Final = (
    f"SELECT count(DISTINCT e.result) FROM artefact_events AS e WHERE e.seq <= {_DROPPED} AND {_RESULT}"
    " AND NOT EXISTS (SELECT 1 FROM artefact_events AS s WHERE s.job IS e.job AND s.result = e.result"
    f" AND s.blob IS NOT NULL AND {_NOT_LIVE})"
)
DIFFERING_TRACES: Final = (
    "SELECT DISTINCT e.result FROM artefact_events AS e CROSS JOIN traces AS t ON t.result = e.result"
    f" WHERE e.status IN ({_MADE}) AND e.hash IS NOT NULL AND e.signature IS NOT NULL AND (t.signature <> e.signature"
    " OR NOT EXISTS (SELECT 1 FROM json_each(t.outputs) AS o WHERE o.key = coalesce(e.output, e.artefact)"
    " AND json_extract(o.value, '$.hash') = lower(hex(e.hash)))) LIMIT ?"
)
FIRSTS: Final = "SELECT first, count(*) FROM manifest_blobs GROUP BY first"
LASTS: Final = "SELECT last, count(*) FROM manifest_blobs WHERE last IS NOT NULL GROUP BY last"
_SIDES: Final[dict[SpanSide, str]] = {
    "covers": "m.first <= ?2 AND (m.last IS NULL OR m.last >= ?2)",
    "first": "m.first = ?2",
    "last": "m.last = ?2",
}
WITHOUT_SPAN: Final = {
    side: "SELECT count(*) FROM json_each(?1) AS j WHERE NOT EXISTS"
    f" (SELECT 1 FROM manifest_blobs AS m WHERE m.hash = unhex(j.value) AND {where})"
    for side, where in _SIDES.items()
}
# The value in a revision is the entry with the greatest revision up to it.
STATE: Final = {
    kind: f"SELECT r.{kind}, r.hash, r.revision, r.seq FROM revision_{kind}s AS r WHERE r.hash IS NOT NULL"
    f" AND r.revision = (SELECT max(v.revision) FROM revision_{kind}s AS v WHERE v.{kind} = r.{kind}"
    " AND v.revision <= ?)"
    for kind in ("input", "artefact")
}
AT: Final = {
    table: f"SELECT e.{columns.replace(', ', ', e.')} FROM json_each(?) AS j CROSS JOIN {table} AS e ON e.seq = j.value"
    for table, columns in (("input_events", INPUT_COLUMNS), ("artefact_events", ARTEFACT_COLUMNS))
}
NEWEST_MANIFEST: Final = "SELECT number, hash, manifest FROM newest_manifest WHERE only = 1"
KEEP_NEWEST: Final = (
    "INSERT INTO newest_manifest (only, number, hash, manifest) VALUES (1, ?, ?, ?)"
    " ON CONFLICT (only) DO UPDATE SET number = excluded.number, hash = excluded.hash, manifest = excluded.manifest"
)


class DerivedTables:
    """Look-ups, results and spans, held against what they derive from."""

    _db: apsw.Connection

    def stale_lookups(self, limit: int) -> list[str]:
        """Look-ups that miss, or are behind, the newest event that they should point at, as `TABLE ID`."""
        return [row[0] for row in all_rows(self._db.execute(f"SELECT * FROM ({STALE_LOOKUPS}) LIMIT ?1", (limit,)))]

    def lost_traces(self, limit: int) -> list[str]:
        """Results that events tell of and that the reuse index should hold but does not, at most `limit`.

        Told of after the last time at which any had left the index: so none of them can have.
        """
        return [row[0] for row in all_rows(self._db.execute(LOST_TRACES, (limit,)))]

    def unlisted_traces(self) -> int:
        """How many results could be reused and are not in the index; their bytes may have been collected once."""
        return int(self._db.execute(UNLISTED_TRACES).get)

    def differing_traces(self, limit: int) -> list[str]:
        """Results of which the reuse index says something else than the events, at most `limit`."""
        return [row[0] for row in all_rows(self._db.execute(DIFFERING_TRACES, (limit,)))]

    def span_ends(self) -> tuple[dict[int, int], dict[int, int]]:
        """How many spans of named blobs begin, and how many end, with each revision."""
        firsts: dict[int, Any] = dict(all_rows(self._db.execute(FIRSTS)))
        lasts: dict[int, Any] = dict(all_rows(self._db.execute(LASTS)))
        return firsts, lasts

    def without_span(self, digests: Iterable[str], number: int, side: SpanSide) -> int:
        """How many of the blobs have no span that lies so to a revision."""
        return int(self._db.execute(WITHOUT_SPAN[side], (json_list(digests), number)).get)

    def revision_state(self, number: int) -> tuple[dict[str, Held], dict[str, Held]]:
        """The inputs and the artefacts of a revision, by id."""
        return self._state("input", number), self._state("artefact", number)

    def _state(self, kind: str, number: int) -> dict[str, Held]:
        rows = all_rows(self._db.execute(STATE[kind], (number,)))
        return {row[0]: Held(row[1].hex(), row[2], row[3]) for row in rows}

    def events_at(self, numbers: Iterable[int]) -> list[InputEvent | ArtefactEvent]:
        """The events of inputs and artefacts with these numbers, as far as they are still rows."""
        given = orjson.dumps(list(numbers)).decode()
        found: list[InputEvent | ArtefactEvent] = [
            input_event(row) for row in all_rows(self._db.execute(AT["input_events"], (given,)))
        ]
        found += [artefact_event(row) for row in all_rows(self._db.execute(AT["artefact_events"], (given,)))]
        return found

    def newest_manifest(self) -> KeptManifest | None:
        """The bytes of the newest booked manifest, if they are kept."""
        for number, digest, data in all_rows(self._db.execute(NEWEST_MANIFEST)):
            return KeptManifest(number, digest.hex(), data)
        return None

    def keep_newest_manifest(self, kept: KeptManifest) -> None:
        """Keep the bytes of a manifest in place of those kept so far."""
        self._db.execute(KEEP_NEWEST, (kept.number, bytes.fromhex(kept.hash), kept.data))
