"""What the jobs of one producer have in common once, the rest in columns; records of jobs on demand.

A job as a record takes 2 KiB and several microseconds; most plans look at few of them.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Final, TypeAlias, overload

from msgspec import Struct, field

from renku_store.records._base import Json
from renku_store.records.graph import Awaited, GraphInput, GraphNode, GraphOutput, Reference

_WHOLE: Final[list[str | int]] = []


def of_input(name: str, path: list[str | int]) -> Reference:
    """A reference into an input."""
    return Reference(kind="input", id=name, path=path)


def of_artefact(artefact: str, path: list[str | int]) -> Reference:
    """A reference into an artefact."""
    return Reference(kind="artefact", id=artefact, path=path)


class Same(Struct, frozen=True):
    """An input that every job reads alike."""

    entry: GraphInput

    @property
    def name(self) -> str:
        """Under which it is read."""
        return self.entry.name

    def of(self, place: int) -> GraphInput | None:  # noqa: ARG002 (as the others)
        """The input of one job."""
        return self.entry


class FromInput(Struct, frozen=True):
    """Each job reads its own place of one input: its position in the list at `before`, and there the keys `after`."""

    name: str
    id: str
    before: Sequence[str | int]
    positions: Sequence[int]
    after: Sequence[str]

    def path(self, place: int) -> list[str | int]:
        """Where one job reads."""
        return [*self.before, self.positions[place], *self.after]

    def of(self, place: int) -> GraphInput | None:
        """The input of one job."""
        return GraphInput(name=self.name, ref=of_input(self.id, self.path(place)))


class FromJobs(Struct, frozen=True):
    """Each job reads one whole artefact: `artefacts` by id, and the positions of the jobs that make them."""

    name: str
    artefacts: Sequence[str]
    makers: Sequence[int]

    def of(self, place: int) -> GraphInput | None:
        """The input of one job."""
        return GraphInput(name=self.name, ref=of_artefact(self.artefacts[place], _WHOLE))


class Each(Struct, frozen=True):
    """Inputs that have no simpler form; None where a job has none."""

    name: str
    entries: Sequence[GraphInput | None]

    def of(self, place: int) -> GraphInput | None:
        """The input of one job."""
        return self.entries[place]


Column: TypeAlias = Same | FromInput | FromJobs | Each
"""One input of all jobs of a producer."""


class Made(Sequence[str]):
    """The ids of what the jobs of a producer make as one output; each is made when it is asked for."""

    __slots__ = ("_end", "_job_ids")

    def __init__(self, job_ids: Sequence[str], output: str) -> None:
        self._job_ids = job_ids
        self._end = f".{output}"

    def __len__(self) -> int:
        return len(self._job_ids)

    @overload
    def __getitem__(self, place: int) -> str: ...

    @overload
    def __getitem__(self, place: slice) -> list[str]: ...

    def __getitem__(self, place: int | slice) -> str | list[str]:
        end = self._end
        if isinstance(place, slice):
            return [job_id + end for job_id in self._job_ids[place]]
        return self._job_ids[place] + end

    def __iter__(self) -> Iterator[str]:
        end = self._end
        return (job_id + end for job_id in self._job_ids)


class Contexts(Struct, frozen=True):
    """What jobs declare of themselves: `common` to all, but for `own` values by name, job by job."""

    common: dict[str, Json]
    own: Mapping[str, Sequence[Json]]

    def of(self, place: int) -> dict[str, Json]:
        """The context of one job."""
        return {**self.common, **{name: values[place] for name, values in self.own.items()}}


class JobColumns(Struct):
    """The jobs of one producer, from position `start` of the graph on.

    `common` is a job but for what is its own; `contexts` are there where they differ, `configs` and `awaits` by place
    where a job has another. `outputs` has, for each output, the ids of all jobs. `deciders` are, by place, artefacts
    because of which a job is there.
    """

    start: int
    common: GraphNode
    job_ids: list[str]
    outputs: list[tuple[GraphOutput, Sequence[str]]]
    columns: list[Column]
    contexts: Contexts | None = None
    configs: Mapping[int, dict[str, Json]] = field(default_factory=dict)
    awaits: Mapping[int, Awaited] = field(default_factory=dict)
    deciders: Mapping[int, tuple[str, ...]] = field(default_factory=dict)

    def node(self, place: int) -> GraphNode:
        """A job as a record."""
        own: dict[str, object] = {}
        if self.contexts is not None:
            own["context"] = self.contexts.of(place)
        if place in self.configs:
            own["config"] = self.configs[place]
        if place in self.awaits:
            own["awaits"] = self.awaits[place]
        return self.common.replace(
            job_id=self.job_ids[place],
            inputs=[entry for column in self.columns if (entry := column.of(place)) is not None],
            produces=[
                GraphOutput(id=ids[place], name=output.name, mime_type=output.mime_type) for output, ids in self.outputs
            ],
            **own,
        )
