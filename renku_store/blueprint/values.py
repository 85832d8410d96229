"""Values of inputs: types, defaults, and what a person types at the command line."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Final, NoReturn

from renku_store.blueprint.document import Blueprint, InputSpec, InputType
from renku_store.blueprint.names import nearest
from renku_store.blueprint.places import describe, shown
from renku_store.errors import InvalidValueError, NotFoundError
from renku_store.hashing import canonical_json
from renku_store.records._base import Json
from renku_store.records.ids import check_id

_WORDS: Final[Mapping[InputType, str]] = {
    "list": "a list",
    "string": "text",
    "number": "a number",
    "integer": "a whole number",
    "boolean": "true or false",
    "object": "a mapping",
    "any": "a value",
}
_CLASSES: Final[Mapping[InputType, type | tuple[type, ...]]] = {
    "list": list,
    "string": str,
    "number": (int, float),
    "integer": int,
    "boolean": bool,
    "object": dict,
    "any": object,
}


def type_problem(kind: InputType, value: Json) -> str | None:
    """The words for what a value must be and is not; None where it fits. 3.0 is a whole number, true is no number."""
    if kind == "integer" and isinstance(value, float) and value.is_integer():
        return None
    fits = isinstance(value, _CLASSES[kind]) and (not isinstance(value, bool) or kind in {"boolean", "any"})
    return None if fits else _WORDS[kind]


def check_input(blueprint: Blueprint, input_id: str, value: Json) -> Json:
    """The value, if the blueprint declares the input and the value fits its type.

    Raises `NotFoundError` with the nearest id, `InvalidIdError` for what can be none, `InvalidValueError` for another
    type or a value without canonical JSON.
    """
    spec = _declared(blueprint, input_id)
    _check_type(spec, value)
    canonical_json(value)
    return value


def parse_value(blueprint: Blueprint, input_id: str, text: str) -> Json:
    """What a person means by a text: for an input declared as string the text as it is, else JSON.

    For an input of any type, what is not JSON is text. Raises what `check_input` does.
    """
    spec = _declared(blueprint, input_id)
    if spec.type == "string":
        return check_input(blueprint, input_id, text)
    try:
        value = json.loads(text, parse_constant=_refuse_constant, object_pairs_hook=_object)
    except RecursionError:
        raise InvalidValueError(f"The value of {input_id} nests too deep.", hint="Flatten it.") from None
    except ValueError as error:
        if spec.type != "any" or isinstance(error, _DuplicateKeyError):
            raise InvalidValueError(
                f"The input {input_id} must be {_WORDS[spec.type]}, and {shown(text)} is not JSON: {error}.",
                hint='Texts in JSON have double quotes, such as ["one", "two"].',
            ) from None
        value = text
    return check_input(blueprint, input_id, value)


def effective_inputs(blueprint: Blueprint, given: Mapping[str, Json]) -> dict[str, Json]:
    """The values that a build uses: what is given, then defaults; in the blueprint's order, whatever the given one.

    Optional inputs without a value are left out. Ids that start with '@' are passed on as they are. Raises
    `NotFoundError` for ids that are not declared and for required inputs without a value, `InvalidValueError` for a
    value of another type.
    """
    values = with_defaults(blueprint, given)
    for input_id, value in values.items():
        if not input_id.startswith("@"):
            _check_type(blueprint.inputs[input_id], value)
    return values


def with_defaults(blueprint: Blueprint, given: Mapping[str, Json]) -> dict[str, Json]:
    """`effective_inputs` without the look at types."""
    for input_id in given:
        if not input_id.startswith("@"):
            _declared(blueprint, input_id)
    values: dict[str, Json] = {}
    missing: list[str] = []
    for input_id, spec in blueprint.inputs.items():
        if input_id in given:
            values[input_id] = given[input_id]
        elif spec.has_default:
            values[input_id] = spec.default
        elif spec.required:
            missing.append(input_id)
    if missing:
        _refuse_missing(missing)
    return values | {input_id: given[input_id] for input_id in sorted(given) if input_id.startswith("@")}


def _refuse_missing(missing: list[str]) -> NoReturn:
    one = len(missing) == 1
    raise NotFoundError(
        f"The required {'input' if one else 'inputs'} {', '.join(missing)} {'has' if one else 'have'} no value.",
        hint="; ".join(f"`renku-store set {input_id} VALUE`" for input_id in missing) + ".",
    )


def _declared(blueprint: Blueprint, input_id: str) -> InputSpec:
    spec = blueprint.inputs.get(input_id)
    if spec is None:
        check_id("input", input_id)
        raise NotFoundError(f"The blueprint has no input {input_id}.", hint=nearest(input_id, blueprint.inputs))
    return spec


def _check_type(spec: InputSpec, value: Json) -> None:
    problem = type_problem(spec.type, value)
    if problem:
        raise InvalidValueError(
            f"The input {spec.id} must be {problem}, not {describe(value)}.",
            hint=f"The blueprint declares it as {spec.type}.",
        )


class _DuplicateKeyError(ValueError):
    """An object has a key twice: one value would be lost in silence."""


def _object(pairs: list[tuple[str, Json]]) -> dict[str, Json]:
    value: dict[str, Json] = {}
    for key, item in pairs:
        if key in value:
            raise _DuplicateKeyError(f"the key {shown(key)} is there twice")
        value[key] = item
    return value


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not JSON")
