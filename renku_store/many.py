"""Signatures of many jobs of one producer at once, and the bytes of a whole graph, from columns. Pure.

What `signing` writes job by job is written here input by input; the bytes are the same. What is not plain is left
to it.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from typing import Any, Final

import orjson
from blake3 import blake3

from renku_store import bounds
from renku_store.hashing import canonical_document, canonical_json, canonical_objects, graph_bytes
from renku_store.records._base import Json
from renku_store.records.columns import Column, Contexts, Each, FromInput, FromJobs, JobColumns, Same
from renku_store.records.graph import GraphInput, ProducerGraph
from renku_store.records.sheet import BETWEEN, Sheet
from renku_store.selection import Selection
from renku_store.signing import NOT_PLAIN, NodeTexts, Signer, check_plain, graph_hash

_AT_ONCE: Final = 512
"""Jobs of which the texts are in memory at one time."""


class ManySigner:
    """Signs all jobs of a producer by what they read of one state."""

    def __init__(self, selection: Selection, signer: Signer) -> None:
        self._selection = selection
        self._signer = signer

    def signatures(self, family: JobColumns) -> list[str] | None:
        """By place in the family; None where jobs must be looked at one by one.

        That is where some of them stand for others, or read into documents, which are read only for who needs them.
        """
        if family.awaits or any(_reads_into_documents(column) for column in family.columns):
            return None
        found: list[str] = []
        try:
            for start in range(0, len(family.job_ids), _AT_ONCE):
                found += [
                    blake3(document.encode()).digest().hex()
                    for document in self._documents(family, start, start + _AT_ONCE)
                ]
        except NOT_PLAIN:
            return None
        return found

    def _documents(self, family: JobColumns, start: int, end: int) -> Iterator[str]:
        signer, texts = self._signer, self._signer.texts
        by_name = sorted((texts.key(column.name), column) for column in family.columns)
        columns = [self._items(key, column, start, end) for key, column in by_name]
        read = _joined([column for column in columns if column is not None], len(family.job_ids[start:end]))
        rest = f'"format":{bounds.FORMAT_VERSION},"inputs":{{'
        after = f"}},{signer.end(family.common, [output for output, _ in family.outputs])}"
        if family.contexts is None and not family.configs:
            before = (
                f'{{"config":{texts.value(family.common.config)},"context":{texts.value(family.common.context)},{rest}'
            )
            return (f"{before}{items}{after}" for items in read)
        return (
            f'{{"config":{texts.value(config)},"context":{context},{rest}{items}{after}'
            for config, context, items in zip(*_own(family, start, end), read, strict=True)
        )

    def _items(self, key: str, column: Column, start: int, end: int) -> Sequence[str | None] | None:
        """What one input comes to, with its name, by place; None where it is the same nothing for all."""
        if isinstance(column, Same):
            text = self._signer.entry(column.entry)
            return None if text is None else [text] * len(range(start, end))
        if isinstance(column, Each):
            return [None if entry is None else self._signer.entry(entry) for entry in column.entries[start:end]]
        if isinstance(column, FromInput):
            digests = self._selection.digests(column.id, column.before, column.positions[start:end], column.after)
            return [None if digest is None else f'{key}{{"hash":"{digest}","kind":"value"}}' for digest in digests]
        artefacts = self._selection.artefacts(column.artefacts[start:end])
        kinds = {kind: self._signer.texts.text(kind) for kind in {a.mime_type for a in artefacts if a is not None}}
        return [
            None
            if artefact is None
            else f'{key}{{"hash":"{artefact.hash}","kind":"artefact","mimeType":{kinds[artefact.mime_type]}}}'
            for artefact in artefacts
        ]


def _reads_into_documents(column: Column) -> bool:
    entries: Iterable[GraphInput | None] = ()
    if isinstance(column, Same):
        entries = (column.entry,)
    elif isinstance(column, Each):
        entries = column.entries
    return any(
        ref is not None and ref.kind == "artefact" and bool(ref.path)
        for entry in entries
        if entry is not None
        for ref in ((entry.ref,) if entry.refs is None else entry.refs)
    )


def _own(family: JobColumns, start: int, end: int) -> tuple[list[dict[str, Json]], list[str]]:
    """The config of each job, and its context as canonical JSON."""
    places = range(start, min(end, len(family.job_ids)))
    configs = [family.configs.get(place, family.common.config) for place in places]
    if family.contexts is None:
        return configs, [canonical_json(family.common.context).decode()] * len(places)
    return configs, _contexts(family.contexts, places)


def _contexts(contexts: Contexts, places: range) -> list[str]:
    """The context of each of some jobs as canonical JSON."""
    if len(contexts.common) == len(contexts.own) == 1:
        ((name, values),) = contexts.own.items()
        own: list[Any] = [*values[places.start : places.stop]]
        if set(map(type, own)) == {int} and -bounds.INTEGER_MAX <= min(own) <= max(own) <= bounds.INTEGER_MAX:
            head = f"{{{canonical_json(name).decode()}:"
            return [f"{head}{value}}}" for value in own]
    return canonical_objects([contexts.of(place) for place in places])


def _joined(columns: Sequence[Sequence[str | None]], count: int) -> list[str]:
    """What the jobs read, with commas between, by place; what is None is left out."""
    if not columns:
        return [""] * count
    rows: list[tuple[Any, ...]] = list(zip(*[column[:count] for column in columns], strict=True))
    try:
        return [",".join(row) for row in rows]
    except TypeError:
        return [",".join([text for text in row if text is not None]) for row in rows]


def hash_of_graph(graph: ProducerGraph) -> str:
    """As `graph_hash`, without a record of each job where the graph is in columns."""
    if not isinstance(graph.columns, Sheet):
        return graph_hash(graph)
    hasher = blake3()
    try:
        for piece in _pieces(graph.columns, graph.timeline):
            hasher.update(piece.encode())
    except NOT_PLAIN:
        return graph_hash(graph)
    return hasher.hexdigest()


def bytes_of_graph(graph: ProducerGraph, *, recorded: bool) -> bytes:
    """The canonical JSON of a graph: `recorded`, as `graph_bytes`, else with prices and fingerprints, as plans have it.

    Without a record of each job where the graph is in columns.
    """
    if isinstance(graph.columns, Sheet):
        with suppress(*NOT_PLAIN):
            return b"".join([piece.encode() for piece in _pieces(graph.columns, graph.timeline, recorded=recorded)])
    return graph_bytes(graph) if recorded else canonical_document(graph.to_json())


def _pieces(sheet: Sheet, timeline: str | None, *, recorded: bool = True) -> Iterator[str]:
    yield '{"edges":['
    yield from _edges(sheet)
    yield '],"nodes":['
    nodes, comma = NodeTexts(recorded=recorded), ""
    for family in sheet.families:
        check_plain("".join([output.name for output, _ in family.outputs]))
        for start in range(0, len(family.job_ids), _AT_ONCE):
            yield comma + ",".join(_written(nodes, family, start, start + _AT_ONCE))
            comma = ","
    yield "]" if timeline is None else f'],"timeline":{canonical_json(timeline).decode()}'
    yield "}"


def _edges(sheet: Sheet) -> Iterator[str]:
    pairs, comma = sheet.pairs(), ""
    for start in range(0, len(pairs), _AT_ONCE):
        yield comma + ",".join([f'{{"from":"{pair}"}}' for pair in pairs[start : start + _AT_ONCE]]).replace(
            BETWEEN, '","to":"'
        )
        comma = ","


def _written(nodes: NodeTexts, family: JobColumns, start: int, end: int) -> Iterator[str]:
    """Some jobs of a producer as the recorded graph has them."""
    job_ids = family.job_ids[start:end]
    check_plain("".join(job_ids))
    read = _joined([_references(nodes, column, start, end) for column in family.columns], len(job_ids))
    before, after = nodes.ends(family.common)
    endings = [nodes.output(output) for output, _ in family.outputs]
    made = _joined(
        [
            [f'{{"id":"{artefact}",{ending}' for artefact in ids[start:end]]
            for (_, ids), ending in zip(family.outputs, endings, strict=True)
        ],
        len(job_ids),
    )
    texts, cost = nodes.shared, nodes.cost(family.common)
    if family.contexts is None and not family.configs and not family.awaits:
        head = (
            f'{{"config":{texts.value(family.common.config)},"context":{texts.value(family.common.context)},'
            f'{cost}"inputs":['
        )
        return (
            f'{head}{items}],"jobId":"{job_id}"{before}{outputs}{after}'
            for items, job_id, outputs in zip(read, job_ids, made, strict=True)
        )
    awaits = [family.awaits.get(place) for place in range(start, start + len(job_ids))]
    heads = (
        f'{{{nodes.awaits(awaited)}"config":{texts.value(config)},"context":{context},{cost}"inputs":['
        for awaited, config, context in zip(awaits, *_own(family, start, end), strict=True)
    )
    return (
        f'{head}{items}],"jobId":"{job_id}"{before}{outputs}{after}'
        for head, items, job_id, outputs in zip(heads, read, job_ids, made, strict=True)
    )


def _references(nodes: NodeTexts, column: Column, start: int, end: int) -> Sequence[str | None]:
    """One input as the recorded graph has it, by place."""
    name, odd = nodes.shared.text(column.name), list[str]()
    if isinstance(column, FromInput):
        check_plain(column.id)
        head = f'{{"name":{name},"ref":{{"id":"{column.id}","kind":"input","path":'
        before = "".join([f"{orjson.dumps(step).decode()}," for step in column.before])
        after = "".join([f",{orjson.dumps(key).decode()}" for key in column.after])
        return [f"{head}[{before}{position}{after}]}}}}" for position in column.positions[start:end]]
    if isinstance(column, FromJobs):
        head = f'{{"name":{name},"ref":{{"id":"'
        return [f'{head}{artefact}","kind":"artefact","path":[]}}}}' for artefact in column.artefacts[start:end]]
    if isinstance(column, Same):
        found: list[str | None] = [nodes.entry(column.entry, odd)] * len(range(start, end))
    else:
        found = [None if entry is None else nodes.entry(entry, odd) for entry in column.entries[start:end]]
    check_plain("".join(odd))
    return found
