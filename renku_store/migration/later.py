"""What earlier migrations brought over of what was newer than every snapshot, so that it comes over once.

Of a folder that is in use the newest edits and attempts belong to no revision yet. They come over all the same: edits
as pending ones, attempts in a run that stays abandoned. Once the old system has made a revision of them, that takes
the edits, as a run takes those that it has seen; what is told of attempts is in `told`.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from typing import TypeAlias

from renku_store.migration.described import OldInput, OldMovie, OldRevision
from renku_store.migration.identity import AFTER, edits_of, is_numbered_edit_of
from renku_store.movie import Movie
from renku_store.planner import input_entry
from renku_store.records.events import InputEvent, RunEvent

Said: TypeAlias = tuple[str, str, str]
"""The id of an input, when it got a value, and the hash of that."""


class EarlierEdits:
    """The pending edits that earlier migrations brought over; those of people are none of them.

    `steps` are those that `later_steps` gives.
    """

    def __init__(self, movie: Movie, old: OldMovie, steps: Sequence[RunEvent]) -> None:
        self._movie = movie
        self._lines = [*(given for revision in old.revisions for given in revision.history), *old.later_inputs]
        self._ids = edits_of(old)
        self._ends: dict[str, int] = {}
        end = 0
        for revision in old.revisions:
            end += len(revision.history)
            self._ends[revision.name] = end
        self._later = end
        pending = [event for event in movie.events.pending() if isinstance(event, InputEvent)]
        numbered = is_numbered_edit_of([step.run for step in steps] if pending else [], len(self._ids))
        ids = {*self._ids}
        self._pending = [event for event in pending if event.id in ids or numbered(event.id)]

    def take(self, revision: OldRevision) -> list[InputEvent]:
        """Those whose line is of a revision, or of one before it, oldest first: all that is said nowhere behind it.

        They are taken once.
        """
        taken = [event for event, line in self._by_line(self._ends[revision.name]) if line is None]
        self._pending = [event for event in self._pending if event not in taken]
        return taken

    def absent(self) -> list[tuple[str, OldInput]]:
        """The values that were given after the newest revision and are not there yet, each with its id."""
        there = {line for _, line in self._by_line(self._later)}
        left = [at for at in range(self._later, len(self._ids)) if at not in there]
        with self._movie.metadata.read() as reader:
            known = reader.checks.events_by_id([self._ids[at] for at in left])
        return [(self._ids[at], self._lines[at]) for at in left if self._ids[at] not in known]

    def _by_line(self, start: int) -> list[tuple[InputEvent, int | None]]:
        """The edits, oldest first, each with the place of its line if that is not before `start`."""
        if not self._pending:
            return []
        places = {self._ids[at]: at for at in range(start, len(self._ids))}
        found = {event.id: places.pop(event.id) for event in self._pending if event.id in places}
        ids = {*self._ids}
        numbered = [event for event in self._pending if event.id not in ids]
        if numbered:
            alike: dict[Said, list[int]] = {}
            for at in places.values():
                alike.setdefault(said(self._lines[at]), []).append(at)
            for event in reversed(numbered):
                if left := alike.get(said_by(event)):
                    found[event.id] = left.pop()
        return [(event, found.get(event.id)) for event in self._pending]


def later_steps(movie: Movie, old: OldMovie) -> Iterator[RunEvent]:
    """The first steps of the runs that stand for what happened after the newest revision of their time, oldest first.

    Raises `DamageError` where a run was compacted, and its archive is gone or damaged.
    """
    with movie.metadata.read() as reader:
        runs = [record.run for record in reader.runs.list() if record.revision is None]
    for run in runs:
        step = next(movie.events.stream(run=run), None)
        data = step.data if isinstance(step, RunEvent) and step.kind == "migrated" else {}
        if isinstance(step, RunEvent) and (data.get("movie"), data.get("from")) == (old.id, AFTER):
            yield step


def said(given: OldInput) -> Said:
    """What a line says of its input."""
    return given.id, given.created_at, input_entry(given.value).hash


def said_by(event: InputEvent) -> Said:
    """What an event says of it."""
    return event.input, event.created_at, event.hash


def not_said(history: Iterable[OldInput], events: Iterable[InputEvent]) -> Iterator[OldInput]:
    """The values of a history of which none of these events tells."""
    told = Counter(said_by(event) for event in events)
    for given in history:
        if told[said(given)] > 0:
            told[said(given)] -= 1
        else:
            yield given
