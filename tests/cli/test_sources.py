"""The program files behind producers: nobody signs them, and a plan says where they have changed."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.cli.conftest import Call

BLUEPRINT = """\
name: scripted
producers:
  words:
    run: command
    argv: [./make.sh]
    version: 1
    outputs: {text: {mimeType: text/plain}}
  copy:
    run: command
    argv: [sh, -c, 'cat inputs/words.txt > outputs/text']
    inputs: {words: words.text}
    outputs: {text: {mimeType: text/plain}}
"""
WARNING = "The files of words have changed, its version has not: 1 job stays as made before."


def write(place: Path, words: str) -> None:
    script = place / "make.sh"
    script.write_text(f"#!/bin/sh\necho {words} > outputs/text\n")
    script.chmod(0o755)


@pytest.fixture
def scripted(call: Call, place: Path) -> Path:
    """A movie whose words a script of its own makes; its first revision."""
    write(place, "first")
    (place / "scripted.yaml").write_text(BLUEPRINT)
    assert call("init", "scripted", "--blueprint", "scripted.yaml").code == 0
    assert call("run").code == 0
    return place


def test_a_changed_program_warns_and_runs_nothing(call: Call, scripted: Path) -> None:
    """What it was is noted at the artefact; a version makes it anew."""
    held = call("inspect", "--json").json["artefacts"]
    assert len(held["words.text"]["source"]) == 64
    assert "source" not in held["copy.text"]
    assert call("plan", "--json").json["warnings"] == []
    write(scripted, "second")
    plan = call("plan", "--json").json
    assert plan["layers"] == []
    assert [warning.startswith(WARNING) for warning in plan["warnings"]] == [True]
    assert "renku-store accept words" in plan["warnings"][0]
    assert call("run", "--json").json["status"] == "unchanged"
    (scripted / "scripted.yaml").write_text(BLUEPRINT.replace("version: 1", "version: 2"))
    assert call("run", "--blueprint", "scripted.yaml").code == 0
    assert call("cat", "copy.text").out == "second\n"
    assert call("plan", "--json").json["warnings"] == []


def test_accept_keeps_what_the_former_program_made(call: Call, scripted: Path) -> None:
    """The new fingerprint is noted, nobody is called, and the warning ends; another change brings it back."""
    write(scripted, "second")
    assert [entry["job"] for entry in call("accept", "words", "--json").json] == ["words"]
    assert call("plan", "--json").json["warnings"] == []
    ran = call("run", "--json").json
    assert (ran["status"], ran["made"]) == ("published", 0)
    assert call("cat", "words.text").out == "first\n"
    assert call("plan", "--json").json["warnings"] == []
    write(scripted, "first")
    assert len(call("plan", "--json").json["warnings"]) == 1


def test_a_program_that_is_as_it_was_again_warns_no_more(call: Call, scripted: Path) -> None:
    """Content counts, not time."""
    write(scripted, "second")
    write(scripted, "first")
    assert call("plan", "--json").json["warnings"] == []


def test_an_earlier_result_brings_its_fingerprint_along(call: Call, scripted: Path) -> None:
    """Also where the index was made anew meanwhile."""
    before = call("inspect", "--json").json["artefacts"]["words.text"]
    (scripted / "scripted.yaml").write_text(BLUEPRINT.replace("version: 1", "version: 2"))
    call("run", "--blueprint", "scripted.yaml")
    assert call("rebuild").code == 0
    (scripted / "scripted.yaml").write_text(BLUEPRINT)
    write(scripted, "second")
    assert call("run", "--blueprint", "scripted.yaml", "--json").json["reused"] == 1
    assert call("inspect", "--json").json["artefacts"]["words.text"] == before
    assert len(call("plan", "--json").json["warnings"]) == 1


def test_files_can_be_declared_and_may_be_missing(call: Call, place: Path) -> None:
    """`sources: []` says that there are none."""
    write(place, "first")
    declared = BLUEPRINT.replace("    version: 1\n", "    version: 1\n    sources: [make.sh, prompt.txt]\n")
    (place / "scripted.yaml").write_text(declared)
    call("init", "scripted", "--blueprint", "scripted.yaml")
    assert call("run").code == 0
    (place / "prompt.txt").write_text("a prompt")
    assert call("plan", "--json").json["warnings"][0].startswith(WARNING)
    (place / "scripted.yaml").write_text(BLUEPRINT.replace("    version: 1\n", "    version: 1\n    sources: []\n"))
    call("run", "--blueprint", "scripted.yaml")
    write(place, "second")
    assert call("plan", "--json").json["warnings"] == []


def test_the_file_of_a_function_counts(call: Call, place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is found without being imported."""
    monkeypatch.syspath_prepend(str(place))
    (place / "scribe").mkdir()
    (place / "scribe" / "__init__.py").write_text("")
    (place / "scribe" / "hand.py").write_text("def write(request):\n    return 'by hand'\n")
    run = "    run: command\n    argv: [./make.sh]\n"
    (place / "scripted.yaml").write_text(BLUEPRINT.replace(run, "    run: python:scribe.hand.write\n"))
    call("init", "scripted", "--blueprint", "scripted.yaml")
    assert call("run").code == 0
    with (place / "scribe" / "hand.py").open("a") as file:
        file.write("# changed\n")
    assert call("plan", "--json").json["warnings"][0].startswith(WARNING)


def test_a_wrong_declaration_is_told_with_its_line(call: Call, place: Path) -> None:
    """As every other."""
    for value in ("make.sh", "[1]", "['']"):
        text = BLUEPRINT.replace("    version: 1\n", f"    version: 1\n    sources: {value}\n")
        (place / "scripted.yaml").write_text(text)
        done = call("init", "scripted", "--blueprint", "scripted.yaml", "--json")
        assert done.code == 2
        assert "sources" in done.error["message"]
