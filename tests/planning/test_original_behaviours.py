"""The page about the original system's behaviours names tests that there are."""

from __future__ import annotations

import ast
import re
from pathlib import Path

_PAGE = "docs/explanation/original-behaviours.md"
_NAMED = re.compile(r"`(tests/[\w/]+\.py)::(\w+)`")
_ROW = re.compile(r"^\| (?!behaviour |---).+ \|$", re.MULTILINE)


def test_every_test_that_the_page_names_exists(checkout: Path) -> None:
    """A test that is renamed must not leave a promise without proof."""
    named = set(_NAMED.findall((checkout / _PAGE).read_text(encoding="utf-8")))
    assert named
    for path in {path for path, _ in named}:
        tree = ast.parse((checkout / path).read_text(encoding="utf-8"))
        defined = {node.name for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)}
        assert {name for file, name in named if file == path} <= defined, path


def test_every_behaviour_is_shown_or_refused_with_a_reason(checkout: Path) -> None:
    """As many as the original's tests have titles, each with a test that stands for it."""
    page = (checkout / _PAGE).read_text(encoding="utf-8")
    planner, runner = page.split("## The runner")
    assert [len(_ROW.findall(part)) for part in (planner, runner)] == [63, 10]
    assert all(_NAMED.search(row) for row in _ROW.findall(page))
