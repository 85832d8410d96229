"""What a run sets out from: the run that it takes up, what it would do, and whether there is anything to do at all.

Nothing here needs an event loop: who finds nothing to do has no need of what runs jobs.
"""

from __future__ import annotations

from collections.abc import Mapping

from msgspec import Struct

from renku_store.commit import PublishedRevision
from renku_store.costs import Prices
from renku_store.errors import LeaseLostError, ManifestConflictError
from renku_store.movie import Movie
from renku_store.outlook import Outlook, anything_to_do, look, look_again, priced, resumable
from renku_store.records._base import Json
from renku_store.records.inputs import check_reserved
from renku_store.records.plan import Choices, ExecutionPlan, PlannedJob
from renku_store.records.run import JobResult, RunRecord, RunReport


class Outset(Struct, frozen=True):
    """What a run begins with: the run that it takes up, or the one whose publishing has just been finished."""

    outlook: Outlook
    unfinished: RunRecord | None
    finished: PublishedRevision | None

    @property
    def plan(self) -> ExecutionPlan:
        """What is to be done."""
        return self.outlook.plan

    def nothing_to_do(self) -> RunReport | None:
        """What a run says that finds nothing to do, but has perhaps finished what an earlier one was publishing.

        None where there is something to do.
        """
        if self.unfinished is not None or anything_to_do(self.outlook):
            return None
        jobs = {job: untouched(entry) for job, entry in self.plan.jobs.items()}
        if self.finished is not None:
            published, run = self.finished.revision, self.finished.run
            return RunReport(run=run, revision=published, status="published", jobs=jobs)
        return RunReport(revision=self.plan.base_revision, status="unchanged", jobs=jobs)


def set_out(
    movie: Movie,
    *,
    inputs: Mapping[str, Json] | None = None,
    choices: Choices | None = None,
    prices: Prices | None = None,
) -> Outset:
    """What `run_movie` would begin with, given the same.

    What a run was publishing when it died is published first.
    """
    given = inputs or {}
    check_reserved(given)
    movie.committer.catch_up()
    newest = next(resumable(movie, given, choices), None)
    finished = _finish(movie, newest.run) if newest else None
    if finished is not None:
        return Outset(priced(movie, look(movie, given=given, choices=choices), prices), None, finished)
    outlook, unfinished = look_again(movie, given, choices)
    return Outset(priced(movie, outlook, prices), unfinished, None)


def untouched(entry: PlannedJob) -> JobResult:
    """How a job ended that was not to be run."""
    return JobResult(status="skipped" if entry.left_out else "clean", signature=entry.signature)


def _finish(movie: Movie, run: str) -> PublishedRevision | None:
    """Publish what a run had meant to publish when it died, unless someone else has published that revision since."""
    try:
        token = movie.leases.take_over(run)
    except LeaseLostError:
        return None
    try:
        return movie.committer.finish(run)
    except ManifestConflictError:
        return None
    finally:
        movie.leases.release(token)
