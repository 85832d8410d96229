"""Rows of events that an archive holds leave the database; the log still shows them.

Keeps invariant 4: rows leave by id, and only after the archive that lists them is durable, was verified as a whole, and
was found to hold what the rows say. Invariant 11: each transaction removes some rows and notes the run's archive, or
does nothing; whatever it was cut off at, the log is complete.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import islice
from typing import Any, Final

import orjson

from renku_store.archives import archive_path
from renku_store.errors import DamageError, StoreUnavailableError, UnsupportedFormatError
from renku_store.hashing import hash_bytes
from renku_store.manifests import ManifestStore
from renku_store.metadata.base import Writer
from renku_store.metadata.upkeep import EndedRun
from renku_store.movie import Movie
from renku_store.records._base import Record, written
from renku_store.records.events import Event
from renku_store.records.ids import revision_name

_GROUP: Final = 1_000
"""Archived events that are held at a time, and compared with their rows."""
_ROWS_MAX: Final = 20_000
"""Rows that leave in one transaction: others wait no longer than about a second to write."""


@dataclass(frozen=True, slots=True)
class CompactionProgress:
    """A run has been looked at: the `done`th of `total`."""

    run: str
    done: int
    total: int


class CompactionProblem(Record):
    """Why rows of a run stay: its archive, or the manifest that names it, is damaged, gone, or says other things."""

    run: str
    revision: str | None = None
    archive: str
    message: str


class CompactionReport(Record):
    """What a compaction did, or would do.

    `rows` left, of `runs` runs; `kept_rows` of the runs that were looked at stay, because a look-up points at them or
    no archive lists them. Bytes are those of the database on the disk.
    """

    runs: int = written(0)
    rows: int = written(0)
    kept_rows: int = written(0)
    bytes_before: int = written(0)
    bytes_after: int = written(0)
    problems: list[CompactionProblem] = written([])


def compact(
    movie: Movie, *, dry_run: bool = False, on_progress: Callable[[CompactionProgress], None] | None = None
) -> CompactionReport:
    """Drop the rows of events that the verified archives of ended runs hold, and give the free space back.

    Look-ups, results that can be used again, pending edits and what `events` shows stay as they are. A run whose
    archive is damaged is left alone and reported. `dry_run` writes nothing; what only expired revisions still point at
    is not counted then. Space is given back by rewriting the database where much of it is free and no run is going.

    Raises `StoreUnavailableError`, which says how many rows had left before: those stay in their archives alone.
    """
    before = movie.metadata.disk_bytes()
    compaction = _Compaction(movie, dry_run=dry_run)
    try:
        compaction.work(on_progress or _tell_nobody)
        if not dry_run:
            movie.metadata.reclaim(rewrite=not any(record.alive for record in movie.leases.unfinished()))
    except StoreUnavailableError as error:
        if dry_run or not compaction.rows:
            raise
        raise _cut_off(error, compaction) from error
    return CompactionReport(
        runs=compaction.runs,
        rows=compaction.rows,
        kept_rows=compaction.kept_rows,
        bytes_before=before,
        bytes_after=before if dry_run else movie.metadata.disk_bytes(),
        problems=compaction.problems,
    )


class _Compaction:
    def __init__(self, movie: Movie, *, dry_run: bool) -> None:
        self._movie = movie
        self._dry_run = dry_run
        self._manifests = ManifestStore(movie.driver, movie.blobs.read)
        self._edits: set[str] = set()
        self.runs = self.rows = self.kept_rows = 0
        self.problems: list[CompactionProblem] = []

    def work(self, tell: Callable[[CompactionProgress], None]) -> None:
        """Look at every ended run that has an archive, newest first."""
        if not self._dry_run:
            with self._movie.metadata.write() as writer:
                writer.upkeep.release_expired()
        with self._movie.metadata.read() as reader:
            self._edits = reader.upkeep.superseded_edits()
            ended = reader.upkeep.ended_runs()
        archived = set(self._movie.archives.runs())
        for count, run in enumerate(ended, 1):
            if self._has_rows(run):
                self._compact(run, present=run.run in archived)
            tell(CompactionProgress(run.run, count, len(ended)))

    def _has_rows(self, run: EndedRun) -> bool:
        """Whether rows of the run may leave, or movie-wide ones that it may have taken."""
        if self._edits and run.number is not None:
            return True
        with self._movie.metadata.read() as reader:
            return reader.upkeep.may_leave(run.run)

    def _compact(self, run: EndedRun, *, present: bool) -> None:
        if not present:
            # What was given up before it was archived keeps its rows; the archive of an expired revision may go.
            if run.number is not None and not run.expired:
                self._report(run, f"{archive_path(run.run)} is not there.")
            return
        try:
            archive = self._archive_hash(run)
            if archive is not None:
                ids, first_id = self._verified(run, archive)
                self._drop(run, ids, archive, first_id)
        except (DamageError, UnsupportedFormatError) as error:
            self._report(run, error.message)

    def _archive_hash(self, run: EndedRun) -> str | None:
        """The hash that a run's archive must have: as its manifest says, or as it is where nothing was published."""
        if run.number is None:
            return self._movie.archives.digest(run.run)
        data = self._manifests.raw(run.number) or b"null"
        try:
            document: Any = orjson.loads(data)
        except orjson.JSONDecodeError:
            document = None
        if not isinstance(document, dict):
            raise _damaged(run)
        digest = document.get("hash") if document.get("expired") is True else hash_bytes(data)
        archive = document.get("archive")
        if digest != run.hash or not isinstance(archive, dict | None):
            raise _damaged(run)
        return None if archive is None else str(archive.get("hash"))

    def _verified(self, run: EndedRun, archive: str) -> tuple[list[str], str]:
        """The ids of the events in an archive whose rows say the same, and the least id of all that it holds."""
        same: list[str] = []
        first_id = ""
        for group in _groups(self._movie.archives.read(run.run, archive)):
            own = [event for event in group if event.run == run.run or (event.run is None and run.number is not None)]
            if own:
                least = min(event.id for event in own)
                first_id = min(first_id, least) if first_id else least
            with self._movie.metadata.read() as reader:
                rows = reader.checks.events_by_id(event.id for event in own)
            for event in own:
                row = rows.get(event.id)
                if row is not None and event.replace(seq=row.seq) == row:
                    same.append(event.id)
                elif row is not None:
                    self._report(run, f"The archived event {event.id} is another one than that in the log.")
        return same, first_id

    def _drop(self, run: EndedRun, ids: list[str], archive: str, first_id: str) -> None:
        # An archive of another machine may list an edit yet that a revision has taken: without its row it would be new.
        edits = run.number is not None and not self._movie.announcer.needed
        if self._dry_run:
            with self._movie.metadata.read() as reader:
                leaving = reader.upkeep.count_leaving(run.run, ids, edits=edits)
                own = reader.upkeep.count_leaving(run.run, ids, edits=False)
                rows = reader.upkeep.rows_of(run.run)
            self.runs += leaving > 0
            self.rows += leaving
            self.kept_rows += rows - own
            return
        self._movie.archives.settle(run.run)
        is_first = True
        for start in range(0, len(ids), _ROWS_MAX):
            group = ids[start : start + _ROWS_MAX]
            left = 0
            with self._movie.metadata.write() as writer:
                if self._unchanged(writer, run, archive):
                    left = writer.upkeep.drop(run.run, group, edits=edits, archive=archive, first_id=first_id)
            # Once they have left: a transaction that fails takes nothing away.
            self.runs += is_first and left > 0
            self.rows += left
            is_first &= left == 0
        self._edits.difference_update(ids)
        with self._movie.metadata.read() as reader:
            self.kept_rows += reader.upkeep.rows_of(run.run)

    def _unchanged(self, writer: Writer, run: EndedRun, archive: str) -> bool:
        """Whether a run has ended as it had, with the archive that was verified; nobody writes one meanwhile."""
        record = writer.runs.get(run.run)
        if record is None or record.status != ("abandoned" if run.number is None else "published"):
            return False
        return run.number is not None or self._movie.archives.digest(run.run) == archive

    def _report(self, run: EndedRun, message: str) -> None:
        revision = None if run.number is None else revision_name(run.number)
        path = archive_path(run.run)
        self.problems.append(CompactionProblem(run=run.run, revision=revision, archive=path, message=message))


def _cut_off(error: StoreUnavailableError, done: _Compaction) -> StoreUnavailableError:
    """The same error, with what had been done before it."""
    runs = "1 run" if done.runs == 1 else f"{done.runs:,} runs"
    rows = "1 row" if done.rows == 1 else f"{done.rows:,} rows"
    return StoreUnavailableError(
        f"{error.message} Before that {rows} of {runs} had left the database; their archives hold them.",
        hint=error.hint,
        reason=error.reason,
    )


def _groups(events: Iterator[Event]) -> Iterator[list[Event]]:
    """Events in lists, of which one is held at a time."""
    while group := list(islice(events, _GROUP)):
        yield group


def _damaged(run: EndedRun) -> DamageError:
    revision = revision_name(run.number or 0)
    return DamageError(f"The manifest of {revision} cannot be read.", hint="`renku-store fsck` says more.")


def _tell_nobody(_: CompactionProgress) -> None:
    return
