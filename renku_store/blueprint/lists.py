"""A list and the turns of the loop that runs over it: by place, or by a key of its elements."""

from __future__ import annotations

from msgspec import Struct

from renku_store.blueprint.document import LoopSpec
from renku_store.blueprint.names import nearest
from renku_store.blueprint.places import describe, shown
from renku_store.blueprint.selecting import Turn
from renku_store.errors import InvalidIdError
from renku_store.records._base import Json
from renku_store.records.graph import EVERY_LABEL
from renku_store.records.ids import check_id


class Unusable(Struct, frozen=True):
    """A document that is there and decides nothing; `problem` says why, in a sentence."""

    problem: str


class ListProblem(Exception):  # noqa: N818 (it becomes an error of the blueprint, or the failure of a job)
    """Why a loop cannot run over a value."""

    def __init__(self, problem: str, hint: str = "") -> None:
        super().__init__(problem)
        self.problem = problem
        self.hint = hint


def turns_over(loop: LoopSpec, value: Json, text: str, source: str | None = None) -> list[Turn]:
    """The turns of a loop over a value that is written `text`, in the artefact `source`; raises `ListProblem`."""
    if not isinstance(value, list):
        raise ListProblem(f"runs over {text}, which must be a list, not {describe(value)}.")
    if loop.key is None:
        return [Turn(position, None, str(position), source) for position in range(len(value))]
    turns: dict[str, Turn] = {}
    for position, element in enumerate(value):
        key = _key(loop.key, element, f"{text}[{position}]")
        label = _label(key, f"{text}[{position}].{loop.key}")
        if label in turns:
            first = turns[label].position
            raise ListProblem(
                "needs different keys, "
                f"but {text}[{first}].{loop.key} and {text}[{position}].{loop.key} are both {label}.",
                "Keys name jobs; change one of them.",
            )
        turns[label] = Turn(position, key, label, source)
    return list(turns.values())


def _key(name: str, element: Json, text: str) -> str | int:
    key = element.get(name) if isinstance(element, dict) else None
    if isinstance(key, bool) or not isinstance(key, str | int):
        found = "is not there" if key is None else f"is {describe(key)}"
        hint = nearest(name, element) if isinstance(element, dict) and name not in element else ""
        raise ListProblem(f"needs a key, but {text}.{name} {found}.", hint)
    return key


def _label(key: str | int, text: str) -> str:
    label = str(key)
    try:
        check_id("job", label)
    except InvalidIdError as error:
        raise ListProblem(f"cannot use the key {text}. {error.message}", error.hint) from None
    if "[" in label or "]" in label:
        raise ListProblem(f"cannot use the key {shown(label)}, {text}.", "Leave out the brackets.")
    if label == EVERY_LABEL:
        raise ListProblem(f"cannot use the key {shown(label)}, {text}.", "It stands for all jobs of a loop.")
    return label
