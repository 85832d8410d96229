"""Keys of a given graph that mean nothing: a person who misspelt one would wait in vain for what it says.

Graphs that are kept are not asked: what an older one has beyond these was of no consequence, and stays so.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from typing import Any, Final

import msgspec

from renku_store.blueprint.names import nearest
from renku_store.blueprint.places import shown
from renku_store.errors import GraphError
from renku_store.records._base import Record
from renku_store.records.graph import GraphEdge, GraphInput, GraphNode, GraphOutput, ProducerGraph, Reference


def _keys_of(kind: type[Record]) -> dict[str, str]:
    """By each name that a field may have, the one under which it is written."""
    fields = msgspec.structs.fields(kind)
    return {name: field.encode_name for field in fields for name in (field.encode_name, field.name)}


_GRAPH: Final = _keys_of(ProducerGraph.written_as)
_NODE: Final = _keys_of(GraphNode)
_INPUT: Final = _keys_of(GraphInput)
_OUTPUT: Final = _keys_of(GraphOutput)
_EDGE: Final = _keys_of(GraphEdge)
_REFERENCE: Final = _keys_of(Reference)


def refuse_unknown_keys(document: Mapping[str, Any]) -> None:
    """Raise `GraphError` with the nearest right name for a key that a sound graph has and that means nothing."""
    for what, keys, known in _mappings(document):
        for key in keys:
            if key not in known:
                raise GraphError(f"{what} has no key {shown(key)}.", hint=nearest(key, dict.fromkeys(known.values())))


def _mappings(document: Mapping[str, Any]) -> Iterator[tuple[str, Collection[str], Mapping[str, str]]]:
    """Each mapping of a graph in which keys are its own: in words, with its keys and those that it may have."""
    yield "The graph", document, _GRAPH
    for edge in document.get("edges") or ():
        yield f"The edge {shown(edge)}", edge, _EDGE
    for node in document["nodes"]:
        job = f"The job {node['jobId']}"
        yield job, node, _NODE
        for output in node["produces"]:
            if isinstance(output, dict):
                yield f"{job}: an output", output, _OUTPUT
        for entry in node.get("inputs", ()):
            if isinstance(entry, dict):
                where = f"{job}, input {entry['name']}"
                yield where, entry, _INPUT
                references = (entry.get("ref"), *(entry.get("refs") or ()))
                yield from ((f"{where}: a reference", one, _REFERENCE) for one in references if isinstance(one, dict))
