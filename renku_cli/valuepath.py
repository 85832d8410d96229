"""A place inside an input's value, such as `segments[2].text`: read it, or put another thing there. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any, Final

from renku_cli.misuse import Misuse

Step = str | int
_NAMED: Final = re.compile(r"[^.\[\]]+")
_STEP: Final = re.compile(r"\[(\d{1,9})\]|\.([^.\[\]]+)")


def split(name: str, inputs: Iterable[str]) -> tuple[str, list[Step]] | None:
    """The input that a name goes into and the steps from there; None where it goes into none of these."""
    for known in sorted(inputs, key=len, reverse=True):
        rest = name[len(known) :]
        if name.startswith(known) and rest and (steps := _steps(rest)):
            return known, steps
    return None


def _steps(text: str) -> list[Step] | None:
    steps: list[Step] = []
    place = 0
    while place < len(text):
        match = _STEP.match(text, place)
        if match is None:
            return None
        steps.append(int(match[1]) if match[1] is not None else match[2])
        place = match.end()
    return steps


def at(value: Any, steps: list[Step], name: str) -> Any:
    """What is at the place; `Misuse` says how far the path goes."""
    for number, step in enumerate(steps):
        if not _leads_on(value, step):
            shown = f"[{step}]" if isinstance(step, int) else f".{step}"
            raise Misuse(f"{name} leads nowhere: there is no {shown} in a {_sort(value)}.", hint=_has(value, number))
        value = value[step]
    return value


def _leads_on(value: Any, step: Step) -> bool:
    if isinstance(step, int):
        return isinstance(value, list) and step < len(value)
    return isinstance(value, dict) and step in value


def replaced(value: Any, steps: list[Step], new: Any) -> Any:
    """The value with `new` at a place that is there; the old value stays as it is."""
    if not steps:
        return new
    copy: Any = dict(value) if isinstance(value, dict) else list(value)
    copy[steps[0]] = replaced(value[steps[0]], steps[1:], new)
    return copy


def differing(before: Any, after: Any) -> list[Step]:
    """The steps to the one place in which two values differ; as far as there is only one, and a path can name it."""
    steps: list[Step] = []
    while len(places := _places(before, after)) == 1 and _NAMED.fullmatch(str(places[0])):
        steps.append(places[0])
        before, after = before[places[0]], after[places[0]]
    return steps


def joined(name: str, steps: Iterable[Step]) -> str:
    """The name of a place, as `split` takes it apart."""
    return name + "".join(f"[{step}]" if isinstance(step, int) else f".{step}" for step in steps)


def _places(before: Any, after: Any) -> list[Any]:
    """Where two lists of one length, or two mappings of the same keys, differ; none for other values."""
    if isinstance(before, list) and isinstance(after, list) and len(before) == len(after):
        return [place for place, value in enumerate(before) if value != after[place]]
    if isinstance(before, dict) and isinstance(after, dict) and before.keys() == after.keys():
        return [key for key, value in before.items() if value != after[key]]
    return []


def _sort(value: Any) -> str:
    kinds = {dict: "mapping", list: "list", str: "text", bool: "boolean", type(None): "null"}
    return kinds.get(type(value), "number")


def _has(value: Any, depth: int) -> str:
    if isinstance(value, dict):
        return f"At step {depth + 1} the keys are {', '.join(list(value)[:10])}."
    if isinstance(value, list):
        return f"At step {depth + 1} the positions are 0 to {len(value) - 1}." if value else "The list is empty."
    return ""
