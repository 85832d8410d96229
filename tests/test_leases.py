"""Leases and claims: one holder among threads and processes, and a dead one is found out at once."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import pytest
from msgspec.structs import replace

from renku_store.clock import SystemClock
from renku_store.errors import LeaseLostError, NotFoundError, StoreUnavailableError
from renku_store.leases import AlreadyMade, Claimed, HeldBy, RunLeases
from renku_store.metadata.base import Writer
from renku_store.metadata.sqlite import SqliteMetadata, open_sqlite
from renku_store.processes import boot, process_alive, this_process
from renku_store.records.run import Holder, LeaseToken
from tests.metadata.samples import digest, made, value

SIGNATURE = digest("signature")
FAR = replace(this_process(), host="another machine", command="renku-store run")

_CHILD = """
import sys
from pathlib import Path
from renku_store.clock import SystemClock
from renku_store.leases import RunLeases
from renku_store.metadata.base import Writer
from renku_store.metadata.sqlite import open_sqlite
leases = RunLeases(open_sqlite(Path(sys.argv[1])), SystemClock())
token = leases.start("dead", base_revision=None, edits_through=0)
print(type(leases.claim(sys.argv[2], token, "n")).__name__, flush=True)
sys.stdin.readline()
"""

_CLAIMER = """
import sys
from functools import partial
from pathlib import Path
from renku_store.clock import SystemClock
from renku_store.drivers.local import LocalDriver
from renku_store.leases import RunLeases
from renku_store.metadata.base import Writer
from renku_store.metadata.sqlite import open_sqlite
path, run = Path(sys.argv[1]), sys.argv[2]
lock = partial(LocalDriver(path.parent).lock, "write", wait_seconds=30)
leases = RunLeases(open_sqlite(path, lock=lock), SystemClock())
token = leases.start(run, base_revision=None, edits_through=0)
print("ready", flush=True)
sys.stdin.readline()
print(*[type(leases.claim(signature, token, "n")).__name__ for signature in sys.argv[3:]], flush=True)
sys.stdin.readline()
"""


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "metadata.db"


@pytest.fixture
def metadata(path: Path) -> Iterator[SqliteMetadata]:
    store = open_sqlite(path)
    yield store
    store.close()


@pytest.fixture
def leases(metadata: SqliteMetadata) -> RunLeases:
    return RunLeases(metadata, SystemClock())


@pytest.fixture
def far(metadata: SqliteMetadata) -> RunLeases:
    """The leases of a process on another machine, of which nothing can be seen from here."""
    return RunLeases(metadata, SystemClock(), holder=FAR)


def _start(leases: RunLeases, run: str) -> LeaseToken:
    return leases.start(run, base_revision=None, edits_through=0)


@pytest.fixture
def child(path: Path, metadata: SqliteMetadata) -> Iterator[subprocess.Popen[str]]:
    """Another process of this machine that holds the run `dead` and a claim."""
    with subprocess.Popen(
        [sys.executable, "-c", _CHILD, str(path), SIGNATURE], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline().strip() == "Claimed"
        yield process
        process.kill()


# Processes


def test_this_process_is_alive() -> None:
    """And is known by when it started, not by its number alone."""
    here = this_process()
    assert process_alive(here)
    assert not process_alive(replace(here, process_start=here.process_start + "0"))


def test_a_process_that_ended_is_gone_even_before_it_is_reaped(
    child: subprocess.Popen[str], metadata: SqliteMetadata
) -> None:
    """A zombie still has a number and a start, but works no more."""
    with metadata.read() as reader:
        holder = reader.runs.holder("dead")
    assert holder is not None
    assert (holder.pid, process_alive(holder)) == (child.pid, True)
    child.kill()
    assert child.stdout is not None
    assert child.stdout.read() == ""
    _until(lambda: not process_alive(holder))
    child.wait(20)
    assert not process_alive(holder)


@pytest.mark.parametrize(
    "change", [{"host": "elsewhere"}, {"process_start": ""}, {"process_start": "other boot/pid:[1]/5"}]
)
def test_what_cannot_be_seen_from_here_counts_as_alive(change: dict[str, str]) -> None:
    """Another machine, boot or process namespace: only time tells."""
    assert process_alive(replace(this_process(), pid=2**22 + 5, **change))
    assert not process_alive(replace(this_process(), pid=2**22 + 5))


@pytest.mark.parametrize("error", [PermissionError, OSError(24, "Too many open files")])
def test_a_process_that_cannot_be_looked_at_counts_as_alive(
    error: type[OSError] | OSError, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What it holds is not given away because a file could not be opened here."""
    here = this_process()

    def unreadable(*_: object, **__: object) -> str:
        raise error

    monkeypatch.setattr(Path, "read_text", unreadable)
    assert process_alive(here)


def test_a_hidden_process_of_another_user_counts_as_alive(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where `/proc` shows one's own only, the system still says that it is there, by refusing a signal."""
    gone = replace(this_process(), pid=2**22 + 5)

    def refused(_pid: int, _signal: int) -> None:
        raise PermissionError

    assert not process_alive(gone)
    monkeypatch.setattr(os, "kill", refused)
    assert process_alive(gone)


def _until(condition: Callable[[], bool]) -> None:
    pause = threading.Event()
    for _ in range(2_000):
        if condition():
            return
        pause.wait(0.01)
    raise AssertionError("It never came to be.")


# Leases


def test_a_run_that_is_held_cannot_be_taken(leases: RunLeases, far: RunLeases) -> None:
    """Neither by taking over nor by starting it again; the message names the holder."""
    token = _start(far, "r")
    for take in (leases.take_over, lambda run: _start(leases, run)):
        with pytest.raises(LeaseLostError, match=r"renku-store run \(process \d+ on another machine\)"):
            take("r")
    leases.check(token)
    far.release(token)
    taken = leases.take_over("r", base_revision="rev-0004", edits_through=9)
    assert (taken.epoch, taken.counter) > (token.epoch, token.counter)
    with pytest.raises(LeaseLostError, match="taken over"):
        far.check(token)
    (record,) = leases.unfinished()
    assert (record.status, record.base_revision, record.edits_through) == ("running", "rev-0004", 9)
    assert record.alive


def test_an_expired_lease_can_be_taken_over(metadata: SqliteMetadata, leases: RunLeases) -> None:
    """A holder on another machine that is not heard of any more loses the run."""
    short = RunLeases(metadata, SystemClock(), holder=FAR, lease_seconds=0.0)
    token = _start(short, "r")
    assert not leases.unfinished()[0].alive
    leases.take_over("r")
    with pytest.raises(LeaseLostError):
        short.check(token)


def test_a_run_whose_process_died_can_be_taken_over_at_once(leases: RunLeases, child: subprocess.Popen[str]) -> None:
    """Long before the lease expires."""
    assert leases.unfinished()[0].alive
    with pytest.raises(LeaseLostError, match=f"process {child.pid}"):
        leases.take_over("dead")
    child.kill()
    child.wait(20)
    assert not leases.unfinished()[0].alive
    leases.take_over("dead")
    assert leases.unfinished()[0].alive


@pytest.mark.parametrize("status", ["published", "abandoned"])
def test_a_run_that_has_ended_is_not_taken_up_again(metadata: SqliteMetadata, leases: RunLeases, status: str) -> None:
    """Neither is one that never was."""
    leases.release(_start(leases, "r"))
    with metadata.write() as writer:
        writer.runs.update("r", status=status)
    assert leases.unfinished() == []
    with pytest.raises(LeaseLostError, match=f"it is {status}"):
        leases.take_over("r")
    with pytest.raises(NotFoundError, match="no run s"):
        leases.take_over("s")


def test_a_heartbeat_keeps_a_lease_and_gives_it_up_at_the_end(metadata: SqliteMetadata, far: RunLeases) -> None:
    """While held, a lease is renewed again and again; after the context anyone may have it."""
    beating = RunLeases(metadata, SystemClock(), lease_seconds=1_000, heartbeat_seconds=0.01)
    with beating.held(_start(beating, "r")) as heartbeat:

        def expires_at() -> float:
            with metadata.read():  # the connection is the thread's, too
                return float(metadata.connection.execute("SELECT expires_at FROM leases").get)

        first = expires_at()
        _until(lambda: expires_at() > first)
        heartbeat.check()
    far.take_over("r")


def test_losing_a_lease_is_noticed(metadata: SqliteMetadata, far: RunLeases) -> None:
    """The thread sets a flag and calls back, once; what the thief has is not released by the loser."""
    beating = RunLeases(metadata, SystemClock(), heartbeat_seconds=0.01)
    calls: list[str] = []
    token = _start(beating, "r")
    with beating.held(token, lambda: calls.append("lost")) as heartbeat:
        with metadata.write() as writer:
            stolen = writer.runs.acquire("r", FAR, 1_000, steal=True)
        assert stolen is not None
        assert heartbeat.lost.wait(20)
        with pytest.raises(LeaseLostError, match="taken over"):
            heartbeat.check()
        _until(lambda: calls == ["lost"])
    far.check(stolen)
    assert calls == ["lost"]


def test_a_lease_that_could_not_be_released_keeps_nobody_in_its_process_waiting(
    metadata: SqliteMetadata, leases: RunLeases, far: RunLeases, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A disk that is full when a run ends: whoever tries again, once there is room, goes on where it was."""
    token = _start(leases, "r")
    other = _start(leases, "other")

    @contextmanager
    def full() -> Iterator[Writer]:
        raise StoreUnavailableError("No space left on device.")
        yield

    with leases.held(token):
        assert isinstance(leases.claim(SIGNATURE, token, "n"), Claimed)
        monkeypatch.setattr(metadata, "write", full)
    monkeypatch.undo()
    assert isinstance(leases.claim(SIGNATURE, other, "n"), Claimed)
    assert [record.run for record in leases.unfinished() if record.alive] == ["other"]
    with pytest.raises(NotFoundError, match="not running"):
        leases.cancel("r")
    again = leases.take_over("r")
    leases.check(again)
    # Taken again, it is a lease like any other.
    with pytest.raises(LeaseLostError, match="is held by"):
        far.take_over("r")
    with pytest.raises(LeaseLostError, match="is held by"):
        leases.take_over("r")


def test_a_store_that_is_closed_under_a_heartbeat_ends_nothing_loudly(path: Path) -> None:
    """The thread goes on trying, and the end of the context is no error."""
    store = open_sqlite(path)
    leases = RunLeases(store, SystemClock(), heartbeat_seconds=0.001)
    with leases.held(_start(leases, "r")) as heartbeat:
        store.close()
        assert not heartbeat.lost.wait(0.05)


# Claims


def test_a_signature_is_claimed_once(leases: RunLeases, far: RunLeases) -> None:
    """Others wait; when it is given up they may have it."""
    ours, theirs = _start(leases, "ours"), _start(far, "theirs")
    assert far.claim(SIGNATURE, theirs, "n") == Claimed()
    assert leases.claim(SIGNATURE, ours, "n") == HeldBy("theirs")
    assert far.claim(SIGNATURE, theirs, "m") == HeldBy("theirs")
    far.unclaim(SIGNATURE, theirs)
    assert leases.claim(SIGNATURE, ours, "n") == Claimed()


def test_a_result_that_is_there_is_not_made_again(metadata: SqliteMetadata, leases: RunLeases) -> None:
    """It is looked up in the claiming transaction; a forced job wants another one; lost bytes count as no result."""
    token = _start(leases, "r")
    event = made("n.audio", 1, signature=SIGNATURE, value=value(1, blob=True))
    with metadata.write() as writer:
        writer.events.append([event])
        writer.blobs.make_live([(digest(1), 5_000, 5_000, "raw")])
    answer = leases.claim(SIGNATURE, token, "n")
    assert isinstance(answer, AlreadyMade)
    assert answer.trace.result == event.result
    assert leases.claim(SIGNATURE, token, "n", forced=True) == Claimed()
    leases.unclaim(SIGNATURE, token)
    with metadata.write() as writer:
        writer.blobs.forget([digest(1)])
    assert leases.claim(SIGNATURE, token, "n") == Claimed()


def test_a_token_of_before_claims_nothing(metadata: SqliteMetadata, leases: RunLeases) -> None:
    """Whoever lost the lease hears of it when claiming (invariant 10)."""
    old = _start(leases, "r")
    with metadata.write() as writer:
        writer.runs.acquire("r", FAR, 1_000, steal=True)
    with pytest.raises(LeaseLostError):
        leases.claim(SIGNATURE, old, "n")


def test_a_claim_of_a_process_that_died_is_taken_at_once(leases: RunLeases, child: subprocess.Popen[str]) -> None:
    """A paid call that nobody will finish holds up nobody."""
    token = _start(leases, "r")
    assert leases.claim(SIGNATURE, token, "n") == HeldBy("dead")
    child.kill()
    child.wait(20)
    assert leases.claim(SIGNATURE, token, "n") == Claimed()


def test_one_of_many_threads_gets_a_claim(leases: RunLeases) -> None:
    """Each signature has exactly one holder, whoever comes first."""
    tokens = [_start(leases, f"run-{number}") for number in range(8)]
    for round_number in range(10):
        signature = digest(round_number)
        with ThreadPoolExecutor(8) as pool:
            answers = list(pool.map(lambda token: leases.claim(signature, token, "n"), tokens))  # noqa: B023
        winners = [token.run for token, answer in zip(tokens, answers, strict=True) if answer == Claimed()]
        assert len(winners) == 1
        assert {answer.run for answer in answers if isinstance(answer, HeldBy)} == set(winners)


def test_one_of_several_processes_gets_a_claim(checkout: Path, path: Path, metadata: SqliteMetadata) -> None:
    """Each of many signatures is claimed by exactly one of the processes that try at once."""
    signatures = [digest(number) for number in range(40)]
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", _CLAIMER, str(path), f"run-{number}", *signatures],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=checkout,
        )
        for number in range(3)
    ]  # fmt: skip
    for process in processes:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
    for process in processes:
        assert process.stdin is not None
        process.stdin.write("\n")
        process.stdin.flush()
    answers = []
    for process in processes:
        assert process.stdout is not None
        answers.append(process.stdout.readline().split())
    for process in processes:
        process.communicate("\n", timeout=600)
    assert all(len(answer) == len(signatures) for answer in answers)
    for of_one in zip(*answers, strict=True):
        assert sorted(of_one) == ["Claimed", "HeldBy", "HeldBy"]


def test_the_holder_says_who_it_is() -> None:
    """Host, number, command: what a person needs to find the process; text that can be printed."""
    here = this_process()
    assert here.command.isprintable()
    assert here.pid > 0
    assert isinstance(here, Holder)


def test_another_time_namespace_is_another_boot() -> None:
    """Its clocks count from elsewhere, and so do the starts of processes that are seen in it."""
    namespace = Path("/proc/self/ns/time")
    told = str(namespace.readlink()) if namespace.exists() else ""
    assert told in (boot() or "")
    assert this_process().process_start.startswith(f"{boot()}/")
    assert process_alive(replace(this_process(), process_start="other boot time:[1]/pid:[1]/5"))
