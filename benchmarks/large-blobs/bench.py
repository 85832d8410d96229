"""Measures adding one large file durably, adding it again, and reading it back verified; and the memory it takes."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from random import Random

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from blake3 import blake3
from measuring import Task, arguments, measure, report, workplace

from renku_store import BlobRef, BlobStore, open_store

QUESTION = "How long does it take to add a large file durably, to add it again, and to read it back verified?"
MEBIBYTES = {False: 2_048, True: 64}
CHUNK_BYTES = 1_048_576
DURABLE = "durable: synced before it returns"
NONE = "reads only"
SEEN = "durable already; one synced transaction"


class Bench:
    """A source, and in each round a movie and a copy of the limit; those of the round before go, each one file."""

    def __init__(self, place: Path, mebibytes: int, rounds: int) -> None:
        self._place = place
        self._source = place / "source"
        self._label = f"1 x {mebibytes:,} MiB"
        self._stored: dict[int, BlobRef] = {}
        random = Random(mebibytes)
        with self._source.open("wb", buffering=0) as file:
            for _ in range(mebibytes):
                file.write(random.randbytes(CHUNK_BYTES))
            os.fsync(file.fileno())
        store = open_store(place / "ours")
        self._blobs: list[BlobStore] = [store.create_movie(f"round-{number}").blobs for number in range(rounds)]
        self._idle = peak_kibibytes()

    def tasks(self) -> list[Task]:
        """In the order in which they build on each other."""
        return [
            Task(f"add {self._label}", DURABLE, self._add, self._copy),
            Task(f"add {self._label} again", SEEN, self._add, lambda _: read_and_hash(self._source)),
            Task(f"read {self._label}, verified", NONE, self._read, lambda n: read_and_hash(self._place / f"copy-{n}")),
        ]

    def memory_mebibytes(self) -> int:
        """The most that this process took beyond what it had when it began."""
        return (peak_kibibytes() - self._idle) >> 10

    def _add(self, number: int) -> None:
        if number - 1 in self._stored:
            digest = self._stored.pop(number - 1).hash
            (self._place / "ours" / f"round-{number - 1}" / "blobs" / digest[:2] / digest).unlink()
        self._stored[number] = self._blobs[number].put_file(self._source)

    def _copy(self, number: int) -> None:
        """The limit of adding: copy, and one sync. Nothing is hashed."""
        (self._place / f"copy-{number - 1}").unlink(missing_ok=True)
        with self._source.open("rb", buffering=0) as source, (self._place / f"copy-{number}").open("xb", 0) as target:
            while chunk := source.read(CHUNK_BYTES):
                target.write(chunk)
            os.fsync(target.fileno())

    def _read(self, number: int) -> None:
        with self._blobs[number].open(self._stored[number]) as stream:
            while stream.read(CHUNK_BYTES):
                pass


def read_and_hash(path: Path) -> None:
    """The limit of reading verified, and of adding what is there: on one thread."""
    hasher = blake3()
    with path.open("rb", buffering=0) as stream:
        while chunk := stream.read(CHUNK_BYTES):
            hasher.update(chunk)
    hasher.hexdigest()


def peak_kibibytes() -> int:
    """The most memory that this process has had."""
    return int(Path("/proc/self/status").read_text(encoding="utf-8").partition("VmHWM:")[2].split()[0])


def main() -> None:
    """Measure and report."""
    given = arguments(QUESTION)
    with workplace(given.directory) as place:
        bench = Bench(place, MEBIBYTES[given.quick], given.rounds)
        results = measure(bench.tasks(), given.rounds)
        memory = bench.memory_mebibytes()
    report(QUESTION, {"memory over idle, MiB": memory}, results, given)


if __name__ == "__main__":
    main()
