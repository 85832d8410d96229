"""Which job waits for which: order, layers, descendants and longest paths of an expanded graph. Pure.

Adjacency is kept as arrays of positions (compressed rows: the neighbours of job `i` are
`targets[starts[i]:starts[i+1]]`), a few hundred bytes a job where dictionaries of sets take several times that.
Building and every walk are linear in jobs and references.
"""

from __future__ import annotations

import difflib
from array import array
from collections.abc import Container, Iterable, Iterator, Mapping, Sequence
from functools import cached_property
from itertools import compress, islice
from typing import Final

from renku_store.errors import GraphError, NotFoundError
from renku_store.records.columns import JobColumns
from renku_store.records.graph import GraphInput, GraphNode, ProducerGraph, Reference, check_names
from renku_store.records.sheet import Rows, Sheet, by_layer

_SEARCHED_FOR_NEAREST: Final = 20_000


class GraphIndex:
    """A graph's adjacency, built once and asked often. It never changes.

    `placeholders` are the nodes that stand for jobs which are not known yet.

    Dependencies are what the edges say and what the inputs read, both. Raises `GraphError` with `reason` "duplicate"
    (two jobs of one id, two makers of one artefact), "unresolved" (an artefact that no job makes, an edge to no job, an
    id or a name that is none) or "cycle" (named: a -> b -> a, each waiting for the one before it).
    """

    def __init__(self, graph: ProducerGraph) -> None:
        self.graph = graph
        self._sheet = graph.columns if isinstance(graph.columns, Sheet) else None
        found = None if self._sheet is None else self._sheet.layers()
        self._families: list[JobColumns] = []
        if found is None:
            self._sheet = None
            self._order, self._layers = self._sort()
        else:
            self._layers, self._families = found
            self._order = by_layer(self._layers)

    @cached_property
    def placeholders(self) -> list[GraphNode]:
        """The nodes that stand for jobs which are not known yet."""
        if self._sheet is not None:
            return self._sheet.placeholders
        return [node for node in self.graph.nodes if node.awaits is not None]

    @cached_property
    def job_ids(self) -> Sequence[str]:
        """All job ids, by position in the graph."""
        return [node.job_id for node in self.graph.nodes] if self._sheet is None else [*self._sheet.ids()]

    def ids_at(self, positions: Iterable[int]) -> Iterator[str]:
        """The ids of the jobs at these positions, for whom a list of all would be one too many."""
        return map(self.job_ids.__getitem__, positions) if self._sheet is None else self._sheet.ids_at(positions)

    def job_id(self, position: int) -> str:
        """The id of the job at a position."""
        return self.job_ids[position] if self._sheet is None else self._sheet.job_id(position)

    @cached_property
    def _positions(self) -> dict[str, int]:
        if self._sheet is not None:
            return self._sheet.positions
        return _positions(self.graph)

    @cached_property
    def _makers(self) -> dict[str, int]:
        return _makers(self.graph) if self._sheet is None else self._sheet.makers

    @cached_property
    def _dependencies(self) -> Rows:
        if self._sheet is not None:
            return Rows.collect(row for family in self._sheet.families for row in self._sheet.dependencies(family))
        return Rows.collect(self._read_dependencies())

    @cached_property
    def _dependents(self) -> Rows:
        return self._dependencies.turned()

    @property
    def sheet(self) -> Sheet | None:
        """The jobs in columns, if the graph is made of them."""
        return self._sheet

    @property
    def has_sources(self) -> bool:
        """Whether program files of any job are known."""
        if self._sheet is not None:
            return any(family.common.source for family in self._sheet.families)
        return any(node.source for node in self.graph.nodes)

    @property
    def order(self) -> Sequence[str]:
        """All job ids, each after what it waits for: by layer, within a layer as in the graph."""
        return self._ids(self._order)

    @property
    def positions(self) -> Sequence[int]:
        """The positions in the graph of all jobs, in the same order."""
        return self._order

    @property
    def layers_by_position(self) -> Sequence[int]:
        """The layer of each job, by position in the graph."""
        return self._layers

    def in_order(self) -> Iterator[tuple[int, GraphNode, int]]:
        """Position in the graph, node and layer of every job, in the same order."""
        return ((position, self.node_at(position), self._layers[position]) for position in self._order)

    def node_at(self, position: int) -> GraphNode:
        """The node at a position in the graph."""
        return self.graph.nodes[position] if self._sheet is None else self._sheet.node(position)

    def positions_before(self, position: int) -> Iterable[int]:
        """The positions of the jobs that the one at a position waits for."""
        return self._dependencies.of(position) if self._sheet is None else self._sheet.before(position)

    def affected(self, positions: Iterable[int]) -> Iterable[int]:
        """The jobs at these positions and all that wait for any of them, near or far, in topological order."""
        marks = bytearray(len(self))
        for position in positions:
            marks[position] = 1
        if self._sheet is None:
            for before in self._order:
                if marks[before]:
                    for after in self._dependents.of(before):
                        marks[after] = 1
        for family in self._families:
            assert self._sheet is not None
            self._sheet.mark(family, marks)
        return compress(self._order, map(marks.__getitem__, self._order))

    @property
    def layers(self) -> Sequence[Sequence[str]]:
        """Job ids by layer: those of layer 0 wait for nothing."""
        layers: list[list[str]] = [[] for _ in range(max(self._layers, default=-1) + 1)]
        for position, job_id in zip(self._order, self.ids_at(self._order), strict=True):
            layers[self._layers[position]].append(job_id)
        return layers

    def __contains__(self, job_id: object) -> bool:
        return job_id in self._positions

    def __len__(self) -> int:
        return len(self.graph.nodes) if self._sheet is None else len(self._sheet)

    def node(self, job_id: str) -> GraphNode:
        """The job's node. Look-ups by job id raise `NotFoundError` with the nearest ids for an unknown one."""
        return self.node_at(self.position(job_id))

    def layer(self, job_id: str) -> int:
        """How many jobs the longest chain of dependencies of this job has."""
        return self._layers[self.position(job_id)]

    def maker(self, artefact_id: str) -> str | None:
        """The id of the job that makes an artefact; None where no job does."""
        position = self._makers.get(artefact_id)
        return None if position is None else self.job_id(position)

    def makes(self, artefact_id: object) -> bool:
        """Whether some job makes an artefact, or may make it once the lists are known that decide it."""
        return artefact_id in self._makers or any(
            node.output_for(artefact_id) for node in self.placeholders if isinstance(artefact_id, str)
        )

    @property
    def outputs(self) -> Container[str]:
        """The ids of all artefacts that some job makes, or may make once the lists are known that decide it."""
        return _Outputs(self)

    def dependencies(self, job_id: str) -> list[str]:
        """The jobs that this one waits for, each once, as in the graph."""
        return self._ids(self._dependencies.of(self.position(job_id)))

    def dependents(self, job_id: str) -> list[str]:
        """The jobs that wait for this one, each once, as in the graph."""
        return self._ids(self._dependents.of(self.position(job_id)))

    def descendants(self, job_ids: Iterable[str]) -> list[str]:
        """All that wait for any of these jobs, near or far, in topological order; of the jobs only those that do."""
        return self._reached(job_ids, self._dependents)

    def ancestors(self, job_ids: Iterable[str]) -> list[str]:
        """All that any of these jobs waits for, near or far, in topological order; of the jobs only those."""
        return self._reached(job_ids, self._dependencies)

    def jobs_named(self, name: str) -> list[str]:
        """The jobs that a person means: a job by its id or by an artefact that it makes, or all of a producer.

        One that is not known yet is meant by the placeholder that stands for it.

        Raises `NotFoundError` with the nearest names.
        """
        if name in self._positions:
            return [name]
        if (maker := self.maker(name)) is not None:
            return [maker]
        found = [node.job_id for node in self.graph.nodes if node.producer == name]
        found = found or [node.job_id for node in self.placeholders if node.stands_for(name) or node.output_for(name)]
        if not found:
            producers = dict.fromkeys(node.producer for node in self.graph.nodes)
            raise NotFoundError(
                f"There is no job, artefact or producer {name}.",
                hint=_nearest(name, [*producers, *self._positions, *self._makers]),
            )
        return found

    def _reached(self, job_ids: Iterable[str], neighbours: Rows) -> list[str]:
        found = bytearray(len(self))
        open_positions = [self.position(job_id) for job_id in job_ids]
        reached: list[int] = []
        while open_positions:
            for position in neighbours.of(open_positions.pop()):
                if not found[position]:
                    found[position] = 1
                    open_positions.append(position)
                    reached.append(position)
        return self._ids(sorted(reached, key=lambda position: (self._layers[position], position)))

    def longest_path(self, weights: Mapping[str, float]) -> dict[str, float]:
        """Per job the largest sum of weights on any path from it, its own weight included, to a job none waits for.

        Weights must not be negative; a job without one weighs nothing.
        """
        remaining = [0.0] * len(self)
        for position in reversed(self._order):
            beyond = max((remaining[after] for after in self._dependents.of(position)), default=0.0)
            remaining[position] = beyond + weights.get(self.job_ids[position], 0.0)
        return dict(zip(self.job_ids, remaining, strict=True))

    def _ids(self, positions: Iterable[int]) -> list[str]:
        return [*self.ids_at(positions)]

    def position(self, job_id: str) -> int:
        """The job's place in the graph."""
        position = self._positions.get(job_id)
        if position is None:
            raise NotFoundError(f"There is no job {job_id}.", hint=_nearest(job_id, self._positions))
        return position

    def _read_dependencies(self) -> Iterator[Iterable[int]]:
        """Per job, in the order of the graph, the positions of what it waits for, sorted."""
        declared: dict[int, list[int]] = {}
        for edge in self.graph.edges:
            for job_id in (edge.from_, edge.to):
                if job_id not in self._positions:
                    raise GraphError(
                        f"The edge {edge.from_} -> {edge.to} names {job_id}, which is not a job.",
                        hint=_nearest(job_id, self._positions),
                    )
            declared.setdefault(self._positions[edge.to], []).append(self._positions[edge.from_])
        makers = self._makers
        for position, node in enumerate(self.graph.nodes):
            waits = declared.pop(position, [])
            for entry in node.inputs:
                for reference in (entry.ref,) if entry.refs is None else entry.refs:
                    if reference is not None and reference.kind != "input":
                        maker = makers.get(reference.id)
                        waits.append(self._maker_read(reference, node, entry) if maker is None else maker)
            yield waits if len(waits) < 2 else sorted(set(waits))

    def _maker_read(self, reference: Reference, node: GraphNode, entry: GraphInput) -> int:
        maker = self._makers.get(reference.id)
        if maker is None:
            raise GraphError(
                f"The job {node.job_id} reads {reference.id} as {entry.name}, which no job makes.",
                hint=_nearest(reference.id, self._makers),
            )
        return maker

    def _sort(self) -> tuple[array[int], array[int]]:
        """Order by whole layers (Kahn, 1962), so that a job's layer is its depth, whatever the graph's own order is."""
        if self.graph.columns is None:  # those in columns were checked before
            check_names(self.graph.nodes)
        _ = self._positions, self._makers  # what is wrong with these is told first
        waits = [len(self._dependencies.of(position)) for position in range(len(self))]
        layers = array("i", [0]) * len(self)
        order = array("i")
        ready = [position for position, count in enumerate(waits) if not count]
        layer = 0
        while ready:
            order.extend(ready)
            following: list[int] = []
            for position in ready:
                layers[position] = layer
                for after in self._dependents.of(position):
                    waits[after] -= 1
                    if not waits[after]:
                        following.append(after)
            ready = sorted(following)
            layer += 1
        if len(order) < len(self):
            raise self._cycle(waits)
        return order, layers

    def _cycle(self, waits: list[int]) -> GraphError:
        """The error that names one cycle: every job still waiting waits for another one that is still waiting."""
        position = next(position for position, count in enumerate(waits) if count)
        path: list[int] = []
        places: dict[int, int] = {}
        while position not in places:
            places[position] = len(path)
            path.append(position)
            position = next(before for before in self._dependencies.of(position) if waits[before])
        cycle = path[places[position] :][::-1]
        first = cycle.index(min(cycle))
        return GraphError.of_cycle(self._ids([*cycle[first:], *cycle[: first + 1]]))


class _Outputs:
    """Artefact ids, those that placeholders stand for included."""

    __slots__ = ("_index",)

    def __init__(self, index: GraphIndex) -> None:
        self._index = index

    def __contains__(self, artefact_id: object) -> bool:
        return self._index.makes(artefact_id)


def _positions(graph: ProducerGraph) -> dict[str, int]:
    positions: dict[str, int] = {}
    for position, node in enumerate(graph.nodes):
        if positions.setdefault(node.job_id, position) != position:
            raise GraphError(f"Two jobs have the id {node.job_id}.", hint="Rename one of them.", reason="duplicate")
    return positions


def _makers(graph: ProducerGraph) -> dict[str, int]:
    makers: dict[str, int] = {}
    for position, node in enumerate(graph.nodes):
        for output in node.produces:
            if output.id in makers:
                other = graph.nodes[makers[output.id]].job_id
                raise GraphError(
                    f"The artefact {output.id} has two makers: {other} and {node.job_id}.",
                    hint="Each artefact is made by one job, once.",
                    reason="duplicate",
                )
            makers[output.id] = position
    return makers


def _nearest(wrong: str, known: Iterable[str]) -> str:
    near = difflib.get_close_matches(wrong, list(islice(known, _SEARCHED_FOR_NEAREST)), n=3, cutoff=0.5)
    return f"Did you mean {', '.join(near)}?" if near else "`renku-store plan` lists the jobs."
