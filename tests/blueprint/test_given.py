"""Graphs given as JSON: short forms, references, edges, and what is refused."""

from __future__ import annotations

from typing import Any

import pytest

from renku_store.blueprint import expand, parse_blueprint, parse_graph
from renku_store.errors import GraphError
from renku_store.records.graph import GraphEdge, GraphInput, GraphNode, GraphOutput, ProducerGraph, Reference
from tests.blueprint.samples import FILM, film_inputs


def _node(job_id: str, reads: list[Any] | None = None, **fields: Any) -> dict[str, Any]:
    made = {"produces": [f"{job_id}.out"], "provider": "demo", "providerModel": "echo", "producer": "echo"}
    return {"jobId": job_id, "inputs": reads or []} | made | fields


def _graph(*nodes: object, **fields: Any) -> dict[str, Any]:
    return {"nodes": list(nodes), **fields}


def test_short_forms_are_filled_in() -> None:
    """Texts become references and outputs; a missing rate key is provider and model; edges are derived."""
    graph = parse_graph(
        _graph(
            _node("a[0]", ["topic", "segments[2].text"], produces=["a[0].audio", "Clip[0]"]),
            _node("b", ["a[0].audio", "Clip[0]", "a[0].audio.words[1]"], rateKey="speech", context={"k": None}),
            timeline="b.out",
        ),
        ["topic", "segments"],
    )
    assert graph == ProducerGraph(
        nodes=[
            GraphNode(
                job_id="a[0]",
                producer="echo",
                provider="demo",
                provider_model="echo",
                rate_key="demo/echo",
                inputs=[
                    GraphInput(name="topic", ref=Reference(kind="input", id="topic")),
                    GraphInput(name="segments[2].text", ref=Reference(kind="input", id="segments", path=[2, "text"])),
                ],
                produces=[
                    GraphOutput(id="a[0].audio", name="audio", mime_type="application/octet-stream"),
                    GraphOutput(id="Clip[0]", name="Clip", mime_type="application/octet-stream"),
                ],
            ),
            GraphNode(
                job_id="b",
                producer="echo",
                provider="demo",
                provider_model="echo",
                rate_key="speech",
                context={"k": None},
                inputs=[
                    GraphInput(name="a[0].audio", ref=Reference(kind="artefact", id="a[0].audio")),
                    GraphInput(name="Clip[0]", ref=Reference(kind="artefact", id="Clip[0]")),
                    GraphInput(
                        name="a[0].audio.words[1]",
                        ref=Reference(kind="artefact", id="a[0].audio", path=["words", 1]),
                    ),
                ],
                produces=[GraphOutput(id="b.out", name="out", mime_type="application/octet-stream")],
            ),
        ],
        edges=[GraphEdge(from_="a[0]", to="b")],
        timeline="b.out",
    )


def test_an_expanded_blueprint_is_read_back_as_it_was() -> None:
    """`--graph` takes what expansion gives."""
    graph = expand(parse_blueprint(FILM), film_inputs())
    assert parse_graph(graph.to_json(), ["segments", "voice", "music"]) == graph


def test_names_of_outputs_do_not_depend_on_the_job() -> None:
    """They are signed: two jobs of a loop that ask the same must have the same signature."""
    graph = parse_graph(
        _graph(
            _node("Narration[0]", produces=["Artifact:Narration.Audio[0]", "Artifact:Narration.Words[0]"]),
            _node("Split", produces=["Part.x[0]", "Part.x[1]"]),
        ),
        [],
    )
    assert [[output.name for output in node.produces] for node in graph.nodes] == [
        ["Audio", "Words"],
        ["Part.x[0]", "Part.x[1]"],
    ]


def test_the_longest_name_wins() -> None:
    """An artefact before an input, and a longer one before a shorter one."""
    graph = parse_graph(
        _graph(
            _node("m", produces=["a", "a.b"]),
            _node("r", ["a.b.c", "a.x", "i.b", "i.b.c"]),
        ),
        ["i", "i.b", "a.b"],
    )
    references = [entry.ref.values() for entry in graph.nodes[1].inputs if entry.ref]
    assert [(item["kind"], item["id"], item["path"]) for item in references] == [
        ("artefact", "a.b", ["c"]),
        ("artefact", "a", ["x"]),
        ("input", "i.b", []),
        ("input", "i.b", ["c"]),
    ]


def test_mappings_may_hold_short_references() -> None:
    """A name of one's own, and fan-ins with places without a job."""
    reads = [{"name": "text", "ref": "topic"}, {"name": "all", "refs": ["a.out", None, "a.out[1]"]}]
    graph = parse_graph(_graph(_node("a"), _node("b", reads)), ["topic"])
    text, all_of_them = graph.nodes[1].inputs
    assert text.ref == Reference(kind="input", id="topic")
    assert all_of_them.refs == [
        Reference(kind="artefact", id="a.out"),
        None,
        Reference(kind="artefact", id="a.out", path=[1]),
    ]


def test_edges_that_are_given_are_kept() -> None:
    """A job may wait for one that it does not read."""
    edges = [{"from": "b", "to": "c"}, {"from": "a", "to": "b"}]
    graph = parse_graph(_graph(_node("a"), _node("b", ["a.out"]), _node("c"), edges=edges), [])
    assert [(edge.from_, edge.to) for edge in graph.edges] == [("a", "b"), ("b", "c")]


def test_unknown_ids_are_inputs_where_inputs_are_not_known() -> None:
    """A graph can be looked at before its inputs are set."""
    graph = parse_graph(_graph(_node("a", ["topic.x[1]", {"name": "y", "ref": {"kind": "input", "id": "z"}}])), None)
    assert [entry.ref for entry in graph.nodes[0].inputs] == [
        Reference(kind="input", id="topic", path=["x", 1]),
        Reference(kind="input", id="z"),
    ]


_A = _node("a")


@pytest.mark.parametrize(
    ("document", "message", "hint"),
    [
        ([], "A graph must be a mapping that has a list of `nodes`.", "nodes"),
        ({"nodes": {}}, "A graph must be a mapping that has a list of `nodes`.", ""),
        (_graph("a"), "nodes[0] must be a mapping, not the text 'a'.", ""),
        (_graph(_A, {"producer": "x"}), "nodes[1] has no jobId.", ""),
        (_graph(_node("a/b")), "The job 'a/b': The job id 'a/b' is not allowed.", "slashes"),
        (_graph(_node("a", produces=[])), "The job a produces nothing.", "produces"),
        (_graph(_node("a", produces=["../x"])), "The job 'a': The artefact id '../x' is not allowed.", ""),
        (_graph(_node("a", produces=[3])), "The job a, produces: ", ""),
        (_graph(_node("a", produces=[{"id": "x", "name": "o"}])), "The job a, produces: mimeType: Field required.", ""),
        (
            _graph({key: value for key, value in _A.items() if key != "provider"}),
            "The job a: provider: Field required.",
            "",
        ),
        (_graph(_node("a", config=[])), "The job a: config: ", ""),
        (_graph(_node("a", inputs="x")), "The job a has inputs that are the text 'x'.", "list"),
        (_graph(_node("a", [3])), "The job a has an input that is the number 3.", ""),
        (_graph(_node("a", [{"ref": "topic"}])), "The job a, inputs: name: Field required.", ""),
        (_graph(_node("a", [{"name": "x"}])), "The input x of the job a needs either ref or refs.", ""),
        (
            _graph(_node("a", [{"name": "x", "ref": "topic", "refs": []}])),
            "The input x of the job a needs either ref or refs.",
            "",
        ),
        (_graph(_node("a", ["topic", "topic"])), "The job a reads topic twice.", ""),
        (_graph(_A, _node("b", ["a.ot"])), "The job b reads a.ot, which is neither", "Did you mean a.out?"),
        (_graph(_A, _node("b", ["topi"])), "The job b reads topi, which is neither", "Did you mean topic?"),
        (_graph(_A, _node("b", ["a.out[x]"])), "The job b reads a.out[x], which is neither", "a.out"),
        (
            _graph(_A, _node("b", [{"name": "x", "ref": {"kind": "artefact", "id": "a.ot"}}])),
            "The job b reads a.ot, which is neither",
            "Did you mean a.out?",
        ),
        (
            _graph(_A, _node("b", [{"name": "x", "refs": [{"kind": "input", "id": "tpic"}]}])),
            "The job b reads tpic, which is neither",
            "Did you mean topic?",
        ),
        (_graph(_A, _node("a", produces=["x"])), "Two jobs have the id a.", "Rename"),
        (_graph(_A, _node("b", produces=["a.out"])), "The artefact a.out has two makers: a and b.", ""),
        (_graph(_node("a", produces=["x", "x"])), "The job a makes x twice.", ""),
        (_graph(_A, edges=[{"from": "a", "to": "bb"}]), "The edge a -> bb names bb, which is not a job.", "Known: a."),
        (_graph(_A, edges=[{"from": "a"}]), "to: Field required.", ""),
        (_graph(_A, edges={}), "The edges of a graph are a list, not a mapping.", ""),
        (_graph(_A, timeline="a.ot"), "The timeline is 'a.ot', which no job makes.", "Did you mean a.out?"),
    ],
)
def test_a_broken_graph_is_refused_and_the_node_named(document: Any, message: str, hint: str) -> None:
    """One sentence each, with the nearest right name where there is one."""
    with pytest.raises(GraphError) as caught:
        parse_graph(document, ["topic"])
    assert message in caught.value.message
    assert hint in caught.value.hint


def test_duplicates_say_that_they_are() -> None:
    """Callers tell them from unresolved references by the reason."""
    with pytest.raises(GraphError) as caught:
        parse_graph(_graph(_A, _node("b", produces=["a.out"])), [])
    assert caught.value.reason == "duplicate"
