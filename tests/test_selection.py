"""What a job reads: paths into values, what is missing, and the hash of exactly what is selected."""

from __future__ import annotations

import copy
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from renku_store.hashing import hash_bytes, hash_value, signature
from renku_store.records._base import Json
from renku_store.records.graph import GraphInput, GraphNode, ProducerGraph, Reference
from renku_store.records.manifest import ArtefactValue
from renku_store.selection import MISSING, Missing, Selection, documents_needed, references, select

DOCUMENT = b'{"scenes":[{"text":"one"},{"text":null}]}'
ARTEFACT = ArtefactValue(
    hash=hash_bytes(DOCUMENT), size=len(DOCUMENT), mime_type="application/json", inline=DOCUMENT.decode()
)


def reference(kind: Any, name: str, *path: str | int) -> Reference:
    return Reference(kind=kind, id=name, path=[*path])


def selection(inputs: dict[str, Any] | None = None, *, document: Json | Missing = MISSING) -> Selection:
    return Selection(inputs or {}, {"script.out": ARTEFACT}, lambda artefact: document)


values = st.recursive(
    st.none() | st.booleans() | st.integers(-9, 9) | st.text("ab", max_size=2),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from("abc"), inner, max_size=3),
    max_leaves=10,
)
paths = st.lists(st.sampled_from("abc") | st.integers(-1, 3), max_size=4)


@given(value=values, path=paths)
def test_a_path_leads_to_what_indexing_finds_or_nowhere(value: Any, path: list[str | int]) -> None:
    """Python's own indexing is the model; numbers index lists only, from zero on, and names objects only."""
    expected: Any = value
    for step in path:
        fits = isinstance(expected, list if isinstance(step, int) else dict)
        try:
            expected = expected[step] if fits and not (isinstance(step, int) and step < 0) else MISSING
        except (IndexError, KeyError):
            expected = MISSING
        if expected is MISSING:
            break
    assert select(value, path) is expected or select(value, path) == expected


def test_a_part_that_is_no_value_has_a_digest_like_no_other_and_its_reader_a_fault() -> None:
    """So that what reads it is made by nobody, and what reads beside it is signed as ever."""
    deep: Json = []
    for _ in range(100):
        deep = [deep]
    here = selection(document={"deep": deep, "flat": deep[0]})
    digest = here.digest(reference("artefact", "script.out", "deep"))
    assert digest is not None
    assert digest not in {hash_value(None), here.digest(reference("artefact", "script.out", "flat"))}
    node = GraphNode(
        job_id="use",
        producer="use",
        provider="test",
        provider_model="use",
        inputs=[GraphInput(name="part", ref=reference("artefact", "script.out", "deep"))],
        produces=[],
    )
    assert "use reads script.out.deep" in (here.fault(node) or "")
    beside = [GraphInput(name="part", ref=reference("artefact", "script.out", "flat"))]
    assert here.fault(node.replace(inputs=beside)) is None


def test_only_json_is_read_into_whoever_looked_first() -> None:
    """The same bytes under another type are no document: the parts of one are not those of the other."""
    plain = ARTEFACT.replace(mime_type="text/plain")
    known = {"script.out": ARTEFACT, "note.out": plain, "kin.out": ARTEFACT.replace(mime_type="model/gltf+json; x=y")}
    there = {"kind": "value", "hash": hash_value(1)}
    for order in (list(known), list(reversed(known))):
        here = Selection({}, known, lambda artefact: {"a": 1})
        items = {artefact: here.item(reference("artefact", artefact, "a")) for artefact in order}
        assert items == {"script.out": there, "note.out": None, "kin.out": there}
        assert isinstance(here.value(reference("artefact", "note.out", "a")), Missing)


def test_null_is_a_value_and_missing_is_none() -> None:
    """An input whose reference selects null is signed; one that selects nothing is left out."""
    here = selection({"a": None, "b": {"c": None}})
    null = {"kind": "value", "hash": hash_value(None)}
    assert here.item(reference("input", "a")) == null
    assert here.item(reference("input", "b", "c")) == null
    for gone in (reference("input", "b", "d"), reference("input", "x"), reference("artefact", "x.out"), None):
        assert here.item(gone) is None
    node = GraphNode(
        job_id="j",
        producer="p",
        provider="test",
        provider_model="p",
        produces=[],
        inputs=[
            GraphInput(name="null", ref=reference("input", "a")),
            GraphInput(name="gone", ref=reference("input", "x")),
        ],
    )
    assert here.signed_inputs(node) == {"null": null}
    assert signature(node, here.signed_inputs(node)) != signature(node, {})


@given(segments=st.lists(values, min_size=2, max_size=4), data=st.data())
def test_an_edit_elsewhere_does_not_change_what_is_selected(segments: list[Any], data: st.DataObject) -> None:
    """The hash is of the selected value, never of the document around it."""
    before = selection({"segments": segments})
    changed = copy.deepcopy(segments)
    place = data.draw(st.integers(0, len(segments) - 1))
    changed[place] = data.draw(values)
    after = selection({"segments": changed})
    for other in range(len(segments)):
        same = before.item(reference("input", "segments", other)) == after.item(reference("input", "segments", other))
        assert same == (hash_value(segments[other]) == hash_value(changed[other]))


def test_into_an_artefact_a_reference_reads_its_document_and_of_it_a_whole_its_bytes() -> None:
    """A value by its hash, an artefact by its hash and MIME type; of what is not JSON nothing is selected."""
    parsed: Json = {"scenes": [{"text": "one"}, {"text": None}]}
    here = selection(document=parsed)
    assert here.value(reference("artefact", "script.out", "scenes", 0, "text")) == "one"
    assert here.item(reference("artefact", "script.out", "scenes", 1, "text")) == {
        "kind": "value",
        "hash": hash_value(None),
    }
    assert here.item(reference("artefact", "script.out")) == {
        "kind": "artefact",
        "hash": ARTEFACT.hash,
        "mimeType": "application/json",
    }
    assert selection().item(reference("artefact", "script.out", "scenes")) is None


def test_an_artefact_that_comes_later_is_seen() -> None:
    """A look before it was made is not remembered as its absence."""
    artefacts: dict[str, ArtefactValue] = {}
    here = Selection({}, artefacts, lambda artefact: {"a": 1})
    wanted = reference("artefact", "late.out", "a")
    assert here.item(wanted) is None
    artefacts["late.out"] = ARTEFACT
    assert here.item(wanted) == {"kind": "value", "hash": hash_value(1)}


def test_a_fan_in_keeps_its_places_in_order() -> None:
    """A place without a job is null; a missing value in the middle moves nothing."""
    entry = GraphInput(
        name="all", refs=[reference("input", "a"), None, reference("input", "x"), reference("input", "b")]
    )
    here = selection({"a": 1, "b": 2})
    one, two = ({"kind": "value", "hash": hash_value(value)} for value in (1, 2))
    assert here.signed(entry) == {"kind": "list", "items": [one, None, None, two]}
    assert [found.id for found in references(entry)] == ["a", "x", "b"]


def test_only_documents_that_are_read_into_are_needed() -> None:
    """Whole artefacts and inputs need no parsing."""
    inputs = [
        GraphInput(name="whole", ref=reference("artefact", "a.out")),
        GraphInput(name="into", ref=reference("artefact", "b.out", "x")),
        GraphInput(name="many", refs=[reference("artefact", "c.out", 0), None, reference("input", "d", "x")]),
    ]
    node = GraphNode(job_id="j", producer="p", provider="test", provider_model="p", produces=[], inputs=inputs)
    assert documents_needed(ProducerGraph(nodes=[node])) == {"b.out", "c.out"}


@pytest.mark.parametrize("step", [True, 0.0, "0"])
def test_steps_of_other_kinds_select_nothing_from_a_list(step: Any) -> None:
    """Only whole numbers index lists."""
    assert select([1, 2], [step]) is MISSING or step is True
