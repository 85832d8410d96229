"""What a movie's jobs are: the graph of its blueprint, level by level as the lists in artefacts become known.

A list is known where its maker is clean, or a person's version stands in its place; else it has placeholders, until a
run has made it: `extended` is the same plan after that. What was frozen when the run planned stays so.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Container, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

import orjson

from renku_store import bounds
from renku_store.blueprint import (
    Blueprint,
    Expansion,
    Unusable,
    effective_inputs,
    expansion,
    parse_blueprint,
    parse_graph,
)
from renku_store.costs import with_prices_of
from renku_store.durations import with_seconds
from renku_store.errors import BadInputError, DamageError, InvalidValueError, NotFoundError
from renku_store.graph import GraphIndex
from renku_store.hashing import parse_json
from renku_store.media_types import is_json
from renku_store.movie import Movie
from renku_store.planner import Planner
from renku_store.records._base import Json
from renku_store.records.graph import EVERY_LABEL, GraphNode, ProducerGraph, labels_of
from renku_store.records.inputs import BLUEPRINT, CONFIG
from renku_store.records.manifest import ArtefactValue, Manifest
from renku_store.records.plan import Choices, CostRange, ExecutionPlan, PlannedJob
from renku_store.selection import documents_needed
from renku_store.sources import with_sources
from renku_store.versions import Held

Documents = dict[str, Json | Unusable]
"""The content of artefacts that decide which jobs there are, by id."""


@dataclass(frozen=True, slots=True)
class Source:
    """What a movie's graph is made from: a blueprint, or a graph as it was given. `values` include defaults."""

    made_from: Blueprint | ProducerGraph
    values: dict[str, Json]

    def expand(self, documents: Mapping[str, Json | Unusable]) -> Expansion:
        """The graph, as far as it is known with these documents."""
        if isinstance(self.made_from, ProducerGraph):
            return Expansion(with_sources(self.made_from), [])
        found = expansion(self.made_from, self.values, self.values.get(CONFIG), documents)
        return replace(found, graph=with_sources(found.graph))


def source_of(movie: str, given: Mapping[str, Json]) -> Source:
    """What the inputs of a movie make its graph from."""
    source = given.get(BLUEPRINT)
    match source:
        case None:
            raise NotFoundError(
                f"The movie {movie} has no blueprint.",
                hint="`renku-store set @blueprint @FILE`, or `run --blueprint FILE`.",
            )
        case str():
            blueprint = parse_blueprint(source, BLUEPRINT)
            return Source(blueprint, effective_inputs(blueprint, given))
        case dict():
            return Source(parse_graph(source, given.keys()), dict(given))
        case _:
            raise InvalidValueError("The @blueprint is neither YAML text nor a graph.", hint="Set it from a file.")


def base_graph(
    movie: Movie, base: Manifest | None, before: Mapping[str, Json]
) -> tuple[ProducerGraph | None, dict[str, Json] | None]:
    """What the base revision was made from, for reasons; None where it cannot be told any more."""
    if base is None or base.graph is None:
        return None, None
    try:
        graph = ProducerGraph.model_validate_json(movie.blobs.read(base.graph))
        return graph, source_of(movie.id, before).values
    except (DamageError, BadInputError):
        return None, None


def read_documents(movie: Movie, held: Iterable[tuple[str, ArtefactValue]], needed: set[str]) -> dict[str, Json]:
    """The parsed JSON artefacts that some job reads into, by hash; one that cannot be read is left out."""
    documents: dict[str, Json] = {}
    for key, artefact in held:
        if key in needed and is_json(artefact.mime_type) and artefact.hash not in documents:
            try:
                documents[artefact.hash] = parse_json(movie.read(artefact))
            except (DamageError, orjson.JSONDecodeError):
                continue
    return documents


def settle(
    movie: Movie, source: Source, base: Manifest | None, planned: Callable[[ProducerGraph], ExecutionPlan]
) -> ExecutionPlan:
    """The plan of a graph that is expanded as far as lists are known and final."""
    documents: Documents = {}
    while True:
        found = source.expand(documents)
        plan = planned(found.graph)
        more = {
            artefact: _content(movie, artefact, value)
            for artefact, value in _final(plan, base, awaited(found.graph) - documents.keys())
        }
        if not more:
            return with_notes(plan, base, found.warnings)
        documents |= more


def graph_as_held(movie: Movie, source: Source, base: Manifest | None) -> ProducerGraph:
    """The graph with the lists that a revision holds, whether they are up to date or not."""
    documents: Documents = {}
    held = base.artefacts if base else {}
    graph = source.expand(documents).graph
    while more := (awaited(graph) & held.keys()) - documents.keys():
        documents |= {artefact: _content(movie, artefact, held[artefact]) for artefact in more}
        graph = _expand(source, documents, more).graph
    return graph


def extended(
    movie: Movie,
    plan: ExecutionPlan,
    base: Manifest | None,
    known: Documents,
    made: Callable[[str], ArtefactValue | None],
) -> ExecutionPlan:
    """A plan expanded by the lists that have been made since, which are added to `known`.

    `made` gives the final value of an artefact, or None while it is not made. What the plan says of jobs that it knew
    stays. Where a list asks for what cannot be, the jobs that wait for it stay placeholders, which say so.
    """
    values = {key: movie.value(entry) for key, entry in plan.inputs.items()}
    source = source_of(movie.id, values)
    fresh: Documents = {}
    found = source.expand(known)
    while more := {
        artefact: _content(movie, artefact, value)
        for artefact in awaited(found.graph) - known.keys()
        if (value := made(artefact)) is not None
    }:
        fresh |= more
        known.update(more)
        found = _expand(source, known, more)
    try:
        after = _planned(movie, plan, base, source, found.graph)
    except BadInputError as error:
        known.update({artefact: Unusable(_told(error)) for artefact in fresh})
        after = _planned(movie, plan, base, source, source.expand(known).graph)
    jobs = {job_id: _merged(plan.jobs.get(job_id), job) for job_id, job in after.jobs.items()}
    warnings = [*dict.fromkeys([*plan.warnings, *after.warnings])]
    return with_notes(after.model_copy(update={"jobs": jobs, "warnings": warnings}), base, found.warnings)


def decides_nothing(
    movie: Movie,
    plan: ExecutionPlan,
    known: Documents,
    node: GraphNode,
    outputs: Mapping[str, ArtefactValue],
    made: Callable[[str], ArtefactValue | None],
) -> bool:
    """Whether these outputs of a job, by name, leave jobs unknown that wait for them: no list is in them, say.

    `made` gives what there is of the lists around those jobs.
    """
    asked = {output.id: outputs[output.name] for output in node.produces if output.id in awaited(plan.graph)}
    if not asked:
        return False
    source = source_of(movie.id, {key: movie.value(entry) for key, entry in plan.inputs.items()})
    given = {artefact: _content(movie, artefact, value) for artefact, value in asked.items()}
    lists = {**known, **given}
    try:
        graph = source.expand(lists).graph
        while more := {key: value for key in awaited(graph) - lists.keys() if (value := made(key)) is not None}:
            lists |= {artefact: _content(movie, artefact, value) for artefact, value in more.items()}
            graph = source.expand(lists).graph
    except BadInputError:
        return True
    wrong = (node.awaits for node in graph.nodes if node.awaits is not None and node.awaits.problem is not None)
    return any(artefact in given for awaits in wrong for artefact in awaits.artefacts)


def awaited(graph: ProducerGraph) -> set[str]:
    """The artefacts that decide which jobs there are, and have not done so."""
    placeholders = (node.awaits for node in graph.nodes if node.awaits is not None)
    return {artefact for awaits in placeholders if awaits.problem is None for artefact in awaits.artefacts}


def with_notes(plan: ExecutionPlan, base: Manifest | None, warnings: Sequence[str]) -> ExecutionPlan:
    """The plan with what a person should know of its placeholders: how many jobs they were, what is wrong with them."""
    jobs = dict(plan.jobs)
    placeholders = [node.job_id for node in plan.graph.nodes if node.awaits is not None]
    before = _jobs_before(base) if placeholders and base is not None else {}
    for job_id in placeholders:
        jobs[job_id] = jobs[job_id].model_copy(update={"jobs_before": before.get(job_id)})
    told = [*plan.warnings, *(warning for warning in warnings if warning not in plan.warnings)]
    return plan.model_copy(update={"jobs": jobs, "warnings": told})


def _jobs_before(base: Manifest) -> Counter[str]:
    """How many jobs of a revision each placeholder would stand for: known labels first, then those that are not."""
    jobs = {(entry.job, entry.produced_by) for entry in base.artefacts.values() if entry.job and entry.produced_by}
    counts: Counter[str] = Counter()
    for job_id, producer in jobs:
        labels = labels_of(job_id, producer or "") or []
        for known in range(len(labels)):
            pattern = [*labels[:known], *[EVERY_LABEL] * (len(labels) - known)]
            counts[(producer or "") + "".join(f"[{label}]" for label in pattern)] += 1
    return counts


def _expand(source: Source, known: Documents, fresh: Iterable[str]) -> Expansion:
    try:
        return source.expand(known)
    except BadInputError as error:
        known.update({artefact: Unusable(_told(error)) for artefact in fresh})
        return source.expand(known)


def _told(error: BadInputError) -> str:
    return f"{error.message} {error.hint}".strip()


def _final(plan: ExecutionPlan, base: Manifest | None, artefacts: Iterable[str]) -> Iterable[tuple[str, ArtefactValue]]:
    """Those artefacts that no run of this plan changes, with their values."""
    wanted = set(artefacts)
    held = Held(base.artefacts if base else {}, plan.edits)
    for node in plan.graph.nodes if wanted else ():
        planned = plan.jobs[node.job_id]
        for output in node.produces:
            if output.id in wanted and (planned.state == "clean" or held.edited(output.id)):
                value = held.present(output.id, planned.signature)
                if value is not None:
                    yield output.id, value


def _content(movie: Movie, artefact: str, value: ArtefactValue) -> Json | Unusable:
    try:
        return parse_json(movie.read(value))
    except DamageError as error:
        return Unusable(error.message)
    except orjson.JSONDecodeError as error:
        return Unusable(f"{artefact} is not JSON: {error}.")


def _planned(
    movie: Movie, plan: ExecutionPlan, base: Manifest | None, source: Source, graph: ProducerGraph
) -> ExecutionPlan:
    """The plan of another graph, with everything else as it was frozen in `plan`."""
    held = base.artefacts if base else {}
    choices, unfit = _fitting(plan, graph, held.keys() | plan.edits.keys())
    before = {key: movie.value(entry) for key, entry in base.inputs.items()} if base else {}
    past_graph, past_inputs = base_graph(movie, base, before)
    needed = documents_needed(graph) | documents_needed(past_graph or graph)
    values = [*held.items(), *plan.edits.items()]
    after = Planner.compute_plan(
        graph=with_prices_of(graph, plan.graph),
        manifest=base,
        manifest_hash=plan.manifest_base_hash,
        inputs=source.values,
        decided_before=plan.edits,
        base_graph=past_graph,
        base_inputs=past_inputs,
        defaults=plan.defaults,
        documents=read_documents(movie, values, needed),
        damaged=movie.blobs.damaged({value.blob: value.size for _, value in values if value.blob}),
        edits_through=plan.edits_through,
        choices=choices,
        past_costs=_past_costs(movie, {node.producer for node in graph.nodes}),
    )
    producers = _new_producers(plan, after)
    timed = with_seconds(after, movie.events.durations(producers)) if producers else after
    update = {"run": plan.run, "movie": plan.movie, "choices": plan.choices, "warnings": [*timed.warnings, *unfit]}
    return timed.model_copy(update=update)


def _fitting(plan: ExecutionPlan, graph: ProducerGraph, held: Container[str]) -> tuple[Choices | None, list[str]]:
    """A person's choices as far as they fit a graph that nobody knew when they were made, and what does not fit.

    What names nothing is made, forced and kept by nobody; and what is not there yet cannot be kept.
    """
    choices = plan.choices
    if choices is None:
        return None, []
    index = GraphIndex(graph)
    unfit: list[str] = []

    def named(name: str) -> list[str]:
        try:
            return index.jobs_named(name)
        except NotFoundError as error:
            unfit.append(f"{error.message} {error.hint}".strip())
            return []

    targets, regen, pin = (
        [job for name in names for job in named(name)] for names in (choices.targets, choices.regen, choices.pin)
    )
    keepable = [job for job in pin if all(output.id in held for output in index.node(job).produces)]
    keepable += [job for job in pin if job not in keepable and index.node(job).awaits is not None]
    unfit += [f"{job} cannot be kept as it is, for it is new; it is made." for job in pin if job not in keepable]
    if choices.targets and not targets:
        # Without a target everything would be one; whatever made the list was wanted, and is done.
        targets = [next(job for job, known in plan.jobs.items() if known.state != "deferred" and not known.left_out)]
    fit = Choices(targets=targets, regen=regen, pin=keepable, up_to_layer=choices.up_to_layer)
    return fit, [*dict.fromkeys(unfit)]


def _past_costs(movie: Movie, producers: set[str]) -> dict[str, CostRange]:
    with movie.metadata.read() as reader:
        past = reader.upkeep.past_costs(producers, bounds.COST_HISTORY_RESULTS)
    return {producer: CostRange(low=low, high=high) for producer, (low, high) in past.items()}


def _new_producers(before: ExecutionPlan, after: ExecutionPlan) -> set[str]:
    return {node.producer for node in after.graph.nodes if _is_new(before.jobs.get(node.job_id), node)}


def _is_new(before: PlannedJob | None, node: GraphNode) -> bool:
    return (before is None or before.state == "deferred") and node.awaits is None


def _merged(before: PlannedJob | None, after: PlannedJob) -> PlannedJob:
    """What is planned for a job: as before, where it was known; but where it stands in the graph is known now."""
    if before is None or before.state == "deferred":
        return after
    left_out = True if before.left_out and after.left_out else None
    return before.model_copy(update={"layer": after.layer, "left_out": left_out})
