"""Measures appending events durably, and finding the newest of an id and the result of a signature among many."""

from __future__ import annotations

import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from random import Random
from typing import TypeVar

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import apsw
import orjson
from event_peers import Lines, Standard
from measuring import Task, Work, arguments, measure, report, workplace

from renku_store import Movie, open_store
from renku_store.metadata.sqlite import appending, open_sqlite
from renku_store.metadata.sqlite.rows import artefact_row, trace_row
from renku_store.records.events import ArtefactEvent
from renku_store.records.manifest import ArtefactValue

QUESTION = "How fast are events appended, and how fast is the newest of an id found among many?"
SIZES = {
    False: {"single": 3_000, "batched": 20_000, "history": 1_000_000, "short": 10_000, "ids": 10_000, "looks": 10_000},
    True: {"single": 300, "batched": 2_000, "history": 4_000, "short": 1_000, "ids": 500, "looks": 500},
}
BATCH = 100
THREADS = 64
PROCESSES = (2, 8)
PROCESS_IDS = 1_000
DURABLE = "durable: synced before it returns"
NONE = "reads only"
NOW = "2026-01-01T00:00:00.000Z"
CHILD = "import sys; sys.path[:0] = sys.argv[1:3]; from bench import appends; appends(sys.argv[3], int(sys.argv[4]))"


Row = tuple[object, ...]
T = TypeVar("T")


class Raw:
    """The limit: the same rows by the same statements, through apsw, on a connection like ours, and nothing else.

    Tables, indexes, triggers, durability and the mode of the transaction are the same. Rows are made before the clock
    runs; nobody else is locked out but by SQLite itself; numbers are counted here, and no row is looked for.
    """

    def __init__(self, path: Path) -> None:
        self._connection = open_sqlite(path).connection
        self._last = 0

    def append(self, rows: Sequence[tuple[Row, Row]]) -> None:
        """One commit."""
        events = [(seq, *event[1:]) for seq, (event, _) in enumerate(rows, self._last + 1)]
        self._connection.execute("BEGIN IMMEDIATE")
        self._connection.executemany(appending.INSERT["artefact_events"], events)
        self._connection.executemany(appending.POINT_ARTEFACT, [(event[3], event[0]) for event in events])
        self._connection.executemany(appending.ADD_TRACE, [trace for _, trace in rows])
        self._connection.execute("COMMIT")
        self._last += len(rows)


class Bare:
    """Less than that: rows with a unique id and the newest row of each artefact, through apsw, as durable."""

    def __init__(self, path: Path) -> None:
        self._connection = apsw.Connection(str(path))
        self._connection.pragma("journal_mode", "wal")
        self._connection.pragma("synchronous", "full")
        self._connection.execute("CREATE TABLE events (seq INTEGER PRIMARY KEY, id TEXT UNIQUE, artefact, body)")
        self._connection.execute("CREATE TABLE latest (artefact TEXT PRIMARY KEY, seq INTEGER) WITHOUT ROWID")

    def append(self, rows: Iterable[tuple[str, str]]) -> None:
        """One commit."""
        self._connection.execute("BEGIN IMMEDIATE")
        for artefact, body in rows:
            seq = self._connection.last_insert_rowid() + 1
            values = (seq, f"{seq:036}", artefact, body)
            self._connection.execute("INSERT INTO events (seq, id, artefact, body) VALUES (?, ?, ?, ?)", values)
            self._connection.execute("INSERT OR REPLACE INTO latest VALUES (?, ?)", (artefact, seq))
            self._connection.set_last_insert_rowid(seq)
        self._connection.execute("COMMIT")


def new_events(movie: Movie, count: int, ids: int, random: Random) -> list[ArtefactEvent]:
    """Results of a run's calls, each of an artefact of its own choice."""
    events, run = [], movie.events.new_id()
    for _ in range(count):
        digest = random.randbytes(32).hex()
        value = ArtefactValue(hash=digest, size=40, mime_type="text/plain", inline="x" * 40)
        number = random.randrange(ids)
        event = ArtefactEvent(
            id=movie.events.new_id(),
            run=run,
            artefact=f"clip[{number}].clip",
            status="succeeded",
            output="clip",
            job=f"clip[{number}]",
            producer="clip",
            signature=digest,
            result=movie.events.new_id(),
            value=value,
            cost=0.01,
            attempts=1,
            created_at=NOW,
        )
        events.append(event)
    return events


def rows_of(events: Sequence[ArtefactEvent]) -> list[tuple[Row, Row]]:
    """The same as rows of the limit."""
    return [(artefact_row(event, 0), trace_row([event])) for event in events]


def bare_rows_of(events: Sequence[ArtefactEvent]) -> list[tuple[str, str]]:
    """The same as rows of what does less."""
    return [(event.artefact, orjson.dumps(event.to_json()).decode()) for event in events]


def groups(items: Sequence[T], size: int) -> Iterator[Sequence[T]]:
    """Parts of so many."""
    return (items[first : first + size] for first in range(0, len(items), size))


def appends(root: str, count: int) -> None:
    """What each of several processes does."""
    with open_store(root) as store, store.movie("many") as movie:
        events = new_events(movie, count, PROCESS_IDS, Random())
        print("ready", flush=True)
        sys.stdin.read()
        for event in events:
            movie.events.append_artefact(event)


class Bench:
    """A movie of each kind, and what the limit writes."""

    def __init__(self, place: Path, sizes: dict[str, int], *, peers: bool = False) -> None:
        self._place = place
        self._others = (Standard(place), Lines(place)) if peers else ()
        self._sizes = sizes
        self._store = open_store(place / "ours")
        self._movie = self._store.create_movie("appended")
        self._store.create_movie("many").close()
        self._raw = Raw(place / "raw.db")
        self._raw_many = Raw(place / "raw-many.db")
        self._bare = Bare(place / "bare.db")
        self._random = Random(7)
        self._events: dict[tuple[str, int], list[ArtefactEvent]] = {}

    def tasks(self) -> list[Task]:
        """All of them; what is appended is made before the clock runs."""
        single, many = self._sizes["single"], self._sizes["batched"]
        return [
            self._task(f"append {single:,} events, a commit each", self._singly, "single", 1),
            self._task(f"append {many:,} events, {BATCH} a commit", self._batched, "batched", BATCH),
            self._task(f"append {many:,} events from {THREADS} threads", self._from_threads, "batched", THREADS),
            *(
                self._task(
                    f"append {single:,} events from {count} processes",
                    self._from_processes(count),
                    "single",
                    1,
                    many=True,
                )
                for count in PROCESSES
            ),
            *self._look_ups(),
        ]

    def _task(
        self, name: str, ours: Callable[[int], float | None], kind: str, size: int, *, many: bool = False
    ) -> Task:
        """`many`: what processes append, to a movie of their own and of fewer ids; so does the limit."""
        limit_of, ids = (self._raw_many, PROCESS_IDS) if many else (self._raw, self._sizes["ids"])
        counts = [len(events) for (found, _), events in self._events.items() if found == kind]
        given = [new_events(self._movie, count, ids, self._random) for count in counts]
        raw, bare = [rows_of(events) for events in given], [bare_rows_of(events) for events in given]

        def limit(number: int) -> None:
            for group in groups(raw[number], size):
                limit_of.append(group)

        def less(number: int) -> None:
            for group in groups(bare[number], size):
                self._bare.append(group)

        def other(peer: Standard | Lines) -> Work:
            return lambda number: [peer.append(group) for group in groups(bare[number], size)]

        others = {peer.name: other(peer) for peer in self._others}
        return Task(name, DURABLE, ours, limit, {"apsw, one index and one look-up": less, **others})

    def prepare(self, rounds: int) -> None:
        """Make what is appended."""
        for number in range(rounds):
            for kind in ("single", "batched", "threads"):
                self._events[kind, number] = self._new(self._sizes["single" if kind == "single" else "batched"])

    def _new(self, count: int) -> list[ArtefactEvent]:
        return new_events(self._movie, count, self._sizes["ids"], self._random)

    def _singly(self, number: int) -> None:
        for event in self._events["single", number]:
            self._movie.events.append_artefact(event)

    def _batched(self, number: int) -> None:
        for group in groups(self._events["batched", number], BATCH):
            self._movie.events.append_many(group)

    def _from_threads(self, number: int) -> None:
        events = self._events["threads", number]

        def work(place: int) -> None:
            for event in events[place::THREADS]:
                self._movie.events.append_artefact(event)

        threads = [threading.Thread(target=work, args=(place,)) for place in range(THREADS)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

    def _from_processes(self, processes: int) -> Callable[[int], float]:
        here = Path(__file__).resolve().parent
        words = [sys.executable, "-c", CHILD, str(here), str(here.parent), str(self._place / "ours")]
        count = str(self._sizes["single"] // processes)

        def work(_number: int) -> float:
            pipe = subprocess.PIPE
            crew = [subprocess.Popen([*words, count], stdin=pipe, stdout=pipe) for _ in range(processes)]
            for child in crew:  # all have opened the movie
                assert child.stdout is not None
                child.stdout.readline()
            started = time.perf_counter()
            for child in crew:
                assert child.stdin is not None
                child.stdin.close()
            assert [child.wait() for child in crew] == [0] * processes
            taken = time.perf_counter() - started
            for child in crew:
                assert child.stdout is not None
                child.stdout.close()
            return taken

        return work

    def _look_ups(self) -> list[Task]:
        short, full = (self._history(name) for name in ("short", "history"))
        looks, ids = self._sizes["looks"], self._sizes["ids"]
        named = [f"clip[{self._random.randrange(ids)}].clip" for _ in range(looks)]
        known = {movie.id: [event.signature or "" for event in some] for movie, some in (short, full)}
        log = self._place / "log.jsonl"

        def newest(movie: Movie) -> None:
            for name in named:
                movie.events.latest_artefact(name)

        def traces(movie: Movie) -> None:
            signatures = known[movie.id]
            for place in range(looks):
                assert movie.events.find_trace(signatures[place % len(signatures)]) is not None

        def scan(_number: int) -> None:
            found: dict[str, dict[str, object]] = {}
            with log.open("rb") as lines:
                for line in lines:
                    event = orjson.loads(line)
                    found[event["artefact"]] = event

        def all_ids(_number: int) -> None:
            for place in range(ids):
                full[0].events.latest_artefact(f"clip[{place}].clip")

        label = f"of {self._sizes['history']:,} events; limit: of {self._sizes['short']:,}"
        both = f"the newest of all {ids:,} ids; limit: a scan of the same as lines of JSON"
        return [
            Task(f"{looks:,} x newest of an id, {label}", NONE, lambda _: newest(full[0]), lambda _: newest(short[0])),
            Task(f"{looks:,} x by signature, {label}", NONE, lambda _: traces(full[0]), lambda _: traces(short[0])),
            Task(both, NONE, all_ids, scan),
        ]

    def _history(self, name: str) -> tuple[Movie, list[ArtefactEvent]]:
        """A movie of so many events; some of them."""
        movie = self._store.create_movie(name)
        some: list[ArtefactEvent] = []
        with (self._place / "log.jsonl").open("wb") as log:
            for count in (len(part) for part in groups(range(self._sizes[name]), 10_000)):
                events = new_events(movie, count, self._sizes["ids"], self._random)
                movie.events.append_many(events)
                some.extend(events[:200])
                log.writelines(orjson.dumps(event.to_json()) + b"\n" for event in events)
        return movie, some


def main() -> None:
    """Measure and report."""
    given = arguments(QUESTION)
    sizes = SIZES[given.quick]
    with workplace(given.directory) as place:
        bench = Bench(place, sizes, peers=given.peers is not None)
        bench.prepare(given.rounds)
        results = measure(bench.tasks(), given.rounds, given.peer_rounds)
    report(QUESTION, {**sizes}, results, given)


if __name__ == "__main__":
    main()
