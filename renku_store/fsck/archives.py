"""Invariant 4 over objects: archives can be read, and say of every event what its row says.

A run that is archived has its events in both places, until compaction takes their rows away: then it is listed among
the compacted runs, with the hash of the archive that holds them. An old run that stands for no kept revision loses all
of its rows at once, then its archive, then its record.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import suppress
from itertools import islice

from renku_store import bounds
from renku_store.archives import archive_path
from renku_store.errors import BlobMissingError, DamageError, StoreError, UnsupportedFormatError
from renku_store.fsck.examination import Examination, Published
from renku_store.fsck.reports import REBUILD, REPAIR, REPAIR_FROM
from renku_store.fsck.revisions import archive_fault
from renku_store.hashing import hash_bytes
from renku_store.metadata.base import Reader
from renku_store.records._base import Json
from renku_store.records.events import Event, RunEvent
from renku_store.records.ids import revision_name, revision_number


def check_archives(exam: Examination) -> None:
    """Read every archive that there is, or that a revision names."""
    damaged = set()
    for count, published in enumerate(exam.chain.values(), 1):
        exam.looked()
        wrong = archive_fault(exam, published)
        if wrong is not None and published.archive is not None:
            damaged.add(published.run)
            revisions = [revision_name(published.number)]
            repair = REPAIR if reencoded(exam, published) is not None else REPAIR_FROM
            exam.findings.problem(5, published.archive.name, wrong, repair, revisions=revisions)
        exam.say("archives", count)
    nothing: dict[str, str] = {}
    compacted = exam.ask(lambda reader: reader.checks.compacted_runs(), nothing)
    for count, run in enumerate(exam.movie.archives.runs(), 1):
        if run not in damaged:
            exam.looked()
            _check_archive(exam, run, compacted.get(run))
        exam.say("archives", count)
    for run in exam.settled(lambda: _missing(exam)):
        exam.findings.problem(4, archive_path(run), f"The archive of the compacted run {run} is missing.", REPAIR_FROM)


def _missing(exam: Examination) -> list[str]:
    """Compacted runs without an archive: an old one that is let go stops being one first."""
    nothing: dict[str, str] = {}
    compacted = exam.ask(lambda reader: reader.checks.compacted_runs(), nothing)
    return [run for run in compacted if exam.driver.stat(archive_path(run)) is None]


def _check_archive(exam: Examination, run: str, compacted: str | None) -> None:
    path = archive_path(run)
    try:
        if compacted is not None and hash_bytes(exam.driver.read(path)) != compacted:
            exam.findings.problem(4, path, f"The archive of the compacted run {run} is damaged.", REPAIR_FROM)
            return
        for events in _groups(exam.movie.archives.read(run)):
            if not _check_rows(exam, run, events):
                return
    except BlobMissingError:  # it was listed a moment ago: an old run has been let go
        return
    except (DamageError, UnsupportedFormatError, ValueError) as error:
        message = error.message if isinstance(error, StoreError) else f"The archive {path} cannot be read."
        exam.findings.problem(4, path, message)


def _check_rows(exam: Examination, run: str, events: list[Event]) -> bool:
    """Compare archived events with their rows; False once there is nothing more to say of this run."""
    wrong = exam.ask(lambda reader: _differing(exam, reader, run, events), None)
    if wrong is None:
        return True
    record = exam.ask(lambda reader: reader.runs.get(run), None)
    if wrong[1] and record is not None and record.elsewhere:
        exam.findings.note(f"The run {run} of another machine has gone on: who opens the movie next takes that in.")
        return False
    if wrong[1] and record is None:
        exam.findings.note(f"The index does not know all that the run {run} archived: `{REBUILD}` brings it back.")
        return False
    what = "is in the archive but not in the index" if wrong[1] else "is another in the archive than in the index"
    exam.findings.problem(4, run, f"The event {wrong[0]} of the run {run} {what}.", REBUILD)
    return False


def _differing(exam: Examination, reader: Reader, run: str, events: list[Event]) -> tuple[str, bool] | None:
    """The first archived event whose row is another, or (True) not there; None where all are as they should be."""
    rows = reader.checks.events_by_id(event.id for event in events)
    for event in events:
        row = rows.get(event.id)
        if row is not None and _bare(row) != _bare(event):
            return event.id, False
        if row is None and not _may_be_gone(exam, reader, run, event):
            return event.id, True
    return None


def _may_be_gone(exam: Examination, reader: Reader, run: str, event: Event) -> bool:
    """Whether the row of an archived event can have left by compaction, or with all rows of an old run."""
    compacted = reader.checks.compacted_runs()
    if event.run is None:
        # A movie-wide edit is in the archive of each run that took it; its row may have left with any of them.
        return bool(compacted) or any(published.state == "stub" for published in exam.chain.values())
    if run in compacted:
        return True
    record = reader.runs.get(run)
    if record is None or record.status not in {"published", "abandoned"} or reader.upkeep.rows_of(run):
        return False
    number = revision_number(record.revision) if record.revision is not None else 0
    return number not in exam.chain or exam.chain[number].state == "stub"


def _bare(event: Event) -> Event:
    return event.replace(seq=None)


def _groups(events: Iterator[Event]) -> Iterator[list[Event]]:
    while group := list(islice(events, bounds.EVENT_PAGE_ROWS)):
        yield group


def reencoded(exam: Examination, published: Published) -> bytes | None:
    """The archive that a revision names, made anew from the rows; None unless that gives exactly its bytes."""
    archive = published.archive
    if archive is None or not exam.indexed:
        return None
    try:
        taken, own = _taken(exam, published), _own(exam, published.run)
    except (DamageError, ValueError):
        return None
    while True:
        data = exam.movie.archives.encode(published.run, [*taken, *own])
        if hash_bytes(data) == archive.hash:
            return data
        # What was appended after the archive was written is not in it: that the run was published, at least.
        if not own or own[-1].type != "run":
            return None
        own.pop()


def late_events(exam: Examination, run: str) -> list[Event]:
    """What the archive of late results holds, from the rows: results that no other archive lists, then its own step.

    Empty for a run that is no such one, or whose results have no rows.
    """
    own = _own(exam, run)
    late = {str(name) for event in own if event.type == "run" for name in _named_late(event)}
    kept = {event.id: event for name in sorted(late) for event in _own(exam, name) if _is_kept_result(event)}
    for other in exam.movie.archives.runs() if kept else ():
        if other != run:
            # Only one that can be read to its end will give them back.
            with suppress(StoreError):
                for listed in [event.id for event in exam.movie.archives.read(other) if event.id in kept]:
                    del kept[listed]
    return [*_ordered(kept.values()), *own] if kept else []


def _named_late(step: RunEvent) -> list[Json]:
    """The runs whose late results a step says that the archive has."""
    late = step.data.get("late") if step.kind == "abandoned" else None
    return late if isinstance(late, list) else []


def _is_kept_result(event: Event) -> bool:
    return event.type == "artefact" and event.status == "kept"


def _own(exam: Examination, run: str) -> list[Event]:
    with exam.movie.metadata.read() as reader:
        return _ordered(_of_run(reader, run))


def _of_run(reader: Reader, run: str) -> Iterator[Event]:
    for page in (reader.events.inputs_after, reader.events.artefacts_after, reader.events.runs_after):
        seq = 0
        while events := page(seq, bounds.EVENT_PAGE_ROWS, run=run):
            yield from events
            seq = events[-1].seq or 0


def _taken(exam: Examination, published: Published) -> list[Event]:
    """The movie-wide edits that its run took: those it had seen and that no revision before it took."""
    before: set[str] = set()
    for number in range(1, published.number):
        earlier = exam.chain.get(number)
        if earlier is not None and earlier.archive is not None:
            events = exam.movie.archives.read(earlier.run, earlier.archive.hash)
            before.update(event.id for event in events if event.run is None)
    with exam.movie.metadata.read() as reader:
        record = reader.runs.get(published.run)
        through = record.edits_through if record is not None else 0
        found = [event for event in _all_values(reader) if event.run is None and (event.seq or 0) <= through]
    return _ordered(event for event in found if event.id not in before)


def _all_values(reader: Reader) -> Iterator[Event]:
    """The events of inputs and artefacts, of whatever run."""
    seq = 0
    while inputs := reader.events.inputs_after(seq, bounds.EVENT_PAGE_ROWS):
        yield from inputs
        seq = inputs[-1].seq or 0
    seq = 0
    while artefacts := reader.events.artefacts_after(seq, bounds.EVENT_PAGE_ROWS):
        yield from artefacts
        seq = artefacts[-1].seq or 0


def _ordered(events: Iterable[Event]) -> list[Event]:
    return sorted(events, key=lambda event: event.seq or 0)
