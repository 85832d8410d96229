"""Which jobs of a plan results answer that are there: followed from job to job, as far as the results themselves tell.

Looks, and writes nothing: a result that turns out to be damaged when a run takes it over is made anew then.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping

from msgspec import Struct, field

from renku_store.expansion import awaited
from renku_store.hashing import signature
from renku_store.metadata.base import Reader
from renku_store.metadata.traces import usable_trace
from renku_store.movie import Movie
from renku_store.records._base import Json
from renku_store.records.events import Trace
from renku_store.records.graph import GraphNode
from renku_store.records.manifest import ArtefactValue, Manifest
from renku_store.records.plan import ExecutionPlan
from renku_store.records.sheet import nodes_by_id
from renku_store.selection import Missing, Selection, artefacts_awaited
from renku_store.versions import Held


class Foreseen(Struct, frozen=True):
    """The `jobs` that results answer, and the state in which a run would then make the others."""

    jobs: set[str]
    selection: Selection


def foresee(
    movie: Movie,
    plan: ExecutionPlan,
    base: Manifest | None,
    values: Mapping[str, Json],
    document: Callable[[ArtefactValue], Json | Missing],
) -> Foreseen:
    """Follow the results that the jobs of a plan would take over, layer by layer.

    `values` are those of the inputs, `document` gives the parsed JSON of an artefact. A forced job takes over what the
    plan's own run has made for it before, and nothing else.
    """
    held = Held(base.artefacts if base else {}, plan.edits)
    following = _Following(movie, plan, held, nodes_by_id(plan.graph))
    selection = Selection(values, following.artefacts, document)
    for layer in plan.layers:
        following.follow(layer, selection)
    return Foreseen(following.jobs, selection)


class _Following(Struct):
    """How far the results were followed: `unknown` are the artefacts of which nobody can say what they will be."""

    movie: Movie
    plan: ExecutionPlan
    held: Held
    nodes: Mapping[str, GraphNode]
    jobs: set[str] = field(default_factory=set)
    artefacts: dict[str, ArtefactValue] = field(default_factory=dict)
    unknown: set[str] = field(default_factory=set)
    _lists: set[str] = field(default_factory=set)

    def __post_init__(self) -> None:
        self.artefacts = {**self.held.everything(), **self.plan.edits}
        outputs = (output.id for job in self.plan.dirty for output in self.nodes[job].produces)
        self.unknown = {output for output in outputs if not self.held.edited(output)}
        self._lists = awaited(self.plan.graph)

    def follow(self, layer: Iterable[str], selection: Selection) -> None:
        """Look which jobs of a layer are answered, those of the layers before it being known."""
        asked: dict[str, str] = {}
        for job in layer:
            node, planned = self.nodes[job], self.plan.jobs[job]
            if planned.state == "deferred" or not self.unknown.isdisjoint(artefacts_awaited(node)):
                continue
            final = planned.signature or signature(node, selection.signed_inputs(node))
            if planned.signature is None and self._is_clean(node, final):
                self._take(node, {output.name: self.held.made(output.id, final) for output in node.produces})
            else:
                asked[job] = final
        for job, trace in self._results(asked).items():
            self._take(self.nodes[job], trace.outputs)

    def _is_clean(self, node: GraphNode, known: str) -> bool:
        """Whether a job whose inputs come out as they were is kept as it is."""
        made = [self.held.made(output.id, known) for output in node.produces if not self.held.edited(output.id)]
        planned = self.plan.jobs[node.job_id]
        return not self._is_forced(node) and not planned.damaged and all(e and e.signature == known for e in made)

    def _take(self, node: GraphNode, outputs: Mapping[str, ArtefactValue | None]) -> None:
        self.jobs.add(node.job_id)
        for output in node.produces:
            value = outputs.get(output.name)
            if output.id in self.unknown and value is not None:
                self.artefacts[output.id] = value
                self.unknown.discard(output.id)

    def _results(self, asked: Mapping[str, str]) -> dict[str, Trace]:
        """The results that jobs with these signatures take over, and whose bytes are there."""
        with self.movie.metadata.read() as reader:
            known = set(reader.upkeep.with_results(set(asked.values())))
            traces = {job: self._result(reader, job, asked[job]) for job in asked if asked[job] in known}
        found = {job: trace for job, trace in traces.items() if trace is not None}
        gone = self.movie.blobs.damaged({v.blob: v.size for t in found.values() for v in t.outputs.values() if v.blob})
        return {job: t for job, t in found.items() if gone.isdisjoint(v.blob for v in t.outputs.values())}

    def _result(self, reader: Reader, job: str, known: str) -> Trace | None:
        node = self.nodes[job]
        if not self._is_forced(node):
            return usable_trace(reader, known)
        if any(output.id in self._lists for output in node.produces):
            return None  # whether such a list is of any use is found out when it is taken over
        made = reader.events.traces(known) if self.plan.run is not None else []
        own = [trace for trace in made if (trace.run, trace.job) == (self.plan.run, job) and not trace.kept]
        return own[-1] if own else None

    def _is_forced(self, node: GraphNode) -> bool:
        return any(reason.kind == "forced" for reason in self.plan.jobs[node.job_id].reasons)
