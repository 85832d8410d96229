"""Text for people: harmless, short, in words."""

from __future__ import annotations

import json
import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from renku_cli.text import cost, count, duration, neutral, neutral_lines, shown_value, size


@given(st.text(st.characters()))
def test_neutral_text_is_one_line_without_controls(text: str) -> None:
    """Whatever a text holds, nothing of it can steer a terminal."""
    shown = neutral(text)
    assert not any(unicodedata.category(char) in {"Cc", "Cs"} for char in shown)
    assert len(shown.splitlines()) <= 1


@given(st.text(st.characters()))
def test_neutral_text_of_several_lines_keeps_line_ends_and_tabs_only(text: str) -> None:
    """Diagnostics keep their lines."""
    assert not any(unicodedata.category(char) in {"Cc", "Cs"} for char in neutral_lines(text) if char not in "\n\t")


def test_bytes_that_are_not_utf8_are_shown_as_bytes() -> None:
    """A path as Python holds it shows its odd byte."""
    assert neutral(b"caf\xe9".decode("utf-8", "surrogateescape")) == "caf\\xe9"


def test_reordering_marks_are_shown_as_escapes() -> None:
    """A right-to-left override cannot disguise a name."""
    assert neutral("a\u202eb\x1b[31m") == "a\\u202eb\\x1b[31m"


@pytest.mark.parametrize(
    ("number", "words"),
    [(0, "0 B"), (999, "999 B"), (1000, "1.0 kB"), (999_950, "1.0 MB"), (1_234_567, "1.2 MB"), (10**18, "1000.0 PB")],
)
def test_sizes_are_in_decimal_units(number: int, words: str) -> None:
    """Sizes never show a thousand of a unit that has a larger one."""
    assert size(number) == words


@pytest.mark.parametrize(
    ("seconds", "words"),
    [(0.04, "0.0 s"), (59.9, "59.9 s"), (59.96, "1 min 00 s"), (125, "2 min 05 s"), (3600, "1 h 00 min")],
)
def test_durations_are_in_words(seconds: float, words: str) -> None:
    """Durations never show sixty of a unit."""
    assert duration(seconds) == words


def test_small_costs_keep_their_digits() -> None:
    """A call for a tenth of a cent is not free."""
    assert (cost(0), cost(0.001), cost(1.5)) == ("$0.00", "$0.0010", "$1.50")


def test_counts_agree_with_their_noun() -> None:
    """One job, two jobs."""
    assert (count(1, "job"), count(1234, "job")) == ("1 job", "1,234 jobs")


def test_a_value_of_ten_megabytes_is_shown_short() -> None:
    """A table never holds a large value."""
    assert len(shown_value("x" * 10_000_000)) <= 60
    assert len(shown_value(["x" * 10_000_000])) <= 60
    assert json.loads(shown_value({"a": [1, None]})) == {"a": [1, None]}
