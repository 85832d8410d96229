"""Measures adding blobs durably, adding them again, and reading them back verified."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Iterator
from ctypes import CDLL, get_errno
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import apsw
import orjson
from blake3 import blake3
from contents import contents, json_contents
from measuring import Task, Work, arguments, measure, report, workplace
from peers import Contenders

from renku_store import BlobRef, open_store

QUESTION = "How long does it take to add blobs durably, to add them again, and to read them back verified?"
SIZES = {"small": 4_096, "json": 4_096, "large": 5 * 1_048_576}
COUNTS = {
    False: {"small": 20_000, "json": 20_000, "large": 200},
    True: {"small": 2_000, "json": 500, "large": 10},
}
DURABLE = "durable: synced before it returns"
NONE = "reads only"
SEEN = "durable already; one synced transaction"
OWED = "the limit, a look at each object, a touched row for each"
_LIBC = CDLL(None, use_errno=True)


class Bench:
    """The folders of all rounds; round by round, and size by size, one movie and one folder of the limit."""

    def __init__(self, place: Path, counts: dict[str, int], rounds: int, peers: Contenders | None) -> None:
        self._place = place
        self._peers = peers
        self._counts = counts
        store = open_store(place / "ours")
        self._blobs = {
            (size, number): store.create_movie(f"{size}-{number}").blobs for size in SIZES for number in range(rounds)
        }
        for size in SIZES:
            # The first touch of fresh memory and disk is slow, whoever comes first.
            write_and_sync(place / "junk" / size, self._contents(-1, size))

    def _contents(self, number: int, size: str) -> Iterator[bytes]:
        return (json_contents if size == "json" else contents)(number, self._counts[size], SIZES[size])

    def tasks(self) -> list[Task]:
        """Three tasks for each size, in the order in which they build on each other."""
        return [task for size in SIZES for task in self._tasks(size)]

    def _tasks(self, size: str) -> list[Task]:
        added: dict[int, list[BlobRef]] = {}
        digests: dict[int, list[str]] = {}
        label = f"{self._counts[size]:,} x {SIZES[size] // 1024:,} KiB{' of JSON' if size == 'json' else ''}"

        def folder(number: int) -> Path:
            return self._place / "limit" / f"{size}-{number}"

        def add(number: int) -> None:
            references = self._blobs[size, number].put_many(self._contents(number, size))
            added[number] = references
            digests[number] = [reference.hash for reference in references]

        def read_back(number: int) -> None:
            blobs = self._blobs[size, number]
            for reference in added[number]:  # hash and size, as a manifest lists them; the limit knows both, too
                blobs.read(reference)

        def write(number: int) -> None:
            write_and_sync(folder(number), self._contents(number, size))

        def files(number: int) -> list[str]:
            below = folder(number)
            return [f"{below}/{digest}" for digest in digests[number]]

        def add_files(number: int) -> None:
            assert len(self._blobs[size, number].put_many(files(number))) == self._counts[size]

        def read(number: int) -> None:
            read_and_hash(folder(number), digests[number], SIZES[size])

        def owed(number: int) -> float:
            database = rows_of(self._place / "rows" / f"{size}-{number}.db", digests[number], SIZES[size])
            started = time.perf_counter()
            read(number)
            look_and_touch(folder(number), digests[number], database)
            taken = time.perf_counter() - started
            database.close()
            return taken

        return [
            Task(f"add {label}", DURABLE, add, write, self._others("add", size)),
            Task(f"add {label} again", SEEN, add_files, read, {OWED: owed, **self._others("again", size)}),
            Task(f"read {label}, verified", NONE, read_back, read, self._others("read", size)),
        ]

    def _others(self, what: str, size: str) -> dict[str, Work]:
        """What the peers do for a task."""
        if self._peers is None or size == "json":
            return {}
        return {**self._peers.works(what, self._place / "peers", self._counts[size], SIZES[size])}


# The limits use bare system calls: what is measured is the disk, not a library.


def write_and_sync(folder: Path, contents: Iterator[bytes]) -> None:
    """The limit of adding: hash, write under a temporary name, rename; one sync of the file system for all."""
    folder.mkdir(parents=True)
    for content in contents:
        name = f"{folder}/{blake3(content).hexdigest()}"
        descriptor = os.open(f"{name}.tmp", os.O_WRONLY | os.O_CREAT | os.O_EXCL)
        written = os.write(descriptor, content)
        os.close(descriptor)
        assert written == len(content)
        os.rename(f"{name}.tmp", name)  # noqa: PTH104
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        if _LIBC.syncfs(descriptor):
            raise OSError(get_errno(), "syncfs")
    finally:
        os.close(descriptor)


def read_and_hash(folder: Path, digests: list[str], size: int) -> None:
    """The limit of reading verified, and of adding what is there: the same files in the same order."""
    for digest in digests:
        descriptor = os.open(f"{folder}/{digest}", os.O_RDONLY)
        data = os.read(descriptor, size)
        os.close(descriptor)
        assert blake3(data).hexdigest() == digest


def rows_of(path: Path, digests: list[str], size: int) -> apsw.Connection:
    """A database with a row for each of these blobs."""
    path.parent.mkdir(exist_ok=True)
    database = apsw.Connection(str(path))
    database.pragma("journal_mode", "wal")
    database.pragma("synchronous", "full")
    database.execute("CREATE TABLE blobs (hash BLOB PRIMARY KEY, size, state, touched_at) WITHOUT ROWID")
    with database:
        rows = ((bytes.fromhex(digest), size) for digest in sorted(digests))
        database.executemany("INSERT INTO blobs VALUES (?, ?, 'live', 0)", rows)
    return database


def look_and_touch(folder: Path, digests: list[str], database: apsw.Connection) -> None:
    """What adding again owes beside the limit, by the least code in one thread: one statement, synced, for all rows."""
    for digest in digests:
        os.stat(f"{folder}/{digest}")  # noqa: PTH116 (the least)
    database.execute(
        "UPDATE blobs SET touched_at = unixepoch() WHERE state = 'live'"
        " AND hash IN (SELECT unhex(value) FROM json_each(?))",
        (orjson.dumps(digests).decode(),),
    )
    assert database.changes() == len(digests)


def main() -> None:
    """Measure and report."""
    given = arguments(QUESTION)
    counts = COUNTS[given.quick]
    peers = Contenders(Path(given.peers).resolve()) if given.peers else None
    with workplace(given.directory) as place:
        results = measure(Bench(place, counts, given.rounds, peers).tasks(), given.rounds, given.peer_rounds)
    report(QUESTION, {}, results, given)


if __name__ == "__main__":
    main()
