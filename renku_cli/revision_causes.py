"""Why the jobs of one revision gave other results than those of another: the planner, asked about the past."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import orjson

from renku_store import (
    GraphNode,
    Json,
    Manifest,
    Movie,
    Planner,
    ProducerGraph,
    Reason,
    Reference,
    effective_inputs,
    parse_blueprint,
)


def reasons_between(
    movie: Movie, before: Manifest, after: Manifest, artefacts: Iterable[str]
) -> dict[str, list[Reason]]:
    """By job: why the named artefacts of `after` are not those of `before`. Empty where the graphs were not kept.

    Raises `DamageError` for stored bytes that cannot be read.
    """
    if before.graph is None or after.graph is None:
        return {}
    old, new = _graph(movie, before.graph), _graph(movie, after.graph)
    plan = Planner.compute_plan(
        graph=new,
        manifest=before,
        inputs=_values(movie, after),
        base_graph=old,
        base_inputs=_values(movie, before),
        documents=_documents(movie, before, [*old.nodes, *new.nodes]),
    )
    jobs = {after.artefacts[name].job for name in artefacts}
    return {job: planned.reasons for job, planned in plan.jobs.items() if job in jobs and planned.reasons}


def _graph(movie: Movie, digest: str) -> ProducerGraph:
    return ProducerGraph.read(movie.blobs.read(digest))


def _values(movie: Movie, manifest: Manifest) -> dict[str, Json]:
    values = {name: movie.value(entry) for name, entry in manifest.inputs.items()}
    source = values.get("@blueprint")
    return effective_inputs(parse_blueprint(source, "@blueprint"), values) if isinstance(source, str) else values


def _documents(movie: Movie, manifest: Manifest, nodes: Iterable[GraphNode]) -> dict[str, Json]:
    """The content, by hash, of the artefacts that some job reads into."""
    names = {reference.id for reference in _references(nodes) if reference.kind == "artefact" and reference.path}
    found = [manifest.artefacts[name] for name in names if name in manifest.artefacts]
    return {artefact.hash: orjson.loads(movie.read(artefact)) for artefact in found}


def _references(nodes: Iterable[GraphNode]) -> Iterator[Reference]:
    for node in nodes:
        for entry in node.inputs:
            if entry.ref is not None:
                yield entry.ref
            yield from (reference for reference in entry.refs or () if reference is not None)
