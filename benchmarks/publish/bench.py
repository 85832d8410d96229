"""Measures publishing a revision in which few of many artefacts changed: seconds, and bytes that are written for it."""

from __future__ import annotations

import os
import statistics
import sys
import time
from pathlib import Path
from random import Random

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import apsw
import orjson
from many_artefacts import BLOB_BYTES, ManyArtefacts
from measuring import Task, arguments, measure, report, workplace

from renku_store import Store, open_store

QUESTION = "How long does it take to publish a revision in which 10 of many artefacts changed, and what is written?"
SIZES = {False: (10_000, 100_000), True: (1_100, 1_500)}
CHANGED = 10
PAGE_ENTRIES = 256
ENTRY_BYTES = 330
REFERENCE_BYTES = 100
DURABLE = "durable: synced before it returns"


def written() -> int:
    """Bytes that this process has handed to the system so far; 0 where nobody counts them."""
    try:
        lines = Path("/proc/self/io").read_text(encoding="ascii").splitlines()
    except OSError:
        return 0
    return next(int(line.partition(":")[2]) for line in lines if line.startswith("wchar:"))


class Ours:
    """A movie of so many artefacts, and what was written for each of its later revisions."""

    def __init__(self, store: Store, count: int) -> None:
        self._shelf = ManyArtefacts(store, count)
        self._spent: list[int] = []

    def publish(self, _round: int) -> float:
        """Everything that a revision takes whose results have come: blobs, events, the manifest, its publishing."""
        places = self._shelf.random.sample(range(self._shelf.count), CHANGED)
        before, started = written(), time.perf_counter()
        self._shelf.newest = self._shelf.publish(places)
        taken = time.perf_counter() - started
        self._spent.append(written() - before)
        return taken

    def counted(self) -> dict[str, object]:
        """What was written for a revision, against its manifest as one document."""
        document = self._shelf.newest.to_json()
        spent, whole = round(statistics.median(self._spent)), len(orjson.dumps(document))
        return {"written bytes": spent, "unpaged manifest bytes": whole, "share": round(spent / whole, 4)}


class Least:
    """The limit: as many files of such sizes written, synced and renamed, and transactions of as many rows."""

    def __init__(self, folder: Path, artefacts: int) -> None:
        folder.mkdir()
        self._folder = folder
        self._random = Random(1)
        self._page = PAGE_ENTRIES * ENTRY_BYTES
        self._manifest = artefacts // PAGE_ENTRIES * REFERENCE_BYTES + 1_000
        self._database = apsw.Connection(str(folder / "limit.db"))
        self._database.pragma("journal_mode", "wal")
        self._database.pragma("synchronous", "full")
        self._database.execute("CREATE TABLE rows (key BLOB PRIMARY KEY, body BLOB) WITHOUT ROWID")

    def publish(self, _round: int) -> None:
        """Blobs; events; pages; archive; intent; manifest; pointer; rows."""
        self._store([BLOB_BYTES] * CHANGED)
        self._insert(CHANGED, 400)
        self._store([self._page] * CHANGED)
        self._store([2_000])
        self._insert(1, self._manifest)
        self._store([self._manifest])
        self._store([250])
        self._insert(4 * CHANGED, 60)

    def _store(self, sizes: list[int]) -> None:
        for size in sizes:
            name = self._folder / self._random.randbytes(32).hex()
            descriptor = os.open(f"{name}.new", os.O_CREAT | os.O_EXCL | os.O_WRONLY)
            os.write(descriptor, self._random.randbytes(size))
            os.fsync(descriptor)
            os.close(descriptor)
            Path(f"{name}.new").rename(name)
        folder = os.open(self._folder, os.O_RDONLY)
        os.fsync(folder)
        os.close(folder)

    def _insert(self, count: int, size: int) -> None:
        rows = [(self._random.randbytes(32), self._random.randbytes(size)) for _ in range(count)]
        self._database.execute("BEGIN IMMEDIATE")
        self._database.executemany("INSERT INTO rows VALUES (?, ?)", rows)
        self._database.execute("COMMIT")


def main() -> None:
    """Measure and report."""
    given = arguments(QUESTION)
    with workplace(given.directory) as place, open_store(place / "ours") as store:
        sides = [(Ours(store, count), Least(place / f"limit-{count}", count), count) for count in SIZES[given.quick]]
        tasks = [
            Task(f"publish with {CHANGED} of {count:,} artefacts changed", DURABLE, ours.publish, least.publish)
            for ours, least, count in sides
        ]
        results = measure(tasks, given.rounds)
        for result, (ours, _, _) in zip(results, sides, strict=True):
            result.update(ours.counted())
    report(QUESTION, {"changed": CHANGED, "blob bytes": BLOB_BYTES}, results, given)
    if not given.json:
        for result in results:
            print(f"  {result['task']}: {result['written bytes']:,} bytes written, {result['share']:.2%} of a manifest")


if __name__ == "__main__":
    main()
