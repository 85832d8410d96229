"""Loops over lists in artefacts: placeholders while a list is not known, the same jobs as from an input once it is."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from renku_store import bounds
from renku_store.blueprint import Unusable, expand, expansion, parse_blueprint
from renku_store.errors import BlueprintError, InvalidValueError
from renku_store.graph import GraphIndex
from renku_store.hashing import canonical_json
from renku_store.records.graph import GraphNode, ProducerGraph

FILM = """\
inputs: {voice: {type: string, default: en}, scenes: {type: list, default: [1, 2]}}
loops:
  segment: {over: script.out.segments}
  image: {over: "script.out.segments[segment].images"}
  shot: {over: "board[segment].out"}
  scene: {over: scenes}
producers:
  script:
    run: a/script
    outputs: {out: {mimeType: application/json}}
  say:
    for: [segment]
    run: a/say
    inputs: {text: "script.out.segments[segment].text", voice: voice}
    outputs: {audio: {mimeType: audio/wav}}
  board:
    for: [segment]
    when: "not script.out.segments[segment].silent"
    run: a/board
    inputs: {text: "script.out.segments[segment].text"}
    outputs: {out: {mimeType: application/json}}
  clip:
    for: [segment, shot]
    run: a/clip
    inputs: {shot: "board[segment].out[shot]", audio: "say[segment].audio", next: "say[1].audio"}
    outputs: {video: {mimeType: video/mp4}}
  picture:
    for: [scene, segment, image]
    run: a/picture
    context: {where: image}
    inputs: {prompt: "script.out.segments[segment].images[image]", scene: "scenes[scene]"}
    outputs: {image: {mimeType: image/png}}
  film:
    run: a/film
    inputs: {audio: "say[*].audio", clips: "clip[*].video", first: "clip[0][*].video", images: "picture[*].image"}
    outputs: {video: {mimeType: video/mp4}}
timeline: film.video
"""


def _graph(documents: dict[str, Any], text: str = FILM, **inputs: Any) -> dict[str, GraphNode]:
    graph = expand(parse_blueprint(text, "film.yaml"), inputs, None, documents)
    GraphIndex(graph)
    return {node.job_id: node for node in graph.nodes}


def _script(*texts: str, **more: Any) -> dict[str, Any]:
    return {"segments": [{"text": text, "images": [text] * place} for place, text in enumerate(texts)], **more}


def _read(node: GraphNode, name: str) -> list[str | None]:
    entry = next(entry for entry in node.inputs if entry.name == name)
    return [ref and ref.text() for ref in (entry.refs if entry.refs is not None else [entry.ref])]


def test_a_list_that_is_not_known_has_placeholders() -> None:
    """They name what they wait for, come after its maker, and read what all of their jobs may read."""
    nodes = _graph({})
    assert list(nodes) == ["script", "say[*]", "board[*]", "clip[*][*]", "picture[0][*][*]", "picture[1][*][*]", "film"]
    assert {job: node.awaits and node.awaits.artefacts for job, node in nodes.items()} == {
        "script": None,
        "say[*]": ["script.out"],
        "board[*]": ["script.out"],
        "clip[*][*]": ["script.out", "board[*].out"],
        "picture[0][*][*]": ["script.out"],
        "picture[1][*][*]": ["script.out"],
        "film": None,
    }
    assert _read(nodes["say[*]"], "text") == ["script.out.segments"]
    assert _read(nodes["clip[*][*]"], "next") == ["say[*].audio"]
    assert _read(nodes["film"], "clips") == _read(nodes["film"], "first") == ["clip[*][*].video"]


def test_a_known_list_has_jobs_and_those_inside_of_it_wait_for_their_own() -> None:
    """Each outer element has a placeholder of its own, and edges lead from what decides that a job is there."""
    known = {"script.out": _script("a", "b")}
    graph = expand(parse_blueprint(FILM), {}, None, known)
    nodes = {node.job_id: node for node in graph.nodes}
    assert [job for job, node in nodes.items() if node.awaits] == ["clip[0][*]", "clip[1][*]"]
    assert [job for job in nodes if job.startswith("picture")] == ["picture[0][1][0]", "picture[1][1][0]"]
    assert nodes["picture[1][1][0]"].context == {"where": 0}
    assert _read(nodes["say[1]"], "text") == ["script.out.segments[1].text"]
    assert _read(nodes["film"], "first") == ["clip[0][*].video"]
    assert ("script", "say[0]") in {(edge.from_, edge.to) for edge in graph.edges}
    whole = _graph(known | {"board[0].out": [1], "board[1].out": []})
    assert [job for job in whole if job.startswith("clip")] == ["clip[0][0]"]
    assert not any(node.awaits for node in whole.values())


def test_a_condition_on_the_element_is_decided_with_it() -> None:
    """The place of a job that is left out is null in fan-ins, and what would loop over its list is not there."""
    script = _script("a", "b")
    script["segments"][1]["silent"] = True
    nodes = _graph({"script.out": script})
    assert "board[1]" not in nodes
    assert not any(job.startswith("clip[1]") for job in nodes)


def test_a_condition_may_read_any_json_artefact() -> None:
    """Until it is known the job itself is a placeholder; what does not depend on it is decided at once."""
    text = """\
inputs: {final: {default: false}}
producers:
  script: {run: a/b, outputs: {out: {mimeType: application/json}}}
  music: {run: a/b, when: script.out.music, outputs: {audio: {mimeType: audio/wav}}}
  master: {run: a/b, when: final, inputs: {music: music.audio}, outputs: {audio: {mimeType: audio/wav}}}
  film: {run: a/b, inputs: {music: music.audio}, outputs: {video: {mimeType: video/mp4}}}
"""
    nodes = _graph({}, text)
    assert list(nodes) == ["script", "music", "film"]
    assert nodes["music"].awaits is not None
    assert list(_graph({"script.out": {}}, text)) == ["script", "film"]
    with_music = expand(parse_blueprint(text), {}, None, {"script.out": {"music": 1}})
    assert [node.job_id for node in with_music.nodes if node.awaits is None] == ["script", "music", "film"]
    assert ("script", "music") in {(edge.from_, edge.to) for edge in with_music.edges}


def test_keys_name_jobs_and_lead_to_the_place_in_their_own_list() -> None:
    """In the list that the loop runs over an element is found by its place; in other artefacts by the key."""
    text = """\
loops: {item: {over: script.out, key: id}}
producers:
  script: {run: a/b, outputs: {out: {mimeType: application/json}}}
  prices: {run: a/b, outputs: {out: {mimeType: application/json}}}
  tag:
    for: item
    run: a/b
    inputs: {own: "script.out[item].text", price: "prices.out[item]"}
    outputs: {o: {mimeType: text/plain}}
"""
    nodes = _graph({"script.out": [{"id": "x"}, {"id": "y"}]}, text)
    assert list(nodes) == ["script", "prices", "tag[x]", "tag[y]"]
    assert _read(nodes["tag[y]"], "own") == ["script.out[1].text"]
    assert _read(nodes["tag[y]"], "price") == ["prices.out.y"]


_PROBLEMS: dict[str, tuple[Any, str]] = {
    "no list": ({"segments": 3}, "runs over script.out.segments, which must be a list, not the number 3."),
    "nothing there": ({"sements": []}, "script.out.segments, which is not in script.out. Did you mean sements?"),
    "no object": ([], "script.out.segments, which is not in script.out."),
    "a key twice": ({"segments": [{"id": 1}, {"id": "1"}]}, "[0].id and script.out.segments[1].id are both 1."),
    "no key": ({"segments": [{"id": "a"}, {"di": "b"}]}, "needs a key, but script.out.segments[1].id is not there."),
    "no text as key": ({"segments": [{"id": True}]}, "script.out.segments[0].id is true."),
    "brackets": ({"segments": [{"id": "a[0]"}]}, "Leave out the brackets."),
    "a key that means all": ({"segments": [{"id": "*"}]}, "It stands for all jobs of a loop."),
    "no id": ({"segments": [{"id": "a/b"}]}, "cannot use the key script.out.segments[0].id."),
    "not JSON": (Unusable("script.out is not JSON."), "script.out is not JSON."),
}


@pytest.mark.parametrize(("document", "problem"), _PROBLEMS.values(), ids=_PROBLEMS)
def test_a_list_that_cannot_be_looped_over_is_told_at_the_placeholder(document: Any, problem: str) -> None:
    """It is nobody's mistake in the blueprint: the jobs that wait for it say what is wrong."""
    text = FILM.replace("over: script.out.segments}", "over: script.out.segments, key: id}")
    nodes = _graph({"script.out": document}, text)
    awaits = nodes["say[*]"].awaits
    assert awaits is not None
    assert problem in (awaits.problem or "")


def test_a_list_that_some_elements_have_is_empty_in_the_others() -> None:
    """As with lists in inputs; one that no element has is taken for a misspelling."""
    nodes = _graph({"script.out": {"segments": [{"text": "a"}, {"text": "b", "images": ["x"]}]}})
    assert [job for job in nodes if job.startswith("picture[0]")] == ["picture[0][1][0]"]
    nodes = _graph({"script.out": {"segments": [{"text": "a"}]}})
    awaits = nodes["picture[0][0][*]"].awaits
    assert awaits is not None
    assert "which is not in script.out" in (awaits.problem or "")


def test_lists_in_artefacts_cannot_ask_for_any_number_of_jobs(monkeypatch: pytest.MonkeyPatch) -> None:
    """Beyond the limit one placeholder stands for all, and says so."""
    monkeypatch.setattr(bounds, "JOBS_MADE_MAX", 9)
    nodes = _graph({"script.out": _script("a", "b", "c", "d", "e", "f", "g")})
    assert [job for job in nodes if job.startswith("say")] == [f"say[{place}]" for place in range(7)]
    awaits = nodes["board[*]"].awaits
    assert awaits is not None
    assert awaits.problem == "With board, lists in artefacts ask for more than 9 jobs."
    assert awaits.artefacts == ["script.out"]


def _with_overrides(*targets: str) -> str:
    lines = "".join(f'  "{target}": {{config: {{speed: 2}}}}\n' for target in targets)
    return f"{FILM}overrides:\n{lines}"


def test_an_override_of_a_job_that_may_come_is_nobodys_mistake() -> None:
    """Once the list is known it counts, or is told with the nearest name; what can never be is refused."""
    blueprint = parse_blueprint(_with_overrides("say[1]", "clip[0][1]"))
    assert expansion(blueprint, {}).warnings == []
    known = expansion(blueprint, {}, {"say[0]": {"config": {"pitch": 1}}}, {"script.out": _script("a", "b")})
    configs = {node.job_id: node.config for node in known.graph.nodes}
    assert (configs["say[0]"], configs["say[1]"], known.warnings) == ({"pitch": 1}, {"speed": 2}, [])
    short = expansion(blueprint, {}, {"say[4]": {"config": {}}}, {"script.out": _script("a"), "board[0].out": [1]})
    assert short.warnings == [
        "The blueprint overrides say[1], which is not there: Did you mean say[0]?",
        "The blueprint overrides clip[0][1], which is not there: Did you mean clip[0][0]?",
        "@config names say[4], which is not there: Did you mean say[0]?",
    ]
    for impossible in ("say[1][2]", "say[*]", "script[0]"):
        with pytest.raises(BlueprintError, match="There is no job"):
            expand(parse_blueprint(_with_overrides(impossible)), {})
        with pytest.raises(InvalidValueError, match="no producer and no job"):
            expand(parse_blueprint(FILM), {}, {impossible: {"config": {}}})


@pytest.mark.parametrize(
    ("text", "line", "message"),
    [
        ("loops: {x: {over: 'p.o[x]'}}", 1, "The loops run inside each other in a cycle: x -> x."),
        ("loops: {x: {over: 'q[*].o'}, y: {over: p.o}}", 1, "loop x runs over q[*].o, a list of artefacts."),
        ("loops: {x: {over: 'q[0].o'}, y: {over: q.z}}", 1, "q runs for y"),
        ("loops: {y: {over: q.o}}", 1, "q runs for y"),
        ("loops: {y: {over: 'q[0].o'}}", 4, "Producers read each other in a cycle: q -> q."),
    ],
)
def test_what_can_never_be_known_is_refused(text: str, line: int, message: str) -> None:
    """Loops over fan-ins, and jobs that would decide whether they are there."""
    text += """
producers:
  p: {run: a/b, outputs: {o: {mimeType: application/json}}}
  q: {run: a/b, for: [y], outputs: {o: {mimeType: application/json}}}
"""
    with pytest.raises(BlueprintError) as caught:
        parse_blueprint(text, "film.yaml")
    assert message in caught.value.message
    assert caught.value.line == line


_TEXTS = st.lists(st.sampled_from("abc"), max_size=4)


@given(script=_TEXTS, shots=st.lists(st.integers(0, 3), min_size=4, max_size=4), known=st.sets(st.integers(0, 3)))
def test_every_job_is_known_or_has_one_placeholder(script: list[str], shots: list[int], known: set[int]) -> None:
    """However much is known, and what is known only grows: the last graph is that of all lists at once."""
    boards = {f"board[{place}].out": [*range(shots[place])] for place in range(len(script))}
    documents = {"script.out": _script(*script), **boards}
    blueprint = parse_blueprint(FILM.replace(', next: "say[1].audio"', ""))
    whole = expand(blueprint, {}, None, documents)
    some = {key: value for key, value in documents.items() if key == "script.out" or int(key[6]) in known}
    steps = [expand(blueprint, {}, None, each) for each in ({}, {"script.out": documents["script.out"]}, some)]
    for partial in steps:
        assert all(_places(partial, node.job_id) == 1 for node in whole.nodes)
    firm = [{node.job_id for node in partial.nodes if node.awaits is None} for partial in (*steps, whole)]
    assert all(before <= after for before, after in pairwise(firm))
    assert not any(node.awaits for node in whole.nodes)
    again = expand(blueprint, {}, None, dict(reversed(documents.items())))
    assert canonical_json(again.to_json()) == canonical_json(whole.to_json())


def _places(graph: ProducerGraph, job: str) -> int:
    return sum(node.job_id == job or node.stands_for(job) for node in graph.nodes)
