"""A blueprint and the values of its inputs to the graph of jobs.

Pure and deterministic: the same arguments give the same bytes of canonical JSON, in whatever order dictionaries hold
their keys. Nodes stand in the blueprint's order, then in loop order; edges are sorted, each there once. No artefact can
have two makers, for job ids are made of the producer's name and of labels without brackets, and no job can wait for
itself, for parsing refuses cycles of producers.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from renku_store.blueprint.collector import paused_collector
from renku_store.blueprint.document import Blueprint, ProducerSpec
from renku_store.blueprint.family import Family
from renku_store.blueprint.instances import make_families
from renku_store.blueprint.overriding import Overrides, blueprint_overrides, movie_overrides
from renku_store.blueprint.resolving import Resolver
from renku_store.blueprint.selecting import Turns
from renku_store.blueprint.turning import Documents
from renku_store.blueprint.values import with_defaults
from renku_store.records._base import Json
from renku_store.records.graph import GraphEdge, GraphNode, GraphOutput, ProducerGraph
from renku_store.records.pattern import pattern, pattern_of_one, pattern_of_two


@dataclass(frozen=True, slots=True)
class Expansion:
    """The graph of a blueprint, as far as it is known, and what a person should hear about it."""

    graph: ProducerGraph
    warnings: list[str]


def expand(
    blueprint: Blueprint, inputs: Mapping[str, Json], config: Json = None, documents: Documents | None = None
) -> ProducerGraph:
    """The graph of a blueprint. Defaults are filled in; types are taken as checked (`effective_inputs` does it).

    `config` is the movie's `@config`: like `overrides` it maps producers and jobs to `{config: {...}}`, and goes over
    them. `documents` has the content of JSON artefacts that loops run over or `when` reads, by id, as far as it is
    known; what they decide and they do not tell has placeholders (nodes with `awaits`). Raises `BlueprintError` where
    the blueprint does not fit the values, `NotFoundError` for undeclared ids and required inputs without a value,
    `InvalidValueError` for a `config` of another form.
    """
    return expansion(blueprint, inputs, config, documents).graph


def expansion(
    blueprint: Blueprint, inputs: Mapping[str, Json], config: Json = None, documents: Documents | None = None
) -> Expansion:
    """As `expand`, with warnings: overrides of jobs for which the lists in artefacts have no place."""
    with paused_collector():
        return _expand(blueprint, with_defaults(blueprint, inputs), config, documents or {})


def _expand(blueprint: Blueprint, values: Mapping[str, Json], config: Json, documents: Documents) -> Expansion:
    families = make_families(blueprint, values, documents)
    warnings: list[str] = []
    settings = [
        blueprint_overrides(blueprint, families, warnings),
        movie_overrides(config, families, warnings),
    ]
    resolver = Resolver(blueprint, values, families)
    nodes = [node for family in families.values() for node in _nodes(family, resolver, settings)]
    resolver.check_found()
    place = blueprint.place("timeline")
    timeline = resolver.artefact(blueprint.timeline, "timeline", place) if blueprint.timeline else None
    # Its jobs are right as they are: their producers were checked, and so were the values that they go into.
    graph = ProducerGraph.model_construct(nodes=nodes, edges=_edges(nodes, families), timeline=timeline)
    return Expansion(graph, warnings)


def _nodes(family: Family, resolver: Resolver, settings: list[Overrides]) -> Iterator[GraphNode]:
    """The jobs of a producer: what they have in common is checked once, and shared."""
    spec = family.spec
    make = pattern(_common(spec, settings))
    outputs = [
        (f".{output.name}", pattern_of_one(GraphOutput(id="", name=output.name, mime_type=output.mime_type), "id"))
        for output in spec.outputs
    ]
    overridden = {target for overrides in settings for target in overrides}
    varies = any(isinstance(value, str) and value in spec.loops for value in spec.context.values())
    for job_id, places in family.members:
        turns = family.turns(places)
        own: dict[str, object] = {}
        if varies:
            own["context"] = _context(spec, turns)
        if job_id in overridden:
            own["config"] = _config(spec, job_id, settings)
        if job_id in family.awaited:
            own["awaits"] = family.awaited[job_id]
        yield make(
            job_id=job_id,
            inputs=resolver.inputs_of(family, turns),
            produces=[output(job_id + ending) for ending, output in outputs],
            **own,
        )


def _common(spec: ProducerSpec, settings: list[Overrides]) -> GraphNode:
    """A job of a producer, but for what is its own."""
    return GraphNode(
        job_id="",
        producer=spec.name,
        produces=[],
        provider=spec.run.provider,
        provider_model=spec.run.model,
        version=spec.run.version,
        rate_key=spec.rate_key or f"{spec.run.provider}/{spec.run.model}",
        config=_config(spec, spec.name, settings),
        context=dict(spec.context),
        timeout_seconds=spec.timeout_seconds,
        max_output_bytes=spec.max_output_bytes,
        uses=dict(spec.uses) or None,
        cost=spec.cost,
        sources=None if spec.sources is None else list(spec.sources),
    )


def _context(spec: ProducerSpec, turns: Turns) -> dict[str, Json]:
    return {
        name: turns[value].value if isinstance(value, str) and value in turns else value
        for name, value in spec.context.items()
    }


def _edges(nodes: list[GraphNode], families: Mapping[str, Family]) -> list[GraphEdge]:
    """An edge for each pair of jobs where one reads what the other makes, or is there because of it."""
    makers = {output.id: node.job_id for node in nodes for output in node.produces}
    pairs: set[tuple[str, str]] = set()
    for node in nodes:
        job_id = node.job_id
        for entry in node.inputs:
            if entry.refs is not None:
                pairs.update((makers[ref.id], job_id) for ref in entry.refs if ref and ref.kind == "artefact")
            elif entry.ref is not None and entry.ref.kind == "artefact":
                pairs.add((makers[entry.ref.id], job_id))
    pairs.update(
        (makers[artefact], job_id)
        for family in families.values()
        for job_id, deciders in family.deciders.items()
        for artefact in deciders
    )
    pairs.update((makers[artefact], node.job_id) for node in nodes if node.awaits for artefact in node.awaits.artefacts)
    edge = pattern_of_two(GraphEdge.model_validate({"from": "", "to": ""}), "from_", "to")
    return [edge(before, after) for before, after in sorted(pairs)]


def _config(spec: ProducerSpec, job_id: str, settings: list[Overrides]) -> dict[str, Json]:
    """The producer's config with what is laid over it, key by key: for the producer, then for the job."""
    config = dict(spec.config)
    for overrides in settings:
        for target in dict.fromkeys((spec.name, job_id)):
            config.update(overrides.get(target, {}))
    return config
