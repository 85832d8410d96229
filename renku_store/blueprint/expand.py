"""A blueprint and the values of its inputs to the graph of jobs.

Pure and deterministic: the same arguments give the same bytes of canonical JSON, in whatever order dictionaries hold
their keys. Nodes stand in the blueprint's order, then in loop order; edges are sorted, each there once. No artefact can
have two makers, for job ids are made of the producer's name and of labels without brackets, and no job can wait for
itself, for parsing refuses cycles of producers.
"""

from __future__ import annotations

from collections.abc import Mapping
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
    return Expansion(ProducerGraph(nodes=nodes, edges=_edges(nodes, families), timeline=timeline), warnings)


def _nodes(family: Family, resolver: Resolver, settings: list[Overrides]) -> list[GraphNode]:
    spec = family.spec
    rate_key = spec.rate_key or f"{spec.run.provider}/{spec.run.model}"
    nodes: list[GraphNode] = []
    for job_id, places in family.members:
        turns = family.turns(places)
        nodes.append(
            GraphNode(
                job_id=job_id,
                producer=spec.name,
                inputs=resolver.inputs_of(family, turns),
                produces=[
                    GraphOutput(id=f"{job_id}.{output.name}", name=output.name, mime_type=output.mime_type)
                    for output in spec.outputs
                ],
                provider=spec.run.provider,
                provider_model=spec.run.model,
                version=spec.run.version,
                rate_key=rate_key,
                config=_config(spec, job_id, settings),
                context=_context(spec, turns),
                timeout_seconds=spec.timeout_seconds,
                max_output_bytes=spec.max_output_bytes,
                uses=dict(spec.uses) or None,
                cost=spec.cost,
                sources=None if spec.sources is None else list(spec.sources),
                awaits=family.awaited.get(job_id),
            )
        )
    return nodes


def _context(spec: ProducerSpec, turns: Turns) -> dict[str, Json]:
    return {
        name: turns[value].value if isinstance(value, str) and value in turns else value
        for name, value in spec.context.items()
    }


def _edges(nodes: list[GraphNode], families: Mapping[str, Family]) -> list[GraphEdge]:
    """An edge for each pair of jobs where one reads what the other makes, or is there because of it."""
    makers = {output.id: node.job_id for node in nodes for output in node.produces}
    pairs = {
        (makers[reference.id], node.job_id)
        for node in nodes
        for entry in node.inputs
        for reference in (entry.refs if entry.refs is not None else (entry.ref,))
        if reference is not None and reference.kind == "artefact"
    }
    pairs.update(
        (makers[artefact], job_id)
        for family in families.values()
        for job_id, deciders in family.deciders.items()
        for artefact in deciders
    )
    pairs.update((makers[artefact], node.job_id) for node in nodes if node.awaits for artefact in node.awaits.artefacts)
    return [GraphEdge(**{"from": before, "to": after}) for before, after in sorted(pairs)]


def _config(spec: ProducerSpec, job_id: str, settings: list[Overrides]) -> dict[str, Json]:
    """The producer's config with what is laid over it, key by key: for the producer, then for the job."""
    config = dict(spec.config)
    for overrides in settings:
        for target in dict.fromkeys((spec.name, job_id)):
            config.update(overrides.get(target, {}))
    return config
