"""Reading the event tables: every look-up an index search, every stream a page after a row number."""

# ruff: noqa: S608 (statements are put together from constants)

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Final

import apsw

from renku_store.errors import NotFoundError
from renku_store.metadata.event_tables import RunOutcome
from renku_store.metadata.sqlite.rows import (
    ARTEFACT_COLUMNS,
    INPUT_COLUMNS,
    RUN_COLUMNS,
    TRACE_COLUMNS,
    all_rows,
    artefact_event,
    input_event,
    json_list,
    run_event,
    trace,
)
from renku_store.records.events import ArtefactEvent, InputEvent, RunEvent, Trace
from renku_store.records.ids import revision_name

_INPUT: Final = "e." + INPUT_COLUMNS.replace(", ", ", e.")
_ARTEFACT: Final = "e." + ARTEFACT_COLUMNS.replace(", ", ", e.")

LATEST_INPUT: Final = (
    f"SELECT {_INPUT} FROM latest_inputs AS l CROSS JOIN input_events AS e ON e.seq = l.seq WHERE l.input = ?"
)
LATEST_INPUTS: Final = f"SELECT {_INPUT} FROM latest_inputs AS l CROSS JOIN input_events AS e ON e.seq = l.seq"
LATEST_ARTEFACT: Final = (
    f"SELECT {_ARTEFACT} FROM latest_artefacts AS l CROSS JOIN artefact_events AS e ON e.seq = l.seq"
    " WHERE l.artefact = ?"
)
INPUT_AT: Final = (
    f"SELECT {_INPUT} FROM (SELECT seq FROM revision_inputs WHERE input = ? AND revision <= ?"
    " ORDER BY revision DESC LIMIT 1) AS r CROSS JOIN input_events AS e ON e.seq = r.seq"
)
ARTEFACT_AT: Final = (
    f"SELECT {_ARTEFACT} FROM (SELECT seq FROM revision_artefacts WHERE artefact = ? AND revision <= ?"
    " ORDER BY revision DESC LIMIT 1) AS r CROSS JOIN artefact_events AS e ON e.seq = r.seq"
)
PENDING_INPUTS: Final = (
    f"SELECT {_INPUT} FROM pending_inputs AS p CROSS JOIN input_events AS e ON e.seq = p.seq ORDER BY p.seq"
)
PENDING_ARTEFACTS: Final = (
    f"SELECT {_ARTEFACT} FROM pending_artefacts AS p CROSS JOIN artefact_events AS e ON e.seq = p.seq ORDER BY p.seq"
)
# A person's version stands whatever take is chosen, so that an edit is overruled by another of its own sort only.
OVERRULED: Final = (
    "SELECT e.id FROM pending_inputs AS p CROSS JOIN input_events AS e ON e.seq = p.seq WHERE EXISTS"
    " (SELECT 1 FROM input_events AS n WHERE n.input = e.input AND n.run IS NULL AND n.id > e.id"
    " AND NOT EXISTS (SELECT 1 FROM pending_inputs AS q WHERE q.seq = n.seq)) UNION ALL"
    " SELECT e.id FROM pending_artefacts AS p CROSS JOIN artefact_events AS e ON e.seq = p.seq WHERE EXISTS"
    " (SELECT 1 FROM artefact_events AS n WHERE n.artefact = e.artefact AND n.run IS NULL AND n.id > e.id"
    " AND (n.status IN ('edited', 'edit-undone')) = (e.status IN ('edited', 'edit-undone'))"
    " AND NOT EXISTS (SELECT 1 FROM pending_artefacts AS q WHERE q.seq = n.seq))"
)
TRACES: Final = f"SELECT {TRACE_COLUMNS} FROM traces WHERE signature = ? ORDER BY created_at, number"
WITH_RESULTS: Final = (
    "SELECT j.value FROM json_each(?) AS j WHERE EXISTS (SELECT 1 FROM traces WHERE signature = unhex(j.value))"
    " OR EXISTS (SELECT 1 FROM choices WHERE signature = unhex(j.value))"
)
TAKES: Final = (
    f"SELECT 0, number, {TRACE_COLUMNS} FROM traces WHERE signature = ?1"
    f" UNION ALL SELECT 1, t.number, t.{TRACE_COLUMNS.replace(', ', ', t.')} FROM choices AS c"
    " CROSS JOIN traces AS t ON t.result = c.result WHERE c.signature = ?1"
)
ARTEFACT_REVISIONS: Final = (
    "SELECT revision, lower(hex(hash)), hash IS NULL FROM revision_artefacts WHERE artefact = ? ORDER BY revision"
)
FAILED: Final = "SELECT j.value FROM json_each(?) AS j CROSS JOIN failures AS f ON f.signature = unhex(j.value)"
DURATIONS: Final = (
    "SELECT d.producer, d.seconds FROM json_each(?) AS j CROSS JOIN durations AS d ON d.producer = j.value"
)
WATERMARKS: Final = "SELECT last_seq, last_seq FROM revisions WHERE number = ?"
LAST_SEQ: Final = (
    "SELECT coalesce((SELECT max(seq) FROM input_events), 0), coalesce((SELECT max(seq) FROM artefact_events), 0)"
)
LAST_ID: Final = (
    "SELECT max(coalesce((SELECT max(id) FROM input_events), ''), coalesce((SELECT max(id) FROM artefact_events), ''),"
    " coalesce((SELECT max(id) FROM run_events), ''))"
)

INPUTS_AFTER: Final = f"SELECT {INPUT_COLUMNS} FROM input_events WHERE seq > ?1 ORDER BY seq LIMIT ?2"
INPUTS_OF_RUN: Final = f"SELECT {INPUT_COLUMNS} FROM input_events WHERE run = ?3 AND seq > ?1 ORDER BY seq LIMIT ?2"
INPUTS_OF_ID: Final = f"SELECT {INPUT_COLUMNS} FROM input_events WHERE input = ?3 AND seq > ?1 ORDER BY seq LIMIT ?2"
ARTEFACTS_AFTER: Final = f"SELECT {ARTEFACT_COLUMNS} FROM artefact_events WHERE seq > ?1 ORDER BY seq LIMIT ?2"
ARTEFACTS_OF_RUN: Final = (
    f"SELECT {ARTEFACT_COLUMNS} FROM artefact_events WHERE run = ?3 AND seq > ?1 ORDER BY seq LIMIT ?2"
)
ARTEFACTS_OF_ID: Final = (
    f"SELECT {ARTEFACT_COLUMNS} FROM artefact_events WHERE seq IN ("
    "SELECT seq FROM (SELECT seq FROM artefact_events WHERE artefact = ?3 AND seq > ?1 ORDER BY seq LIMIT ?2)"
    " UNION ALL "
    "SELECT seq FROM (SELECT seq FROM artefact_events WHERE job = ?3 AND seq > ?1 ORDER BY seq LIMIT ?2)"
    ") ORDER BY seq LIMIT ?2"
)
OUTCOMES: Final = "SELECT status, job, result, cost FROM artefact_events WHERE run = ? ORDER BY seq"
RUNS_AFTER: Final = f"SELECT {RUN_COLUMNS} FROM run_events WHERE seq > ?1 ORDER BY seq LIMIT ?2"
RUNS_OF_RUN: Final = f"SELECT {RUN_COLUMNS} FROM run_events WHERE run = ?3 AND seq > ?1 ORDER BY seq LIMIT ?2"


def _made_at(numbered: tuple[Trace, int]) -> tuple[str, int]:
    made, number = numbered
    return made.created_at, number


class EventReading:
    """The reading side of the event tables."""

    def __init__(self, connection: apsw.Connection) -> None:
        self._db = connection
        self.known_id: str | None = None
        """What `last_id` gives, once that is known."""

    def latest_input(self, input_id: str) -> InputEvent | None:
        """The newest value of an input: movie-wide edits and published runs."""
        return next(map(input_event, all_rows(self._db.execute(LATEST_INPUT, (input_id,)))), None)

    def latest_inputs(self) -> dict[str, InputEvent]:
        """The newest value of every input."""
        return {event.input: event for event in map(input_event, all_rows(self._db.execute(LATEST_INPUTS)))}

    def input_at(self, input_id: str, revision: int) -> InputEvent | None:
        """The event that gave an input the value it has in a revision; None where it has none."""
        return next(map(input_event, all_rows(self._db.execute(INPUT_AT, (input_id, revision)))), None)

    def latest_artefact(self, artefact_id: str) -> ArtefactEvent | None:
        """The newest event of an artefact that gave it a value, of whatever run."""
        return next(map(artefact_event, all_rows(self._db.execute(LATEST_ARTEFACT, (artefact_id,)))), None)

    def artefact_at(self, artefact_id: str, revision: int) -> ArtefactEvent | None:
        """The event that gave an artefact the value it has in a revision; None where it has none."""
        return next(map(artefact_event, all_rows(self._db.execute(ARTEFACT_AT, (artefact_id, revision)))), None)

    def inputs_after(
        self, seq: int, limit: int, *, run: str | None = None, about: str | None = None
    ) -> list[InputEvent]:
        """Input events beyond `seq`, oldest first, at most `limit`; of one run, or of one input (`about`), if named."""
        rows = self._page((INPUTS_AFTER, INPUTS_OF_RUN, INPUTS_OF_ID), seq, limit, run, about)
        return [input_event(row) for row in all_rows(rows)]

    def artefacts_after(
        self, seq: int, limit: int, *, run: str | None = None, about: str | None = None
    ) -> list[ArtefactEvent]:
        """Artefact events beyond `seq`, oldest first, at most `limit`; of one run, or one artefact or job (`about`)."""
        rows = self._page((ARTEFACTS_AFTER, ARTEFACTS_OF_RUN, ARTEFACTS_OF_ID), seq, limit, run, about)
        return [artefact_event(row) for row in all_rows(rows)]

    def runs_after(self, seq: int, limit: int, *, run: str | None = None) -> list[RunEvent]:
        """Run events beyond `seq`, oldest first, at most `limit`; of one run only if named."""
        rows = self._page((RUNS_AFTER, RUNS_OF_RUN, ""), seq, limit, run, None)
        return [run_event(row) for row in all_rows(rows)]

    def outcomes(self, run: str) -> list[RunOutcome]:
        """What the artefact events of a run say of jobs, results and costs, in order."""
        return [RunOutcome(*row) for row in all_rows(self._db.execute(OUTCOMES, (run,)))]

    def pending_inputs(self) -> list[InputEvent]:
        """Movie-wide input edits that no published run has taken, oldest first."""
        return [input_event(row) for row in all_rows(self._db.execute(PENDING_INPUTS))]

    def pending_artefacts(self) -> list[ArtefactEvent]:
        """Movie-wide artefact events that no published run has taken, oldest first."""
        return [artefact_event(row) for row in all_rows(self._db.execute(PENDING_ARTEFACTS))]

    def overruled(self) -> set[str]:
        """The ids of pending edits that people made before another one of the same, which is pending no longer."""
        return {row[0] for row in all_rows(self._db.execute(OVERRULED))}

    def traces(self, signature: str) -> list[Trace]:
        """Every result for a signature, oldest first."""
        return [trace(row) for row in all_rows(self._db.execute(TRACES, (bytes.fromhex(signature),)))]

    def takes(self, signature: str) -> tuple[list[Trace], Trace | None]:
        """Every result for a signature, oldest first; and the one that people chose or accepted for it, if any.

        That one may have been made for another signature; it comes with this one.
        """
        made: list[tuple[Trace, int]] = []
        chosen: Trace | None = None
        for is_chosen, number, *row in all_rows(self._db.execute(TAKES, (bytes.fromhex(signature),))):
            if is_chosen:
                chosen = trace(row).replace(signature=signature)
            else:
                made.append((trace(row), number))
        if len(made) > 1:  # seldom, so that it is no matter of the statement
            made.sort(key=_made_at)
        return [each for each, _ in made], chosen

    def with_results(self, signatures: Iterable[str]) -> set[str]:
        """Those of some signatures for which there is a result, of whatever worth, or a choice of one."""
        return {row[0] for row in all_rows(self._db.execute(WITH_RESULTS, (json_list(signatures),)))}

    def artefact_revisions(self, artefact_id: str) -> list[tuple[int, str | None]]:
        """The revisions that changed an artefact, oldest first, with its new hash (None: it was no more)."""
        rows = all_rows(self._db.execute(ARTEFACT_REVISIONS, (artefact_id,)))
        return [(revision, None if gone else digest) for revision, digest, gone in rows]

    def failed(self, signatures: Iterable[str]) -> set[str]:
        """Those of the signatures whose newest attempt failed."""
        given = json_list(signatures)
        return {row[0] for row in all_rows(self._db.execute(FAILED, (given,)))}

    def durations(self, producers: Iterable[str]) -> dict[str, float]:
        """Seconds that a call takes on average, for those of the producers of which that is known."""
        return dict(all_rows(self._db.execute(DURATIONS, (json_list(producers),))))

    def watermarks(self, revision: int) -> tuple[int, int]:
        """The last `seq` when the revision was booked, for inputs and artefacts alike (0, 0 for revision 0).

        Raises `NotFoundError` for one that is not booked.
        """
        if revision == 0:
            return 0, 0
        row: Any = self._db.execute(WATERMARKS, (revision,)).fetchone()
        if row is None:
            raise NotFoundError(
                f"{revision_name(revision)} is not published.", hint="`renku-store log` lists the revisions."
            )
        return row[0], row[1]

    def last_id(self) -> str:
        """The greatest id of an event, as of the first call or the last append here if that was later; "" for none."""
        if self.known_id is None:
            self.known_id = str(self._db.execute(LAST_ID).get)
        return self.known_id

    def last_seq(self) -> tuple[int, int]:
        """The last input and artefact `seq` there is."""
        row: Any = self._db.execute(LAST_SEQ).fetchone()
        return row[0], row[1]

    def _page(
        self, statements: tuple[str, str, str], seq: int, limit: int, run: str | None, about: str | None
    ) -> apsw.Cursor:
        """A page of all, of one run, or about one id, by the statement for each."""
        everything, of_run, of_id = statements
        if run is not None and about is not None:
            raise ValueError("A page is of one run or about one id, not both.")
        if run is not None:
            return self._db.execute(of_run, (seq, limit, run))
        if about is not None:
            return self._db.execute(of_id, (seq, limit, about))
        return self._db.execute(everything, (seq, limit))
