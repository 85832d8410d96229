"""What a movie would be: the revision that there is, the edits since, the graph that they give, and the plan.

Everything that the planner, which is pure, needs to be handed is read here.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import orjson

from renku_store.blueprint import effective_inputs, expand, parse_blueprint, parse_graph
from renku_store.errors import BadInputError, DamageError, InvalidValueError, NotFoundError
from renku_store.hashing import hash_value, parse_json
from renku_store.media_types import is_json
from renku_store.movie import Movie
from renku_store.planner import Planner
from renku_store.projection import differs
from renku_store.records._base import Json
from renku_store.records.events import InputEvent
from renku_store.records.graph import ProducerGraph
from renku_store.records.ids import check_id
from renku_store.records.inputs import BLUEPRINT, CONFIG
from renku_store.records.manifest import Manifest
from renku_store.records.plan import Choices, ExecutionPlan
from renku_store.records.run import RunRecord
from renku_store.selection import documents_needed


@dataclass(frozen=True, slots=True)
class Outlook:
    """What a movie would be: its plan, on which revision, and which values that is made of."""

    plan: ExecutionPlan
    base: Manifest | None
    values: dict[str, Json]

    def of(self, movie: str, run: str) -> Outlook:
        """The same, as what a run of a movie sets out to do."""
        return replace(self, plan=self.plan.model_copy(update={"run": run, "movie": movie}))

    @property
    def hashes(self) -> dict[str, str]:
        """The hash of every input that somebody has set."""
        return {key: entry.hash for key, entry in self.plan.inputs.items() if key not in self.plan.defaults}

    @property
    def base_hashes(self) -> dict[str, str]:
        """The hash of every input of the revision that the plan stands on."""
        return {key: entry.hash for key, entry in self.base.inputs.items()} if self.base else {}


def plan_movie(
    movie: Movie, *, inputs: Mapping[str, Json] | None = None, choices: Choices | None = None
) -> ExecutionPlan:
    """What a run would do now, and why; writes nothing. `inputs` and `choices` are for that run alone.

    Where the run would take up an unfinished one, the plan names it, and shows what comes of that run's own inputs and
    choices.
    """
    outlook, unfinished = look_again(movie, dict(inputs or {}), choices)
    if unfinished is None:
        return outlook.plan
    own = private_edits(movie, unfinished.run)
    names = f", with its own {', '.join(sorted({event.input for event in own}))}" if own else ""
    return outlook.of(movie.id, unfinished.run).plan.model_copy(
        update={"warnings": [f"The unfinished run {unfinished.run} would be taken up again{names}."]}
    )


def look_again(
    movie: Movie, given: Mapping[str, Json], choices: Choices | None = None
) -> tuple[Outlook, RunRecord | None]:
    """What a run would set out from, and the unfinished run that it would take up.

    One whose own inputs or choices do not fit the movie any more is left where it is: it must not keep others from
    running. `abandon` gives it up.
    """
    for record in resumable(movie, given, choices):
        try:
            followed = choices_of(movie, record.run)
            return look(movie, private_edits(movie, record.run), given=given, choices=followed), record
        except BadInputError:
            continue
    return look(movie, given=given, choices=choices), None


def resumable(movie: Movie, given: Mapping[str, Json], choices: Choices | None = None) -> Iterator[RunRecord]:
    """The runs that nobody holds and that have not ended, newest first.

    With inputs or choices given only those that have the very same.
    """
    wanted = {key: hash_value(value) for key, value in given.items()}
    for record in reversed(movie.leases.unfinished()):
        if record.alive:
            continue
        if wanted and wanted != {event.input: event.hash for event in private_edits(movie, record.run)}:
            continue
        if choices is None or choices == choices_of(movie, record.run):
            yield record


def choices_of(movie: Movie, run: str) -> Choices | None:
    """The choices that a run follows, as its plan says; None where it has none, or no plan that can be read."""
    try:
        return movie.plans.load(run).choices
    except (NotFoundError, DamageError):
        return None


def private_edits(movie: Movie, run: str) -> list[InputEvent]:
    """The inputs that are a run's own until it publishes, oldest first."""
    return [event for event in movie.events.stream(run=run) if isinstance(event, InputEvent)]


def look(
    movie: Movie,
    private: Sequence[InputEvent] = (),
    *,
    given: Mapping[str, Json] | None = None,
    edits_through: int | None = None,
    choices: Choices | None = None,
) -> Outlook:
    """What the movie would be with the edits that are pending, and with those that are `private` to a run.

    Of two edits of one input the later one counts, whoever made it; `given` are later still. Edits beyond the number
    `edits_through` are left for the next run (None: there are no later ones).
    """
    for key in given or {}:
        check_id("input", key)
    # Edits first: one that a run takes in between is then seen twice, which is no harm, and never not at all.
    pending = [event for event in movie.events.pending() if isinstance(event, InputEvent)]
    if edits_through is not None:
        pending = [event for event in pending if (event.seq or 0) <= edits_through]
    base, base_hash = movie.manifests.current() or (None, None)
    in_order = sorted([*pending, *private], key=lambda event: event.seq or 0)
    edits = {**{event.input: movie.events.read_value(event) for event in in_order}, **(given or {})}
    before = _input_values(movie, base, replaced=edits.keys())
    present = {**before, **edits}
    graph, values = _expanded(movie.id, present)
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
            defaults=values.keys() - present.keys(),
            documents=documents,
            damaged=damaged,
            failed=failed,
            edits_through=max((event.seq or 0 for event in pending), default=edits_through or 0),
            choices=choices,
        )

    plan = planned(set())
    dirty = {entry.signature for entry in plan.jobs.values() if entry.state != "clean" and entry.signature}
    failed = movie.events.failed(dirty)
    return Outlook(planned(failed) if failed else plan, base, values)


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
    except (DamageError, BadInputError):
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


def anything_to_do(outlook: Outlook) -> bool:
    """Whether a run would do or publish anything."""
    plan = outlook.plan
    if plan.dirty:
        return True
    if any(job.left_out for job in plan.jobs.values()):
        return False  # what was asked for is there; edits wait for a run that makes something of them
    kept = {output.id for node in plan.graph.nodes for output in node.produces}
    artefacts = {key: value for key, value in outlook.base.artefacts.items() if key in kept} if outlook.base else {}
    inputs = {key: value for key, value in plan.inputs.items() if key not in plan.defaults}
    return differs(outlook.base, inputs, artefacts, plan.graph_hash)
