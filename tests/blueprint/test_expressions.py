"""The language of `when`: what it means, and that nothing in it can go wrong at run time."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from renku_store import bounds
from renku_store.blueprint.expressions import evaluate, parse_expression
from renku_store.blueprint.places import Place
from renku_store.blueprint.references import Key, Position, ReferenceText
from renku_store.errors import BlueprintError
from renku_store.records._base import Json

_PLACE = Place("b.yaml", 7)
_VALUES: dict[str, Json] = {
    "n": 3,
    "text": "hello",
    "empty": "",
    "items": [1, "two", None, [3]],
    "thing": {"a": 1, "b": {"c": [10, 20]}, "not": True},
    "yes": True,
    "none": None,
}


def _look_up(reference: ReferenceText) -> Any:
    value: Any = _VALUES.get(reference.root)
    for step in reference.steps:
        try:
            value = value[step.text if isinstance(step, Key) else step.number if isinstance(step, Position) else None]
        except (KeyError, IndexError, TypeError):
            return None
    return value


def _evaluate(text: str) -> Json:
    return evaluate(parse_expression(text, _PLACE), _look_up)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("true", True),
        ("null", None),
        ("-2.5e1", -25.0),
        ("'it''", BlueprintError),
        ('"it\'s"', "it's"),
        ("[]", []),
        ("[1, 'a', [true]]", [1, "a", [True]]),
        ("n", 3),
        ("thing.b.c[1]", 20),
        ("thing['b'].c[0]", 10),
        ("thing.not", True),
        ("thing.missing.deeper", None),
        ("items[9]", None),
        ("unknown", None),
        ("not empty", True),
        ("not items", False),
        ("not not text", True),
        ("not n == 3", False),
        ("n == 3 and text == 'hello'", True),
        ("n == 4 or text", True),
        ("none or empty", False),
        ("true or false and false", True),
        ("(true or false) and false", False),
        ("n == 3.0", True),
        ("yes == 1", False),
        ("1 == '1'", False),
        ("none == missing", True),
        ("none == false", False),
        ("thing.b == thing.b", True),
        ("items == [1, 'two', null, [3]]", True),
        ("items == [1, 'two', null, [4]]", False),
        ("n != 3", False),
        ("n < 4", True),
        ("n > 4", False),
        ("'a' < 'b'", True),
        ("null < 3", False),
        ("null > 3", False),
        ("'1' < 2", False),
        ("true < 2", False),
        ("items < items", False),
        ("'two' in items", True),
        ("null in items", True),
        ("[3] in items", True),
        ("true in [1]", False),
        ("'ell' in text", True),
        ("1 in text", False),
        ("'a' in thing", True),
        ("1 in thing", False),
        ("1 in null", False),
        ("n not in [1, 2]", True),
        ("not n in [1, 2]", True),
        ("not(n)", False),
    ],
)
def test_an_expression_has_the_value_that_the_reference_page_says(text: str, value: object) -> None:
    """Types are never mixed up, and what is missing is null."""
    if value is BlueprintError:
        with pytest.raises(BlueprintError):
            _evaluate(text)
        return
    found = _evaluate(text)
    assert found == value
    assert type(found) is type(value)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "character 1: a value is wanted, not the end"),
        ("n ==", "character 5: a value is wanted, not the end"),
        ("n = 3", "character 3: '=' is not understood"),
        ("n === 3", "is not understood"),
        ("n == 3 == 3", "comparisons do not chain"),
        ("1 < n < 5", "comparisons do not chain"),
        ("n <= 3", "'<=' does not exist here"),
        ("n >= 3", "'>=' does not exist here"),
        ("n + 1", "is not understood"),
        ("n and", "a value is wanted, not the end"),
        ("and n", "a value is wanted, not 'and'"),
        ("(n", "')' is wanted, not the end"),
        ("n)", "'and', 'or' or the end is wanted, not ')'"),
        ("[1, 2", "',' is wanted, not the end"),
        ("n n", "'and', 'or' or the end is wanted, not 'n'"),
        ("f(n)", "'and', 'or' or the end is wanted, not '('"),
        ("a.", "a key (in other than plain letters: ['key']) is wanted"),
        ("a[-1]", "-1 is not a position"),
        ("a[1.5]", "1.5 is not a position"),
        ("a[]", "a number, a loop, '*' or a key in quotes is wanted"),
        ("a[1", "']' is wanted, not the end"),
        ("n not 3", "'in' is wanted, not '3'"),
        ("n == 'open", "character 6: the text does not end"),
        ("2nd", "is not understood"),
        ("9007199254740992", "the number is too large"),
        ("1e999", "the number is too large"),
        ("__import__('os')", "'and', 'or' or the end is wanted, not '('"),
        ("lambda: 1", "is not understood"),
        ("(" * 400 + "1" + ")" * 400, f"nests deeper than {bounds.EXPRESSION_MAX_DEPTH}"),
        ("[" * 400 + "1" + "]" * 400, f"nests deeper than {bounds.EXPRESSION_MAX_DEPTH}"),
        ("not " * 200 + "1", f"nests deeper than {bounds.EXPRESSION_MAX_DEPTH}"),
        ("1 or " * 300 + "1", f"longer than {bounds.EXPRESSION_MAX_CHARS} characters"),
    ],
)
def test_a_broken_expression_is_refused_with_its_place(text: str, message: str) -> None:
    """The error names file, line and character."""
    with pytest.raises(BlueprintError) as caught:
        parse_expression(text, _PLACE)
    assert (caught.value.file, caught.value.line) == ("b.yaml", 7)
    assert message in caught.value.message


_operands = st.sampled_from(
    ["0", "1", "2.0", "'a'", "'ab'", "true", "false", "null", "[]", "[1, 'a']", "n", "text", "items"]
)
_PYTHON_NAMES = {name: value for name, value in _VALUES.items() if name in {"n", "text", "items"}} | {
    "true": True,
    "false": False,
    "null": None,
}


def _python(text: str) -> object:
    return eval(text, {"__builtins__": {}}, dict(_PYTHON_NAMES))


@given(
    st.recursive(
        _operands,
        lambda inner: st.one_of(
            st.tuples(st.just("not"), inner).map(" ".join),
            st.tuples(inner, st.sampled_from(["and", "or"]), inner).map(" ".join),
            inner.map("({})".format),
        ),
        max_leaves=12,
    )
)
def test_logic_agrees_with_python(text: str) -> None:
    """Precedence and truth of not, and, or are those that people know."""
    assert bool(_evaluate(text)) is bool(_python(text))


@given(_operands, st.sampled_from(["==", "!=", "<", ">", "in"]), _operands)
def test_comparisons_agree_with_python_where_types_agree(left: str, sign: str, right: str) -> None:
    """Among numbers and among texts comparison is Python's; any other pair is unequal, unordered, not contained."""
    one, other = _python(left), _python(right)
    numbers = all(type(value) in {int, float} for value in (one, other))
    texts = isinstance(one, str) and isinstance(other, str)
    if numbers and sign == "in":
        expected: object = False
    elif numbers or texts:
        expected = _python(f"{left} {sign} {right}")
    elif sign == "in" and isinstance(other, list):
        expected = any(one == item and isinstance(one, bool) is isinstance(item, bool) for item in other)
    elif sign in {"==", "!="}:
        same = one == other and type(one) is type(other)
        expected = same if sign == "==" else not same
    else:
        expected = False
    assert _evaluate(f"{left} {sign} {right}") is expected


@given(st.text(alphabet="ab.[]()'\"0123 ,<>=!-*notandri", max_size=60))
def test_any_text_is_an_expression_or_a_blueprint_error(text: str) -> None:
    """Neither parsing nor evaluating can fail in another way."""
    try:
        expression = parse_expression(text, _PLACE)
    except BlueprintError:
        return
    evaluate(expression, _look_up)
