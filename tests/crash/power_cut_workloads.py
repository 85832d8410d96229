"""What is done before a power cut, and what it was promised.

A workload is a function of a `Witness`; to add one, write it and name it in `WORKLOADS`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Protocol

from renku_store import (
    BlobRef,
    Movie,
    RetentionPolicy,
    Store,
    collect,
    compact,
    open_store,
    prune,
    rollback,
    set_inputs,
    tag_revision,
)
from renku_store.hashing import hash_bytes
from tests.authoring import LONG, artefact_event, opened, publish, texts
from tests.crash.test_publish import BLUEPRINT, run
from tests.test_gc import age

MANY: Final = 12
"""Blobs: enough for one sync of the file system in place of a sync of each file and folder."""


class Promise(Protocol):
    """What a call that returned has promised, until it is withdrawn by its `name`. Plain data, which can be pickled."""

    @property
    def name(self) -> str: ...

    def check(self, movie: Movie) -> None:
        """Fail unless it is kept."""
        ...


@dataclass(frozen=True)
class Exists:
    """There is a movie."""

    name = "movie"

    def check(self, movie: Movie) -> None:
        assert movie.id == "film"


@dataclass(frozen=True)
class Stored:
    """A blob can be read, and the index knows of it."""

    blob: BlobRef
    content: bytes

    @property
    def name(self) -> str:
        return f"blob {self.blob.hash}"

    def check(self, movie: Movie) -> None:
        assert movie.blobs.read(self.blob) == self.content
        assert movie.blobs.has(self.blob)


@dataclass(frozen=True)
class Said:
    """Events are known."""

    ids: frozenset[str]

    @property
    def name(self) -> str:
        return f"{len(self.ids)} events up to {max(self.ids, default=None)}"

    def check(self, movie: Movie) -> None:
        assert self.ids <= {event.id for event in movie.events.stream()}


@dataclass(frozen=True)
class Published:
    """A revision has its hash and its content."""

    name: str
    hash: str
    content: Mapping[str, str]

    def check(self, movie: Movie) -> None:
        assert movie.manifests.load_with_hash(self.name)[1] == self.hash
        assert texts(movie, self.name) == self.content


@dataclass(frozen=True)
class Tagged:
    """A name leads to a revision."""

    tag: str
    revision: str

    @property
    def name(self) -> str:
        return f"tag {self.tag}"

    def check(self, movie: Movie) -> None:
        assert movie.manifests.resolve(self.tag) == self.revision


@dataclass(frozen=True)
class Trashed:
    """A revision is in the trash, or gone from there."""

    revision: str

    @property
    def name(self) -> str:
        return f"trash {self.revision}"

    def check(self, movie: Movie) -> None:
        assert movie.manifests.expiry(self.revision) is not None


@dataclass(frozen=True)
class Withdrawn:
    """A call has begun after which the promise need not be kept."""

    name: str


class Witness:
    """Runs calls on a store below a recorded folder and keeps what they promised."""

    def __init__(self, root: Path, promise: Callable[[object], None]) -> None:
        self.root = root
        self.promise = promise

    def withdraw(self, *contents: bytes) -> None:
        """Blobs that a collection may remove from now on."""
        for content in contents:
            self.promise(Withdrawn(f"blob {hash_bytes(content)}"))

    def create(self, store: Store) -> Movie:
        """The movie, new."""
        movie = store.create_movie("film")
        self.promise(Exists())
        return movie

    def put(self, movie: Movie, *contents: bytes) -> None:
        """Blobs that nothing names yet."""
        blobs = movie.blobs.put_many(contents) if len(contents) > 1 else [movie.blobs.put(*contents)]
        for blob, content in zip(blobs, contents, strict=True):
            self.promise(Stored(blob, content))

    def append(self, movie: Movie, artefact: str, text: str) -> None:
        """One event."""
        event = movie.events.append_artefact(artefact_event(movie, artefact, text))
        self.promise(Said(frozenset({event.id})))

    def publish(self, movie: Movie, artefacts: Mapping[str, str], inputs: Mapping[str, object] | None = None) -> None:
        """One revision, made by hand."""
        publish(movie, artefacts, inputs)
        self.look(movie)

    def run(self, movie: Movie, broken: str = "") -> None:
        """The daily loop, of which one job may fail."""
        run(movie, broken=broken)
        self.look(movie)

    def look(self, movie: Movie) -> None:
        """Whatever has been said and published so far is there for good."""
        # That a revision was published is said by its manifest: whoever books it anew appends such an event anew.
        said = (event for event in movie.events.stream() if not (event.type == "run" and event.kind == "published"))
        self.promise(Said(frozenset(event.id for event in said)))
        self.look_at_revisions(movie)

    def look_at_revisions(self, movie: Movie) -> None:
        """Whoever is shown a revision may rely on it, also if its creator has died."""
        for manifest, digest in movie.manifests.revisions():
            self.promise(Published(manifest.revision, digest, texts(movie, manifest.revision)))


# Workloads


def publishing(witness: Witness) -> None:
    """A new movie, blobs one by one and many at once, events, two revisions."""
    with open_store(witness.root) as store:
        movie = witness.create(store)
        witness.put(movie, b"one blob")
        witness.put(movie, *(b"blob %d" % number for number in range(MANY)))
        witness.publish(movie, {"a.out": "short", "b.out": LONG}, {"voice": "first"})
        witness.put(movie, b"one blob", b"blob 1", b"one more blob")
        witness.append(movie, "c.out", "said " + LONG)
        witness.publish(movie, {"a.out": "shorter", "b.out": LONG + "!"}, {"voice": "second", "words": "w " * 2_000})


def opening(witness: Witness) -> None:
    """A movie that is closed and opened between its revisions, so that SQLite's log is copied back and begun anew."""
    with open_store(witness.root) as store:
        witness.publish(witness.create(store), {"a.out": "short", "b.out": LONG})
    for number in range(2):
        with opened(witness.root) as movie:
            witness.append(movie, "b.out", f"{number} {LONG}")
            witness.publish(movie, {"a.out": f"shorter {number}"}, {"voice": f"voice {number}"})


def running(witness: Witness) -> None:
    """A run of which one job fails, then one that uses what was made."""
    with open_store(witness.root) as store:
        movie = witness.create(store)
        set_inputs(movie, {"@blueprint": BLUEPRINT, "title": "one", "voice": "first"})
        witness.run(movie)
        set_inputs(movie, {"voice": "second"})
        witness.run(movie, broken="show")
        witness.run(movie)


def collecting(witness: Witness) -> None:
    """A collection that removes blobs, beside some that it must keep; then they are put again."""
    waste = [b"waste %d" % number for number in range(3)]
    with open_store(witness.root) as store:
        movie = witness.create(store)
        witness.publish(movie, {"a.out": "first " + LONG})
        witness.publish(movie, {"a.out": "second " + LONG})
        witness.put(movie, *waste)
        age(movie)
        witness.put(movie, b"young")
        witness.withdraw(*waste)
        assert collect(movie, grace_seconds=3_600, force=True).removed >= len(waste)
        witness.put(movie, *waste[1:])
        witness.publish(movie, {"a.out": "third " + LONG, "b.out": "waste 1"})


def pruning(witness: Witness) -> None:
    """A tag, the trash, and the end of it: of two old revisions one is kept by its tag, the other leaves for good."""
    with open_store(witness.root) as store:
        movie = witness.create(store)
        for number in range(1, 4):
            witness.publish(movie, {"a.out": f"{number} {LONG}"}, {"voice": f"voice {number}"})
        tag_revision(movie, "rev-0001", "first-cut")
        witness.promise(Tagged("first-cut", "rev-0001"))
        prune(movie, RetentionPolicy(keep_last=1))
        witness.promise(Trashed("rev-0002"))
        age(movie)
        witness.promise(Withdrawn("rev-0002"))
        assert collect(movie, grace_seconds=3_600, trash_seconds=0, force=True).expired == 1
        witness.publish(movie, {"b.out": LONG})


def compacting(witness: Witness) -> None:
    """Rows leave for the archives, then an old revision comes back as the newest one."""
    with open_store(witness.root) as store:
        movie = witness.create(store)
        for number in range(1, 4):
            witness.publish(movie, {"a.out": f"{number} {LONG}", "b.out": f"{number}"}, {"voice": f"voice {number}"})
        witness.append(movie, "c.out", "pending")
        compact(movie)
        witness.look(movie)
        rollback(movie, "rev-0001")
        witness.look(movie)


def rebuilding(witness: Witness) -> None:
    """The database is made anew from the objects, and from what only the old one knew."""
    with open_store(witness.root) as store:
        movie = witness.create(store)
        witness.publish(movie, {"a.out": "short", "b.out": LONG}, {"voice": "first"})
        witness.publish(movie, {"a.out": "shorter"}, {"voice": "second"})
        witness.append(movie, "c.out", "pending")
    with open_store(witness.root) as store:
        store.rebuild("film")
        witness.look(store.movie("film"))
        witness.publish(store.movie("film"), {"b.out": "another " + LONG})


def going_on(witness: Witness) -> None:
    """What the next process does, whatever it finds: it looks, puts and publishes again what may be there by half."""
    with open_store(witness.root) as store:
        there = (witness.root / "film/format.json").exists()
        movie = store.movie("film") if there else witness.create(store)
        witness.look_at_revisions(movie)
        witness.append(movie, "d.out", "said")
        witness.put(movie, b"one blob")
        witness.put(movie, *(b"blob %d" % number for number in range(MANY)))
        witness.publish(movie, {"b.out": LONG + "!"})


WORKLOADS: Final[Mapping[str, Callable[[Witness], None]]] = {
    "publishing": publishing,
    "opening": opening,
    "running": running,
    "collecting": collecting,
    "pruning": pruning,
    "compacting": compacting,
    "rebuilding": rebuilding,
}
