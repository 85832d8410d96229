"""All events, also those whose rows have left: rows merged with the archives of compacted runs.

The rows alone come in the order in which they became durable. Archives are merged in by the ids of events, which are in
the order of time; an event that is both a row and archived comes once. What a compaction takes away while somebody
reads comes from its archive.
"""

from __future__ import annotations

import heapq
from array import array
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from renku_store import bounds
from renku_store.errors import BlobMissingError
from renku_store.metadata.base import MetadataStore, Reader
from renku_store.metadata.upkeep import CompactedRun, Selection
from renku_store.records.events import Event

ReadArchive = Callable[[str, str, Callable[[Mapping[str, Any]], bool]], Iterator[Event]]
"""Given a run, the hash of its archive and what is wanted: those of its events, in the order of their ids."""


def rows_after(metadata: MetadataStore, selection: Selection, seq: int) -> Iterator[Event]:
    """Rows beyond a number, oldest first, a page at a time."""
    while True:
        with metadata.read() as reader:
            page = _page(reader, selection, seq)
        yield from page
        if len(page) < bounds.EVENT_PAGE_ROWS:
            return
        seq = _number(page[-1])


def history(metadata: MetadataStore, read_archive: ReadArchive, selection: Selection) -> Iterator[Event]:
    """Everything that is meant and was durable when this began, wherever it is now; maybe some of what came since."""
    shown = array("q")
    with metadata.read() as reader:
        seen = reader.upkeep.compactions()
        merging = bool(reader.upkeep.compacted(selection.run))
    seq = selection.after
    while not merging:
        with metadata.read() as reader:
            if reader.upkeep.compactions() != seen and reader.upkeep.compacted(selection.run):
                merging = True
                break
            page = _page(reader, selection, seq)
        yield from page
        if len(page) < bounds.EVENT_PAGE_ROWS:
            return
        # Eight bytes an event, should a compaction begin meanwhile: the order is another one then.
        shown.extend(hash(event.id) for event in page)
        seq = _number(page[-1])
    already = set(shown)
    del shown
    for event in _Merge(metadata, read_archive, selection).events():
        if hash(event.id) not in already:
            yield event


class _Merge:
    """Rows and archives, in the order of ids. An archive is opened when the merge comes to its first id."""

    def __init__(self, metadata: MetadataStore, read_archive: ReadArchive, selection: Selection) -> None:
        self._metadata = metadata
        self._read_archive = read_archive
        self._selection = selection
        self._known: set[str] = set()
        self._waiting: list[tuple[str, str, CompactedRun]] = []
        self._open: list[tuple[str, str, Event, Iterator[Event]]] = []
        self._last = selection.after_id

    def events(self) -> Iterator[Event]:
        with self._metadata.read() as reader:
            through = reader.upkeep.last_used()
        position, seen = "", -1
        while True:
            with self._metadata.read() as reader:
                if reader.upkeep.compactions() != seen:
                    seen = reader.upkeep.compactions()
                    self._notice(reader.upkeep.compacted(self._selection.run))
                page = reader.upkeep.in_id_order(position, bounds.EVENT_PAGE_ROWS, self._selection, through)
            for event in page:
                yield from self._archived(event.id)
                self._last = max(self._last, event.id)
                yield event
            if len(page) < bounds.EVENT_PAGE_ROWS:
                break
            position = page[-1].id
        yield from self._archived(None)

    def _notice(self, compacted: list[CompactedRun]) -> None:
        for entry in compacted:
            if entry.run not in self._known:
                self._known.add(entry.run)
                heapq.heappush(self._waiting, (entry.first_id, entry.run, entry))

    def _archived(self, before: str | None) -> Iterator[Event]:
        """Archived events with ids below one (None: all that are left) that have not been shown."""
        while True:
            if self._waiting and self._begins_next(before):
                self._begin(heapq.heappop(self._waiting)[2])
                continue
            if not self._open or (before is not None and self._open[0][0] >= before):
                return
            event = self._advance()
            if event.id > self._last:
                self._last = event.id
                yield event

    def _begins_next(self, before: str | None) -> bool:
        first_id = self._waiting[0][0]
        return (before is None or first_id < before) and (not self._open or first_id <= self._open[0][0])

    def _begin(self, entry: CompactedRun) -> None:
        def wanted(event: Mapping[str, Any]) -> bool:
            # A run that did not publish took no edits: those that its archive lists are still rows, or another's.
            return self._selection.wants(event) and (entry.published or event.get("run") is not None)

        events = self._read_archive(entry.run, entry.hash, wanted)
        try:
            first = next(events, None)
        except BlobMissingError:
            if not entry.expired and self._still_compacted(entry.run):
                raise
            return
        if first is not None:
            heapq.heappush(self._open, (first.id, entry.run, first, events))

    def _still_compacted(self, run: str) -> bool:
        with self._metadata.read() as reader:
            return bool(reader.upkeep.compacted(run))

    def _advance(self) -> Event:
        """The open archive's event that is next, which is replaced by the one after it."""
        _, run, event, events = self._open[0]
        following = next(events, None)
        if following is None:
            heapq.heappop(self._open)
        else:
            heapq.heapreplace(self._open, (following.id, run, following, events))
        return event


def _page(reader: Reader, selection: Selection, seq: int) -> list[Event]:
    """A page of all kinds, seen at one moment: what came later has a higher number than all that is in it."""
    limit, run, about = bounds.EVENT_PAGE_ROWS, selection.run, selection.about
    found: list[Event] = []
    if "input" in selection.kinds:
        found += reader.events.inputs_after(seq, limit, run=run, about=about)
    if "artefact" in selection.kinds:
        found += reader.events.artefacts_after(seq, limit, run=run, about=about)
    if "run" in selection.kinds:
        found += reader.events.runs_after(seq, limit, run=run)
    return sorted(found, key=_number)[:limit]


def _number(event: Event) -> int:
    return event.seq or 0
