"""The daily loop as one function: look at what changed, run what depends on it, publish.

what the movie is now, what the run shall have -> plan -> lease -> run -> archive -> publish
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from typing import Any, Literal

import orjson

from renku_store import bounds
from renku_store.blueprint import Blueprint, check_input, effective_inputs, expand, parse_blueprint, parse_graph
from renku_store.calls import Produce
from renku_store.clock import timestamp
from renku_store.commit import PublishedRevision
from renku_store.errors import BlueprintError, DamageError, InvalidValueError, ManifestConflictError, NotFoundError
from renku_store.hashing import canonical_json, hash_value, parse_json
from renku_store.media_types import is_json
from renku_store.movie import Movie
from renku_store.planner import Planner
from renku_store.projection import differs
from renku_store.records._base import Json, Record
from renku_store.records.events import InputEvent, RunEvent, RunEventKind
from renku_store.records.graph import ProducerGraph
from renku_store.records.ids import check_id
from renku_store.records.manifest import Manifest
from renku_store.records.plan import ExecutionPlan
from renku_store.records.run import JobResult, LeaseToken, RunOutcome, RunProgress, RunRecord
from renku_store.running.runner import Runner, RunResult
from renku_store.selection import documents_needed

BLUEPRINT = "@blueprint"
CONFIG = "@config"


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


@dataclass(frozen=True, slots=True)
class _Outlook:
    """What a movie would be: its plan, on which revision, and which values that is made of."""

    plan: ExecutionPlan
    base: Manifest | None
    values: dict[str, Json]


def plan_movie(movie: Movie, *, inputs: Mapping[str, Json] | None = None) -> ExecutionPlan:
    """What a run would do now, and why; writes nothing. `inputs` are values for that run alone."""
    return _look(movie, inputs or {}).plan


async def run_movie(
    movie: Movie,
    *,
    produce: Produce,
    inputs: Mapping[str, Json] | None = None,
    concurrency: int | str = bounds.CONCURRENCY_DEFAULT,
    on_event: Callable[[RunProgress], None] | None = None,
    stop: asyncio.Event | None = None,
    logger: logging.Logger | None = None,
) -> RunReport:
    """Plan, run what is dirty, and publish if anything differs from the current revision.

    A run that died, failed or was interrupted is taken up again; `inputs` are private to the run until it publishes,
    and a run with other private inputs is begun anew. When `stop` is set, running calls are cancelled and finished
    ones kept. Raises `ManifestConflictError` if someone else published meanwhile, and what `Runner.execute` raises.
    """
    private = dict(inputs or {})
    unfinished = await asyncio.to_thread(_resumable, movie, private)
    if unfinished is not None:
        published = await asyncio.to_thread(_finish, movie, unfinished.run)
        if published is not None:
            return RunReport(run=unfinished.run, revision=published.revision, status="published")
        private = {**await asyncio.to_thread(_private_inputs, movie, unfinished.run), **private}
    outlook = await asyncio.to_thread(_look, movie, private)
    if unfinished is None and not _anything_to_do(outlook):
        jobs = {job: JobResult(status="clean", signature=entry.signature) for job, entry in outlook.plan.jobs.items()}
        return RunReport(revision=outlook.plan.base_revision, status="unchanged", jobs=jobs)
    run = unfinished.run if unfinished else movie.events.new_id()
    plan = outlook.plan.model_copy(update={"run": run, "movie": movie.id})
    token = await asyncio.to_thread(_begin, movie, plan, outlook, private, unfinished)
    runner = Runner(movie, concurrency=concurrency, on_event=on_event, logger=logger)
    with movie.leases.held(token):
        result = await runner.execute(plan, produce=produce, token=token, stop=stop)
        report = await asyncio.to_thread(_conclude, movie, result, token)
    if on_event is not None:
        on_event(_finished(movie, report))
    return report


def set_inputs(movie: Movie, values: Mapping[str, Json], *, edited_by: str = "user") -> list[InputEvent]:
    """Append movie-wide edits, all or none; the next run that plans takes them.

    Ids and types are checked against the movie's blueprint. Raises `InvalidIdError`, `InvalidValueError`,
    `NotFoundError`.
    """
    blueprint = _blueprint_of(movie, values)
    for key, value in values.items():
        check_id("input", key)
        if isinstance(blueprint, Blueprint) and not key.startswith("@"):
            check_input(blueprint, key, value)
        canonical_json(value)
    return movie.events.append_inputs(values, edited_by=edited_by)


def movie_blueprint(movie: Movie) -> Blueprint | ProducerGraph | None:
    """The movie's present blueprint or graph, pending edits included; None before it has one."""
    return _blueprint_of(movie, {})


def movie_status(movie: Movie) -> MovieStatus:
    """Runs that are neither published nor abandoned, and edits that no run has taken."""
    pending = [event for event in movie.events.pending() if isinstance(event, InputEvent)]
    return MovieStatus(movie.leases.unfinished(), pending)


def abandon(movie: Movie, run: str) -> None:
    """Give an unfinished run up: archived, nothing published, its results stay reusable.

    Raises `NotFoundError` for a run that is not unfinished, `LeaseLostError` while another process holds it.
    """
    record = next((record for record in movie.leases.unfinished() if record.run == run), None)
    if record is None:
        raise NotFoundError(f"There is no unfinished run {run}.", hint="`renku-store status` lists them.")
    token = movie.leases.take_over(run)
    _end(movie, token, "abandoned", record.edits_through, {})


# What the movie would be


def _look(movie: Movie, private: Mapping[str, Json]) -> _Outlook:
    # Edits first: one that a run takes in between is then seen twice, which is no harm, and never not at all.
    pending = [event for event in movie.events.pending() if isinstance(event, InputEvent)]
    base, base_hash = movie.manifests.current() or (None, None)
    edits = {**{event.input: movie.events.read_value(event) for event in pending}, **private}
    before = _input_values(movie, base, replaced=edits.keys())
    given = {**before, **edits}
    graph, values = _expanded(movie.id, given)
    base_graph, base_values = _base_graph(movie, base, before)
    documents = _documents(movie, base, documents_needed(graph) | documents_needed(base_graph or graph))
    damaged = movie.blobs.damaged({a.blob: a.size for a in base.artefacts.values() if a.blob}) if base else set()

    def planned(failed: set[str]) -> ExecutionPlan:
        return Planner.compute_plan(
            graph=graph,
            manifest=base,
            manifest_hash=base_hash,
            inputs=values,
            base_graph=base_graph,
            base_inputs=base_values,
            defaults=values.keys() - given.keys(),
            documents=documents,
            damaged=damaged,
            failed=failed,
            edits_through=max((event.seq or 0 for event in pending), default=0),
        )

    plan = planned(set())
    dirty = {entry.signature for entry in plan.jobs.values() if entry.state != "clean" and entry.signature}
    failed = movie.events.failed(dirty)
    return _Outlook(planned(failed) if failed else plan, base, values)


def _input_values(movie: Movie, base: Manifest | None, *, replaced: Collection[str]) -> dict[str, Json]:
    """The values of a revision's inputs; a damaged one is no harm where a new value replaces it."""
    values: dict[str, Json] = {}
    for key, entry in base.inputs.items() if base else ():
        try:
            values[key] = movie.value(entry)
        except DamageError:
            if key not in replaced:
                raise
    return values


def _expanded(movie: str, given: Mapping[str, Json]) -> tuple[ProducerGraph, dict[str, Json]]:
    """The graph of some inputs, and their values with the blueprint's defaults."""
    source = given.get(BLUEPRINT)
    match source:
        case None:
            raise NotFoundError(
                f"The movie {movie} has no blueprint.",
                hint="`renku-store set @blueprint @FILE`, or `run --blueprint FILE`.",
            )
        case str():
            blueprint = parse_blueprint(source, BLUEPRINT)
            values = effective_inputs(blueprint, given)
            return expand(blueprint, values, given.get(CONFIG)), values
        case dict():
            return parse_graph(source, given.keys()), dict(given)
        case _:
            raise InvalidValueError("The @blueprint is neither YAML text nor a graph.", hint="Set it from a file.")


def _base_graph(
    movie: Movie, base: Manifest | None, before: Mapping[str, Json]
) -> tuple[ProducerGraph | None, dict[str, Json] | None]:
    """What the base revision was made from, for reasons; None where it cannot be told any more."""
    if base is None or base.graph is None:
        return None, None
    try:
        graph = ProducerGraph.model_validate_json(movie.blobs.read(base.graph))
        return graph, _expanded(movie.id, before)[1]
    except (DamageError, BlueprintError, InvalidValueError, NotFoundError):
        return None, None


def _documents(movie: Movie, base: Manifest | None, needed: set[str]) -> dict[str, Json]:
    """The parsed JSON artefacts of the base that some job reads into; one that cannot be read is left out."""
    documents: dict[str, Json] = {}
    for key in needed & base.artefacts.keys() if base else ():
        artefact = base.artefacts[key] if base else None
        if artefact is not None and is_json(artefact.mime_type):
            try:
                documents[artefact.hash] = parse_json(movie.read(artefact))
            except (DamageError, orjson.JSONDecodeError):
                continue
    return documents


def _blueprint_of(movie: Movie, values: Mapping[str, Json]) -> Blueprint | ProducerGraph | None:
    source: Any = values.get(BLUEPRINT)
    if source is None:
        event = next(
            (e for e in reversed(movie.events.pending()) if isinstance(e, InputEvent) and e.input == BLUEPRINT), None
        )
        current = movie.manifests.current() if event is None else None
        if event is not None:
            source = movie.events.read_value(event)
        elif current is not None and BLUEPRINT in current[0].inputs:
            source = movie.value(current[0].inputs[BLUEPRINT])
    if isinstance(source, str):
        return parse_blueprint(source, BLUEPRINT)
    return parse_graph(source, None) if isinstance(source, dict) else None


# Beginning, resuming, ending


def _anything_to_do(outlook: _Outlook) -> bool:
    plan = outlook.plan
    if plan.dirty:
        return True
    kept = {output.id for node in plan.graph.nodes for output in node.produces}
    artefacts = {key: value for key, value in outlook.base.artefacts.items() if key in kept} if outlook.base else {}
    inputs = {key: value for key, value in plan.inputs.items() if key not in plan.defaults}
    return differs(outlook.base, inputs, artefacts, plan.graph_hash)


def _resumable(movie: Movie, private: Mapping[str, Json]) -> RunRecord | None:
    """The newest run that nobody holds and that has not ended; with private inputs only one that has the very same."""
    wanted = {key: hash_value(value) for key, value in private.items()}
    for record in reversed(movie.leases.unfinished()):
        if record.alive:
            continue
        if not wanted or wanted == {e.input: e.hash for e in movie.events.stream(run=record.run) if e.type == "input"}:
            return record
    return None


def _finish(movie: Movie, run: str) -> PublishedRevision | None:
    """Publish what a run had meant to publish when it died, unless someone else has published that revision since."""
    try:
        return movie.committer.finish(run)
    except ManifestConflictError:
        return None


def _private_inputs(movie: Movie, run: str) -> dict[str, Json]:
    return {e.input: movie.events.read_value(e) for e in movie.events.stream(run=run) if e.type == "input"}


def _begin(
    movie: Movie, plan: ExecutionPlan, outlook: _Outlook, private: Mapping[str, Json], unfinished: RunRecord | None
) -> LeaseToken:
    """Take the lease; make durable what the run needs: its plan and its own inputs."""
    run = plan.run or ""
    large = [canonical_json(outlook.values[key]) for key, entry in plan.inputs.items() if entry.blob]
    movie.blobs.put_many(large)
    if unfinished is None:
        token = movie.leases.start(run, base_revision=plan.base_revision, edits_through=plan.edits_through)
        movie.events.append_inputs(private, run=run)
    else:
        token = movie.leases.take_over(run, base_revision=plan.base_revision, edits_through=plan.edits_through)
    movie.plans.save(plan)
    _note(movie, run, "resumed" if unfinished else "planned", {"base": plan.base_revision, "jobs": len(plan.dirty)})
    return token


def _conclude(movie: Movie, result: RunResult, token: LeaseToken) -> RunReport:
    """Publish what succeeded as a whole; archive what did not."""
    metrics = result.metrics

    def report(status: RunOutcome, revision: str | None) -> RunReport:
        jobs = {
            job: result.jobs.get(job) or JobResult(status="clean", signature=entry.signature)
            for job, entry in result.plan.jobs.items()
        }
        totals = {"made": metrics.made, "reused": metrics.reused, "cost": metrics.cost}
        return RunReport(run=result.run, revision=revision, status=status, jobs=jobs, **totals)

    plan = result.plan
    if not result.succeeded:
        outcome: Literal["interrupted", "failed"] = "interrupted" if result.interrupted else "failed"
        _end(movie, token, outcome, plan.edits_through, {"failed": _failed_jobs(result)})
        return report(outcome, plan.base_revision)
    manifest = result.build_manifest()
    if not differs(result.base, manifest.inputs, manifest.artefacts, manifest.graph):
        _end(movie, token, "unchanged", plan.edits_through, {})
        return report("unchanged", plan.base_revision)
    archive = movie.committer.archive(result.run, plan.edits_through)
    manifest = manifest.model_copy(update={"archive": archive})
    published = movie.manifests.save_manifest(manifest, previous_hash=plan.manifest_base_hash, token=token)
    return report("published", published.revision)


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
    """Note how a run ended without a revision, archive it, and let its lease go."""
    _note(movie, token.run, kind, data)
    movie.committer.archive(token.run, edits_through)
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
