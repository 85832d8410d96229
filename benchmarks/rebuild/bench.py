"""Measures making a lost database anew from the objects of a movie of many artefacts."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Iterator
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import apsw
import orjson
import zstandard
from blake3 import blake3
from many_artefacts import BLOB_BYTES, ManyArtefacts
from measuring import Task, arguments, measure, report, workplace

from renku_store import open_store

QUESTION = "How long does it take to make the database anew from the objects?"
SIZES = {False: 100_000, True: 1_500}
DURABLE = "durable: synced before it returns"


def files_below(folder: Path) -> Iterator[tuple[str, int]]:
    """Name and size of each file, two levels down."""
    for part in os.scandir(folder):
        for found in os.scandir(part.path):
            yield found.name, found.stat().st_size


def read(movie: Path) -> None:
    """Every object read and hashed."""
    for folder in ("blobs", "manifests", "events"):
        for path, _, names in os.walk(movie / folder):
            for name in names:
                with open(f"{path}/{name}", "rb", buffering=0) as file:  # noqa: PTH123 (the least)
                    blake3(file.read()).digest()


class Least:
    """The limit: every object seen; manifests, pages, archives read, hashed and parsed; a row for each blob and event.

    The rows have a unique key each and come in one synced transaction.
    """

    def __init__(self, movie: Path, place: Path) -> None:
        self._movie = movie
        self._place = place

    def rebuild(self, number: int) -> None:
        """All of it, into a database of its own."""
        database = apsw.Connection(str(self._place / f"limit-{number}.db"))
        database.pragma("journal_mode", "wal")
        database.pragma("synchronous", "full")
        database.execute("CREATE TABLE blobs (hash BLOB PRIMARY KEY, size INTEGER) WITHOUT ROWID")
        database.execute("CREATE TABLE events (id TEXT PRIMARY KEY, artefact TEXT, hash BLOB, body BLOB)")
        database.execute("BEGIN IMMEDIATE")
        blobs = ((bytes.fromhex(name[:64]), size) for name, size in files_below(self._movie / "blobs"))
        database.executemany("INSERT INTO blobs VALUES (?, ?)", blobs)
        for path in sorted((self._movie / "manifests").iterdir()):
            self._read_manifest(path)
        for path in sorted((self._movie / "events").iterdir()):
            database.executemany("INSERT INTO events VALUES (?, ?, ?, ?)", self._events(path))
        database.execute("COMMIT")
        database.close()

    def _read_manifest(self, path: Path) -> None:
        data = path.read_bytes()
        blake3(data).hexdigest()
        for page in orjson.loads(data).get("pages", ()):
            content = self._blob(page["hash"])
            assert blake3(content).hexdigest() == page["hash"]
            orjson.loads(content)

    def _blob(self, digest: str) -> bytes:
        path = self._movie / "blobs" / digest[:2] / digest
        if path.exists():
            return path.read_bytes()
        return zstandard.decompress(path.with_name(f"{digest}.zst").read_bytes())

    def _events(self, path: Path) -> Iterator[tuple[str, str, bytes, bytes]]:
        data = path.read_bytes()
        blake3(data).hexdigest()
        for line in zstandard.ZstdDecompressor().stream_reader(data).read().split(b"\n")[1:-1]:
            event = orjson.loads(line)
            yield event["id"], event["artefact"], bytes.fromhex(event["value"]["hash"]), line


def main() -> None:
    """Measure and report."""
    given = arguments(QUESTION)
    count = SIZES[given.quick]
    with workplace(given.directory) as place, open_store(place / "ours") as store:
        movie = ManyArtefacts(store, count).movie.id
        store.close()

        def ours(_round: int) -> float:
            with open_store(place / "ours") as opened:
                started = time.perf_counter()
                rebuilt = opened.rebuild(movie)
                taken = time.perf_counter() - started
            assert rebuilt.artefacts == count
            return taken

        least = Least(place / "ours" / movie, place)
        name = f"rebuild, {count:,} artefacts, each a blob and an event"
        others = {"every object read and hashed": lambda _: read(place / "ours" / movie)}
        task = Task(name, DURABLE, ours, least.rebuild, others)
        results = measure([task], given.rounds)
    report(QUESTION, {"artefacts": count, "blob bytes": BLOB_BYTES}, results, given)


if __name__ == "__main__":
    main()
