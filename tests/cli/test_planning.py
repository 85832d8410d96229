"""`plan` and `explain`."""

from __future__ import annotations

import json
import shlex
from pathlib import Path

import pytest

from renku_cli import causes
from renku_store import CostRange, ExecutionPlan, PlannedJob, ProducerGraph, Reason
from tests.cli.conftest import LINES, Call


def _files(place: Path) -> dict[str, bytes]:
    movie = place / "builds" / "tiny"
    return {str(path): path.read_bytes() for path in movie.rglob("*") if path.is_file() and "metadata" not in path.name}


def test_a_plan_names_jobs_layers_states_and_reasons(call: Call, movie: str) -> None:
    """The document has what the contract names, null where nothing is there yet."""
    plan = call("plan", "--json").json
    assert plan["revision"] == "rev-0001"
    assert plan["manifestBaseHash"] is None
    assert plan["layers"] == [["word[0]", "word[1]", "word[2]"], ["book"]]
    assert plan["cost"] == {"low": 0.0, "high": 0.0, "unknown": 4}
    book = plan["jobs"]["book"]
    assert (book["state"], book["signature"]) == ("dirty", None)
    assert {"kind": "upstream", "subject": "word[1]", "detail": ""} in book["reasons"]
    assert len(plan["jobs"]["word[0]"]["signature"]) == 64


def test_planning_writes_nothing(call: Call, built: str, place: Path) -> None:
    """Neither do `explain` and `run --dry-run`."""
    assert call("set", "greeting", "hi").code == 0
    before = _files(place)
    for command in (["plan"], ["explain"], ["run", "--dry-run"], ["run", "--dry-run", "--json"]):
        assert call(*command).code == 0
    assert _files(place) == before
    assert len(call("log", "--json").json) == 1


def test_only_what_depends_on_an_edit_is_planned(call: Call, built: str) -> None:
    """The table lists dirty jobs only, the last line counts the others."""
    assert call("set", "lines[1].text", "TWO").code == 0
    lines = call("plan").out.splitlines()
    assert lines[0] == "layer\tjob\tstate\treasons"
    assert [line.split("\t")[1] for line in lines[1:-1]] == ["word[1]", "book"]
    assert lines[-1] == "rev-0002 on rev-0001: 2 jobs to run, 2 clean, about 1 s at concurrency 5."


def test_a_dry_run_shows_the_plan_with_private_inputs(call: Call, built: str, place: Path) -> None:
    """Values of --inputs count, and are forgotten."""
    (place / "tonight.yaml").write_text("greeting: hi\n")
    plan = call("run", "--dry-run", "--inputs", "tonight.yaml", "--json").json
    assert len(plan["layers"][0]) == len(LINES)
    assert call("plan", "--json").json["layers"] == []


def test_explain_leads_down_to_what_was_edited(call: Call, built: str) -> None:
    """From an artefact over its job to the place in the input; and back by the command that it prints."""
    assert call("set", "lines[1].text", "TWO").code == 0
    done = call("explain", "book.text")
    assert done.out.splitlines()[:3] == ["book  dirty", "  word[1]  dirty", "    input changed: lines[1].text (line)"]
    remedy = next(line for line in done.out.splitlines() if "renku-store set" in line)
    words = shlex.split(remedy.partition("renku-store ")[2])
    assert call(*words).code == 0
    assert call("plan", "--json").json["layers"] == []


def test_explain_as_json_is_flat_and_whole(call: Call, built: str) -> None:
    """Every job of the tree is there, however deep."""
    assert call("set", "greeting", "hi").code == 0
    found = call("explain", "--json").json
    assert found["roots"] == ["book"]
    assert set(found["jobs"]) == {"book", "word[0]", "word[1]", "word[2]"}
    assert len(found["silencedBy"]) == 1


def test_what_is_clean_is_said_to_be(call: Call, built: str) -> None:
    """There is an answer for jobs without causes too."""
    assert "rev-0001 holds it" in call("explain", "word[1].text").out
    assert "Everything is clean" in call("explain").out
    assert call("explain", "--json").json["roots"] == []


def test_an_unknown_job_has_a_nearest_one(call: Call, movie: str) -> None:
    """Typing errors are answered."""
    done = call("explain", "wrd[1]", "--json")
    assert (done.code, done.error["kind"]) == (2, "NotFoundError")
    assert "word[1]" in done.error["hint"]


def _chain(length: int) -> ExecutionPlan:
    """A plan in which each job waits for the one before it."""
    first = PlannedJob(state="dirty", reasons=[Reason(kind="output missing", subject="job[0].x")], layer=0)
    jobs = {"job[0]": first}
    for number in range(1, length):
        reason = Reason(kind="upstream", subject=f"job[{number - 1}]")
        jobs[f"job[{number}]"] = PlannedJob(state="dirty", reasons=[reason], layer=number)
    return ExecutionPlan(
        format=1,
        revision="rev-0001",
        layers=[[job] for job in jobs],
        jobs=jobs,
        cost=CostRange(),
        graph=ProducerGraph(nodes=[]),
        graph_hash="0" * 64,
        inputs={},
    )


def test_a_chain_of_thousands_is_cut_for_people_and_whole_for_programs() -> None:
    """Depth exhausts neither the stack nor the reader."""
    plan = _chain(5_000)
    top = causes.ends(plan)
    assert top == ["job[4999]"]
    assert len(list(causes.tree(plan, top))) == causes.MAX_DEPTH + 2
    assert len(causes.closure(plan, top)) == 5_000


def test_a_job_that_many_wait_for_is_explained_once() -> None:
    """The tree of a diamond is linear in its jobs."""
    plan = _chain(2)
    both = [Reason(kind="upstream", subject="job[1]"), Reason(kind="upstream", subject="job[0]")]
    jobs = {**plan.jobs, "end": PlannedJob(state="dirty", reasons=both, layer=2)}
    lines = list(causes.tree(plan.replace(jobs=jobs), ["end"]))
    assert [(line.depth, line.job, line.state) for line in lines if line.job] == [
        (0, "end", "dirty"),
        (1, "job[1]", "dirty"),
        (2, "job[0]", "dirty"),
        (1, "job[0]", "above"),
    ]


@pytest.mark.parametrize("value", ["5", "@x", "-x", "x" * 100])
def test_no_command_is_printed_that_would_set_something_else(call: Call, built: str, value: str) -> None:
    """A text that `set` might take for something else, or that is long, is described instead."""
    assert call("set", "greeting", "--", "@" + value if value.startswith("@") else value).code == 0
    assert call("run").code == 0
    assert call("set", "greeting", "other").code == 0
    advice = call("explain", "--json").json["silencedBy"]
    assert advice == ["Set greeting back to its value in rev-0002."]


def test_a_plan_names_its_movie_before_the_first_revision(call: Call, movie: str) -> None:
    """As afterwards."""
    assert call("plan", "--json").json["movie"] == movie
    assert call("run").code == 0
    assert call("set", "greeting", "hi").code == 0
    assert call("plan", "--json").json["movie"] == movie


def test_after_a_pin_explain_names_what_changed_and_the_value_of_then(call: Call, built: str) -> None:
    """The value that the pinned result was made with is that of an older revision."""
    assert call("set", "greeting", "hi").code == 0
    assert call("run", "--pin", "word").code == 0
    planned = call("plan", "--json").json["jobs"]["word[0]"]
    assert planned["madeIn"] == "rev-0001"
    assert planned["reasons"] == [
        {"kind": "input changed", "subject": "greeting", "detail": "greeting, since rev-0001"}
    ]
    explained = call("explain", "word[0]")
    assert "input changed: greeting (greeting, since rev-0001)" in explained.out
    assert "greeting" in explained.out.split("What would silence it")[1]
    assert "rev-0001" in explained.out.split("What would silence it")[1]


def test_json_of_a_plan_is_one_document(call: Call, movie: str) -> None:
    """Nothing else is on standard output."""
    json.loads(call("plan", "--json").out)


def test_a_producer_that_is_not_there_is_told_before_anything_is_begun(call: Call, place: Path) -> None:
    """`plan` warns with the nearest name; `run` refuses with 2 and leaves no run behind."""
    (place / "typo.yaml").write_text("producers: {p: {run: demo/narate@1, outputs: {o: {mimeType: text/plain}}}}")
    assert call("init", "typo", "--blueprint", "typo.yaml").code == 0
    (warning,) = call("plan", "--json").json["warnings"]
    assert "p: There is no producer demo/narate@1." in warning
    assert "demo/narrate@1" in warning
    done = call("run", "--json")
    assert (done.code, done.error["kind"]) == (2, "NotFoundError")
    assert "demo/narrate@1" in done.error["hint"]
    assert call("status", "--json").json["runs"] == []
