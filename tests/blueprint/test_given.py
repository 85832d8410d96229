"""Graphs given as JSON: short forms, references, edges, and what is refused."""

from __future__ import annotations

import json
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
        (_graph(_node("a", produces=[{"id": "x", "name": "o"}])), "The job a, produces has no mimeType.", "mimeType"),
        (
            _graph({key: value for key, value in _A.items() if key != "provider"}),
            "The job a has no provider.",
            "Add",
        ),
        (_graph(_node("a", config=[])), "The job a: config must be a mapping, not a list.", "mapping"),
        (_graph(_node("a", inputs="x")), "The job a has inputs that are the text 'x'.", "list"),
        (_graph(_node("a", [3])), "The job a has an input that is the number 3.", ""),
        (_graph(_node("a", [{"ref": "topic"}])), "The job a has an input that has no name.", "name"),
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
        (_graph(_A, edges=[{"from": "a"}]), "has no to.", "Add"),
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


def _reading(reference: object) -> dict[str, Any]:
    return _graph(_A, _node("b", [{"name": "x", "ref": reference}]))


_KIND = "The job b, input x: kind of a reference must be input or artefact, not "
_PATH = (
    "The job b, input x: path of a reference must be a list of keys (text) and positions (whole numbers from 0); it has"
)


@pytest.mark.parametrize(
    ("document", "message"),
    [
        (_reading({"kind": "inputs", "id": "topic"}), f"{_KIND}the text 'inputs'."),
        (_reading({"kind": ["input"], "id": "topic"}), f"{_KIND}a list."),
        (_reading({"id": "topic"}), f"{_KIND}nothing (null)."),
        (_reading(3), "The job b, input x: a reference must be text or a mapping, not the number 3."),
        (
            _reading({"kind": "input", "id": ""}),
            "The job b, input x: id of a reference must be text that is not empty, not the text ''.",
        ),
        (_reading({"kind": "input", "id": "topic", "path": [-1]}), f"{_PATH} the number -1."),
        (_reading({"kind": "input", "id": "topic", "path": [1.0]}), f"{_PATH} the number 1.0."),
        (_reading({"kind": "artefact", "id": "a.out", "path": ["k", True]}), f"{_PATH} true."),
        (
            _reading({"kind": "input", "id": "topic", "path": "x"}),
            "The job b, input x: path of a reference must be a list, not the text 'x'.",
        ),
        (
            _graph(_A, _node("b", [{"name": "x", "refs": [None, {"kind": "z", "id": "topic"}]}])),
            f"{_KIND}the text 'z'.",
        ),
        (
            _graph(_node("b", [{"name": "x", "refs": "topic"}])),
            "The job b, input x: refs must be a list, not the text 'topic'.",
        ),
        (_graph(_node("b", [{"name": 3, "ref": "topic"}])), "The job b has an input whose name is the number 3."),
    ],
)
def test_a_wrong_reference_is_told_in_words_of_its_own(document: Any, message: str) -> None:
    """Whoever wrote it sees which job and input it is, what is wrong there, and how one looks."""
    with pytest.raises(GraphError) as caught:
        parse_graph(document, ["topic"])
    assert caught.value.message == message
    assert caught.value.hint


_SECONDS = "timeoutSeconds must be more than 0 and at most 2592000 seconds, not"
_BYTES = "maxOutputBytes must be a whole number of bytes above 0, not"
_TYPE = "The job a, produces: mimeType must be a MIME type in small letters, not the text"


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"timeoutSeconds": -5}, f"The job a: {_SECONDS} the number -5."),
        ({"timeoutSeconds": 0}, f"The job a: {_SECONDS} the number 0."),
        ({"timeoutSeconds": 1e9}, f"The job a: {_SECONDS} the number 1000000000.0."),
        ({"timeoutSeconds": "nan"}, f"The job a: {_SECONDS} the text 'nan'."),
        ({"timeoutSeconds": True}, f"The job a: {_SECONDS} true."),
        ({"maxOutputBytes": -1}, f"The job a: {_BYTES} the number -1."),
        ({"maxOutputBytes": 0}, f"The job a: {_BYTES} the number 0."),
        ({"maxOutputBytes": 2**53}, f"The job a: {_BYTES} the number 9007199254740992."),
        ({"maxOutputBytes": 1.5}, f"The job a: {_BYTES} the number 1.5."),
        ({"maxOutputBytes": True}, f"The job a: {_BYTES} true."),
        ({"uses": {"gpu": 0}}, "The job a: uses.gpu must be a whole number above 0, not the number 0."),
        ({"uses": {"gpu": 10**6}}, "The job a: uses.gpu must be a whole number above 0, not the number 1000000."),
        ({"sources": ["a.py", ""]}, "The job a: sources[1] must be the name of a file, not the text ''."),
        ({"source": "x"}, "The job a: source must be 64 lower-case hex digits, not the text 'x'."),
        ({"version": " "}, "The job a: version must be text that is not empty, not the text ' '."),
        ({"rateKey": 3}, "The job a: rateKey must be text, not the number 3."),
        ({"provider": ""}, "The job a: provider must be the name of a provider, not the text ''."),
        ({"provider": "x\n"}, "The job a: provider must be the name of a provider, not the text 'x\\n'."),
        ({"providerModel": ""}, "The job a: providerModel must be the name of a model, not the text ''."),
        ({"providerModel": " "}, "The job a: providerModel must be the name of a model, not the text ' '."),
        ({"produces": [{"id": "x", "name": "x", "mimeType": ""}]}, f"{_TYPE} ''."),
        ({"produces": [{"id": "x", "name": "x", "mimeType": "no\nmime"}]}, f"{_TYPE} 'no\\nmime'."),
        (
            {"provider": "command", "config": {"argv": []}},
            "The job a: config.argv must be a list of texts that starts with the program.",
        ),
        (
            {"provider": "python", "providerModel": "print"},
            "The job a: providerModel is 'print', which is not a function in a module.",
        ),
    ],
)
def test_what_is_said_of_a_call_is_bounded_as_in_a_blueprint(fields: dict[str, Any], message: str) -> None:
    """Nothing is found out in a run, after other calls were paid for."""
    with pytest.raises(GraphError) as caught:
        parse_graph(_graph(_node("a") | fields), [])
    assert caught.value.message == message
    assert caught.value.hint


def test_a_command_needs_no_model_and_text_may_be_a_number() -> None:
    """What programs in other languages write."""
    fields = {"provider": "command", "providerModel": "", "config": {"argv": ["x"]}, "timeoutSeconds": "1.5"}
    node = parse_graph(_graph(_node("a", maxOutputBytes="10", unknown=1) | fields), []).nodes[0]
    assert (node.timeout_seconds, node.max_output_bytes) == (1.5, 10)


@pytest.mark.parametrize(
    ("nodes", "edges", "cycle"),
    [
        ([_node("a", ["a.out"])], [], "a -> a"),
        ([_node("a", ["c.out"]), _node("b", ["a.out"]), _node("c", ["b.out"])], [], "a -> b -> c -> a"),
        ([_node("a", ["b.out"]), _node("b")], [{"from": "a", "to": "b"}], "a -> b -> a"),
    ],
)
def test_a_cycle_is_refused_before_anything_runs(nodes: list[Any], edges: list[Any], cycle: str) -> None:
    """As one of a blueprint, and named."""
    with pytest.raises(GraphError) as caught:
        parse_graph(_graph(*nodes, edges=edges), None)
    assert (caught.value.message, caught.value.reason) == (
        f"The jobs wait for each other in a cycle: {cycle}.",
        "cycle",
    )
    assert caught.value.hint


def test_duplicates_say_that_they_are() -> None:
    """Callers tell them from unresolved references by the reason."""
    with pytest.raises(GraphError) as caught:
        parse_graph(_graph(_A, _node("b", produces=["a.out"])), [])
    assert caught.value.reason == "duplicate"


_SPELT = _node(
    "a",
    ["topic", {"name": "more", "refs": [{"kind": "input", "id": "topic", "path": []}, None]}],
    produces=[{"id": "a.out", "name": "out", "mimeType": "text/plain"}],
    rate_key="x",
)


def _misspelt(place: str, key: str) -> dict[str, Any]:
    """A sound graph with one key more, in one of its mappings."""
    document = json.loads(json.dumps(_graph(_SPELT, _node("b"), edges=[{"from": "a", "to": "b"}], timeline="a.out")))
    node = document["nodes"][0]
    places = {
        "graph": document,
        "node": node,
        "output": node["produces"][0],
        "input": node["inputs"][1],
        "reference": node["inputs"][1]["refs"][0],
        "edge": document["edges"][0],
    }
    places[place][key] = "x"
    return document


@pytest.mark.parametrize(
    ("place", "key", "message", "hint"),
    [
        ("graph", "timelin", "The graph has no key 'timelin'.", "Did you mean timeline?"),
        ("node", "verison", "The job a has no key 'verison'.", "Did you mean version?"),
        ("node", "ratekey", "The job a has no key 'ratekey'.", "Did you mean rateKey?"),
        ("output", "mime", "The job a: an output has no key 'mime'.", "Did you mean mimeType?"),
        ("input", "reff", "The job a, input more has no key 'reff'.", "Did you mean ref"),
        ("reference", "kid", "The job a, input more: a reference has no key 'kid'.", "Did you mean kind"),
        ("edge", "form", "has no key 'form'.", "Did you mean from?"),
    ],
)
def test_a_key_that_means_nothing_is_refused_where_a_person_gives_it(
    place: str, key: str, message: str, hint: str
) -> None:
    """The nearest right name is told; a graph that is kept already goes on without what it says."""
    document = _misspelt(place, key)
    with pytest.raises(GraphError) as caught:
        parse_graph(document, ["topic"], strict=True)
    assert message in caught.value.message
    assert hint in caught.value.hint
    assert parse_graph(document, ["topic"]).nodes[0].job_id == "a"


def test_an_expanded_blueprint_has_no_key_that_means_nothing() -> None:
    """What this program writes, it takes, placeholders included."""
    whole = expand(parse_blueprint(FILM), film_inputs())
    parse_graph(whole.to_json(), ["segments", "voice", "music"], strict=True)
    parse_graph(_misspelt("node", "awaits"), ["topic"], strict=True)
