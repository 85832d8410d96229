"""The daily loop as one function: look at what changed, run what depends on it, publish.

what the movie is now, what the run shall have -> plan -> lease -> run -> archive -> publish
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from typing import Literal

import orjson

from renku_store import bounds
from renku_store.calls import Produce
from renku_store.clock import timestamp
from renku_store.commit import PublishedRevision
from renku_store.errors import (
    InputConflictError,
    LeaseLostError,
    ManifestConflictError,
    NotFoundError,
    StalePlanError,
    StoreError,
)
from renku_store.hashing import canonical_json
from renku_store.merging import overlaps
from renku_store.movie import Movie
from renku_store.outlook import Outlook, anything_to_do, look, look_again, private_edits, resumable
from renku_store.projection import differs
from renku_store.records._base import Json, Record
from renku_store.records.events import InputEvent, RunEvent, RunEventKind
from renku_store.records.plan import Choices, ExecutionPlan, PlannedJob
from renku_store.records.run import JobResult, JobStatus, LeaseToken, RunOutcome, RunProgress, RunRecord
from renku_store.running.runner import Runner, RunResult

CancelOutcome = Literal["interrupted", "cancelling", "published", "abandoned"]
"""What became of a run that was to be cancelled: stopped, not yet stopped, or come to its end before."""
OnConflict = Literal["rebase", "fail"]
"""What a run does when someone else has published meanwhile."""


class RunReport(Record):
    """What `run_movie` did. `run` is absent where nothing differed; costs are in US dollars."""

    run: str | None = None
    revision: str | None = None
    status: RunOutcome
    jobs: dict[str, JobResult] = {}
    made: int = 0
    reused: int = 0
    cost: float = 0.0


@dataclass(frozen=True, slots=True)
class MovieStatus:
    """Runs that have not come to an end, and edits that no run has taken."""

    runs: list[RunRecord]
    pending: list[InputEvent]


async def run_movie(
    movie: Movie,
    *,
    produce: Produce,
    inputs: Mapping[str, Json] | None = None,
    concurrency: int | str = bounds.CONCURRENCY_DEFAULT,
    on_conflict: OnConflict = "rebase",
    choices: Choices | None = None,
    allow_partial: bool = False,
    check: Callable[[ExecutionPlan], None] | None = None,
    on_event: Callable[[RunProgress], None] | None = None,
    stop: asyncio.Event | None = None,
    logger: logging.Logger | None = None,
) -> RunReport:
    """Plan, run what is dirty, and publish if anything differs from the current revision.

    A run that died, failed or was interrupted is taken up again; `inputs` are private to the run until it publishes,
    and a run with other private inputs is begun anew. When `stop` is set, or `cancel` called anywhere, running calls
    are cancelled and finished ones kept. If someone else publishes meanwhile, the run plans again on that revision, and
    nothing is made twice; with `on_conflict="fail"` it raises `ManifestConflictError` or `StalePlanError`, and the next
    run goes on.

    `choices` say what this run shall make beyond or short of what is dirty; a run that is taken up again keeps to its
    own. With `allow_partial` what succeeded is published though something failed: where an older value is there, it
    stays, marked as outdated.

    `check` is handed the plan before anything is begun, and may refuse it by raising.

    Raises `InputConflictError` where both changed an input, differently, `LeaseLostError` if someone else took the run
    over, and what `Runner.execute` raises.
    """
    given = dict(inputs or {})
    while True:
        outset = await asyncio.to_thread(_set_out, movie, given, choices)
        if check is not None:
            check(outset.outlook.plan)
        if outset.unfinished is None and not anything_to_do(outset.outlook):
            return _nothing_to_do(outset.outlook, outset.finished)
        try:
            outlook, token = await asyncio.to_thread(_begin, movie, outset, given)
            break
        except LeaseLostError:
            # Somebody else took the unfinished run up after we had looked: then ours is another one.
            continue
    runner = Runner(movie, concurrency=concurrency, on_event=on_event, logger=logger)
    conclude = partial(_conclude, movie, token=token, allow_partial=allow_partial)
    with movie.leases.held(token) as heartbeat:
        execute = partial(runner.execute, produce=produce, token=token, heartbeat=heartbeat, stop=stop)
        report = await _execute(movie, outlook, token, execute, conclude, on_conflict)
    if on_event is not None:
        on_event(_finished(movie, report))
    return report


async def _execute(
    movie: Movie,
    outlook: Outlook,
    token: LeaseToken,
    execute: Callable[[ExecutionPlan], Awaitable[RunResult]],
    conclude: Callable[[Sequence[RunResult]], RunReport],
    on_conflict: OnConflict,
) -> RunReport:
    """Run a plan and come to its end; again on what somebody else has published meanwhile, as often as that happens."""
    executions: list[RunResult] = []
    while True:
        try:
            executions.append(await execute(outlook.plan))
            return await asyncio.to_thread(conclude, executions)
        except (ManifestConflictError, StalePlanError):
            if on_conflict == "fail":
                raise
            outlook = await asyncio.to_thread(_rebase, movie, outlook, token)


def movie_status(movie: Movie) -> MovieStatus:
    """Runs that are neither published nor abandoned, and edits that no run has taken."""
    pending = [event for event in movie.events.pending() if isinstance(event, InputEvent)]
    return MovieStatus(movie.leases.unfinished(), pending)


def abandon(movie: Movie, run: str) -> None:
    """Give an unfinished run up: archived, nothing published, its results stay reusable.

    Raises `NotFoundError` for a run that is not unfinished, `LeaseLostError` while another process holds it.
    """
    movie.committer.repair()
    record = next((record for record in movie.leases.unfinished() if record.run == run), None)
    if record is None:
        raise NotFoundError(f"There is no unfinished run {run}.", hint="`renku-store status` lists them.")
    token = movie.leases.take_over(run)
    _end(movie, token, "abandoned", record.edits_through, {})


def cancel(movie: Movie, run: str, *, wait_seconds: float = bounds.CANCEL_WAIT_SECONDS) -> CancelOutcome:
    """Stop a running run, of whatever process, as Ctrl-C there would: what has finished is kept, and it can be resumed.

    Waits up to `wait_seconds` for its end and says what that was. Raises `NotFoundError` for a run that is not running.
    """
    movie.leases.cancel(run)
    until = movie.clock.monotonic() + wait_seconds
    while True:
        record = movie.leases.record(run)
        if not record.alive:
            return "interrupted" if record.status not in ("published", "abandoned") else record.status
        if movie.clock.monotonic() >= until:
            return "cancelling"
        time.sleep(bounds.CLAIM_POLL_SECONDS)


@dataclass(frozen=True, slots=True)
class _Outset:
    """What a run begins with: the run that it takes up, or the one whose publishing it has just finished."""

    outlook: Outlook
    unfinished: RunRecord | None
    finished: PublishedRevision | None


def _set_out(movie: Movie, given: Mapping[str, Json], choices: Choices | None) -> _Outset:
    newest = next(resumable(movie, given, choices), None)
    finished = _finish(movie, newest.run) if newest else None
    if finished is not None:
        return _Outset(look(movie, given=given, choices=choices), None, finished)
    return _Outset(*look_again(movie, given, choices), None)


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


def _nothing_to_do(outlook: Outlook, finished: PublishedRevision | None) -> RunReport:
    plan = outlook.plan
    jobs = {job: JobResult(status=_untouched(entry), signature=entry.signature) for job, entry in plan.jobs.items()}
    if finished is not None:
        return RunReport(run=finished.run, revision=finished.revision, status="published", jobs=jobs)
    return RunReport(revision=plan.base_revision, status="unchanged", jobs=jobs)


def _begin(movie: Movie, outset: _Outset, given: Mapping[str, Json]) -> tuple[Outlook, LeaseToken]:
    """Take the lease; make durable what the run needs: its plan and its own inputs.

    Raises `LeaseLostError` where the unfinished run is another's by now.
    """
    unfinished = outset.unfinished
    run = unfinished.run if unfinished else movie.events.new_id()
    outlook = outset.outlook.of(movie.id, run)
    plan = outlook.plan
    if unfinished is None:
        token = movie.leases.start(run, base_revision=plan.base_revision, edits_through=plan.edits_through)
    else:
        token = movie.leases.take_over(run, base_revision=plan.base_revision, edits_through=plan.edits_through)
    try:
        if unfinished is None:
            movie.events.append_inputs(given, run=run)
        _prepare(movie, outlook, "resumed" if unfinished else "planned")
    except BaseException:
        with suppress(StoreError):  # what cannot be released now expires by itself
            movie.leases.release(token)
        raise
    return outlook, token


def _prepare(movie: Movie, outlook: Outlook, kind: RunEventKind) -> None:
    plan = outlook.plan
    movie.blobs.put_many([canonical_json(outlook.values[key]) for key, entry in plan.inputs.items() if entry.blob])
    movie.plans.save(plan)
    _note(movie, plan.run or "", kind, {"base": plan.base_revision, "jobs": len(plan.dirty)})


def _rebase(movie: Movie, before: Outlook, token: LeaseToken) -> Outlook:
    """Plan the same run again, on what someone else has published; `InputConflictError` where both changed an input."""
    movie.committer.repair()
    frozen = before.plan.edits_through
    private, choices = private_edits(movie, token.run), before.plan.choices
    after = look(movie, private, edits_through=frozen, choices=choices).of(movie.id, token.run)
    own = {event.input for event in private}
    # Of a movie-wide edit that the other has taken, or seen and overruled, nothing is left to be contested.
    contested = [
        key
        for key in overlaps(before.base_hashes, after.base_hashes, before.hashes)
        if key in own or after.hashes.get(key) != after.base_hashes.get(key)
    ]
    if contested:
        _end(movie, token, "abandoned", before.plan.edits_through, {"conflict": [*contested]})
        raise _input_conflict(movie, before, after, contested)
    with movie.metadata.write() as transaction:
        if not transaction.runs.holds(token):
            raise LeaseLostError(f"The run {token.run} was taken over.", hint="`renku-store status` shows by whom.")
        transaction.runs.update(
            token.run, base_revision=after.plan.base_revision, edits_through=after.plan.edits_through
        )
    _prepare(movie, after, "rebased")
    return after


def _input_conflict(movie: Movie, before: Outlook, after: Outlook, contested: list[str]) -> InputConflictError:
    theirs = after.base.inputs if after.base else {}
    values: dict[str, tuple[object, object]] = {
        key: (movie.value(theirs[key]) if key in theirs else None, before.values.get(key)) for key in contested
    }
    told = "; ".join(f"{key} is {_short(other)} there and {_short(own)} here" for key, (other, own) in values.items())
    return InputConflictError(
        f"{after.plan.base_revision}, published meanwhile, and this run changed the same inputs: {told}.",
        values=values,
        hint="Nothing is lost: set the value that is meant and run again; what was made is reused.",
    )


def _short(value: object) -> str:
    text = orjson.dumps(value).decode()
    return text if len(text) <= 60 else text[:57] + "..."


def _conclude(
    movie: Movie, executions: Sequence[RunResult], *, token: LeaseToken, allow_partial: bool = False
) -> RunReport:
    """Publish what succeeded as a whole, or in part where that is allowed; archive what did not."""
    result = executions[-1]
    plan = result.plan
    partial = allow_partial and not result.succeeded and not result.interrupted
    manifest = result.build_manifest() if result.succeeded or partial else None
    if manifest is not None and not differs(result.base, manifest.inputs, manifest.artefacts, manifest.graph):
        if result.succeeded:
            _end(movie, token, "unchanged", plan.edits_through, {})
            return _report(executions, "unchanged", plan.base_revision)
        manifest = None
    if manifest is None:
        outcome: Literal["interrupted", "failed"] = "interrupted" if result.interrupted else "failed"
        _end(movie, token, outcome, plan.edits_through, {"failed": _failed_jobs(result)})
        return _report(executions, outcome, plan.base_revision)
    archive = movie.committer.archive(result.run, plan.edits_through, token=token)
    manifest = manifest.model_copy(update={"archive": archive})
    published = movie.manifests.save_manifest(manifest, previous_hash=plan.manifest_base_hash, token=token)
    return _report(executions, "partial" if partial else "published", published.revision)


def _report(executions: Sequence[RunResult], status: RunOutcome, revision: str | None) -> RunReport:
    """What this call of `run_movie` did; what it made before a rebase and took over after it counts as made."""
    last = executions[-1]
    made = {
        outcome.signature: outcome
        for execution in executions
        for outcome in execution.jobs.values()
        if outcome.status == "made"
    }
    jobs = {
        job: last.jobs.get(job) or JobResult(status=_untouched(entry), signature=entry.signature)
        for job, entry in last.plan.jobs.items()
    }
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
        cost=round(sum(outcome.cost for execution in executions for outcome in execution.jobs.values()), 6),
    )


def _untouched(entry: PlannedJob) -> JobStatus:
    return "skipped" if entry.left_out else "clean"


def _made_before(outcome: JobResult, last: RunResult, made: Mapping[str | None, JobResult]) -> bool:
    here = {entry.signature for entry in last.jobs.values() if entry.status == "made"}
    return outcome.signature in made and outcome.signature not in here


def _finished(movie: Movie, report: RunReport) -> RunProgress:
    totals: dict[str, Json] = {"made": report.made, "reused": report.reused, "cost": report.cost}
    return RunProgress(
        event="run-finished",
        run=report.run or "",
        at=timestamp(movie.clock.now()),
        status=report.status,
        data={"revision": report.revision, **totals},
    )


def _failed_jobs(result: RunResult) -> list[Json]:
    return [job for job, outcome in result.jobs.items() if outcome.status == "failed"]


def _end(movie: Movie, token: LeaseToken, kind: RunEventKind, edits_through: int, data: Mapping[str, Json]) -> None:
    """Note how a run ended without a revision, archive it, and let its lease go. Only its holder may say so."""
    movie.leases.check(token)
    _note(movie, token.run, kind, data)
    movie.committer.archive(token.run, edits_through, token=token)
    final = kind in {"abandoned", "unchanged"}
    with movie.metadata.write() as transaction:
        transaction.runs.update(
            token.run,
            status="abandoned" if final else "failed",
            ended_at=timestamp(movie.clock.now()) if final else None,
        )
        transaction.runs.release(token)


def _note(movie: Movie, run: str, kind: RunEventKind, data: Mapping[str, Json]) -> None:
    now = timestamp(movie.clock.now())
    movie.events.append_many([RunEvent(id=movie.events.new_id(), run=run, kind=kind, data=dict(data), created_at=now)])
