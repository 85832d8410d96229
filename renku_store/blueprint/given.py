"""Graphs that are given as JSON instead of a blueprint: short forms are filled in, references resolved and checked.

`inputs` and `produces` of a node may be plain texts. A text in `inputs` is an artefact that some node makes, else an
input, else a path into the longest of these that it starts with; it is also the name under which the job reads it. A
text in `produces` is the artefact's id; the output's name is what follows the job's id, or the last dot. Missing edges
are derived from what jobs read. All that can be wrong with a graph by itself is found here, before anything runs.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

from renku_store import bounds
from renku_store.blueprint.collector import paused_collector
from renku_store.blueprint.cycles import in_order
from renku_store.blueprint.given_form import given_edge, given_input, given_node, given_output
from renku_store.blueprint.given_keys import refuse_unknown_keys
from renku_store.blueprint.names import argv_fault, is_function, nearest
from renku_store.blueprint.places import describe, shown
from renku_store.blueprint.pricing import given_cost
from renku_store.errors import GraphError
from renku_store.records._base import Json
from renku_store.records.columns import of_artefact, of_input
from renku_store.records.graph import (
    GraphEdge,
    GraphInput,
    GraphNode,
    GraphOutput,
    ProducerGraph,
    Reference,
    check_name,
)

_UNKNOWN_TYPE: Final = "application/octet-stream"
_STEP: Final = re.compile(r"\.(?P<key>[^.\[\]]+)|\[(?P<position>[0-9]{1,15})\]")
_HEAD: Final = re.compile(r"[^.\[]+")
_WITHOUT_MODEL: Final = frozenset({"command", "unknown"})
"""Providers of which no model is asked: the command's, and that of migrated jobs, which cannot be called at all."""
_RATE_KEYS: Final = ("rateKey", "rate_key")


def parse_graph(document: Json, inputs: Collection[str] | None, *, strict: bool = False) -> ProducerGraph:
    """The graph that a JSON document is; `inputs` are the ids of the movie's inputs, None where they are not known yet.

    Where they are not known, what is no artefact counts as an input. With `strict`, for a graph that a person gives, a
    key that means nothing is an error; else it is ignored. Raises `GraphError` that names the node.
    """
    with paused_collector():
        graph = _parse(document, inputs)
    if strict and isinstance(document, dict):
        refuse_unknown_keys(document)
    return graph


def _parse(document: Json, inputs: Collection[str] | None) -> ProducerGraph:
    written = document.get("nodes") if isinstance(document, dict) else None
    if not isinstance(document, dict) or not isinstance(written, list):
        raise GraphError(
            "A graph must be a mapping that has a list of `nodes`.", hint='{"nodes": [...], "edges": [...]}'
        )
    if len(written) > bounds.JOBS_MAX:
        raise GraphError(f"The graph has more than {bounds.JOBS_MAX} jobs.", hint="Make several movies of it.")
    outlines = [_outline(node, position) for position, node in enumerate(written)]
    makers = _makers(outlines)
    names = _Names(makers, inputs)
    nodes = [_node(outline, names) for outline in outlines]
    timeline = document.get("timeline")
    if timeline is not None and (not isinstance(timeline, str) or timeline not in makers):
        raise GraphError(f"The timeline is {shown(timeline)}, which no job makes.", hint=nearest(str(timeline), makers))
    edges = _edges(document.get("edges"), nodes, makers)
    _refuse_cycle(nodes, edges)
    return ProducerGraph(nodes=nodes, edges=edges, timeline=timeline)


@dataclass(frozen=True, slots=True)
class _Outline:
    """A node whose ids are read, and whose references are not."""

    job_id: str
    fields: dict[str, Any]
    produces: list[GraphOutput]


@dataclass(frozen=True, slots=True)
class _Names:
    """What references can name."""

    makers: Mapping[str, str]
    inputs: Collection[str] | None

    def resolve(self, text: str, job_id: str) -> Reference:
        """The reference that a text is."""
        for end in self._ends(text):
            head = text[:end]
            kind = "artefact" if head in self.makers else "input" if self._is_input(head) else None
            path = _path(text[end:]) if kind else None
            if kind and path is not None:
                return (of_artefact if kind == "artefact" else of_input)(head, path)
        if self.inputs is None:
            return self._assumed(text, job_id)
        raise _unresolved(job_id, text, [*self.makers, *self.inputs])

    def check(self, reference: Reference, job_id: str) -> Reference:
        """The reference, if it names something."""
        if reference.kind == "artefact":
            if reference.id not in self.makers:
                raise _unresolved(job_id, reference.id, self.makers)
        elif self.inputs is not None and reference.id not in self.inputs:
            raise _unresolved(job_id, reference.id, self.inputs)
        return reference

    def _is_input(self, text: str) -> bool:
        return self.inputs is not None and text in self.inputs

    @staticmethod
    def _ends(text: str) -> Iterator[int]:
        yield len(text)
        yield from (end for end in range(len(text) - 1, 0, -1) if text[end] in ".[")

    @staticmethod
    def _assumed(text: str, job_id: str) -> Reference:
        head = _HEAD.match(text)
        path = _path(text[head.end() :]) if head else None
        if head is None or path is None:
            raise GraphError(
                f"The job {job_id} reads {shown(text)}, which is not a reference.",
                hint="A reference is the id of an input or an artefact, then steps: segments[2].text.",
            )
        return Reference(kind="input", id=head[0], path=path)


def _outline(node: object, position: int) -> _Outline:
    if not isinstance(node, dict):
        raise GraphError(
            f"nodes[{position}] must be a mapping, not {describe(node)}.", hint='Each job is {"jobId": ..., ...}.'
        )
    job_id = node.get("jobId")
    if not isinstance(job_id, str):
        raise GraphError(f"nodes[{position}] has no jobId.", hint="Each node needs a jobId, which is text.")
    check_name("job", job_id, job_id)
    produces = node.get("produces")
    if not isinstance(produces, list) or not produces:
        raise GraphError(f"The job {job_id} produces nothing.", hint='Add "produces": ["ARTEFACT", ...].')
    return _Outline(job_id, node, _outputs(produces, job_id))


def _outputs(produces: list[Any], job_id: str) -> list[GraphOutput]:
    ids = [item for item in produces if isinstance(item, str)]
    uses = Counter(_output_name(text, job_id) for text in ids)
    outputs: list[GraphOutput] = []
    for item in produces:
        if isinstance(item, str):
            name = _output_name(item, job_id)
            outputs.append(GraphOutput(id=item, name=name if uses[name] == 1 else item, mime_type=_UNKNOWN_TYPE))
        else:
            outputs.append(given_output(item, f"The job {job_id}, produces"))
    for output in outputs:
        check_name("artefact", output.id, job_id)
        check_name("output", output.name, job_id)
    _refuse_twice([output.name for output in outputs], "makes", job_id)
    return outputs


def _output_name(artefact_id: str, job_id: str) -> str:
    """A name that does not depend on which job of a loop it is, so that equal calls have equal signatures."""
    if artefact_id.startswith(f"{job_id}.") and len(artefact_id) > len(job_id) + 1:
        return artefact_id[len(job_id) + 1 :]
    last = re.sub(r"\[[^\]]*\]", "", artefact_id).rpartition(".")[2]
    return last or artefact_id


def _makers(outlines: list[_Outline]) -> dict[str, str]:
    makers: dict[str, str] = {}
    jobs: set[str] = set()
    for outline in outlines:
        if outline.job_id in jobs:
            raise GraphError(f"Two jobs have the id {outline.job_id}.", hint="Rename one of them.", reason="duplicate")
        jobs.add(outline.job_id)
        for output in outline.produces:
            if output.id in makers:
                raise GraphError(
                    f"The artefact {output.id} has two makers: {makers[output.id]} and {outline.job_id}.",
                    hint="Each artefact is made by one job, once.",
                    reason="duplicate",
                )
            makers[output.id] = outline.job_id
    return makers


def _node(outline: _Outline, names: _Names) -> GraphNode:
    job_id, fields = outline.job_id, outline.fields
    written = fields.get("inputs", [])
    if not isinstance(written, list):
        raise GraphError(f"The job {job_id} has inputs that are {describe(written)}.", hint="inputs is a list.")
    entries = [_input(item, names, job_id) for item in written]
    _refuse_twice([entry.name for entry in entries], "reads", job_id)
    cost = given_cost(job_id, fields.get("cost"), [entry.name for entry in entries], fields.get("config"))
    whole = {**fields, "inputs": entries, "produces": outline.produces, "cost": cost}
    provider, model = fields.get("provider"), fields.get("providerModel")
    if isinstance(provider, str) and isinstance(model, str) and fields.keys().isdisjoint(_RATE_KEYS):
        whole["rateKey"] = f"{provider}/{model}"
    node = given_node(whole, f"The job {job_id}")
    check_name("producer", node.producer, job_id)
    _check_call(node)
    return node if node.rate_key else node.replace(rate_key=f"{node.provider}/{node.provider_model}")


def _check_call(node: GraphNode) -> None:
    """Refuse what no provider could make sense of: a call that is to run has a model, a program or a function."""
    job_id, argv = node.job_id, node.config.get("argv")
    if node.provider == "command":
        if (fault := argv_fault(argv)) is not None:
            raise GraphError(f"The job {job_id}: config.argv {fault}.", hint='For example ["python3", "make.py"].')
    elif node.provider == "python" and not is_function(node.provider_model):
        raise GraphError(
            f"The job {job_id}: providerModel is {shown(node.provider_model)}, which is not a function in a module.",
            hint="For the provider python it is module.function.",
        )
    elif not node.provider_model and node.provider not in _WITHOUT_MODEL:
        raise GraphError(
            f"The job {job_id}: providerModel must be the name of a model, not {describe(node.provider_model)}.",
            hint="Only commands need none.",
        )


def _input(item: object, names: _Names, job_id: str) -> GraphInput:
    if isinstance(item, str):
        return GraphInput(name=item, ref=names.resolve(item, job_id))
    if not isinstance(item, dict):
        raise GraphError(
            f"The job {job_id} has an input that is {describe(item)}.", hint="Inputs are texts or mappings."
        )
    fields = dict(item)
    if isinstance(fields.get("ref"), str):
        fields["ref"] = names.resolve(fields["ref"], job_id)
    if isinstance(fields.get("refs"), list):
        fields["refs"] = [names.resolve(ref, job_id) if isinstance(ref, str) else ref for ref in fields["refs"]]
    entry = given_input(fields, job_id)
    check_name("input", entry.name, job_id)
    if (entry.ref is None) == (entry.refs is None):
        raise GraphError(
            f"The input {entry.name} of the job {job_id} needs either ref or refs.", hint="Give one of them."
        )
    for reference in entry.refs if entry.refs is not None else [entry.ref]:
        if reference is not None:
            names.check(reference, job_id)
    return entry


def _edges(written: object, nodes: list[GraphNode], makers: Mapping[str, str]) -> list[GraphEdge]:
    jobs = {node.job_id: None for node in nodes}
    pairs: set[tuple[str, str]] = set()
    for node in nodes:
        for entry in node.inputs:
            references = entry.refs if entry.refs is not None else (entry.ref,)
            pairs.update((makers[ref.id], node.job_id) for ref in references if ref and ref.kind == "artefact")
    if written is not None and not isinstance(written, list):
        raise GraphError(
            f"The edges of a graph are a list, not {describe(written)}.", hint='[{"from": JOB, "to": JOB}]'
        )
    for item in written or []:
        edge = given_edge(item, f"The edge {shown(item)}")
        for job_id in (edge.from_, edge.to):
            if job_id not in jobs:
                raise GraphError(
                    f"The edge {edge.from_} -> {edge.to} names {job_id}, which is not a job.",
                    hint=nearest(job_id, jobs),
                )
        pairs.add((edge.from_, edge.to))
    return [GraphEdge(from_=before, to=after) for before, after in sorted(pairs)]


def _refuse_cycle(nodes: list[GraphNode], edges: list[GraphEdge]) -> None:
    waits: dict[str, list[str]] = {node.job_id: [] for node in nodes}
    for edge in edges:
        waits[edge.to].append(edge.from_)
    cycle = in_order(waits)[1]
    if cycle:
        raise GraphError.of_cycle(cycle)


def _path(text: str) -> list[str | int] | None:
    """The steps that a text consists of; None where it is more than steps."""
    path: list[str | int] = []
    at = 0
    while at < len(text):
        match = _STEP.match(text, at)
        if match is None:
            return None
        path.append(match["key"] if match["key"] is not None else int(match["position"]))
        at = match.end()
    return path


def _refuse_twice(names: list[str], verb: str, job_id: str) -> None:
    if len(set(names)) < len(names):
        name = Counter(names).most_common(1)[0][0]
        raise GraphError(f"The job {job_id} {verb} {name} twice.", hint="Name each once.", reason="duplicate")


def _unresolved(job_id: str, text: str, known: Iterable[str]) -> GraphError:
    return GraphError(
        f"The job {job_id} reads {text}, which is neither an artefact that a job makes nor an input.",
        hint=nearest(text, known),
    )
