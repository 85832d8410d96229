"""What a movie's jobs are: the graph of its blueprint, level by level as the lists in artefacts become known.

A list is known where its maker is clean, or a person's version stands in its place; else it has placeholders, until a
run has made it (`growth`). A list of which nothing can be made is a placeholder's problem, and no error.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from functools import cached_property

import msgspec
import orjson
from msgspec import Struct
from msgspec.structs import replace

from renku_store import blueprint as blueprints
from renku_store.blueprint import (
    Blueprint,
    Expansion,
    Unusable,
    effective_inputs,
    expansion,
    parse_blueprint,
)
from renku_store.errors import BadInputError, BlobCorruptError, DamageError, InvalidValueError, NotFoundError
from renku_store.hashing import parse_json
from renku_store.media_types import is_json
from renku_store.movie import Movie
from renku_store.records._base import Json, RecordError, read_as
from renku_store.records.graph import GraphNode, ProducerGraph
from renku_store.records.inputs import BLUEPRINT, CONFIG
from renku_store.records.manifest import ArtefactValue, Manifest
from renku_store.records.plan import ExecutionPlan
from renku_store.records.sheet import Sheet, nodes_by_id
from renku_store.selection import MISSING, Missing
from renku_store.sources import with_sources
from renku_store.versions import Held

Documents = dict[str, Json | Unusable]
"""The content of artefacts that decide which jobs there are, by id."""


class Source(Struct, frozen=True):
    """What a graph is made from: a blueprint, or a graph as it was given. `values`: those `given`, and defaults."""

    made_from: Blueprint | ProducerGraph
    values: dict[str, Json]
    given: Mapping[str, Json]

    def expand(self, documents: Mapping[str, Json | Unusable]) -> Expansion:
        """The graph, as far as it is known with these documents."""
        if isinstance(self.made_from, ProducerGraph):
            return Expansion(with_sources(self.made_from), [])
        found = expansion(self.made_from, self.values, self.values.get(CONFIG), documents)
        return replace(found, graph=with_sources(found.graph))

    def with_inputs(self, movie: str, given: Mapping[str, Json]) -> Source:
        """What other inputs would make the graph from; raises what `source_of` raises."""
        if given.get(BLUEPRINT) is not self.given[BLUEPRINT]:
            return source_of(movie, given)
        if isinstance(self.made_from, Blueprint):
            return replace(self, values=effective_inputs(self.made_from, given), given=given)
        # What the jobs of a graph read is resolved by which inputs there are, not by their values.
        if given.keys() != self.given.keys():
            return source_of(movie, given)
        return replace(self, values=dict(given), given=given)


def source_of(movie: str, given: Mapping[str, Json], inherited: Collection[str] = ()) -> Source:
    """What the inputs of a movie make its graph from.

    Of those that are `inherited`, from a revision or an edit before, those that a blueprint declares no more are left
    out.
    """
    source = given.get(BLUEPRINT)
    match source:
        case None:
            raise NotFoundError(
                f"The movie {movie} has no blueprint.",
                hint="`renku-store set @blueprint @FILE`, or `run --blueprint FILE`.",
            )
        case str():
            blueprint = parse_blueprint(source, BLUEPRINT)
            gone = {key for key in inherited if key not in blueprint.inputs and not key.startswith("@")}
            given = {key: value for key, value in given.items() if key not in gone} if gone else given
            return Source(blueprint, effective_inputs(blueprint, given), given)
        case dict():
            return Source(blueprints.parse_graph(source, given.keys()), dict(given), given)
        case _:
            raise InvalidValueError("The @blueprint is neither YAML text nor a graph.", hint="Set it from a file.")


def base_graph(
    movie: Movie, base: Manifest | None, before: Mapping[str, Json]
) -> tuple[ProducerGraph | None, dict[str, Json] | None]:
    """What the base revision was made from, for reasons; None where it cannot be told any more."""
    if base is None or base.graph is None:
        return None, None
    try:
        return recorded_graph(movie, base.graph), source_of(movie.id, before).values
    except (DamageError, BadInputError):
        return None, None


def recorded_graph(movie: Movie, digest: str) -> ProducerGraph:
    """The graph that a revision was made from; `DamageError` where its blob is missing, damaged or no graph."""
    try:
        return ProducerGraph.read(movie.blobs.read(digest))
    except RecordError as error:
        raise BlobCorruptError(
            f"The blob {digest} is not the graph of a movie.", hint="`renku-store fsck` shows what else is damaged."
        ) from error


class FormerState:
    """What the base revision was made from, read when something turns out to be other than it was.

    A graph that has the hash of the recorded one is that one: it is not read again. Of another the jobs become records
    that are asked for.
    """

    def __init__(self, movie: Movie, base: Manifest | None, before: Mapping[str, Json], present: Source) -> None:
        """`before` has the values of the base's inputs; what the `present` is made from need not be parsed again."""
        self._movie = movie
        self._base = base
        self._before = before
        self._present = present

    def __call__(self, graph: ProducerGraph, digest: str) -> tuple[Mapping[str, GraphNode], Mapping[str, Json]] | None:
        """The jobs by id, and the values of the inputs with defaults; None where it cannot be told any more.

        `graph` is one that is at hand, `digest` its hash.
        """
        if self._base is None or self._base.graph is None or self._inputs is None:
            return None
        nodes = nodes_by_id(graph) if digest == self._base.graph else self._nodes
        return None if nodes is None else (nodes, self._inputs)

    @cached_property
    def _inputs(self) -> Mapping[str, Json] | None:
        try:
            return self._present.with_inputs(self._movie.id, self._before).values
        except (DamageError, BadInputError):
            return None

    @cached_property
    def _nodes(self) -> Mapping[str, GraphNode] | None:
        assert self._base is not None
        assert self._base.graph is not None
        try:
            return RecordedNodes(self._movie.blobs.read(self._base.graph))
        except DamageError:
            return None


class _NamedNode(Struct, gc=False):
    id: str = msgspec.field(name="jobId")


class _Named(Struct):
    nodes: list[_NamedNode]


class _Texts(Struct):
    nodes: list[msgspec.Raw]


class RecordedNodes(Mapping[str, GraphNode]):
    """The jobs of a recorded graph by id, from its bytes; those that are no jobs are not there.

    Raises `BlobCorruptError` for bytes that are no graph.
    """

    def __init__(self, data: bytes) -> None:
        try:
            named, texts = read_as(_Named, data).nodes, read_as(_Texts, data).nodes
        except RecordError as error:
            raise BlobCorruptError(
                "The graph of the base revision is not the graph of a movie.",
                hint="`renku-store fsck` shows what else is damaged.",
            ) from error
        self._written = {node.id: text for node, text in zip(named, texts, strict=True)}

    def __getitem__(self, job_id: str) -> GraphNode:
        try:
            return GraphNode.from_json(orjson.loads(memoryview(self._written[job_id])))
        except RecordError as error:
            raise KeyError(job_id) from error

    def __iter__(self) -> Iterator[str]:
        return iter(self._written)

    def __len__(self) -> int:
        return len(self._written)


class JsonReader:
    """The parsed JSON of artefacts, read when somebody asks for what is in them."""

    def __init__(self, movie: Movie) -> None:
        self._movie = movie
        self._known: dict[str, Json | Missing] = {}

    def read(self, artefact: ArtefactValue) -> Json | Missing:
        """The JSON of an artefact; `MISSING` where it is none, or cannot be read."""
        if not is_json(artefact.mime_type):
            return MISSING
        if artefact.hash not in self._known:
            self._known[artefact.hash] = self._parsed(artefact)
        return self._known[artefact.hash]

    def _parsed(self, artefact: ArtefactValue) -> Json | Missing:
        try:
            return parse_json(self._movie.read(artefact))
        except (DamageError, orjson.JSONDecodeError):
            return MISSING


def read_documents(movie: Movie, held: Iterable[tuple[str, ArtefactValue]], needed: set[str]) -> dict[str, Json]:
    """The parsed JSON artefacts that some job reads into, by hash; one that cannot be read is left out."""
    documents: dict[str, Json] = {}
    for key, artefact in held:
        if key in needed and is_json(artefact.mime_type) and artefact.hash not in documents:
            try:
                documents[artefact.hash] = parse_json(movie.read(artefact))
            except (DamageError, orjson.JSONDecodeError):
                continue
    return documents


def settle(
    movie: Movie, source: Source, base: Manifest | None, planned: Callable[[ProducerGraph], ExecutionPlan]
) -> ExecutionPlan:
    """The plan of a graph that is expanded as far as lists are known and final."""
    documents: Documents = {}
    found = source.expand(documents)
    plan = planned(found.graph)
    while more := {
        artefact: content(movie, artefact, value)
        for artefact, value in _final(plan, base, awaited(found.graph) - documents.keys())
    }:
        found = expand_by(source, documents, more)
        plan = planned(found.graph)
    return with_warnings(plan, found.warnings)


def graph_as_held(movie: Movie, source: Source, base: Manifest | None) -> ProducerGraph:
    """The graph with the lists that a revision holds, whether they are up to date or not."""
    documents: Documents = {}
    held = base.artefacts if base else {}
    graph = source.expand(documents).graph
    while more := (awaited(graph) & held.keys()) - documents.keys():
        lists = {artefact: content(movie, artefact, held[artefact]) for artefact in more}
        graph = expand_by(source, documents, lists).graph
    return graph


def awaited(graph: ProducerGraph) -> set[str]:
    """The artefacts that decide which jobs there are, and have not done so."""
    columns = graph.columns
    nodes = columns.placeholders if isinstance(columns, Sheet) else graph.nodes
    placeholders = (node.awaits for node in nodes if node.awaits is not None)
    return {artefact for awaits in placeholders if awaits.problem is None for artefact in awaits.artefacts}


def expand_by(source: Source, known: Documents, fresh: Documents) -> Expansion:
    """The graph with some more lists, which are added to those `known`: as unusable where they ask for what cannot be.

    What is wrong then is told by the placeholders that wait for them.
    """
    known.update(fresh)
    try:
        return source.expand(known)
    except BadInputError as error:
        known.update(dict.fromkeys(fresh, unusable(error)))
        return source.expand(known)


def unusable(error: BadInputError) -> Unusable:
    """What a list is that an error is due to."""
    return Unusable(f"{error.message} {error.hint}".strip())


def with_warnings(plan: ExecutionPlan, warnings: Iterable[str]) -> ExecutionPlan:
    """The plan with more of what a person should know, each sentence once."""
    return plan.replace(warnings=[*dict.fromkeys([*plan.warnings, *warnings])])


def _final(plan: ExecutionPlan, base: Manifest | None, artefacts: Iterable[str]) -> Iterable[tuple[str, ArtefactValue]]:
    """Those artefacts that no run of this plan changes, with their values."""
    wanted = set(artefacts)
    held = Held(base.artefacts if base else {}, plan.edits)
    for node in plan.graph.nodes if wanted else ():
        planned = plan.jobs[node.job_id]
        for output in node.produces:
            if output.id in wanted and (planned.state == "clean" or held.edited(output.id)):
                value = held.present(output.id, planned.signature)
                if value is not None:
                    yield output.id, value


def content(movie: Movie, artefact: str, value: ArtefactValue) -> Json | Unusable:
    """What is in an artefact that decides which jobs there are."""
    if not is_json(value.mime_type):
        return Unusable(f"{artefact} is {value.mime_type}, and only JSON can be read into.")
    try:
        return parse_json(movie.read(value))
    except DamageError as error:
        return Unusable(error.message)
    except orjson.JSONDecodeError as error:
        return Unusable(f"{artefact} is not JSON: {error}.")
