"""Places inside an input's value."""

from __future__ import annotations

import copy

import pytest

from renku_cli import valuepath
from renku_cli.misuse import Misuse

VALUE = {"parts": [{"text": "a", "tags": ["x"]}, {"text": "b"}], "n": 1}


def test_a_name_splits_at_the_longest_input() -> None:
    """An input whose id has a dot is found before the one that is the first part of it."""
    assert valuepath.split("a.b.c[0]", ["a", "a.b"]) == ("a.b", ["c", 0])


@pytest.mark.parametrize("name", ["a", "a.", "a[", "a[x]", "a[-1]", "ab.c", "b[0]"])
def test_what_is_no_place_in_an_input_is_none(name: str) -> None:
    """Such names are ids, and are told to be unknown as ids."""
    assert valuepath.split(name, ["a"]) is None


def test_replacing_changes_one_place_and_not_the_old_value() -> None:
    """The value that is there stays as it is."""
    before = copy.deepcopy(VALUE)
    after = valuepath.replaced(VALUE, ["parts", 1, "text"], "new")
    assert before == VALUE
    assert valuepath.at(after, ["parts", 1, "text"], "x") == "new"
    assert valuepath.at(after, ["parts", 0], "x") == VALUE["parts"][0]  # type: ignore[index]


@pytest.mark.parametrize("steps", [["parts", 2], ["parts", "text"], ["none"], ["n", "x"], [0], ["parts", 0, "text", 0]])
def test_a_place_that_is_not_there_is_refused(steps: list[valuepath.Step]) -> None:
    """Nothing is invented: a typing error in a key never makes a new key."""
    with pytest.raises(Misuse, match="leads nowhere"):
        valuepath.at(VALUE, steps, "input")
