"""A read-only root, and one on a file system where names are taken in one way only."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path

import pytest

from tests import children
from tests.cli.conftest import Call
from tests.hostile.conftest import BLUEPRINT, JOBS, LINES, Ledger, Look

PROGRAM = "import sys; from renku_cli.main import run; sys.exit(run())"
MANY = """
import contextlib, io, json, sys, warnings
from renku_cli.main import run
answers = []
for command in json.loads(sys.argv[1]):
    out, err = (io.TextIOWrapper(io.BytesIO(), write_through=True) for _ in range(2))
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        code = run(command)
    answers.append([code, *(stream.buffer.getvalue().decode(errors="replace") for stream in (out, err))])
print(json.dumps(answers))
"""
DYING = """
import os, sys
from renku_store import open_store, set_inputs
movie = open_store(sys.argv[1]).movie("film")
set_inputs(movie, {"greeting": "later"})
os._exit(0)
"""
READING = [
    ["movies"],
    ["log"],
    ["inspect"],
    ["inspect", "1"],
    ["diff", "1", "2"],
    ["cat", "reel.video"],
    ["cat", "reel.video", "--rev", "1"],
    ["plan"],
    ["run", "--dry-run"],
    ["explain"],
    ["status"],
    ["doctor"],
]
WRITING = [
    ["set", "greeting", "never"],
    ["run"],
    ["init", "film"],
    ["init", "new"],
]


def answers(prefix: list[str], commands: list[list[str]]) -> list[tuple[int, str, str]]:
    """What each command says, run by way of a prefix."""
    ended = children.run(MANY, json.dumps(commands), prefix=prefix)
    assert ended.code == 0, ended.err
    return [tuple(answer) for answer in json.loads(ended.out)]


@pytest.mark.parametrize("index", ["at rest", "with a log", "gone"])
def test_a_read_only_root_is_read_whole_and_not_touched(
    call: Call, place: Path, twice: Path, ledger: Ledger, look: Look, index: str
) -> None:
    """What only looks says what it says elsewhere; what would write ends with 5; no file changes or comes.

    With the database an edit goes that no run has taken: then a run has nothing to do, and says so.
    """
    assert call("set", "greeting", "pending").code == 0
    if index == "gone":
        (twice / "metadata.db").unlink()
    if index == "with a log":
        ended = children.run(DYING, twice.parent)
        assert ended.code == 0, ended.err
        assert (twice / "metadata.db-wal").stat().st_size
    commands = [*READING, ["export", "latest", "out"], ["events"]]
    prefix = children.on_read_only(twice.parent)
    before = look(twice.parent)
    given = answers(prefix, [*commands, *WRITING])
    assert look(twice.parent) == before
    assert (place / "out").is_dir()
    for command, (code, out, err) in zip([*commands, *WRITING], given, strict=True):
        expected = 5 if command in WRITING and not (command == ["run"] and index == "gone") else 0
        assert code == expected, (command, out, err)
        assert "Traceback" not in err
    if index != "gone":
        assert "pending" in given[commands.index(["status"])][1] or "later" in given[commands.index(["status"])][1]
        assert given[commands.index(["plan"])][1].count("dirty") >= 3
    assert not ledger.calls
    shutil.rmtree(place / "out")
    for command, (_, out, _) in zip(commands, given, strict=False):
        if command[0] not in {"doctor", "export", "events"} and index != "gone":
            assert call(*command).out == out, command


def test_a_read_only_root_without_movies_is_empty_and_stays_so(call: Call, place: Path, look: Look) -> None:
    """Nor can one be made there."""
    (place / "builds").mkdir()
    prefix = children.on_read_only(place / "builds")
    before = look(place / "builds")
    given = answers(prefix, [["movies"], ["log"], ["init", "new"], ["doctor"]])
    assert [code for code, _, _ in given[:3]] == [0, 2, 5]
    assert look(place / "builds") == before


NO_LINKS = "link,linkat"


@pytest.mark.parametrize(
    ("inject", "instead"),
    [
        (f"{NO_LINKS}:error=EPERM", r"renameat2\(.*/manifests/rev-0001\.json.*RENAME_NOREPLACE\)\s+= 0"),
        (f"{NO_LINKS}:error=EOPNOTSUPP", r"renameat2\(.*/manifests/rev-0001\.json.*RENAME_NOREPLACE\)\s+= 0"),
        ("renameat2:error=EINVAL", r"link(at)?\(.*/blobs/.*\)\s+= 0"),
        ("renameat2:error=ENOSYS", r"link(at)?\(.*/blobs/.*\)\s+= 0"),
    ],
)
def test_where_names_are_taken_in_one_way_only_a_movie_goes_from_init_to_a_revision(
    call: Call, place: Path, film: Path, ledger: Ledger, inject: str, instead: str
) -> None:
    """A rename that does not replace does what a link does elsewhere, and the other way round."""
    shutil.rmtree(film)
    (place / "lines.json").write_text(json.dumps({"lines": LINES}))
    (place / "film.yaml").write_text(BLUEPRINT)
    commands = [["set", "--file", "lines.json"], ["run"], ["log"], ["doctor"], ["cat", "reel.video"]]
    ended, calls = children.trace(PROGRAM, "init", "film", "--blueprint", "film.yaml", log=place / "log", inject=inject)
    assert ended.code == 0, ended.err
    ended, calls = children.trace(MANY, json.dumps(commands), log=place / "log", inject=inject)
    assert ended.code == 0, ended.err
    assert [code for code, _, _ in json.loads(ended.out)] == [0] * len(commands), ended.out
    assert any("INJECTED" in line for line in calls)
    assert any(re.match(instead, line) for line in calls)
    assert ledger.calls == JOBS
    assert call("cat", "reel.video").code == 0
    assert call("run", "--json").json["status"] == "unchanged"


def test_where_no_name_can_be_taken_atomically_the_root_is_refused_by_name(
    call: Call, place: Path, film: Path, ledger: Ledger
) -> None:
    """Without links and without such a rename, two writers could both win: nothing is created."""
    shutil.rmtree(film)
    (place / "film.yaml").write_text(BLUEPRINT)
    for command in (["init", "film", "--blueprint", "film.yaml", "--json"],):
        ended, _ = children.trace(PROGRAM, *command, log=place / "log", inject=f"{NO_LINKS},renameat2:error=EINVAL")
        assert ended.code == 5, ended
        error = json.loads(ended.err.splitlines()[-1])["error"]
        assert error["kind"] == "UnsafeDriverError"
        assert error["hint"]
    assert call("movies", "--json").json == []


def test_a_movie_that_moves_to_such_a_file_system_can_be_read_and_not_published(
    call: Call, place: Path, shown: Path, ledger: Ledger
) -> None:
    """What was made is kept, and published once the movie is back."""
    assert call("set", "greeting", "good day").code == 0
    ended, _ = children.trace(
        MANY,
        json.dumps([["log"], ["cat", "reel.video"], ["run", "--json"]]),
        log=place / "log",
        inject=f"{NO_LINKS},renameat2:error=EINVAL",
    )
    given = json.loads(ended.out)
    assert [code for code, _, _ in given] == [0, 0, 5]
    assert json.loads(given[2][2].splitlines()[-1])["error"]["kind"] == "UnsafeDriverError"
    calls = ledger.calls
    assert call("run", "--json").json["revision"] == "rev-0002"
    assert ledger.calls == calls == JOBS
