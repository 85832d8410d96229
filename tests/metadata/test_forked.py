"""A forked process that opens again what its parent has open: nothing is lost, and nobody stands in another's way."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import orjson
import pytest

from renku_store import Store, StoreUnavailableError, bounds, open_store
from renku_store.metadata.sqlite import open_sqlite, uses
from renku_store.metadata.sqlite.limit_store import open_limits
from renku_store.metadata.sqlite.replacing import is_newer
from tests import children
from tests.metadata.samples import input_event

pytestmark = pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")


class Turns:
    """Two processes that go on in turns, by pipes: what one says, the other waits for."""

    def __init__(self, says: int, hears: int) -> None:
        self._says = says
        self._hears = hears

    def say(self, what: object = None) -> None:
        os.write(self._says, orjson.dumps(what) + b"\n")

    def hear(self) -> object:
        line = b""
        while not line.endswith(b"\n"):
            byte = os.read(self._hears, 1)
            assert byte, "the other process has ended"
            line += byte
        return orjson.loads(line)


@contextmanager
def child(work: Callable[[Turns], object]) -> Iterator[Turns]:
    """Let a forked process work; it ends at once afterwards, closing nothing. Its error fails the test."""
    (up_reads, up_writes), (down_reads, down_writes) = os.pipe(), os.pipe()
    process = os.fork()
    if process == 0:
        code = 1
        try:
            os.close(up_reads)
            os.close(down_writes)
            work(Turns(up_writes, down_reads))
            code = 0
        finally:
            os._exit(code)
    os.close(up_writes)
    os.close(down_reads)
    try:
        yield Turns(down_writes, up_reads)
    finally:
        os.close(down_writes)
        status = os.waitpid(process, 0)[1]
        os.close(up_reads)
    assert status == 0


def append(store: Store, name: str, movie: str = "film") -> int | None:
    """Append an input; its number."""
    return store.movie(movie).events.append_input(name, 1).seq


def seen(root: Path, movie: str = "film") -> list[tuple[int, str]]:
    """What another process, which was not forked from this one, finds: each event, after a look at all of the movie."""
    ended = children.run(
        """
        import sys
        from renku_store import check_movie, open_store
        with open_store(sys.argv[1]) as store:
            for event in store.movie(sys.argv[2]).events.stream_inputs():
                print(event.seq, event.input)
            assert check_movie(store.examine(sys.argv[2])).ok
        """,
        root,
        movie,
    )
    assert ended.code == 0, ended.err
    return [(int(seq), name) for seq, name in (line.split() for line in ended.out.splitlines())]


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A root with two movies."""
    with open_store(tmp_path / "root") as store:
        for name in ("film", "other"):
            store.create_movie(name)
    return tmp_path / "root"


@pytest.mark.parametrize("meanwhile", ["nothing", "reopened by the parent", "opened by another process"])
@pytest.mark.parametrize("closes", [False, True])
def test_a_child_goes_on_when_its_parent_closes(root: Path, meanwhile: str, *, closes: bool) -> None:
    """What it appends afterwards is there for others, whether it closes at the end or is killed."""

    def work(turns: Turns) -> None:
        store = open_store(root)
        append(store, "c1")
        turns.say()
        turns.hear()
        append(store, "c2")
        append(store, "c3")
        if closes:
            store.close()

    parent = open_store(root)
    append(parent, "p1")
    with child(work) as turns:
        turns.hear()
        parent.close()
        if meanwhile == "reopened by the parent":
            with open_store(root) as again:
                append(again, "p2")
        if meanwhile == "opened by another process":
            assert seen(root) == [(1, "p1"), (2, "c1")]
        turns.say()
    names = ["p1", "c1", *(["p2"] if meanwhile.startswith("reopened") else []), "c2", "c3"]
    assert seen(root) == list(enumerate(names, 1))


@pytest.mark.parametrize("meanwhile", [False, True])
def test_a_child_opens_what_its_parent_has_closed_since_the_fork(root: Path, *, meanwhile: bool) -> None:
    """Though the log that the parent had is gone by then, and another process may have made a new one."""

    def work(turns: Turns) -> None:
        turns.hear()
        with open_store(root) as store:
            append(store, "c1")
            turns.say()
            turns.hear()
            append(store, "c2")

    parent = open_store(root)
    append(parent, "p1")
    with child(work) as turns:
        parent.close()
        other = open_store(root) if meanwhile else None
        if other is not None:
            append(other, "p2")
        turns.say()
        turns.hear()
        if other is not None:
            other.close()
        turns.say()
    names = ["p1", *(["p2"] if meanwhile else []), "c1", "c2"]
    assert seen(root) == list(enumerate(names, 1))


def test_a_parent_goes_on_when_its_child_opens_and_closes_again_and_again(root: Path) -> None:
    """The child may cut the log in between, too; its closing takes no lock from the parent, nor from itself."""

    def work(turns: Turns) -> None:
        for number in range(3):
            with open_store(root) as store, open_store(root) as second:
                append(store, f"c{number}")
                second.movie("film").metadata.reclaim(rewrite=True)
            turns.say()
            turns.hear()

    parent = open_store(root)
    append(parent, "p")
    names = ["p"]
    with child(work) as turns:
        for number in range(3):
            turns.hear()
            append(parent, f"p{number}")
            names += [f"c{number}", f"p{number}"]
            assert seen(root) == list(enumerate(names, 1))
            parent.movie("film").metadata.reclaim(rewrite=True)
            turns.say()
    append(parent, "last")
    parent.close()
    assert seen(root) == list(enumerate([*names, "last"], 1))


def test_children_and_a_child_of_a_child_append_at_once(root: Path) -> None:
    """To two movies, beside threads of the parent that forks: each event is there once, with a number of its own."""
    each = 8

    def many(name: str) -> None:
        with open_store(root) as store:
            for number in range(each):
                for movie in ("film", "other"):
                    append(store, f"{name}.{number}", movie)

    def grandparent(turns: Turns) -> None:
        with child(lambda _: many("grandchild")):
            many("child")
        with open_store(root) as store, child(lambda _: many("late")):
            append(store, "between")

    parent = open_store(root)
    for movie in ("film", "other"):
        parent.movie(movie)
    stop = threading.Event()
    appended: list[int | None] = []

    def busy() -> None:
        while not stop.is_set():
            appended.append(append(parent, f"busy.{len(appended)}"))

    thread = threading.Thread(target=busy)
    thread.start()
    try:
        with child(lambda _: many("one")), child(lambda _: many("two")), child(grandparent):
            pass
    finally:
        stop.set()
        thread.join()
        parent.close()
    names = [f"{name}.{number}" for name in ("one", "two", "child", "grandchild", "late") for number in range(each)]
    film = seen(root)
    assert sorted(seq for seq, _ in film) == list(range(1, len(film) + 1))
    expected = [*names, "between", *(f"busy.{number}" for number in range(len(appended)))]
    assert sorted(name for _, name in film) == sorted(expected)
    assert sorted(name for _, name in seen(root, "other")) == sorted(names)


def test_a_fork_waits_for_the_transaction_of_another_thread(root: Path) -> None:
    """The child finds none under way, and can write at once."""
    parent = open_store(root)
    metadata = parent.movie("film").metadata
    begun = threading.Event()

    def write() -> None:
        with metadata.write() as writer:
            begun.set()
            while not uses.HERE.fork_waits:
                time.sleep(0.001)
            writer.events.append([input_event("slow", 1)])

    def work(turns: Turns) -> None:
        with open_store(root) as store:
            turns.say(append(store, "child"))

    thread = threading.Thread(target=write)
    thread.start()
    begun.wait()
    with child(work) as turns:
        assert turns.hear() == 2
    thread.join()
    append(parent, "parent")
    parent.close()
    assert seen(root) == [(1, "slow"), (2, "child"), (3, "parent")]


def _refused(root: Path) -> Callable[[Turns], None]:
    def work(turns: Turns) -> None:
        store = open_store(root)
        append(store, "child", "other")
        for _ in range(2):
            try:
                store.movie("film")
            except StoreUnavailableError as error:
                turns.say([error.message, error.hint])
        turns.hear()

    return work


@pytest.mark.parametrize("own", [False, True])
def test_a_fork_within_a_transaction_keeps_the_child_from_that_database(
    root: Path, monkeypatch: pytest.MonkeyPatch, *, own: bool
) -> None:
    """At once, by name and with the way out; its other databases work, and the parent is as before."""
    monkeypatch.setattr(bounds, "FORK_WAIT_SECONDS", 0.05)
    parent = open_store(root)
    parent.movie("other")
    metadata = parent.movie("film").metadata
    begun, over = threading.Event(), threading.Event()

    def write() -> None:
        with metadata.write() as writer:
            begun.set()
            over.wait()
            writer.events.append([input_event("slow", 1)])

    thread = threading.Thread(target=write)
    if own:
        with metadata.write() as writer, child(_refused(root)) as turns:
            answers = [turns.hear(), turns.hear()]
            writer.events.append([input_event("slow", 1)])
            turns.say()
    else:
        thread.start()
        begun.wait()
        with child(_refused(root)) as turns:
            answers = [turns.hear(), turns.hear()]
            turns.say()
        over.set()
        thread.join()
    for message, hint in answers:  # type: ignore[misc]
        assert str(root / "film" / "metadata.db") in message
        assert "spawn or forkserver" in hint
    append(parent, "parent")
    parent.close()
    assert seen(root) == [(1, "slow"), (2, "parent")]
    assert seen(root, "other") == [(1, "child")]


def test_two_threads_that_need_each_others_stores_do_not_keep_a_fork_waiting(root: Path) -> None:
    """A fork holds nothing while it waits: who has one store and asks for another gets it."""
    parent = open_store(root)
    film, other = parent.movie("film").metadata, parent.movie("other").metadata
    begun = threading.Event()

    def both() -> None:
        with film.read():
            begun.set()
            while not uses.HERE.fork_waits:
                time.sleep(0.001)
            with other.read():
                pass

    thread = threading.Thread(target=both)
    thread.start()
    begun.wait()
    start = time.monotonic()
    with child(lambda _: open_store(root).movie("film")):
        assert time.monotonic() - start < bounds.FORK_WAIT_SECONDS
    thread.join()
    parent.close()


_ENDS = """
    import os, subprocess, sys
    from renku_store import open_store
    killed = (
        "import os, sys, renku_store as rs;"
        "rs.open_store(sys.argv[1]).movie('film').events.append_input('killed', 1);"
        "os._exit(0)"
    )
    store = open_store(sys.argv[1])
    store.movie("film").events.append_input("parent", 1)
    reads, writes = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(writes)
        os.read(reads, 1)
        if sys.argv[2] == "forgets":
            del store
        sys.exit(0)
    store.close()
    subprocess.run([sys.executable, "-c", killed, sys.argv[1]], check=True)
    os.close(writes)
    assert os.waitpid(child, 0)[1] == 0
"""


@pytest.mark.parametrize("how", ["forgets", "ends"])
def test_a_child_that_opens_nothing_leaves_the_log_of_others_alone(root: Path, how: str) -> None:
    """Also where the one whose log it is was killed, so that nobody has the database open when the child ends."""
    ended = children.run(_ENDS, root, how)
    assert ended.code == 0, ended.err
    assert seen(root) == [(1, "parent"), (2, "killed")]


def test_limits_of_a_machine_can_be_opened_again_in_a_child(tmp_path: Path) -> None:
    """As the store can: what the child writes is there when its parent has closed."""
    path = tmp_path / "limits.db"

    def work(turns: Turns) -> None:
        limits = open_limits(path)
        turns.say()
        turns.hear()
        with limits.write() as tables:
            assert tables is not None
        turns.say(sorted(each.name for each in tmp_path.iterdir()))

    parent = open_limits(path)
    with child(work) as turns:
        turns.hear()
        parent.close()
        turns.say()
        assert turns.hear() == ["limits.db", "limits.db-shm", "limits.db-wal"]


_ALONE = """
    import fcntl, os, sys
    descriptor = os.open(sys.argv[1], os.O_RDWR)
    try:  # the bytes that SQLite locks for whoever has a database open (its "shared" lock)
        fcntl.lockf(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB, 510, 0x40000002)
    except BlockingIOError:
        print("used")
    else:
        print("alone")
"""


@pytest.mark.parametrize("reads", ["a copy", "in place", "in place, opened before", "its head"])
def test_reading_a_database_takes_no_lock_from_who_has_it_open(root: Path, reads: str) -> None:
    """By POSIX, closing a descriptor of a file drops all locks of the process on it; others would see it closed."""
    path = root / "film" / "metadata.db"
    before = open_sqlite(path, read_only=True)
    store = open_sqlite(path)
    if reads == "a copy":
        with store.write() as writer:
            writer.events.append([input_event("first", 1)])
    if reads == "its head":
        assert not is_newer(path)
    elif not reads.endswith("before"):
        if reads == "in place":
            open_sqlite(path, read_only=True)  # and nobody closes it
        reading = open_sqlite(path, read_only=True)
        reading.close()
        reading.close()
    before.close()
    assert children.run(_ALONE, path).out == "used\n"
    store.close()
    assert children.run(_ALONE, path).out == "alone\n"
    assert uses.HERE.descriptors == []
