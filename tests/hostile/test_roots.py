"""Roots that are files, are not there, cannot be named in UTF-8, or were written by something else."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

import pytest

from renku_store import NotFoundError, StoreUnavailableError, UnsupportedFormatError, open_store
from tests.cli.conftest import Call, program
from tests.hostile.conftest import JOBS, Ledger, Look

EVERY = [
    ["log"],
    ["inspect"],
    ["diff", "1", "2"],
    ["cat", "reel.video"],
    ["plan"],
    ["status"],
    ["events"],
    ["export", "latest", "out"],
    ["run"],
    ["set", "greeting", "never"],
]


@pytest.mark.parametrize("root", ["file", "file/below", "link"])
def test_a_root_that_is_a_file_is_refused_by_every_command(call: Call, place: Path, root: str, look: Look) -> None:
    """With 5, its path, and the file as it was."""
    (place / "file").write_text("precious")
    (place / "link").symlink_to("file")
    before = look(place)
    for command in [*EVERY, ["movies"], ["init", "film"]]:
        called = call("--root", root, "--movie", "film", *command, "--json")
        assert (called.code, called.error["kind"]) == (5, "StoreUnavailableError"), command
        assert str(place / root.partition("/")[0]) in called.error["message"]
    assert call("demo", root).code in {2, 5}
    with pytest.raises(StoreUnavailableError):
        open_store(place / root)
    assert look(place) == before


def test_a_root_that_is_not_there_is_empty_and_is_not_made_by_looking(call: Call, place: Path) -> None:
    """Only `init` makes it, with all folders above."""
    root = "not/there/yet"
    assert call("--root", root, "movies", "--json").json == []
    for command in EVERY:
        called = call("--root", root, *command, "--json")
        assert (called.code, called.error["kind"]) == (2, "NotFoundError"), command
        called = call("--root", root, "--movie", "film", *command, "--json")
        assert (called.code, called.error["kind"]) == (2, "NotFoundError"), command
    with open_store(place / root) as store, pytest.raises(NotFoundError):
        store.movie("film")
    assert not (place / "not").exists()
    assert call("--root", root, "init", "film").code == 0
    assert (place / root / "film" / "format.json").is_file()


def test_a_root_that_leads_nowhere_is_refused(call: Call, place: Path) -> None:
    """A link to nothing and a circle of links are told apart from an empty root."""
    (place / "nowhere").symlink_to("gone/gone")
    (place / "circle").symlink_to("circle")
    for root in ("nowhere", "circle"):
        for command in ("movies", "log"):
            called = call("--root", root, command)
            assert called.code == 5, (root, command, called)
            assert root in called.err


@pytest.mark.parametrize(
    "content",
    [
        '{"format":2,"hash":"blake3"}',
        '{"format":1,"hash":"sha256"}',
        '{"format":"1","hash":"blake3"}',
        '{"format":true,"hash":"blake3"}',
        '{"format":2,"hash":["blake3"],"more":{}}',
        "{}",
        "[]",
        "null",
        "",
        "\x00garbage",
        "[" * 100_000,
    ],
)
def test_an_unknown_format_is_refused_by_every_command_and_touched_by_none(
    call: Call, place: Path, shown: Path, content: str, look: Look
) -> None:
    """A newer version's movie is left alone; the list of movies says so, too."""
    shutil.rmtree(shown / "tmp", ignore_errors=True)
    (shown / "format.json").write_text(content)
    before = look(shown)
    for command in [*EVERY, ["movies"]]:
        called = call(*command, "--json")
        assert (called.code, called.error["kind"]) == (5, "UnsupportedFormatError"), (command, called.err)
        assert len(called.error["message"]) < 300
    with open_store(place / "builds") as store, pytest.raises(UnsupportedFormatError):
        store.movie("film")
    assert look(shown) == before


@pytest.mark.parametrize("content", [b"", b"garbage " * 1000, b"SQLite format 3\0" + b"\xff" * 9000, b"short"])
def test_a_database_that_is_none_is_said_to_be_and_removing_it_brings_everything_back(
    call: Call, shown: Path, ledger: Ledger, content: bytes
) -> None:
    """The objects are the truth: nothing that was published or made is lost with the index."""
    log, events = call("log", "--json").json, call("events", "--json").out.splitlines()
    database = shown / "metadata.db"
    for path in shown.glob("metadata.db*"):
        path.unlink()
    database.write_bytes(content)
    if content:
        for command in EVERY:
            called = call(*command, "--json")
            assert (called.code, called.error["kind"]) == (4, "DamageError"), (command, called.err)
            assert "metadata.db" in called.error["message"]
            assert "metadata.db" in called.error["hint"]
        assert database.read_bytes() == content
        for path in shown.glob("metadata.db*"):
            path.unlink()
    assert call("log", "--json").json == log
    assert {json.loads(line)["id"] for line in call("events", "--json").out.splitlines()} >= {
        json.loads(line)["id"] for line in events if json.loads(line)["type"] != "run"
    }
    assert call("run", "--json").json["status"] == "unchanged"
    assert call("set", "greeting", "good day").code == 0
    assert call("run").code == 0
    ledger.clear()
    assert call("set", "greeting", "hello").code == 0
    assert call("run", "--json").json["reused"] == 4
    assert not ledger.calls


def test_a_database_that_is_damaged_in_the_middle_never_gives_a_traceback(call: Call, twice: Path) -> None:
    """Pages of zeros, one after the other: each command ends with 0 or 4."""
    call("movies")
    database = twice / "metadata.db"
    whole = database.read_bytes()
    for start in range(0, len(whole), 8192):
        for path in twice.glob("metadata.db*"):
            path.unlink()
        database.write_bytes(whole[:start] + bytes(8192) + whole[start + 8192 :])
        for command in (["log"], ["events"], ["status"], ["plan"], ["set", "greeting", f"{start}"]):
            called = call(*command)
            assert called.code in {0, 4}, (start, command, called.err)


BYTES = b"caf\xe9 \xff"


def test_paths_that_are_not_utf8_are_used_as_they_are(place: Path, film: Path, ledger: Ledger) -> None:
    """As root, as a file to read, as a place to export to; and shown as escapes, also as JSON."""
    root, source, target = (os.fsdecode(kind + BYTES) for kind in (b"root ", b"source ", b"target "))
    film.parent.rename(place / root)
    (place / source).write_text("good day")
    for command in (
        ["set", "greeting", f"@{source}", "--json"],
        ["run"],
        ["export", "latest", target, "--json"],
        ["movies"],
        ["log", "--json"],
    ):
        ended = program("--root", root, *command, errors="strict")
        assert ended.returncode == 0, (command, ended.stderr)
        assert json.loads(ended.stdout) if "--json" in command else ended.stdout
    assert ledger.calls == JOBS
    assert "good day" in next((place / target).glob("**/*.mp4")).read_text()
    for command in (["--movie", "gone", "log"], ["set", "greeting", f"@{source}-gone"], ["init", "film"]):
        ended = program("--root", root, *command, "--json", errors="strict")
        assert ended.returncode in {2, 3}
        assert json.loads(ended.stderr)["error"]["message"]
    assert r"caf\xe9 \xff" in program("--root", root, "--movie", "gone", "log", errors="strict").stderr
    ended = program("--root", root, "log", env={**os.environ, "LC_ALL": "C", "PYTHONUTF8": "0"})
    assert (ended.returncode, ended.stderr) == (0, "")


def test_a_home_that_is_not_set_is_not_needed(place: Path, shown: Path) -> None:
    """Neither to run, nor for the settings, nor by `doctor`."""
    environment = {name: value for name, value in os.environ.items() if name not in {"HOME", "XDG_CONFIG_HOME"}}
    for command, more in ((["run"], {}), (["config"], {}), (["doctor"], {"HOME": ""})):
        ended = program(*command, env={**environment, **more})
        assert ended.returncode == 0, ended.stderr
