"""Opening stores and movies: wiring only."""

from __future__ import annotations

import difflib
import os
import threading
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Self

import orjson

from renku_store import bounds
from renku_store.archives import ArchiveStore
from renku_store.blobs import BlobStore
from renku_store.clock import Clock, SystemClock
from renku_store.commit import Committer
from renku_store.drivers.base import Driver
from renku_store.drivers.local import LocalDriver
from renku_store.errors import (
    BlobMissingError,
    InvalidIdError,
    NotFoundError,
    RevisionExistsError,
    StoreError,
    StoreUnavailableError,
    UnsupportedFormatError,
)
from renku_store.events import EventLog
from renku_store.hashing import canonical_json
from renku_store.leases import RunLeases
from renku_store.manifests import ManifestStore
from renku_store.metadata.base import MetadataStore
from renku_store.metadata.sqlite import open_sqlite
from renku_store.movie import ManifestService, Movie
from renku_store.plans import PlanStore
from renku_store.records.ids import check_movie_id

_FORMAT = "format.json"
_DATABASE = "metadata.db"


@dataclass(frozen=True, slots=True)
class MovieSummary:
    """A movie in a list: its newest revision (None: none yet), how many artefacts that has, and their bytes.

    `problem` says why a movie cannot be opened; the others of the list are none the worse for it.
    """

    id: str
    revision: str | None = None
    artefacts: int = 0
    bytes: int = 0
    problem: StoreError | None = None


class Store:
    """A build root: a folder of movies. Movies are opened once and closed with the store; any thread may ask."""

    def __init__(self, root: str, driver: Driver, clock: Clock) -> None:
        self.root = root
        self.driver = driver
        self._clock = clock
        self._movies: dict[str, Movie] = {}
        self._opening = threading.RLock()

    def ids(self) -> list[str]:
        """The ids of all movies, sorted."""
        folders = (name.removesuffix("/") for name in self.driver.children("") if name.endswith("/"))
        return sorted(name for name in folders if _is_movie_id(name) and self.driver.stat(f"{name}/{_FORMAT}"))

    def movies(self) -> list[MovieSummary]:
        """All movies with their newest revision, sorted by id."""
        return [self._summary(movie) for movie in self.ids()]

    def movie(self, movie: str) -> Movie:
        """An existing movie, opened; `NotFoundError` with the nearest names where there is none.

        Whatever a crash left undone is finished first, if the root can be written.
        """
        check_movie_id(movie)
        with self._opening:
            if movie not in self._movies:
                if self.driver.stat(f"{movie}/{_FORMAT}") is None:
                    near = difflib.get_close_matches(movie, self.ids(), n=3, cutoff=0.5)
                    hint = f"Did you mean {', '.join(near)}?" if near else f"`renku-store init {movie}` creates it."
                    raise NotFoundError(f"There is no movie {movie} in {self.root}.", hint=hint)
                self._movies[movie] = self._open(movie)
            return self._movies[movie]

    def create_movie(self, movie: str) -> Movie:
        """A new, empty movie; `RevisionExistsError` if there is one of that name."""
        check_movie_id(movie)
        content = canonical_json({"format": bounds.FORMAT_VERSION, "hash": "blake3"})
        if not self.driver.sub(movie).create(_FORMAT, content):
            raise RevisionExistsError(
                f"There is a movie {movie} in {self.root} already.", hint="Choose another id, or go on with that one."
            )
        return self.movie(movie)

    def close(self) -> None:
        """Close every movie that was opened here."""
        for movie in list(self._movies.values()):
            movie.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _summary(self, movie: str) -> MovieSummary:
        # From the objects alone: a root may hold more movies than databases can be open.
        driver = self.driver.sub(movie)
        manifests = ManifestStore(driver, BlobStore(driver, None).read)
        try:
            _check_format(movie, driver)
            newest = manifests.newest()
            manifest = manifests.load(newest, manifests.expected(newest))[0] if newest else None
        except StoreError as error:
            return MovieSummary(movie, problem=error)
        artefacts = manifest.artefacts if manifest else {}
        size = sum(artefact.size for artefact in artefacts.values())
        return MovieSummary(movie, manifest.revision if manifest else None, len(artefacts), size)

    def _open(self, movie: str) -> Movie:
        driver = self.driver.sub(movie)
        _check_format(movie, driver)
        metadata = _open_metadata(Path(self.root) / movie / _DATABASE, driver)
        blobs = BlobStore(driver, metadata)
        events = EventLog(metadata, blobs.put, blobs.read, blobs.revive, self._clock, os.urandom)
        manifests = ManifestStore(driver, blobs.read)
        archives = ArchiveStore(driver, movie)
        committer = Committer(metadata, blobs, events, manifests, archives, self._clock)
        if not driver.read_only:
            try:
                committer.repair()
            except BaseException:
                metadata.close()
                raise
        return Movie(
            id=movie,
            root=self.root,
            driver=driver,
            metadata=metadata,
            blobs=blobs,
            events=events,
            manifests=ManifestService(movie, metadata, events, manifests, committer, self._clock),
            plans=PlanStore(driver, events.new_id),
            archives=archives,
            leases=RunLeases(metadata, self._clock),
            committer=committer,
            clock=self._clock,
            read_only=driver.read_only,
            closing=partial(self._close, movie, metadata.close),
        )

    def _close(self, movie: str, close: Callable[[], None]) -> None:
        self._movies.pop(movie, None)
        close()


def open_store(root: str | os.PathLike[str], *, clock: Clock | None = None) -> Store:
    """Open a build root, a folder on this machine; it is created with its first movie.

    Raises `StoreUnavailableError` where the root is a file or cannot be reached.
    """
    text = os.fspath(root)
    if "://" in text:
        scheme = text.partition("://")[0]
        raise StoreUnavailableError(f"There is no driver for {scheme}:// roots.", hint="Use a folder on this machine.")
    return Store(text, LocalDriver(text), clock or SystemClock())


def _is_movie_id(name: str) -> bool:
    try:
        check_movie_id(name)
    except InvalidIdError:
        return False
    return True


def _check_format(movie: str, driver: Driver) -> None:
    try:
        document = orjson.loads(driver.read(_FORMAT))
    except (orjson.JSONDecodeError, BlobMissingError):
        document = None
    said = (document.get("format"), document.get("hash")) if isinstance(document, dict) else (None, None)
    if said != (bounds.FORMAT_VERSION, "blake3") or isinstance(said[0], bool):
        raise UnsupportedFormatError(
            f"The movie {movie} has a format that this version does not know: {ascii(document)[:100]}.",
            hint="Install a newer renku-store, or restore its format.json.",
        )


def _open_metadata(path: Path, driver: Driver) -> MetadataStore:
    """The movie's database; on a read-only root what there is, and an empty one in memory where there is none."""
    if not driver.read_only:
        return open_sqlite(path, lock=partial(driver.lock, "write", wait_seconds=bounds.BUSY_MAX_SECONDS))
    if path.exists():
        return open_sqlite(path, read_only=True)
    nothing = open_sqlite(Path(":memory:"))
    nothing.read_only = True
    return nothing
