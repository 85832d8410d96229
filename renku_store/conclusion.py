"""How a run ends: published as a whole or in part, or archived without a revision; and what its caller is told.

Keeps invariant 10: only the holder of the lease may say how a run ended.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import fsum
from typing import Literal

from renku_store.clock import timestamp
from renku_store.graph import GraphIndex
from renku_store.leases import taken_over
from renku_store.movie import Movie
from renku_store.outset import untouched
from renku_store.projection import differs
from renku_store.records._base import Json
from renku_store.records.events import ArtefactEvent, RunEvent, RunEventKind
from renku_store.records.manifest import ManifestArtefact
from renku_store.records.plan import ExecutionPlan
from renku_store.records.run import JobResult, LeaseToken, RunOutcome, RunReport
from renku_store.running.runner import RunResult
from renku_store.versions import homeless


def conclude(
    movie: Movie, executions: Sequence[RunResult], *, token: LeaseToken, allow_partial: bool = False
) -> RunReport:
    """Publish what succeeded as a whole, or in part where that is allowed; archive what did not."""
    result = executions[-1]
    plan = result.plan
    partial = allow_partial and not result.succeeded and not result.interrupted
    manifest = result.build_manifest() if result.succeeded or partial else None
    if manifest is not None and not differs(result.base, manifest.inputs, manifest.artefacts, manifest.graph):
        if result.succeeded:
            end_run(movie, token, "unchanged", plan.edits_through, {})
            return _report(executions, "unchanged", plan.base_revision)
        manifest = None
    if manifest is None:
        outcome: Literal["interrupted", "failed"] = "interrupted" if result.interrupted else "failed"
        end_run(movie, token, outcome, plan.edits_through, _unfinished(result))
        return _report(executions, outcome, plan.base_revision)
    _put_off(movie, result, token)
    archive = movie.archiver.archive(result.run, plan.edits_through, token=token)
    manifest = manifest.replace(archive=archive)
    published = movie.manifests.save_manifest(manifest, previous_hash=plan.manifest_base_hash, token=token)
    return _report(executions, "partial" if partial else "published", published.revision)


def _put_off(movie: Movie, result: RunResult, token: LeaseToken) -> None:
    """Let people's versions that this revision has no place for wait on, as edits that no run has taken.

    Before the run takes the edits that it has seen: whatever it is cut off at, they are there once or twice. Not on a
    base that another run has replaced, which may have taken that such a version was undone: this one plans again.
    """
    through = result.plan.edits_through
    pending = [event for event in movie.events.pending() if isinstance(event, ArtefactEvent)]
    seen = [event for event in pending if (event.seq or 0) <= through]
    held = result.base.artefacts if result.base else {}
    waiting = homeless(held, seen, within=GraphIndex(result.plan.graph).outputs)
    again = [_again(movie, key, version) for key, version in waiting.items()]
    if again and _is_current(movie, result.plan):
        movie.leases.check(token)
        movie.events.append_unless_later(again, through)


def _is_current(movie: Movie, plan: ExecutionPlan) -> bool:
    _, digest = movie.manifests.current() or (None, None)
    return digest == plan.manifest_base_hash


def _again(movie: Movie, artefact: str, version: ManifestArtefact) -> ArtefactEvent:
    return ArtefactEvent(
        id=movie.events.new_id(),
        artefact=artefact,
        status="edited",
        job=version.job,
        producer=version.produced_by,
        value=version.value_alone(),
        edited_by=version.edited_by,
        created_at=timestamp(movie.clock.now()),
    )


def _report(executions: Sequence[RunResult], status: RunOutcome, revision: str | None) -> RunReport:
    """What this call of `run_movie` did; what it made before a rebase and took over after it counts as made."""
    last = executions[-1]
    made = {
        outcome.signature: outcome
        for execution in executions
        for outcome in execution.jobs.values()
        if outcome.status == "made"
    }
    jobs = {job: last.jobs.get(job) or untouched(entry) for job, entry in last.plan.jobs.items()}
    jobs = {
        job: made[outcome.signature] if outcome.status == "reused" and _made_before(outcome, last, made) else outcome
        for job, outcome in jobs.items()
    }
    return RunReport(
        run=last.run,
        revision=revision,
        status=status,
        jobs=jobs,
        made=len(made),
        reused=sum(outcome.status == "reused" for outcome in jobs.values()),
        cost=round(fsum(outcome.cost for execution in executions for outcome in execution.jobs.values()), 6),
        saved=round(fsum(outcome.saved for outcome in jobs.values()), 6),
    )


def _made_before(outcome: JobResult, last: RunResult, made: Mapping[str | None, JobResult]) -> bool:
    here = {entry.signature for entry in last.jobs.values() if entry.status == "made"}
    return outcome.signature in made and outcome.signature not in here


def _unfinished(result: RunResult) -> dict[str, Json]:
    """What the event of a run's end says of jobs that failed, and of those that a budget kept from being called."""
    failed: list[Json] = [job for job, outcome in result.jobs.items() if outcome.status == "failed"]
    left: list[Json] = [job for job, outcome in result.jobs.items() if outcome.status == "over budget"]
    return {"failed": failed, "overBudget": left} if left else {"failed": failed}


def end_run(movie: Movie, token: LeaseToken, kind: RunEventKind, edits_through: int, data: Mapping[str, Json]) -> None:
    """Note how a run ended without a revision, archive it, and let its lease go. Only its holder may say so."""
    movie.leases.check(token)
    note_step(movie, token.run, kind, data)
    movie.archiver.archive(token.run, edits_through, token=token)
    final = kind in {"abandoned", "unchanged"}
    with movie.metadata.write() as transaction:
        # A late holder must not end the run of the present one, nor tell other machines that it has ended.
        if not transaction.runs.holds(token):
            raise taken_over(token.run)
        movie.committer.withdraw(token.run)
        transaction.runs.update(
            token.run,
            status="abandoned" if final else "failed",
            ended_at=timestamp(movie.clock.now()) if final else None,
        )
        transaction.runs.release(token)


def note_step(movie: Movie, run: str, kind: RunEventKind, data: Mapping[str, Json]) -> None:
    """Append a step in the life of a run."""
    now = timestamp(movie.clock.now())
    movie.events.append_many([RunEvent(id=movie.events.new_id(), run=run, kind=kind, data=dict(data), created_at=now)])
