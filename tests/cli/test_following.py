"""`status --follow`: a run seen from another terminal."""

from __future__ import annotations

import json
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.cli.conftest import BLUEPRINT, Call
from tests.terminals import PROGRAM, Terminal

SLOW = BLUEPRINT.replace(
    "'cat request.json > outputs/text'",
    "'until [ $RENKU_JOB = \"word[0]\" -o -e $GO ]; do sleep 0.02; done; cat request.json > outputs/text'",
)


def start(*arguments: str) -> subprocess.Popen[str]:
    return subprocess.Popen([PROGRAM, *arguments], text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE)


def rest(process: subprocess.Popen[str]) -> str:
    """What is still to be read, until the end: `communicate` does not know what `readline` has read ahead."""
    with process:
        assert process.stdout is not None
        return process.stdout.read()


def read_line(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    return process.stdout.readline()


def until_progress(place: Path) -> Path:
    """Wait until the run that was started can be followed; gives its file."""
    end = time.monotonic() + 600
    while True:
        found = list((place / "builds" / "tiny" / "tmp").glob("progress-*.jsonl"))
        if found and b'word[0]","status":"made"' in found[0].read_bytes():
            return found[0]
        assert time.monotonic() < end, "it did not begin"
        time.sleep(0.02)


@pytest.fixture
def going(call: Call, movie: str, place: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[subprocess.Popen[str]]:
    """A run with one job made; the others wait until there is a file `go`."""
    monkeypatch.setenv("GO", str(place / "go"))
    (place / "slow.yaml").write_text(SLOW)
    assert call("set", "@blueprint", "@slow.yaml").code == 0
    with start("run", "--json", "-c", "2") as process:
        until_progress(place)
        yield process
        (place / "go").touch()
        process.communicate(timeout=600)


def test_another_terminal_sees_the_lines_of_the_run(going: subprocess.Popen[str], place: Path) -> None:
    """From its beginning to its end, whenever it was joined; the last line says how it ended."""
    follower = start("status", "--follow")
    first = read_line(follower)
    (place / "go").touch()
    out = rest(follower)
    report = json.loads(going.communicate(timeout=600)[0])
    assert follower.returncode == 0
    assert first.startswith("made  word[0]  ")
    *lines, last = [first, *out.splitlines()]
    assert {line.split("  ")[1] for line in lines} == {"word[0]", "word[1]", "word[2]", "book"}
    assert last == f"{report['run']}: published rev-0001: made 4, reused 0, $0.00."
    assert not list((place / "builds" / "tiny" / "tmp").glob("progress-*"))


def test_the_events_are_those_that_the_run_itself_tells(going: subprocess.Popen[str], place: Path) -> None:
    """One JSON object a line, the same as of `run --events`."""
    follower = start("--json", "status", "--follow")
    first = read_line(follower)
    (place / "go").touch()
    out = rest(follower)
    events = [json.loads(line) for line in [first, *out.splitlines()]]
    assert (follower.returncode, events[0]["event"], events[-1]["event"]) == (0, "run-started", "run-finished")
    finished = {event["job"] for event in events if event["event"] == "job-finished"}
    assert finished == set(json.loads(going.communicate(timeout=600)[0])["jobs"])


def test_a_terminal_shows_the_view_of_the_run(going: subprocess.Popen[str], place: Path) -> None:
    """The same live view, and the same last line."""
    terminal = Terminal("status", "--follow")
    terminal.until_shown("2 of 2 calls at work, 1 queued")
    terminal.until_shown("running")
    (place / "go").touch()
    assert terminal.ended() == 0
    assert "4 of 4 jobs, 4 made" in terminal.seen
    assert "published rev-0001: made 4" in terminal.seen


def test_a_killed_run_ends_its_followers(going: subprocess.Popen[str], call: Call, place: Path) -> None:
    """They say that it ended without a word; what it left goes with a collection, and harms no next run."""
    follower = start("status", "--follow")
    read_line(follower)
    left = until_progress(place)
    going.send_signal(signal.SIGKILL)
    out = rest(follower)
    assert follower.returncode == 0
    assert "ended without a word" in out.splitlines()[-1]
    assert left.exists()
    (place / "go").touch()
    assert call("run", "--json").json["status"] == "published"
    assert not left.exists(), "the run was taken up under its name"


def test_where_no_run_goes_on_that_is_all_there_is_to_say(call: Call, built: str) -> None:
    """No error: nobody has to look before."""
    done = call("status", "--follow")
    assert (done.code, done.out, done.err) == (0, "", "No run of tiny is going on.\n")
    done = call("status", "--follow", "--json")
    assert (done.code, done.out) == (0, "")
