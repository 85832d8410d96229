"""Which attempts earlier migrations have told of, when those were newer than every snapshot: no dollar counts twice.

An attempt is known by its artefact, its time and its outcome. What it cost may be known only later, or as the cost of
another attempt, as records are matched with lines anew each time: so what is left to tell is the sum of what records
say less the sum of what was told.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Final, TypeAlias

from renku_store.metadata.event_tables import RunOutcome
from renku_store.migration.described import OldAttempt, OldMovie
from renku_store.migration.identity import run_of
from renku_store.movie import Movie
from renku_store.records.events import ArtefactEvent, RunEvent
from renku_store.records.ids import revision_number

NOTED_LATE: Final = "What it took was noted after its result had come over."
_Key: TypeAlias = tuple[str, str, bool]


class ToldAttempts:
    """The attempts that the runs of these steps (`later_steps`) tell of.

    `results` has by result what it gave: by artefact the digest, and the name of the output that it was.
    """

    def __init__(self, movie: Movie, steps: Iterable[RunEvent]) -> None:
        self._movie = movie
        self.results: dict[str, dict[str, tuple[str, str]]] = {}
        self._waiting: dict[_Key, list[tuple[int, ArtefactEvent]]] = {}
        self._cost = 0.0
        for step in steps:
            base = step.data.get("base")
            after = revision_number(base) if isinstance(base, str) else 0
            for event in movie.events.stream(run=step.run):
                if isinstance(event, ArtefactEvent):
                    self._note(after, event)

    def _note(self, after: int, event: ArtefactEvent) -> None:
        if event.status == "succeeded" and event.result is not None and event.value is not None:
            given = event.value.hash, event.output or event.artefact
            self.results.setdefault(event.result, {})[event.artefact] = given
        if event.attempts:  # what stood beside a result has none
            key = (event.artefact, event.created_at, event.status == "failed")
            self._waiting.setdefault(key, []).append((after, event))
            self._cost += event.cost or 0.0

    def marked(self, old: OldMovie, published: Mapping[str, str]) -> OldMovie:
        """The movie with its attempts marked that were told, and with the costs that are left to tell at the others.

        `published` has by run the revision that it has published.
        """
        if not self._waiting:
            return old
        first = min(after for waiting in self._waiting.values() for after, _ in waiting)
        owed = -self._cost
        for revision in old.revisions:
            name = published.get(run_of(old, revision))
            if name is not None and revision_number(name) > first:
                for attempt in revision.attempts:
                    self._take(attempt, revision_number(name))
                owed += _sum(revision.attempts) - _sum(self._movie.events.spent(run_of(old, revision)))
        left = [revision for revision in old.revisions if run_of(old, revision) not in published]
        lists = self._settled([*(revision.attempts for revision in left), old.later_attempts], owed)
        marked = {one.name: replace(one, attempts=found) for one, found in zip(left, lists, strict=False)}
        revisions = tuple(marked.get(revision.name, revision) for revision in old.revisions)
        return replace(old, revisions=revisions, later_attempts=lists[-1])

    def _settled(self, lists: Sequence[Sequence[OldAttempt]], owed: float) -> list[tuple[OldAttempt, ...]]:
        """Attempts that no published revision has, which cost what was told of them, or what is left to tell.

        `owed` is what others had cost, less all that was told.
        """
        owed += sum(map(_sum, lists))
        settled: list[list[OldAttempt]] = []
        known: list[tuple[int, OldAttempt]] = []
        short: list[tuple[int, OldAttempt]] = []
        for place, attempts in enumerate(lists):
            settled.append([])
            for attempt in attempts:
                told = self._take(attempt, None)
                if told is None:
                    settled[-1].append(attempt)
                    continue
                known.append((place, attempt))
                if (attempt.cost or 0.0) > (told.cost or 0.0):
                    short.append((place, attempt))
                settled[-1].append(replace(attempt, told=told.result or told.id, cost=told.cost))
        for found in settled:
            for at, attempt in enumerate(found):
                if attempt.told is None and attempt.cost:
                    found[at] = replace(attempt, cost=_amount(min(attempt.cost, owed)))
                    owed -= found[at].cost or 0.0
        if known and _amount(owed):  # of two without a time one may have been told in the place of the other
            place, attempt = (short or known)[0]
            settled[place].append(
                replace(attempt, succeeded=False, value=None, error=NOTED_LATE, cost=_amount(owed), seconds=None)
            )
        return [tuple(found) for found in settled]

    def _take(self, attempt: OldAttempt, number: int | None) -> ArtefactEvent | None:
        """The event that tells of an attempt of a revision with this number (None: of one that is not there yet)."""
        waiting = self._waiting.get((attempt.artefact, attempt.created_at, attempt.value is None), [])
        at = next((at for at, (after, _) in enumerate(waiting) if number is None or after < number), None)
        return None if at is None else waiting.pop(at)[1]


def _sum(costly: Iterable[OldAttempt | RunOutcome]) -> float:
    return sum(one.cost or 0.0 for one in costly)


def _amount(cost: float) -> float | None:
    """US dollars; None for what is nothing but the error of a sum."""
    rounded = round(cost, 9)
    return rounded if rounded > 0 else None
