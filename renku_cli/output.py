"""What a command prints: one JSON document, rich tables on a terminal, tab-separated columns in a pipe.

User data never steers a terminal: it is neutralised here, and rich is never given markup.
"""

from __future__ import annotations

import contextlib
import json
import re
import sys
from collections.abc import Iterable, Sequence
from typing import Any, Final, TextIO, TypeAlias

import orjson
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table
from rich.text import Text
from rich.tree import Tree

from renku_cli.failures import colourful
from renku_cli.text import neutral, neutral_lines

Cell: TypeAlias = str | Text

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


def styled(text: str, style: str = "") -> Text:
    """A harmless text in a style of rich's; the only way in which this program makes one."""
    return Text(neutral(text), style=style)


def state(word: str) -> Text:
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
    table = Table(box=SIMPLE_HEAD, pad_edge=False, header_style="bold")
    for column in columns:
        table.add_column(column, justify="right" if column in right else "left", overflow="fold")
    for row in rows:
        table.add_row(*(cell if isinstance(cell, Text) else styled(cell) for cell in row))
    console(out).print(table)


def print_line(*parts: Cell) -> None:
    """A line of text, its parts joined as they are."""
    if not sys.stdout.isatty():
        sys.stdout.write("".join(_plain(part) for part in parts) + "\n")
        return
    whole = Text.assemble(*(part if isinstance(part, Text) else styled(part) for part in parts))
    console(sys.stdout).print(whole, soft_wrap=True)


def print_heading(text: str) -> None:
    """A line that begins a part of the output."""
    print_line(styled(text, "bold"))


def note(text: str) -> None:
    """A remark for people on standard error; several lines are fine, and that nobody reads it is no error."""
    with contextlib.suppress(OSError):
        sys.stderr.write(neutral_lines(text) + "\n")
        sys.stderr.flush()


def console(stream: TextIO) -> Console:
    """A rich console on a stream, without any interpretation of what it is given."""
    return Console(
        file=stream, markup=False, emoji=False, highlight=False, no_color=None if colourful(stream) else True
    )


def _plain(cell: Cell) -> str:
    return neutral(cell.plain if isinstance(cell, Text) else cell)


def print_tree(lines: Iterable[tuple[int, Text]]) -> None:
    """Trees given line by line, each with its depth: with guides on a terminal, indented in a pipe."""
    if not sys.stdout.isatty():
        sys.stdout.writelines("  " * depth + _plain(label) + "\n" for depth, label in lines)
        return
    path: list[Tree] = []
    trees: list[Tree] = []
    for depth, label in lines:
        branch = path[depth - 1].add(label) if depth else Tree(label)
        if not depth:
            trees.append(branch)
        del path[depth:]
        path.append(branch)
    for tree in trees:
        console(sys.stdout).print(tree)
