"""Appending events, and what is derived from them in the same transaction. Keeps invariants 4 and 10.

Row numbers are given out here, beyond the last one ever used: SQLite's own record of that survives the removal of rows.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from operator import attrgetter
from typing import Any, Final, TypeVar

import orjson

from renku_store.metadata.sqlite.events import LAST_ID, EventReading
from renku_store.metadata.sqlite.rows import (
    ARTEFACT_COLUMNS,
    INPUT_COLUMNS,
    RUN_COLUMNS,
    Row,
    all_rows,
    artefact_event,
    artefact_row,
    input_event,
    input_row,
    json_list,
    run_event,
    run_row,
    trace_row,
)
from renku_store.records.events import ArtefactEvent, Event, InputEvent, RunEvent

MADE: Final = frozenset({"succeeded", "kept"})
"""What a call that gave a result comes to; `kept` where somebody else had taken its place (invariant 10)."""

CHOSEN: Final = frozenset({"chosen", "accepted"})
"""What names a result that people want for a signature."""

_id: Final[Callable[[Event], str]] = attrgetter("id")

E = TypeVar("E", InputEvent, ArtefactEvent, RunEvent)
Numbered = list[tuple[int, E]]


def _insert(table: str, columns: str) -> str:
    places = ", ".join("?" * (columns.count(",") + 1))
    return f"INSERT INTO {table} ({columns}) VALUES ({places}) ON CONFLICT (id) DO NOTHING"  # noqa: S608 (constants)


INSERT: Final = {
    "input_events": _insert("input_events", INPUT_COLUMNS),
    "artefact_events": _insert("artefact_events", ARTEFACT_COLUMNS),
    "run_events": _insert("run_events", RUN_COLUMNS),
}
KNOWN: Final = {
    table: f"SELECT e.id, e.seq FROM json_each(?) AS j CROSS JOIN {table} AS e ON e.id = j.value"  # noqa: S608 (constants)
    for table in INSERT
}
READ: Final[Mapping[str, Callable[[Row], Event]]] = {
    f"SELECT {columns} FROM {table} WHERE seq IN (SELECT value FROM json_each(?))": event  # noqa: S608 (constants)
    for table, columns, event in (
        ("input_events", INPUT_COLUMNS, input_event),
        ("artefact_events", ARTEFACT_COLUMNS, artefact_event),
        ("run_events", RUN_COLUMNS, run_event),
    )
}
LAST_USED: Final = f"SELECT coalesce(max(seq), 0), ({LAST_ID}), 0, 0 FROM sqlite_sequence"  # noqa: S608 (constants)
BEFORE: Final = (
    f"SELECT coalesce(max(seq), 0), ({LAST_ID}), EXISTS (SELECT 1 FROM failures),"  # noqa: S608 (constants)
    " EXISTS (SELECT 1 FROM choices) FROM sqlite_sequence"
)
"""As `LAST_USED`; and whether any failure is noted, or any choice, that a result could end."""
POINT_INPUT: Final = (
    "INSERT INTO latest_inputs (input, seq) VALUES (?, ?)"
    " ON CONFLICT (input) DO UPDATE SET seq = excluded.seq WHERE excluded.seq > seq"
)
POINT_ARTEFACT: Final = (
    "INSERT INTO latest_artefacts (artefact, seq) VALUES (?, ?)"
    " ON CONFLICT (artefact) DO UPDATE SET seq = excluded.seq WHERE excluded.seq > seq"
)
ADD_TRACE: Final = (
    "INSERT INTO traces (result, signature, run, job, producer, outputs, cost, request_id, kept, created_at,"
    " duration_seconds, source) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"
    " ON CONFLICT (result) DO UPDATE SET outputs = json_patch(outputs, excluded.outputs), cost = cost + excluded.cost,"
    " request_id = coalesce(request_id, excluded.request_id)"
)
ADD_FAILURE: Final = (
    "INSERT INTO failures (signature, seq) VALUES (?, ?) ON CONFLICT (signature) DO UPDATE SET seq = excluded.seq"
)
ADD_PENDING_INPUT: Final = "INSERT INTO pending_inputs (seq) VALUES (?)"
ADD_PENDING_ARTEFACT: Final = "INSERT INTO pending_artefacts (seq) VALUES (?)"
DROP_FAILURE: Final = "DELETE FROM failures WHERE signature = ?"
ADD_CHOICE: Final = (
    "INSERT INTO choices (signature, result, chosen_at) SELECT ?1, ?2, ?3 WHERE NOT EXISTS (SELECT 1 FROM traces"
    " WHERE signature = ?1 AND kept = 0 AND created_at > ?3) ON CONFLICT (signature) DO UPDATE"
    " SET result = excluded.result, chosen_at = excluded.chosen_at WHERE excluded.chosen_at >= chosen_at"
)
END_CHOICE: Final = "DELETE FROM choices WHERE signature = ? AND chosen_at < ?"


class EventTables(EventReading):
    """The event tables, reading and writing."""

    def append(self, events: Sequence[Event]) -> list[Event]:
        """Append events, derive look-ups and traces from them, and return them with their `seq`, in the order given.

        Events of all kinds are numbered in one row. Those whose `id` is already there are left alone: what is stored
        comes back instead.
        """
        given, known = self._appended(events)
        if not known:
            return [event.replace(seq=seq) for seq, event in given]
        numbers = orjson.dumps([*set(known.values())]).decode()
        rows = (
            (event, row)
            for statement, event in READ.items()
            for row in all_rows(self._db.execute(statement, (numbers,)))
        )
        stored = {row[0]: event(row) for event, row in rows}
        return [stored[known[seq]] if seq in known else event.replace(seq=seq) for seq, event in given]

    def add(self, events: Sequence[Event]) -> None:
        """Append events, as `append`, for who does not ask for their `seq`."""
        self._appended(events)

    def _appended(self, events: Sequence[Event]) -> tuple[list[tuple[int, Event]], dict[int, int]]:
        """Append events; gives them with new numbers, and for the numbers of those that were there the old ones."""
        kinds = {type(event) for event in events}
        before: Any = self._db.execute(BEFORE if ArtefactEvent in kinds else LAST_USED).get
        last, last_id, any_failure, any_choice = before
        self.known_id = max([last_id, *map(_id, events)])
        given = list(enumerate(events, last + 1))
        known: dict[int, int] = {}
        if InputEvent in kinds:
            inputs = [(seq, event) for seq, event in given if isinstance(event, InputEvent)]
            self._derive_inputs(self._insert_new("input_events", inputs, input_row, known))
        if ArtefactEvent in kinds:
            artefacts = [(seq, event) for seq, event in given if isinstance(event, ArtefactEvent)]
            new = self._insert_new("artefact_events", artefacts, artefact_row, known)
            statuses = {event.status for _, event in new}
            self._derive_artefacts(new)
            if any_failure or "failed" in statuses:
                self._derive_failures(new, any_failure=bool(any_failure))
            # Last: what ended one may be told in the same breath.
            if not CHOSEN.isdisjoint(statuses):
                self._derive_choices(new)
            elif any_choice:
                self._end_choices(new)
        if RunEvent in kinds:
            runs = [(seq, event) for seq, event in given if isinstance(event, RunEvent)]
            self._insert_new("run_events", runs, run_row, known)
        return given, known

    def _insert_new(
        self, table: str, given: Numbered[E], row: Callable[[E, int], Row], known: dict[int, int]
    ) -> Numbered[E]:
        """Insert events and return those that were not there yet; of others note the `seq` that they have."""
        before = self._db.total_changes()
        self._db.executemany(INSERT[table], [row(event, seq) for seq, event in given])
        if self._db.total_changes() - before == len(given):
            return given
        ids = json_list(event.id for _, event in given)
        stands: dict[str, int] = dict(all_rows(self._db.execute(KNOWN[table], (ids,))))
        known.update((seq, stands[event.id]) for seq, event in given if stands[event.id] != seq)
        return [(seq, event) for seq, event in given if seq not in known]

    def _derive_inputs(self, new: Numbered[InputEvent]) -> None:
        # A run's private inputs are nobody else's until it publishes: `book` moves the pointers then.
        movie_wide = {seq: event.input for seq, event in new if event.run is None}
        newest = {name: seq for seq, name in movie_wide.items()}
        self._many(POINT_INPUT, newest.items())
        self._many(ADD_PENDING_INPUT, [(seq,) for seq in movie_wide])

    def _derive_artefacts(self, new: Numbered[ArtefactEvent]) -> None:
        newest = {event.artefact: seq for seq, event in new if event.value is not None and event.status != "kept"}
        self._many(POINT_ARTEFACT, newest.items())
        self._many(ADD_PENDING_ARTEFACT, [(seq,) for seq, event in new if event.run is None])
        results: dict[str, list[ArtefactEvent]] = {}
        for _, event in new:
            if event.status in MADE and event.signature and event.result and event.value is not None:
                results.setdefault(event.result, []).append(event)
        self._many(ADD_TRACE, [trace_row(outputs) for outputs in results.values()])

    def _derive_choices(self, new: Numbered[ArtefactEvent]) -> None:
        for _, event in new:
            if event.signature is None or event.result is None:
                continue
            if event.status in CHOSEN:
                row = (bytes.fromhex(event.signature), event.result, event.created_at)
                self._db.execute(ADD_CHOICE, row)
            elif event.status == "succeeded":
                self._db.execute(END_CHOICE, (bytes.fromhex(event.signature), event.created_at))

    def _end_choices(self, new: Numbered[ArtefactEvent]) -> None:
        """Derive choices of events among which there is none."""
        made = (event for _, event in new if event.status == "succeeded" and event.result)
        ended = dict.fromkeys((event.signature, event.created_at) for event in made)
        self._db.executemany(END_CHOICE, [(bytes.fromhex(known), at) for known, at in ended if known is not None])

    def _derive_failures(self, new: Numbered[ArtefactEvent], *, any_failure: bool) -> None:
        attempts = {
            bytes.fromhex(event.signature): seq if event.status == "failed" else None
            for seq, event in new
            if event.signature and (event.status == "failed" or event.status in MADE)
        }
        self._many(ADD_FAILURE, [item for item in attempts.items() if item[1] is not None])
        if any_failure:
            self._many(DROP_FAILURE, [(key,) for key, seq in attempts.items() if seq is None])

    def _many(self, statement: str, rows: Collection[Row]) -> None:
        """A statement for each row; nothing at all where there is none."""
        if rows:
            self._db.executemany(statement, rows)
