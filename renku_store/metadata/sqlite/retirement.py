"""What old runs leave, and its removal. Keeps invariant 4: rows leave while an archive that lists them is there."""

# ruff: noqa: S608 (statements are put together from constants)

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

import apsw

from renku_store.metadata.sqlite.rows import all_rows, json_list

ENDED_BEFORE: Final = (
    "SELECT r.run, r.revision IS NULL OR EXISTS (SELECT 1 FROM revisions AS v WHERE v.run = r.run AND v.expired)"
    " FROM runs AS r WHERE r.status IN ('published', 'abandoned') AND r.ended_at < ? ORDER BY r.created_at, r.run"
)
WITH_RESULTS: Final = "SELECT DISTINCT run FROM traces WHERE run IS NOT NULL"


def _needed(kind: str, plural: str, chosen: str) -> str:
    return (
        f"SELECT 1 FROM {kind}_events AS e WHERE {chosen}"
        f" AND (EXISTS (SELECT 1 FROM latest_{plural} AS l WHERE l.{kind} = e.{kind} AND l.seq = e.seq)"
        f" OR EXISTS (SELECT 1 FROM revision_{plural} AS v WHERE v.{kind} = e.{kind} AND v.seq = e.seq)"
        f" OR EXISTS (SELECT 1 FROM pending_{plural} AS p WHERE p.seq = e.seq))"
    )


_OF_RUN: Final = "e.run = ?1"
_LISTED: Final = "e.id IN (SELECT value FROM json_each(?2))"
NEEDED: Final = (
    "SELECT EXISTS ("
    + " UNION ALL ".join(
        _needed(kind, plural, chosen)
        for kind, plural in (("input", "inputs"), ("artefact", "artefacts"))
        for chosen in (_OF_RUN, _LISTED)
    )
    + ") OR EXISTS (SELECT 1 FROM artefact_events AS e CROSS JOIN traces AS t ON t.result = e.result WHERE e.run = ?1)"
    " OR EXISTS (SELECT 1 FROM json_each(?3) AS j CROSS JOIN traces AS t ON t.result = j.value)"
    " OR EXISTS (SELECT 1 FROM input_events WHERE run = ?1 AND id NOT IN (SELECT value FROM json_each(?2)))"
    " OR EXISTS (SELECT 1 FROM artefact_events WHERE run = ?1 AND id NOT IN (SELECT value FROM json_each(?2)))"
    " OR EXISTS (SELECT 1 FROM leases WHERE run = ?1) OR EXISTS (SELECT 1 FROM intents WHERE run = ?1)"
    " OR NOT EXISTS (SELECT 1 FROM runs WHERE run = ?1 AND status IN ('published', 'abandoned'))"
)
DROP_FAILURES: Final = "DELETE FROM failures WHERE seq IN (SELECT seq FROM artefact_events WHERE run = ?)"
DROP_EVENTS: Final = tuple(
    f"DELETE FROM {table} WHERE run = ?" for table in ("input_events", "artefact_events", "run_events")
)
DROP_COMPACTED: Final = "DELETE FROM compacted_runs WHERE run = ?"
FORGET: Final = (
    "DELETE FROM runs WHERE run = ?1 AND status IN ('published', 'abandoned')"
    " AND NOT EXISTS (SELECT 1 FROM input_events WHERE run = ?1)"
    " AND NOT EXISTS (SELECT 1 FROM artefact_events WHERE run = ?1)"
    " AND NOT EXISTS (SELECT 1 FROM run_events WHERE run = ?1) RETURNING 1"
)


class RetirementTables:
    """What old runs leave."""

    def __init__(self, connection: apsw.Connection) -> None:
        self._db = connection

    def ended_before(self, moment: str) -> list[tuple[str, bool]]:
        """Runs that ended before a moment, oldest first; whether each stands for no revision that is kept."""
        return [(run, bool(done)) for run, done in all_rows(self._db.execute(ENDED_BEFORE, (moment,)))]

    def with_results(self) -> set[str]:
        """The runs that made results which can still be reused: one pass over the traces."""
        return {row[0] for row in all_rows(self._db.execute(WITH_RESULTS))}

    def needed(self, run: str, ids: Iterable[str], results: Iterable[str]) -> bool:
        """Whether something still needs one of the rows that `drop_events` would drop."""
        return bool(self._db.execute(NEEDED, (run, json_list(ids), json_list(results))).get)

    def drop_events(self, run: str, ids: Iterable[str], results: Iterable[str]) -> bool:
        """Drop the event rows of an ended run; False, and nothing dropped, where something still needs one of them.

        `ids` are those of the events in the archive of the run, `results` those of the calls that it tells of.
        """
        if self.needed(run, ids, results):
            return False
        self._db.execute("UPDATE compaction SET active = 1")
        self._db.execute(DROP_FAILURES, (run,))
        for statement in DROP_EVENTS:
            self._db.execute(statement, (run,))
        self._db.execute("UPDATE compaction SET active = 0")
        self._db.execute(DROP_COMPACTED, (run,))
        return True

    def forget(self, run: str) -> bool:
        """Drop the record of an ended run; False where it has event rows."""
        return self._db.execute(FORGET, (run,)).get is not None
