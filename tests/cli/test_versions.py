"""`edit`, `takes` and `accept` as a person uses them."""

from __future__ import annotations

import io
import sys
from pathlib import Path

import pytest

from tests.cli.conftest import Call


def test_edit_puts_a_file_in_the_place_of_an_artefact_and_back(call: Call, built: str, place: Path) -> None:
    """The JSON has the artefact and its hash, both ways."""
    made = call("inspect", "--json").json["artefacts"]["word[1].text"]["hash"]
    (place / "own.txt").write_text("my own words")
    done = call("edit", "word[1].text", "@own.txt", "--json").json
    assert done.keys() == {"artefact", "hash"}
    [pending] = call("status", "--json").json["pending"]
    assert (pending["artefact"], pending["status"], pending["value"]["hash"]) == (
        "word[1].text",
        "edited",
        done["hash"],
    )
    assert "a person's version" in call("status").out
    ran = call("run", "--json").json
    assert (ran["status"], ran["made"]) == ("published", 1)
    assert call("cat", "word[1].text").out == "my own words"
    assert "user (edited)" in call("inspect").out
    assert "edited by user" in call("diff", "rev-0001", "rev-0002").out
    held = call("inspect", "--json").json["artefacts"]["word[1].text"]
    assert (held["editedBy"], held["made"]["hash"]) == ("user", made)
    undone = call("edit", "word[1].text", "--undo", "--json").json
    assert undone == {"artefact": "word[1].text", "hash": made}
    assert call("run", "--json").json["made"] == 0
    assert "edited" in call("events", "word[1].text").out


def test_an_edit_that_is_undone_before_a_run_is_not_pending(call: Call, built: str, place: Path) -> None:
    """No run would take notice of it; the audit trail has both."""
    (place / "own.txt").write_text("my own words")
    assert call("edit", "word[1].text", "@own.txt").code == 0
    assert call("edit", "word[1].text", "--undo").code == 0
    assert call("status", "--json").json["pending"] == []
    assert "Nothing is pending." in call("status").out
    assert "edit-undone" in call("events", "word[1].text").out


def test_edit_reads_standard_input(call: Call, built: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """`@-` is not a file."""
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b"from a pipe")))
    assert call("edit", "word[0].text", "@-").code == 0
    assert call("run").code == 0
    assert call("cat", "word[0].text").out == "from a pipe"


def test_explain_says_whose_version_stands_and_how_to_undo_it(call: Call, built: str, place: Path) -> None:
    """For the artefact itself, and for what reads it."""
    (place / "own.txt").write_text("my own words")
    call("edit", "word[1].text", "@own.txt")
    undo = "Undo user's version of word[1].text: renku-store edit 'word[1].text' --undo"
    assert undo in call("explain", "book", "--json").json["silencedBy"]
    assert undo in call("explain", "word[1]").out
    assert "it does not run. edited: word[1].text (by user)." in call("explain", "word[1]").out
    assert "run --pin book" in call("explain", "book").out


def test_a_run_warns_of_what_changed_under_a_version(call: Call, built: str, place: Path) -> None:
    """As the plan does."""
    (place / "own.txt").write_text("my own words")
    call("edit", "word[1].text", "@own.txt")
    call("run")
    call("set", "greeting", "good day")
    for command in ("plan", "run"):
        assert "word[1].text stays user's version, though: input changed: greeting" in call(command).err


@pytest.mark.parametrize(
    ("arguments", "message", "hint"),
    [
        (["word[1].text"], "no file to take", "@FILE"),
        (["word[1].text", "own.txt"], "not of the form @FILE", "@FILE"),
        (["word[1].text", "@"], "not of the form @FILE", "@FILE"),
        (["word[1].text", "@own.txt", "--undo"], "takes no file", "@FILE"),
        (["word[1].text", "@none.txt"], "There is no file none.txt", "path"),
        (["word[1].text", "@."], "is a folder", "Name a file"),
        (["word[1].txt", "@own.txt"], "No job makes", "Did you mean word[1].text"),
        (["book.index", "@own.txt"], "is JSON", "Mend"),
        (["word[1].text", "--undo"], "nothing to undo", "status"),
        (["word[1].text", "@own.txt", "--mime-type", "txt"], "no MIME type", "image/png"),
        (["word[1].text", "@own.txt", "--mime-type", "image/png"], "is image/png, and own.txt is text", "Convert"),
        (["word[1].text", "@own.png"], "is text/plain, and own.png is PNG data", "--mime-type"),
    ],
)
def test_edit_refuses_with_2_and_a_hint(
    call: Call, built: str, place: Path, arguments: list[str], message: str, hint: str
) -> None:
    """Nothing is left pending."""
    (place / "own.txt").write_text("my own words")
    (place / "own.png").write_bytes(b"\x89PNG\r\n\x1a\n")
    done = call("edit", *arguments, "--json")
    assert done.code == 2
    assert message in done.error["message"]
    assert hint in done.error["hint"]
    assert call("status", "--json").json["pending"] == []


def test_takes_are_listed_compared_and_chosen(call: Call, built: str, place: Path) -> None:
    """The JSON is the same for all: one entry a take, newest first."""
    blueprint = (place / "tiny.yaml").read_text()
    (place / "tiny.yaml").write_text(blueprint.replace("cat request.json >", "od -An -N8 -tx1 /dev/urandom >"))
    call("run", "--blueprint", "tiny.yaml")
    call("run", "--regen", "word[1]")
    found = call("takes", "word[1].text", "--json").json
    assert [(take["take"], take["revision"], take["current"]) for take in found] == [
        (3, "rev-0003", True),
        (2, "rev-0002", False),
        (1, "rev-0001", False),
    ]
    assert {"take", "hash", "revision", "createdAt", "cost", "current"} <= found[0].keys()
    shown = call("cat", "word[1].text", "--take", "2").out
    assert shown == call("cat", "word[1].text", "--rev", "rev-0002").out
    assert call("cat", "word[1].text", "--take", "2", "--json").json["hash"] == found[1]["hash"]
    chosen = call("takes", "word[1].text", "--use", "2", "--json").json
    assert [take["take"] for take in chosen if take["current"]] == [2]
    assert "a chosen take" in call("status").out
    assert "takes 'word[1].text'" in call("explain", "book").out
    ran = call("run", "--json").json
    assert (ran["status"], ran["made"]) == ("published", 0)
    assert call("cat", "word[1].text").out == shown
    lines = call("takes", "word[1].text").out.splitlines()
    assert lines[0].split("\t") == ["take", "created", "revision", "cost", "size", "hash", "state"]
    assert [line.split("\t")[-1] for line in lines[1:]] == ["-", "current", "-"]
    assert "stands already" in call("takes", "word[1].text", "--use", "2").out
    assert "stands now" in call("takes", "word[1].text", "--use", "3").out
    call("run")
    call("set", "greeting", "good day")
    assert "stands now" in call("takes", "word[1].text", "--use", "3").out
    assert "stands already" in call("takes", "word[1].text", "--use", "3").out


def test_takes_of_what_was_not_made_are_none(call: Call, movie: str) -> None:
    """An empty list, and a sentence."""
    assert call("takes", "word[0].text", "--json").json == []
    assert "not made yet" in call("takes", "word[0].text").out


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["takes", "word[1].txt"], "No job makes"),
        (["takes", "word[1].text", "--use", "9"], "There is no take 9"),
        (["takes", "word[1].text", "--use", "0"], "0"),
        (["takes", "word[1].text", "--use", "one"], "one"),
        (["cat", "word[1].text", "--take", "9"], "There is no take 9"),
        (["cat", "word[1].text", "--take", "1", "--rev", "rev-0001"], "no one revision"),
        (["accept", "word"], "is clean"),
        (["accept", "wrd"], "wrd"),
    ],
)
def test_what_cannot_be_chosen_is_refused_with_2(call: Call, built: str, arguments: list[str], message: str) -> None:
    """In one sentence."""
    done = call(*arguments, "--json")
    assert done.code == 2
    assert message in done.error["message"]


def test_accept_adopts_what_a_changed_producer_made(call: Call, built: str, place: Path) -> None:
    """`explain` offers it; the next run calls nobody."""
    blueprint = (place / "tiny.yaml").read_text()
    call("set", "@blueprint", "@tiny.yaml")
    (place / "tiny.yaml").write_text(blueprint.replace("    for: [line]\n", "    for: [line]\n    version: 2\n"))
    call("set", "@blueprint", "@tiny.yaml")
    assert "renku-store accept word" in call("explain", "word[0]").out
    accepted = call("accept", "word", "--json").json
    assert [entry["job"] for entry in accepted] == ["word[0]", "word[1]", "word[2]"]
    assert all(len(entry["signature"]) == 64 for entry in accepted)
    assert "accepted as it is" in call("status").out
    assert call("plan", "--json").json["layers"] == []
    assert call("run", "--json").json["made"] == 0
    assert call("run", "--json").json["status"] == "unchanged"
