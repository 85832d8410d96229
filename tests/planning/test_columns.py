"""Graphs whose jobs are in columns against the same graphs as records: order, verdicts, hashes; and what they make."""

from __future__ import annotations

import copy
import math
import pickle
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from renku_store import (
    ArtefactValue,
    Choices,
    InvalidValueError,
    ManifestArtefact,
    ProducerGraph,
    StoreError,
    hash_bytes,
)
from renku_store.blueprint import expand, parse_blueprint
from renku_store.graph import GraphIndex
from renku_store.hashing import canonical_document, graph_bytes, parse_json, signature
from renku_store.many import ManySigner, bytes_of_graph, hash_of_graph
from renku_store.records._base import Json
from renku_store.records.sheet import Sheet, jobs_by_artefact, nodes_by_id
from renku_store.selection import MISSING, Missing, Selection
from renku_store.signing import Signer
from renku_store.sources import with_sources
from renku_store.verdicts import Verdicts, contents

_BLUEPRINT = """
name: film
inputs:
  scenes: {type: list, required: true}
  style: {type: any, default: calm}
loops:
  scene: {over: scenes, key: id}
  shot: {over: "scenes[scene].shots"}
producers:
  words:
    run: test/write@1
    context: {a: 1.0, "b c": [null, "é\\""]}
    inputs: {style: style, all: scenes}
    outputs: {list: {mimeType: application/json}, text: {mimeType: text/plain}}
  voice:
    for: [scene]
    run: test/speak@1
    inputs: {z: "scenes[scene].text", style: style, title: "words.list.title", words: words.text}
    outputs: {audio: {mimeType: audio/wav}}
  image:
    for: [scene, shot]
    when: "not scenes[scene].shots[shot].skip"
    run: test/draw@1
    cost: {low: 0, high: 1.5}
    context: {scene: scene, shot: shot}
    inputs: {prompt: "scenes[scene].shots[shot].prompt", audio: "voice[scene].audio"}
    outputs: {image: {mimeType: image/png}, mask: {mimeType: image/png}}
  clip:
    for: [scene, shot]
    run: test/cut@1
    cost: 1
    config: {speed: 1}
    inputs: {image: "image[scene][shot].image", all: "image[scene][*].mask", before: "voice[scene].audio"}
    outputs: {clip: {mimeType: video/mp4}}
  film:
    run: test/join@1
    inputs: {clips: "clip[*][*].clip", voices: "voice[*].audio"}
    outputs: {film: {mimeType: video/mp4}}
overrides: {"voice[a]": {config: {speed: 2}}, clip: {config: {ratio: 1.5}}}
timeline: film.film
"""
_PROGRAMS = """
name: film
inputs: {lines: {type: list, required: true}}
loops: {line: {over: lines}}
producers:
  cut: {for: [line], run: command, argv: [./cut.py], inputs: {line: "lines[line]"}, outputs: {o: {mimeType: a/b}}}
  say: {for: [line], run: test/say@1, inputs: {cut: "cut[line].o"}, outputs: {o: {mimeType: a/b}}}
"""
_shots = st.fixed_dictionaries(
    {"prompt": st.text(max_size=3) | st.none() | st.just("long" * 100) | st.just({"a": [1.0]})},
    optional={"skip": st.booleans()},
)
_scenes = st.lists(
    st.fixed_dictionaries(
        {"id": st.sampled_from(["b", "c", "é", "x y", 7]), "shots": st.lists(_shots, max_size=3)},
        optional={"text": st.text(st.characters(exclude_categories=["Cs"]), max_size=3)},
    ),
    max_size=3,
    unique_by=lambda scene: str(scene["id"]),
)


def _graph(scenes: list[Any]) -> ProducerGraph:
    """A graph in columns, with loops in loops, jobs that are not there, fan-ins and overrides."""
    first = {"id": "a", "text": "first", "shots": [{"prompt": "p"}, {"prompt": "q", "skip": True}]}
    return expand(parse_blueprint(_BLUEPRINT), _inputs([first, *scenes]))


def _inputs(scenes: list[Any]) -> dict[str, Json]:
    return {"scenes": scenes, "style": "calm"}


def _as_records(graph: ProducerGraph) -> ProducerGraph:
    """The same graph, made of records from the outset."""
    return ProducerGraph.from_json(graph.to_json())


@given(_scenes)
def test_columns_are_the_jobs_that_they_stand_for(scenes: list[Any]) -> None:
    """Adjacency, layers, makers, hash and signatures are those of the records, however the jobs are looked at."""
    graph = _graph(scenes)
    sheet = graph.columns
    assert isinstance(sheet, Sheet)
    index, plain = GraphIndex(graph), GraphIndex(_as_records(graph))
    assert [*index.order] == [*plain.order]
    assert index.layers == plain.layers
    for job in plain.order:
        assert index.dependencies(job) == plain.dependencies(job)
        assert index.dependents(job) == plain.dependents(job)
        assert index.node(job) == plain.node(job)
        assert index.layer(job) == plain.layer(job)
        assert {*index.positions_before(index.position(job))} == {*plain.positions_before(plain.position(job))}
        reached = [index.position(after) for after in index.descendants([job])]
        assert [*index.affected([index.position(job)])] == [index.position(job), *reached]
        assert [*plain.affected([plain.position(job)])] == [plain.position(job), *reached]
    assert dict(nodes_by_id(graph)) == dict(nodes_by_id(plain.graph))
    assert jobs_by_artefact(graph) == jobs_by_artefact(plain.graph)
    assert hash_of_graph(graph) == hash_of_graph(plain.graph) == hash_bytes(graph_bytes(plain.graph))
    assert bytes_of_graph(graph, recorded=True) == graph_bytes(plain.graph)
    assert bytes_of_graph(graph, recorded=False) == canonical_document(plain.graph.to_json())
    artefacts = _made(plain.graph, scenes)
    selection = Selection(_inputs(scenes), artefacts, _document)
    many = ManySigner(selection, Signer(selection))
    for family in sheet.families:
        due = many.signatures(family)
        nodes = [family.node(place) for place in range(len(family.job_ids))]
        paths = [ref.path for node in nodes for entry in node.inputs if (ref := entry.ref) and ref.kind == "artefact"]
        assert (due is None) == any(paths)
        assert due is None or due == [signature(node, selection.signed_inputs(node)) for node in nodes]


def _document(artefact: ArtefactValue) -> Json | Missing:
    return parse_json(artefact.inline) if artefact.inline else MISSING


def _made(graph: ProducerGraph, scenes: list[Any]) -> dict[str, ManifestArtefact]:
    """What a run of every job makes."""
    return _made_of(GraphIndex(graph), _inputs(scenes))


def _made_of(index: GraphIndex, inputs: dict[str, Json]) -> dict[str, ManifestArtefact]:
    artefacts: dict[str, ManifestArtefact] = {}
    for _, node, _ in index.in_order():
        known = signature(node, Selection(inputs, artefacts, _document).signed_inputs(node))
        for output in node.produces:
            text = f'{{"title":"{known[:1]}"}}'
            digest = hash_bytes(text.encode())
            artefacts[output.id] = ManifestArtefact(
                hash=digest, size=len(text), mime_type=output.mime_type, inline=text, signature=known
            )
    return artefacts


@given(_scenes, _scenes, st.data())
def test_jobs_in_columns_are_judged_as_records_are(before: list[Any], after: list[Any], data: st.DataObject) -> None:
    """Whatever was changed, lost, damaged, forced or edited: the same jobs in the same order, and the same warnings."""
    first = {"id": "a", "text": "first", "shots": [{"prompt": "p"}, {"prompt": "q", "skip": True}]}
    before, after = [first, *before], [first, *data.draw(st.sampled_from([before, after]))]
    old = expand(parse_blueprint(_BLUEPRINT), _inputs(before))
    base = _made(old, before)
    some = st.sets(st.sampled_from(sorted(base)), max_size=2)
    for lost in data.draw(some):
        del base[lost]
    blobs = data.draw(some) & base.keys()
    base |= {key: base[key].replace(inline=None, blob=base[key].hash) for key in blobs}
    damaged = {base[key].hash for key in data.draw(some) & base.keys()} if data.draw(st.booleans()) else set[str]()
    whole = {key for key in data.draw(some) & base.keys() if base[key].blob is None}
    decided = {key: base[key].replace(edited_by=data.draw(st.sampled_from([None, "me"]))) for key in whole}
    new = expand(parse_blueprint(_BLUEPRINT), _inputs(after))
    decided = {key: entry for key, entry in decided.items() if key in jobs_by_artefact(new)}
    regen = [job for job in GraphIndex(new).order if data.draw(st.integers(0, 9)) == 0]
    seen: list[object] = []
    for graph in (new, _as_records(new)):
        try:
            found = Verdicts.of(
                GraphIndex(graph), base, dict(decided), _inputs(after), _document,
                lambda: (dict(nodes_by_id(old)), _inputs(before)), None, Choices(regen=regen),
            )  # fmt: skip
            found.damaged = damaged
            seen.append(([*found.jobs().items()], found.warnings, found.lapsed))
        except StoreError as error:
            seen.append((type(error), error.message))
    assert seen[0] == seen[1]


def test_records_are_made_when_they_are_asked_for() -> None:
    """A plan that finds nothing to do makes no record of a job; one that finds something makes those it looks at."""
    scenes = [{"id": number, "text": f"t {number}", "shots": [{"prompt": "p"}]} for number in range(40)]
    blueprint = parse_blueprint(_BLUEPRINT.replace('title: "words.list.title", ', "").replace(", all: scenes", ""))
    graph = expand(blueprint, _inputs(_with_first(scenes)))
    base = _made(_as_records(graph), _with_first(scenes))
    made: list[int] = []
    for inputs in (_inputs(_with_first(scenes)), _inputs(_with_first([{**scenes[0], "text": "other"}, *scenes[1:]]))):
        fresh = expand(blueprint, inputs)
        verdicts = Verdicts.of(GraphIndex(fresh), base, {}, inputs, contents({}), lambda: None, None, None)
        dirty = [job for job, planned in verdicts.jobs().items() if planned.state != "clean"]
        hash_of_graph(fresh)
        assert fresh._whole is None
        assert isinstance(fresh.columns, Sheet)
        made.append(fresh.columns.made)
        assert fresh.columns.made == len(dirty)
    assert made[0] == 0
    assert 0 < made[1] < len(graph.nodes) / 4


@pytest.mark.parametrize("key", ["", ", key: id"])
@pytest.mark.parametrize("steps", ["", ".a", ".a.b", '["x y"].b'])
def test_places_and_contexts_in_columns_are_those_of_records(key: str, steps: str) -> None:
    """Whatever the keys on the way, and the keys of loops: what is written in columns is what records come to."""
    text = f"""
name: film
inputs: {{top: {{type: any, required: true}}}}
loops: {{line: {{over: top.lines{key}}}}}
producers:
  one:
    for: [line]
    run: test/one@1
    context: {{'at "é"': line}}
    inputs: {{x: 'top.lines[line]{steps}'}}
    outputs: {{o: {{mimeType: a/b}}, p: {{mimeType: a/b}}}}
  two:
    for: [line]
    run: test/two@1
    context: {{a: line, b: line, c: 1}}
    inputs: {{x: "one[line].p", y: "one[line].o"}}
    outputs: {{o: {{mimeType: a/b}}}}
"""
    keys: list[Json] = [7, -3, 2**53 - 1, "é", 'a"b']
    lines: list[Json] = [{"id": one, "a": {"b": one}, "x y": {"b": one}} for one in keys]
    inputs: dict[str, Json] = {"top": {"lines": lines}}
    graph = expand(parse_blueprint(text), inputs)
    plain = _as_records(graph)
    assert hash_of_graph(graph) == hash_of_graph(plain) == hash_bytes(graph_bytes(plain))
    selection = Selection(inputs, _made_of(GraphIndex(plain), inputs), _document)
    assert isinstance(graph.columns, Sheet)
    due = [ManySigner(selection, Signer(selection)).signatures(family) or [] for family in graph.columns.families]
    assert [each for family in due for each in family] == [
        signature(node, selection.signed_inputs(node)) for node in plain.nodes
    ]
    for _, ids in (output for family in graph.columns.families for output in family.outputs):
        assert [*ids] == ids[:] == [ids[place] for place in range(len(ids))]


def _with_first(scenes: list[Any]) -> list[Any]:
    return [{"id": "a", "text": "first", "shots": [{"prompt": "p"}, {"prompt": "q", "skip": True}]}, *scenes]


@pytest.mark.parametrize("through", [copy.copy, copy.deepcopy, lambda graph: pickle.loads(pickle.dumps(graph))])
def test_a_graph_in_columns_is_a_record_like_any_other(through: Any) -> None:
    """Compared, copied, written or shown, it is the graph of records, whether somebody has asked for these or not."""
    whole = _as_records(_graph([]))
    assert through(_graph([])) == whole
    assert _graph([]).to_json() == whole.to_json()
    assert _graph([]).to_json() == whole.to_json()
    assert repr(_graph([])) == repr(whole)
    assert _graph([]) != whole.replace(timeline=None)
    assert _graph([]).replace(timeline=None) == whole.replace(timeline=None)
    fewer = _graph([]).replace(nodes=whole.nodes[:1])
    assert fewer.columns is None
    assert fewer == whole.replace(nodes=whole.nodes[:1])
    assert _graph([]).replace() == whole
    with pytest.raises(AttributeError):
        _ = getattr(whole, "node")  # noqa: B009 (no such field)


@pytest.mark.parametrize("overrides", ["", 'overrides: {"cut[1]": {config: {argv: [./other.py]}}}'])
def test_program_files_are_noted_at_jobs_in_columns(
    overrides: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each job has the fingerprint of its own program, and what other files made is told, as for jobs as records."""
    monkeypatch.chdir(tmp_path)
    for name in ("cut.py", "other.py"):
        (tmp_path / name).write_text(name)
    blueprint = parse_blueprint(_PROGRAMS + overrides)
    inputs: dict[str, Json] = {"lines": ["a", "b", "c"]}
    graph = with_sources(expand(blueprint, inputs))
    records = with_sources(_as_records(expand(blueprint, inputs)))
    assert (graph.columns is None) == bool(overrides)
    assert graph == records
    assert len({node.source for node in graph.nodes}) == (3 if overrides else 2)
    assert bytes_of_graph(graph, recorded=True) == graph_bytes(records)
    assert bytes_of_graph(graph, recorded=False) == canonical_document(records.to_json())
    base = {key: artefact.replace(source="0" * 64) for key, artefact in _made_of(GraphIndex(records), inputs).items()}
    told: list[list[str]] = []
    for each in (with_sources(expand(blueprint, inputs)), records):
        verdicts = Verdicts.of(GraphIndex(each), base, {}, inputs, _document, lambda: None, None, None)
        assert {planned.state for planned in verdicts.jobs().values()} == {"clean"}
        told.append(verdicts.warnings)
    assert told[0] == told[1]
    assert ["3 jobs stay" in warning for warning in told[0]] == [True]


_EMPTY_FIRST = """
name: film
inputs: {lines: {type: list, required: true}}
loops: {line: {over: lines}}
producers:
  cut:
    for: [line]
    run: command
    argv: [./cut.py]
    inputs: {text: "lines[line]"}
    outputs: {clip: {mimeType: video/mp4}}
  say:
    run: test/say@1
    outputs: {audio: {mimeType: audio/wav}}
  none:
    run: command
    sources: []
    argv: [./cut.py]
    outputs: {clip: {mimeType: video/mp4}}
"""


@pytest.mark.parametrize("lines", [[], ["a"]])
def test_a_producer_without_jobs_or_files_lends_none_to_another(
    lines: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each job has the fingerprint of its own producer's files: none where a loop over nothing comes before it."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "cut.py").write_text("cut")
    graph = expand(parse_blueprint(_EMPTY_FIRST), {"lines": [*lines]})
    for sourced in (with_sources(graph), with_sources(_as_records(graph))):
        assert [node.producer for node in sourced.nodes if node.source is not None] == ["cut"] * len(lines)


@pytest.mark.parametrize("number", [math.inf, math.nan])
def test_a_number_that_json_does_not_have_is_no_null(number: float) -> None:
    """A graph that has one is refused where it is hashed, and keeps it where it is told."""
    (node, *_) = _graph([]).nodes
    graph = ProducerGraph(nodes=[node.replace(config={"x": number})])
    assert repr(graph.to_json()["nodes"][0]["config"]["x"]) == repr(number)
    with pytest.raises(InvalidValueError, match=r"config\.x is not JSON"):
        graph_bytes(graph)
