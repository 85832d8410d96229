"""References as they are written: `segments[segment].text`, `narration[*].audio`, `script.out.segments[2].text`."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from msgspec import Struct

from renku_store import bounds
from renku_store.blueprint.names import RESERVED
from renku_store.blueprint.places import Place
from renku_store.blueprint.tokens import Token, Tokens


class Key(Struct, frozen=True):
    """`.text`, or with `quoted` `['text']`: a key of an object, or the key of a loop."""

    text: str
    quoted: bool = False


class Position(Struct, frozen=True):
    """`[2]`: a place in a list, from 0."""

    number: int


class LoopVariable(Struct, frozen=True):
    """`[segment]`: where the loop of that name is now."""

    name: str


class Every(Struct, frozen=True):
    """`[*]`: all jobs of a loop."""


EVERY: Final = Every()
_FORM: Final = "A reference is a name and steps, as in segments[segment].text or slide[*].image."
Step = Key | Position | LoopVariable | Every


class ReferenceText(Struct, frozen=True):
    """A reference as written: a name and the steps that follow it; what the name stands for is not known yet."""

    root: str
    steps: tuple[Step, ...]
    text: str

    def variables(self) -> Iterator[str]:
        """The names of the loops that it uses in brackets."""
        return (step.name for step in self.steps if isinstance(step, LoopVariable))


def parse_reference(text: str, place: Place) -> ReferenceText:
    """The reference that a whole text is; raises `BlueprintError`."""
    tokens = Tokens(text, place, _FORM)
    reference = read_reference(tokens)
    if tokens.next.kind != "end":
        raise tokens.error(
            f"a reference ends before '{tokens.next.text}'",
            "Inputs are references such as segments[segment].text; literal values go into config or context.",
        )
    return reference


def read_reference(tokens: Tokens) -> ReferenceText:
    """The reference that starts with the next word."""
    first = tokens.next
    if first.kind != "name" or first.text in RESERVED:
        raise tokens.unexpected("a name")
    tokens.take()
    steps: list[Step] = []
    end = first.at + len(first.text)
    while True:
        if tokens.skip("."):
            last = tokens.next
            if last.kind != "name":
                raise tokens.unexpected("a key (in other than plain letters: ['key'])")
            steps.append(Key(tokens.take().text))
        elif tokens.skip("["):
            steps.append(_bracket(tokens))
            last = tokens.next
            tokens.need("]")
        else:
            return ReferenceText(first.text, tuple(steps), tokens.text[first.at : end])
        end = last.at + len(last.text)


def _bracket(tokens: Tokens) -> Step:
    word = tokens.next
    if tokens.skip("*"):
        return EVERY
    if word.kind == "name":
        return LoopVariable(tokens.take().text)
    if word.kind == "text":
        return Key(tokens.take().text[1:-1], quoted=True)
    if word.kind == "number":
        return _position(tokens, word)
    raise tokens.unexpected("a number, a loop, '*' or a key in quotes")


def _position(tokens: Tokens, word: Token) -> Position:
    if not word.text.isdigit() or int(word.text) > bounds.INTEGER_MAX:
        raise tokens.error(f"{word.text} is not a position", "Positions are whole numbers from 0.")
    tokens.take()
    return Position(int(word.text))
