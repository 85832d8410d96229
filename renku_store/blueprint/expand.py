"""A blueprint and the values of its inputs to the graph of jobs.

Pure and deterministic: the same arguments give the same bytes of canonical JSON, in whatever order dictionaries hold
their keys. Nodes stand in the blueprint's order, then in loop order; edges are sorted, each there once. No artefact can
have two makers, for job ids are made of the producer's name and of labels without brackets, and no job can wait for
itself, for parsing refuses cycles of producers.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Final

from renku_store.blueprint.collector import paused_collector
from renku_store.blueprint.document import Blueprint, ProducerSpec
from renku_store.blueprint.instances import Family, make_families
from renku_store.blueprint.names import nearest
from renku_store.blueprint.places import describe
from renku_store.blueprint.producer_fields import check_argv
from renku_store.blueprint.resolving import Resolver
from renku_store.blueprint.selecting import Turns
from renku_store.blueprint.values import with_defaults
from renku_store.errors import InvalidValueError
from renku_store.records._base import Json
from renku_store.records.graph import GraphEdge, GraphNode, GraphOutput, ProducerGraph

_CONFIG_FORM: Final = "Its form is {PRODUCER or JOB: {config: {KEY: VALUE}}}."
_TARGET: Final = re.compile(r"([^\[]+)((?:\[[^\[\]]+\])*)")
_Overrides = Mapping[str, Mapping[str, Json]]


def expand(blueprint: Blueprint, inputs: Mapping[str, Json], config: Json = None) -> ProducerGraph:
    """The graph of a blueprint. Defaults are filled in; types are taken as checked (`effective_inputs` does it).

    `config` is the movie's `@config`: like `overrides` it maps producers and jobs to `{config: {...}}`, and goes over
    them. Raises `BlueprintError` where the blueprint does not fit the values, `NotFoundError` for undeclared ids and
    required inputs without a value, `InvalidValueError` for a `config` of another form.
    """
    with paused_collector():
        return _expand(blueprint, with_defaults(blueprint, inputs), config)


def _expand(blueprint: Blueprint, values: Mapping[str, Json], config: Json) -> ProducerGraph:
    families = make_families(blueprint, values)
    settings = [_blueprint_overrides(blueprint, families), _movie_overrides(config, families)]
    resolver = Resolver(blueprint, values, families)
    nodes = [node for family in families.values() for node in _nodes(family, resolver, settings)]
    resolver.check_found()
    place = blueprint.place("timeline")
    timeline = resolver.artefact(blueprint.timeline, "timeline", place) if blueprint.timeline else None
    return ProducerGraph(nodes=nodes, edges=_edges(nodes), timeline=timeline)


def _nodes(family: Family, resolver: Resolver, settings: list[_Overrides]) -> list[GraphNode]:
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
            )
        )
    return nodes


def _context(spec: ProducerSpec, turns: Turns) -> dict[str, Json]:
    return {
        name: turns[value].value if isinstance(value, str) and value in turns else value
        for name, value in spec.context.items()
    }


def _edges(nodes: list[GraphNode]) -> list[GraphEdge]:
    """An edge for each pair of jobs where one reads what the other makes."""
    makers = {output.id: node.job_id for node in nodes for output in node.produces}
    pairs = {
        (makers[reference.id], node.job_id)
        for node in nodes
        for entry in node.inputs
        for reference in (entry.refs if entry.refs is not None else (entry.ref,))
        if reference is not None and reference.kind == "artefact"
    }
    return [GraphEdge(**{"from": before, "to": after}) for before, after in sorted(pairs)]


def _config(spec: ProducerSpec, job_id: str, settings: list[_Overrides]) -> dict[str, Json]:
    """The producer's config with what is laid over it, key by key: for the producer, then for the job."""
    config = dict(spec.config)
    for overrides in settings:
        for target in dict.fromkeys((spec.name, job_id)):
            config.update(overrides.get(target, {}))
    return config


def _blueprint_overrides(blueprint: Blueprint, families: Mapping[str, Family]) -> _Overrides:
    for target in blueprint.overrides:
        if not _exists(target, families):
            raise blueprint.place("overrides", target).error(
                f"There is no job {target} to override.", _nearest_target(target, families)
            )
    return blueprint.overrides


def _movie_overrides(config: Json, families: Mapping[str, Family]) -> _Overrides:
    """The same from `@config`, which a person sets without the blueprint's text at hand."""
    if config is None:
        return {}
    if not isinstance(config, dict):
        raise InvalidValueError(f"@config must be a mapping, not {describe(config)}.", hint=_CONFIG_FORM)
    overrides: dict[str, Mapping[str, Json]] = {}
    for target, value in config.items():
        if not _exists(target, families):
            raise InvalidValueError(
                f"@config names {target}, which is no producer and no job.", hint=_nearest_target(target, families)
            )
        changes = value.get("config") if isinstance(value, dict) and value.keys() == {"config"} else None
        if not isinstance(changes, dict):
            raise InvalidValueError(f"@config has no `config` mapping for {target}, or more.", hint=_CONFIG_FORM)
        runs_command = families[target.partition("[")[0]].spec.run.provider == "command"
        problem = check_argv(changes["argv"]) if runs_command and "argv" in changes else None
        if problem:
            raise InvalidValueError(f"@config: argv of {target} {problem}.", hint='For example ["python3", "make.py"].')
        overrides[target] = changes
    return overrides


def _exists(target: str, families: Mapping[str, Family]) -> bool:
    """Whether a target is a producer, or a place of its loops, with a job or without one."""
    match = _TARGET.fullmatch(target)
    if match is None or match[1] not in families:
        return False
    labels = tuple(match[2][1:-1].split("][")) if match[2] else ()
    return not labels or labels in families[match[1]].jobs


def _nearest_target(target: str, families: Mapping[str, Family]) -> str:
    family = families.get(target.partition("[")[0])
    return nearest(target, family.names() if family else families)
