"""The jobs of an older movie as a graph document: who made which artefact, from what. Pure.

The older layout says which producer reads which inputs and producers, not which job reads which artefact. Numbers in
ids tell them apart: `image_2_0` and `script_2` belong to segment 2, `music` to the whole. A job reads, of what its
producer reads, the artefacts whose numbers agree with its own, as far as both have them.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from renku_store.blueprint import parse_graph
from renku_store.blueprint.names import argv_fault, is_declared_type, is_function, is_name
from renku_store.errors import GraphError
from renku_store.migration.files import UNKNOWN_TYPE
from renku_store.migration.old_json import is_canonical
from renku_store.migration.reading import safe_id, text_of
from renku_store.records._base import Json

STAND_IN: Final = "imported"
"""The producer of artefacts of which nothing says who made them."""
NOBODY: Final = "unknown"
"""The provider or model where none is named that a graph may have."""
_LABEL: Final = re.compile(r"(?<![A-Za-z0-9])\d+(?![A-Za-z0-9])|(?<=[A-Za-z])(?<!mp)(?<!gpt)(?<!\bv)\d+(?![A-Za-z0-9])")
_INDEX: Final = re.compile(r"\[\d+\]")
_JOINTS: Final = re.compile(r"[._\-:\[\]= /\\%]+")
_ONE: Final = frozenset({"1", "one", "single", "once", "movie", "per-movie", "1:1", "1:n", "one-to-many", "one-to-one"})


@dataclass(frozen=True, slots=True)
class OldProducer:
    """A producer as it was declared: `reads` and `makes` are names of inputs, artefacts or producers.

    `single`: one job makes all that it makes.
    """

    id: str
    reads: tuple[str, ...] = ()
    makes: tuple[str, ...] = ()
    provider: str = NOBODY
    model: str = ""
    single: bool = False
    config: Mapping[str, Json] = field(default_factory=dict[str, Json])


@dataclass(frozen=True, slots=True)
class Made:
    """An artefact of a revision, as far as the graph asks: its producer (None: nothing says), and its MIME type.

    `name` is its old id, where that is another one: what numbers and kinds are read from.
    """

    producer: str | None
    mime_type: str
    name: str = ""


def producers_of(document: Mapping[str, Any]) -> dict[str, OldProducer]:
    """The producers that `dag/producers.json` declares, by id; what an edge leads into is read."""
    into: dict[str, list[str]] = {}
    edges = document.get("edges")
    for edge in edges if isinstance(edges, list) else ():
        if isinstance(edge, dict) and (start := text_of(edge, "from")) and (end := text_of(edge, "to")):
            into.setdefault(safe_id(end), []).append(safe_id(start))
    found: dict[str, OldProducer] = {}
    listed = document.get("producers")
    for entry in listed if isinstance(listed, list) else ():
        if isinstance(entry, dict) and (name := text_of(entry, "id", "name")):
            found[safe_id(name)] = _producer(safe_id(name), entry, into)
    return found


def _producer(name: str, entry: Mapping[str, Any], into: Mapping[str, Sequence[str]]) -> OldProducer:
    provider, _, model = (text_of(entry, "provider") or NOBODY).partition("/")
    config = entry.get("config")
    return OldProducer(
        name,
        tuple(dict.fromkeys([*_texts(entry.get("inputs")), *into.get(name, ())])),
        tuple(_texts(entry.get("outputs"))),
        provider or NOBODY,
        text_of(entry, "providerModel", "provider_model", "model") or model,
        _is_single(entry.get("cardinality")),
        config if isinstance(config, dict) and is_canonical(config) else {},
    )


def _texts(value: object) -> list[str]:
    found = value if isinstance(value, list) else [value]
    named = [text_of(item, "id", "name") if isinstance(item, dict) else item for item in found]
    return [safe_id(item) for item in named if isinstance(item, str) and item]


def _is_single(cardinality: object) -> bool:
    said = cardinality.get("in") if isinstance(cardinality, dict) else cardinality
    return str(said).strip().lower() in _ONE


def labels_in(artefact: str) -> tuple[int, ...]:
    """The numbers in an id that tell artefacts of one kind apart: `(2, 0)` for `image_2_0` and for `seg2.img0`."""
    return tuple(int(digits) for digits in _LABEL.findall(artefact))


def kind_of(artefact: str) -> str:
    """An id without those numbers: `image` for `image_2_0`."""
    bare = _LABEL.sub("", _INDEX.sub("", artefact))
    joined = _JOINTS.sub(lambda joint: "." if joint[0][0] in "/\\%" else joint[0][0], bare)
    return joined.strip("._-:[]= @") or artefact


def _kind(artefact: str, made: Made) -> str:
    """The kind of an artefact by its old id, where that is one that can stand in a graph."""
    kind = kind_of(made.name or artefact)
    return kind if safe_id(kind) == kind else kind_of(artefact)


class LastGraph:
    """The graph that was last asked for: most revisions of a movie have that of the one before."""

    def __init__(self) -> None:
        self._of: tuple[object, ...] | None = None
        self._document: Json = None

    def document(
        self,
        producers: Mapping[str, OldProducer],
        made: Mapping[str, Made],
        inputs: Iterable[str],
        upstream: Mapping[str, Sequence[str]],
        timeline: str | None,
    ) -> Json:
        """`graph_document`, of the same producers each time; what it gives is not to be changed."""
        names = frozenset(inputs)
        said = (dict(made), names, dict(upstream), timeline)
        if self._of != said:
            self._of, self._document = said, graph_document(producers, made, names, upstream, timeline)
        return self._document


def graph_document(
    producers: Mapping[str, OldProducer],
    made: Mapping[str, Made],
    inputs: Collection[str],
    upstream: Mapping[str, Iterable[str]],
    timeline: str | None,
) -> Json:
    """The graph of all that is `made`, for `parse_graph`; None where nothing is.

    `upstream` are the producers that artefacts were made from, where that was noted. Where what is read goes round in a
    circle, no job reads artefacts.
    """
    if not made:
        return None
    document = _Document(producers, made, inputs, upstream)
    whole: dict[str, Json] = {"nodes": document.nodes(artefacts=True), "timeline": timeline}
    if not _is_sound(whole, inputs):
        whole = {**whole, "nodes": document.nodes(artefacts=False)}
    return {key: value for key, value in whole.items() if value is not None}


def _is_sound(document: Json, inputs: Collection[str]) -> bool:
    """Whether a document is a graph without a circle; `inputs` are the ids of the movie's inputs."""
    try:
        parse_graph(document, inputs)
    except GraphError:
        return False
    return True


class _Document:
    def __init__(
        self,
        producers: Mapping[str, OldProducer],
        made: Mapping[str, Made],
        inputs: Collection[str],
        upstream: Mapping[str, Iterable[str]],
    ) -> None:
        self._producers = producers
        self._made = made
        self._inputs = inputs
        self._upstream = upstream
        self._of_producer: dict[str, list[str]] = {}
        self._of_kind: dict[str, list[str]] = {}
        self._labels = {artefact: labels_in(entry.name or artefact) for artefact, entry in made.items()}
        self._kinds = {artefact: _kind(artefact, entry) for artefact, entry in made.items()}
        for artefact in sorted(made, key=lambda key: (self._labels[key], key)):
            self._of_producer.setdefault(made[artefact].producer or STAND_IN, []).append(artefact)
            self._of_kind.setdefault(self._kinds[artefact], []).append(artefact)

    def nodes(self, *, artefacts: bool) -> list[Json]:
        """A node for each job, producer by producer."""
        nodes: list[Json] = []
        for producer, outputs in self._of_producer.items():
            declared = self._producers.get(producer, OldProducer(producer))
            read = self._read(declared, outputs)
            jobs: dict[tuple[int, ...], list[str]] = {}
            for artefact in outputs:
                jobs.setdefault(() if declared.single else self._labels[artefact], []).append(artefact)
            for labels, ids in jobs.items():
                provider, model = callee(declared.provider, declared.model, declared.config)
                entries = self._entries(read, labels if len(jobs) > 1 else (), producer, artefacts=artefacts)
                nodes.append(
                    {
                        "jobId": producer + "".join(f"[{label}]" for label in labels),
                        "producer": producer,
                        "provider": provider,
                        "providerModel": model,
                        "config": dict(declared.config),
                        "inputs": entries,
                        "produces": outputs_of(ids, self._made),
                    }
                )
        return nodes

    def _read(self, declared: OldProducer, outputs: Iterable[str]) -> list[str]:
        """The names of all that a producer reads, each once."""
        noted = [name for artefact in outputs for name in self._upstream.get(artefact, ())]
        return [name for name in dict.fromkeys([*declared.reads, *noted]) if name != declared.id]

    def _entries(self, read: Iterable[str], labels: tuple[int, ...], producer: str, *, artefacts: bool) -> list[Json]:
        given: dict[str, list[Json]] = {}
        wanted: dict[str, None] = {}
        for name in read:
            if name in self._inputs:
                given.setdefault(name, []).append({"kind": "input", "id": name})
            elif artefacts:
                wanted.update(dict.fromkeys(self._artefacts(name)))
        for artefact in wanted:
            if (self._made[artefact].producer or STAND_IN) != producer and _agree(self._labels[artefact], labels):
                given.setdefault(f"{self._kinds[artefact]}*", []).append({"kind": "artefact", "id": artefact})
        entries: list[Json] = []
        for name, references in given.items():
            one = len(references) == 1
            entries.append({"name": name, "ref": references[0]} if one else {"name": name, "refs": references})
        return entries

    def _artefacts(self, name: str) -> list[str]:
        """What a name stands for: an artefact, all that a producer made, or all of a kind."""
        if name in self._made:
            return [name]
        return self._of_producer.get(name) or self._of_kind.get(name) or []


def outputs_of(ids: Sequence[str], made: Mapping[str, Made]) -> list[Json]:
    """What a job produces, by names that do not depend on which one of its producer's jobs it is."""
    kinds = [_kind(artefact, made[artefact]) for artefact in ids]
    uses = Counter(kinds)
    return [
        {"id": artefact, "name": kind if uses[kind] == 1 else artefact, "mimeType": _type(made[artefact].mime_type)}
        for artefact, kind in zip(ids, kinds, strict=True)
    ]


def callee(provider: str, model: str, config: Mapping[str, Json]) -> tuple[str, str]:
    """Provider and model of a job as a graph may have them."""
    model = model if is_name(model) else NOBODY
    callable_so = {"command": argv_fault(config.get("argv")) is None, "python": is_function(model)}
    return (provider if is_name(provider) and callable_so.get(provider, True) else NOBODY), model


def _type(mime_type: str) -> str:
    return mime_type if is_declared_type(mime_type) else UNKNOWN_TYPE


def _agree(one: tuple[int, ...], two: tuple[int, ...]) -> bool:
    return all(first == second for first, second in zip(one, two, strict=False))
