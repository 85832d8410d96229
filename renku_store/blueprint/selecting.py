"""Paths into values, with the loops' present places filled in; they end where a loop's place is not known yet."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from itertools import takewhile

from msgspec import Struct

from renku_store.blueprint.document import ValueStep
from renku_store.blueprint.names import nearest
from renku_store.blueprint.places import describe
from renku_store.blueprint.references import Every, Key, LoopVariable, Position, Step
from renku_store.records._base import Json
from renku_store.records.graph import Awaited


class Turn(Struct, frozen=True):
    """One turn of a loop: its place in the list, from 0, and, where the loop names a key, that key.

    `label` is what stands in job ids: the key or the place, as text. `source` is the artefact that the list is in. With
    `awaits` it stands for all turns of a list that is not known.
    """

    position: int
    key: str | int | None
    label: str
    source: str | None = None
    awaits: Awaited | None = None

    @property
    def value(self) -> str | int:
        """What `context` and `when` see: the key, or the place."""
        if self.awaits is not None:
            return self.label
        return self.position if self.key is None else self.key


Turns = Mapping[str, Turn]


class Found(Struct):
    """A selected value and the path to it, without loops."""

    value: Json
    path: list[str | int]


class Lost(Struct, frozen=True):
    """A path ends early: in `value` there is nothing at `step`."""

    value: Json
    step: str | int

    def hint(self) -> str:
        """The nearest key or the positions that there are."""
        if isinstance(self.value, dict):
            return nearest(str(self.step), self.value)
        if isinstance(self.value, list):
            last = len(self.value) - 1
            return f"The list has the positions 0 to {last}." if self.value else "The list is empty."
        return f"It goes into {describe(self.value)}."


def select(value: Json, steps: Iterable[Step], turns: Turns) -> Found | Lost:
    """Follow steps into a value. A loop is its place in a list, and in an object its key; [*] selects nothing."""
    path: list[str | int] = []
    for step in steps:
        if isinstance(step, Every):
            return Lost(value, "*")
        concrete = _in_value(step, turns, value)
        if isinstance(value, dict):
            there = isinstance(concrete, str) and concrete in value
        else:
            there = isinstance(value, list) and isinstance(concrete, int) and concrete < len(value)
        if not there:
            return Lost(value, concrete)
        value = value[concrete]  # type: ignore[index]
        path.append(concrete)
    return Found(value, path)


def known_steps(steps: Iterable[Step], turns: Turns) -> list[Step]:
    """The steps up to the first that a loop decides whose list is not known."""
    given = list(steps)
    if all(turn.awaits is None for turn in turns.values()):
        return given
    return list(takewhile(lambda step: not (isinstance(step, LoopVariable) and turns[step.name].awaits), given))


def fixed_path(steps: Iterable[Step], turns: Turns, lists: Collection[int] = ()) -> list[str | int]:
    """The path into a value that is not known yet. A loop is its key if it names one, else its place.

    `lists` are the places in `steps` of loops that are known to stand for an element of a list.
    """
    path: list[str | int] = []
    for place, step in enumerate(known_steps(steps, turns)):
        match step:
            case Key(text):
                path.append(text)
            case Position(number):
                path.append(number)
            case LoopVariable(name):
                by_place = turns[name].key is None or place in lists
                path.append(turns[name].position if by_place else turns[name].label)
            case Every():
                raise AssertionError("[*] is no step into a value")
    return path


def path_text(root: str, path: Iterable[str | int]) -> str:
    """A path as a person writes it: `segments[2].text`."""
    return root + "".join(f"[{step}]" if isinstance(step, int) else f".{step}" for step in path)


def _in_value(step: ValueStep, turns: Turns, value: Json) -> str | int:
    if isinstance(step, Key):
        return step.text
    if isinstance(step, LoopVariable):
        turn = turns[step.name]
        return turn.label if isinstance(value, dict) else turn.position
    return step.number
