"""Ids that are none: refused by name wherever one can be given, and nothing is made of them."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

import pytest

from renku_store import (
    GraphInput,
    GraphNode,
    GraphOutput,
    InvalidIdError,
    Job,
    JobContext,
    Planner,
    Produced,
    ProducerGraph,
    Reference,
    Runner,
    RunResult,
    Store,
    default_registry,
    movie_status,
    open_store,
    parse_blueprint,
    plan_movie,
    run_movie,
    set_inputs,
)
from renku_store import graph as graphs
from renku_store.errors import BadInputError, GraphError
from tests.cli.conftest import Call, Called
from tests.hostile.conftest import BLUEPRINT

BAD_MOVIES = ["..", ".", "../up", "a/b", "/abs", "a\\b", "a\nb", "a\x1b[2Jb", "x" * 129, "", " ", "-x", ".hidden", "é"]
BAD_IDS = ["..", "a/b", "../../etc/passwd", "a\\b", "a\tb", "a\x7fb", "a\u202eb", "x" * 513, "", " a", "."]


def refused(called: Called) -> None:
    assert called.code == 2, called.err
    assert "Traceback" not in called.err
    assert all(part.replace("\t", "").isprintable() for part in called.err.splitlines())
    assert max(map(len, called.err.splitlines())) < 700


@pytest.mark.parametrize("movie", BAD_MOVIES)
def test_a_bad_movie_id_is_refused_and_creates_nothing(call: Call, place: Path, movie: str) -> None:
    """In `init`, and in every command that is told to use it."""
    refused(call("init", "--", movie))
    for command in (["log"], ["cat", "a.b"], ["set", "a", "1"], ["run"], ["export", "latest", "out"], ["status"]):
        refused(call(f"--movie={movie}", *command))
    assert not list(place.iterdir())
    with open_store(place / "builds") as store:
        with pytest.raises(InvalidIdError):
            store.create_movie(movie)
        with pytest.raises(InvalidIdError):
            store.movie(movie)


@pytest.mark.parametrize("name", BAD_IDS)
def test_a_bad_input_id_is_refused_and_sets_nothing(call: Call, place: Path, shown: Path, name: str) -> None:
    """On the command line, in a file of inputs, in the library, with a blueprint and with a graph."""
    refused(call("set", "--", name, "1"))
    (place / "inputs.json").write_text(json.dumps({"greeting": "never", name: 1}))
    refused(call("set", "--file", "inputs.json"))
    refused(call("run", "--inputs", "inputs.json"))
    assert call("status", "--json").json["pending"] == []
    assert call("inspect", "--json").json["revision"] == "rev-0001"
    with open_store(place / "builds") as store:
        given_a_graph = store.create_movie("graph")
        set_inputs(given_a_graph, {"@blueprint": {"nodes": [], "edges": []}})
        edits = len(given_a_graph.events.pending())
        for movie in (given_a_graph, store.movie("film")):
            with pytest.raises(BadInputError):
                set_inputs(movie, {"fine": 1, name: 1})
            with pytest.raises(BadInputError):
                plan_movie(movie, inputs={name: 1})
            with pytest.raises(BadInputError):
                asyncio.run(run_movie(movie, produce=default_registry(), inputs={name: 1}))
            assert not movie_status(movie).runs
        assert len(given_a_graph.events.pending()) == edits
        assert not store.movie("film").events.pending()


@pytest.mark.parametrize("name", BAD_IDS)
def test_a_bad_artefact_id_is_not_found_and_reaches_no_file(call: Call, shown: Path, name: str) -> None:
    """`cat`, `events` and `explain` look it up in the movie, never on the disk."""
    for command in ("cat", "events", "explain"):
        if (command, name) in {("events", ""), ("explain", "")}:
            continue
        refused(call(command, "--", name))


@pytest.mark.parametrize("name", [name for name in BAD_IDS if name])
@pytest.mark.parametrize("place_of_it", ["producer", "output", "input", "loop"])
def test_a_bad_name_in_a_blueprint_is_refused_with_its_line(place_of_it: str, name: str) -> None:
    """A blueprint cannot bring in what the command line would refuse."""
    written = json.dumps(name)
    replaced = {
        "producer": ("  reel:", f"  {written}:"),
        "output": ("{video:", f"{{{written}:"),
        "input": ("  greeting: {", f"  {written}: {{"),
        "loop": ("  line: {", f"  {written}: {{"),
    }[place_of_it]
    with pytest.raises(BadInputError, match=r"film\.yaml:\d+: "):
        parse_blueprint(BLUEPRINT.replace(*replaced), "film.yaml")


@pytest.mark.parametrize("name", ["..", "a/b", "a\nb", "x" * 513])
def test_a_bad_name_in_a_graph_is_refused(call: Call, place: Path, name: str) -> None:
    """A graph given as JSON is no way around the rules either."""
    graph = {
        "nodes": [
            {
                "jobId": name,
                "producer": "p",
                "inputs": [],
                "produces": [{"id": f"{name}.out", "name": "out", "mimeType": "text/plain"}],
                "provider": "command",
                "providerModel": "command",
                "config": {"argv": ["true"]},
            }
        ],
        "edges": [],
    }
    (place / "graph.json").write_text(json.dumps(graph))
    refused(call("init", "film", "--graph", "graph.json"))
    assert not (place / "builds").exists()


@pytest.mark.parametrize("key", ["..", "a/b", "a\nb", "x" * 600, ""])
def test_a_bad_key_of_a_loop_element_is_refused_before_anything_runs(call: Call, place: Path, key: str) -> None:
    """Keys of elements become part of job and artefact ids."""
    text = BLUEPRINT.replace("{over: lines}", "{over: lines, key: id}")
    (place / "film.yaml").write_text(text)
    assert call("init", "film", "--blueprint", "film.yaml").code == 0
    assert call("set", "lines", json.dumps([{"id": key}])).code == 0
    refused(call("plan"))
    refused(call("run"))
    assert call("status", "--json").json["runs"] == []


def test_an_unknown_revision_is_refused_by_every_command_that_takes_one(call: Call, place: Path, twice: Path) -> None:
    """Whether it could be one or not, and however long it is."""
    for name in ("rev-99", "rev-0099", "99", "rev-0", "0", "newest", "rev-" + "9" * 400, "../rev-0001", ""):
        refused(call("inspect", "--", name))
        refused(call("cat", "reel.video", f"--rev={name}"))
        refused(call("diff", "--", name, "1"))
        refused(call("export", "--", name, "out"))
    assert "rev-0002" in call("inspect", "rev-99").err
    assert not (place / "out").exists()


def test_latest_is_a_word_for_the_newest_revision(call: Call, twice: Path) -> None:
    """Said or left out."""
    assert call("inspect", "latest", "--json").json == call("inspect", "rev-0002", "--json").json
    assert call("inspect", "--json").json == call("inspect", "rev-0002", "--json").json
    assert call("cat", "reel.video", "--rev", "latest").out == call("cat", "reel.video", "--rev", "2").out
    assert call("cat", "reel.video", "--rev", "latest").out != call("cat", "reel.video", "--rev", "1").out


def test_an_unknown_artefact_is_told_with_the_nearest_names(call: Call, shown: Path) -> None:
    """A slip of the keyboard is pointed out, something else is pointed to the list."""
    assert "sound[1].audio" in call("cat", "sound[1].adio").err
    assert "inspect" in call("cat", "zzz").err


def _two_jobs(reads: str = "text", artefact: str = "one.out", job: str = "two") -> ProducerGraph:
    """A graph as a program makes one: `job` reads, under the name `reads`, the `artefact` that the first one makes."""

    def node(job_id: str, inputs: list[GraphInput], made: str) -> GraphNode:
        output = GraphOutput(id=made, name="out", mime_type="text/plain")
        return GraphNode(
            job_id=job_id, producer="p", inputs=inputs, produces=[output], provider="x", provider_model="y"
        )

    read = GraphInput(name=reads, ref=Reference(kind="artefact", id=artefact))
    return ProducerGraph(nodes=[node("one", [], artefact), node(job, [read], "two.out")])


async def _run(store: Store, graph: ProducerGraph, called: list[str]) -> RunResult:
    async def produce(job: Job, _: JobContext) -> Produced:
        called.append(job.job_id)
        return Produced({"out": "x" * 4_000})

    movie = store.create_movie("film")
    sound = Planner.compute_plan(graph=_two_jobs(), manifest=None, inputs={})
    async with Runner(movie) as runner:
        return await runner.execute(sound.replace(graph=graph), produce=produce)


@pytest.mark.parametrize("name", BAD_IDS)
@pytest.mark.parametrize("field", ["reads", "artefact", "job"])
def test_a_bad_name_in_a_graph_of_records_is_refused_before_a_job_runs(place: Path, field: str, name: str) -> None:
    """By the planner, and by the runner that is given a plan all the same."""
    graph, called = _two_jobs(**{field: name}), list[str]()
    with pytest.raises(GraphError):
        Planner.compute_plan(graph=graph, manifest=None, inputs={})
    with open_store(place / "builds") as store, pytest.raises(GraphError):
        asyncio.run(_run(store, graph, called))
    assert called == []


@pytest.mark.parametrize("name", ["../../escaped", "..", "", "a/../../../b", "/tmp/renku-escaped"])
def test_no_name_of_an_input_leads_out_of_the_folder_of_a_job(
    place: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    """Even where nobody had looked at the graph."""
    monkeypatch.setattr(graphs, "check_names", lambda _: None)
    called = list[str]()
    with open_store(place / "builds") as store:
        result = asyncio.run(_run(store, _two_jobs(reads=name), called))
    failure = result.jobs["two"].error
    assert failure is not None
    assert (called, failure.kind) == (["one"], "InvalidIdError")
    assert not [*place.rglob("*escaped*"), *Path("/tmp").glob("renku-escaped*")]
