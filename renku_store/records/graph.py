"""The expanded graph: jobs, what they read and make, and which waits for which."""

from __future__ import annotations

from collections.abc import Generator, Iterable, Mapping
from typing import TYPE_CHECKING, Annotated, Any, Final, Literal, Protocol, Self, cast

from pydantic import (
    ConfigDict,
    Field,
    PrivateAttr,
    SerializerFunctionWrapHandler,
    StrictInt,
    StrictStr,
    model_serializer,
    model_validator,
)

from renku_store.records._base import Hash, Json, Record, exactly_one

PathStep = StrictStr | StrictInt
Dollars = Annotated[float, Field(ge=0, allow_inf_nan=False, strict=True)]


class Reference(Record):
    """Points at an input or an artefact (`id`), or into its JSON value: `path` is keys and positions from the top."""

    kind: Literal["input", "artefact"]
    id: str
    path: list[PathStep] = []

    def text(self) -> str:
        """As a person writes it: `segments[2].text`."""
        return self.id + "".join(f"[{step}]" if isinstance(step, int) else f".{step}" for step in self.path)


class GraphInput(Record):
    """What a job reads under `name`: one reference (`ref`), or a fan-in (`refs`; null is a place without a job)."""

    model_config = ConfigDict(json_schema_extra=exactly_one("ref", "refs"))

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

    @model_validator(mode="before")
    @classmethod
    def _from_number(cls, value: object) -> object:
        if isinstance(value, int | float) and not isinstance(value, bool):
            return {"low": value, "high": value}
        return value

    @model_validator(mode="after")
    def _is_one_rule(self) -> CostRule:
        units = [price for price in (self.per_character, self.per_second, self.per_item) if price is not None]
        if len(units) > 1:
            raise ValueError("one of perCharacter, perSecond and perItem, not several")
        if bool(units) != (self.of is not None):
            raise ValueError("a price per unit and `of` belong together")
        if not units and (self.low is None or self.high is None):
            raise ValueError("both low and high, or a price per unit")
        if self.low is not None and self.high is not None and self.low > self.high:
            raise ValueError("low is above high")
        return self


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
    recorded graph either: another price is not another graph.

    With `awaits` it is a placeholder: `narration[*]` stands for the jobs of a loop whose list is not known yet. It is
    never called, has no signature, and reads what all of those jobs may read.
    """

    job_id: str
    producer: str
    inputs: list[GraphInput] = []
    produces: list[GraphOutput]
    provider: str
    provider_model: str
    version: str = "1"
    rate_key: str = ""
    config: dict[str, Json] = {}
    context: dict[str, Json] = {}
    timeout_seconds: float | None = None
    max_output_bytes: int | None = None
    uses: dict[str, Annotated[int, Field(gt=0, strict=True)]] | None = None
    cost: CostRule | None = None
    sources: list[str] | None = None
    source: Hash | None = None
    awaits: Awaited | None = None

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

    from_: str = Field(alias="from")
    to: str


class Columns(Protocol):
    """The jobs of a graph in another form, of which records can be made."""

    def nodes(self) -> list[GraphNode]:
        """All jobs."""
        ...

    def edges(self) -> list[GraphEdge]:
        """All edges."""
        ...


class ProducerGraph(Record):
    """All jobs of a movie; `timeline` is the id of the artefact that is the timeline, if one is."""

    # What is written by a method of its own would have null in the place of numbers that JSON does not have.
    model_config = ConfigDict(ser_json_inf_nan="constants")

    nodes: list[GraphNode]
    edges: list[GraphEdge] = []
    timeline: str | None = None

    # A graph that is made of columns has none of its fields before somebody asks for jobs or edges: then it has all.
    _columns: Columns | None = PrivateAttr(None)
    _timeline: str | None = PrivateAttr(None)

    @classmethod
    def of_columns(cls, columns: Columns, timeline: str | None) -> ProducerGraph:
        """A graph of jobs that were checked before they were put into columns."""
        graph = cls.model_construct({"nodes", "edges", "timeline"}, nodes=[])
        vars(graph).clear()
        graph._columns, graph._timeline = columns, timeline  # noqa: SLF001 (its own)
        return graph

    @property
    def columns(self) -> Columns | None:
        """What the graph is made of, if it is made of columns."""
        return self._columns

    if not TYPE_CHECKING:

        def __getattr__(self, name: str) -> Any:
            """Called for what is not there: the fields of a graph of which nobody has asked for jobs or edges."""
            private = self.__pydantic_private__ or {}
            columns = private.get("_columns")
            if columns is None or name not in {"nodes", "edges", "timeline"}:
                return super().__getattr__(name)
            if name == "timeline":
                return private["_timeline"]
            # In the order in which they are written; at once, as another thread may ask meanwhile.
            made = {"nodes": columns.nodes(), "edges": columns.edges(), "timeline": private["_timeline"]}
            self.__dict__.update(made)
            return made[name]

    def _whole(self) -> ProducerGraph:
        _ = self.nodes, self.edges
        return self

    @model_serializer(mode="wrap")
    def _written(self, write: SerializerFunctionWrapHandler) -> dict[str, Any]:
        return cast("dict[str, Any]", write(self._whole()))

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, ProducerGraph):
            return NotImplemented
        return self._whole().__dict__ == other._whole().__dict__

    def __iter__(self) -> Generator[tuple[str, Any], None, None]:  # noqa: PYI058 (as in its base)
        return super(ProducerGraph, self._whole()).__iter__()

    def __repr_args__(self) -> Iterable[tuple[str | None, Any]]:
        return super(ProducerGraph, self._whole()).__repr_args__()

    def model_copy(self, *, update: Mapping[str, Any] | None = None, deep: bool = False) -> Self:
        """A copy; one with other fields is made of these, not of columns."""
        if update or deep:
            self._whole()
        copied = super().model_copy(update=update, deep=deep)
        if update or deep:
            copied._columns = None  # noqa: SLF001 (its own)
        return copied

    def __getstate__(self) -> dict[Any, Any]:
        whole = super(ProducerGraph, self._whole()).__getstate__()
        return {**whole, "__pydantic_private__": {"_columns": None, "_timeline": None}}


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
