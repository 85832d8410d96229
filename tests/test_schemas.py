"""The committed JSON Schemas are those of the records, and what the records write is valid by them."""

from __future__ import annotations

import json
import runpy
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal, get_args, get_origin, get_type_hints

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st
from jsonschema import Draft202012Validator

from renku_store.hashing import canonical_document
from renku_store.records._base import Record
from renku_store.records.events import ArtefactEvent, InputEvent, JobFailure, RunEvent, read_event
from renku_store.records.graph import GraphEdge, GraphInput, GraphNode, GraphOutput, ProducerGraph, Reference
from renku_store.records.manifest import (
    ArchiveRef,
    ArtefactValue,
    Manifest,
    ManifestArtefact,
    ManifestInput,
    Metrics,
    PageRef,
    Pointer,
)
from renku_store.records.plan import CostRange, ExecutionPlan, PlannedJob, Reason

_SCHEMAS = Path(__file__).parent.parent / "schema"
_names = ["event", "graph", "manifest", "plan", "pointer"]

# Records of any content

_ids = st.sampled_from(["script", "narration[2].audio", "slide[intro]", "ü"])
_hashes = st.integers(0, 2**256 - 1).map(lambda number: f"{number:064x}")
_texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=8)
_json = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53) + 1, 2**53 - 1) | st.floats(-1e6, 1e6) | _texts,
    lambda below: st.lists(below, max_size=2) | st.dictionaries(_texts, below, max_size=2),
    max_leaves=4,
)
_dollars = st.floats(0, 1e6)
_counts = st.integers(0, 2**40)


def _maybe(strategy: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    return st.none() | strategy


def _build(kind: type[Record], /, **given_fields: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    """Records of a kind; fields that are not given are any text, number or word that their type allows."""
    fields = dict(given_fields)
    for name, annotation in get_type_hints(kind, include_extras=True).items():
        if name not in fields and (simple := _simple(annotation)) is not None:
            fields[name] = simple
    return st.fixed_dictionaries(fields).map(lambda values: kind(**values))


def _simple(annotation: Any) -> st.SearchStrategy[Any] | None:
    if get_origin(annotation) is Literal:
        return st.sampled_from(get_args(annotation))
    known = {str: _texts, int: _counts, float: _dollars, bool: st.booleans()}
    if annotation in known:
        return known[annotation]
    options = set(get_args(annotation))
    if type(None) not in options or len(options) != 2:
        return None
    (kind,) = options - {type(None)}
    return _maybe(known[kind]) if kind in known else None


def _artefacts(kind: type[ArtefactValue], /, **more: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    facts = {"hash": _hashes, "size": _counts, "mime_type": _texts, **more}
    return _build(kind, **facts, inline=_texts, blob=st.none()) | _build(kind, **facts, inline=st.none(), blob=_hashes)


_values = _artefacts(ArtefactValue)
_manifest_artefacts = _artefacts(
    ManifestArtefact, produced_by=_maybe(_ids), job=_maybe(_ids), signature=_maybe(_hashes), edited_by=_maybe(_texts)
)
_manifest_inputs = _build(ManifestInput, hash=_hashes, value=_json, blob=st.none()) | _build(
    ManifestInput, hash=_hashes, value=st.none(), blob=_hashes
)
_objects = st.dictionaries(_texts, _json, max_size=3)
_references = _build(
    Reference, kind=st.sampled_from(["input", "artefact"]), id=_ids, path=st.lists(_texts | _counts, max_size=3)
)
_inputs = _build(GraphInput, name=_ids, ref=_references, refs=st.none()) | _build(
    GraphInput, name=_ids, ref=st.none(), refs=st.lists(_maybe(_references), max_size=3)
)
_nodes = _build(
    GraphNode,
    job_id=_ids,
    producer=_ids,
    inputs=st.lists(_inputs, max_size=2),
    produces=st.lists(_build(GraphOutput, id=_ids, name=_ids, mime_type=_texts), max_size=2),
    provider=_ids,
    provider_model=_ids,
    config=_objects,
    context=_objects,
    timeout_seconds=_maybe(_dollars),
    max_output_bytes=_maybe(_counts),
)
_graphs = _build(
    ProducerGraph.written_as,
    nodes=st.lists(_nodes, max_size=2),
    edges=st.lists(_build(GraphEdge, from_=_ids, to=_ids), max_size=2),
    timeline=_maybe(_ids),
).map(lambda graph: ProducerGraph(nodes=graph.nodes, edges=graph.edges, timeline=graph.timeline))
_manifests = _build(
    Manifest,
    format=st.just(1),
    base_hash=_maybe(_hashes),
    archive=_maybe(_build(ArchiveRef, name=_texts, hash=_hashes)),
    content_hash=_hashes,
    graph=_maybe(_hashes),
    inputs=st.dictionaries(_ids, _manifest_inputs, max_size=2),
    artefacts=st.dictionaries(_ids, _manifest_artefacts, max_size=2),
    pages=_maybe(st.lists(_build(PageRef, first=_ids, hash=_hashes), max_size=2)),
    metrics=_build(Metrics, made=_counts, reused=_counts, cost=_dollars),
)
_plans = _build(
    ExecutionPlan,
    format=st.just(1),
    manifest_base_hash=_maybe(_hashes),
    layers=st.lists(st.lists(_ids, max_size=2), max_size=2),
    jobs=st.dictionaries(
        _ids,
        _build(PlannedJob, reasons=st.lists(_build(Reason), max_size=2), signature=_maybe(_hashes), layer=_counts),
        max_size=2,
    ),
    cost=_build(CostRange, low=_dollars, high=_dollars),
    graph=_graphs,
    graph_hash=_hashes,
    inputs=st.dictionaries(_ids, _manifest_inputs, max_size=2),
)
_events = (
    _build(InputEvent, hash=_hashes, value=_json, blob=st.none())
    | _build(InputEvent, hash=_hashes, value=st.none(), blob=_hashes)
    | _build(
        ArtefactEvent,
        signature=_maybe(_hashes),
        value=_maybe(_values),
        cost=_maybe(_dollars),
        duration_seconds=_maybe(_dollars),
        failure=_maybe(_build(JobFailure, kind=_texts, message=_texts)),
    )
    | _build(RunEvent, data=_objects)
)
_pointers = _build(Pointer, hash=_hashes)


def _validator(name: str) -> Draft202012Validator:
    return Draft202012Validator(json.loads((_SCHEMAS / "json" / f"{name}.schema.json").read_text(encoding="utf-8")))


_validators = {name: _validator(name) for name in _names}
_readers: dict[str, Callable[[bytes], object]] = {
    "event": read_event,
    "graph": ProducerGraph.read,
    "manifest": Manifest.read,
    "plan": ExecutionPlan.read,
    "pointer": Pointer.read,
}


def test_committed_schemas_are_those_of_the_records() -> None:
    """`make schemas` would change nothing, and no file is left over."""
    texts = runpy.run_path(str(_SCHEMAS / "generate.py"))["schema_texts"]()
    assert {path.name: path.read_text(encoding="utf-8") for path in (_SCHEMAS / "json").iterdir()} == texts


@pytest.mark.parametrize("name", _names)
def test_schemas_are_valid_and_named(name: str) -> None:
    """Each schema is one of draft 2020-12 with an id and a title of its own."""
    schema: Any = _validators[name].schema
    Draft202012Validator.check_schema(schema)
    assert schema["$schema"] == "https://json-schema.org/draft/2020-12/schema"
    assert schema["$id"] == f"urn:renku-store:schema:{name}:1"
    assert schema["title"]


@given(
    st.one_of(
        *(
            st.tuples(st.just(name), documents)
            for name, documents in (
                ("event", _events),
                ("graph", _graphs),
                ("manifest", _manifests),
                ("plan", _plans),
                ("pointer", _pointers),
            )
        )
    )
)
def test_what_is_written_is_valid_and_reads_back(case: tuple[str, Record]) -> None:
    """The canonical bytes of any record are valid by its schema, and give an equal record."""
    name, record = case
    written = canonical_document(record.to_json())
    _validators[name].validate(orjson.loads(written))
    assert _readers[name](written) == record


_HASH = "0" * 64
_WRONG: list[tuple[str, dict[str, Any]]] = [
    ("pointer", {"revision": "rev-0001", "manifest": "manifests/rev-0001.json", "hash": "abc", "updatedAt": "t"}),
    ("pointer", {"revision": "rev-0001", "manifest": "manifests/rev-0001.json", "updatedAt": "t"}),
    ("event", {"type": "input", "id": "i", "input": "a", "hash": _HASH, "createdAt": "t"}),
    ("event", {"type": "input", "id": "i", "input": "a", "hash": _HASH, "value": 1, "blob": _HASH, "createdAt": "t"}),
    ("event", {"id": "i", "run": "r", "kind": "planned", "createdAt": "t"}),
    ("event", {"type": "run", "id": "i", "run": "r", "kind": "danced", "createdAt": "t"}),
    ("graph", {"nodes": [{"jobId": "a", "producer": "a", "produces": [], "provider": "p"}]}),
    ("graph", {"nodes": [], "edges": [{"from": "a"}]}),
]


@pytest.mark.parametrize(("name", "document"), _WRONG)
def test_schemas_refuse_what_is_not_such_a_document(name: str, document: dict[str, Any]) -> None:
    """A missing field, a wrong hash, two places for one value: each is invalid."""
    assert not _validators[name].is_valid(document)
