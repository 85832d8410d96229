"""Collection beside other machines, each with an index of its own: objects are all that counts, and their age.

    catch up -> the storage's time -> empty the trash -> read the roots -> look at all objects -> a batch at a time: put
    the marker, read what has become a root since, see that all are still old, delete, remove the marker

Keeps invariants 5 and 9 where no row is a promise: a publisher has put its intent before it looks for markers, and who
puts bytes sees them again after the last marker that may name them; so whoever is not heard by a batch waits for it. A
collector may die anywhere: its marker ends by its age. Only its machine removes it earlier, when it collects again.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace

from renku_store import bounds
from renku_store.announcing import Sweep
from renku_store.gc.collection import SharedCollection, brake, groups
from renku_store.gc.expiring import due
from renku_store.gc.late import archive_late
from renku_store.gc.reports import CollectionReport
from renku_store.gc.retiring import retire, would_retire
from renku_store.gc.roots import Roots
from renku_store.gc.survey import Moment, Survey, moment_apart, survey_objects
from renku_store.gc.uses import last_uses
from renku_store.records.blob import SUFFIX, blob_path


class CollectionApart(SharedCollection):
    """One collection of a movie that other machines work on, too."""

    _now: float = 0.0
    """When it began, by the clock of the storage."""

    def look(self) -> CollectionReport:
        """What a collection would do; by the clock of this machine, for to ask the storage's is to write."""
        self._now = self._movie.clock.now().timestamp()
        when = moment_apart(self._movie, self._times.grace, self._now)
        expiring = due(self._movie, self._trash_time(when, self._now))
        self._roots = self._roots_of(lambda count: self._say("roots", count), expiring)
        self._roots.read()
        found = self._survey(when)
        if 2 * found.removable_bytes > found.total_bytes:
            when.notes.append("More than half of the stored bytes would go: that needs --force.")
        traces, reusable = self._broken_by(found.strays)
        retired = would_retire(self._movie, self._times.runs, when.now_ms, self._plans_before(when), reusable)
        when.notes.extend(retired.notes)
        report = self._report(when, found, found.strays, condemned=len(found.strays))
        counts = {"expired": len(expiring), "traces": traces, "plans": retired.plans, "runs": retired.runs}
        return report.replace(**counts, blobs=last_uses(self._movie, found.strays))

    def carry_out(self, *, force: bool) -> CollectionReport:
        """Collect, under this machine's lock `collect`."""
        self._movie.committer.repair()
        sweep = self._movie.announcer.sweep()
        self._now = sweep.now
        when = moment_apart(self._movie, self._times.grace, sweep.now)
        expired = self._expire(when, sweep.now, force=force)
        self._roots = self._roots_of(lambda count: self._say("roots", count), ())
        self._roots.read()
        found = self._survey(when)
        if not force:
            brake(found)
        for group in groups(found.strays):
            self._take(sweep, group, found.strays, when)
        self._movie.announcer.bury(sweep)
        here = self._movie.clock.now().timestamp() - when.grace_seconds
        temporary = self._sweep_temporary(replace(when, files_before=here)) + self._sweep_aside(when)
        traces = self._drop_traces()
        self._say("late results", archive_late(self._movie, when.now_ms))
        retired = retire(self._movie, self._times.runs, when.now_ms, self._plans_before(when))
        self._say("retired", retired.runs)
        when.notes.extend(retired.notes)
        report = self._report(when, found, self._removed, condemned=len(found.strays))
        counts = {"expired": expired, "temporary": temporary, "traces": traces}
        return report.replace(**counts, plans=retired.plans, runs=retired.runs)

    def _roots_of(self, tell: Callable[[int], None], without: Iterable[int]) -> Roots:
        return Roots(self._movie, tell, without=frozenset(without), now=self._now)

    def _survey_of(self, roots: Roots, when: Moment) -> Survey:
        return survey_objects(self._movie, roots, when)

    def _take(self, sweep: Sweep, group: list[str], sizes: Mapping[str, int], when: Moment) -> None:
        """Delete what still nobody needs of a batch, while its marker keeps others waiting."""
        with sweep.over(group):
            with self._movie.metadata.read() as reader:
                self._roots.catch_up(reader)
            going = [digest for digest in self._still_old(group, when) if digest not in self._roots]
            self._say("deleting", len(going))
            sweep.check()
            self._movie.driver.delete_many(blob_path(digest, encoding) for digest in going for encoding in SUFFIX)
        with self._movie.metadata.write() as writer:
            writer.blobs.forget(going)
        self._removed.update({digest: sizes[digest] for digest in going})
        self._say("deleted", len(self._removed))

    def _sweep_aside(self, when: Moment) -> int:
        """Remove copies that their machine had on the way in the storage when it died; gives how many.

        Of those of the last day one may be somebody's who has not died, whatever the grace time.
        """
        before = self._now - max(when.grace_seconds, bounds.GC_GRACE_SECONDS)
        left = [found.name for found in self._movie.driver.list("tmp/") if found.modified < before]
        self._movie.driver.delete_many(left)
        return len(left)

    def _still_old(self, group: Iterable[str], when: Moment) -> list[str]:
        """Those that nobody has made young since, be it by their other encoding."""
        names = {blob_path(digest, encoding): digest for digest in group for encoding in SUFFIX}
        found = self._movie.driver.stat_many(names)
        young = {names[name] for name, seen in found.items() if seen.modified >= when.files_before}
        return [digest for digest in group if digest not in young]
