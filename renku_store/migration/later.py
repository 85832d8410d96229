"""What earlier migrations brought over of what was newer than every snapshot, so that it comes over once.

Of a folder that is in use the newest edits and attempts belong to no revision yet. They come over all the same: edits
as pending ones, attempts in a run that stays abandoned. Once the old system has made a revision of them, that takes
the edits, as a run takes those that it has seen.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from typing import TypeAlias

from renku_store.migration.described import OldInput, OldMovie, OldRevision
from renku_store.migration.identity import AFTER, is_edit_of
from renku_store.movie import Movie
from renku_store.planner import input_entry
from renku_store.records.events import InputEvent, RunEvent

_Said: TypeAlias = tuple[str, str, str]
"""The id of an input, when it got a value, and the hash of that."""


class EarlierEdits:
    """The pending edits that earlier migrations brought over; those of people are none of them."""

    def __init__(self, movie: Movie, old: OldMovie) -> None:
        self._old = old
        pending = [event for event in movie.events.pending() if isinstance(event, InputEvent)]
        runs = [step.run for step in later_steps(movie, old)] if pending else []
        lines = len(old.later_inputs) + sum(len(revision.history) for revision in old.revisions)
        ours = is_edit_of(runs, lines)
        self._pending = [event for event in pending if ours(event.id)]

    def take(self, revision: OldRevision) -> list[InputEvent]:
        """Those whose line is of a revision, or of one before it, oldest first: all that is said nowhere behind it.

        They are taken once.
        """
        if not self._pending:
            return []
        place = self._old.revisions.index(revision)
        behind = [given for later in self._old.revisions[place + 1 :] for given in later.history]
        left = said([*behind, *self._old.later_inputs])
        taken: list[InputEvent] = []
        for event in reversed(self._pending):
            if left[said_by(event)] > 0:
                left[said_by(event)] -= 1
            else:
                taken.append(event)
        self._pending = [event for event in self._pending if event not in taken]
        return taken[::-1]


def later_steps(movie: Movie, old: OldMovie) -> Iterator[RunEvent]:
    """The first steps of the runs that stand for what happened after the newest revision of their time, oldest first.

    Raises `DamageError` where a run was compacted, and its archive is gone or damaged.
    """
    with movie.metadata.read() as reader:
        runs = [record.run for record in reader.runs.list() if record.revision is None]
    for run in runs:
        step = next(movie.events.stream(run=run), None)
        data = step.data if isinstance(step, RunEvent) and step.kind == "migrated" else None
        if isinstance(step, RunEvent) and data and (data.get("movie"), data.get("from")) == (old.id, AFTER):
            yield step


def said(given: Iterable[OldInput]) -> Counter[_Said]:
    """How often each value was given at each time."""
    return Counter((one.id, one.created_at, input_entry(one.value).hash) for one in given)


def said_by(event: InputEvent) -> _Said:
    """What an event says of it."""
    return event.input, event.created_at, event.hash
