"""Collection beside live writers: read the roots, condemn, sweep.

    empty the trash -> read the roots -> condemn (one transaction) -> a batch at a time: re-check and set `deleting` (a
    transaction), delete the objects, drop the rows (a transaction) -> retire old runs

Keeps invariants 5 (what a manifest names exists), 8 and 9: whoever needs a condemned blob again makes its row live,
under the same lock under which the sweep looks at it once more; nobody revives one that somebody is deleting.
Invariant 11: a collector may die anywhere. The next one finishes what it had begun, but only what nothing needs: a mark
that it finds on a root (in a database that was restored, or changed by hand) is taken back.
"""

from __future__ import annotations

import stat
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from shutil import rmtree

from renku_store import bounds
from renku_store.blobs.removal import ARRIVE_LOCK, COLLECT_LOCK, finish_deleting
from renku_store.drivers.local import on_this_machine
from renku_store.errors import BadInputError, DamageError, StoreUnavailableError
from renku_store.gc.expiring import TrashTime, due, empty_trash
from renku_store.gc.late import archive_late
from renku_store.gc.reports import CollectionProgress, CollectionReport, CollectionStep
from renku_store.gc.retiring import retire, would_retire
from renku_store.gc.roots import Roots
from renku_store.gc.survey import Moment, Survey, moment, survey
from renku_store.gc.uses import last_uses
from renku_store.metadata.base import Writer
from renku_store.movie import Movie
from renku_store.records.blob import SUFFIX, blob_path

_LOCK_FILE = f"locks/{COLLECT_LOCK}"


@dataclass(frozen=True, slots=True)
class Times:
    """Seconds for which things stay that nothing needs."""

    grace: float
    trash: float
    runs: float


class SharedCollection:
    """One collection of a movie whose writers all share its index."""

    def __init__(self, movie: Movie, times: Times, tell: Callable[[CollectionProgress], None]) -> None:
        self._movie = movie
        self._times = times
        self._tell = tell
        self._roots = self._roots_of(lambda count: self._say("roots", count), ())
        self._removed: dict[str, int] = {}

    def look(self) -> CollectionReport:
        """What a collection would do."""
        when = moment(self._movie, self._times.grace, None)
        expiring = due(self._movie, self._trash_time(when, None))
        self._roots = self._roots_of(lambda count: self._say("roots", count), expiring)
        self._roots.read()
        found = self._survey(when)
        going = {**found.candidates, **found.strays}
        if 2 * found.removable_bytes > found.total_bytes:
            when.notes.append("More than half of the stored bytes would go: that needs --force.")
        traces, reusable = self._broken_by(going)
        retired = would_retire(self._movie, self._times.runs, when.now_ms, self._plans_before(when), reusable)
        when.notes.extend(retired.notes)
        report = self._report(when, found, going, condemned=len(found.candidates))
        counts = {"expired": len(expiring), "traces": traces, "plans": retired.plans, "runs": retired.runs}
        return report.replace(**counts, blobs=last_uses(self._movie, going))

    def carry_out(self, *, force: bool) -> CollectionReport:
        """Collect, under the lock `collect`."""
        # Whoever holds the lock has just signed its file: that is what the time is where the objects are.
        signed = self._movie.driver.stat(_LOCK_FILE)
        files_now = signed.modified if signed else None
        when = moment(self._movie, self._times.grace, files_now)
        expired = self._expire(when, files_now, force=force)
        self._roots.read()
        self._finish_leftovers()
        found = self._survey(when)
        if not force:
            brake(found)
        condemned = self._condemn(found, when)
        for group in groups(found.candidates):
            self._delete(self._mark("deleting", group, self._begin))
        for group in groups(found.strays):
            self._remove_strays(group, found, when)
        temporary = self._sweep_temporary(when)
        traces = self._drop_traces()
        self._say("late results", archive_late(self._movie, when.now_ms))
        retired = retire(self._movie, self._times.runs, when.now_ms, self._plans_before(when))
        self._say("retired", retired.runs)
        when.notes.extend(retired.notes)
        report = self._report(when, found, self._removed, condemned=condemned)
        counts = {"expired": expired, "temporary": temporary, "traces": traces}
        return report.replace(**counts, plans=retired.plans, runs=retired.runs)

    def _expire(self, when: Moment, files_now: float | None, *, force: bool) -> int:
        """Empty the trash; before that, which cannot be undone, see that the brake would not hold this collection."""
        time = self._trash_time(when, files_now)
        expiring = due(self._movie, time)
        if expiring and not force:
            roots = self._roots_of(lambda _count: None, expiring)
            roots.read()
            brake(self._survey_of(roots, replace(when, notes=[])))
        count = empty_trash(self._movie, replace(time, notes=[])) if expiring else 0
        if count and time.seconds < bounds.TRASH_SECONDS:
            when.notes.append(f"Expired revisions went for good after {time.seconds:g} seconds instead of a week.")
        self._say("expired", count)
        return count

    def _roots_of(self, tell: Callable[[int], None], without: Iterable[int]) -> Roots:
        return Roots(self._movie, tell, without=frozenset(without))

    def _trash_time(self, when: Moment, files_now: float | None) -> TrashTime:
        return TrashTime(
            seconds=self._times.trash,
            now_ms=when.now_ms,
            files_now=when.now_ms / 1000 if files_now is None else files_now,
            notes=when.notes,
            apart=self._movie.announcer.needed,
        )

    def _plans_before(self, when: Moment) -> float:
        """Plans of no run go that are older than the grace time, and than what ended runs are kept for."""
        return when.files_before - max(0.0, self._times.runs - when.grace_seconds)

    def _survey(self, when: Moment) -> Survey:
        found = self._survey_of(self._roots, when)
        self._say("surveyed", found.total)
        return found

    def _survey_of(self, roots: Roots, when: Moment) -> Survey:
        return survey(self._movie, roots, when)

    def _finish_leftovers(self) -> None:
        """Finish what a dead collector had begun to delete; what is needed stays, whatever its row says."""
        count, after = 0, ""
        while True:
            with self._movie.metadata.read() as reader:
                left = reader.blobs.deleting(after, bounds.EVENT_PAGE_ROWS)
            if not left:
                break
            after = max(left)
            for digest in self._unmark_needed(left):
                del left[digest]
            count += finish_deleting(self._movie.driver, self._movie.metadata, left)
            self._removed.update(left)
        self._say("leftovers", count)

    def _unmark_needed(self, digests: Iterable[str]) -> list[str]:
        """Take the mark of a dead collector back from what is a root: live where the object is there, else no row."""
        with self._movie.metadata.write() as writer:
            self._roots.catch_up(writer)
            needed = [digest for digest in digests if digest in self._roots]
            writer.blobs.end_deleting(needed)
            self._revive(writer, needed)
        return needed

    def _condemn(self, found: Survey, when: Moment) -> int:
        """One transaction: who has become a root since stays, and what a dead collector condemned of those lives."""
        count = 0
        with self._movie.metadata.write() as writer:
            self._roots.catch_up(writer)
            self._revive(writer, found.condemned)
            # What is touched after a clock was set back would else look older than the grace time.
            before_ms = min(when.before_ms, writer.now_ms() - round(when.grace_seconds * 1000))
            for group in groups(found.candidates):
                count += writer.blobs.condemn((digest for digest in group if digest not in self._roots), before_ms)
        self._say("condemned", count)
        return count

    def _begin(self, writer: Writer, group: list[str]) -> dict[str, int]:
        needed = {digest for digest in group if digest in self._roots}
        if needed:
            rows = writer.blobs.get(needed)
            self._revive(writer, [digest for digest, row in rows.items() if row.state == "condemned"])
        return writer.blobs.begin_deleting(digest for digest in group if digest not in needed)

    def _remove_strays(self, group: list[str], found: Survey, when: Moment) -> None:
        """Delete objects that have no row, once no writer is about to give them one; else leave them for next time."""
        begin = self._begin_strays(found.strays, when)
        try:
            with self._movie.driver.lock(ARRIVE_LOCK, wait_seconds=bounds.GC_WAIT_SECONDS):
                marked = self._mark("orphans deleting", group, begin)
        except StoreUnavailableError as error:
            if error.reason != "busy":
                raise
            when.notes.append(
                f"Objects that nobody names stay for now ({len(group)}): others were writing all the time."
            )
        else:
            self._delete(marked)

    def _begin_strays(self, sizes: Mapping[str, int], when: Moment) -> Callable[[Writer, list[str]], dict[str, int]]:
        def begin(writer: Writer, group: list[str]) -> dict[str, int]:
            if writer.now_ms() < when.now_ms:  # the clock was set back: how old they are is not known
                return {}
            marked = writer.blobs.begin_deleting_strays(digest for digest in group if digest not in self._roots)
            return {digest: sizes[digest] for digest in marked}

        return begin

    def _mark(
        self, step: CollectionStep, group: list[str], begin: Callable[[Writer, list[str]], dict[str, int]]
    ) -> dict[str, int]:
        """Re-check and mark under the write lock."""
        with self._movie.metadata.write() as writer:
            self._roots.catch_up(writer)
            marked = begin(writer, group)
        self._say(step, len(marked))
        return marked

    def _delete(self, marked: Mapping[str, int]) -> None:
        """Delete what is marked, without the write lock: writers wait for these blobs only."""
        finish_deleting(self._movie.driver, self._movie.metadata, marked)
        self._removed.update(marked)
        self._say("deleted", len(self._removed))

    def _revive(self, writer: Writer, digests: Iterable[str]) -> None:
        for digest in digests:
            with suppress(DamageError):  # what is not there stays condemned, which promises nothing
                self._movie.blobs.revive(writer, [digest])

    def _sweep_temporary(self, when: Moment) -> int:
        """Remove what killed processes left below `tmp/`.

        A file that is young may be somebody's who is about to give it its name, whatever the grace time.
        """
        count = 0
        left_behind = when.files_before - max(0.0, bounds.TEMPORARY_MIN_SECONDS - when.grace_seconds)
        followed = {f"tmp/progress-{record.run}.jsonl" for record in self._movie.leases.unfinished() if record.alive}
        here = on_this_machine(self._movie.driver)
        in_memory = self._movie.driver.workspace() is None
        scratch = None if in_memory else self._movie.driver.scratch()
        folders = [] if scratch is None else [*_folders_before(left_behind, scratch)]
        for found in list(here.list("tmp/")):
            spared = found.name.startswith("tmp/scratch/") or found.name in followed
            if not spared and found.modified < left_behind:
                here.delete(found.name)
                count += 1
        for folder in folders:
            with suppress(OSError):  # not what is in it, too: it may get its name at this moment
                folder.rmdir()
        # A program may give its files any time of modification; that of the last change is the system's own.
        for folder in () if scratch is None else scratch.iterdir():
            with suppress(FileNotFoundError):
                if folder.lstat().st_ctime < when.files_before:
                    rmtree(folder, ignore_errors=True)
                    count += 1
        self._say("temporary", count)
        return count

    def _drop_traces(self) -> int:
        """Take results out of the reuse index whose bytes are gone: here, or under a collector that died."""
        count = number = 0
        while True:
            with self._movie.metadata.read() as reader:
                page = reader.blobs.broken_traces(number, bounds.EVENT_PAGE_ROWS)
            gone = [number for number, blobs in page if any(self._is_gone(digest) for digest in blobs)]
            if gone:
                with self._movie.metadata.write() as writer:
                    count += writer.blobs.drop_broken_traces(gone)
            if len(page) < bounds.EVENT_PAGE_ROWS:
                break
            number = page[-1][0]
        self._say("traces", count)
        return count

    def _broken_by(self, going: Collection[str]) -> tuple[int, set[str]]:
        """How many results could not be reused any more if these blobs were gone; and the runs that have others."""
        broken, number, reusable = 0, 0, set[str]()
        while True:
            with self._movie.metadata.read() as reader:
                page = reader.upkeep.trace_blobs(number, bounds.EVENT_PAGE_ROWS)
                rows = reader.blobs.get({digest for _, _, blobs in page for digest in blobs})
            for _, run, blobs in page:
                if any(digest in going or (digest not in rows and self._is_gone(digest)) for digest in blobs):
                    broken += 1
                elif run is not None:
                    reusable.add(run)
            if len(page) < bounds.EVENT_PAGE_ROWS:
                return broken, reusable
            number = page[-1][0]

    def _is_gone(self, digest: str) -> bool:
        return all(self._movie.driver.stat(blob_path(digest, encoding)) is None for encoding in SUFFIX)

    def _report(self, when: Moment, found: Survey, removed: Mapping[str, int], *, condemned: int) -> CollectionReport:
        within = {
            digest: size for digest, size in removed.items() if digest in found.candidates or digest in found.strays
        }
        return CollectionReport(
            removed=len(removed),
            removed_bytes=sum(removed.values()),
            kept=found.total - len(within),
            kept_bytes=found.total_bytes - sum(within.values()),
            condemned=condemned,
            grace_seconds=when.grace_seconds,
            notes=when.notes,
        )

    def _say(self, step: CollectionStep, count: int) -> None:
        self._tell(CollectionProgress(step, count))


def brake(found: Survey) -> None:
    """Raise `BadInputError` where more than half of the stored bytes would go."""
    if 2 * found.removable_bytes > found.total_bytes:
        raise BadInputError(
            f"{found.removable_bytes:,} of {found.total_bytes:,} stored bytes would go, which is more than half.",
            hint="See what they are with `renku-store gc --dry-run`; --force removes them.",
        )


def groups(digests: Iterable[str]) -> Iterator[list[str]]:
    """Blobs in batches."""
    remaining = iter(digests)
    while group := list(islice(remaining, bounds.GC_BATCH_BLOBS)):
        yield group


def _folders_before(seconds: float, scratch: Path) -> Iterator[Path]:
    """Folders beside that one to which nothing was added, and from which nothing was taken, since a time."""
    for folder in scratch.parent.iterdir():
        with suppress(FileNotFoundError):
            status = folder.lstat()
            if stat.S_ISDIR(status.st_mode) and folder != scratch and status.st_ctime < seconds:
                yield folder
