"""The log of a movie: appending what happened, and finding values and results again. Keeps invariant 3.

A value is put as a blob before the event that names it is appended; blobs that other events name are seen, and made
live, in the transaction that appends them. Streams give the events of compacted runs back from their archives.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from itertools import islice
from typing import Final

from renku_store import bounds
from renku_store.announcing import Announcer
from renku_store.clock import Clock, IdSource, SteadyClock, timestamp
from renku_store.combining import Combined
from renku_store.encoding import stored_json
from renku_store.errors import (
    BlobMissingError,
    InvalidIdError,
    InvalidValueError,
    NotFoundError,
    StoreError,
    UnusableError,
)
from renku_store.hashing import canonical_json, exact_numbers, hash_bytes, parse_json
from renku_store.metadata.base import MetadataStore, Reader, Writer
from renku_store.metadata.event_tables import RunOutcome
from renku_store.metadata.history import ReadArchive, history, rows_after
from renku_store.metadata.traces import usable_trace
from renku_store.metadata.upkeep import KINDS, Selection
from renku_store.records._base import Json, RecordError
from renku_store.records.blob import BlobRef
from renku_store.records.events import ArtefactEvent, Event, InputEvent, RunEvent, Trace, check_made
from renku_store.records.ids import check_hash, check_id, check_run_id, revision_number

_AFTER_ALL: Final = "~"
"""Greater than any id: nothing that is archived came after a revision whose publishing is not in the log."""
_GROUP_MAX: Final = 256
"""So many appends of threads that wait share one commit."""


class EventLog:
    """The events of one movie; `read_archive` gives those of a compacted run.

    `announcer` tells machines that do not share the index what people's edits need.
    """

    def __init__(
        self,
        metadata: MetadataStore,
        put: Callable[[bytes], BlobRef],
        read: Callable[[str], bytes],
        revive: Callable[[Writer, Iterable[str]], None],
        clock: Clock,
        random_bytes: Callable[[int], bytes],
        read_archive: ReadArchive,
        announcer: Announcer | None = None,
    ) -> None:
        self._metadata = metadata
        self._announcer = announcer
        self._put = put
        self._read = read
        self._revive = revive
        self.clock = SteadyClock(clock, metadata.last_id)
        """When something happens, as the log tells it: never before what the log has already."""
        self._read_archive = read_archive
        self._ids = IdSource(self.clock.now, random_bytes)
        self._appending = Combined(self._append_groups, _GROUP_MAX, _of_one)

    def new_id(self) -> str:
        """A new id for an event, a run or a result: a UUID of version 7, greater than those before it."""
        return self._ids.next()

    def new_ids(self, count: int) -> list[str]:
        """So many new ids, in their order."""
        return self._ids.take(count)

    # Appending

    def append_input(
        self, input_id: str, value: Json, *, run: str | None = None, edited_by: str = "user"
    ) -> InputEvent:
        """Append a new value of an input, durable on return: movie-wide, or private to `run`.

        Raises `InvalidIdError`, and `InvalidValueError` for a value that has no canonical JSON.
        """
        return self.append_inputs({input_id: value}, run=run, edited_by=edited_by)[0]

    def append_inputs(
        self, values: Mapping[str, Json], *, run: str | None = None, edited_by: str = "user"
    ) -> list[InputEvent]:
        """Append new values of several inputs, all or none."""
        encoded = {check_id("input", key): canonical_json(value) for key, value in values.items()}
        now = timestamp(self.clock.now())
        events = [self._input_event(key, data, self.new_id(), run, edited_by, now) for key, data in encoded.items()]
        return [event for event in self._append(events) if isinstance(event, InputEvent)]

    def append_artefact(self, event: ArtefactEvent) -> ArtefactEvent:
        """Append one artefact event; `BlobMissingError` if it names a blob that is not there."""
        (appended,) = self._append([self._checked(event)])
        return appended if isinstance(appended, ArtefactEvent) else event

    def append_many(self, events: Iterable[Event]) -> list[Event]:
        """Append events in one transaction, durable on return, and return them with their numbers, in order.

        An event whose id is there already is left as it is, whatever is given: what is stored comes back. (Once it was
        compacted away nobody knows its id any more: then it is a new one.)
        Raises `InvalidIdError`, `InvalidValueError` for an input event whose hash is not that of its value, and
        `BlobMissingError` for an event that names a blob that is not there.
        """
        return self._append([self._checked(event) for event in events])

    def append_unless_later(self, events: Sequence[ArtefactEvent], number: int) -> None:
        """Append movie-wide events, durable on return, but for those on artefacts that have one after a number (`seq`).

        What came meanwhile is the later word. Raises what `append_many` raises.
        """
        checked = [self._checked(event) for event in events]
        self._announce(checked)
        with self._metadata.write() as writer:
            later = {event.artefact for event in writer.events.pending_artefacts() if (event.seq or 0) > number}
            wanted = [event for event in checked if isinstance(event, ArtefactEvent) and event.artefact not in later]
            if wanted:
                self._revive(writer, _named_blobs(wanted))
                writer.events.append(wanted)

    def _append(self, events: Sequence[Event]) -> list[Event]:
        if not events:
            return []
        if self._metadata.is_within:
            raise RuntimeError("Events cannot be appended within a transaction of the same thread.")
        self._announce(events)
        try:
            return self._appending.ask(events)
        except BlobMissingError:  # an edit that there is not needs nothing
            if self._announcer is not None:
                with suppress(StoreError):  # what stays ends by its age
                    self._announcer.withdraw(event.id for event in events if event.run is None)
            raise

    def _append_groups(self, groups: Sequence[Sequence[Event]]) -> list[list[Event]]:
        """Append what several threads hand over at once, in one transaction and as one list: statements are shared."""
        events = [event for group in groups for event in group]
        named = _named_blobs(events)
        with self._metadata.write() as writer:
            if named:
                self._revive(writer, named)
            appended = iter(writer.events.append(events))
        return [[*islice(appended, len(group))] for group in groups]

    def _announce(self, events: Sequence[Event]) -> None:
        """Tell other machines what the movie-wide edits among these need: a revision may take them in weeks."""
        edits = [event for event in events if event.run is None]
        if not edits or self._announcer is None or not self._announcer.needed:
            return
        for edit in edits:
            if blobs := _named_blobs([edit]):
                self._announcer.announce_edit(edit.id, blobs)
        self._announcer.wait_for_sweeps(_named_blobs(edits))

    def announce_again(self, said: Mapping[str, float]) -> None:
        """Tell other machines that edits are still pending here of which that was said long ago, or is said no more.

        `said`: when, by the id of the edit, in Unix seconds by the storage's clock.
        """
        if self._announcer is None or not self._announcer.needed:
            return
        needing = [(edit.id, blobs) for edit in self.pending() if (blobs := _named_blobs([edit]))]
        before = self._announcer.now() - bounds.EDIT_INTENT_RENEW_SECONDS if needing else 0.0
        for edit, blobs in needing:
            if said.get(edit, 0.0) < before:
                self._announcer.announce_edit(edit, blobs)

    def _checked(self, event: Event) -> Event:
        if isinstance(event, ArtefactEvent):
            check_id("artefact", event.artefact)
            try:
                check_made(event)
            except RecordError as error:
                raise InvalidValueError(
                    f"The event {event.id} of {event.artefact} cannot be kept: {error}.", hint="Correct that field."
                ) from error
            return event
        if not isinstance(event, InputEvent):
            return event
        check_id("input", event.input)
        if event.blob is not None:
            if event.blob != event.hash:
                raise _other_hash(event)
            return event
        checked = self._input_event(
            event.input,
            canonical_json(event.value),
            event.id,
            event.run,
            event.edited_by,
            event.created_at,
        )
        if checked.hash != event.hash:
            raise _other_hash(event)
        return checked

    def _input_event(
        self, input_id: str, encoded: bytes, event_id: str, run: str | None, edited_by: str, now: str
    ) -> InputEvent:
        """The event of a value: inline if short, else naming the blob that it is put as."""
        large = len(encoded) > bounds.INLINE_MAX_BYTES
        return InputEvent(
            id=event_id,
            run=run,
            input=input_id,
            hash=hash_bytes(encoded),
            value=None if large else parse_json(encoded),
            blob=self._put(encoded).hash if large else None,
            edited_by=edited_by,
            created_at=now,
        )

    # Finding

    def latest_input(self, input_id: str, revision: str | None = None) -> InputEvent | None:
        """The newest value of an input, or the one it has in a revision; None where it has none.

        Raises `NotFoundError` for a revision that is not published, or has expired.
        """
        with self._metadata.read() as reader:
            if revision is None:
                return reader.events.latest_input(input_id)
            return reader.events.input_at(input_id, _kept(reader, revision))

    def latest_artefact(self, artefact_id: str, revision: str | None = None) -> ArtefactEvent | None:
        """The newest event that gave an artefact a value, or the one it has in a revision; None where it has none.

        Raises `NotFoundError` for a revision that is not published, or has expired.
        """
        with self._metadata.read() as reader:
            if revision is None:
                return reader.events.latest_artefact(artefact_id)
            return reader.events.artefact_at(artefact_id, _kept(reader, revision))

    def read_value(self, event: InputEvent) -> Json:
        """The value of an input event, wherever it is kept. Raises what reading a blob raises."""
        if event.blob is None:
            return exact_numbers(event.value)
        return stored_json(self._read(event.blob), event.blob)

    def find_trace(self, signature: str) -> Trace | None:
        """The newest result for a signature whose blobs are all live; None where there is none."""
        check_hash(signature)
        with self._metadata.read() as reader:
            return usable_trace(reader, signature)

    def durations(self, producers: Iterable[str]) -> dict[str, float]:
        """Seconds that a call takes on average, the last twenty or so, for those of the producers that are known."""
        with self._metadata.read() as reader:
            return reader.events.durations(producers)

    def failed(self, signatures: Iterable[str]) -> set[str]:
        """Those of the signatures whose newest attempt failed."""
        with self._metadata.read() as reader:
            return reader.events.failed(signatures)

    def pending(self) -> list[Event]:
        """The movie-wide edits, of inputs and of artefacts, that no published run has taken, oldest first."""
        with self._metadata.read() as reader:
            events: list[Event] = [*reader.events.pending_inputs(), *reader.events.pending_artefacts()]
        return sorted(events, key=_number)

    def spent(self, run: str) -> Iterable[RunOutcome]:
        """What each artefact event of a run says of its job, its result and its cost, in order.

        Raises, while it is read, `DamageError` where the run was compacted and its archive is gone or damaged.
        """
        with self._metadata.read() as reader:
            if not reader.upkeep.compacted(run):
                return reader.events.outcomes(run)
        events = (event for event in self.stream(run=run) if isinstance(event, ArtefactEvent))
        return (RunOutcome(event.status, event.job, event.result, event.cost) for event in events)

    # Streams: a page at a time, so that neither memory nor the write-ahead log grows with a slow reader.

    def stream_inputs(self, since_revision: str | None = None) -> Iterator[InputEvent]:
        """Input events, oldest first; only those appended after a revision was published, if one is named.

        Raises, when the first event is asked for, `NotFoundError` if that revision is not published, and what `stream`
        raises.
        """
        for event in history(self._metadata, self._read_archive, self._since("input", since_revision)):
            if isinstance(event, InputEvent):
                yield event

    def stream_artefacts(self, since_revision: str | None = None) -> Iterator[ArtefactEvent]:
        """Artefact events, oldest first; only those appended after a revision was published, if one is named.

        Raises, when the first event is asked for, `NotFoundError` if that revision is not published, and what `stream`
        raises.
        """
        for event in history(self._metadata, self._read_archive, self._since("artefact", since_revision)):
            if isinstance(event, ArtefactEvent):
                yield event

    def stream(self, *, run: str | None = None, about: str | None = None, after: int = 0) -> Iterator[Event]:
        """Events of every kind in the order in which they became durable; only rows from beyond a number `after`.

        Only those of one run if `run` is given; only those about one input, artefact, job or run if `about` is; not
        both. To follow the log, ask again with the greatest `seq` so far: none is missed, and none comes twice.

        Where runs have been compacted, their events come from the archives, without `seq`, and all events in the order
        of their ids, which is that of time. Raises `DamageError` where such an archive is gone or damaged.
        """
        if about is not None and run is None and _is_run(about):
            run, about = about, None
        if run is not None and about is not None:
            raise ValueError("A stream is of one run or about one id, not both.")
        kinds = KINDS if about is None else KINDS - {"run"}
        selection = Selection(kinds, run, about)
        if after:
            return rows_after(self._metadata, selection, after)
        return history(self._metadata, self._read_archive, selection)

    def _since(self, kind: str, revision: str | None) -> Selection:
        """Events of one kind; of those that are archived, those that are later than the revision's publishing."""
        if revision is None:
            return Selection(frozenset({kind}))
        with self._metadata.read() as reader:
            number = _booked(reader, revision)
            published = reader.upkeep.publishing_event(number)
            return Selection(
                frozenset({kind}), after=reader.events.watermarks(number)[0], after_id=published or _AFTER_ALL
            )


def _other_hash(event: InputEvent) -> InvalidValueError:
    return InvalidValueError(
        f"The event {event.id} of the input {event.input} names another hash than its value's.",
        hint="`hash_value` gives that.",
    )


def _named_blobs(events: Iterable[Event]) -> list[str]:
    """The blobs that events name: seen, and made live, in the transaction that appends them (invariants 3 and 9)."""
    named: list[str] = []
    for event in events:
        if isinstance(event, InputEvent) and event.blob is not None:
            named.append(event.blob)
        elif isinstance(event, ArtefactEvent) and event.value is not None and event.value.blob is not None:
            named.append(event.value.blob)
    return named


def _number(event: InputEvent | ArtefactEvent | RunEvent) -> int:
    return event.seq or 0


def _is_run(text: str) -> bool:
    try:
        check_run_id(text)
    except InvalidIdError:
        return False
    return True


def _booked(reader: Reader, revision: str) -> int:
    number = revision_number(revision)
    if reader.revisions.get(number) is None:
        raise NotFoundError(
            f"{revision} is not published, or was damaged when the index was made.",
            hint="`renku-store log` lists the revisions; `renku-store rebuild` takes in one that was restored.",
        )
    return number


def _kept(reader: Reader, revision: str) -> int:
    """The number of a published revision whose values can still be told."""
    number = _booked(reader, revision)
    row = reader.revisions.get(number)
    if row is not None and row.expired:
        raise NotFoundError(f"{revision} has expired.", hint="`renku-store log` lists the revisions.")
    return number


def _of_one(error: Exception) -> bool:
    """Whether an error may be the matter of one append, such as a blob that is missing, and not of those beside it."""
    return not isinstance(error, UnusableError)
