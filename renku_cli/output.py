"""What a command prints: one JSON document, rich tables on a terminal, tab-separated columns in a pipe.

User data never steers a terminal: it is neutralised here. What a terminal alone needs is loaded where there is one.
"""

from __future__ import annotations

import contextlib
import json
import re
import sys
from collections.abc import Iterable, Sequence
from typing import Any, Final, TextIO, TypeAlias

import orjson

from renku_cli.table import load
from renku_cli.text import neutral, neutral_lines

# DEL and the C1 controls in UTF-8: the only ones that JSON encoders leave as they are. They stand inside strings.
_RAW_CONTROLS: Final = re.compile(b"\x7f|\xc2([\x80-\x9f])")
_STATE_STYLES: Final = {
    "abandoned": "dim",
    "cancelled": "yellow",
    "clean": "green",
    "deferred": "magenta",
    "dirty": "yellow",
    "failed": "bold red",
    "interrupted": "yellow",
    "made": "green",
    "partial": "yellow",
    "published": "green",
    "reused": "cyan",
    "running": "blue",
    "unchanged": "green",
    "upstream failed": "red",
    "over budget": "yellow",
    "waiting": "magenta",
}


def print_json(value: Any, *, one_line: bool = False) -> None:
    """Write one JSON document and a line end."""
    write_bytes(json_line(value, one_line=one_line))


def json_line(value: Any, *, one_line: bool = False) -> bytes:
    """A JSON document and a line end. Halves of surrogate pairs (bytes that are not UTF-8) become escapes."""
    try:
        data = orjson.dumps(value, option=0 if one_line else orjson.OPT_INDENT_2)
    except TypeError:
        text = json.dumps(value, ensure_ascii=False, indent=None if one_line else 2)
        data = text.encode("utf-8", "backslashreplace")
    return _RAW_CONTROLS.sub(lambda match: b"\\u00%02x" % match[0][-1], data) + b"\n"


def write_bytes(data: bytes) -> None:
    """Write bytes to standard output, after what was printed before."""
    sys.stdout.flush()
    sys.stdout.buffer.write(data)
    sys.stdout.buffer.flush()


class Styled:
    """Harmless text in parts, each with a style of rich's; made by `styled` and `joined`."""

    __slots__ = ("parts",)

    def __init__(self, *parts: tuple[str, str]) -> None:
        self.parts = parts

    @property
    def plain(self) -> str:
        """The text alone."""
        return "".join(text for text, _ in self.parts)


Cell: TypeAlias = str | Styled


def styled(text: str, style: str = "") -> Styled:
    """A harmless text in a style; the only way in which this program makes one."""
    return Styled((neutral(text), style))


def joined(*cells: Cell) -> Styled:
    """Several texts as one."""
    whole = (cell if isinstance(cell, Styled) else styled(cell) for cell in cells)
    return Styled(*(part for cell in whole for part in cell.parts))


def state(word: str) -> Styled:
    """A state in its colour."""
    return styled(word, _STATE_STYLES.get(word, ""))


def print_table(
    columns: Sequence[str],
    rows: Iterable[Sequence[Cell]],
    *,
    right: Sequence[str] = (),
    stream: TextIO | None = None,
) -> None:
    """A table: for people on a terminal; in a pipe a line of headings and a line a row, separated by tabs.

    `right` names the columns of numbers, which are aligned to the right. `stream` is standard output unless given.
    """
    out = stream or sys.stdout
    if not out.isatty():
        out.writelines("\t".join(line) + "\n" for line in [columns, *(map(_plain, row) for row in rows)])
        return
    load("terminal:show_table")(columns, rows, right, out)


def print_line(*parts: Cell) -> None:
    """A line of text, its parts joined as they are."""
    if not sys.stdout.isatty():
        sys.stdout.write("".join(_plain(part) for part in parts) + "\n")
        return
    load("terminal:show_line")(parts, sys.stdout)


def print_heading(text: str) -> None:
    """A line that begins a part of the output."""
    print_line(styled(text, "bold"))


def note(text: str) -> None:
    """A remark for people on standard error; several lines are fine, and that nobody reads it is no error."""
    with contextlib.suppress(OSError):
        sys.stderr.write(neutral_lines(text) + "\n")
        sys.stderr.flush()


def _plain(cell: Cell) -> str:
    return neutral(cell.plain if isinstance(cell, Styled) else cell)


def print_tree(lines: Iterable[tuple[int, Cell]]) -> None:
    """Trees given line by line, each with its depth: with guides on a terminal, indented in a pipe."""
    if not sys.stdout.isatty():
        sys.stdout.writelines("  " * depth + _plain(label) + "\n" for depth, label in lines)
        return
    load("terminal:show_trees")(lines, sys.stdout)
