"""The daily loop as one function: look at what changed, run what depends on it, publish.

what the movie is now, what the run shall have -> plan -> lease -> run -> archive -> publish
"""

from __future__ import annotations

import asyncio
import logging
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
from renku_store.conclusion import RunReport, conclude, end_run, note_step, nothing_to_do
from renku_store.errors import (
    InputConflictError,
    LeaseLostError,
    ManifestConflictError,
    StalePlanError,
    StoreError,
)
from renku_store.hashing import canonical_json
from renku_store.merging import overlaps
from renku_store.movie import Movie
from renku_store.outlook import Outlook, anything_to_do, look, look_again, private_edits, resumable
from renku_store.records._base import Json
from renku_store.records.events import RunEventKind
from renku_store.records.plan import Choices, ExecutionPlan
from renku_store.records.run import LeaseToken, RunProgress, RunRecord
from renku_store.running.runner import Runner, RunResult

OnConflict = Literal["rebase", "fail"]
"""What a run does when someone else has published meanwhile."""


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
            return nothing_to_do(outset.outlook.plan, outset.finished)
        try:
            outlook, token = await asyncio.to_thread(_begin, movie, outset, given)
            break
        except LeaseLostError:
            # Somebody else took the unfinished run up after we had looked: then ours is another one.
            continue
    runner = Runner(movie, concurrency=concurrency, on_event=on_event, logger=logger)
    ended = partial(conclude, movie, token=token, allow_partial=allow_partial)
    with movie.leases.held(token) as heartbeat:
        execute = partial(runner.execute, produce=produce, token=token, heartbeat=heartbeat, stop=stop)
        report = await _execute(movie, outlook, token, execute, ended, on_conflict)
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
    note_step(movie, plan.run or "", kind, {"base": plan.base_revision, "jobs": len(plan.dirty)})


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
        end_run(movie, token, "abandoned", before.plan.edits_through, {"conflict": [*contested]})
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


def _finished(movie: Movie, report: RunReport) -> RunProgress:
    totals: dict[str, Json] = {"made": report.made, "reused": report.reused, "cost": report.cost}
    return RunProgress(
        event="run-finished",
        run=report.run or "",
        at=timestamp(movie.clock.now()),
        status=report.status,
        data={"revision": report.revision, **totals},
    )
