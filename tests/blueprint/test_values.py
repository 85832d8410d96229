"""Values of inputs: types, defaults, what is missing, and what a person types."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from renku_store.blueprint import check_input, effective_inputs, parse_blueprint, parse_value
from renku_store.errors import InvalidValueError, NotFoundError

_BLUEPRINT = parse_blueprint(
    """\
inputs:
  topic: {type: string, required: true}
  items: {type: list, required: true}
  count: {type: integer, default: 3}
  speed: {type: number}
  draft: {type: boolean, default: false}
  style: {type: object, default: {font: serif}}
  free: {default: null}
  rest: {}
producers: {p: {run: a/b, outputs: {o: {mimeType: text/plain}}}}
"""
)


@pytest.mark.parametrize(
    ("input_id", "text", "value"),
    [
        ("topic", "water", "water"),
        ("topic", '"water"', '"water"'),
        ("topic", "12", "12"),
        ("topic", "", ""),
        ("items", '[1, "a"]', [1, "a"]),
        ("count", "7", 7),
        ("count", "7.0", 7.0),
        ("speed", "1e2", 100.0),
        ("draft", "true", True),
        ("style", '{"a": null}', {"a": None}),
        ("free", "12", 12),
        ("free", "null", None),
        ("free", '"12"', "12"),
        ("rest", "hello there", "hello there"),
        ("rest", "NaN", "NaN"),
        ("rest", "[1,", "[1,"),
    ],
)
def test_a_typed_text_becomes_a_value_of_the_declared_type(input_id: str, text: str, value: object) -> None:
    """Text stays text where text is declared; elsewhere it is JSON, or, for any type, else text."""
    found = parse_value(_BLUEPRINT, input_id, text)
    assert found == value
    assert type(found) is type(value)


@pytest.mark.parametrize(
    ("input_id", "text", "message"),
    [
        ("items", "{}", "The input items must be a list, not a mapping."),
        ("items", "a, b", "The input items must be a list, and 'a, b' is not JSON"),
        ("count", "7.5", "must be a whole number, not the number 7.5."),
        ("count", "true", "must be a whole number, not true."),
        ("count", "9007199254740993", "is beyond 2^53 - 1"),
        ("speed", '"3"', "must be a number, not the text '3'."),
        ("speed", "NaN", "NaN is not JSON"),
        ("speed", "Infinity", "Infinity is not JSON"),
        ("draft", "yes", "must be true or false, and 'yes' is not JSON"),
        ("draft", "1", "must be true or false, not the number 1."),
        ("style", "null", "must be a mapping, not nothing (null)."),
        ("rest", '{"a": 1, "a": 2}', "the key 'a' is there twice"),
        ("rest", "[" * 100_000, "nests too deep"),
        ("rest", "[" * 500 + "]" * 500, "deep"),
        ("rest", '"\\ud800"', "surrogate"),
    ],
)
def test_a_text_that_does_not_fit_is_refused(input_id: str, text: str, message: str) -> None:
    """Nothing is stored that would be refused later."""
    with pytest.raises(InvalidValueError) as caught:
        parse_value(_BLUEPRINT, input_id, text)
    assert message in caught.value.message


def test_an_unknown_input_is_refused_with_the_nearest_name() -> None:
    """However it is set."""
    ways: list[Callable[[], object]] = [
        lambda: parse_value(_BLUEPRINT, "topics", "x"),
        lambda: check_input(_BLUEPRINT, "topics", "x"),
        lambda: effective_inputs(_BLUEPRINT, {"topics": "x"}),
    ]
    for set_it in ways:
        with pytest.raises(NotFoundError, match="no input topics") as caught:
            set_it()
        assert caught.value.hint == "Did you mean topic?"


def test_defaults_are_used_and_optional_inputs_left_out() -> None:
    """A default of null is a value; no default is none. The store's own ids are passed on."""
    values = effective_inputs(_BLUEPRINT, {"@config": 1, "items": [], "topic": "x", "@blueprint": "y"})
    assert list(values.items()) == [
        ("topic", "x"),
        ("items", []),
        ("count", 3),
        ("draft", False),
        ("style", {"font": "serif"}),
        ("free", None),
        ("@blueprint", "y"),
        ("@config", 1),
    ]
    assert effective_inputs(_BLUEPRINT, values) == values


def test_all_missing_required_inputs_are_named_with_what_to_type() -> None:
    """One round of corrections is enough."""
    with pytest.raises(NotFoundError, match="The required inputs topic, items have no value") as caught:
        effective_inputs(_BLUEPRINT, {})
    assert "`renku-store set topic VALUE`" in caught.value.hint
    assert "`renku-store set items VALUE`" in caught.value.hint


def test_a_value_of_another_type_is_refused() -> None:
    """Also where it did not come through `set`."""
    with pytest.raises(InvalidValueError, match="The input items must be a list, not the text 'x'"):
        effective_inputs(_BLUEPRINT, {"topic": "x", "items": "x"})


_TYPES: dict[str, Any] = {
    "topic": lambda value: isinstance(value, str),
    "items": lambda value: isinstance(value, list),
    "count": lambda value: not isinstance(value, bool) and isinstance(value, int | float) and value == int(value),
    "speed": lambda value: not isinstance(value, bool) and isinstance(value, int | float),
    "draft": lambda value: isinstance(value, bool),
    "style": lambda value: isinstance(value, dict),
    "rest": lambda _: True,
}


@given(
    st.sampled_from(sorted(_TYPES)),
    st.none()
    | st.booleans()
    | st.integers(-9, 9)
    | st.floats(-9, 9)
    | st.text(st.characters(codec="utf-8"))
    | st.just([])
    | st.just({}),
)
def test_a_value_is_accepted_exactly_if_it_has_the_type(input_id: str, value: Any) -> None:
    """`check_input` gives it back unchanged."""
    if _TYPES[input_id](value):
        assert check_input(_BLUEPRINT, input_id, value) is value
    else:
        with pytest.raises(InvalidValueError):
            check_input(_BLUEPRINT, input_id, value)
