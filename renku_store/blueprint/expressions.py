"""`when`: a small language of conditions, parsed by recursive descent into a tree that is evaluated here.

    or         and {"or" and}
    and        not {"and" not}
    not        "not" not | comparison
    comparison operand [("==" | "!=" | "<" | ">" | "in" | "not" "in") operand]
    operand    "(" or ")" | "[" [operand {"," operand}] "]" | number | text | true | false | null | reference

Evaluation never fails: a missing key is null, values of different types are not equal, and `<` and `>` hold between two
numbers or two texts only.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from typing import Final

from msgspec import Struct

from renku_store import bounds
from renku_store.blueprint.names import RESERVED
from renku_store.blueprint.places import Place
from renku_store.blueprint.references import ReferenceText, read_reference
from renku_store.blueprint.tokens import Tokens
from renku_store.records._base import Json

_FORM: Final = "For example not segments[segment].video, or voice == 'en-gb' and not draft."
_CONSTANTS: Final[dict[str, bool | None]] = {"true": True, "false": False, "null": None}


class Literal(Struct, frozen=True):
    """A number, a text, true, false or null."""

    value: str | int | float | bool | None


class ListOf(Struct, frozen=True):
    """`[a, b]`."""

    items: tuple[Expression, ...]


class Lookup(Struct, frozen=True):
    """What a reference selects, or null."""

    reference: ReferenceText


class Not(Struct, frozen=True):
    """True where the operand is false, null, zero or empty."""

    operand: Expression


class Junction(Struct, frozen=True):
    """`and` (`every`) or `or` of two or more operands; true or false, never an operand itself."""

    every: bool
    operands: tuple[Expression, ...]


class Comparison(Struct, frozen=True):
    """Two operands and a sign: ==, !=, <, >, in, not in."""

    sign: str
    left: Expression
    right: Expression


Expression = Literal | ListOf | Lookup | Not | Junction | Comparison


def parse_expression(text: str, place: Place) -> Expression:
    """The tree of a condition; raises `BlueprintError` that names the text and the character."""
    tokens = Tokens(text, place, _FORM)
    expression = _or(tokens, 0)
    if tokens.next.kind != "end":
        raise tokens.unexpected("'and', 'or' or the end")
    return expression


def evaluate(expression: Expression, look_up: Callable[[ReferenceText], Json]) -> Json:
    """The value of a condition; `look_up` gives what a reference selects, null where it selects nothing."""
    match expression:
        case Literal(value):
            return value
        case Lookup(reference):
            return look_up(reference)
        case ListOf(items):
            return [evaluate(item, look_up) for item in items]
        case Not(operand):
            return not evaluate(operand, look_up)
        case Junction(every, operands):
            values = (bool(evaluate(operand, look_up)) for operand in operands)
            return all(values) if every else any(values)
        case Comparison(sign, left, right):
            return _compare(sign, evaluate(left, look_up), evaluate(right, look_up))


def references(expression: Expression) -> Iterator[ReferenceText]:
    """All references in a condition, from left to right."""
    match expression:
        case Literal():
            return
        case Lookup(reference):
            yield reference
        case Not(operand):
            yield from references(operand)
        case ListOf(operands) | Junction(_, operands):
            for operand in operands:
                yield from references(operand)
        case Comparison(_, left, right):
            yield from references(left)
            yield from references(right)


def _or(tokens: Tokens, depth: int) -> Expression:
    operands = [_and(tokens, depth)]
    while tokens.skip("or"):
        operands.append(_and(tokens, depth))
    return operands[0] if len(operands) == 1 else Junction(every=False, operands=tuple(operands))


def _and(tokens: Tokens, depth: int) -> Expression:
    operands = [_not(tokens, depth)]
    while tokens.skip("and"):
        operands.append(_not(tokens, depth))
    return operands[0] if len(operands) == 1 else Junction(every=True, operands=tuple(operands))


def _not(tokens: Tokens, depth: int) -> Expression:
    if depth > bounds.EXPRESSION_MAX_DEPTH:
        raise tokens.error(f"the expression nests deeper than {bounds.EXPRESSION_MAX_DEPTH}", "Simplify it.")
    return Not(_not(tokens, depth + 1)) if tokens.skip("not") else _comparison(tokens, depth)


def _comparison(tokens: Tokens, depth: int) -> Expression:
    left = _operand(tokens, depth)
    sign = _sign(tokens)
    if sign is None:
        return left
    compared = Comparison(sign, left, _operand(tokens, depth))
    if _sign(tokens) is not None:
        raise tokens.error("comparisons do not chain", "Write a < b and b < c.")
    return compared


def _sign(tokens: Tokens) -> str | None:
    if tokens.next.text in {"<=", ">="} and tokens.next.kind == "mark":
        opposite = ">" if tokens.next.text == "<=" else "<"
        raise tokens.error(f"'{tokens.next.text}' does not exist here", f"Write not a {opposite} b.")
    for sign in ("==", "!=", "<", ">", "in"):
        if tokens.skip(sign):
            return sign
    if tokens.skip("not"):
        tokens.need("in")
        return "not in"
    return None


def _operand(tokens: Tokens, depth: int) -> Expression:
    word = tokens.next
    if tokens.skip("("):
        inner = _or(tokens, depth + 1)
        tokens.need(")")
        return inner
    if tokens.skip("["):
        return _list(tokens, depth + 1)
    if word.kind == "text":
        return Literal(tokens.take().text[1:-1])
    if word.kind == "number":
        return Literal(_number(tokens))
    if word.kind == "name" and word.text in _CONSTANTS:
        return Literal(_CONSTANTS[tokens.take().text])
    if word.kind == "name" and word.text not in RESERVED:
        return Lookup(read_reference(tokens))
    raise tokens.unexpected("a value")


def _list(tokens: Tokens, depth: int) -> Expression:
    if depth > bounds.EXPRESSION_MAX_DEPTH:
        raise tokens.error(f"the expression nests deeper than {bounds.EXPRESSION_MAX_DEPTH}", "Simplify it.")
    items: list[Expression] = []
    while not tokens.skip("]"):
        items.append(_operand(tokens, depth))
        if tokens.next.text != "]":
            tokens.need(",")
    return ListOf(tuple(items))


def _number(tokens: Tokens) -> int | float:
    text = tokens.next.text
    value = int(text) if text.lstrip("-").isdigit() else float(text)
    if not math.isfinite(value) or (isinstance(value, int) and abs(value) > bounds.INTEGER_MAX):
        raise tokens.error("the number is too large", "Numbers go to 2^53 - 1.")
    tokens.take()
    return value


def _compare(sign: str, left: Json, right: Json) -> bool:
    match sign:
        case "==":
            return equal(left, right)
        case "!=":
            return not equal(left, right)
        case "<":
            return _less(left, right)
        case ">":
            return _less(right, left)
        case "in":
            return _contains(right, left)
        case _:
            return not _contains(right, left)


def equal(left: Json, right: Json) -> bool:
    """Equality of JSON values: 1 is 1.0 but not true, lists go by place, objects by key."""
    pairs = [(left, right)]
    while pairs:
        one, other = pairs.pop()
        if isinstance(one, list) and isinstance(other, list):
            if len(one) != len(other):
                return False
            pairs.extend(zip(one, other, strict=True))
        elif isinstance(one, dict) and isinstance(other, dict):
            if one.keys() != other.keys():
                return False
            pairs.extend((value, other[key]) for key, value in one.items())
        elif isinstance(one, bool) is not isinstance(other, bool) or one != other:
            return False
    return True


def _less(left: Json, right: Json) -> bool:
    if isinstance(left, str) and isinstance(right, str):
        return left < right
    if isinstance(left, bool) or isinstance(right, bool):
        return False
    return isinstance(left, int | float) and isinstance(right, int | float) and left < right


def _contains(container: Json, item: Json) -> bool:
    """An item of a list, a part of a text, a key of an object."""
    if isinstance(container, list):
        return any(equal(item, member) for member in container)
    return isinstance(item, str) and isinstance(container, str | dict) and item in container
