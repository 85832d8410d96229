"""Runs that are interrupted, killed or doubled, and readers that go away."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from renku_store import open_store
from tests import children
from tests.cli.conftest import Call
from tests.hostile.conftest import BLUEPRINT, JOBS, Ledger, working
from tests.terminals import CTRL_C, Terminal

PROGRAM = "import sys; from renku_cli.main import run; sys.exit(run())"
SLOW = BLUEPRINT.replace(
    "cat request.json > outputs/audio",
    'sleep "${PAUSE:-0}"; cat request.json > outputs/audio; echo "$RENKU_JOB" >> "$LEDGER.ended"',
)
LONG = ["a", "b", "c", "d", "e", "f", "g", "h"]
WAIT_SECONDS = 300


def start(*arguments: str, **environment: str) -> subprocess.Popen[str]:
    """The installed program, beside this one."""
    return subprocess.Popen(
        [str(Path(sys.executable).parent / "renku-store"), *arguments],
        env={**os.environ, **environment},
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )


def said(child: subprocess.Popen[str], words: str) -> None:
    """Wait until a program has said something on standard error."""
    assert child.stderr is not None
    assert any(words in line for line in child.stderr), f"it ended without {words!r}"


def until(happened: Callable[[], bool]) -> None:
    """Wait for something that is sure to happen."""
    end = time.monotonic() + WAIT_SECONDS
    while not happened():
        assert time.monotonic() < end, "it did not happen"
        time.sleep(0.01)


def stored(place: Path, *, before: str | None = None) -> set[str]:
    """The jobs whose results are stored, those of the run `before` left out."""
    with open_store(place / "builds") as store, store.movie("film") as movie:
        events = [event for event in movie.events.stream() if event.type == "artefact" and event.run != before]
        return {event.job or "" for event in events if event.status == "succeeded"}


@pytest.fixture
def slow(call: Call, place: Path, film: Path, ledger: Ledger) -> Path:
    """The movie with eight jobs that take as long as PAUSE says, and one after them."""
    (place / "slow.yaml").write_text(SLOW)
    (place / "ledger.txt.ended").touch()
    assert call("set", "@blueprint", "@slow.yaml").code == 0
    assert call("set", "lines", json.dumps(LONG)).code == 0
    return film


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupted_run_leaves_no_process_and_loses_no_result(
    call: Call, place: Path, slow: Path, ledger: Ledger, number: signal.Signals
) -> None:
    """Exit code 130; what had finished is not made again; nobody goes on working."""
    child = start("run", "--json", "-c", "2", PAUSE="0.2")
    ended = place / "ledger.txt.ended"
    until(lambda: len(ended.read_text().split()) >= 3)
    child.send_signal(number)
    out, err = child.communicate(timeout=WAIT_SECONDS)
    assert child.returncode == 130, err
    report = json.loads(out)
    assert report["status"] == "interrupted"
    assert "Traceback" not in err
    assert not working(place)
    made = {job for job, result in report["jobs"].items() if result["status"] == "made"}
    assert len(made) >= 2
    assert stored(place) == made
    assert "cancelled" in {result["status"] for result in report["jobs"].values()}
    before = ledger.calls
    assert call("run", "--json").json["status"] == "published"
    assert all(ledger.calls[job] == 1 for job in made)
    assert all(count == before[job] + 1 for job, count in ledger.calls.items() if job not in made)


def test_the_first_interruption_waits_for_what_runs_and_says_so(
    call: Call, place: Path, slow: Path, ledger: Ledger
) -> None:
    """Every call that was begun is paid for, so its result is worth the wait; nothing is begun any more."""
    child = start("run", "--json", "-c", "2", PAUSE="1")
    until(lambda: len(ledger.calls) == 2)
    begun = set(ledger.calls)
    child.send_signal(signal.SIGINT)
    out, err = child.communicate(timeout=WAIT_SECONDS)
    assert child.returncode == 130, err
    assert set(ledger.calls) == begun
    told = next(line for line in err.splitlines() if line.startswith("Waiting for "))
    assert all(job in told for job in begun)
    assert "Ctrl-C again cancels" in err
    report = json.loads(out)
    assert {job for job, result in report["jobs"].items() if result["status"] == "made"} == begun == stored(place)
    assert call("run", "--json").json["status"] == "published"
    assert set(ledger.calls.values()) == {1}


def test_a_second_interruption_ends_a_run_that_does_not_end(place: Path, slow: Path, ledger: Ledger) -> None:
    """Nothing is half published by it."""
    (place / "slow.yaml").write_text(SLOW.replace("sleep ", "trap : TERM; sleep 100 & wait; wait; sleep "))
    child = start("run", "--blueprint", "slow.yaml", "-c", "2")
    until(lambda: len(ledger.calls) >= 2)
    child.send_signal(signal.SIGINT)
    time.sleep(0.3)
    child.send_signal(signal.SIGINT)
    _, err = child.communicate(timeout=WAIT_SECONDS)
    assert child.returncode in {130, -signal.SIGINT}
    assert "Traceback" not in err
    until(lambda: not working(place))


def test_the_second_interruption_cancels_what_runs(call: Call, place: Path, slow: Path, ledger: Ledger) -> None:
    """Programs that would go on for an hour are ended; the next run makes what they were about."""
    child = start("run", "--json", "-c", "2", PAUSE="3600")
    until(lambda: len(ledger.calls) == 2)
    child.send_signal(signal.SIGTERM)
    said(child, "Waiting for")
    assert child.poll() is None, "it waits"
    child.send_signal(signal.SIGTERM)
    out, err = child.communicate(timeout=WAIT_SECONDS)
    assert child.returncode == 130, err
    assert "Traceback" not in err
    assert {result["status"] for result in json.loads(out)["jobs"].values()} == {"cancelled"}
    assert not working(place)
    assert call("run", "--json").json["status"] == "published"


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_the_third_interruption_exits_at_once_and_loses_no_result(
    call: Call, place: Path, slow: Path, ledger: Ledger, number: signal.Signals
) -> None:
    """Programs that take no notice of being asked to end are gone with it; what was stored is not made again."""
    (place / "slow.yaml").write_text(SLOW.replace("sleep ", 'trap "" TERM; [ "$RENKU_JOB" = "sound[0]" ] || sleep '))
    child = start("run", "--blueprint", "slow.yaml", "-c", "2", PAUSE="3600")
    until(lambda: len(ledger.calls) >= 3)
    kept = stored(place)
    assert len(kept) == 1
    for answer in ("Waiting for", "Cancelling"):
        child.send_signal(number)
        said(child, answer)
    child.send_signal(number)
    _, err = child.communicate(timeout=WAIT_SECONDS)
    assert child.returncode == 130
    assert "Exiting at once" in err
    assert "Traceback" not in err
    until(lambda: not working(place))
    before = ledger.calls
    assert call("run", "--blueprint", "slow.yaml", "--json").json["status"] == "published"
    assert all(ledger.calls[job] == before[job] for job in kept)


def test_ctrl_c_on_a_terminal_reaches_the_run_and_none_of_its_programs(
    call: Call, place: Path, slow: Path, ledger: Ledger
) -> None:
    """The terminal sends it to all in the foreground; a program that got it would end, and be called again."""
    terminal = Terminal("run", "-c", "2", PAUSE="1")
    until(lambda: len(ledger.calls) == 2)
    begun = set(ledger.calls)
    terminal.type(CTRL_C)
    terminal.until_shown("Waiting for")
    assert terminal.ended() == 130, terminal.seen
    assert stored(place) == begun == set(ledger.calls)
    assert call("run", "--json").json["status"] == "published"
    assert set(ledger.calls.values()) == {1}


def test_three_times_ctrl_c_on_a_terminal_leaves_it_as_it_was(place: Path, slow: Path, ledger: Ledger) -> None:
    """Each level is told of; the cursor, which the view hides, is shown again."""
    (place / "slow.yaml").write_text(SLOW.replace("sleep ", 'trap "" TERM; sleep '))
    terminal = Terminal("run", "--blueprint", "slow.yaml", "-c", "2", PAUSE="3600")
    until(lambda: len(ledger.calls) == 2)
    for told in ("Waiting for", "Ctrl-C again exits at once", "Exiting at once"):
        terminal.type(CTRL_C)
        terminal.until_shown(told)
    assert terminal.ended() == 130, terminal.seen
    assert terminal.seen.rindex("\x1b[?25h") > terminal.seen.rindex("\x1b[?25l")
    until(lambda: not working(place))


@pytest.mark.parametrize("pause", [0.4, 0.55, 0.7, 0.9])
def test_a_killed_run_is_continued_and_nothing_stored_is_made_again(
    call: Call, place: Path, slow: Path, ledger: Ledger, pause: float
) -> None:
    """At whatever moment: during start, calls, storing or publishing."""
    child = start("run", "-c", "2", PAUSE="0.05")
    time.sleep(pause)
    child.kill()
    child.communicate()
    until(lambda: not working(place))
    kept, before = stored(place), ledger.calls
    called = call("run", "--json")
    assert called.code == 0, called
    assert called.json["status"] in {"published", "unchanged"}
    assert len(call("log", "--json").json) == 1
    assert all(ledger.calls[job] == before[job] for job in kept)
    again = {job for job, count in ledger.calls.items() if count > 1}
    assert len(again) <= 2
    assert not again & kept


@pytest.mark.parametrize(
    ("moment", "at"),
    [
        ("fsync", "runs"),
        ("renameat2", None),
        ("fdatasync", "metadata.db-wal"),
        ("fsync", "events"),
        ("link", "manifests/rev-0002.json"),
        ("fsync", "manifests"),
        ("flock", "locks/swap/current.json"),
        ("fsync", "."),
    ],
)
def test_a_run_that_is_killed_within_a_write_is_continued(
    call: Call, place: Path, shown: Path, ledger: Ledger, moment: str, at: str | None
) -> None:
    """Plan, blobs, events, archive, manifest and pointer: the next opening needs no repair by hand."""
    assert call("set", "greeting", "good day").code == 0
    first = call("inspect", "--json").json["run"]
    prefix = ["strace", "-f", "-qq", "-o", str(place / "trace"), "-e", f"inject={moment}:signal=SIGKILL"]
    prefix += ["-P", os.path.normpath(shown / at)] if at else []
    ended = children.run(PROGRAM, "run", prefix=prefix)
    assert ended.code in {-signal.SIGKILL, 128 + signal.SIGKILL}, ended
    until(lambda: not working(place))
    before, kept = ledger.calls, stored(place, before=first)
    called = call("run", "--json")
    assert called.code == 0, called
    assert [row["revision"] for row in call("log", "--json").json] == ["rev-0002", "rev-0001"]
    assert json.loads((shown / "current.json").read_text())["revision"] == "rev-0002"
    assert ledger.calls.keys() == JOBS.keys()
    assert all(ledger.calls[job] == before[job] == 1 for job in kept)
    if at in {"events", "manifests/rev-0002.json", "manifests", ".", "locks/swap/current.json"}:
        assert ledger.calls == JOBS


def test_two_runs_at_once_share_the_work(call: Call, place: Path, slow: Path, ledger: Ledger) -> None:
    """No call is made twice, one revision comes of it; who comes second shares it or is told of the conflict."""
    both = [start("run", "--json", "-c", "3", PAUSE="0.1") for _ in range(2)]
    ends = [(child.communicate(timeout=WAIT_SECONDS), child.returncode) for child in both]
    codes = sorted(code for _, code in ends)
    assert codes in ([0, 0], [0, 3]), ends
    for (_, err), code in ends:
        if code:
            assert json.loads(err.splitlines()[-1])["error"]["kind"] in {"ManifestConflictError", "LeaseLostError"}
    assert set(ledger.calls.values()) == {1}
    assert len(call("log", "--json").json) == 1
    assert call("run", "--json").json["status"] == "unchanged"
    assert set(ledger.calls.values()) == {1}


def test_two_runs_with_inputs_of_their_own_lose_nothing(call: Call, place: Path, slow: Path, ledger: Ledger) -> None:
    """One publishes, the other is told; run again, it publishes what it has made."""
    for name in ("one", "two"):
        (place / f"{name}.yaml").write_text(f"greeting: {name}\n")
    both = {name: start("run", "--json", "--inputs", f"{name}.yaml", PAUSE="0.05") for name in ("one", "two")}
    codes = {}
    for name, child in both.items():
        _, err = child.communicate(timeout=WAIT_SECONDS)
        codes[name] = child.returncode
        assert child.returncode in {0, 3}, err
    assert set(ledger.calls.values()) <= {1, 2}, "one that finds the other before its first call makes none"
    for name, code in codes.items():
        if code == 3:
            assert call("run", "--inputs", f"{name}.yaml").code == 0
    assert set(ledger.calls.values()) == {2}, "each job was made once for each of the inputs"
    logged = call("log", "--json").json
    assert [row["revision"] for row in logged] == ["rev-0002", "rev-0001"]


@pytest.mark.parametrize(
    "command", [["events"], ["events", "--json"], ["log"], ["inspect"], ["cat", "reel.video"], ["plan"]]
)
def test_a_reader_that_goes_away_is_no_error(place: Path, twice: Path, command: list[str]) -> None:
    """As in `renku-store events | head -1`: nothing on standard error, and a code that says what a shell would."""
    read, write = os.pipe()
    os.close(read)
    child = subprocess.Popen(
        [str(Path(sys.executable).parent / "renku-store"), *command], text=True, stdout=write, stderr=subprocess.PIPE
    )
    os.close(write)
    _, err = child.communicate(timeout=WAIT_SECONDS)
    assert (child.returncode, err) == (141, "")


def test_the_first_line_of_many_events_is_enough(place: Path, twice: Path) -> None:
    """The pipeline of the shell, as a person types it."""
    program = Path(sys.executable).parent / "renku-store"
    ended = subprocess.run(
        ["bash", "-o", "pipefail", "-c", f"{program} events | head -n 1; {program} cat reel.video | head -c 1"],
        capture_output=True,
        text=True,
        timeout=WAIT_SECONDS,
        check=False,
    )
    assert ended.stderr == ""
    assert ended.stdout.count("\n") == 1
