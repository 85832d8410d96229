"""What old runs leave is bounded, too: plans go, and archives, rows and records that nothing needs.

    plan -> event rows (a transaction; the archive that lists them is there: invariant 4) -> archive -> record

Each step is harmless by itself, and the record goes last: a crash anywhere leaves what the next collection finishes.
An archive is needed while it holds a result that can be reused, an event that a kept revision, a look-up or a pending
edit points at, or an edit that it alone says was taken: the archives of runs that published nothing list edits, too.
Where each machine has an index of its own, archives stay: this one cannot know what the others have compacted.

A plan of which no run tells, by a record or an archive, was left by a database that is lost: it goes by its age.
Whoever begins a run records it before it writes the plan. Where each machine has an index, another may have the record.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Final

from renku_store import bounds
from renku_store.archives import archive_path
from renku_store.clock import timestamp
from renku_store.errors import BlobMissingError, DamageError, UnsupportedFormatError
from renku_store.movie import Movie
from renku_store.plans import plan_path
from renku_store.records.events import ArtefactEvent, Event, RunEvent
from renku_store.records.run import RunRecord

_PLAN: Final = re.compile(r"([0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12})-plan\.json")


@dataclass(slots=True)
class Retired:
    """How many plans went, and how many runs with all that they left."""

    plans: int = 0
    runs: int = 0
    notes: list[str] = field(default_factory=list[str])


def retire(movie: Movie, keep_seconds: float, now_ms: int, files_before: float) -> Retired:
    """Remove what is left, and not needed, of the runs that ended `keep_seconds` before `now_ms` (database's clock).

    And plans of no run that were written before `files_before` (Unix seconds, by the clock of the files).
    """
    done = Retired(plans=sum(_remove_plan(movie, run, files_before) for run in _plans_of_none(movie, files_before)))
    before = _moment(now_ms, keep_seconds)
    with movie.metadata.write() as writer:
        writer.calls.retire(int(now_ms - bounds.CALL_KEEP_SECONDS * 1000))
        ended = writer.retirement.ended_before(before)
        reusable = writer.retirement.with_results() if ended else set()
        if any(finished for _, finished in ended):
            writer.upkeep.release_expired()
    plans = set(movie.driver.children("runs/")) if ended else set()
    retirement = _Retirement(movie, done, _moment(now_ms, bounds.ROLLBACK_KEEP_MIN_SECONDS))
    others = _of_other_machines(movie)
    for run, finished in ended:
        path = plan_path(run)
        if run not in others and path.removeprefix("runs/") in plans:
            movie.driver.delete(path)
            done.plans += 1
        if finished and run not in reusable and not movie.announcer.needed:
            retirement.retire(run)
    return done


def _plans_of_none(movie: Movie, files_before: float) -> list[str]:
    """The runs that have an old plan, and neither a record nor an archive."""
    if movie.announcer.needed:
        return []
    named = {match[1] for match in map(_PLAN.fullmatch, movie.driver.children("runs/")) if match}
    with movie.metadata.read() as reader:
        named -= {record.run for record in reader.runs.list()}
    old = movie.driver.stat_many(plan_path(run) for run in named.difference(movie.archives.runs())) if named else {}
    return sorted(run for run in named if (found := old.get(plan_path(run))) and found.modified < files_before)


def _remove_plan(movie: Movie, run: str, files_before: float) -> bool:
    """Remove the plan of no run, unless there is one by now: it is recorded under the same lock before its plan."""
    path = plan_path(run)
    with movie.metadata.write() as writer:
        found = movie.driver.stat(path)
        if writer.runs.get(run) is not None or found is None or found.modified >= files_before:
            return False
        movie.driver.delete(path)
    return True


def would_retire(
    movie: Movie, keep_seconds: float, now_ms: int, files_before: float, reusable: Collection[str]
) -> Retired:
    """What `retire` would remove at least, if the runs in `reusable` alone had results left; writes nothing.

    What only expired revisions, or results that are about to go, still need is not counted.
    """
    found = Retired(plans=len(_plans_of_none(movie, files_before)))
    with movie.metadata.read() as reader:
        ended = reader.retirement.ended_before(_moment(now_ms, keep_seconds))
    plans = set(movie.driver.children("runs/")) if ended else set()
    retirement = _Retirement(movie, found, _moment(now_ms, bounds.ROLLBACK_KEEP_MIN_SECONDS))
    others, apart = _of_other_machines(movie), movie.announcer.needed
    for run, finished in ended:
        found.plans += run not in others and plan_path(run).removeprefix("runs/") in plans
        found.runs += finished and run not in reusable and not apart and retirement.would(run)
    return found


def _of_other_machines(movie: Movie) -> set[str]:
    """The runs whose plans are other machines'."""
    with movie.metadata.read() as reader:
        return {record.run for record in reader.runs.list() if record.elsewhere}


def _moment(now_ms: int, seconds: float) -> str:
    return timestamp(datetime.fromtimestamp(max(0.0, now_ms / 1000 - seconds), UTC))


class _Retirement:
    """Lets runs go; `under_way`: rollbacks and migrations that began after it may still be about to publish."""

    def __init__(self, movie: Movie, done: Retired, under_way: str) -> None:
        self._movie = movie
        self._done = done
        self._under_way = under_way
        self._elsewhere: _Elsewhere | None = None

    def would(self, run: str) -> bool:
        """Whether a run would go."""
        try:
            events = self._dispensable(run)
        except BlobMissingError:
            with self._movie.metadata.read() as reader:
                return reader.upkeep.rows_of(run) == 0
        if events is None:
            return False
        with self._movie.metadata.read() as reader:
            return not reader.retirement.needed(run, [event.id for event in events], _results(events))

    def retire(self, run: str) -> None:
        """Let a run go that stands for no kept revision, if nothing needs what it left."""
        movie = self._movie
        try:
            events = self._dispensable(run)
        except BlobMissingError:
            self._forget(run)
            return
        if events is None:
            return
        edits = [event.id for event in events if event.run is None]
        with movie.metadata.write() as writer:
            record = writer.runs.get(run)
            if not writer.retirement.drop_events(run, [event.id for event in events], _results(events)):
                return
        if self._remove_archive(run, record):
            self._forget(run)
            if self._elsewhere is not None:
                self._elsewhere.gone(run, edits)

    def _dispensable(self, run: str) -> list[Event] | None:
        """The archived events of a run whose archive may go, as far as other archives tell; None where it stays.

        Raises `BlobMissingError` where it has none.
        """
        try:
            events = list(self._movie.archives.read(run))
        except BlobMissingError:
            raise
        except (DamageError, UnsupportedFormatError) as error:
            self._done.notes.append(f"The old run {run} stays as it is: {error.message}")
            return None
        edits = [event.id for event in events if event.run is None]
        if self._may_be_under_way(events) or (edits and self._only_says_taken(run, edits)):
            return None
        return events

    def _may_be_under_way(self, events: Sequence[Event]) -> bool:
        """Whether this rollback or migration may come to its intent yet: until then it is an abandoned run."""
        steps = [event for event in events if isinstance(event, RunEvent) and event.kind in {"rollback", "migrated"}]
        return any(step.created_at > self._under_way for step in steps)

    def _only_says_taken(self, run: str, edits: Sequence[str]) -> bool:
        """Whether a new index would take an edit for pending without this archive: one of another run lists it, too."""
        if self._elsewhere is None:
            self._elsewhere = _Elsewhere(self._movie)
        return self._elsewhere.lists(run, edits)

    def _remove_archive(self, run: str, record: RunRecord | None) -> bool:
        """Under the write lock: whoever means to publish the run looks for its archive there, and finds it or not."""
        driver = self._movie.driver
        with self._movie.metadata.write() as writer:
            present = writer.runs.get(run)
            meant = any(intent.run == run for intent in writer.revisions.intents())
            if meant or present is None or record is None or present.revision != record.revision:
                return False
            driver.delete(archive_path(run))
            driver.settle([archive_path(run)])
        return True

    def _forget(self, run: str) -> None:
        """Drop the record; where rows are left that no archive lists, they stay, and so does the record."""
        with self._movie.metadata.write() as writer:
            self._done.runs += writer.retirement.forget(run)


class _Elsewhere:
    """The movie-wide edits that archives of runs without a revision list: a run lists what was pending at its end."""

    def __init__(self, movie: Movie) -> None:
        with movie.metadata.read() as reader:
            self._published = {record.run for record in reader.runs.list() if record.status == "published"}
        self._listed: Counter[str] = Counter()
        self._unreadable = False
        for run in movie.archives.runs():
            if run not in self._published:
                try:
                    self._listed.update(event.id for event in movie.archives.read(run) if event.run is None)
                except (DamageError, UnsupportedFormatError):
                    self._unreadable = True

    def lists(self, run: str, edits: Sequence[str]) -> bool:
        """Whether any of the edits that a published run took is in one of them, as far as can be told."""
        return run in self._published and (self._unreadable or any(self._listed[edit] > 0 for edit in edits))

    def gone(self, run: str, edits: Sequence[str]) -> None:
        """Note that an archive is no more."""
        if run not in self._published:
            self._listed.subtract(edits)


def _results(events: Sequence[Event]) -> set[str]:
    """The results of calls that an archive tells of, of whatever run: those that came late are in one of their own."""
    return {
        event.result
        for event in events
        if isinstance(event, ArtefactEvent) and event.result and event.status in {"succeeded", "kept"}
    }
