"""Measures how adding blobs and looking up the newest of an id grow with how many there are."""

from __future__ import annotations

import itertools
import runpy
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from random import Random
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import apsw
import orjson
from contents import contents
from measuring import Task, arguments, measure, report, workplace

from renku_store import ArtefactEvent, ArtefactValue, Movie, Store, open_store
from renku_store.metadata.sqlite.events import LATEST_ARTEFACT

QUESTION = "How do adding and looking up grow with how many there are?"
ADDED = {False: (1_000, 10_000, 100_000), True: (100, 300)}
EVENTS = {False: (1_000, 10_000, 100_000, 1_000_000), True: (1_000, 2_000)}
MILLION = 1_000_000
"""Blobs of the largest addition, with --full: two million small files in all."""
BLOB_BYTES = 512
IDS = 1_000
LOOKS = 10_000
BATCH = 10_000
DURABLE = "durable: synced before it returns"
NONE = "reads only"
NOW = "2026-01-01T00:00:00.000Z"
CACHE_KIB = 65_536

write_and_sync: Callable[[Path, Iterator[bytes]], None] = runpy.run_path(
    str(Path(__file__).parents[1] / "add-blobs/bench.py")
)["write_and_sync"]
"""The limit of adding: hash, write, rename each; one sync of the file system for all."""


def added(store: Store, place: Path, count: int) -> Task:
    """So many blobs into a movie of their own, each round."""

    def ours(number: int) -> float:
        blobs = store.create_movie(f"added-{count}-{number}").blobs
        started = time.perf_counter()
        blobs.put_many(contents(number, count, BLOB_BYTES))
        return time.perf_counter() - started

    def limit(number: int) -> None:
        write_and_sync(place / f"limit-{count}-{number}", contents(number, count, BLOB_BYTES))

    return Task(f"add {count:,} x {BLOB_BYTES} bytes", DURABLE, ours, limit)


class History:
    """A movie whose events grow, over the same ids, and the same events as lines of JSON."""

    def __init__(self, store: Store, place: Path, looks: int) -> None:
        self._movie: Movie = store.create_movie("history")
        self._log = place / "log.jsonl"
        database = apsw.Connection(str(place / "ours/history/metadata.db"), flags=apsw.SQLITE_OPEN_READONLY)
        database.pragma("cache_size", -CACHE_KIB)
        self._cursor = database.cursor()
        self._random = Random(3)
        self._count = 0
        self._places = itertools.count()
        self._looked = [f"clip[{self._random.randrange(IDS)}].clip" for _ in range(looks)]

    def grow(self, count: int) -> None:
        """Until there are so many."""
        run = self._movie.events.new_id()
        while self._count < count:
            events = [self._event(run) for _ in range(min(BATCH, count - self._count))]
            self._movie.events.append_many(events)
            with self._log.open("ab") as log:
                log.writelines(orjson.dumps(event.to_json()) + b"\n" for event in events)
            self._count += len(events)

    def task(self) -> Task:
        """The look-ups among as many as there are now."""
        name = f"{len(self._looked):,} look-ups among {self._count:,} events"
        scans = {"a scan of lines of JSON for each (one is timed)": self._scan}
        return Task(name, NONE, self._look, self._select, scans)

    def _event(self, run: str) -> ArtefactEvent:
        number, digest = next(self._places) % IDS, self._random.randbytes(32).hex()
        return ArtefactEvent(
            id=self._movie.events.new_id(),
            run=run,
            artefact=f"clip[{number}].clip",
            status="succeeded",
            output="clip",
            job=f"clip[{number}]",
            producer="clip",
            signature=digest,
            result=self._movie.events.new_id(),
            value=ArtefactValue(hash=digest, size=40, mime_type="text/plain", inline="x" * 40),
            cost=0.01,
            attempts=1,
            created_at=NOW,
        )

    def _look(self, _round: int) -> None:
        for artefact in self._looked:
            self._movie.events.latest_artefact(artefact)

    def _select(self, _round: int) -> None:
        """The limit: the same statement, its row as it comes, and no record made of it."""
        for artefact in self._looked:
            (_row,) = self._cursor.execute(LATEST_ARTEFACT, (artefact,))

    def _scan(self, _round: int) -> float:
        """The newest of one id, every line parsed; times the look-ups."""
        wanted, found, started = self._looked[0], None, time.perf_counter()
        with self._log.open("rb") as lines:
            for line in lines:
                event = orjson.loads(line)
                if event["artefact"] == wanted:
                    found = event
        assert found is not None
        return (time.perf_counter() - started) * len(self._looked)


def results(place: Path, added_counts: tuple[int, ...], event_counts: tuple[int, ...], given: Any) -> Iterator[Any]:
    """Figures by size, smallest first."""
    with open_store(place / "ours") as store:
        write_and_sync(place / "junk", contents(-1, added_counts[0], BLOB_BYTES))
        for count in added_counts:
            rounds = given.rounds if count < MILLION else 1
            for found in measure([added(store, place, count)], rounds):
                yield {**found, "of": "add", "count": count}
        history = History(store, place, LOOKS // 100 if given.quick else LOOKS)
        for count in event_counts:
            history.grow(count)
            for found in measure([history.task()], given.rounds):
                yield {**found, "of": "look-up", "count": count}


def main() -> None:
    """Measure and report."""
    is_full = "--full" in sys.argv
    sys.argv = [word for word in sys.argv if word != "--full"]
    given = arguments(QUESTION)
    sizes = (*ADDED[given.quick], *([MILLION] if is_full else []))
    with workplace(given.directory) as place:
        found = list(results(place, sizes, EVENTS[given.quick], given))
    report(QUESTION, {"blob bytes": BLOB_BYTES, "ids": IDS}, found, given)


if __name__ == "__main__":
    main()
