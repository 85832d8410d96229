"""The form of a graph that people and other programs write, checked by pydantic, and the records that it stands for.

Records read what this project has written. Here a field has either of its names, and text that is a number is one.
"""

from __future__ import annotations

from typing import Annotated, Literal, TypeAlias, TypeVar

from pydantic import BaseModel, ConfigDict, Field, JsonValue, StrictInt, StrictStr, ValidationError, field_validator
from pydantic.alias_generators import to_camel

from renku_store.errors import GraphError
from renku_store.records._base import RecordError
from renku_store.records.graph import CostRule, GraphEdge, GraphInput, GraphNode, GraphOutput, Reference

_Hash: TypeAlias = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]


class _Form(BaseModel):
    model_config = ConfigDict(
        alias_generator=to_camel,
        validate_by_name=True,
        validate_by_alias=True,
        extra="ignore",
        arbitrary_types_allowed=True,
    )


_Kind = TypeVar("_Kind", bound=_Form)


class _ReferenceForm(_Form):
    kind: Literal["input", "artefact"]
    id: str
    path: list[StrictStr | StrictInt] = []

    def record(self) -> Reference:
        return Reference(kind=self.kind, id=self.id, path=[*self.path])


class _InputForm(_Form):
    name: str
    ref: Reference | _ReferenceForm | None = None
    refs: list[Reference | _ReferenceForm | None] | None = None


class _OutputForm(_Form):
    id: str
    name: str
    mime_type: str


class _EdgeForm(_Form):
    from_: str = Field(alias="from")
    to: str


class _NodeForm(_Form):
    job_id: str
    producer: str
    inputs: list[GraphInput]
    produces: list[GraphOutput]
    provider: str
    provider_model: str
    version: str = "1"
    rate_key: str = ""
    config: dict[str, JsonValue] = {}
    context: dict[str, JsonValue] = {}
    timeout_seconds: float | None = None
    max_output_bytes: int | None = None
    uses: dict[str, Annotated[int, Field(gt=0, strict=True)]] | None = None
    cost: CostRule | None = None
    sources: list[str] | None = None
    source: _Hash | None = None

    @field_validator("cost", mode="before")
    @classmethod
    def _rule(cls, cost: object) -> CostRule | None:
        try:
            return None if cost is None else CostRule.from_json(cost)
        except RecordError as error:
            raise ValueError(str(error)) from None


def given_input(fields: object, where: str) -> GraphInput:
    """What a job reads. Raises `GraphError`, which begins with `where`."""
    form = _checked(_InputForm, fields, where)
    return GraphInput(
        name=form.name,
        ref=_record(form.ref),
        refs=None if form.refs is None else [_record(reference) for reference in form.refs],
    )


def given_output(fields: object, where: str) -> GraphOutput:
    """What a job makes. Raises `GraphError`, which begins with `where`."""
    form = _checked(_OutputForm, fields, where)
    return GraphOutput(id=form.id, name=form.name, mime_type=form.mime_type)


def given_edge(fields: object, where: str) -> GraphEdge:
    """Which job waits for which. Raises `GraphError`, which begins with `where`."""
    form = _checked(_EdgeForm, fields, where)
    return GraphEdge(from_=form.from_, to=form.to)


def given_node(fields: object, where: str) -> GraphNode:
    """A job; its `inputs` and `produces` are records already. Raises `GraphError`, which begins with `where`."""
    form = _checked(_NodeForm, fields, where)
    return GraphNode(**{name: getattr(form, name) for name in _NodeForm.model_fields})


def _record(reference: Reference | _ReferenceForm | None) -> Reference | None:
    return reference.record() if isinstance(reference, _ReferenceForm) else reference


def _checked(kind: type[_Kind], fields: object, where: str) -> _Kind:
    """The form that some fields are; the error says which field of what is wrong."""
    try:
        return kind.model_validate(fields)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        place = ".".join(str(step) for step in first["loc"])
        raise GraphError(f"{where}: {f'{place}: ' if place else ''}{first['msg']}.") from None
