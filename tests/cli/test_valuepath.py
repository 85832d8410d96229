"""Places inside an input's value."""

from __future__ import annotations

import copy
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from renku_cli import valuepath
from renku_cli.misuse import Misuse

PLACES = st.lists(st.integers(0, 2) | st.sampled_from(["a", "text", "é"]), max_size=4)
VALUE = {"parts": [{"text": "a", "tags": ["x"]}, {"text": "b"}], "n": 1}


def test_a_name_splits_at_the_longest_input() -> None:
    """An input whose id has a dot is found before the one that is the first part of it."""
    assert valuepath.split("a.b.c[0]", ["a", "a.b"]) == ("a.b", ["c", 0])


@pytest.mark.parametrize("name", ["a", "a.", "a[", "a[x]", "a[-1]", "ab.c", "b[0]"])
def test_what_is_no_place_in_an_input_is_none(name: str) -> None:
    """Such names are ids, and are told to be unknown as ids."""
    assert valuepath.split(name, ["a"]) is None


@given(PLACES, st.text(max_size=3), st.text(max_size=3))
def test_the_one_place_in_which_values_differ_is_found(steps: list[str | int], before: str, after: str) -> None:
    """Its name leads there in both; where nothing differs there is no place."""
    a, b = (_holding(steps, value) for value in (before, after))
    found = valuepath.differing(a, b)
    assert found == (steps if before != after else [])
    name = valuepath.joined("x", found)
    assert valuepath.split(name, ["x"]) == (("x", found) if found else None)
    assert (valuepath.at(a, found, name), valuepath.at(b, found, name)) == ((before, after) if found else (a, b))


@pytest.mark.parametrize(
    ("before", "after", "steps"),
    [([1, 2], [3, 4], []), ([1], [1, 2], []), ({"a": 1}, {"b": 1}, []), ([[1, 2]], [[3, 4]], [0]), (1, 2, []),
     ({"a.b": 1}, {"a.b": 2}, []), ({"": 1}, {"": 2}, []), ([{"a": 1}], [{"a": None}], [0, "a"])],
)  # fmt: skip
def test_several_places_end_the_way_to_a_difference(before: Any, after: Any, steps: list[str | int]) -> None:
    """As do keys that no path can name, and lists of other lengths."""
    assert valuepath.differing(before, after) == steps


def _holding(steps: list[str | int], value: Any) -> Any:
    for step in reversed(steps):
        value = [*["same"] * step, value] if isinstance(step, int) else {"q": 1, step: value}
    return value


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
