"""Measures collections: removing what is dead, and finding out what is alive."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Iterable, Iterator
from itertools import islice
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import apsw
import orjson
from blake3 import blake3
from measuring import Task, arguments, measure, report, workplace
from peers import Contenders
from zstandard import ZstdDecompressor

from renku_store import CollectionProgress, Movie, Store, collect, hash_bytes, open_store
from renku_store.hashing import canonical_document
from renku_store.records._base import Json

QUESTION = "How long does a collection take, to remove what is dead and to find out what is alive?"
BLOBS = {False: 20_200, True: 1_000}
REFERENCES = {False: (1_000, 10_000, 100_000, 1_000_000), True: (500, 1_000, 3_000, 10_000)}
PAGE_ARTEFACTS = 256
RUN = "01900000-0000-7000-8000-000000000000"
NOW = "2026-01-01T00:00:00.000Z"
MANIFEST = "manifests/rev-0001.json"
BLOB_BYTES = 512
DURABLE = "a power cut may bring back what was removed, whole"
NONE = "reads only"


class Bench:
    """Movies half of whose blobs are dead, one for each round; and movies of many references, for all rounds."""

    def __init__(
        self, place: Path, blobs: int, references: Iterable[int], rounds: int, peers: Contenders | None
    ) -> None:
        self._place = place
        self._peers = peers
        self._blobs = blobs
        store = open_store(place / "ours")
        self._dead = [self._half_dead(store, number) for number in range(rounds)]
        self._large = {count: self._referring(store, count) for count in references}
        self._most = max(self._large)
        add_rows(self._large[self._most], self._most)
        os.sync()

    def tasks(self) -> list[Task]:
        """The sweep, and the mark at growing numbers of references."""
        large = self._large[self._most]
        peers = self._peers.works("gc", self._place / "peers", self._blobs, BLOB_BYTES) if self._peers else {}
        return [
            Task(f"gc, half of {self._blobs:,} blobs dead", DURABLE, self._collect, self._unlink, peers),
            *(
                Task(f"mark {count:,} references", NONE, lambda _, m=movie: mark(m), lambda _, m=movie: parse(m))
                for count, movie in self._large.items()
            ),
            Task(f"gc among {self._most:,} rows, none dead", NONE, lambda _: collect(large), lambda _: hold(large)),
        ]

    def _half_dead(self, store: Store, number: int) -> Movie:
        """A movie every other blob of which a revision names; and a folder of as many files for the limit."""
        movie = store.create_movie(f"half-dead-{number}")
        body = os.urandom(BLOB_BYTES - 8)
        contents = [body + place.to_bytes(8) for place in range(self._blobs)]
        kept = [blob.hash for blob in movie.blobs.put_many(contents)][::2]
        publish(movie, kept)
        for place in range(256):
            (self._folder(number) / f"{place:02x}").mkdir(parents=True)
        for place, content in enumerate(contents):
            path = self._folder(number) / f"{place % 256:02x}" / f"{place}-{'dead' if place % 512 >= 256 else 'alive'}"
            path.write_bytes(content)
        return movie

    def _folder(self, number: int) -> Path:
        return self._place / "limit" / str(number)

    def _referring(self, store: Store, count: int) -> Movie:
        """A movie of one revision that names so many blobs, which are not there: nobody asks for them."""
        movie = store.create_movie(f"references-{count}")
        publish(movie, (blake3(number.to_bytes(8)).hexdigest() for number in range(count)))
        return movie

    def _collect(self, number: int) -> None:
        assert collect(self._dead[number], grace_seconds=0.0, force=True).removed == self._blobs // 2

    def _unlink(self, number: int) -> None:
        """The limit of a sweep: list everything, remove what is dead."""
        count = 0
        for place in range(256):
            with os.scandir(self._folder(number) / f"{place:02x}") as entries:
                for entry in entries:
                    if entry.name.endswith("dead"):
                        os.unlink(entry.path)  # noqa: PTH108
                        count += 1
        assert count > 0


def artefact(digest: str) -> Json:
    """An artefact of a manifest."""
    return {"hash": digest, "size": BLOB_BYTES, "mimeType": "image/png", "blob": digest}


def publish(movie: Movie, digests: Iterable[str]) -> None:
    """A first revision with an artefact for each, as pages; written as the store writes it, without its events."""
    remaining = enumerate(digests)
    firsts: list[str] = []

    def pages() -> Iterator[bytes]:
        while given := [*islice(remaining, PAGE_ARTEFACTS)]:
            firsts.append(f"clip[{given[0][0]:07}]")
            yield canonical_document({f"clip[{place:07}]": artefact(digest) for place, digest in given})

    stored = movie.blobs.put_many(pages())
    document: dict[str, Json] = {
        "format": 1,
        "movie": movie.id,
        "revision": "rev-0001",
        "run": RUN,
        "createdAt": NOW,
        "contentHash": "0" * 64,
        "pages": [{"first": first, "hash": blob.hash} for first, blob in zip(firsts, stored, strict=True)],
    }
    data = canonical_document(document)
    movie.driver.create(MANIFEST, data)
    pointer: dict[str, Json] = {
        "revision": "rev-0001",
        "manifest": MANIFEST,
        "hash": hash_bytes(data),
        "updatedAt": NOW,
    }
    movie.driver.replace("current.json", canonical_document(pointer))


def add_rows(movie: Movie, count: int) -> None:
    """A row for each blob that the revision names, as if it had been put."""
    digests = sorted(blake3(number.to_bytes(8)).digest() for number in range(count))
    with apsw.Connection(database_of(movie)) as database:
        ((now,),) = database.execute("SELECT max(touched_at) FROM blobs")
        database.executemany(
            "INSERT INTO blobs (hash, size, stored_size, encoding, touched_at) VALUES (?, ?, ?, 'raw', ?)",
            ((digest, BLOB_BYTES, BLOB_BYTES, now) for digest in digests),
        )


def database_of(movie: Movie) -> str:
    """Its path."""
    return f"{movie.driver.workspace()}/metadata.db"


def mark(movie: Movie) -> float:
    """Ours: a collection that finds nothing to remove, until it has read its roots."""
    ended = [0.0]

    def tell(progress: CollectionProgress) -> None:
        if progress.step == "roots":
            ended.append(time.perf_counter())

    started = time.perf_counter()
    collect(movie, on_progress=tell)
    return ended[-1] - started


def hold(movie: Movie) -> None:
    """The limit of a collection that removes nothing: a mark, and each row held against it."""
    named = parse(movie)
    database = apsw.Connection(database_of(movie), flags=apsw.SQLITE_OPEN_READONLY)
    unnamed = sum(digest not in named for (digest,) in database.execute("SELECT hash FROM blobs"))
    assert unnamed < len(named)  # the pages themselves
    database.close()


def parse(movie: Movie) -> set[bytes]:
    """The limit of a mark: read the manifest and its pages, parse them, keep what they name."""
    folder = movie.driver.workspace()
    assert folder is not None
    named: set[bytes] = set()
    unpack = ZstdDecompressor().decompress
    for page in orjson.loads((folder / MANIFEST).read_bytes())["pages"]:
        path = folder / "blobs" / page["hash"][:2] / page["hash"]
        data = path.read_bytes() if path.exists() else unpack(path.with_suffix(".zst").read_bytes())
        named.update(bytes.fromhex(artefact["blob"]) for artefact in orjson.loads(data).values())
    assert named
    return named


def main() -> None:
    """Measure and report."""
    given = arguments(QUESTION)
    peers = Contenders(Path(given.peers)) if given.peers else None
    with workplace(given.directory) as place:
        bench = Bench(place, BLOBS[given.quick], REFERENCES[given.quick], given.rounds, peers)
        results = measure(bench.tasks(), given.rounds, given.peer_rounds)
    report(QUESTION, {}, results, given)


if __name__ == "__main__":
    main()
