"""The index of a graph: order, layers, neighbours and paths, against brute force."""

from __future__ import annotations

import random
import tracemalloc
from collections.abc import Sequence
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from renku_store.errors import GraphError, NotFoundError
from renku_store.graph import GraphIndex
from renku_store.records.graph import GraphEdge, GraphInput, GraphNode, GraphOutput, ProducerGraph, Reference


def _node(job_id: str, reads: Sequence[str | None] = (), produces: Sequence[str] | None = None) -> GraphNode:
    """A job that reads whole artefacts, the first alone and the rest as a fan-in."""
    references = [None if id_ is None else Reference(kind="artefact", id=id_) for id_ in reads]
    return GraphNode(
        job_id=job_id,
        producer="p",
        provider="demo",
        provider_model="echo",
        inputs=[
            GraphInput(name="text", ref=Reference(kind="input", id="text")),
            *([GraphInput(name="first", ref=references[0])] if references and references[0] else []),
            GraphInput(name="rest", refs=references[1:]),
        ],
        produces=[
            GraphOutput(id=id_, name=str(number), mime_type="text/plain")
            for number, id_ in enumerate(produces if produces is not None else [f"{job_id}.out"])
        ],
    )


def _edge(before: str, after: str) -> GraphEdge:
    return GraphEdge(from_=before, to=after)


@st.composite
def _dags(draw: st.DrawFn) -> tuple[ProducerGraph, dict[str, set[str]]]:
    """A graph without cycles whose nodes stand in any order, and what each job waits for."""
    size = draw(st.integers(0, 9))
    waits = {
        f"j{number}": {f"j{before}" for before in draw(st.sets(st.integers(0, number - 1)))} if number else set[str]()
        for number in range(size)
    }
    as_edges = {pair for pair in ((b, a) for a in waits for b in waits[a]) if draw(st.booleans())}
    nodes = [
        _node(job, [f"{before}.out" for before in sorted(befores) if (before, job) not in as_edges])
        for job, befores in waits.items()
    ]
    edges = [_edge(before, after) for before, after in sorted(as_edges)]
    return ProducerGraph(nodes=draw(st.permutations(nodes)), edges=edges), waits


def _paths(job: str, waits: dict[str, set[str]]) -> list[list[str]]:
    """All chains of dependencies that end with a job."""
    return [[job], *([*path, job] for before in waits[job] for path in _paths(before, waits))]


@given(_dags())
def test_order_layers_and_neighbours_are_those_of_brute_force(case: tuple[ProducerGraph, dict[str, set[str]]]) -> None:
    """Every job after what it waits for; its layer is the length of the longest chain below it."""
    graph, waits = case
    index = GraphIndex(graph)
    order = list(index.order)
    assert sorted(order) == sorted(waits)
    place = {job: number for number, job in enumerate(order)}
    in_graph = [node.job_id for node in graph.nodes]
    for job, befores in waits.items():
        assert all(place[before] < place[job] for before in befores)
        assert index.layer(job) == max(map(len, _paths(job, waits))) - 1
        assert index.dependencies(job) == [other for other in in_graph if other in befores]
        assert index.dependents(job) == [other for other in in_graph if job in waits[other]]
    assert [job for layer in index.layers for job in layer] == order
    assert all(index.layer(job) == number for number, layer in enumerate(index.layers) for job in layer)


@given(_dags(), st.randoms())
def test_descendants_and_longest_paths_are_those_of_brute_force(
    case: tuple[ProducerGraph, dict[str, set[str]]], dice: random.Random
) -> None:
    """Descendants in topological order, without the asked ones unless they are; weights add up along paths."""
    graph, waits = case
    index = GraphIndex(graph)
    above = {job: {node for path in _paths(job, waits) for node in path[:-1]} for job in waits}
    asked = [job for job in waits if dice.random() < 0.4]
    assert index.descendants(asked) == [job for job in index.order if above[job] & set(asked)]
    weights = {job: float(dice.randrange(9)) for job in waits if dice.random() < 0.8}
    longest = index.longest_path(weights)
    for job in waits:
        tails = [path[path.index(job) :] for end in waits for path in _paths(end, waits) if job in path]
        assert longest[job] == max(sum(weights.get(step, 0.0) for step in tail) for tail in tails)


def test_order_does_not_depend_on_the_order_of_edges() -> None:
    """The same jobs in the same order give the same plan."""
    nodes = [_node("d", ["a.out"]), _node("c"), _node("b"), _node("a")]
    edges = [_edge("b", "d"), _edge("c", "d"), _edge("a", "b")]
    assert GraphIndex(ProducerGraph(nodes=nodes, edges=edges)).order == ["c", "a", "b", "d"]
    assert GraphIndex(ProducerGraph(nodes=nodes, edges=edges[::-1])).order == ["c", "a", "b", "d"]


def test_makers_and_nodes_are_found() -> None:
    """An artefact that no job makes has no maker; an unknown job is an error with the nearest id."""
    index = GraphIndex(ProducerGraph(nodes=[_node("narration[0]", produces=["x", "y"]), _node("b", ["y"])]))
    assert (index.maker("x"), index.maker("y"), index.maker("z")) == ("narration[0]", "narration[0]", None)
    assert index.node("b").job_id == "b"
    assert "b" in index
    assert "c" not in index
    assert len(index) == 2
    for look_up in (
        index.node,
        index.layer,
        index.dependencies,
        index.dependents,
        lambda job: index.descendants([job]),
    ):
        with pytest.raises(NotFoundError, match=r"There is no job narration\[1\]") as caught:
            look_up("narration[1]")
        assert "narration[0]" in caught.value.hint


def test_an_empty_graph_has_an_index() -> None:
    """A movie may have no jobs."""
    index = GraphIndex(ProducerGraph(nodes=[]))
    assert (list(index.order), list(index.layers), index.longest_path({}), index.descendants([])) == ([], [], {}, [])


@pytest.mark.parametrize(
    ("nodes", "edges", "reason", "message"),
    [
        ([_node("a"), _node("a", produces=["x"])], [], "duplicate", "Two jobs have the id a."),
        (
            [_node("a"), _node("b", produces=["a.out"])],
            [],
            "duplicate",
            "The artefact a.out has two makers: a and b.",
        ),
        ([_node("a", produces=["x", "x"])], [], "duplicate", "The artefact x has two makers: a and a."),
        ([_node("a"), _node("b", ["a.ot"])], [], "unresolved", "The job b reads a.ot as first, which no job makes."),
        ([_node("b", [None, "c.out"])], [], "unresolved", "The job b reads c.out as rest, which no job makes."),
        ([_node("a")], [_edge("a", "q")], "unresolved", "The edge a -> q names q, which is not a job."),
        ([_node("a")], [_edge("q", "a")], "unresolved", "The edge q -> a names q, which is not a job."),
        ([_node("a", ["a.out"])], [], "cycle", "in a cycle: a -> a."),
        (
            [
                _node("z"),
                _node("c", ["b.out"]),
                _node("a", ["c.out"]),
                _node("b", ["a.out", "z.out"]),
                _node("y", ["b.out"]),
            ],
            [],
            "cycle",
            "in a cycle: c -> a -> b -> c.",
        ),
        ([_node("a", ["b.out"]), _node("b")], [_edge("a", "b")], "cycle", "in a cycle: a -> b -> a."),
    ],
)
def test_a_graph_that_cannot_be_is_refused(
    nodes: list[GraphNode], edges: list[GraphEdge], reason: str, message: str
) -> None:
    """The reason tells duplicates, cycles and references to nothing apart."""
    with pytest.raises(GraphError) as caught:
        GraphIndex(ProducerGraph(nodes=nodes, edges=edges))
    assert caught.value.reason == reason
    assert message in caught.value.message


def _named(job: str = "a", artefact: str = "a.out", reads: str = "x", makes: str = "out") -> GraphNode:
    read = GraphInput(name=reads, ref=Reference(kind="input", id="text"))
    made = GraphOutput(id=artefact, name=makes, mime_type="text/plain")
    return GraphNode(job_id=job, producer="p", provider="d", provider_model="e", inputs=[read], produces=[made])


@pytest.mark.parametrize("name", ["", "../../escaped", "/tmp/x", "a/b", "a\\b", "..", "a\0", "a\nb", " a", "a" * 513])
@pytest.mark.parametrize(
    ("field", "thing"), [("job", "job"), ("artefact", "artefact"), ("reads", "input"), ("makes", "output")]
)
def test_a_name_that_could_lead_out_of_a_folder_is_refused(name: str, field: str, thing: str) -> None:
    """Programs make graphs of records themselves; whoever reads one looks at the names before anything runs."""
    with pytest.raises(GraphError, match=f"^The job .*: An? {thing} id may|^The job .*: The {thing} id ") as caught:
        GraphIndex(ProducerGraph(nodes=[_node("first"), _named(**{field: name})]))
    assert caught.value.hint
    assert "\n" not in caught.value.message


@given(_dags(), st.data())
def test_any_cycle_is_found_and_named(case: tuple[ProducerGraph, dict[str, set[str]]], data: st.DataObject) -> None:
    """An edge from a job back to one of its ancestors closes a cycle; the named jobs do wait for each other."""
    graph, waits = case
    pairs = [(job, node) for job in waits for path in _paths(job, waits) for node in path]
    if not pairs:
        return
    last, first = data.draw(st.sampled_from(pairs))
    closed = graph.replace(edges=[*graph.edges, _edge(last, first)])
    with pytest.raises(GraphError) as caught:
        GraphIndex(closed)
    named = caught.value.message.removesuffix(".").partition("cycle: ")[2].split(" -> ")
    assert named[0] == named[-1]
    for before, after in pairwise(named):
        assert before in waits[after] or (before, after) == (last, first)


def test_a_long_cycle_is_named_in_short() -> None:
    """A message stays a sentence."""
    nodes = [_node(f"j{n}", [f"j{(n - 1) % 500}.out"]) for n in range(500)]
    with pytest.raises(GraphError, match=r"j0 -> j1 -> .* -> \.\.\. -> j0\.") as caught:
        GraphIndex(ProducerGraph(nodes=nodes))
    assert len(caught.value.message) < 200


def test_a_chain_of_ten_thousand_jobs_needs_no_recursion() -> None:
    """Depth costs no stack."""
    index = GraphIndex(ProducerGraph(nodes=[_node(f"j{n}", [f"j{n - 1}.out"] if n else []) for n in range(10_000)]))
    assert index.layer("j9999") == 9_999
    assert len(index.descendants(["j0"])) == 9_999


def test_the_index_is_small() -> None:
    """Below one KiB a job, the graph itself not counted."""
    size = 5_000
    nodes = [_node(f"job[{n}]", [f"job[{n // 2}].out", f"job[{n // 3}].out"] if n else []) for n in range(size)]
    graph = ProducerGraph(nodes=nodes)
    tracemalloc.start()
    try:
        index = GraphIndex(graph)
        kept, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert len(index) == size
    assert kept < 512 * size
    assert peak < 1_024 * size
