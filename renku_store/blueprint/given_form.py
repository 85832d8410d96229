"""The form of a graph that people and other programs write, checked by pydantic, and the records that it stands for.

Records read what this project has written. Here a field has either of its names, and text that is a number is one.
What is said of a call is bounded as in a blueprint. An error says in one sentence what is wrong with which job.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Annotated, Any, Final, TypeAlias, TypeGuard, TypeVar

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, JsonValue, ValidationError
from pydantic.alias_generators import to_camel

from renku_store import bounds
from renku_store.blueprint.names import (
    BYTES_WANTED,
    TIMEOUT_WANTED,
    WEIGHT_WANTED,
    is_declared_type,
    is_name,
    is_size,
    is_source,
    is_timeout,
    is_weight,
)
from renku_store.blueprint.places import describe
from renku_store.errors import GraphError
from renku_store.records.columns import of_artefact, of_input
from renku_store.records.graph import CostRule, GraphEdge, GraphInput, GraphNode, GraphOutput, PathStep, Reference

_REFERENCE: Final = 'For example {"kind": "artefact", "id": "script.out", "path": ["segments", 0]}.'
_WANTED: Final = {
    "inputs": "a list",
    "produces": "a list",
    "mimeType": "a MIME type in small letters",
    "provider": "the name of a provider",
    "providerModel": "the name of a model",
    "version": "text that is not empty",
    "config": "a mapping",
    "context": "a mapping",
    "timeoutSeconds": TIMEOUT_WANTED,
    "maxOutputBytes": BYTES_WANTED,
    "uses": "a mapping from resources to whole numbers",
    "sources": "a list of files",
    "source": "64 lower-case hex digits",
}
"""What a field must be; the others must be text."""
_WANTED_INSIDE: Final = {"uses": WEIGHT_WANTED, "sources": "the name of a file"}
"""What the values in a field must be."""
_HINTS: Final = {
    "mimeType": "For example audio/wav.",
    "provider": "A provider has a name that can be printed, without blanks at its ends.",
    "providerModel": "A model has a name that can be printed, without blanks at its ends.",
    "timeoutSeconds": "For example 600, which is ten minutes.",
    "maxOutputBytes": "For example 1000000000.",
    "uses": 'For example {"gpu": 1}.',
    "sources": 'For example ["narrate.py"].',
    "source": "It is the BLAKE3 digest of the program files; leave it out to have it worked out.",
}


def _such(holds: Callable[[Any], bool]) -> Callable[[object], object]:
    """The check that something holds of a value."""

    def check(value: object) -> object:
        if not holds(value):
            raise ValueError("out of bounds")
        return value

    return check


def _is_no_boolean(value: object) -> bool:
    return not isinstance(value, bool)


def _is_model(text: str) -> bool:
    return not text or is_name(text)


def _says_something(text: str) -> bool:
    return bool(text.strip())


_Hash: TypeAlias = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
_Name: TypeAlias = Annotated[str, AfterValidator(_such(is_name))]
_Seconds: TypeAlias = Annotated[float, BeforeValidator(_such(_is_no_boolean)), AfterValidator(_such(is_timeout))]
_Size: TypeAlias = Annotated[int, BeforeValidator(_such(_is_no_boolean)), AfterValidator(_such(is_size))]
_Weight: TypeAlias = Annotated[int, Field(strict=True), AfterValidator(_such(is_weight))]
_Source: TypeAlias = Annotated[str, AfterValidator(_such(is_source))]


class _Form(BaseModel):
    model_config = ConfigDict(
        alias_generator=to_camel,
        validate_by_name=True,
        validate_by_alias=True,
        extra="ignore",
        arbitrary_types_allowed=True,
    )


_Kind = TypeVar("_Kind", bound=_Form)


class _OutputForm(_Form):
    id: str
    name: str
    mime_type: Annotated[str, AfterValidator(_such(is_declared_type))]


class _EdgeForm(_Form):
    from_: str = Field(alias="from")
    to: str


class _NodeForm(_Form):
    job_id: str
    producer: str
    inputs: list[GraphInput]
    produces: list[GraphOutput]
    provider: _Name
    provider_model: Annotated[str, AfterValidator(_such(_is_model))]
    version: Annotated[str, AfterValidator(_such(_says_something))] = "1"
    rate_key: str = ""
    config: dict[str, JsonValue] = {}
    context: dict[str, JsonValue] = {}
    timeout_seconds: _Seconds | None = None
    max_output_bytes: _Size | None = None
    uses: dict[str, _Weight] | None = None
    cost: CostRule | None = None
    sources: list[_Source] | None = None
    source: _Hash | None = None


def given_input(fields: dict[str, Any], job_id: str) -> GraphInput:
    """What a job reads; references in it are records, or mappings. Raises `GraphError`."""
    name = fields.get("name")
    if "name" not in fields:
        raise GraphError(f"The job {job_id} has an input that has no name.", hint='Add "name".')
    if not isinstance(name, str):
        raise GraphError(f"The job {job_id} has an input whose name is {describe(name)}.", hint="A name is text.")
    where = f"The job {job_id}, input {name}"
    ref, refs = fields.get("ref"), fields.get("refs")
    if refs is not None and not isinstance(refs, list):
        raise GraphError(f"{where}: refs must be a list, not {describe(refs)}.", hint="One reference goes under ref.")
    return GraphInput(
        name=name,
        ref=None if ref is None else _reference(ref, where),
        refs=None if refs is None else [None if one is None else _reference(one, where) for one in refs],
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
    """A job; its inputs, outputs and cost are records already. Raises `GraphError`, which begins with `where`."""
    form = _checked(_NodeForm, fields, where)
    return GraphNode(**{name: getattr(form, name) for name in _NodeForm.model_fields})


def _reference(given: object, where: str) -> Reference:
    """The reference that is given in full."""
    if isinstance(given, Reference):
        return given
    if not isinstance(given, dict):
        raise GraphError(f"{where}: a reference must be text or a mapping, not {describe(given)}.", hint=_REFERENCE)
    kind, name, path = given.get("kind"), given.get("id"), given.get("path", [])
    if kind not in ("input", "artefact"):
        raise GraphError(
            f"{where}: kind of a reference must be input or artefact, not {describe(kind)}.", hint=_REFERENCE
        )
    if not isinstance(name, str) or not name:
        raise GraphError(
            f"{where}: id of a reference must be text that is not empty, not {describe(name)}.", hint=_REFERENCE
        )
    if not isinstance(path, list):
        raise GraphError(f"{where}: path of a reference must be a list, not {describe(path)}.", hint=_REFERENCE)
    for step in path:
        if not _is_step(step):
            raise GraphError(
                f"{where}: path of a reference must be a list of keys (text) and positions (whole numbers from 0); "
                f"it has {describe(step)}.",
                hint=_REFERENCE,
            )
    return (of_input if kind == "input" else of_artefact)(name, [*path])


def _is_step(step: object) -> TypeGuard[PathStep]:
    if isinstance(step, str):
        return True
    return isinstance(step, int) and not isinstance(step, bool) and 0 <= step <= bounds.INTEGER_MAX


def _checked(kind: type[_Kind], fields: object, where: str) -> _Kind:
    """The form that some fields are; the error says which field of what is wrong."""
    try:
        return kind.model_validate(fields)
    except ValidationError as error:
        raise _refused(error.errors(include_url=False)[0], where) from None


def _refused(first: Mapping[str, Any], where: str) -> GraphError:
    given = describe(first["input"])
    if not first["loc"]:
        return GraphError(f"{where}: this must be a mapping, not {given}.", hint='For example {"key": "value"}.')
    field, *inside = first["loc"]
    name = str(field)
    if first["type"] == "missing":
        return GraphError(f"{where} has no {name}.", hint=f'Add "{name}".')
    wanted = (_WANTED_INSIDE if inside else _WANTED).get(name, "a JSON value" if inside else "text")
    place = name + "".join(f"[{step}]" if isinstance(step, int) else f".{step}" for step in inside)
    return GraphError(f"{where}: {place} must be {wanted}, not {given}.", hint=_HINTS.get(name, _hint(wanted)))


def _hint(wanted: str) -> str:
    return "Put it in quotes." if wanted == "text" else f"It must be {wanted}."
