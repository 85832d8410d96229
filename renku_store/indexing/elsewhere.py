"""Taking in what other machines have done and not published, where each has an index of its own.

Keeps invariant 10 as far as that goes: what a run of another machine has made is found by its signature, once the run
has ended, published or not. Its archive tells; nothing else of that run is here, so it is never taken up. Cost grows
with what is new: one listing says which archives are, or have been written anew.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from typing import TypeGuard

from msgspec import Struct

from renku_store.archives import ArchiveStore
from renku_store.blobs import BlobStore
from renku_store.clock import timestamp
from renku_store.drivers.base import ObjectStat
from renku_store.metadata.base import MetadataStore, Writer
from renku_store.records.events import ArtefactEvent, Event, InputEvent, RunEvent
from renku_store.versions import DECISIONS

Decision = InputEvent | ArtefactEvent

_OVER = frozenset({"abandoned", "unchanged", "rollback", "migrated"})
"""The last steps of runs that nobody goes on with."""
_YET_TO_COME = frozenset({"rollback", "migrated"})
"""The steps of runs that are about to publish, or have done so in a revision that cannot be read."""
_LATEST_MS = 253_402_300_799_999
"""The end of the year 9999: an id may say anything."""


class Told(Struct, frozen=True):
    """What the archive of a run that has no revision tells of it: its base, when it began, and its last step."""

    run: str
    base_revision: str | None = None
    began: str = ""
    last: str | None = None
    last_at: str = ""

    @property
    def ended_at(self) -> str | None:
        """When it ended for good. A rollback may be that of a revision that cannot be read, or is yet to come."""
        return self.last_at if self.last in _OVER - _YET_TO_COME else None

    def note(self, writer: Writer, *, elsewhere: bool) -> None:
        """Let the index have the run as it is told, unless it has published. One that tells no step is not ours."""
        record = writer.runs.get(self.run)
        if (self.last is None and not elsewhere) or (record is not None and record.status == "published"):
            return
        if record is None:
            base, began = self.base_revision, self.began
            writer.runs.create(self.run, base_revision=base, edits_through=0, created_at=began, elsewhere=elsewhere)
        status = "abandoned" if self.last in _OVER else "failed"
        writer.runs.update(self.run, status=status, ended_at=self.ended_at)


def told_by(run: str, events: Sequence[Event]) -> Told:
    """What the events of a run's archive tell of it."""
    steps = [event for event in events if isinstance(event, RunEvent)]
    if not steps:
        return Told(run, began=_made_at(run))
    base = next((step.data["base"] for step in reversed(steps) if "base" in step.data), None)
    revision = base if isinstance(base, str) else None
    return Told(run, revision, steps[0].created_at, steps[-1].kind, steps[-1].created_at)


def _made_at(run: str) -> str:
    """When the id of a run was made: that of a UUID of version 7."""
    milliseconds = min(int(run.replace("-", "")[:12], 16), _LATEST_MS)
    return timestamp(datetime.fromtimestamp(milliseconds / 1000, UTC))


def blobs_of(events: Iterable[Event]) -> set[str]:
    """The blobs that events name."""
    named = {event.blob for event in events if isinstance(event, InputEvent)}
    named |= {event.value.blob for event in events if isinstance(event, ArtefactEvent) and event.value}
    return {digest for digest in named if digest is not None}


def changed_archives(metadata: MetadataStore, archives: ArchiveStore) -> dict[str, ObjectStat]:
    """By run the archives of other machines' runs that are new, or have changed, as a listing tells of them."""
    with metadata.read() as reader:
        known = reader.runs.seen_archives()
        runs = {record.run: record for record in reader.runs.list()}
    changed: dict[str, ObjectStat] = {}
    for run, found in sorted(archives.present().items()):
        record = runs.get(run)
        ours = record is not None and (not record.elsewhere or record.status == "published")
        if not ours and known.get(run) != (found.size, found.modified):
            changed[run] = found
    return changed


def take_in(
    metadata: MetadataStore,
    blobs: BlobStore,
    changed: Mapping[str, ObjectStat],
    readable: Callable[[str], Iterator[list[Event]]],
    new_id: Callable[[], str],
) -> None:
    """Index archives of other machines' runs; `readable` gives their events in groups, `new_id` ids of events."""
    if len(changed) > 1:  # all are asked for at once, and then known where each archive asks
        blobs.notice({digest for run in changed for events in readable(run) for digest in blobs_of(events)})
    for run, found in changed.items():
        told = take_in_events(metadata, blobs, run, readable, new_id)
        with metadata.write() as writer:
            told.note(writer, elsewhere=True)
            writer.runs.saw_archive(run, found.size, found.modified)


def take_in_events(
    metadata: MetadataStore,
    blobs: BlobStore,
    run: str,
    readable: Callable[[str], Iterator[list[Event]]],
    new_id: Callable[[], str],
) -> Told:
    """Index the events in the archive of one run, and the blobs that they name; gives what they tell of the run."""
    steps: list[Event] = []
    for events in readable(run):
        blobs.notice(blobs_of(events))
        with metadata.write() as writer:
            later = _decided_later(writer, events)
            new = writer.checks.absent(event.id for event in events)
            writer.events.add(events)
            writer.events.add([event.replace(id=new_id(), seq=None) for event in later])
            # What a revision has taken since was decided later: an older edit would be published over it.
            writer.revisions.take(new & writer.events.overruled())
        steps += [event for event in events if isinstance(event, RunEvent)]
    return told_by(run, steps)


def _decided_later(writer: Writer, events: Iterable[Event]) -> list[Decision]:
    """The edits pending here of what some of these, which are new here, had decided before.

    Appended behind those they would count as overruled, though people made them later: so they are said again.
    """
    taken_in = {_subject(event): event for event in events if _is_decision(event)}
    if not taken_in:
        return []
    absent = writer.checks.absent(event.id for event in taken_in.values())
    pending: list[Decision] = [*writer.events.pending_inputs(), *writer.events.pending_artefacts()]
    present = {_subject(event): event for event in pending if _is_decision(event)}
    told = [(present.get(subject), event.id) for subject, event in taken_in.items() if event.id in absent]
    return [own for own, before in told if own is not None and own.id > before]


def _is_decision(event: Event) -> TypeGuard[Decision]:
    if isinstance(event, ArtefactEvent):
        return event.run is None and event.status in DECISIONS
    return isinstance(event, InputEvent) and event.run is None


def _subject(event: Decision) -> tuple[str, str]:
    return event.type, event.input if isinstance(event, InputEvent) else event.artefact
