"""A blueprint and the values of its inputs to the graph of jobs.

Pure and deterministic: the same arguments give the same bytes of canonical JSON, in whatever order dictionaries hold
their keys. Nodes stand in the blueprint's order, then in loop order; edges are sorted, each there once. No artefact can
have two makers, for job ids are made of the producer's name and of labels without brackets, and no job can wait for
itself, for parsing refuses cycles of producers.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from operator import eq

from msgspec import Struct

from renku_store.blueprint.collector import paused_collector
from renku_store.blueprint.document import Blueprint, ProducerSpec
from renku_store.blueprint.family import Family
from renku_store.blueprint.instances import make_families
from renku_store.blueprint.overriding import Overrides, blueprint_overrides, movie_overrides
from renku_store.blueprint.resolving import Resolver
from renku_store.blueprint.turning import Documents
from renku_store.blueprint.values import with_defaults
from renku_store.records._base import Json
from renku_store.records.columns import Contexts, JobColumns, Made
from renku_store.records.graph import GraphNode, GraphOutput, ProducerGraph
from renku_store.records.sheet import Sheet


class Expansion(Struct, frozen=True):
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
    sheet = Sheet(_sheet(families, resolver, settings))
    resolver.check_found()
    place = blueprint.place("timeline")
    timeline = resolver.artefact(blueprint.timeline, "timeline", place) if blueprint.timeline else None
    # Its jobs are right as they are: their producers were checked, and so were the values that they go into.
    return Expansion(ProducerGraph.of_columns(sheet, timeline), warnings)


def _sheet(families: Mapping[str, Family], resolver: Resolver, settings: list[Overrides]) -> list[JobColumns]:
    start, found = 0, list[JobColumns]()
    for family in families.values():
        found.append(_columns(family, start, resolver, settings))
        start += len(family.job_ids)
    return found


def _columns(family: Family, start: int, resolver: Resolver, settings: list[Overrides]) -> JobColumns:
    """The jobs of a producer: what they have in common is checked once, and shared."""
    spec = family.spec
    job_ids = family.job_ids
    columns = JobColumns(
        start=start,
        common=_common(spec, settings),
        job_ids=job_ids,
        outputs=[
            (
                GraphOutput(id="", name=output.name, mime_type=output.mime_type),
                Made(job_ids, output.name),
            )
            for output in spec.outputs
        ],
        columns=resolver.columns_of(family),
    )
    own = {name: value for name, value in spec.context.items() if isinstance(value, str) and value in spec.loops}
    if own:
        loops = {value: spec.loops.index(value) for value in own.values()}
        turns = {value: _in_short([places[loop].value for places in family.places]) for value, loop in loops.items()}
        columns.contexts = Contexts(dict(spec.context), {name: turns[value] for name, value in own.items()})
    overridden = {target for overrides in settings for target in overrides} - {spec.name}
    if overridden or family.awaited or family.deciders:
        places = {job_id: place for place, job_id in enumerate(job_ids)}
        columns.configs = {places[job]: _config(spec, job, settings) for job in overridden if job in places}
        columns.awaits = {places[job]: awaited for job, awaited in family.awaited.items()}
        columns.deciders = {places[job]: artefacts for job, artefacts in family.deciders.items()}
    return columns


def _in_short(values: list[str | int]) -> Sequence[str | int]:
    """The same; places in a row are not kept one by one."""
    plain = range(len(values))
    return plain if all(map(eq, values, plain)) else values


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


def _config(spec: ProducerSpec, job_id: str, settings: list[Overrides]) -> dict[str, Json]:
    """The producer's config with what is laid over it, key by key: for the producer, then for the job."""
    config = dict(spec.config)
    for overrides in settings:
        for target in dict.fromkeys((spec.name, job_id)):
            config.update(overrides.get(target, {}))
    return config
