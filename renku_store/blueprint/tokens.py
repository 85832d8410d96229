"""The words of references and expressions, one after the other."""

from __future__ import annotations

import re
from typing import Final, NamedTuple

from renku_store import bounds
from renku_store.blueprint.places import Place, shown
from renku_store.errors import BlueprintError

_TOKEN: Final = re.compile(
    r"""\s*(?:
      (?P<name>[A-Za-z_][A-Za-z0-9_-]*)
    | (?P<number>-?[0-9]+(?:\.[0-9]+)?(?:[eE][-+]?[0-9]+)?(?![A-Za-z0-9_]))
    | (?P<text>'[^']*'|"[^"]*")
    | (?P<mark>==|!=|<=|>=|[<>()\[\],.*])
    | (?P<end>\Z)
    )""",
    re.VERBOSE,
)


class Token(NamedTuple):
    """A word: its kind (name, number, text, mark, end), itself, and where it starts, in characters from 0."""

    kind: str
    text: str
    at: int


class Tokens:
    """The words of a text with a place; every error names both. `form` is the hint of those that have no other."""

    def __init__(self, text: str, place: Place, form: str) -> None:
        self.text = text
        self.place = place
        self._form = form
        if len(text) > bounds.EXPRESSION_MAX_CHARS:
            raise place.error(f"The expression is longer than {bounds.EXPRESSION_MAX_CHARS} characters.", "Shorten it.")
        self._words = self._split()
        self._next = 0

    def _split(self) -> list[Token]:
        words: list[Token] = []
        at = 0
        while True:
            match = _TOKEN.match(self.text, at)
            if match is None or match.lastgroup is None:
                blank = len(self.text[at:]) - len(self.text[at:].lstrip())
                wrong = self.text[at + blank]
                problem = "the text does not end" if wrong in "'\"" else f"{shown(wrong)} is not understood"
                raise self.error(problem, at=at + blank)
            kind = match.lastgroup
            words.append(Token(kind, match[kind], match.start(kind)))
            if kind == "end":
                return words
            at = match.end()

    @property
    def next(self) -> Token:
        """The word that comes next."""
        return self._words[self._next]

    def take(self) -> Token:
        """The next word, which is then behind us."""
        word = self._words[self._next]
        self._next = min(self._next + 1, len(self._words) - 1)
        return word

    def skip(self, text: str) -> bool:
        """Pass over the next word if it is this mark or keyword; say whether it was."""
        if self.next.text == text and self.next.kind in {"mark", "name"}:
            self.take()
            return True
        return False

    def need(self, mark: str) -> None:
        """Pass over this mark, or raise."""
        if not self.skip(mark):
            raise self.unexpected(f"'{mark}'")

    def unexpected(self, wanted: str) -> BlueprintError:
        """The error for a next word that is not what is wanted here."""
        word = self.next
        found = "the end" if word.kind == "end" else f"'{word.text}'" if word.kind != "text" else word.text
        return self.error(f"{wanted} is wanted, not {found}")

    def error(self, message: str, hint: str = "", *, at: int | None = None) -> BlueprintError:
        """What is wrong with the next word, or at a character."""
        column = (self.next.at if at is None else at) + 1
        return self.place.error(f"In `{self.text}`, character {column}: {message}.", hint or self._form)
