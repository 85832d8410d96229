"""What a terminal is shown: rich's tables, lines and trees. Imported late, where there is a terminal.

rich is never given markup, and every text that it gets was neutralised by `output`.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TextIO

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table
from rich.text import Text
from rich.tree import Tree

from renku_cli.failures import colourful
from renku_cli.output import Cell, Styled, styled


def console(stream: TextIO) -> Console:
    """A rich console on a stream, without any interpretation of what it is given."""
    return Console(
        file=stream, markup=False, emoji=False, highlight=False, no_color=None if colourful(stream) else True
    )


def rich_text(cell: Cell) -> Text:
    """A cell as rich has it."""
    parts = (cell if isinstance(cell, Styled) else styled(cell)).parts
    if len(parts) == 1:
        (text, style), *_ = parts
        return Text(text, style=style)
    return Text.assemble(*(Text(text, style=style) for text, style in parts))


def show_table(columns: Sequence[str], rows: Iterable[Sequence[Cell]], right: Sequence[str], stream: TextIO) -> None:
    """A table; `right` names the columns that are aligned to the right."""
    table = Table(box=SIMPLE_HEAD, pad_edge=False, header_style="bold")
    for column in columns:
        table.add_column(column, justify="right" if column in right else "left", overflow="fold")
    for row in rows:
        table.add_row(*map(rich_text, row))
    console(stream).print(table)


def show_line(parts: Iterable[Cell], stream: TextIO) -> None:
    """A line, as long as it is."""
    console(stream).print(Text.assemble(*map(rich_text, parts)), soft_wrap=True)


def show_trees(lines: Iterable[tuple[int, Cell]], stream: TextIO) -> None:
    """Trees with guides, given line by line, each with its depth."""
    path: list[Tree] = []
    trees: list[Tree] = []
    for depth, label in lines:
        branch = path[depth - 1].add(rich_text(label)) if depth else Tree(rich_text(label))
        if not depth:
            trees.append(branch)
        del path[depth:]
        path.append(branch)
    for tree in trees:
        console(stream).print(tree)
