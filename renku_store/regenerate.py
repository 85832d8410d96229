"""The daily loop as one function: look at what changed, run what depends on it, publish.

what the movie is now, what the run shall have -> plan -> lease -> run -> archive -> publish
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import suppress
from functools import partial
from typing import Literal, get_args

from renku_store import bounds
from renku_store.calls import Produce
from renku_store.clock import timestamp
from renku_store.conclusion import conclude, end_run, note_step
from renku_store.costs import Prices, budget_warnings
from renku_store.errors import (
    BlobMissingError,
    InputConflictError,
    InvalidValueError,
    LeaseLostError,
    ManifestConflictError,
    StalePlanError,
    StoreError,
)
from renku_store.following import followable
from renku_store.hashing import canonical_json
from renku_store.many import bytes_of_graph
from renku_store.merging import Overlap, contested_takes, contested_versions, overlaps, retaken
from renku_store.movie import Movie
from renku_store.outlook import Outlook, in_short, look, priced, private_edits
from renku_store.outset import Outset, set_out
from renku_store.records._base import Json
from renku_store.records.events import ArtefactEvent, RunEventKind
from renku_store.records.ids import revision_number
from renku_store.records.manifest import ManifestArtefact
from renku_store.records.plan import Choices, ExecutionPlan
from renku_store.records.run import LeaseToken, RunProgress, RunReport
from renku_store.running.activity import Listener
from renku_store.running.budget import checked_limit
from renku_store.running.runner import Runner, RunResult

OnConflict = Literal["rebase", "fail"]
"""What a run does when someone else has published meanwhile."""

_LOSSES_MAX = 2
"""How often a run looks for what is missing, where other machines remove what they have not heard of."""


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
    drain: asyncio.Event | None = None,
    keep_going: bool = True,
    logger: logging.Logger | None = None,
    prices: Prices | None = None,
    max_cost: float | None = None,
    outset: Outset | None = None,
) -> RunReport:
    """Plan, run what is dirty, and publish if anything differs from the current revision.

    A run that died, failed or was interrupted is taken up again; `inputs` are private to the run until it publishes,
    and a run with other private inputs is begun anew. When `drain` is set, nothing more is begun and running calls go
    on to their ends; when `stop` is set, or `cancel` called anywhere, they are cancelled. Finished ones are kept, and
    the next run takes it up again. Without `keep_going` nothing more is begun once a job has failed.

    If someone else publishes meanwhile, the run plans again on that revision, and nothing is made twice; with
    `on_conflict="fail"` it raises `ManifestConflictError` or `StalePlanError`, and the next run goes on.

    `choices` say what this run shall make beyond or short of what is dirty; a run that is taken up again keeps to its
    own. With `allow_partial` what succeeded is published though something failed: where an older value is there, it
    stays, marked as outdated. `check` is handed the plan before anything is begun, and may refuse it by raising; what
    `on_event` raises is logged. `outset`: what `set_out` found. `max_cost` is what the run may spend, in US dollars,
    earlier executions included: the first call that could bring it above that is not made, nor any other; those under
    way end, and the run is `failed` and can be taken up again.
    `prices` tell what calls cost where the blueprint does not (`ProducerRegistry.price`); calls that nobody can price
    count as nothing, and the logger is warned.

    Raises `InputConflictError` where both changed an input, or decided on an artefact, differently, `LeaseLostError` if
    someone else took the run over, and what `Runner.execute` raises.
    """
    _check_given(on_conflict, max_cost)
    begun = await _begun(movie, dict(inputs or {}), choices, prices, check, outset)
    if isinstance(begun, RunReport):
        return begun
    outlook, token = begun
    logger = logger or logging.getLogger("renku_store")
    for warning in budget_warnings(outlook.plan, max_cost):
        logger.warning("%s", warning)
    ended = partial(conclude, movie, token=token, allow_partial=allow_partial)
    told = on_event and Listener(on_event, logger)
    with movie.leases.held(token) as heartbeat, followable(movie, token.run, told, logger) as tell:
        runner = Runner(movie, concurrency=concurrency, on_event=tell, logger=logger, max_cost=max_cost)
        execute = partial(runner.execute, produce=produce, token=token, heartbeat=heartbeat, stop=stop)
        execute = partial(execute, drain=drain, keep_going=keep_going)
        rebase = partial(_rebase, movie, token=token, prices=prices)
        losses = _LOSSES_MAX if movie.announcer.needed else 0
        report = await _execute(outlook, execute, ended, None if on_conflict == "fail" else rebase, losses)
        tell(_finished(movie, report))
    return report


def _check_given(on_conflict: str, max_cost: float | None) -> None:
    checked_limit(max_cost)
    if on_conflict not in get_args(OnConflict):
        raise InvalidValueError(f"There is no on_conflict={on_conflict!r}.", hint="Use 'rebase' or 'fail'.")


async def _begun(
    movie: Movie,
    given: Mapping[str, Json],
    choices: Choices | None,
    prices: Prices | None,
    check: Callable[[ExecutionPlan], None] | None,
    outset: Outset | None,
) -> tuple[Outlook, LeaseToken] | RunReport:
    """What a run sets out with, and its lease; where there is nothing to do, what to say of that."""
    while True:
        if outset is None:
            outset = await asyncio.to_thread(set_out, movie, inputs=given, choices=choices, prices=prices)
        if check is not None:
            check(outset.plan)
        if (report := outset.nothing_to_do()) is not None:
            return report
        try:
            return await asyncio.to_thread(_begin, movie, outset, given)
        except LeaseLostError:
            # Somebody else took the unfinished run up after we had looked: then ours is another one.
            outset = None


async def _execute(
    outlook: Outlook,
    execute: Callable[[ExecutionPlan], Awaitable[RunResult]],
    conclude: Callable[[Sequence[RunResult]], RunReport],
    rebase: Callable[[Outlook], Outlook] | None,
    losses: int,
) -> RunReport:
    """Run a plan and come to its end; again on what somebody else has published meanwhile, as often as that happens.

    Up to so many `losses`: what another machine has removed before it could hear of this run is made anew.
    """
    executions: list[RunResult] = []
    while True:
        try:
            executions.append(await execute(outlook.plan))
            return await asyncio.to_thread(conclude, executions)
        except (ManifestConflictError, StalePlanError, BlobMissingError) as error:
            losses -= isinstance(error, BlobMissingError)
            if rebase is None or losses < 0:
                raise
            outlook = await asyncio.to_thread(rebase, outlook)


def _begin(movie: Movie, outset: Outset, given: Mapping[str, Json]) -> tuple[Outlook, LeaseToken]:
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
        _prepare(movie, outlook, token, "resumed" if unfinished else "planned")
    except BaseException:
        with suppress(StoreError):  # what cannot be released now expires by itself
            movie.leases.release(token)
        raise
    return outlook, token


def _prepare(movie: Movie, outlook: Outlook, token: LeaseToken, kind: RunEventKind) -> None:
    plan = outlook.plan
    movie.blobs.put_many([canonical_json(outlook.values[key]) for key, entry in plan.inputs.items() if entry.blob])
    movie.plans.save(plan, movie.leases.kept(token), graph=bytes_of_graph(plan.graph, recorded=False))
    note_step(movie, plan.run or "", kind, {"base": plan.base_revision, "jobs": len(plan.dirty)})


def _rebase(movie: Movie, before: Outlook, token: LeaseToken, prices: Prices | None) -> Outlook:
    """Plan the same run again, on what someone else has published; `InputConflictError` where both changed the same."""
    movie.committer.repair()
    frozen = before.plan.edits_through
    private, choices = private_edits(movie, token.run), before.plan.choices
    after = look(movie, private, edits_through=frozen, choices=choices).of(movie.id, token.run)
    after = priced(movie, after, prices)
    own = {event.input for event in private}
    # Of a movie-wide edit that the other has taken, or seen and overruled, nothing is left to be contested.
    contested = [
        key
        for key in overlaps(before.base_hashes, after.base_hashes, before.hashes)
        if key in own or after.hashes.get(key) != after.base_hashes.get(key)
    ]
    versions = contested_versions(_held(before), before.plan, _held(after), after.plan)
    versions |= _contested_takes(movie, before, after, token.run)
    if contested or versions:
        end_run(movie, token, "abandoned", before.plan.edits_through, {"conflict": [*contested, *versions]})
        raise _input_conflict(movie, before, after, contested, versions)
    with movie.metadata.write() as transaction:
        if not transaction.runs.holds(token):
            raise LeaseLostError(f"The run {token.run} was taken over.", hint="`renku-store status` shows by whom.")
        transaction.runs.update(
            token.run, base_revision=after.plan.base_revision, edits_through=after.plan.edits_through
        )
    _prepare(movie, after, token, "rebased")
    return after


def _held(outlook: Outlook) -> Mapping[str, ManifestArtefact]:
    return outlook.base.artefacts if outlook.base else {}


def _contested_takes(movie: Movie, before: Outlook, after: Outlook, run: str) -> dict[str, Overlap]:
    """`contested_takes`, with what the log says of both sides."""
    base, theirs = _held(before), _held(after)
    moved = retaken(base, theirs)
    chosen, made = set[str](), dict[str, str]()
    if moved and after.base is not None:
        number = revision_number(after.base.revision)
        with movie.metadata.read() as reader:
            told = {key: reader.events.artefact_at(key, number) for key in moved}
        chosen = {key for key, event in told.items() if event is not None and event.status == "chosen"}
    if chosen:
        ours = (event for event in movie.events.stream(run=run) if isinstance(event, ArtefactEvent))
        made = {event.artefact: event.value.hash for event in ours if event.status == "succeeded" and event.value}
    return contested_takes(base, before.plan, theirs, after.plan, chosen, made)


def _input_conflict(
    movie: Movie, before: Outlook, after: Outlook, contested: list[str], versions: Mapping[str, Overlap]
) -> InputConflictError:
    theirs = after.base.inputs if after.base else {}
    values: dict[str, tuple[object, object]] = {
        key: (movie.value(theirs[key]) if key in theirs else None, before.values.get(key)) for key in contested
    }
    values |= {key: (overlap.theirs, overlap.ours) for key, overlap in versions.items()}
    pairs = [(key, in_short(other), in_short(own)) for key, (other, own) in values.items()]
    told = "; ".join(f"{key} is {other} there and {own} here" for key, other, own in pairs)
    return InputConflictError(
        f"{after.plan.base_revision}, published meanwhile, and this run changed the same: {told}.",
        values=values,
        hint="Set, edit or choose what is meant and run again: what was made is reused until a collection takes it.",
    )


def _finished(movie: Movie, report: RunReport) -> RunProgress:
    totals: dict[str, Json] = {"made": report.made, "reused": report.reused, "cost": report.cost}
    return RunProgress(
        event="run-finished",
        run=report.run or "",
        at=timestamp(movie.clock.now()),
        status=report.status,
        data={"revision": report.revision, **totals},
    )
