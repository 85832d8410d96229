"""The expanded graph: jobs, what they read and make, and which waits for which."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from math import isfinite
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Final, Literal, Protocol, TypeAlias

import msgspec

from renku_store.errors import GraphError, InvalidIdError
from renku_store.records._base import Hash, Json, Record, written
from renku_store.records.ids import check_id, shown_id

PathStep = str | int
Dollars = Annotated[float, msgspec.Meta(ge=0)]


class Reference(Record):
    """Points at an input or an artefact (`id`), or into its JSON value: `path` is keys and positions from the top."""

    kind: Literal["input", "artefact"]
    id: str
    path: list[PathStep] = written([])

    def text(self) -> str:
        """As a person writes it: `segments[2].text`."""
        return self.id + "".join(f"[{step}]" if isinstance(step, int) else f".{step}" for step in self.path)


class GraphInput(Record):
    """What a job reads under `name`: one reference (`ref`), or a fan-in (`refs`; null is a place without a job)."""

    exactly_one: ClassVar = ("ref", "refs")

    name: str
    ref: Reference | None = None
    refs: list[Reference | None] | None = None


class GraphOutput(Record):
    """What a job makes: the artefact's `id`, the producer's own `name` for it, and its MIME type."""

    id: str
    name: str
    mime_type: str


class CostRule(Record):
    """What one call of a producer is expected to cost, in US dollars; as JSON, a number is short for both bounds.

    Either `low` and `high` (both are given then), or one price for each unit of `of`, an input or a key of the config:
    `per_character` of its text, `per_second` of its number, `per_item` of its list. `low` and `high` then hold where
    the units cannot be counted yet; without them nobody can say.
    """

    low: Dollars | None = None
    high: Dollars | None = None
    per_character: Dollars | None = None
    per_second: Dollars | None = None
    per_item: Dollars | None = None
    of: str | None = None

    @classmethod
    def from_json(cls, document: object) -> CostRule:
        """The rule that a JSON value stands for, also a number; prices have either of their names.

        Raises `RecordError`.
        """
        if isinstance(document, int | float) and not isinstance(document, bool):
            document = {"low": document, "high": document}
        if isinstance(document, Mapping):
            names = dict(zip(cls.__struct_fields__, cls.__struct_encode_fields__, strict=True))
            document = {names.get(key, key): value for key, value in document.items()}
        return super().from_json(document)

    def __post_init__(self) -> None:
        prices = (self.low, self.high, self.per_character, self.per_second, self.per_item)
        if not all(price is None or isfinite(price) for price in prices):
            raise ValueError("a price is a finite number")
        units = [price for price in (self.per_character, self.per_second, self.per_item) if price is not None]
        if len(units) > 1:
            raise ValueError("one of perCharacter, perSecond and perItem, not several")
        if bool(units) != (self.of is not None):
            raise ValueError("a price per unit and `of` belong together")
        if not units and (self.low is None or self.high is None):
            raise ValueError("both low and high, or a price per unit")
        if self.low is not None and self.high is not None and self.low > self.high:
            raise ValueError("low is above high")


if TYPE_CHECKING:
    Cost: TypeAlias = CostRule
    """The rule that a node has; a number may be given for it."""
else:
    Cost = CostRule | Dollars


class Awaited(Record):
    """What a placeholder waits for: the artefacts whose content decides which jobs stand in its place.

    `problem` is there where that content is known and decides nothing: it is no list, say.
    """

    artefacts: list[str]
    problem: str | None = None


class GraphNode(Record):
    """One job. Signed are `producer`, `version`, `provider`, `provider_model`, `config`, `context`, inputs and outputs.

    `timeout_seconds` and `max_output_bytes` bound the call and are not signed; nor is `rate_key`, the name under which
    calls share a limit, nor `uses`, how much of each named resource a call takes, nor `cost`, which is no part of the
    recorded graph either: another price is not another graph. It is a `CostRule`; a number that is given becomes one.

    With `awaits` it is a placeholder: `narration[*]` stands for the jobs of a loop whose list is not known yet. It is
    never called, has no signature, and reads what all of those jobs may read.
    """

    job_id: str
    producer: str
    inputs: list[GraphInput] = written([])
    produces: list[GraphOutput]
    provider: str
    provider_model: str
    version: str = written("1")
    rate_key: str = written("")
    config: dict[str, Json] = written({})
    context: dict[str, Json] = written({})
    timeout_seconds: float | None = None
    max_output_bytes: int | None = None
    uses: dict[str, Annotated[int, msgspec.Meta(gt=0)]] | None = None
    cost: Cost | None = None
    sources: list[str] | None = None
    source: Hash | None = None
    awaits: Awaited | None = None

    def __post_init__(self) -> None:
        given: object = self.cost
        if isinstance(given, float | int):  # short for both bounds
            msgspec.structs.force_setattr(self, "cost", CostRule.from_json(given))

    @property
    def stands_for_many(self) -> bool:
        """Whether this is a placeholder for any number of jobs, and not for one that may be there or not."""
        return self.awaits is not None and EVERY_LABEL in (labels_of(self.job_id, self.producer) or ())

    def stands_for(self, job_id: str) -> bool:
        """Whether this is a placeholder, and one for this job."""
        if self.awaits is None:
            return False
        own, other = labels_of(self.job_id, self.producer), labels_of(job_id, self.producer)
        return other is not None and own is not None and len(own) == len(other) and _agree(own, other)

    def output_for(self, artefact_id: str) -> GraphOutput | None:
        """The output that stands for this artefact of a job that a placeholder stands for."""
        for output in self.produces if self.awaits is not None else ():
            job_id = artefact_id.removesuffix(f".{output.name}")
            if job_id != artefact_id and self.stands_for(job_id):
                return output
        return None


class GraphEdge(Record):
    """`to` waits for `from`; both are job ids."""

    from_: str = msgspec.field(name="from")
    to: str


class Columns(Protocol):
    """The jobs of a graph in another form, of which records can be made."""

    def nodes(self) -> list[GraphNode]:
        """All jobs."""
        ...

    def edges(self) -> list[GraphEdge]:
        """All edges."""
        ...


class _Written(Record):
    """All jobs of a movie; `timeline` is the id of the artefact that is the timeline, if one is."""

    nodes: list[GraphNode]
    edges: list[GraphEdge] = written([])
    timeline: str | None = None


class ProducerGraph:
    """All jobs of a movie; `timeline` is the id of the artefact that is the timeline, if one is.

    One that is made of columns makes records of its jobs when somebody asks for them. It never changes.
    """

    __slots__ = ("_columns", "_whole", "timeline")

    written_as: Final = _Written

    def __init__(
        self, *, nodes: list[GraphNode], edges: list[GraphEdge] | None = None, timeline: str | None = None
    ) -> None:
        self.timeline = timeline
        self._columns: Columns | None = None
        self._whole: _Written | None = _Written(nodes=nodes, edges=edges or [], timeline=timeline)

    @classmethod
    def of_columns(cls, columns: Columns, timeline: str | None) -> ProducerGraph:
        """A graph of jobs that were checked before they were put into columns."""
        graph = cls.__new__(cls)
        graph.timeline = timeline
        graph._columns, graph._whole = columns, None  # noqa: SLF001 (its own)
        return graph

    @classmethod
    def read(cls, data: bytes | str) -> ProducerGraph:
        """The graph that JSON text holds. Raises `RecordError`."""
        return cls._from(_Written.read(data))

    @classmethod
    def from_json(cls, document: object) -> ProducerGraph:
        """The graph that a JSON value stands for. Raises `RecordError`."""
        return cls._from(_Written.from_json(document))

    @classmethod
    def _from(cls, found: _Written) -> ProducerGraph:
        graph = cls.__new__(cls)
        graph.timeline = found.timeline
        graph._columns, graph._whole = None, found  # noqa: SLF001 (its own)
        return graph

    @property
    def nodes(self) -> list[GraphNode]:
        """Its jobs."""
        return self._records().nodes

    @property
    def edges(self) -> list[GraphEdge]:
        """Which job waits for which."""
        return self._records().edges

    @property
    def columns(self) -> Columns | None:
        """What the graph is made of, if it is made of columns."""
        return self._columns

    def to_json(self) -> dict[str, Any]:
        """The JSON form: camelCase keys, absent fields left out."""
        return self._records().to_json()

    def replace(self, **changes: Any) -> ProducerGraph:
        """The same with other `nodes`, `edges` or `timeline`: a graph of records."""
        return self._from(self._records().replace(**changes))

    def _records(self) -> _Written:
        whole = self._whole
        if whole is None:
            assert self._columns is not None
            # At once, as another thread may ask meanwhile.
            whole = _Written(nodes=self._columns.nodes(), edges=self._columns.edges(), timeline=self.timeline)
            self._whole = whole
        return whole

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, ProducerGraph):
            return NotImplemented
        return self._records() == other._records()

    def __repr__(self) -> str:
        return f"ProducerGraph(nodes={self.nodes!r}, edges={self.edges!r}, timeline={self.timeline!r})"

    def __reduce__(self) -> tuple[Any, ...]:
        return _graph, (self.nodes, self.edges, self.timeline)


def _graph(nodes: list[GraphNode], edges: list[GraphEdge], timeline: str | None) -> ProducerGraph:
    return ProducerGraph(nodes=nodes, edges=edges, timeline=timeline)


EVERY_LABEL: Final = "*"
"""What stands in the id of a placeholder for the labels that are not known yet."""


def labels_of(job_id: str, producer: str) -> list[str] | None:
    """The labels in a job's id, `["2", "0"]` for `picture[2][0]`; None for a job of another producer."""
    rest = job_id.removeprefix(producer)
    if rest == job_id or (rest and not (rest.startswith("[") and rest.endswith("]"))):
        return None
    return rest[1:-1].split("][") if rest else []


def _agree(own: list[str], other: list[str]) -> bool:
    return all(one in (EVERY_LABEL, two) for one, two in zip(own, other, strict=True))


def check_names(nodes: Iterable[GraphNode]) -> None:
    """Check ids of jobs and artefacts, names of inputs and outputs. Raises `GraphError` that names the job."""
    read: dict[str, str] = {}
    made: dict[str, str] = {}
    for node in nodes:
        job_id = node.job_id
        check_name("job", job_id, job_id)
        for entry in node.inputs:
            read[entry.name] = job_id
        for output in node.produces:
            made[output.name] = job_id
            check_name("artefact", output.id, job_id)
    for thing, names in (("input", read), ("output", made)):  # many jobs have the same ones
        for name, job_id in names.items():
            check_name(thing, name, job_id)


def check_name(thing: str, value: str, job_id: str) -> None:
    """As `check_id`, of something in a job. Raises `GraphError` that names the job."""
    try:
        check_id(thing, value)
    except InvalidIdError as error:
        raise GraphError(f"The job {shown_id(job_id)}: {error.message}", hint=error.hint or "Give it one.") from None
