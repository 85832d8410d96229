"""Transactions: all or nothing, one writer among all threads and processes, and clear words when it cannot be had."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import apsw
import pytest

from renku_store.drivers.local import LocalDriver
from renku_store.errors import DamageError, StoreUnavailableError
from renku_store.metadata.sqlite import SqliteMetadata, open_sqlite
from tests.metadata.samples import input_event, made

_WRITER = """
import sys
from functools import partial
from pathlib import Path
from renku_store.drivers.local import LocalDriver
from renku_store.metadata.sqlite import open_sqlite
from tests.metadata.samples import made
path, name, count = Path(sys.argv[1]), sys.argv[2], int(sys.argv[3])
lock = partial(LocalDriver(path.parent).lock, "write", wait_seconds=30)
with open_sqlite(path, lock=lock).write() as writer:
    pass
store = open_sqlite(path, lock=lock)
print("ready", flush=True)
number = 0
while number < count:
    with store.write() as writer:
        writer.events.append([made(f"{name}[{number}].{part}", number) for part in range(3)])
    number += 1
    print(number, flush=True)
"""


@contextmanager
def _writer(checkout: Path, path: Path, name: str, count: int) -> Iterator[subprocess.Popen[str]]:
    command = [sys.executable, "-c", _WRITER, str(path), name, str(count)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=checkout) as process:
        try:
            yield process
        finally:
            process.kill()


def test_a_failed_transaction_leaves_nothing(store: SqliteMetadata) -> None:
    """An error within a transaction undoes all of it, and the store goes on."""

    def fail() -> None:
        with store.write() as writer:
            writer.events.append([input_event("a", 1), made("x.y", 1)])
            writer.blobs.make_live([("0" * 64, 1, 1, "raw")])
            raise KeyError

    with pytest.raises(KeyError):
        fail()
    with store.write() as writer:
        assert writer.events.latest_input("a") is None
        assert writer.events.pending_inputs() == []
        assert writer.blobs.get(["0" * 64]) == {}
        assert [event.seq for event in writer.events.append([input_event("a", 2)])] == [1]


def test_a_full_disk_undoes_the_transaction_and_says_so(store: SqliteMetadata, path: Path) -> None:
    """When the space runs out in the middle of an append nothing of it is kept; with space again, it works."""
    with store.write() as writer:
        writer.events.append([input_event("a", "before")])
    pages = store.connection.pragma("page_count")
    store.connection.pragma("max_page_count", pages + 3)
    with (
        pytest.raises(StoreUnavailableError, match=r"metadata\.db is full; nothing of the change was kept"),
        store.write() as writer,
    ):
        writer.events.append([input_event(f"a[{number}]", "x" * 2_000) for number in range(100)])
    with store.read() as reader:
        assert [event.value for event in reader.events.inputs_after(0, 1_000)] == ["before"]
        assert len(reader.events.pending_inputs()) == 1
    store.connection.pragma("max_page_count", 100_000)
    with store.write() as writer:
        assert writer.events.append([input_event("b", "after")])[0].seq == 2


def test_a_transaction_that_has_ended_answers_no_more(store: SqliteMetadata) -> None:
    """Nothing can be written behind the back of the lock by keeping the writer."""
    with store.write() as writer:
        pass
    with pytest.raises(RuntimeError, match="has ended"):
        writer.events.append([input_event("a", 1)])


def test_write_transactions_do_not_nest(store: SqliteMetadata) -> None:
    """An inner transaction could not be durable when it ends, so there is none, in a reader either."""
    with store.write(), pytest.raises(RuntimeError, match="within another"), store.write():
        pass
    with store.read(), pytest.raises(RuntimeError, match="within another"), store.write():
        pass
    with store.write() as writer, store.read() as reader:
        writer.events.append([input_event("a", 1)])
        assert reader.events.latest_input("a") is not None


def test_the_write_lock_is_held_from_the_beginning(store: SqliteMetadata, path: Path) -> None:
    """What a writer reads first is still true when it writes: nobody else can begin meanwhile, even without a queue."""
    other = open_sqlite(path, busy_seconds=0.05)
    with store.write() as writer:
        assert writer.events.last_seq() == (0, 0)
        with pytest.raises(StoreUnavailableError, match=f"locked by process {os.getpid()}"), other.write():
            pass
    _append(other, "a")
    other.close()


def test_a_reader_sees_one_moment(store: SqliteMetadata, path: Path) -> None:
    """What another process commits in the meantime is not seen until the next reading."""
    other = open_sqlite(path)
    with store.read() as reader:
        assert reader.events.latest_input("a") is None
        with other.write() as writer:
            writer.events.append([input_event("a", 1)])
        assert reader.events.latest_input("a") is None
    with store.read() as reader:
        assert reader.events.latest_input("a") is not None
    other.close()


def test_a_waiting_writer_keeps_nobody_from_reading(path: Path) -> None:
    """While one thread waits for the lock among processes, others read."""
    gate, waiting = threading.Event(), threading.Event()

    @contextmanager
    def lock() -> Iterator[None]:
        waiting.set()
        assert gate.wait(20)
        yield

    gate.set()
    store = open_sqlite(path, lock=lock)
    gate.clear()
    waiting.clear()
    thread = threading.Thread(target=_append, args=(store, "a"))
    thread.start()
    assert waiting.wait(20)
    with store.read() as reader:
        assert reader.events.latest_input("a") is None
    gate.set()
    thread.join(20)
    with store.read() as reader:
        assert reader.events.latest_input("a") is not None
    store.close()


def _append(store: SqliteMetadata, *names: str) -> None:
    for name in names:
        with store.write() as writer:
            writer.events.append([input_event(name, name)])


def test_threads_take_turns(store: SqliteMetadata) -> None:
    """Many threads write and read through one store, and every event of each is there, in its order."""
    threads = [
        threading.Thread(target=_append, args=(store, *(f"t{thread}[{number}]" for number in range(25))))
        for thread in range(8)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    with store.read() as reader:
        log = reader.events.inputs_after(0, 1_000)
    assert [event.seq for event in log] == list(range(1, 201))
    for thread_number in range(8):
        own = [event.input for event in log if event.input.startswith(f"t{thread_number}[")]
        assert own == [f"t{thread_number}[{number}]" for number in range(25)]


def test_a_writer_that_waits_too_long_for_a_thread_says_so(path: Path) -> None:
    """A thread that never ends its transaction is named as the reason, after a bounded time."""
    store = open_sqlite(path, busy_seconds=0.05)
    inside, leave = threading.Event(), threading.Event()

    def hold() -> None:
        with store.write():
            inside.set()
            leave.wait(20)

    thread = threading.Thread(target=hold)
    thread.start()
    assert inside.wait(20)
    with pytest.raises(StoreUnavailableError, match="Another thread"), store.write():
        pass
    leave.set()
    thread.join(20)
    store.close()


def test_processes_take_turns(checkout: Path, path: Path) -> None:
    """Two processes write at once through the same lock; all of both is there, whole and numbered without gaps."""
    with _writer(checkout, path, "a", 40) as first, _writer(checkout, path, "b", 40) as second:
        assert [process.wait(60) for process in (first, second)] == [0, 0]
    store = open_sqlite(path)
    with store.read() as reader:
        log = reader.events.artefacts_after(0, 1_000)
    store.close()
    assert [event.seq for event in log] == list(range(1, 241))
    for name in "ab":
        own = [event.artefact for event in log if event.artefact.startswith(name)]
        assert own == [f"{name}[{number}].{part}" for number in range(40) for part in range(3)]


def test_a_process_killed_while_it_appends_loses_nothing_that_it_was_told_is_stored(checkout: Path, path: Path) -> None:
    """After SIGKILL in the middle of appends the database opens as it is, with every acknowledged batch, whole."""
    with _writer(checkout, path, "a", 1_000_000) as process:
        assert process.stdout is not None
        for line in process.stdout:
            if line.strip() == "30":
                break
        os.kill(process.pid, signal.SIGKILL)
        told = max([30, *(int(line) for line in process.stdout if line.endswith("\n"))])
        process.wait(60)
    store = open_sqlite(path)
    assert store.connection.pragma("integrity_check") == "ok"
    with store.read() as reader:
        names = [event.artefact for event in reader.events.artefacts_after(0, 1_000_000)]
    stored = len(names) // 3
    assert names == [f"a[{number}].{part}" for number in range(stored) for part in range(3)]
    assert stored in {told, told + 1}
    _append(store, "after")
    store.close()


def test_the_lock_names_its_holder(path: Path) -> None:
    """A writer that waits too long for another process is told which one."""
    driver = LocalDriver(path.parent)
    store = open_sqlite(path, lock=partial(driver.lock, "write", wait_seconds=0.05))
    with driver.lock("write", wait_seconds=5), pytest.raises(StoreUnavailableError, match=f"process {os.getpid()}"):
        _append(store, "a")
    _append(store, "a")
    store.close()


def test_a_foreign_program_that_holds_the_database_is_named(checkout: Path, path: Path) -> None:
    """A program that takes SQLite's own lock, as a database browser does, is named after a bounded wait."""
    store = open_sqlite(path, busy_seconds=0.1)
    script = """import sqlite3, sys
connection = sqlite3.connect(sys.argv[1])
connection.execute("BEGIN IMMEDIATE")
print(flush=True)
input()
"""
    command = [sys.executable, "-c", script, str(path)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as browser:
        assert browser.stdout is not None
        browser.stdout.readline()
        with pytest.raises(StoreUnavailableError, match=rf"locked by process {browser.pid} \(python.*0\.1 seconds"):
            _append(store, "a")
        with store.read() as reader:
            assert reader.events.latest_input("a") is None
        browser.communicate("\n", timeout=600)
    _append(store, "a")
    store.close()


def test_a_forked_process_is_refused(store: SqliteMetadata) -> None:
    """A child that inherited the connection can neither read nor write with it, and closing it harms nobody."""
    child = os.fork()
    if child == 0:
        answers = []
        for begin in (store.read, store.write):
            try:
                with begin():
                    answers.append(False)
            except StoreUnavailableError as error:
                answers.append("forked" in error.message)
        store.close()
        os._exit(0 if answers == [True, True] else 1)
    assert os.waitpid(child, 0)[1] == 0
    _append(store, "a")


def test_a_closed_store_says_so(path: Path) -> None:
    """After `close` every use is an error of the house, and closing again is no harm."""
    store = open_sqlite(path)
    store.close()
    store.close()
    for begin in (store.read, store.write):
        with pytest.raises(StoreUnavailableError, match="was closed"), begin():
            pass


def test_a_page_that_was_damaged_is_reported_as_damage(path: Path) -> None:
    """Garbage in the middle of the file is damage, with the way out as the hint; the store is not blocked by it."""
    store = open_sqlite(path)
    with store.write() as writer:
        writer.events.append([input_event(f"a[{number}]", "x" * 500) for number in range(500)])
    root = store.connection.execute("SELECT rootpage FROM sqlite_schema WHERE name = 'latest_inputs'").get
    store.close()
    data = bytearray(path.read_bytes())
    data[(root - 1) * 4096 : root * 4096] = b"\xa5" * 4096
    path.write_bytes(data)
    store = open_sqlite(path)
    for _ in range(2):
        with pytest.raises(DamageError, match=r"metadata\.db is damaged") as caught, store.read() as reader:
            reader.events.latest_input("a[7]")
        assert "renku-store rebuild" in caught.value.hint
    store.close()


def test_mistakes_in_this_program_are_not_dressed_up(store: SqliteMetadata) -> None:
    """A statement that breaks a rule of the schema stays the error that it is."""
    with store.write() as writer:
        writer.runs.create("r", base_revision=None, edits_through=0, created_at="")
    with pytest.raises(apsw.ConstraintError), store.write() as writer:
        writer.runs.create("r", base_revision=None, edits_through=0, created_at="")
