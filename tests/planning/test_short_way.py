"""The planner's short way for ordinary jobs: it says what the long way says, and how much work a job takes it."""

from __future__ import annotations

import asyncio
import cProfile
import gc
import pstats
import sys
from collections.abc import Callable
from copy import deepcopy
from functools import partial
from pathlib import Path
from typing import Any, cast

import pytest
from hypothesis import given
from hypothesis import strategies as st

from renku_store import (
    ArtefactValue,
    BlobCorruptError,
    Choices,
    Job,
    JobContext,
    ManifestArtefact,
    Movie,
    Produced,
    ProducerGraph,
    StoreError,
    canonical_json,
    hash_bytes,
    open_store,
    parse_graph,
    plan_movie,
    run_movie,
    set_inputs,
)
from renku_store.blobs import BlobStore
from renku_store.blueprint import expand, parse_blueprint
from renku_store.encoding import read_page
from renku_store.expansion import FormerState, RecordedNodes
from renku_store.graph import GraphIndex
from renku_store.hashing import graph_bytes, parse_json, signature
from renku_store.planner import input_entry
from renku_store.projection import next_manifest
from renku_store.records._base import Json, read_as
from renku_store.records.graph import GraphNode
from renku_store.records.plan import ExecutionPlan, PlannedJob
from renku_store.records.sheet import Sheet
from renku_store.selection import MISSING, Missing, Selection
from renku_store.verdicts import Verdicts
from tests.planning.histories import Step, histories
from tests.planning.worlds import World

_FILM = """
name: film
inputs: {lines: {type: list, required: true}, style: {type: string, default: calm}}
loops: {line: {over: lines}}
overrides: {"picture[1]": {config: {size: 2048}}}
producers:
  narration:
    for: [line]
    run: test/speak@1
    inputs: {text: "lines[line].text", style: style}
    outputs: {audio: {mimeType: text/plain}}
  picture:
    for: [line]
    run: test/draw@1
    config: {size: 1024, ratio: 1.5}
    timeout: 5
    context: {line: line}
    inputs: {prompt: "lines[line].picture"}
    outputs: {image: {mimeType: text/plain}, mask: {mimeType: text/plain}}
  film:
    run: test/join@1
    inputs: {audio: "narration[*].audio", images: "picture[*].image", first: "picture[0].mask"}
    outputs: {film: {mimeType: text/plain}}
timeline: film.film
"""


class LongWay(Verdicts):
    """A planner that has no short way."""

    def _ordinary(self, node: GraphNode, layer: int) -> PlannedJob | None:
        return None


def _document(artefact: ArtefactValue) -> Json | Missing:
    return MISSING if artefact.inline is None else parse_json(artefact.inline)


def _made(graph: ProducerGraph, inputs: dict[str, Json]) -> dict[str, ManifestArtefact]:
    """What a run of every job makes; each text is a JSON object that depends on what was asked."""
    artefacts: dict[str, ManifestArtefact] = {}
    for _, node, _ in GraphIndex(graph).in_order():
        known = signature(node, Selection(inputs, artefacts, _document).signed_inputs(node))
        for output in node.produces:
            text = f'{{"x":{int(known[0], 16) % 3},"y":[1,{{"z":{int(known[1], 16) % 2}}}]}}'
            digest = hash_bytes(text.encode())
            artefacts[output.id] = ManifestArtefact(
                hash=digest, size=len(text), mime_type=output.mime_type, inline=text,
                produced_by=node.producer, job=node.job_id, signature=known,
            )  # fmt: skip
    return artefacts


def _lines(count: int, changed: int = 0) -> list[Json]:
    return [
        {"text": f"line {number}{' anew' if number < changed else ''}", "picture": f"p {number}"}
        for number in range(count)
    ]


@given(histories(edits_only=True), st.data())
def test_the_short_way_says_what_the_long_way_says(history: list[Step], data: st.DataObject) -> None:
    """Whatever was changed, lost, forced, kept or decided on by people: both give the same jobs and warnings."""
    first: World = history[0].world
    second: World = history[-1].world
    before, after = (parse_graph(world.graph(), world.inputs.keys()) for world in (first, second))
    base = _made(before, first.inputs)
    some = st.sampled_from(sorted(base))
    for lost in data.draw(st.sets(some, max_size=2)):
        del base[lost]
    for key in data.draw(st.sets(some, max_size=2)) & base.keys():
        base[key] = base[key].replace(inline=None, blob=base[key].hash)
    damaged = {base[key].hash for key in data.draw(st.sets(some, max_size=2)) & base.keys()}
    made = {node.job_id: [output.id for output in node.produces] for node in after.nodes}
    decided = {
        key: base[key].replace(edited_by=data.draw(st.sampled_from([None, "me"])))
        for outputs in made.values()
        for key in outputs
        if key in base and base[key].blob is None and data.draw(st.integers(0, 5)) == 0
    }
    choices = Choices(regen=[job for job in made if data.draw(st.integers(0, 7)) == 0])
    seen: list[object] = []
    for kind in (Verdicts, LongWay):
        try:
            found = kind.of(
                GraphIndex(after), base, dict(decided), second.inputs, _document,
                lambda: ({node.job_id: node for node in before.nodes}, first.inputs), None, choices,
            )  # fmt: skip
            found.damaged = damaged
            seen.append((found.jobs(), found.warnings, found.lapsed))
        except StoreError as error:
            seen.append((type(error), error.message))
    assert seen[0] == seen[1]


@pytest.mark.parametrize("config", [None, {"film": {"config": {"a": 1}}, "picture[0]": {"config": {"b": {"c": 1.0}}}}])
def test_an_expanded_graph_is_one_that_was_checked(config: Json) -> None:
    """Jobs that share their fields are those that checking each of them gives, and so are their recorded bytes."""
    graph = expand(parse_blueprint(_FILM), {"lines": _lines(3)}, config)
    checked = ProducerGraph.from_json(graph.to_json())
    assert graph == checked
    assert graph_bytes(graph) == graph_bytes(checked)
    assert {node.job_id: dict(node.config) for node in graph.nodes}["picture[1]"]["size"] == 2048
    assert graph.nodes[3].timeout_seconds == 5.0
    assert isinstance(graph.nodes[3].timeout_seconds, float)


def test_recorded_jobs_are_those_of_the_graph() -> None:
    """Each job that is asked for is as it was recorded; bytes that are no graph are damage, and no job is not there."""
    graph = expand(parse_blueprint(_FILM), {"lines": _lines(3)})
    nodes = RecordedNodes(graph_bytes(graph))
    assert list(nodes) == [node.job_id for node in graph.nodes]
    assert len(nodes) == len(graph.nodes)
    assert {job: nodes[job].to_json() for job in nodes} == {node.job_id: node.to_json() for node in graph.nodes}
    assert nodes.get("other") is None
    assert RecordedNodes(b'{"nodes":[{"jobId":"a"}]}').get("a") is None
    for data in (
        b"",
        b"[]",
        b"{}",
        b'{"nodes":[1]}',
        b'{"nodes":[{}]}',
        b'{"nodes":{"a":1}}',
        b'{"nodes":[{"jobId":[]}]}',
    ):
        with pytest.raises(BlobCorruptError):
            RecordedNodes(data)


def test_a_handler_that_changes_its_config_changes_nobody_elses(tmp_path: Path) -> None:
    """Jobs that share their fields in a plan are each asked as the blueprint says."""
    asked: list[tuple[str, Json]] = []

    async def produce(job: Job, _context: JobContext) -> Produced:
        asked.append((job.job_id, deepcopy(dict(job.config))))
        for own in (job.config, job.context):
            cast("dict[str, Json]", own).update(size=0, line="other")
        return Produced(dict.fromkeys(job.outputs, f"{job.job_id}"))

    with open_store(tmp_path) as store, store.create_movie("film") as movie:
        set_inputs(movie, {"@blueprint": _FILM, "lines": _lines(4)})
        assert asyncio.run(run_movie(movie, produce=produce, concurrency=1)).status == "published"
        assert plan_movie(movie).dirty == []
    sizes = {job: config["size"] for job, config in asked if isinstance(config, dict) and job.startswith("picture")}
    assert sizes == {"picture[0]": 1024, "picture[1]": 2048, "picture[2]": 1024, "picture[3]": 1024}


def _published(root: Path, count: int) -> Movie:
    """A movie of 2 x `count` + 1 jobs that are all clean."""
    movie = open_store(root).create_movie("film")
    values: dict[str, Json] = {"lines": _lines(count), "style": "calm"}
    set_inputs(movie, {"@blueprint": _FILM, "lines": values["lines"]})
    plan = plan_movie(movie)
    movie.blobs.put(graph_bytes(plan.graph))
    movie.blobs.put_many([data for value in (_FILM, *values.values()) if (data := _bytes_of_large(value))])
    manifest = next_manifest(
        None, None, movie="film", revision="rev-0001", run=movie.events.new_id(), timeline=plan.graph.timeline,
        created_at="2026-01-01T00:00:00.000Z", graph=plan.graph_hash, artefacts=_made(plan.graph, values),
        inputs={key: entry for key, entry in plan.inputs.items() if key not in plan.defaults},
    )  # fmt: skip
    movie.manifests.save_manifest(manifest, previous_hash=None)
    return movie


_former = FormerState.__call__


def _bytes_of_large(value: Json) -> bytes | None:
    return canonical_json(value) if input_entry(value).blob else None


def _calls(work: Callable[[], object]) -> dict[str, int]:
    """How often functions were called, by the last part of their names; `all` of them together."""
    profile = cProfile.Profile()
    profile.runcall(work)
    counts: dict[str, int] = {"all": 0}
    for (_, _, name), (_, count, *_) in pstats.Stats(profile).stats.items():  # type: ignore[attr-defined]
        short = name.split("'")[1] if name.startswith("<method '") else name
        counts[short] = counts.get(short, 0) + count
        counts["all"] += count
    return counts


@pytest.mark.parametrize("changed", [0, 1])
def test_the_work_for_a_job_is_bounded(tmp_path: Path, changed: int) -> None:
    """For 800 jobs more nothing more is validated than pages; each is signed once, and its text input hashed once."""
    counts: list[dict[str, int]] = []
    for count in (100, 500):
        movie = _published(tmp_path / str(count), count)
        given: dict[str, Json] = {"lines": _lines(count, changed)} if changed else {}
        plan_movie(movie, inputs=given)  # what is done once only is done
        plan = plan_movie(movie, inputs=given)
        assert len(plan.dirty) == (2 if changed else 0)
        counts.append(_calls(partial(plan_movie, movie, inputs=given)))
        movie.close()
    fewer, more = counts

    def each(name: str) -> float:
        return (more.get(name, 0) - fewer.get(name, 0)) / 800

    assert max(each("validate_python"), each("model_copy")) <= 0
    assert each("validate_json") < 0.05  # one for each page of the manifest
    assert each("hexdigest") < 2.6  # a signature, its text or two, and what becomes of pages
    assert each("all") < 110


def test_a_change_is_looked_at_where_it_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The base's graph is not read where it is this one; the plan is the same, and made of what is dirty alone."""
    movie = _published(tmp_path, 50)
    base, _ = movie.manifests.load_current()
    read: list[str] = []
    plainly = BlobStore.read

    def noted(self: BlobStore, ref: str, *rest: Any, **options: Any) -> bytes:
        read.append(ref)
        return plainly(self, ref, *rest, **options)

    monkeypatch.setattr(BlobStore, "read", noted)
    blueprint = _FILM.replace('audio: "narration[*].audio", ', "").replace('images: "picture[*].image", ', "")
    plans: list[ExecutionPlan] = []
    changes: list[dict[str, Json]] = [{"lines": _lines(50, 1)}, {"lines": _lines(51, 1)}, {"@blueprint": blueprint}]
    for given_inputs in changes:
        plan = plan_movie(movie, inputs=given_inputs)
        assert plan.dirty
        assert (base.graph in read) == (plan.graph_hash != base.graph)
        if len(plans) == 0:
            sheet = plan.graph.columns
            assert isinstance(sheet, Sheet)
            assert sheet.made == len(plan.dirty) == 2
            assert "positions" not in vars(sheet)
        plans.append(plan)
        with monkeypatch.context() as patch:
            patch.setattr(FormerState, "__call__", lambda self, graph, _digest: _former(self, graph, ""))
            assert plan_movie(movie, inputs=given_inputs).to_json() == plan.to_json()
        read.clear()
    assert plans[0].graph_hash == base.graph != plans[1].graph_hash
    movie.close()


def test_a_plan_and_its_base_share_the_ids_of_jobs(tmp_path: Path) -> None:
    """One text serves the plan, its graph and the artefacts of the base; which jobs there are is the same."""
    movie = _published(tmp_path, 600)
    plan = plan_movie(movie)
    texts = {id(entry.job) for entry in movie.manifests.load_current()[0].artefacts.values()}
    assert {*map(id, plan.jobs)} <= texts
    assert {id(node.job_id) for node in plan.graph.nodes} <= texts
    assert [*plan.jobs] == [*GraphIndex(ProducerGraph.from_json(plan.graph.to_json())).order]
    movie.close()


def test_what_a_page_holds_often_is_there_once(tmp_path: Path) -> None:
    """Artefacts of a page share the texts of their MIME types and producers, and are what they are without that."""
    movie = _published(tmp_path, 600)
    manifest, _ = movie.manifests.load_current()
    references = manifest.pages or []
    assert references
    for data in (movie.blobs.read(reference.hash) for reference in references):
        page = read_page(data)
        assert page == read_as(dict[str, ManifestArtefact], data)
        for name in ("mime_type", "produced_by"):
            values = [getattr(one, name) for one in page.values()]
            assert len({*map(id, values)}) == len({*values})
    movie.close()


def test_a_plan_in_which_nothing_changed_keeps_few_objects_for_a_job(tmp_path: Path) -> None:
    """For 800 jobs more no more than 20 blocks of memory each are there once it is made: no records of the graph."""
    kept: list[int] = []
    for count in (100, 500):
        movie = _published(tmp_path / str(count), count)
        plan_movie(movie)  # what is read once is read
        gc.collect()
        before = sys.getallocatedblocks()
        plan = plan_movie(movie)
        kept.append(sys.getallocatedblocks() - before)
        assert len(plan.jobs) == 2 * count + 1
        movie.close()
    assert (kept[1] - kept[0]) / 800 < 20
