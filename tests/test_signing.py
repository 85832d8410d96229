"""Signatures and hashes of whole graphs, written directly, against those that are made document by document."""

from __future__ import annotations

import orjson
from hypothesis import example, given
from hypothesis import strategies as st

from renku_store.hashing import exact_numbers, graph_bytes, hash_bytes, parse_json, signature
from renku_store.records._base import Json
from renku_store.records.graph import (
    Awaited,
    CostRule,
    GraphEdge,
    GraphInput,
    GraphNode,
    GraphOutput,
    ProducerGraph,
    Reference,
)
from renku_store.records.manifest import ArtefactValue
from renku_store.selection import MISSING, Missing, Selection
from renku_store.signing import Signer, graph_hash

_texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=6) | st.sampled_from(
    ["a", "b", "a!", "a b", 'a"', "a\\", "é", "\U0001f30a", "audio/wav", "x[0].y", "text/plain", "\x00"]
)
_numbers = st.integers(-(2**53) + 1, 2**53 - 1) | st.floats(allow_nan=False, allow_infinity=False)
_values = st.recursive(
    st.none() | st.booleans() | _numbers | _texts,
    lambda below: st.lists(below, max_size=3) | st.dictionaries(_texts, below, max_size=3),
    max_leaves=6,
)
_objects = st.dictionaries(_texts, _values, max_size=3)
_paths = st.lists(_texts | st.integers(0, 3), max_size=2)
_ids = st.sampled_from(["a", "b", "c.out", "d[0].out", 'odd".out', "é.out"])
_references = st.builds(Reference, kind=st.sampled_from(["input", "artefact"]), id=_ids, path=_paths)
_entries = st.builds(GraphInput, name=_texts, ref=_references) | st.builds(
    GraphInput, name=_texts, refs=st.lists(st.none() | _references, max_size=3)
)
_nodes = st.builds(
    GraphNode,
    job_id=_texts,
    producer=_texts,
    inputs=st.lists(_entries, max_size=3),
    produces=st.lists(st.builds(GraphOutput, id=_texts, name=_texts, mime_type=_texts), max_size=2),
    provider=_texts,
    provider_model=_texts,
    version=_texts,
    rate_key=_texts,
    config=_objects,
    context=_objects,
    timeout_seconds=st.none() | st.floats(0, 1e6),
    max_output_bytes=st.none() | st.integers(0, 2**40),
    uses=st.none() | st.dictionaries(_texts, st.integers(1, 9), max_size=2),
    cost=st.none() | st.just(CostRule(low=1.0, high=2.0)),
    sources=st.none() | st.lists(_texts, max_size=2),
    source=st.none() | st.just("0" * 64),
    awaits=st.none() | st.builds(Awaited, artefacts=st.lists(_texts, max_size=2), problem=st.none() | _texts),
)
_artefacts = st.dictionaries(
    _ids,
    st.builds(lambda text, kind: ArtefactValue(hash=hash_bytes(text.encode()), size=1, mime_type=kind), _texts, _texts),
)


def _shared(node: GraphNode) -> list[GraphNode]:
    """Jobs that hold the same objects, as those of one producer do."""
    return [node, node.replace(job_id=f"{node.job_id}[1]"), node]


@given(st.lists(_nodes, max_size=3), st.lists(st.tuples(_texts, _texts), max_size=3), st.none() | _texts)
def test_the_hash_of_a_graph_is_that_of_its_bytes(
    nodes: list[GraphNode], edges: list[tuple[str, str]], timeline: str | None
) -> None:
    """However odd its texts and numbers are, the short way and the long way come to one hash."""
    pairs = [GraphEdge.from_json({"from": before, "to": after}) for before, after in edges]
    jobs = [job for node in nodes for job in _shared(node)]
    graph = ProducerGraph(nodes=jobs, edges=pairs, timeline=timeline)
    assert graph_hash(graph) == hash_bytes(graph_bytes(graph))


def test_the_hash_of_a_large_graph_is_that_of_its_bytes() -> None:
    """A graph that is hashed in several pieces has the hash of the whole."""
    node = GraphNode(job_id="a", producer="p", produces=[], provider="x", provider_model="m")
    nodes = [node.replace(job_id=f"a[{number}]") for number in range(9_000)]
    edges = [GraphEdge.from_json({"from": "a[0]", "to": f"a[{number}]"}) for number in range(1, 5_000)]
    graph = ProducerGraph(nodes=nodes, edges=edges, timeline="a[0].out")
    assert graph_hash(graph) == hash_bytes(graph_bytes(graph))


@given(st.lists(_nodes, min_size=1, max_size=3), _artefacts, st.dictionaries(_ids, _values))
def test_a_signer_signs_as_one_by_one(
    nodes: list[GraphNode], artefacts: dict[str, ArtefactValue], inputs: dict[str, Json]
) -> None:
    """A signature does not depend on which other jobs are signed with it."""

    def document(artefact: ArtefactValue) -> Json | Missing:
        return {"a": artefact.hash} if artefact.mime_type != "a" else MISSING

    selection = Selection(inputs, artefacts, document)
    signer = Signer(selection)
    for node in (job for each in nodes for job in _shared(each)):
        assert signer.signature(node) == signature(node, Selection(inputs, artefacts, document).signed_inputs(node))


@given(_values | st.integers(2**53, 2**60))
@example([9007199254740991, 9007199254740992, -9007199254740993])
@example({"a": "9007199254740993", "b": 12345678901234567890})
def test_parsed_numbers_are_exact_or_floats(value: Json) -> None:
    """A parsed value has no integer beyond 2^53 - 1, whether it was looked through or not."""
    data = orjson.dumps(value)
    expected = exact_numbers(orjson.loads(data))
    for parsed in (parse_json(data), parse_json(data.decode())):
        assert repr(parsed) == repr(expected)
