"""Lists that jobs make, at the command line."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.cli.conftest import Call

BLUEPRINT = """
name: lists
inputs: {words: {type: string, default: "[1, 2]"}}
loops: {word: {over: words.out}}
producers:
  words:
    run: command
    argv: [sh, -c, "sed 's/.*\\"words\\":{\\"value\\":\\"\\\\([^\\"]*\\\\)\\".*/\\\\1/' request.json > outputs/out"]
    inputs: {words: words_given}
    outputs: {out: {mimeType: application/json}}
  say:
    for: word
    run: command
    argv: [cp, request.json, outputs/o]
    inputs: {word: "words.out[word]"}
    outputs: {o: {mimeType: text/plain}}
""".replace("inputs: {words: {type", "inputs: {words_given: {type")


@pytest.fixture
def lists(call: Call, place: Path) -> None:
    """A movie whose job `words` writes the list that it is given."""
    (place / "lists.yaml").write_text(BLUEPRINT)
    assert call("init", "lists", "--blueprint", "lists.yaml").code == 0


def test_a_plan_shows_placeholders_and_explain_finds_them(lists: None, call: Call) -> None:
    """By the name of a job that may come, too; after the run it is one like any other."""
    assert "say[*]" in call("plan").out
    explained = call("explain", "say[1].o", "--json").json
    assert explained["roots"] == ["say[*]"]
    report = call("run", "--json").json
    assert (report["status"], report["made"]) == ("published", 3)
    assert call("plan", "--json").json["layers"] == []
    assert call("set", "words_given", "[1, 2, 3]").code == 0
    assert "(2 jobs so far)" in call("plan").out


def test_what_turns_out_not_to_be_there_is_told(lists: None, call: Call) -> None:
    """A target without a job is a warning; a list that is none ends the run with a sentence and code 1."""
    ran = call("run", "--target", "say[7]")
    assert ran.code == 0
    assert "There is no job, artefact or producer say[7]." in ran.err
    assert call("set", "words_given", "7").code == 0
    ran = call("run")
    assert ran.code == 1
    assert "must be a list, not the number 7" in ran.out + ran.err


def test_a_plan_counts_one_job_of_a_loop_of_unknown_length_and_as_many_as_there_were(call: Call, place: Path) -> None:
    """It says which it is; what was named twice in a contradiction is named as it was written."""
    (place / "lists.yaml").write_text(
        BLUEPRINT.replace("    run: command\n    argv: [cp", "    cost: 0.5\n    run: command\n    argv: [cp")
    )
    assert call("init", "lists", "--blueprint", "lists.yaml").code == 0
    lines = call("plan").out.splitlines()
    assert lines[2].split("\t")[3] == "$0.00 to $0.5000 a job"
    assert "$0.00 to $0.5000 and 1 job of unknown cost and 1 loop of unknown length" in lines[-1]
    assert call("plan", "--json").json["cost"] == {"low": 0.0, "high": 0.5, "unknown": 1, "openLoops": 1}
    told = call("run", "--dry-run", "--max-cost", "9").err
    assert "Nobody knows yet how many jobs say[*] will be: one job of each is counted." in told
    assert call("run").code == 0
    assert call("set", "words_given", "[1, 2, 3]").code == 0
    lines = call("plan").out.splitlines()
    assert lines[2].split("\t")[3] == "$0.00 to $1.00"
    assert "length" not in lines[-1]
    both = call("run", "--regen", "say[1].o", "--pin", "say[1].o")
    assert (both.code, "say[1].o is to be made anew and kept as it is" in both.err) == (2, True)
