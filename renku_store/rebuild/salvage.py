"""What only the old database knows, carried over into the new one by id.

Edits that no run has archived, events of runs that have not ended, late results, what runs had meant to publish, calls
in flight, and when blobs were verified. The new one has all else from the objects, and those are right where the two
differ. Of a damaged database this gets whatever can still be read. Of a sound one only those events are made into
records whose ids the new one does not have: nearly all come from the archives.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from itertools import islice
from typing import Final, TypeVar

from renku_store import bounds
from renku_store.errors import DamageError
from renku_store.metadata.base import MetadataStore, Reader, Writer
from renku_store.metadata.checks import EventKey, EventKind
from renku_store.records.events import ArtefactEvent, Event, InputEvent, RunEvent, check_event

E = TypeVar("E", InputEvent, ArtefactEvent, RunEvent)
Page = Callable[[Reader, int, int], list[E]]

_DAMAGE: Final = (DamageError, ValueError)
"""What a damaged page gives: an error of the database, or a row that is none of ours."""
_KINDS: Final[tuple[EventKind, ...]] = ("input", "artefact", "run")
_STEPS_MAX: Final = 20_000
"""Rows that are tried one by one behind a damaged place; a damaged page hides a few hundred at most."""


class Salvage:
    """Carries over; `damaged` says whether the old database was found to be, `events` how many only it had."""

    def __init__(self, on_progress: Callable[[int], None]) -> None:
        self.damaged = False
        self.events = 0
        self._on_progress = on_progress

    def examine(self, old: MetadataStore) -> None:
        """Find out whether the old database is damaged; reads all of it, and nothing of the new one."""
        with self._as_far_as_possible(), old.read() as reader:
            self.damaged |= bool(reader.checks.faults(1, thorough=False))

    def pending(self, old: MetadataStore) -> set[str] | None:
        """The ids of the edits that are pending in the old database; None where it cannot tell."""
        edits: list[Event] | None = None
        with self._as_far_as_possible(), old.read() as reader:
            edits = [*reader.events.pending_inputs(), *reader.events.pending_artefacts()]
        return None if edits is None else {edit.id for edit in edits}

    def carry_over(self, old: MetadataStore, new: MetadataStore) -> None:
        """Add to the new database, whose revisions are booked, all that it lacks of the old one, which was examined."""
        pending = self.pending(old)
        with new.write() as writer:
            self._carry_events(old, writer, pending)
            with self._as_far_as_possible(), old.read() as reader:
                _carry_runs(reader, writer)
            with self._as_far_as_possible(), old.read() as reader:
                _carry_intents(reader, writer)
            with self._as_far_as_possible(), old.read() as reader:
                _carry_verifications(reader, writer)
            with self._as_far_as_possible(), old.read() as reader:
                writer.calls.restore(reader.calls.list())

    def _carry_events(self, old: MetadataStore, writer: Writer, pending: set[str] | None) -> None:
        compared = 0
        for keys, events in self._lacking(old, writer):
            fresh = [event for event in events if not _told_anew(event, writer)]
            writer.events.add(fresh)
            if pending is not None:
                # The archive that would tell so may be damaged.
                writer.revisions.take(key.id for key in keys if key.run is None and key.id not in pending)
            self.events += len(fresh)
            compared += len(keys)
            self._on_progress(compared)

    def _lacking(self, old: MetadataStore, writer: Writer) -> Iterator[tuple[list[EventKey], list[Event]]]:
        """The keys of the old events, in groups in their order, each with those events that the new database lacks."""
        if not self.damaged:
            try:
                yield from _lacking_of_sound(old, writer)
            except (*_DAMAGE, KeyError, TypeError, AttributeError):
                self.damaged = True  # as no check of the file has shown: all over again, row by row
            else:
                return
        for events in self._events(old):
            absent = writer.checks.absent(event.id for event in events)
            keys = [EventKey(event.seq or 0, event.id, event.run) for event in events]
            yield keys, [event for event in events if event.id in absent]

    def _events(self, old: MetadataStore) -> Iterator[list[Event]]:
        """The events of the old database, in their order, in groups."""
        inputs = self._rows(old, lambda reader, seq, limit: reader.events.inputs_after(seq, limit))
        artefacts = self._rows(old, lambda reader, seq, limit: reader.events.artefacts_after(seq, limit))
        runs = self._rows(old, lambda reader, seq, limit: reader.events.runs_after(seq, limit))
        events: Iterator[Event] = heapq.merge(inputs, artefacts, runs, key=lambda event: event.seq or 0)
        while group := list(islice(events, bounds.EVENT_PAGE_ROWS)):
            yield group

    def _rows(self, old: MetadataStore, page: Page[E]) -> Iterator[E]:
        """The rows of a table that can be read: where a page cannot, one by one behind the damaged place."""
        after = steps = 0
        while True:
            limit = 1 if steps else bounds.EVENT_PAGE_ROWS
            try:
                with old.read() as reader:
                    events = page(reader, after, limit)
                for event in events:
                    check_event(event)
            except (*_DAMAGE, TypeError, AttributeError):  # a value of another type than its column's
                self.damaged = True
                after += 1 if steps else 0
                steps += 1
                if steps > _STEPS_MAX:
                    return
                continue
            steps = 0
            yield from events
            if len(events) < limit:
                return
            after = events[-1].seq or 0

    @contextmanager
    def _as_far_as_possible(self) -> Iterator[None]:
        try:
            yield
        except _DAMAGE:
            self.damaged = True


def _lacking_of_sound(old: MetadataStore, writer: Writer) -> Iterator[tuple[list[EventKey], list[Event]]]:
    """What `_lacking` gives; `KeyError` where the index of ids leads from an event to none, or to another one."""
    merged = heapq.merge(*(_keys(old, kind) for kind in _KINDS))
    while keys := list(islice(merged, bounds.EVENT_PAGE_ROWS)):
        absent = writer.checks.absent(key.id for key in keys)
        if not absent:  # as most often: all of them came from the archives
            yield keys, []
            continue
        with old.read() as reader:
            found = reader.checks.events_by_id(absent)
        lacking = [(key, found[key.id]) for key in keys if key.id in absent]
        for key, event in lacking:
            if EventKey(event.seq or 0, event.id, event.run) != key:
                raise KeyError(key.id)
            check_event(event)
        yield keys, [event for _, event in lacking]


def _keys(old: MetadataStore, kind: EventKind) -> Iterator[EventKey]:
    after = 0
    while True:
        with old.read() as reader:
            keys = reader.checks.keys_after(kind, after, bounds.EVENT_PAGE_ROWS)
        yield from keys
        if len(keys) < bounds.EVENT_PAGE_ROWS:
            return
        after = keys[-1].seq


def _told_anew(event: Event, writer: Writer) -> bool:
    """Whether the new index says the same by an event of its own: that a run has published."""
    if not isinstance(event, RunEvent) or event.kind != "published":
        return False
    record = writer.runs.get(event.run)
    return record is not None and record.status == "published"


def _carry_runs(reader: Reader, writer: Writer) -> None:
    """Runs as they were, without leases; those of which a manifest says that they have published are right as they are.

    Numbers of events are others by now: a run that is taken up again plans anew.
    """
    for run in reader.runs.list():
        present = writer.runs.get(run.run)
        if present is None:
            writer.runs.create(run.run, base_revision=run.base_revision, edits_through=0, created_at=run.created_at)
        elif present.status == "published":
            continue
        writer.runs.update(
            run.run,
            status=run.status,
            base_revision=run.base_revision,
            revision=run.revision,
            ended_at=run.ended_at,
            elsewhere=run.elsewhere,
        )


def _carry_intents(reader: Reader, writer: Writer) -> None:
    newest = writer.revisions.newest()
    for intent in reader.revisions.intents():
        if newest is None or intent.number > newest.number:
            writer.revisions.put_intent(intent)


def _carry_verifications(reader: Reader, writer: Writer) -> None:
    after = (-1, "")
    while page := reader.checks.verified_before(2**62, after, bounds.EVENT_PAGE_ROWS):
        _keep_of_those_there_are(page, writer)
        after = page[-1]


def _keep_of_those_there_are(page: Iterable[tuple[int, str]], writer: Writer) -> None:
    times = list(page)
    there = writer.blobs.get(digest for _, digest in times)
    writer.checks.keep_verified((moment, digest) for moment, digest in times if digest in there)
