"""A movie made by hand, without a runner: events appended, manifests built and published."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, BinaryIO

from renku_store import Movie, open_store
from renku_store.clock import timestamp
from renku_store.commit import PublishedRevision
from renku_store.drivers.base import Driver
from renku_store.drivers.local import LocalDriver
from renku_store.drivers.memory.driver import MemoryDriver
from renku_store.drivers.opening import open_driver
from renku_store.encoding import encode_manifest
from renku_store.errors import StoreUnavailableError
from renku_store.hashing import hash_bytes
from renku_store.metadata.base import Intent
from renku_store.metadata.sqlite import forget_databases
from renku_store.records.events import ArtefactEvent
from renku_store.records.manifest import ArtefactValue, Manifest
from tests import independent_reader

LONG = "a long text " * 400


def artefact_event(movie: Movie, artefact: str, text: str, *, run: str | None = None) -> ArtefactEvent:
    """What a caller's own producer would append: inline where short, else a blob that is put first."""
    data = text.encode()
    blob = movie.blobs.put(data).hash if len(data) > 2_048 else None
    value = ArtefactValue(
        hash=hash_bytes(data), size=len(data), mime_type="text/plain", inline=None if blob else text, blob=blob
    )
    return ArtefactEvent(
        id=movie.events.new_id(),
        run=run,
        artefact=artefact,
        status="succeeded",
        output="out",
        job=artefact.removesuffix(".out"),
        producer="hand",
        signature=hash_bytes(b"signature of " + data),
        result=movie.events.new_id(),
        value=value,
        cost=0.5,
        created_at=timestamp(movie.clock.now()),
    )


def publish(
    movie: Movie, artefacts: Mapping[str, str], inputs: Mapping[str, object] | None = None
) -> PublishedRevision:
    """Append, build, save: the next revision."""
    for key, value in (inputs or {}).items():
        movie.events.append_input(key, value)  # type: ignore[arg-type]
    movie.events.append_many([artefact_event(movie, key, text) for key, text in artefacts.items()])
    current = movie.manifests.current()
    number = int(current[0].revision.removeprefix("rev-")) + 1 if current else 1
    manifest = movie.manifests.build_from_events(f"rev-{number:04d}")
    return movie.manifests.save_manifest(manifest, previous_hash=current[1] if current else None)


def intents(movie: Movie) -> list[Intent]:
    """What has been meant and not published yet."""
    with movie.metadata.read() as reader:
        return reader.revisions.intents()


def next_one(movie: Movie, text: str) -> tuple[Manifest, str]:
    """A second revision, built and archived but not published, and the hash of the first."""
    movie.events.append_artefact(artefact_event(movie, "a", text))
    manifest = movie.manifests.build_from_events("rev-0002")
    archive = movie.archiver.archive(manifest.run, 10**9)
    return manifest.replace(archive=archive), movie.manifests.load_current()[1]


def intend(movie: Movie, manifest: Manifest) -> Intent:
    """Record an intent as a process does that dies before it creates the manifest."""
    encoded = encode_manifest(manifest)
    intent = Intent(run=manifest.run, number=2, hash=encoded.hash, manifest=encoded.data)
    with movie.metadata.write() as writer:
        writer.revisions.put_intent(intent)
    return intent


@contextmanager
def opened(root: str | os.PathLike[str], movie: str = "film") -> Iterator[Movie]:
    """An existing movie in a store of its own."""
    with open_store(root) as store:
        yield store.movie(movie)


def lose_database(root: str | os.PathLike[str], movie: str = "film") -> None:
    """Remove a closed movie's index."""
    driver = open_driver(os.fspath(root)).sub(movie)
    folder = driver.workspace()
    if folder is None:
        forget_databases(f"{driver.url}/")
        return
    for path in folder.glob("metadata.db*"):
        path.unlink()


def texts(movie: Movie, revision: str = "latest") -> dict[str, str]:
    """Every artefact of a revision as text, read through the store."""
    return {key: movie.read(entry).decode() for key, entry in movie.manifests.load(revision).artefacts.items()}


def read_by_another_hand(root: str | os.PathLike[str], movie: str = "film") -> dict[str, str]:
    """Every artefact of the current revision as text, read without this project."""
    return read_objects_by_another_hand(open_driver(os.fspath(root)).sub(movie))


def read_objects_by_another_hand(driver: Driver) -> dict[str, str]:
    """The same, by the driver of the movie."""
    with ExitStack() as stack:
        folder = driver.workspace()
        if folder is None or not driver.guarantees.links:  # that reader knows folders: give it one
            folder = Path(stack.enter_context(TemporaryDirectory()))
            objects = [*driver.list("manifests/"), *driver.list("blobs/")]
            for name in ["current.json", *(found.name for found in objects)]:
                (folder / name).parent.mkdir(parents=True, exist_ok=True)
                (folder / name).write_bytes(driver.read(name))
        return {key: data.decode() for key, data in independent_reader.artefacts(folder).items()}


def check_whole(movie: Movie) -> None:
    """One chain from the first revision on; pointer, index, look-ups and another reader say the same of it."""
    history = [*movie.manifests.revisions()][::-1]
    names = [f"rev-{number:04d}" for number in range(1, len(history) + 1)]
    assert [manifest.revision for manifest, _ in history] == names
    assert sorted(movie.driver.children("manifests/")) == [f"{name}.json" for name in names]
    before: tuple[str | None, str | None] = (None, None)
    with movie.metadata.read() as reader:
        assert [(row.number, row.hash, row.base_hash) for row in reader.revisions.list(limit=10_000)][::-1] == [
            (number, digest, manifest.base_hash) for number, (manifest, digest) in enumerate(history, 1)
        ]
        assert all(intent.number > len(history) for intent in reader.revisions.intents())
    for manifest, digest in history:
        assert (manifest.base_revision, manifest.base_hash) == before
        before = manifest.revision, digest
        for key, entry in manifest.artefacts.items():
            event = movie.events.latest_artefact(key, manifest.revision)
            assert event is not None
            assert event.value is not None
            assert event.value.hash == entry.hash
        for key, given in manifest.inputs.items():
            edit = movie.events.latest_input(key, manifest.revision)
            assert edit is not None
            assert edit.hash == given.hash
        if manifest.archive is not None:
            list(movie.archives.read(manifest.run, manifest.archive.hash))
    if history:
        pointer = json.loads(movie.driver.read("current.json"))
        assert (pointer["revision"], pointer["hash"]) == before
        assert read_objects_by_another_hand(movie.driver) == texts(movie)


def connection_of(movie: Movie) -> Any:
    """The SQLite connection of a movie's database, for what no program of ours would do to it."""
    metadata: Any = movie.metadata
    return getattr(metadata, "_database", metadata).connection


def let_age(movie: Movie) -> None:
    """Wait until all that is stored is older than now: an object storage tells in whole seconds when it was written."""
    if movie.announcer.needed:
        newest = max(found.modified for found in movie.driver.list(""))
        while movie.announcer._look_at_the_clock().modified <= newest:
            time.sleep(0.05)


def modified_at(movie: Movie, name: str, moment: float | None = None) -> None:
    """Let an object have been written at another time, in Unix seconds (None: now)."""
    moment = time.time() if moment is None else moment
    driver = movie.driver
    if isinstance(driver, MemoryDriver):
        driver._objects.put(f"{driver._prefix}{name}", driver.read(name), replace=True, modified=moment)
    elif (path := driver.local_path(name)) is not None:
        os.utime(path, (moment, moment))


class WritersWatched(LocalDriver):
    """A driver that looks, whenever a stream of bytes is opened, whether somebody else could write at that moment."""

    could_write: list[bool]

    def open(self, name: str) -> BinaryIO:
        """Open it, and note what was seen."""
        could = False
        with suppress(StoreUnavailableError), self.lock("write", wait_seconds=0):
            could = True
        self.could_write = [*getattr(self, "could_write", []), could]
        return super().open(name)
