"""The jobs of a whole graph in columns, producer by producer: who makes what, who waits for whom."""

from __future__ import annotations

from array import array
from bisect import bisect_right
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import cached_property
from itertools import compress, groupby, islice
from operator import eq
from typing import Final

from renku_store.records.columns import Each, FromInput, FromJobs, JobColumns, Same
from renku_store.records.graph import GraphEdge, GraphInput, GraphNode, ProducerGraph

BETWEEN: Final = "\0"
"""Sorts before all that ids may hold: pairs in one text each sort as pairs do."""


class Sheet:
    """All jobs of a graph, producer by producer. It never changes."""

    def __init__(self, families: Sequence[JobColumns]) -> None:
        self.families = families
        self.starts = [family.start for family in families]
        self._known: dict[int, GraphNode] = {}
        self._by_id: dict[str, GraphNode] = {}

    def __len__(self) -> int:
        return sum(len(family.job_ids) for family in self.families)

    @property
    def made(self) -> int:
        """How many records of jobs there are by now."""
        return len(self._known)

    def node(self, position: int) -> GraphNode:
        """The job at a position, the very same each time."""
        known = self._known.get(position)
        if known is None:
            family, place = self.family_at(position)
            known = self._known.setdefault(position, family.node(place))
            self._by_id[known.job_id] = known
        return known

    def named(self, job_id: str) -> GraphNode:
        """The job of an id; those of which there are records are found without the positions of all."""
        known = self._by_id.get(job_id)
        return self.node(self.positions[job_id]) if known is None else known

    def family_at(self, position: int) -> tuple[JobColumns, int]:
        """The producer whose job is at a position, and the place of that job among its jobs."""
        family = self.families[bisect_right(self.starts, position) - 1]
        return family, position - family.start

    def nodes(self) -> list[GraphNode]:
        """All jobs as records."""
        return [self.node(position) for position in range(len(self))]

    def edges(self) -> list[GraphEdge]:
        """An edge for each pair of jobs where one reads what the other makes, or is there because of it."""
        return [GraphEdge(from_=before, to=after) for before, after in (pair.split(BETWEEN) for pair in self.pairs())]

    def ids(self) -> Iterator[str]:
        """The ids of all jobs, by position. No list of them is kept: each producer has its own."""
        return (job_id for family in self.families for job_id in family.job_ids)

    def ids_at(self, positions: Iterable[int]) -> Iterator[str]:
        """The ids of the jobs at these positions; soonest where they follow on each other."""
        ids, start, end = list[str](), 0, 0
        for position in positions:
            if not start <= position < end:
                family, _ = self.family_at(position)
                ids, start = family.job_ids, family.start
                end = start + len(ids)
            yield ids[position - start]

    def job_id(self, position: int) -> str:
        """The id of the job at a position."""
        family, place = self.family_at(position)
        return family.job_ids[place]

    def share_ids(self, family: JobColumns, texts: Sequence[str | None]) -> None:
        """Let jobs have as their ids those texts of somebody else, by place, that are equal: one is enough for both."""
        pairs = zip(texts, family.job_ids, strict=True)
        family.job_ids[:] = [text if text is not None and text == job_id else job_id for text, job_id in pairs]

    @cached_property
    def makers(self) -> dict[str, int]:
        """The position of its job, by artefact."""
        return {
            artefact: position
            for family in self.families
            for _, ids in family.outputs
            for position, artefact in enumerate(ids, family.start)
        }

    @cached_property
    def positions(self) -> dict[str, int]:
        """The position of each job."""
        return {job_id: position for position, job_id in enumerate(self.ids())}

    @property
    def placeholders(self) -> list[GraphNode]:
        """The nodes that stand for jobs which are not known yet."""
        return [family.node(place) for family in self.families for place in family.awaits]

    def pairs(self) -> list[str]:
        """The edges, sorted, as a text each: both job ids with a NUL between them."""
        ids, found = [*self.ids()], list[str]()
        for family in self.families:
            for makers in self.maker_columns(family):
                found += [f"{ids[m]}{BETWEEN}{job}" for m, job in zip(makers, family.job_ids, strict=True)]
            for place, more in self._more_makers(family):
                found += [f"{ids[m]}{BETWEEN}{family.job_ids[place]}" for m in more]
        found.sort()  # what is mostly in order is sorted sooner than a set
        return [*dict.fromkeys(found)] if any(map(eq, found, islice(found, 1, None))) else found

    def maker_columns(self, family: JobColumns) -> list[Sequence[int]]:
        """For each input that is one artefact of another job for every job: the positions of those jobs."""
        return [column.makers for column in family.columns if isinstance(column, FromJobs)]

    def dependencies(self, family: JobColumns) -> Iterator[Sequence[int]]:
        """Of each job of a producer the positions of those that it waits for, each once, sorted."""
        columns = self.maker_columns(family)
        more: dict[int, set[int]] = {}
        for place, makers in self._more_makers(family):
            more.setdefault(place, set()).update(makers)
        if not more and len(columns) < 2:
            yield from ((maker,) for maker in columns[0]) if columns else (() for _ in family.job_ids)
        else:
            for place in range(len(family.job_ids)):
                yield sorted({*(column[place] for column in columns), *more.get(place, ())})

    def waits_for(self, family: JobColumns) -> set[int]:
        """The numbers of the producers whose jobs some job of a producer waits for."""
        makers = {column[0] for column in self.maker_columns(family) if column}
        seen: dict[int, set[int]] = {}
        for _, more in self._more_makers(family):
            if id(more) not in seen:
                seen[id(more)] = more
                makers |= more
        return {bisect_right(self.starts, maker) - 1 for maker in makers}

    def layers(self) -> tuple[array[int], list[JobColumns]] | None:
        """The depth of each job, and the producers, each after those it waits for.

        None where jobs of two producers wait for each other.
        """
        layers, families = array("i", [0]) * len(self), list[JobColumns]()
        waiting = {number: self.waits_for(family) for number, family in enumerate(self.families)}
        while waiting:
            ready = [number for number, before in waiting.items() if not before & waiting.keys()]
            if not ready:
                return None
            for number in ready:
                del waiting[number]
                family = self.families[number]
                depths = self.depths(family, layers)
                layers[family.start : family.start + len(depths)] = depths
                families.append(family)
        return layers, families

    def depths(self, family: JobColumns, layers: Sequence[int]) -> array[int]:
        """The layer of each job of a producer, where `layers` has those of what they wait for."""
        columns = [[layers[maker] + 1 for maker in makers] for makers in self.maker_columns(family)]
        if not columns:
            depths = array("i", [0]) * len(family.job_ids)
        else:
            depths = array("i", columns[0] if len(columns) == 1 else map(max, *columns))
        for place, makers in self._more_makers(family):
            depths[place] = max(depths[place], 1 + max((layers[maker] for maker in makers), default=-1))
        return depths

    def before(self, position: int) -> Iterator[int]:
        """The positions of the jobs that the one at a position waits for; some may come several times."""
        family, place = self.family_at(position)
        yield from (maker for _, maker in self.read_at(position))
        yield from (self.makers[artefact] for artefact in family.deciders.get(place, ()))

    def read_at(self, position: int) -> Iterator[tuple[str, int]]:
        """The artefacts that the job at a position waits for, in the order of reading, and who makes them."""
        family, place = self.family_at(position)
        for column in family.columns:
            if isinstance(column, FromJobs):
                yield column.artefacts[place], column.makers[place]
            elif (entry := None if isinstance(column, FromInput) else column.of(place)) is not None:
                read = (entry.ref,) if entry.refs is None else entry.refs
                found = (ref.id for ref in read if ref is not None and ref.kind == "artefact")
                yield from ((artefact, self.makers[artefact]) for artefact in found)
        if place in family.awaits:
            yield from ((artefact, self.makers[artefact]) for artefact in family.awaits[place].artefacts)

    def mark(self, family: JobColumns, marks: bytearray) -> None:
        """Mark, by position, those jobs of a producer that wait for one that is marked."""
        start, places = family.start, range(family.start, family.start + len(family.job_ids))
        for makers in self.maker_columns(family):
            for position in compress(places, map(marks.__getitem__, makers)):
                marks[position] = 1
        seen: dict[int, tuple[set[int], bool]] = {}
        for place, more in self._more_makers(family):
            if id(more) not in seen:
                seen[id(more)] = more, any(map(marks.__getitem__, more))
            if seen[id(more)][1]:
                marks[start + place] = 1

    def _more_makers(self, family: JobColumns) -> Iterator[tuple[int, set[int]]]:
        """What jobs wait for beyond `maker_columns`, by place; a place may come several times."""
        for column in family.columns:
            if isinstance(column, Same) and (makers := self._read(column.entry)):
                yield from ((place, makers) for place in range(len(family.job_ids)))
            elif isinstance(column, Each):
                known: dict[int, set[int]] = {}  # jobs that share a fan-in hold the same list
                for place, entry in enumerate(column.entries):
                    if entry is not None:
                        shared = id(entry.refs) if entry.refs is not None else id(entry)
                        if shared not in known:
                            known[shared] = self._read(entry)
                        yield place, known[shared]
        for place, artefacts in family.deciders.items():
            yield place, {self.makers[artefact] for artefact in artefacts}
        for place, awaited in family.awaits.items():
            yield place, {self.makers[artefact] for artefact in awaited.artefacts}

    def _read(self, entry: GraphInput) -> set[int]:
        read = (entry.ref,) if entry.refs is None else entry.refs
        return {self.makers[ref.id] for ref in read if ref is not None and ref.kind == "artefact"}


def nodes_by_id(graph: ProducerGraph) -> Mapping[str, GraphNode]:
    """The jobs of a graph, those of columns as records when they are asked for."""
    columns = graph.columns
    return _ById(columns) if isinstance(columns, Sheet) else {node.job_id: node for node in graph.nodes}


def jobs_by_artefact(graph: ProducerGraph) -> Mapping[str, str]:
    """Which job makes an artefact."""
    columns = graph.columns
    if isinstance(columns, Sheet):
        return _ByArtefact(columns)
    return {output.id: node.job_id for node in graph.nodes for output in node.produces}


class _ById(Mapping[str, GraphNode]):
    def __init__(self, sheet: Sheet) -> None:
        self._sheet = sheet

    def __getitem__(self, job_id: str) -> GraphNode:
        return self._sheet.named(job_id)

    def __iter__(self) -> Iterator[str]:
        return self._sheet.ids()

    def __len__(self) -> int:
        return len(self._sheet)


class _ByArtefact(Mapping[str, str]):
    def __init__(self, sheet: Sheet) -> None:
        self._sheet = sheet

    def __getitem__(self, artefact: str) -> str:
        return self._sheet.job_id(self._sheet.makers[artefact])

    def __iter__(self) -> Iterator[str]:
        return iter(self._sheet.makers)

    def __len__(self) -> int:
        return len(self._sheet.makers)


class Rows:
    """Lists of positions, one per job, end to end in one array."""

    __slots__ = ("_starts", "_targets")

    def __init__(self, starts: array[int], targets: array[int]) -> None:
        self._starts = starts
        self._targets = targets

    @classmethod
    def collect(cls, rows: Iterable[Iterable[int]]) -> Rows:
        """The lists of all jobs, in order."""
        starts, targets = array("q", [0]), array("i")
        for row in rows:
            if row:
                targets.extend(row)
            starts.append(len(targets))
        return cls(starts, targets)

    def of(self, position: int) -> array[int]:
        """The list of one job."""
        return self._targets[self._starts[position] : self._starts[position + 1]]

    def turned(self) -> Rows:
        """The same pairs seen from their other ends; each row is sorted."""
        size = len(self._starts) - 1
        starts = array("q", [0]) * (size + 1)
        for target in self._targets:
            starts[target + 1] += 1
        for position in range(size):
            starts[position + 1] += starts[position]
        free = starts[:]
        targets = array("i", [0]) * len(self._targets)
        for position in range(size):
            for target in self.of(position):
                targets[free[target]] = position
                free[target] += 1
        return Rows(starts, targets)


def by_layer(layers: Sequence[int]) -> array[int]:
    """The positions by the layers that they have, within a layer in their own order."""
    places = [array("i") for _ in range(max(layers, default=-1) + 1)]
    start = 0
    for layer, run in groupby(layers):  # mostly those of a whole producer
        end = start + len([*run])
        places[layer].extend(range(start, end))
        start = end
    return sum(places, array("i"))
