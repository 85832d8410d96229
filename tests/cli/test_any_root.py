"""The daily loop by the command line, on every kind of root: set, run, look, edit one sentence, run again."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.authoring import lose_database
from tests.cli.conftest import BLUEPRINT, LINES, Call
from tests.roots import Root


@pytest.fixture
def tiny(any_root: Root, call: Call, place: Path, monkeypatch: pytest.MonkeyPatch) -> Root:
    """A movie with a blueprint and inputs in a root that the environment names."""
    monkeypatch.setenv("RENKU_STORE_ROOT", any_root.url)
    (place / "tiny.yaml").write_text(BLUEPRINT)
    assert call("init", "tiny", "--blueprint", "tiny.yaml").code == 0
    assert call("set", "lines", json.dumps(LINES)).code == 0
    return any_root


def told(call: Call, *arguments: str) -> Any:
    """The document of a command that ends well."""
    called = call(*arguments, "--json")
    assert called.code == 0, called.err
    return called.json


def test_one_changed_line_makes_what_depends_on_it_anew(tiny: Root, call: Call) -> None:
    """First everything, then nothing, then one word and the book; the revisions tell so, and what they differ in."""
    assert sorted(told(call, "plan")["jobs"]) == ["book", "word[0]", "word[1]", "word[2]"]
    first = told(call, "run")
    assert (first["revision"], first["status"], first["made"], first["reused"]) == ("rev-0001", "published", 4, 0)
    assert told(call, "run")["status"] == "unchanged"
    assert call("set", "lines", json.dumps([{"text": "uno"}, *LINES[1:]])).code == 0
    second = told(call, "run")
    assert (second["revision"], second["made"]) == ("rev-0002", 2)
    assert [(entry["revision"], entry["made"]) for entry in told(call, "log")] == [("rev-0002", 2), ("rev-0001", 4)]
    changed = told(call, "diff", "rev-0001", "rev-0002")
    assert changed["artefacts"]["changed"] == ["book.text", "word[0].text"]
    assert '"uno"' in call("cat", "word[0].text").out
    assert '"one"' in call("cat", "word[0].text", "--rev", "rev-0001").out


def test_what_a_revision_holds_can_be_looked_at_and_taken_away(tiny: Root, call: Call, place: Path) -> None:
    """Inspected, traced, exported; the movie is listed, checked, and nothing in it is unfinished."""
    told(call, "run")
    inspected = told(call, "inspect", "latest")
    assert sorted(inspected["artefacts"]) == ["book.index", "book.text", *(f"word[{n}].text" for n in range(3))]
    assert told(call, "movies")[0]["id"] == "tiny"
    assert told(call, "explain", "book")
    assert len(call("events", "book.text", "--json").out.splitlines()) == 1
    assert told(call, "export", "latest", "out")["files"] == 5 + len(["manifest.json", "timeline.json"])
    assert (place / "out/book.text.txt").read_text() == call("cat", "book.text").out
    status = told(call, "status")
    assert not status.get("runs")
    assert told(call, "fsck")["ok"]


def test_a_movie_goes_on_where_nothing_but_its_objects_is_known(tiny: Root, call: Call) -> None:
    """The index is lost, or the machine another one: history and earlier results are there."""
    told(call, "run")
    lose_database(tiny, "tiny")
    assert told(call, "run")["status"] == "unchanged"
    assert call("set", "greeting", "hi").code == 0
    assert told(call, "run")["made"] == 4
    assert call("set", "greeting", "hello").code == 0
    again = told(call, "run")
    assert (again["revision"], again["made"], again["reused"]) == ("rev-0003", 0, 4)
