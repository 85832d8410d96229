"""Signatures of the jobs of a whole graph, and its hash, from canonical JSON that is written directly. Pure.

The bytes are those that `hashing.signature` and `hashing.graph_bytes` hash; what many jobs share is written once. What
is not plain, such as text that JSON has to escape, is left to these two.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from itertools import islice
from typing import Any, Final, TypeVar

import orjson
from blake3 import blake3

from renku_store import bounds
from renku_store.errors import InvalidValueError
from renku_store.hashing import canonical_document, canonical_json, graph_bytes, hash_bytes, signature
from renku_store.records._base import Json
from renku_store.records.graph import Awaited, GraphEdge, GraphInput, GraphNode, GraphOutput, ProducerGraph, Reference
from renku_store.selection import Selection

T = TypeVar("T")

_ODD: Final = re.compile(r'[\x00-\x1f"\\]')
"""What JSON escapes in text."""
_PLAIN_NAME: Final = re.compile(r"[A-Za-z0-9_.\-]+")
"""Names that sort alike with what follows them in JSON and without it."""
_REMEMBERED_MAX: Final = 4_096
_ITEMS_AT_ONCE: Final = 4_096


class _NotPlainError(Exception):
    """Something cannot be written as it stands."""


NOT_PLAIN: Final = (_NotPlainError, InvalidValueError, orjson.JSONEncodeError, UnicodeEncodeError)


class Texts:
    """Canonical JSON of what jobs share, each written once; good as long as the jobs live."""

    def __init__(self) -> None:
        self._values: dict[int, str] = {}
        self._plain: dict[str, str] = {}
        self._keys: dict[str, str] = {}

    def value(self, value: Json) -> str:
        """A value that several jobs may hold: the same object, not an equal one."""
        if value == {}:
            return "{}"
        known = self._values.get(id(value))
        if known is None:
            known = canonical_json(value).decode()
            if len(self._values) < _REMEMBERED_MAX:
                self._values[id(value)] = known
        return known

    def text(self, text: str) -> str:
        """A text that many jobs have, such as a MIME type."""
        known = self._plain.get(text)
        if known is None:
            known = self._plain[text] = canonical_json(text).decode()
        return known

    def key(self, name: str) -> str:
        """A name as a key, with its colon."""
        known = self._keys.get(name)
        if known is None:
            if _PLAIN_NAME.fullmatch(name) is None:
                raise _NotPlainError
            known = self._keys[name] = f'"{name}":'
        return known


class Signer:
    """Signs the jobs of one graph by what they read of one state."""

    def __init__(self, selection: Selection) -> None:
        self._selection = selection
        self.texts = Texts()
        self._ends: dict[tuple[str, ...], str] = {}

    def signature(self, node: GraphNode) -> str:
        """What `hashing.signature` gives for a job and all of its inputs that are there."""
        try:
            return blake3(self._document(node).encode()).digest().hex()
        except NOT_PLAIN:
            return signature(node, self._selection.signed_inputs(node))

    def _document(self, node: GraphNode) -> str:
        texts = self.texts
        read = [text for entry in node.inputs if (text := self.entry(entry)) is not None]
        if len(read) > 1:
            if len({entry.name for entry in node.inputs}) < len(node.inputs):
                raise _NotPlainError
            read.sort()
        return (
            f'{{"config":{texts.value(node.config)},"context":{texts.value(node.context)},'
            f'"format":{bounds.FORMAT_VERSION},"inputs":{{{",".join(read)}}},{self.end(node, node.produces)}'
        )

    def end(self, node: GraphNode, made: list[GraphOutput]) -> str:
        """What comes after the inputs, of jobs like this one that make these."""
        outputs = (
            (made[0].name, made[0].mime_type) if len(made) == 1 else [t for o in made for t in (o.name, o.mime_type)]
        )
        key = (node.producer, node.provider, node.provider_model, node.version, *outputs)
        known = self._ends.get(key)
        if known is None:
            rest: dict[str, Json] = {
                "model": node.provider_model,
                "outputs": {output.name: output.mime_type for output in made},
                "producer": node.producer,
                "provider": node.provider,
                "version": node.version,
            }
            known = self._ends[key] = canonical_document(rest)[1:].decode()
        return known

    def entry(self, entry: GraphInput) -> str | None:
        """What one input comes to, with its name; None where it is not there."""
        if entry.refs is None:
            item = None if entry.ref is None else self._item(entry.ref)
            return None if item is None else self.texts.key(entry.name) + item
        items = ["null" if ref is None else self._item(ref) or "null" for ref in entry.refs]
        return f'{self.texts.key(entry.name)}{{"items":[{",".join(items)}],"kind":"list"}}'

    def _item(self, reference: Reference) -> str | None:
        if reference.kind == "artefact" and not reference.path:
            artefact = self._selection.artefact(reference.id)
            if artefact is None:
                return None
            kind = self.texts.text(artefact.mime_type)
            return f'{{"hash":"{artefact.hash}","kind":"artefact","mimeType":{kind}}}'
        digest = self._selection.digest(reference)
        return None if digest is None else f'{{"hash":"{digest}","kind":"value"}}'


def graph_hash(graph: ProducerGraph) -> str:
    """The hash of `graph_bytes`, which are never there all at once."""
    hasher = blake3()
    try:
        for piece in _pieces(graph):
            hasher.update(piece.encode())
    except NOT_PLAIN:
        return hash_bytes(graph_bytes(graph))
    return hasher.hexdigest()


def _pieces(graph: ProducerGraph) -> Iterator[str]:
    yield '{"edges":['
    yield from _joined(map(_edges, _some(graph.edges)))
    yield '],"nodes":['
    nodes = NodeTexts()
    yield from _joined(map(nodes.texts, _some(graph.nodes)))
    yield "]" if graph.timeline is None else f'],"timeline":{canonical_json(graph.timeline).decode()}'
    yield "}"


def _some(items: Iterable[T]) -> Iterator[list[T]]:
    rest = iter(items)
    while some := list(islice(rest, _ITEMS_AT_ONCE)):
        yield some


def _joined(texts: Iterable[str]) -> Iterator[str]:
    for place, text in enumerate(texts):
        yield f",{text}" if place else text


def _edges(edges: list[GraphEdge]) -> str:
    check_plain("".join([text for edge in edges for text in (edge.from_, edge.to)]))
    return ",".join([f'{{"from":"{edge.from_}","to":"{edge.to}"}}' for edge in edges])


def check_plain(text: str) -> None:
    """Raise one of `NOT_PLAIN` for text that JSON has to escape."""
    if _ODD.search(text) is not None:
        raise _NotPlainError


class NodeTexts:
    """Jobs as `recorded` graphs have them, without prices and fingerprints of files; else with both."""

    def __init__(self, *, recorded: bool = True) -> None:
        self._recorded = recorded
        self.shared = Texts()
        self._ends: dict[tuple[object, ...], tuple[str, str]] = {}
        self._outputs: dict[tuple[str, str], str] = {}

    def texts(self, nodes: list[GraphNode]) -> str:
        """Some jobs, commas between them."""
        ids: list[str] = []
        written = [self._node(node, ids) for node in nodes]
        check_plain("".join(ids))
        return ",".join(written)

    def _node(self, node: GraphNode, ids: list[str]) -> str:
        ids.append(node.job_id)
        inputs = [self.entry(entry, ids) for entry in node.inputs]
        made: list[str] = []
        for output in node.produces:
            ids.append(output.id)
            rest = self._outputs.get((output.mime_type, output.name)) or self.output(output)
            made.append(f'{{"id":"{output.id}",{rest}')
        before, after = self.ends(node)
        return (
            f'{{{self.awaits(node.awaits)}"config":{self.shared.value(node.config)},"context":{self.shared.value(node.context)},'
            f'{self.cost(node)}"inputs":[{",".join(inputs)}],"jobId":"{node.job_id}"{before}{",".join(made)}{after}'
        )

    def awaits(self, awaited: Awaited | None) -> str:
        """What a placeholder waits for, with the comma after it."""
        return "" if awaited is None else f'"awaits":{canonical_document(awaited.to_json()).decode()},'

    def cost(self, node: GraphNode) -> str:
        """What a call of a job is expected to cost, with the comma after it."""
        if self._recorded or node.cost is None:
            return ""
        return f'"cost":{canonical_document(node.cost.to_json()).decode()},'

    def ends(self, node: GraphNode) -> tuple[str, str]:
        """What stands between a job's id and its outputs, and after these."""
        named = (node.producer, node.provider, node.provider_model, node.version, node.rate_key)
        key = (*named, node.timeout_seconds, node.max_output_bytes, id(node.uses), id(node.sources), node.source)
        known = self._ends.get(key)
        if known is None:
            size = (
                ""
                if node.max_output_bytes is None
                else f',"maxOutputBytes":{canonical_json(node.max_output_bytes).decode()}'
            )
            rest: dict[str, Json] = {
                "provider": node.provider,
                "providerModel": node.provider_model,
                "rateKey": node.rate_key,
                "version": node.version,
            }
            optional: dict[str, Any] = {
                "timeoutSeconds": node.timeout_seconds,
                "uses": node.uses,
                "sources": node.sources,
                "source": None if self._recorded else node.source,
            }
            rest |= {name: value for name, value in optional.items() if value is not None}
            after = canonical_document(rest)[1:].decode()
            known = f'{size},"producer":{self.shared.text(node.producer)},"produces":[', f"],{after}"
            if len(self._ends) < _REMEMBERED_MAX:
                self._ends[key] = known
        return known

    def output(self, output: GraphOutput) -> str:
        """What comes after the id of an output."""
        kind, name = self.shared.text(output.mime_type), self.shared.text(output.name)
        self._outputs[output.mime_type, output.name] = known = f'"mimeType":{kind},"name":{name}}}'
        return known

    def entry(self, entry: GraphInput, ids: list[str]) -> str:
        """One input; the ids in it, of which nobody knows whether they are plain, are added to `ids`."""
        name = self.shared.text(entry.name)
        if entry.refs is None and entry.ref is not None:
            return f'{{"name":{name},"ref":{self._reference(entry.ref, ids)}}}'
        one = "" if entry.ref is None else f',"ref":{self._reference(entry.ref, ids)}'
        if entry.refs is None:
            return f'{{"name":{name}{one}}}'
        references = ["null" if ref is None else self._reference(ref, ids) for ref in entry.refs]
        return f'{{"name":{name}{one},"refs":[{",".join(references)}]}}'

    def _reference(self, reference: Reference, ids: list[str]) -> str:
        ids.append(reference.id)
        if not reference.path:
            return f'{{"id":"{reference.id}","kind":"{reference.kind}","path":[]}}'
        path = orjson.dumps(reference.path, option=orjson.OPT_STRICT_INTEGER).decode()
        return f'{{"id":"{reference.id}","kind":"{reference.kind}","path":{path}}}'
