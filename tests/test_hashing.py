"""The laws of canonical JSON, hashes and signatures."""

from __future__ import annotations

import enum
import math
from typing import Any, cast

import pytest
import rfc8785
from blake3 import blake3
from hypothesis import example, given
from hypothesis import strategies as st

from renku_store import bounds
from renku_store.errors import InvalidValueError
from renku_store.hashing import (
    artefact_item,
    canonical_document,
    canonical_json,
    content_hash,
    hash_bytes,
    hash_value,
    list_item,
    parse_json,
    signature,
    value_item,
)
from renku_store.records._base import Json
from renku_store.records.graph import GraphNode, GraphOutput
from renku_store.records.manifest import ArtefactValue, ManifestArtefact, ManifestInput

_INTEGER_MAX = 2**53 - 1
_text = st.text(st.characters(exclude_categories=["Cs"])) | st.text(
    st.sampled_from('a\x00\x1f"\\/\x7fé\ue000\uffff\U0001f30a')
)
_integers = st.integers(-_INTEGER_MAX, _INTEGER_MAX)
_floats = st.floats(allow_nan=False, allow_infinity=False) | st.floats(-2.0, 2.0) | _integers.map(float)
_scalars = st.none() | st.booleans() | _integers | _floats | _text


def _trees(leaves: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    return st.recursive(leaves, lambda below: st.lists(below, max_size=5) | st.dictionaries(_text, below, max_size=5))


def _nested(depth: int, kind: type = list) -> Json:
    value: Any = 1
    for _ in range(depth):
        value = [value] if kind is list else {"a": value}
    return cast("Json", value)


@given(_trees(_scalars))
@example({"\ue000": 1, "\U00010000": 2, "a": 0.5})
@example([1.0, -0.0, 1e-7, 1e21, 0.0001, 0.00009999, 4503599627370495.5])
def test_canonical_json_is_that_of_rfc_8785(value: Json) -> None:
    """The fast path and the reference implementation write the same bytes, whatever the value."""
    assert canonical_json(value) == rfc8785.dumps(value)


@given(_floats)
@example(2.0**53)
@example(1e20)
@example(9007199254740994.0)
def test_every_finite_float_is_written_as_rfc_8785(number: float) -> None:
    """Also those that are written without a fraction or an exponent."""
    assert canonical_json(number) == rfc8785.dumps(number)


@given(_trees(_scalars))
def test_canonical_json_survives_reading(value: Json) -> None:
    """What is read back has the same canonical JSON, so a stored hash can be checked from what is stored."""
    written = canonical_json(value)
    assert canonical_json(parse_json(written)) == written
    assert canonical_json(parse_json(written.decode())) == written


@given(st.dictionaries(_text, _scalars, min_size=2))
def test_order_of_keys_does_not_matter(value: dict[str, Json]) -> None:
    """Equal objects have equal hashes, however they were put together."""
    assert hash_value(dict(reversed(value.items()))) == hash_value(value)


@given(_trees(_scalars))
def test_the_value_itself_is_left_alone(value: Json) -> None:
    """Writing a value changes nothing in it."""
    before = repr(value)
    canonical_json(value)
    assert repr(value) == before


class _Word(enum.StrEnum):
    SEA = "sea"


class _Number(enum.IntEnum):
    ONE = 1


class _Text(str):
    __slots__ = ()


class _Object(dict[str, int]):
    pass


@pytest.mark.parametrize(
    ("value", "named"),
    [
        (math.nan, "NaN at the top"),
        ({"a": [0, math.inf]}, r"Infinity at a\[1\]"),
        ([-math.inf], r"-Infinity at \[0\]"),
        (2**53, r"9007199254740992 at the top is beyond 2\^53"),
        ({"a": {"b": -(2**53)}}, r"at a\.b is beyond 2\^53"),
        ([10**5000], r"integer given at \[0\] is beyond"),
        (["\ud800"], r"text at \[0\] has a lone surrogate"),
        ({"\udfff": 1}, "text at the top has a lone surrogate"),
        ({"\udfff": "\U0001f30a", "\U0001f30a": 1}, "text at the top has a lone surrogate"),
        ({"\U0001f30a": ["\ud800"]}, "has a lone surrogate"),
        ({"\U0001f30a": math.nan}, "NaN"),
        ({1: "a"}, "key 1 at the top is not text"),
        ({"a": {None: 1}}, "key None at a is not text"),
        ({_Word.SEA: 1}, "key .* at the top is not text"),
        ([b"bytes"], r"bytes at \[0\] is not JSON"),
        ([{1, 2}], r"set at \[0\] is not JSON"),
        ({"a": _Word.SEA}, "_Word at a is not JSON"),
        ([_Number.ONE], r"_Number at \[0\] is not JSON"),
        (_Text("a"), "_Text at the top is not JSON"),
        (_Object(a=1), "_Object at the top is not JSON"),
        (object(), "object at the top is not JSON"),
    ],
)
def test_what_is_not_json_is_refused_by_name_and_place(value: Any, named: str) -> None:
    """The message says what cannot be written and where it is."""
    with pytest.raises(InvalidValueError, match=named):
        canonical_json(value)


@given(_trees(_scalars | st.sampled_from([math.nan, 2**60, b"", "\ud800", 1e17, 1j])))
def test_nothing_but_invalid_value_error_is_raised(value: Any) -> None:
    """A value is either written or refused with the one error that callers handle, naming a place."""
    try:
        canonical_json(value)
    except InvalidValueError as refusal:
        assert " at " in refusal.message  # noqa: PT017 (either outcome is right)


@pytest.mark.parametrize("kind", [list, dict])
@pytest.mark.parametrize("depth", [bounds.VALUE_MAX_DEPTH + 1, 300, 100_000])
def test_deep_nesting_is_refused_by_name(kind: type, depth: int) -> None:
    """Depth ends in a clear refusal, never in a recursion error."""
    with pytest.raises(InvalidValueError, match="nested more than 100 levels"):
        canonical_json(_nested(depth, kind))


@pytest.mark.parametrize("kind", [list, dict])
def test_documents_hold_the_deepest_values(kind: type) -> None:
    """Whatever is accepted as a value can be written as part of a document."""
    deepest = _nested(bounds.VALUE_MAX_DEPTH, kind)
    canonical_json(deepest)
    assert canonical_document({"inputs": {"a": {"value": deepest}}}) == rfc8785.dumps(
        {"inputs": {"a": {"value": deepest}}}
    )


def test_a_value_that_holds_itself_is_refused() -> None:
    """A circle has no text, and looking for its end takes neither forever nor all memory."""
    circle: list[Any] = []
    circle.extend([circle, circle])
    with pytest.raises(InvalidValueError, match="nested more than"):
        canonical_json(circle)


def test_truth_values_are_not_numbers() -> None:
    """True and 1 are different values, while 1 and 1.0 are one number."""
    assert canonical_json([True, False]) == b"[true,false]"
    assert hash_value(True) != hash_value(1)
    assert hash_value(1.0) == hash_value(1)


def test_tuples_are_lists() -> None:
    """A tuple has the canonical JSON of the list."""
    assert canonical_json(cast("Json", ("a", (1.0, 2)))) == canonical_json(["a", [1, 2]])


@given(st.binary(max_size=3_000))
def test_hashes_are_blake3_of_the_bytes(data: bytes) -> None:
    """Bytes, bytearray and memoryview of the same bytes have one hash."""
    assert hash_bytes(data) == hash_bytes(bytearray(data)) == hash_bytes(memoryview(data)) == blake3(data).hexdigest()


_NODE = GraphNode(
    job_id="narration[0]",
    producer="narration",
    provider="demo",
    provider_model="narrate",
    produces=[GraphOutput(id="narration[0].audio", name="audio", mime_type="audio/wav")],
    config={"speed": 120},
    context={"language": "en"},
)
_INPUTS = {"text": value_item(hash_value("Water rises."))}


@pytest.mark.parametrize(
    "change",
    [
        {"producer": "speech"},
        {"version": "2"},
        {"provider": "other"},
        {"provider_model": "other"},
        {"config": {"speed": 121}},
        {"config": {"speed": "120"}},
        {"context": {}},
        {"produces": [GraphOutput(id="narration[0].audio", name="sound", mime_type="audio/wav")]},
        {"produces": [GraphOutput(id="narration[0].audio", name="audio", mime_type="audio/flac")]},
    ],
)
def test_whatever_a_producer_sees_is_signed(change: dict[str, Any]) -> None:
    """A change of anything that reaches the producer is another signature."""
    assert signature(_NODE.replace(**change), _INPUTS) != signature(_NODE, _INPUTS)


@pytest.mark.parametrize(
    "change",
    [
        {"job_id": "narration[9]"},
        {"produces": [GraphOutput(id="narration[9].audio", name="audio", mime_type="audio/wav")]},
        {"rate_key": "demo"},
        {"uses": {"gpu": 1}},
        {"timeout_seconds": 5.0},
        {"max_output_bytes": 1},
    ],
)
def test_what_a_producer_does_not_see_is_not_signed(change: dict[str, Any]) -> None:
    """Two jobs that ask the same share a result."""
    assert signature(_NODE.replace(**change), _INPUTS) == signature(_NODE, _INPUTS)


def test_the_forms_of_an_input_are_told_apart() -> None:
    """A value, an artefact, a list of one, a null in a list and a missing input are five different inputs."""
    digest = hash_value("a")
    artefact = ArtefactValue(hash=digest, size=3, mime_type="text/plain", inline='"a"')
    forms: list[dict[str, dict[str, Json]]] = [
        {},
        {"a": value_item(digest)},
        {"a": artefact_item(artefact)},
        {"a": list_item([value_item(digest)])},
        {"a": list_item([value_item(digest), None])},
        {"b": value_item(digest)},
    ]
    assert len({signature(_NODE, form) for form in forms}) == len(forms)


@given(
    names=st.dictionaries(_text, _text, max_size=5),
    inputs=st.sets(_text, max_size=3),
    timeline=st.none() | _text,
)
def test_content_hash_is_that_of_the_canonical_document(
    names: dict[str, str], inputs: set[str], timeline: str | None
) -> None:
    """Whatever ids and types hold: quotes, control characters, text beyond the basic plane."""
    made = {
        key: ManifestArtefact(hash=hash_bytes(key.encode()), size=1, mime_type=mime_type, inline="x")
        for key, mime_type in names.items()
    }
    given = {key: ManifestInput(hash=hash_value(key), value=key) for key in inputs}
    document = {
        "inputs": {key: value.hash for key, value in given.items()},
        "artefacts": {key: [value.hash, value.mime_type] for key, value in made.items()},
        "timeline": timeline,
    }
    assert content_hash(given, made, timeline) == hash_bytes(rfc8785.dumps(cast("Any", document)))


def test_content_hash_covers_ids_bytes_and_types_only() -> None:
    """Who made an artefact and how it is stored is not content; its bytes, type and id are."""
    digest = hash_value("a")
    inputs = {"a": ManifestInput(hash=digest, value="a")}
    made = {"x": ManifestArtefact(hash=digest, size=3, mime_type="text/plain", blob=digest, job="x", signature=digest)}
    edited = {"x": ManifestArtefact(hash=digest, size=3, mime_type="text/plain", inline='"a"', edited_by="user")}
    typed = {"x": made["x"].replace(mime_type="text/html")}
    assert content_hash(inputs, made, None) == content_hash(inputs, edited, None)
    others = [content_hash(inputs, typed, None), content_hash({}, made, None), content_hash(inputs, made, "x")]
    assert content_hash(inputs, made, None) not in others
