"""Limits that the processes of a machine share, whatever they work on: real processes, killed and stopped."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from dataclasses import replace
from functools import partial
from itertools import pairwise
from pathlib import Path

import apsw
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from renku_store import (
    DamageError,
    InvalidValueError,
    Job,
    JobContext,
    LeaseLostError,
    Limits,
    Movie,
    Produced,
    RunProgress,
    Store,
    StoreUnavailableError,
    bounds,
    run_movie,
    set_inputs,
    with_limits,
)
from renku_store.clock import SystemClock
from renku_store.metadata.limits import Demand, Grant, HeldPlace, Occupancy, Refused, refusal
from renku_store.metadata.sqlite.limit_store import SqliteLimits, open_limits
from renku_store.metadata.sqlite.limits import LimitTables
from renku_store.metadata.sqlite.migrations import migrate, shipped_migrations
from renku_store.processes import boot
from renku_store.records.run import Holder
from renku_store.running.shared_limits import MachineLimits, limits_file, limits_of_this_machine
from renku_store.running.shared_turn import SharedTurn
from tests import children
from tests.running.conftest import Studio

_CHILD = """
    import asyncio, json, logging, sys, time
    from pathlib import Path
    from renku_store import Job, JobContext, Limits, OutputSpec, Produced, RateLimitedError, with_limits
    from renku_store.clock import SystemClock
    from renku_store.metadata.sqlite.limit_store import open_limits
    from renku_store.running.shared_limits import MachineLimits, limits_file

    run, log, calls, seconds, lease, rule, mode = sys.argv[1:]
    job = Job("j", "p", "1", "openai", "m", {}, {}, {}, {"out": OutputSpec("text/plain")}, "0" * 64)

    def say(*what):
        with open(log, "a") as file:
            file.write(json.dumps([*what]) + "\\n")

    async def produce(job, context):
        begun = time.time()
        say("begun", run, begun, begun)
        if mode == "refused" and context.priority == 0:
            raise RateLimitedError("too much", retry_after=1.0)
        await asyncio.sleep(float(seconds))
        say("call", run, begun, time.time())
        return Produced({"out": "x"})

    async def main(shared):
        limited = with_limits(produce, Limits({"openai": json.loads(rule)}))
        contexts = [
            JobContext("j", run, 1, Path("/"), logging.getLogger("x"), priority=float(-n), shared=shared)
            for n in range(int(calls))
        ]
        return await asyncio.gather(*(limited(job, context) for context in contexts), return_exceptions=True)

    time_left = float(lease)
    shared = MachineLimits(
        lambda: open_limits(limits_file()), lambda: None, SystemClock(),
        lease_seconds=time_left, heartbeat_seconds=time_left,
    )
    ended = asyncio.run(main(shared))
    shared.close()
    bad = [end for end in ended if isinstance(end, Exception) and not isinstance(end, RateLimitedError)]
    print(len(ended), bad)
"""


@pytest.fixture(autouse=True)
def meeting_place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A machine of its own for each test, as far as limits go."""
    monkeypatch.setenv("RENKU_STORE_CACHE", str(tmp_path / "cache"))
    return limits_file()


class Crowd:
    """Processes that make calls under one rule, and what their log says."""

    def __init__(self, folder: Path, rule: dict[str, object]) -> None:
        self._rule = json.dumps({"scope": "machine", **rule})
        self.log = folder / "log"
        self.log.touch()

    def start(
        self, run: str, calls: int, seconds: float, *, lease: float = 1_000.0, mode: str = ""
    ) -> subprocess.Popen[str]:
        return children.start(_CHILD, run, self.log, calls, seconds, lease, self._rule, mode)

    def said(self, what: str) -> list[tuple[str, float, float]]:
        lines = [json.loads(line) for line in self.log.read_text().splitlines(keepends=True) if line.endswith("\n")]
        return sorted(((run, begun, ended) for kind, run, begun, ended in lines if kind == what), key=lambda c: c[1])


def until(what: Callable[[], bool]) -> None:
    """Wait for something that happens soon; a minute is for a machine that has much to do."""
    tick = threading.Event()
    for _ in range(6_000):
        if what():
            return
        tick.wait(0.01)
    raise AssertionError("it did not happen")


def peak(calls: list[tuple[str, float, float]]) -> int:
    """The most calls at once."""
    changes = sorted([(begun, 1) for _, begun, _ in calls] + [(ended, -1) for _, _, ended in calls])
    busy = most = 0
    for _, change in changes:
        busy += change
        most = max(most, busy)
    return most


def seen(key: str = "openai", window_ms: int = 0) -> Occupancy:
    """What the file says of a key now."""
    store = open_limits(limits_file())
    try:
        with store.read() as reader:
            return reader.occupancy(key, window_ms)
    finally:
        store.close()


def expiry(place: Path) -> int:
    """Until when the first who takes part counts, Unix milliseconds."""
    with closing(apsw.Connection(str(place), flags=apsw.SQLITE_OPEN_READONLY)) as connection:
        return int(connection.execute("SELECT expires_at FROM holders").get)


def finished(child: subprocess.Popen[str], calls: int) -> None:
    ended = children.finish(child)
    assert (ended.code, ended.out) == (0, f"{calls} []\n"), ended.err


def test_never_more_calls_at_once_than_the_limit_over_all_processes(tmp_path: Path) -> None:
    """Four processes, each of which alone would reach the limit; all calls are made, and the limit is used."""
    crowd = Crowd(tmp_path, {"concurrency": 2})
    crew = [crowd.start(f"run-{n}", 5, 0.05) for n in range(4)]
    for child in crew:
        finished(child, 5)
    calls = crowd.said("call")
    assert len(calls) == 20
    assert peak(calls) == 2
    found = seen("openai", 1_000)
    assert (found.slots, found.queue) == ([], [])


def test_a_rate_holds_over_all_processes_in_any_window(tmp_path: Path) -> None:
    """As the provider sees the calls come: no window of the period has more of them than the rate allows."""
    crowd = Crowd(tmp_path, {"rate": "4/700ms", "spacing": "20ms"})
    crew = [crowd.start(f"run-{n}", 5, 0.0) for n in range(3)]
    for child in crew:
        finished(child, 5)
    starts = [begun for _, begun, _ in crowd.said("call")]
    assert len(starts) == 15
    assert all(fifth - first >= 0.7 for first, fifth in zip(starts, starts[4:], strict=False))
    assert all(second - first >= 0.02 for first, second in pairwise(starts))


def test_a_killed_holder_frees_its_slot_at_once(tmp_path: Path) -> None:
    """However long its lease: whoever waits sees that the process is gone. Its place in the queue is free, too."""
    crowd = Crowd(tmp_path, {"concurrency": 1})
    holder = crowd.start("holder", 2, 600.0)
    until(lambda: len(crowd.said("begun")) == 1)
    waiter = crowd.start("waiter", 2, 0.0)
    until(lambda: len(seen().queue) == 1)
    holder.kill()
    holder.communicate()
    finished(waiter, 2)
    assert [run for run, _, _ in crowd.said("call")] == ["waiter", "waiter"]


def test_the_slot_of_a_stopped_process_ends_with_its_lease(tmp_path: Path) -> None:
    """A process that hangs is not gone, and holds the others up no longer than its lease.

    It never renews that: one that is stopped in the middle of a write would hold everybody up by the lock.
    """
    crowd = Crowd(tmp_path, {"concurrency": 1})
    holder = crowd.start("holder", 1, 0.3, lease=2.0)
    until(lambda: len(crowd.said("begun")) == 1)
    holder.send_signal(signal.SIGSTOP)
    finished(crowd.start("waiter", 1, 0.0), 1)
    holder.send_signal(signal.SIGCONT)
    finished(holder, 1)
    assert sorted(run for run, _, _ in crowd.said("call")) == ["holder", "waiter"]


def test_a_pause_that_a_provider_asks_one_process_for_holds_back_the_others(tmp_path: Path) -> None:
    """Retry-After counts for the key, whoever was told."""
    crowd = Crowd(tmp_path, {"concurrency": 1})
    refused = crowd.start("refused", 1, 0.0, mode="refused")
    until(lambda: len(crowd.said("begun")) == 1)
    finished(refused, 1)
    finished(crowd.start("other", 1, 0.0), 1)
    (_, told, _), (_, after, _) = crowd.said("begun")
    assert after - told >= 1.0


_BUILDER = """
    import asyncio, json, sys, time
    from renku_store import Limits, Produced, open_store, run_movie, set_inputs, with_limits

    root, log, parts = sys.argv[1:]
    one = {"run": "studio/m", "outputs": {"out": {"mimeType": "text/plain"}}}
    blueprint = json.dumps({"producers": {"part%d" % n: one for n in range(int(parts))}})

    async def produce(job, context):
        begun = time.time()
        await asyncio.sleep(0.03)
        with open(log, "a") as file:
            file.write(json.dumps(["call", root, begun, time.time()]) + "\\n")
        return Produced({"out": job.job_id})

    with open_store(root) as store, store.create_movie("film") as movie:
        set_inputs(movie, {"@blueprint": blueprint})
        limits = Limits({"studio": {"concurrency": 2, "scope": "machine"}})
        report = asyncio.run(run_movie(movie, produce=with_limits(produce, limits), concurrency=8))
    print(report.status)
"""


def test_processes_that_build_different_movies_share_a_limit(tmp_path: Path) -> None:
    """In roots of their own, on a disk and in memory: the provider counts them all, and so does the limit."""
    log = tmp_path / "log"
    roots = [tmp_path / "one", tmp_path / "two", "memory://three"]
    crew = [children.start(_BUILDER, root, log, 8) for root in roots]
    ends = [children.finish(child) for child in crew]
    assert [(end.code, end.out) for end in ends] == [(0, "published\n")] * 3, [end.err for end in ends]
    lines = [json.loads(line) for line in log.read_text().splitlines()]
    calls = [(root, begun, ended) for _, root, begun, ended in lines]
    assert Counter(root for root, _, _ in calls) == {str(root): 8 for root in roots}
    assert peak(calls) == 2
    assert seen("studio") == Occupancy([], [], [], 0)


ONE = "producers: {film: {run: test/film, outputs: {video: {mimeType: video/mp4}}}}"
MACHINE = {"test": {"concurrency": 1, "scope": "machine"}}


def test_in_runs_the_limit_is_that_of_the_machine(store: Store) -> None:
    """Through the runner: limits that share nothing in the process meet in the machine's file."""
    going = most = 0
    lock = threading.Lock()

    async def film(job: Job, context: JobContext) -> Produced:
        nonlocal going, most
        with lock:
            going += 1
            most = max(most, going)
        await asyncio.sleep(0.1)
        with lock:
            going -= 1
        return Produced({"video": b"film"})

    def build(name: str) -> str:
        with store.create_movie(name) as movie:
            set_inputs(movie, {"@blueprint": ONE})
            limits = Limits(MACHINE, shared=False)
            return asyncio.run(run_movie(movie, produce=with_limits(film, limits))).status

    with ThreadPoolExecutor(4) as threads:
        assert list(threads.map(build, ["one", "two", "three", "four"])) == ["published"] * 4
    assert most == 1
    assert seen("test", 1_000) == Occupancy([], [], [], 0)


def test_a_store_that_hangs_when_slots_are_given_back_keeps_no_result_waiting(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What was paid for is stored first: a kill meanwhile would lose it."""
    hangs, stored = threading.Event(), threading.Event()
    write = SqliteLimits.write

    @contextmanager
    def slow(limits: SqliteLimits) -> Iterator[LimitTables]:
        if hangs.is_set():
            assert stored.wait(600), "the result waits for its slot to be given back"
        with write(limits) as writer:
            yield writer

    async def film(job: Job, context: JobContext) -> Produced:
        hangs.set()
        return Produced({"video": b"film"}, cost=5.0)

    def listen(event: RunProgress) -> None:
        if event.event == "job-finished":
            stored.set()

    monkeypatch.setattr(SqliteLimits, "write", slow)
    with store.create_movie("one") as movie:
        set_inputs(movie, {"@blueprint": ONE})
        run = run_movie(movie, produce=with_limits(film, Limits(MACHINE)), on_event=listen)
        assert asyncio.run(run).status == "published"


def test_who_cannot_ask_asks_again(store: Store, meeting_place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file that another process keeps locked is waited for, as a slot is; calls under no limit go on meanwhile."""
    monkeypatch.setattr("renku_store.running.shared_limits.open_limits", partial(open_limits, busy_seconds=0.05))
    open_limits(meeting_place).close()
    other = apsw.Connection(str(meeting_place))
    other.execute("BEGIN IMMEDIATE")
    ended: list[str] = []

    async def make(job: Job, context: JobContext) -> Produced:
        return Produced({"video": job.job_id.encode()})

    def listen(event: RunProgress) -> None:
        if event.event == "job-finished" and event.job is not None:
            ended.append(event.job)
            if len(ended) == 3:
                other.execute("COMMIT")

    many = {f"film{n}": {"run": "test/film", "outputs": {"video": {"mimeType": "video/mp4"}}} for n in range(3)}
    free = {f"free{n}": {"run": "free/film", "outputs": {"video": {"mimeType": "video/mp4"}}} for n in range(3)}
    with store.create_movie("one") as movie:
        set_inputs(movie, {"@blueprint": json.dumps({"producers": {**many, **free}})})
        run = run_movie(movie, produce=with_limits(make, Limits(MACHINE)), on_event=listen)
        assert asyncio.run(run).status == "published"
    assert sorted(ended[:3]) == ["free0", "free1", "free2"]
    other.close()


def test_a_file_that_stays_locked_is_named(store: Store, meeting_place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Once the patience is over that a busy store deserves; what has been made by then is kept."""
    monkeypatch.setattr("renku_store.running.shared_limits.open_limits", partial(open_limits, busy_seconds=0.01))
    monkeypatch.setattr("renku_store.running.shared_turn.patience", lambda error: 0.2)
    open_limits(meeting_place).close()
    other = apsw.Connection(str(meeting_place))
    other.execute("BEGIN IMMEDIATE")
    with store.create_movie("one") as movie:
        set_inputs(movie, {"@blueprint": ONE})
        run = run_movie(movie, produce=with_limits(nobody, Limits(MACHINE)))
        with pytest.raises(StoreUnavailableError, match=r"limits\.db is locked"):
            asyncio.run(run)
    other.close()


async def nobody(job: Job, context: JobContext) -> Produced:
    raise AssertionError(job.job_id)


# One process: what the store is asked

LONG = Demand("k", 1, slots=1)


@pytest.fixture
def limits() -> Iterator[MachineLimits]:
    yield from taking_part()


@pytest.fixture
def other() -> Iterator[MachineLimits]:
    yield from taking_part()


def taking_part() -> Iterator[MachineLimits]:
    limits = limits_of_this_machine(lambda: None, SystemClock())
    yield limits
    limits.close()


def taken(
    limits: MachineLimits, demand: Demand = LONG, priority: float = 0.0, ticket: int | None = None
) -> Grant | int:
    """The grant, or else the ticket."""
    answer = limits.take([demand], priority, ticket, queue=True)
    if isinstance(answer, Grant):
        return answer
    assert answer.ticket is not None
    return answer.ticket


def renewing(place: Path, lease_seconds: float, *, every_seconds: float = 600.0) -> MachineLimits:
    """A run that takes part for so long unless it renews, which it does as often."""
    return MachineLimits(
        partial(open_limits, place),
        lambda: None,
        SystemClock(),
        lease_seconds=lease_seconds,
        heartbeat_seconds=every_seconds,
    )


def give(limits: MachineLimits, grant: Grant, ticket: int | None, *, started: bool) -> None:
    """Give back, and wait until the run's own thread has told the file."""
    limits.give(grant, ticket, started=started)
    limits._submit(lambda: None).result()


def test_the_first_of_the_best_priority_goes_next(limits: MachineLimits) -> None:
    """Who comes when a slot is free does not go before those that wait, and who leaves holds nobody up."""
    held = taken(limits)
    assert isinstance(held, Grant)
    first, second, better = taken(limits), taken(limits), taken(limits, priority=5.0)
    assert isinstance(first, int)
    assert isinstance(second, int)
    assert isinstance(better, int)
    give(limits, held, None, started=True)
    assert isinstance(limits.take([LONG], 0.0, None, queue=False), Refused)
    assert taken(limits, ticket=second) == second
    assert taken(limits, ticket=first) == first
    grant = taken(limits, priority=5.0, ticket=better)
    assert isinstance(grant, Grant)
    give(limits, grant, first, started=True)
    assert isinstance(taken(limits, ticket=second), Grant)


def test_all_keys_or_none(limits: MachineLimits) -> None:
    """A call that must wait for one key holds no slot of another."""
    another = Demand("other", 1, slots=1)
    assert isinstance(taken(limits), Grant)
    assert isinstance(limits.take([LONG, another], 0.0, None, queue=False), Refused)
    assert isinstance(taken(limits, another), Grant)


def test_what_cannot_be_given_back_is_given_with_the_next_word(
    limits: MachineLimits, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A store that is busy for a while costs no result, and keeps no slot."""
    held = taken(limits)
    assert isinstance(held, Grant)

    def busy() -> object:
        raise StoreUnavailableError("busy", reason="busy")

    with monkeypatch.context() as patch:
        patch.setattr(SqliteLimits, "write", lambda self: busy())
        give(limits, held, None, started=True)
    assert isinstance(taken(limits), Grant)


def test_who_comes_back_late_ends_nothing_of_anothers(limits: MachineLimits, other: MachineLimits) -> None:
    """A slot and a place in the queue that are long gone are given back in vain."""
    first = taken(limits)
    assert isinstance(first, Grant)
    waits = taken(limits)
    assert isinstance(waits, int)
    give(limits, first, waits, started=False)
    assert isinstance(taken(other), Grant)
    assert isinstance(taken(other), int)
    give(limits, first, waits, started=False)
    found = seen("k")
    assert (len(found.slots), len(found.queue)) == (1, 1)


def test_a_start_that_came_too_late_is_counted_anew(limits: MachineLimits) -> None:
    """Or the call has to wait again, and counts for nobody meanwhile."""
    demand = Demand("k", 1, slots=2, starts=1, period_ms=60_000)
    grant = taken(limits, demand)
    assert isinstance(grant, Grant)
    anew = limits.restart(grant, 0.0)
    assert isinstance(anew, Grant)
    assert anew.slots == grant.slots
    assert anew.starts != grant.starts
    assert isinstance(taken(limits, demand), int)
    limits.pause("k", 30.0)
    late = limits.restart(anew, 0.0)
    assert isinstance(late, Refused)
    assert 0 < (late.seconds or 0) <= 30.0
    assert seen("k", 60_000).starts == []


def test_a_run_that_is_anothers_takes_nothing() -> None:
    """Whoever has taken it over may have begun the call: it is not paid for twice."""

    def lost() -> None:
        raise LeaseLostError("The run r was taken over.")

    limits = limits_of_this_machine(lost, SystemClock())
    with pytest.raises(LeaseLostError, match="taken over"):
        taken(limits)
    limits.close()
    assert not limits_file().exists()


def test_who_has_ended_holds_nothing_and_takes_nothing(limits: MachineLimits, other: MachineLimits) -> None:
    """With the end of a run its slots and places are free, whatever was not given back."""
    assert isinstance(taken(limits), Grant)
    assert isinstance(taken(limits), int)
    limits.close()
    assert seen("k") == Occupancy([], [], [], 0)
    assert isinstance(taken(other), Grant)
    with pytest.raises(StoreUnavailableError, match="no longer"):
        taken(limits)


def test_a_long_call_keeps_its_slot(meeting_place: Path) -> None:
    """Its run renews its part as long as it goes on, whether or not anybody asks for something."""
    limits = renewing(meeting_place, 60.0, every_seconds=0.01)
    assert isinstance(taken(limits), Grant)
    first = expiry(meeting_place)
    until(lambda: expiry(meeting_place) > first)
    assert len(seen("k").slots) == 1
    limits.close()


def test_who_was_away_too_long_takes_part_anew(meeting_place: Path, other: MachineLimits) -> None:
    """What it held is another's by then; a late word about it ends nothing."""
    away = renewing(meeting_place, 0.0)
    lost = taken(away)
    assert isinstance(lost, Grant)
    held = taken(other)
    assert isinstance(held, Grant)
    give(away, lost, None, started=True)
    assert isinstance(taken(away), int)
    give(other, held, None, started=True)
    assert isinstance(taken(away), Grant)
    away.close()


def test_a_number_that_was_never_written_is_nobodys(
    limits: MachineLimits, other: MachineLimits, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A disk that was full when a run began to take part: the number that it nearly had is the next one's."""
    write = SqliteLimits.write

    @contextmanager
    def full(store: SqliteLimits) -> Iterator[LimitTables]:
        with write(store) as writer:
            yield writer
            raise StoreUnavailableError("full", reason="full")

    with monkeypatch.context() as patch:
        patch.setattr(SqliteLimits, "write", full)
        with pytest.raises(StoreUnavailableError):
            taken(limits)
    assert isinstance(taken(other), Grant)
    assert isinstance(taken(limits), int)
    limits.close()
    assert len(seen("k").slots) == 1, "the slot of the other one"


def test_many_that_come_first_at_once_make_the_file_once(tmp_path: Path) -> None:
    """Whoever sees tables that another is making takes it for nobody's."""
    for place in [tmp_path / str(number) / "limits.db" for number in range(40)]:
        with ThreadPoolExecutor(4) as threads:
            for store in threads.map(open_limits, [place] * 4):
                store.close()


def test_a_machine_that_has_slept_frees_no_slot(meeting_place: Path, limits: MachineLimits) -> None:
    """Time in which nobody could renew anything does not count: that of the same boot's own clock does."""
    assert isinstance(taken(limits), Grant)
    store = open_limits(meeting_place)
    with store.write() as writer:
        writer._db.execute("UPDATE holders SET expires_at = 1")
        writer.tidy()
        assert len(writer.occupancy("k", 0).slots) == 1
        later = LimitTables(writer._db, boot(), lambda: time.monotonic() + 3_600)
        assert later.occupancy("k", 0).slots == []
        elsewhen = LimitTables(writer._db, "another boot")
        assert elsewhen.occupancy("k", 0).slots == []
    store.close()


def test_an_end_of_before_the_clock_was_set_back_is_over(meeting_place: Path, limits: MachineLimits) -> None:
    """Else a slot of another boot would be held for a year."""
    assert isinstance(taken(limits), Grant)
    store = open_limits(meeting_place)
    with store.write() as writer:
        writer._db.execute("UPDATE holders SET boot = 'another', expires_at = expires_at + 31536000000")
        assert writer.occupancy("k", 0).slots == []
    store.close()


def test_who_lost_its_slot_while_it_waited_to_begin_does_not_begin(meeting_place: Path, other: MachineLimits) -> None:
    """It takes part anew, behind those who have come meanwhile."""
    away = renewing(meeting_place, 0.0)
    lost = taken(away)
    assert isinstance(lost, Grant)
    assert isinstance(taken(other), Grant)
    answer = away.restart(lost, 0.0)
    assert isinstance(answer, Refused)
    assert answer.lost
    away.close()


def test_a_call_whose_slot_was_lost_before_it_began_takes_another(meeting_place: Path, other: MachineLimits) -> None:
    """Late for its start, it finds its slot gone, waits for one like everybody, and begins with that."""
    away = renewing(meeting_place, 60.0)
    turn = SharedTurn(away, [LONG], 0.0, lambda: 0.5)

    async def go() -> None:
        assert await turn.ask(queue=False) is None
        store = open_limits(meeting_place)
        with store.write() as writer:
            writer.drop([number for number, _ in writer.holders()])
        store.close()
        held = taken(other)
        assert isinstance(held, Grant)
        refused = await turn.ask(queue=True)
        assert refused is not None
        assert not turn.granted
        assert await turn.ask(queue=True) is not None
        give(other, held, None, started=True)
        assert await turn.ask(queue=True) is None
        assert turn.granted
        turn.end({}, started=True)

    asyncio.run(go())
    away.close()
    assert seen("k") == Occupancy([], [], [], 0)


def test_a_ticket_that_was_lost_is_replaced(meeting_place: Path, limits: MachineLimits, other: MachineLimits) -> None:
    """Whoever comes later does not go before."""
    held = taken(limits)
    assert isinstance(held, Grant)
    ticket = taken(other)
    assert isinstance(ticket, int)
    store = open_limits(meeting_place)
    with store.write() as writer:
        writer.leave([ticket])
    store.close()
    anew = taken(other, ticket=ticket)
    assert isinstance(anew, int)
    assert anew > ticket
    assert len(seen("k").queue) == 1


def test_a_forked_process_gives_nothing_back_that_is_its_parents(limits: MachineLimits) -> None:
    """Nor does it wait for a thread that it does not have."""
    assert isinstance(taken(limits), Grant)
    limits._lock.acquire()
    child = os.fork()
    if child == 0:
        try:
            limits.close()
            limits.give(None, 1, started=True)
            taken(limits)
        except StoreUnavailableError:
            os._exit(7)
        finally:
            os._exit(1)
    limits._lock.release()
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 7
    assert len(seen("k").slots) == 1


def test_a_thread_that_cannot_be_started_holds_nothing(
    meeting_place: Path, limits: MachineLimits, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where nobody would renew it, no slot is taken; and the run ends as any other."""

    def no_more(_thread: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    with monkeypatch.context() as patch:
        patch.setattr(threading.Thread, "start", no_more)
        with pytest.raises(RuntimeError, match="thread"):
            taken(limits)
    limits.close()
    assert seen("k").slots == []


def test_damage_is_named_with_what_mends_it(meeting_place: Path, limits: MachineLimits) -> None:
    """Nothing is lost with that file, and no command of the store makes it anew."""
    meeting_place.parent.mkdir(parents=True)
    meeting_place.write_bytes(b"no database" * 1_000)
    with pytest.raises(DamageError, match=r"limits\.db, .* is damaged: remove it once"):
        taken(limits)
    meeting_place.unlink()
    assert isinstance(taken(limits), Grant)


def test_a_cache_folder_that_cannot_be_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With the setting that chooses another."""
    (tmp_path / "file").write_text("x")
    monkeypatch.setenv("RENKU_STORE_CACHE", str(tmp_path / "file"))
    limits = limits_of_this_machine(lambda: None, SystemClock())
    with pytest.raises(StoreUnavailableError, match="file/renku-store") as caught:
        taken(limits)
    limits.close()
    assert "RENKU_STORE_CACHE" in caught.value.hint


def test_a_user_without_a_home_is_told_what_to_set(
    tmp_path: Path, movie: Movie, studio: Studio, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Once a limit is shared, and not before; no folder called `~` is made."""
    for name in ("RENKU_STORE_CACHE", "XDG_CACHE_HOME", "HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr("posixpath.expanduser", str)
    monkeypatch.chdir(tmp_path)
    report = asyncio.run(run_movie(movie, produce=with_limits(studio, Limits({"test": {"concurrency": 1}}))))
    assert report.status == "published"
    limits = limits_of_this_machine(lambda: None, SystemClock())
    with pytest.raises(InvalidValueError, match="no folder for the cache") as caught:
        taken(limits)
    limits.close()
    assert "RENKU_STORE_CACHE" in caught.value.hint
    assert not (tmp_path / "~").exists()


def test_who_shares_nothing_leaves_no_trace(movie: Movie, studio: Studio, meeting_place: Path) -> None:
    """Limits of a process open no file of the machine's."""
    limits = Limits({"test": {"concurrency": 1}})
    assert asyncio.run(run_movie(movie, produce=with_limits(studio, limits))).status == "published"
    assert not meeting_place.exists()


WEIGHTS = st.lists(st.tuples(st.integers(0, 5_000), st.integers(1, 3)), max_size=12)


@settings(max_examples=500)
@given(starts=WEIGHTS, weight=st.integers(1, 3), limit=st.integers(3, 6), spacing=st.sampled_from([0, 300]))
def test_the_next_start_is_the_first_that_the_window_allows(
    starts: list[tuple[int, int]], weight: int, limit: int, spacing: int
) -> None:
    """At that moment it fits, and a millisecond before it does not."""
    period, now = 2_000, 5_000
    demand = Demand("k", weight, starts=limit, period_ms=period, spacing_ms=spacing)
    recent = sorted((at, size) for at, size in starts if at > now - period)
    found = Occupancy([], [], recent, 0)
    answer = refusal(demand, found, now, ticket=None, priority=0.0)

    def fits(moment: int) -> bool:
        inside = sum(size for at, size in recent if at > moment - period)
        return inside + weight <= limit and (not recent or moment >= recent[-1][0] + spacing)

    if answer is None:
        assert fits(now)
    else:
        moment = now + round((answer.seconds or 0) * 1000)
        assert fits(moment)
        assert not fits(moment - 1)


def test_weights_of_all_holders_count() -> None:
    """A heavy call waits for as many slots as it takes, and goes alone where there are never so many."""
    holder = Holder("h", 1, "", "")
    found = Occupancy([HeldPlace(1, 2, holder)], [], [], 0)
    demand = Demand("k", 2, slots=3)
    assert refusal(demand, found, 0, ticket=None, priority=0.0) is not None
    assert refusal(replace(demand, weight=1), found, 0, ticket=None, priority=0.0) is None
    assert refusal(replace(demand, weight=9), replace(found, slots=[]), 0, ticket=None, priority=0.0) is None


DAY_MS = 86_400_000


def test_who_waits_for_its_own_rate_holds_up_nobody_under_another_rule(
    limits: MachineLimits, other: MachineLimits
) -> None:
    """One project says one call a day; another, which says a hundred at once, does not wait until tomorrow."""
    mine = [Demand("openai", starts=1, period_ms=DAY_MS)]
    assert isinstance(limits.take(mine, 0.0, None, queue=True), Grant)
    waits = limits.take(mine, 0.0, None, queue=True)
    assert isinstance(waits, Refused)
    assert waits.ticket is not None
    assert isinstance(other.take([Demand("openai", slots=100)], 0.0, None, queue=True), Grant)
    behind = other.take([replace(mine[0], starts=1)], 0.0, None, queue=True)
    assert isinstance(behind, Refused), "under the same rule it waits its turn"


def test_who_waits_for_two_keys_leaves_the_free_one_to_others(limits: MachineLimits, other: MachineLimits) -> None:
    """All slots of the first key idle while the day of the second is used up."""
    gpu, both = Demand("gpu", slots=4), [Demand("gpu", slots=4), Demand("openai", starts=1, period_ms=DAY_MS)]
    first = limits.take(both, 0.0, None, queue=True)
    assert isinstance(first, Grant)
    limits.give(first, None, started=True)
    waits = limits.take(both, 0.0, None, queue=True)
    assert isinstance(waits, Refused)
    assert waits.key == "openai"
    assert isinstance(other.take([gpu], 0.0, None, queue=True), Grant)
    again = limits.take(both, 0.0, waits.ticket, queue=True)
    assert isinstance(again, Refused)
    assert again.ticket == waits.ticket, "its place stays"


def test_a_call_stands_in_the_way_while_it_asks(tmp_path: Path) -> None:
    """One whose loop is blocked keeps no slot from others, however long its process lives; once it asks it is first."""
    moment = 0.0
    connection = apsw.Connection(str(tmp_path / "limits.db"))
    for step in shipped_migrations("sql/limits"):
        for _ in connection.execute(step.sql):
            pass
    tables = LimitTables(connection, "boot", lambda: moment, lambda: moment)
    holder = tables.join(Holder("host", 1, "", ""), 600_000)
    ticket = tables.enqueue(0.0, holder)
    demand = Demand("gpu", slots=1)
    for asked in (0.0, 100.0):
        moment = asked
        assert tables.ask(ticket, {"gpu": demand.rule}, 3_000)
        assert tables.waits(ticket, {"gpu": demand.rule}, 1_000)
        assert not tables.waits(ticket, {"openai": demand.rule}, 1_000)
        moment = asked + 2.5
        assert not tables.waits(ticket, {"gpu": demand.rule}, 1_000)
        assert refusal(demand, tables.occupancy("gpu", 0), 0, ticket=None, priority=0.0) is not None
        moment = asked + 3.5
        assert refusal(demand, tables.occupancy("gpu", 0), 0, ticket=None, priority=0.0) is None
    tables.leave([ticket])
    assert not tables.ask(ticket, {"gpu": demand.rule}, 3_000)
    connection.close()


@given(
    steps=st.lists(st.tuples(st.integers(0, 90), st.integers(-200, 200)), min_size=1, max_size=8), known=st.booleans()
)
@settings(deadline=None, max_examples=40)
def test_a_rate_holds_whatever_becomes_of_the_wall_clock(steps: list[tuple[int, int]], known: bool) -> None:
    """Seconds pass, and the wall clock steps: within a boot no window of a minute ever holds more than two starts."""
    connection = apsw.Connection(":memory:")
    for step in shipped_migrations("sql/limits"):
        for _ in connection.execute(step.sql):
            pass
    moment, started = 0.0, list[float]()
    tables = LimitTables(connection, "boot", lambda: moment, lambda: moment)
    demand = Demand("openai", starts=2, period_ms=60_000)
    for passed, stepped in steps:
        moment += passed
        connection.execute("UPDATE starts SET started_at = started_at - ?", (stepped * 1000,))
        connection.execute("UPDATE pauses SET until = until - ?", (stepped * 1000,))
        found = tables.occupancy("openai", demand.period_ms)
        expected = [at for at in started if at > moment - 60]
        assert [at - tables.now_ms() for at, _ in found.starts] == pytest.approx(
            [(at - moment) * 1000 for at in expected], abs=5_000
        )
        assert (refusal(demand, found, tables.now_ms(), ticket=None, priority=0.0) is None) == (len(expected) < 2)
        if len(expected) < 2:
            tables.start("openai", 1)
            started.append(moment)
        if known:
            tables.pause("paused", 30_000)
            assert tables.occupancy("paused", 0).paused_until_ms - tables.now_ms() == pytest.approx(30_000, abs=5_000)
    connection.close()


def test_a_start_of_another_boot_that_is_in_the_future_counts_as_now(tmp_path: Path) -> None:
    """Where only the wall clock is known, one that was set back lets no call start twice; one of long ago is over."""
    with closing(apsw.Connection(str(tmp_path / "limits.db"))) as connection:
        for step in shipped_migrations("sql/limits"):
            for _ in connection.execute(step.sql):
                pass
        LimitTables(connection, "former", lambda: 5.0, lambda: 5.0).start("openai", 1)
        for ahead, counts in ((2_000, True), (62_000, False), (-62_000, False), (-2_000, True)):
            connection.execute("UPDATE starts SET started_at = unixepoch('subsec') * 1000 + ?", (ahead,))
            found = LimitTables(connection, boot()).occupancy("openai", 60_000)
            assert len(found.starts) == counts, ahead
            assert all(at <= LimitTables(connection, None).now_ms() for at, _ in found.starts)


def test_where_no_boot_is_known_starts_count_by_the_wall_clock() -> None:
    """As on a system without `/proc`: what a rate has had is neither forgotten nor kept for ever."""
    with closing(apsw.Connection(":memory:")) as connection:
        for step in shipped_migrations("sql/limits"):
            for _ in connection.execute(step.sql):
                pass
        tables, demand = LimitTables(connection, None), Demand("openai", starts=2, period_ms=60_000)
        for begun in range(2):
            found = tables.occupancy("openai", 60_000)
            assert len(found.starts) == begun
            assert refusal(demand, found, tables.now_ms(), ticket=None, priority=0.0) is None
            tables.start("openai", 1)
        assert refusal(demand, tables.occupancy("openai", 60_000), tables.now_ms(), ticket=None, priority=0.0)
        known = LimitTables(connection, "boot")
        known.start("openai", 1)
        assert len(tables.occupancy("openai", 60_000).starts) == len(known.occupancy("openai", 60_000).starts) == 3
        connection.execute(
            "UPDATE starts SET started_at = started_at - ?", (round(bounds.LIMIT_PERIOD_MAX_SECONDS * 1000) + 1_000,)
        )
        assert tables.occupancy("openai", 60_000).starts == []
        tables.start("openai", 1)
        assert connection.execute("SELECT count(*) FROM starts").get == 1


def test_a_process_of_an_older_version_shares_limits_beside_a_newer_one(tmp_path: Path) -> None:
    """Its statements find all that they name after the file was brought to the present schema."""
    with closing(apsw.Connection(str(tmp_path / "limits.db"))) as old:
        migrate(old, "limits.db", shipped_migrations("sql/limits")[:1])
        open_limits(tmp_path / "limits.db").close()
        old.execute(
            "INSERT INTO holders (host, pid, process_start, boot, until, expires_at) VALUES ('h', 1, '', 'b', 9, 9);"
            "INSERT INTO waiters (holder, priority) VALUES (1, 0.0); INSERT INTO waits (key, ticket) VALUES ('k', 1);"
            "INSERT INTO starts (key, weight, started_at) VALUES ('k', 1, unixepoch('subsec') * 1000);"
            "INSERT INTO pauses (key, until) VALUES ('k', (unixepoch('subsec') + 60) * 1000);"
        ).fetchall()
        found = LimitTables(old, boot()).occupancy("k", 60_000)
        assert (len(found.starts), found.queue) == (1, [])
        assert found.paused_until_ms > LimitTables(old, boot()).now_ms()
