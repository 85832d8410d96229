"""Lines of files, and values in words: what every message about a blueprint is made of."""

from __future__ import annotations

from msgspec import Struct

from renku_store.errors import BlueprintError


class Place(Struct, frozen=True):
    """A line (from 1) of a file; `file` is None where the text came without a name."""

    file: str | None
    line: int

    def error(self, message: str, hint: str = "") -> BlueprintError:
        """What is wrong here."""
        return BlueprintError(message, hint=hint, file=self.file, line=self.line)


def describe(value: object) -> str:
    """A value's kind in words, for messages."""
    if value is None:
        return "nothing (null)"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str):
        return f"the text {shown(value)}"
    if isinstance(value, int | float):
        return f"the number {shown(value)}"
    return "a list" if isinstance(value, list) else "a mapping"


def shown(value: object) -> str:
    """The start of a value as it was written, short enough for a message."""
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."
