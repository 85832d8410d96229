"""The tables held against each other, and when blobs were verified: what a check of the movie asks."""

# ruff: noqa: S608 (statements are put together from constants)

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Final

import apsw

from renku_store.metadata.checks import EventKey, EventKind, StaleClaim, TableSizes
from renku_store.metadata.sqlite.deriving import DerivedTables
from renku_store.metadata.sqlite.migrations import migrate, shipped_migrations
from renku_store.metadata.sqlite.rows import (
    ARTEFACT_COLUMNS,
    INPUT_COLUMNS,
    RUN_COLUMNS,
    all_rows,
    artefact_event,
    input_event,
    json_list,
    run_event,
)
from renku_store.records.events import Event

_NOW: Final = "CAST(unixepoch('subsec') * 1000 AS INTEGER)"
SCHEMA: Final = "SELECT type || ' ' || name, sql FROM sqlite_schema WHERE sql IS NOT NULL AND name NOT LIKE 'sqlite_%'"
COMPACTING: Final = "SELECT count(*) FROM compaction WHERE only = 1 AND active = 0"


def _lost(table: str, name: str, events: str) -> str:
    return (
        f"SELECT * FROM (SELECT '{table} ' || l.{name} FROM {table} AS l WHERE l.seq IS NOT NULL"
        f" AND NOT EXISTS (SELECT 1 FROM {events} AS e WHERE e.seq = l.seq) LIMIT ?1)"
    )


LOST_ROWS: Final = " UNION ALL ".join(
    (
        _lost("latest_inputs", "input", "input_events"),
        _lost("latest_artefacts", "artefact", "artefact_events"),
        _lost("pending_inputs", "seq", "input_events"),
        _lost("pending_artefacts", "seq", "artefact_events"),
        _lost("revision_inputs", "input", "input_events"),
        _lost("revision_artefacts", "artefact", "artefact_events"),
    )
)
BY_ID: Final = {
    table: f"SELECT e.{columns.replace(', ', ', e.')} FROM json_each(?) AS j CROSS JOIN {table} AS e ON e.id = j.value"
    for table, columns in (
        ("input_events", INPUT_COLUMNS),
        ("artefact_events", ARTEFACT_COLUMNS),
        ("run_events", RUN_COLUMNS),
    )
}
COMPACTED: Final = "SELECT run, hash FROM compacted_runs"
_NO_LEASE: Final = (
    "NOT EXISTS (SELECT 1 FROM leases AS l WHERE l.run = c.run AND l.epoch = c.epoch AND l.counter = c.counter)"
)
STALE_CLAIMS: Final = f"SELECT lower(hex(c.signature)), c.run, c.job FROM claims AS c WHERE {_NO_LEASE} LIMIT ?"
END_CLAIMS: Final = f"DELETE FROM claims AS c WHERE {_NO_LEASE}"
_IMPOSSIBLE: Final = (
    "NOT EXISTS (SELECT 1 FROM runs AS r WHERE r.run = l.run)"
    " OR l.epoch > (SELECT value FROM meta WHERE key = 'epoch')"
    " OR (l.epoch = (SELECT value FROM meta WHERE key = 'epoch')"
    " AND l.counter > (SELECT value FROM meta WHERE key = 'token'))"
)
IMPOSSIBLE_LEASES: Final = f"SELECT l.run FROM leases AS l WHERE {_IMPOSSIBLE} LIMIT ?"
END_LEASES: Final = f"DELETE FROM leases AS l WHERE {_IMPOSSIBLE}"
IMPOSSIBLE_RUNS: Final = (
    "SELECT r.run, CASE WHEN r.revision IS NULL THEN 'it is published, but names no revision'"
    " WHEN r.status <> 'published' THEN 'it names ' || r.revision || ', but is ' || r.status"
    " ELSE 'it names ' || r.revision || ', which another run published' END FROM runs AS r"
    " WHERE (r.status = 'published') <> (r.revision IS NOT NULL) OR (r.revision IS NOT NULL AND EXISTS ("
    "SELECT 1 FROM revisions AS v WHERE v.number = CAST(substr(r.revision, 5) AS INTEGER) AND v.run <> r.run)) LIMIT ?"
)
# A job has few events, and an index; what belongs to no job, or has been compacted, is not looked for.
UNDERIVED: Final = (
    "SELECT t.number, t.result FROM traces AS t WHERE t.number > ?1 AND t.job IS NOT NULL"
    " AND NOT EXISTS (SELECT 1 FROM artefact_events AS e WHERE e.job = t.job AND e.result = t.result)"
    " AND NOT EXISTS (SELECT 1 FROM compacted_runs AS c WHERE t.run IS NULL OR c.run = t.run)"
    " ORDER BY t.number LIMIT ?2"
)
DELETING: Final = "SELECT lower(hex(hash)) FROM blobs WHERE state = 'deleting' AND state <> 'live' LIMIT ?"
VERIFIED: Final = (
    "SELECT j.value, v.verified_at FROM json_each(?) AS j CROSS JOIN verifications AS v ON v.hash = unhex(j.value)"
)
VERIFIED_BEFORE: Final = (
    "SELECT verified_at, lower(hex(hash)) FROM verifications WHERE verified_at < ?1 AND (verified_at, hash) > (?2, ?3)"
    " ORDER BY verified_at, hash LIMIT ?4"
)
NOTE_VERIFIED: Final = (
    f"INSERT INTO verifications (hash, verified_at) SELECT unhex(value), {_NOW} FROM json_each(?) WHERE true"
    " ON CONFLICT (hash) DO UPDATE SET verified_at = excluded.verified_at"
)
KEEP_VERIFIED: Final = (
    "INSERT INTO verifications (hash, verified_at) VALUES (?, ?)"
    " ON CONFLICT (hash) DO UPDATE SET verified_at = max(verified_at, excluded.verified_at)"
)
KEYS_AFTER: Final[dict[EventKind, str]] = {
    "input": "SELECT seq, id, run FROM input_events WHERE seq > ? ORDER BY seq LIMIT ?",
    "artefact": "SELECT seq, id, run FROM artefact_events WHERE seq > ? ORDER BY seq LIMIT ?",
    "run": "SELECT seq, id, run FROM run_events WHERE seq > ? ORDER BY seq LIMIT ?",
}
ABSENT: Final = (
    "SELECT j.value FROM json_each(?) AS j WHERE NOT EXISTS (SELECT 1 FROM input_events WHERE id = j.value)"
    " AND NOT EXISTS (SELECT 1 FROM artefact_events WHERE id = j.value)"
    " AND NOT EXISTS (SELECT 1 FROM run_events WHERE id = j.value)"
)
SIZES: Final = (
    "SELECT (SELECT count(*) FROM input_events) + (SELECT count(*) FROM artefact_events)"
    " + (SELECT count(*) FROM run_events), (SELECT count(*) FROM blobs), (SELECT count(*) FROM runs),"
    " (SELECT count(*) FROM revisions)"
)
FORGET_VERIFIED: Final = "DELETE FROM verifications WHERE hash IN (SELECT unhex(value) FROM json_each(?))"


class CheckTables(DerivedTables):
    """All tables, as a check sees them."""

    def __init__(self, connection: apsw.Connection) -> None:
        self._db = connection

    def faults(self, limit: int, *, thorough: bool) -> list[str]:
        """What SQLite finds wrong with the file, at most `limit` sentences; reads all of it.

        `thorough` looks up every row in every index, too.
        """
        statement = "PRAGMA integrity_check" if thorough else "PRAGMA quick_check"
        try:
            found = [str(row[0]) for row in all_rows(self._db.execute(f"{statement}({int(limit)})"))]
        except apsw.SQLError as error:  # what the file says of its own tables makes no sense
            return [str(error)]
        return [] if found == ["ok"] else found

    def schema_differences(self) -> list[str]:
        """The parts of the schema that are missing or other than a new database has them, as `trigger NAME`."""
        new = apsw.Connection(":memory:")
        try:
            migrate(new, "a new database", shipped_migrations())
            wanted: dict[str, str] = dict(all_rows(new.execute(SCHEMA)))
        finally:
            new.close()
        present: dict[str, str] = dict(all_rows(self._db.execute(SCHEMA)))
        return sorted(name for name, sql in wanted.items() if present.get(name) != sql)

    def compaction_active(self) -> bool:
        """Whether the append-only triggers stand open, or what closes them is gone."""
        return int(self._db.execute(COMPACTING).get) != 1

    def lost_rows(self, limit: int) -> list[str]:
        """Look-ups that point at an event which is not there, as `TABLE ID`, at most `limit`."""
        return [row[0] for row in all_rows(self._db.execute(f"SELECT * FROM ({LOST_ROWS}) LIMIT ?1", (limit,)))]

    def events_by_id(self, ids: Iterable[str]) -> dict[str, Event]:
        """The events there are, by id."""
        given = json_list(ids)
        events: list[Event] = [input_event(row) for row in all_rows(self._db.execute(BY_ID["input_events"], (given,)))]
        events += [artefact_event(row) for row in all_rows(self._db.execute(BY_ID["artefact_events"], (given,)))]
        events += [run_event(row) for row in all_rows(self._db.execute(BY_ID["run_events"], (given,)))]
        return {event.id: event for event in events}

    def keys_after(self, kind: EventKind, seq: int, limit: int) -> list[EventKey]:
        """The events of a kind beyond `seq`, oldest first, at most `limit`, without what they say."""
        rows: Any = self._db.execute(KEYS_AFTER[kind], (seq, limit))
        return [*map(EventKey._make, rows)]

    def absent(self, ids: Iterable[str]) -> set[str]:
        """Those of the ids that no event has."""
        return {row[0] for row in all_rows(self._db.execute(ABSENT, (json_list(ids),)))}

    def sizes(self) -> TableSizes:
        """How much there is."""
        row: Any = self._db.execute(SIZES).fetchone()
        return TableSizes(*row)

    def compacted_runs(self) -> dict[str, str]:
        """The runs some of whose rows have left, with the hash of the archive that holds them."""
        return {run: digest.hex() for run, digest in all_rows(self._db.execute(COMPACTED))}

    def stale_claims(self, limit: int) -> list[StaleClaim]:
        """Claims that no lease stands behind, at most `limit`."""
        return [StaleClaim(*row) for row in all_rows(self._db.execute(STALE_CLAIMS, (limit,)))]

    def impossible_leases(self, limit: int) -> list[str]:
        """Runs whose lease has a token that was never given out, or that are not there, at most `limit`."""
        return [row[0] for row in all_rows(self._db.execute(IMPOSSIBLE_LEASES, (limit,)))]

    def impossible_runs(self, limit: int) -> list[tuple[str, str]]:
        """Runs in a state that no step leads to, and what is impossible about it, at most `limit`."""
        return [(row[0], row[1]) for row in all_rows(self._db.execute(IMPOSSIBLE_RUNS, (limit,)))]

    def underived_traces(self, number: int, limit: int) -> list[tuple[int, str]]:
        """Traces from beyond `number` that no event tells of: their numbers and results, at most `limit`."""
        return [(row[0], row[1]) for row in all_rows(self._db.execute(UNDERIVED, (number, limit)))]

    def deleting(self, limit: int) -> list[str]:
        """Blobs whose row says `deleting`, at most `limit`."""
        return [row[0] for row in all_rows(self._db.execute(DELETING, (limit,)))]

    def verified(self, digests: Iterable[str]) -> dict[str, int]:
        """When blobs were last verified (Unix milliseconds), by hash; those that never were are left out."""
        found: dict[str, Any] = dict(all_rows(self._db.execute(VERIFIED, (json_list(digests),))))
        return found

    def verified_before(self, before_ms: int, after: tuple[int, str], limit: int) -> list[tuple[int, str]]:
        """Blobs last verified before a moment, least recently first, beyond `after`, at most `limit`."""
        bindings = (before_ms, after[0], bytes.fromhex(after[1]), limit)
        return [(row[0], row[1]) for row in all_rows(self._db.execute(VERIFIED_BEFORE, bindings))]

    def note_verified(self, digests: Iterable[str]) -> None:
        """These were found right just now."""
        self._db.execute(NOTE_VERIFIED, (json_list(digests),))

    def keep_verified(self, times: Iterable[tuple[int, str]]) -> None:
        """Blobs, each with the time at which another database had noted that it was right."""
        self._db.executemany(KEEP_VERIFIED, [(bytes.fromhex(digest), moment) for moment, digest in times])

    def forget_verified(self, digests: Iterable[str]) -> None:
        """These are gone, or wrong."""
        self._db.execute(FORGET_VERIFIED, (json_list(digests),))

    def end_stale(self) -> int:
        """Drop claims that no lease stands behind and leases that cannot be; gives how many."""
        count = 0
        for statement in (END_LEASES, END_CLAIMS):
            self._db.execute(statement)
            count += self._db.changes()
        return count
