"""Rows that leave by compaction, and the events of compacted runs that are still rows. Keeps invariant 4.

`compaction.active` is set and unset within the caller's one transaction: nobody else ever sees it set.
"""

# ruff: noqa: S608 (statements are put together from constants)

from __future__ import annotations

from collections.abc import Collection, Iterable
from typing import Any, Final

import apsw
import orjson

from renku_store.metadata.sqlite.measuring import Measuring
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
from renku_store.metadata.upkeep import CompactedRun, EndedRun, Selection
from renku_store.records.events import Event

LAST_USED: Final = "SELECT coalesce(max(seq), 0) FROM sqlite_sequence"
COMPACTIONS: Final = "SELECT coalesce(max(compacted_at), 0) FROM compacted_runs"
COMPACTED: Final = (
    "SELECT c.run, lower(hex(c.hash)), c.first_id, v.number IS NOT NULL, coalesce(v.expired, 0)"
    " FROM compacted_runs AS c LEFT JOIN revisions AS v ON v.run = c.run"
)
COMPACTED_RUN: Final = f"{COMPACTED} WHERE c.run = ?"
PUBLISHING: Final = (
    "SELECT e.id FROM revisions AS v CROSS JOIN run_events AS e ON e.run = v.run"
    " WHERE v.number = ? AND e.kind = 'published' ORDER BY e.seq LIMIT 1"
)
ENDED: Final = (
    "SELECT r.run, v.number, lower(hex(v.hash)), coalesce(v.expired, 0)"
    " FROM runs AS r LEFT JOIN revisions AS v ON v.run = r.run"
    " WHERE (r.status = 'published' AND v.number IS NOT NULL) OR (r.status = 'abandoned' AND v.number IS NULL)"
    " ORDER BY r.created_at DESC, r.run DESC"
)
LATE_RUNS: Final = (
    "SELECT DISTINCT t.run FROM traces AS t CROSS JOIN runs AS r ON r.run = t.run"
    " WHERE t.kept = 1 AND r.status IN ('published', 'abandoned') ORDER BY t.run"
)
TRACE_BLOBS: Final = (
    "SELECT t.number, t.run, (SELECT json_group_array(json_extract(o.value, '$.blob')) FROM json_each(t.outputs) AS o"
    " WHERE json_extract(o.value, '$.blob') IS NOT NULL) FROM traces AS t WHERE t.number > ? ORDER BY t.number LIMIT ?"
)
FREE: Final = {
    "input_events": (
        "NOT EXISTS (SELECT 1 FROM latest_inputs AS l WHERE l.input = e.input AND l.seq = e.seq)"
        " AND NOT EXISTS (SELECT 1 FROM revision_inputs AS v WHERE v.input = e.input AND v.seq = e.seq)"
        " AND NOT EXISTS (SELECT 1 FROM pending_inputs AS p WHERE p.seq = e.seq)"
    ),
    "artefact_events": (
        "NOT EXISTS (SELECT 1 FROM latest_artefacts AS l WHERE l.artefact = e.artefact AND l.seq = e.seq)"
        " AND NOT EXISTS (SELECT 1 FROM revision_artefacts AS v WHERE v.artefact = e.artefact AND v.seq = e.seq)"
        " AND NOT EXISTS (SELECT 1 FROM pending_artefacts AS p WHERE p.seq = e.seq)"
    ),
    "run_events": "e.kind <> 'published'",
}
"""What the triggers let go; the event that tells of publishing is in no archive."""
MAY_LEAVE: Final = " UNION ALL ".join(
    f"SELECT * FROM (SELECT 1 FROM {table} AS e WHERE e.run = ?1 AND {free} LIMIT 1)" for table, free in FREE.items()
)
ROWS_OF: Final = "SELECT " + " + ".join(f"(SELECT count(*) FROM {table} WHERE run = ?1)" for table in FREE)
SUPERSEDED: Final = " UNION ALL ".join(
    f"SELECT e.id FROM {table} AS e WHERE e.run IS NULL AND {free}"
    for table, free in FREE.items()
    if table != "run_events"
)
_LEAVING: Final = "e.id IN (SELECT value FROM json_each(?1)) AND (e.run = ?2 OR (e.run IS NULL AND ?3))"
COUNT_LEAVING: Final = {
    table: f"SELECT count(*) FROM {table} AS e WHERE {_LEAVING} AND {free}" for table, free in FREE.items()
}
DROP: Final = {table: f"DELETE FROM {table} AS e WHERE {_LEAVING} AND {free}" for table, free in FREE.items()}
NOTE: Final = (
    "INSERT INTO compacted_runs (run, hash, first_id, compacted_at) VALUES (?, unhex(?), ?,"
    " max(CAST(unixepoch('subsec') * 1000 AS INTEGER),"
    " (SELECT coalesce(max(compacted_at), 0) + 1 FROM compacted_runs)))"
    " ON CONFLICT (run) DO UPDATE SET hash = excluded.hash, first_id = excluded.first_id,"
    " compacted_at = excluded.compacted_at"
)


def _release(table: str, name: str) -> str:
    # The value of revision N is the entry with the greatest revision up to N: an entry is shown until the next one.
    return (
        "WITH spans AS MATERIALIZED (SELECT v.number, v.expired,"
        " (SELECT min(k.number) FROM revisions AS k WHERE k.number >= v.number AND k.expired = 0) AS kept"
        " FROM revisions AS v)"
        f" UPDATE {table} AS r SET seq = NULL FROM spans AS s WHERE s.number = r.revision AND s.expired = 1"
        " AND r.seq IS NOT NULL"
        f" AND EXISTS (SELECT 1 FROM {table} AS n WHERE n.{name} = r.{name} AND n.revision > r.revision"
        " AND (s.kept IS NULL OR n.revision <= s.kept))"
    )


RELEASE: Final = (_release("revision_inputs", "input"), _release("revision_artefacts", "artefact"))

_SOURCES: Final = {
    "input": (INPUT_COLUMNS, "input_events", "input = ?3"),
    "artefact": (
        ARTEFACT_COLUMNS,
        "artefact_events",
        (
            "seq IN (SELECT seq FROM artefact_events WHERE artefact = ?3"
            " UNION SELECT seq FROM artefact_events WHERE job = ?3)"
        ),
    ),
    "run": (RUN_COLUMNS, "run_events", "run = ?3"),
}


def _in_id_order(kind: str, condition: str) -> str:
    columns, table, _ = _SOURCES[kind]
    # The plus keeps the planner from sorting whatever lies beyond a number for each page anew.
    return f"SELECT {columns} FROM {table} WHERE id > ?1 AND +seq > ?4 AND +seq <= ?5{condition} ORDER BY id LIMIT ?2"


ALL_IN_ID_ORDER: Final = {kind: _in_id_order(kind, "") for kind in _SOURCES}
RUN_IN_ID_ORDER: Final = {kind: _in_id_order(kind, " AND run = ?3") for kind in _SOURCES}
ABOUT_IN_ID_ORDER: Final = {kind: _in_id_order(kind, f" AND {about}") for kind, (_, _, about) in _SOURCES.items()}
_READ: Final[dict[str, Any]] = {"input": input_event, "artefact": artefact_event, "run": run_event}


class UpkeepTables(Measuring):
    """What compaction and statistics ask, and what compaction does."""

    def __init__(self, connection: apsw.Connection) -> None:
        super().__init__(connection)
        self._db = connection

    def last_used(self) -> int:
        """The last number that was ever given to an event."""
        return int(self._db.execute(LAST_USED).get)

    def compactions(self) -> int:
        """Grows with every compaction of a run; 0 before the first."""
        return int(self._db.execute(COMPACTIONS).get)

    def compacted(self, run: str | None = None) -> list[CompactedRun]:
        """The runs some of whose rows have left; only one run if it is named."""
        rows = self._db.execute(COMPACTED) if run is None else self._db.execute(COMPACTED_RUN, (run,))
        return [
            CompactedRun(run, archive, first_id, bool(published), bool(expired))
            for run, archive, first_id, published, expired in all_rows(rows)
        ]

    def in_id_order(self, after: str, limit: int, selection: Selection, through: int) -> list[Event]:
        """Rows that are meant, with numbers up to `through`, in the order of their ids, beyond `after`."""
        statements, third = ALL_IN_ID_ORDER, selection.run
        if selection.run is not None:
            statements = RUN_IN_ID_ORDER
        elif selection.about is not None:
            statements, third = ABOUT_IN_ID_ORDER, selection.about
        found: list[Event] = []
        for kind in selection.kinds:
            rows = self._db.execute(statements[kind], (after, limit, third, selection.after, through))
            found += [_READ[kind](row) for row in all_rows(rows)]
        return sorted(found, key=_id)[:limit]

    def publishing_event(self, revision: int) -> str | None:
        """The id of the event that tells of a revision's publishing."""
        row: Any = self._db.execute(PUBLISHING, (revision,)).fetchone()
        return None if row is None else str(row[0])

    def ended_runs(self) -> list[EndedRun]:
        """Runs that are published and booked, or abandoned, newest first."""
        rows = all_rows(self._db.execute(ENDED))
        return [EndedRun(run, number, digest, bool(expired)) for run, number, digest, expired in rows]

    def rows_of(self, run: str) -> int:
        """How many event rows a run has."""
        return int(self._db.execute(ROWS_OF, (run,)).get)

    def may_leave(self, run: str) -> bool:
        """Whether a run has rows that nothing points at, other than the one that says that it has published."""
        return self._db.execute(MAY_LEAVE, (run,)).fetchone() is not None

    def late_runs(self) -> list[str]:
        """The ended runs that have results which came after their claim was lost."""
        return [row[0] for row in all_rows(self._db.execute(LATE_RUNS))]

    def trace_blobs(self, number: int, limit: int) -> list[tuple[int, str | None, list[str]]]:
        """Results beyond a number, in order, at most `limit`: their numbers, their runs, and the blobs they name."""
        found = all_rows(self._db.execute(TRACE_BLOBS, (number, limit)))
        return [(row[0], row[1], orjson.loads(row[2])) for row in found]

    def superseded_edits(self) -> set[str]:
        """The ids of movie-wide events that are neither pending nor pointed at."""
        return {row[0] for row in all_rows(self._db.execute(SUPERSEDED))}

    def count_leaving(self, run: str, ids: Collection[str], *, edits: bool) -> int:
        """How many rows `drop` would remove."""
        bindings = (json_list(ids), run, edits)
        return sum(int(self._db.execute(statement, bindings).get) for statement in COUNT_LEAVING.values())

    def release_expired(self) -> int:
        """Let go of the events that only expired revisions point at; gives how many look-ups did."""
        count = 0
        for statement in RELEASE:
            self._db.execute(statement)
            count += self._db.changes()
        return count

    def drop(self, run: str, ids: Iterable[str], *, edits: bool, archive: str, first_id: str) -> int:
        """Drop those rows of an ended run that its archive lists by these ids; gives how many.

        With `edits` also movie-wide ones. Rows that a look-up points at or that are pending stay.
        """
        bindings = (json_list(ids), run, edits)
        count = 0
        self._db.execute("UPDATE compaction SET active = 1")
        for statement in DROP.values():
            self._db.execute(statement, bindings)
            count += self._db.changes()
        self._db.execute("UPDATE compaction SET active = 0")
        if count:
            self._db.execute(NOTE, (run, archive, first_id))
        return count


def _id(event: Event) -> str:
    return event.id
