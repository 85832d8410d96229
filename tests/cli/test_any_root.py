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


def test_a_movie_through_its_whole_life(tiny: Root, call: Call, place: Path) -> None:
    """Run, edit, run, go back, let old revisions go for good, take away, copy: at each step what is there is whole."""
    assert told(call, "run")["revision"] == "rev-0001"
    (place / "mine.txt").write_text("ONE, by hand")
    assert call("edit", "word[0].text", "@mine.txt").code == 0
    edited = told(call, "run")
    assert (edited["revision"], edited["made"]) == ("rev-0002", 1)
    book = call("cat", "book.text").out
    assert told(call, "edit", "word[0].text", "--undo")["artefact"] == "word[0].text"
    back = told(call, "run")
    assert (back["revision"], back["made"]) == ("rev-0003", 0)
    rolled = told(call, "rollback", "rev-0002")
    assert (rolled["revision"], rolled["status"]) == ("rev-0004", "published")
    assert call("cat", "book.text").out == book
    assert told(call, "run")["status"] == "unchanged"
    pruned = told(call, "prune", "--keep-last", "1")
    assert [kept["revision"] for kept in pruned["kept"]] == ["rev-0004"]
    assert sorted(gone["revision"] for gone in pruned["removed"]) == ["rev-0001", "rev-0002", "rev-0003"]
    collected = told(call, "gc", "--grace", "0s", "--trash", "0s", "--force")
    assert collected["expired"] == 3
    assert told(call, "fsck")["ok"]
    assert call("cat", "book.text", "--rev", "rev-0001").code == 2
    told(call, "export", "latest", "out")
    assert (place / "out/book.text.txt").read_text() == book
    assert (place / "out/word[0].text.txt").read_text() == "ONE, by hand"
    lose_database(tiny, "tiny")
    assert told(call, "run")["status"] == "unchanged"
    copied = told(call, "copy", tiny.url, "backup")
    assert copied["movies"][0]["revision"] == "rev-0004"
    assert told(call, "--root", "backup", "fsck")["ok"]
    assert call("--root", "backup", "cat", "book.text").out == book
