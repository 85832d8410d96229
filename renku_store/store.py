"""Opening stores and movies: wiring only."""

from __future__ import annotations

import difflib
import os
import threading
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass, replace
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
    DamageError,
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
from renku_store.metadata.deferred import DeferredMetadata
from renku_store.metadata.sqlite import MEMORY, examine_sqlite, is_blank, open_sqlite
from renku_store.movie import ManifestService, Movie
from renku_store.plans import PlanStore
from renku_store.rebuild import (
    OPEN_LOCK,
    RebuildProgress,
    RebuildReport,
    alone,
    fill_index,
    finish_rebuild,
    is_unfinished,
    next_epoch,
    rebuild_database,
)
from renku_store.records.ids import check_movie_id
from renku_store.tags import TagStore

_FORMAT = "format.json"
_DATABASE = "metadata.db"
_LOOK_SECONDS = 0.05
"""How long one waits to have a movie to oneself before one looks whether that is still needed."""


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
        return sorted(name for name in folders if _is_movie_id(name) and self._is_movie(name))

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
                    raise self._not_found(movie)
                self._movies[movie] = self._open(movie)
            return self._movies[movie]

    def create_movie(self, movie: str) -> Movie:
        """A new, empty movie; `RevisionExistsError` if there is one of that name."""
        check_movie_id(movie)
        self._refuse_headless(movie)
        content = _format_document()
        if not self.driver.sub(movie).create(_FORMAT, content):
            hint = "Choose another id, or go on with that one."
            if not any(self.driver.sub(movie).children("manifests/")):
                hint += " It has no revision: `renku-store set @blueprint @FILE` gives it a blueprint if it has none."
            raise RevisionExistsError(f"There is a movie {movie} in {self.root} already.", hint=hint)
        return self.movie(movie)

    def rebuild(self, movie: str, on_progress: Callable[[RebuildProgress], None] | None = None) -> RebuildReport:
        """Make the database of a movie anew from its objects, whatever lies in its place; keep what only it knew.

        Nobody may have the movie open meanwhile: `StoreUnavailableError` after 10 seconds if somebody does, and nothing
        is changed. Whoever opens it meanwhile waits. Raises `NotFoundError`, and `UnsupportedFormatError` for a
        database of a newer version.
        """
        check_movie_id(movie)
        driver = self.driver.sub(movie)
        if driver.stat(_FORMAT) is None:
            raise self._not_found(movie)
        _check_format(movie, driver)
        if driver.read_only:
            raise StoreUnavailableError(
                f"{self._database(movie)} cannot be made anew: the root is read-only here.",
                hint="Reading works; choose another root to write to, or check its mode.",
            )
        with self._opening:
            if movie in self._movies:
                raise StoreUnavailableError(f"The movie {movie} is open in this store.", hint="Close it first.")
            with alone(driver, movie, bounds.OPEN_LOCK_WAIT_SECONDS):
                assemble = partial(self._assembled, movie, driver)
                return rebuild_database(self._database(movie), driver, self._clock, assemble, on_progress)

    def close(self) -> None:
        """Close every movie that was opened here."""
        for movie in list(self._movies.values()):
            movie.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def examine(self, movie: str) -> Movie:
        """An existing movie as it is, to be checked: nothing is repaired, created or upgraded; the caller closes it.

        A database that is missing or cannot be read is an empty one here; `problem` then says why. Raises
        `NotFoundError`, `UnsupportedFormatError`.
        """
        check_movie_id(movie)
        driver = self.driver.sub(movie)
        if driver.stat(_FORMAT) is None:
            raise self._not_found(movie)
        _check_format(movie, driver)
        with ExitStack() as stack:
            stack.enter_context(driver.lock(OPEN_LOCK, shared=True, wait_seconds=bounds.BUSY_MAX_SECONDS))
            metadata, problem = _examine_metadata(self._database(movie), driver)
            stack.callback(metadata.close)
            found = self._assembled(movie, driver, metadata)
            return replace(found, read_only=True, problem=problem, closing=stack.pop_all().close)

    def _is_movie(self, name: str) -> bool:
        """Whether a folder is a movie: one that has lost its `format.json` is one, and damaged."""
        driver = self.driver.sub(name)
        return driver.stat(_FORMAT) is not None or any(driver.children("manifests/"))

    def _refuse_headless(self, movie: str) -> None:
        """Raise `DamageError` for a folder that has revisions and no `format.json`: it is no new movie's."""
        driver = self.driver.sub(movie)
        if driver.stat(_FORMAT) is None and any(driver.children("manifests/")):
            raise DamageError(
                f"The {_FORMAT} of {movie} is missing, and its revisions are there.",
                hint=f"Restore it from a copy; in format {bounds.FORMAT_VERSION} it is {_format_document().decode()}",
            )

    def _not_found(self, movie: str) -> NotFoundError:
        self._refuse_headless(movie)
        near = difflib.get_close_matches(movie, self.ids(), n=3, cutoff=0.5)
        hint = f"Did you mean {', '.join(near)}?" if near else f"`renku-store init {movie}` creates it."
        return NotFoundError(f"There is no movie {movie} in {self.root}.", hint=hint)

    def _summary(self, movie: str) -> MovieSummary:
        # From the objects alone: a root may hold more movies than databases can be open.
        driver = self.driver.sub(movie)
        manifests = ManifestStore(driver, BlobStore(driver, None).read)
        try:
            self._refuse_headless(movie)
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
        self._make_database(movie, driver)
        with ExitStack() as stack:
            stack.enter_context(driver.lock(OPEN_LOCK, shared=True, wait_seconds=bounds.BUSY_MAX_SECONDS))
            opened = self._opened(movie, driver, stack)
            close = stack.pop_all().close
        return replace(opened, closing=partial(self._close, movie, close))

    def _make_database(self, movie: str, driver: Driver) -> None:
        """Make the database where there is none, alone: it may have been removed beneath those who work with it.

        One that a killed rebuild left complete is put in its place first.
        """
        database = self._database(movie)
        deadline = self._clock.monotonic() + bounds.OPEN_LOCK_WAIT_SECONDS
        while not driver.read_only and (is_unfinished(database) or is_blank(database)):
            with ExitStack() as stack:
                try:
                    stack.enter_context(alone(driver, movie, _LOOK_SECONDS))
                except StoreUnavailableError:
                    if self._clock.monotonic() > deadline:
                        raise
                    continue
                if is_unfinished(database):
                    finish_rebuild(database, driver)
                if is_blank(database):
                    self._opened(movie, driver, stack)

    def _opened(self, movie: str, driver: Driver, stack: ExitStack) -> Movie:
        if driver.read_only and not self._database(movie).exists():
            # Manifests and blobs can be read without an index; who asks for more waits until there is one in memory.
            index = DeferredMetadata(partial(self._index_in_memory, movie, driver))
            stack.callback(index.close)
            return self._assembled(movie, driver, index, without_index=_nothing())
        metadata = _open_metadata(self._database(movie), driver, self._clock)
        stack.callback(metadata.close)
        opened = self._assembled(movie, driver, metadata)
        if not driver.read_only:
            opened.committer.repair()
        return opened

    def _index_in_memory(self, movie: str, driver: Driver) -> MetadataStore:
        metadata = open_sqlite(Path(MEMORY))
        fill_index(self._assembled(movie, driver, metadata))
        metadata.read_only = True
        return metadata

    def _database(self, movie: str) -> Path:
        return Path(self.root) / movie / _DATABASE

    def _assembled(
        self, movie: str, driver: Driver, metadata: MetadataStore, without_index: MetadataStore | None = None
    ) -> Movie:
        """The stores of a movie around its database; `without_index`, if given, serves those that need no index."""
        little = without_index or metadata
        blobs = BlobStore(driver, little)
        archives = ArchiveStore(driver, movie)
        events = EventLog(
            metadata, blobs.put, blobs.read, blobs.revive, self._clock, os.urandom, read_archive=archives.in_order
        )
        manifests = ManifestStore(driver, blobs.read)
        committer = Committer(driver, metadata, blobs, events, manifests, archives, self._clock)
        tags = TagStore(driver)
        return Movie(
            id=movie,
            root=self.root,
            driver=driver,
            metadata=metadata,
            blobs=blobs,
            events=events,
            manifests=ManifestService(movie, little, events, manifests, committer, self._clock, tags),
            plans=PlanStore(driver, events.new_id),
            archives=archives,
            leases=RunLeases(metadata, self._clock),
            committer=committer,
            tags=tags,
            clock=self._clock,
            read_only=driver.read_only,
            closing=metadata.close,
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


def _format_document() -> bytes:
    return canonical_json({"format": bounds.FORMAT_VERSION, "hash": "blake3"})


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


def _open_metadata(path: Path, driver: Driver, clock: Clock) -> MetadataStore:
    """The movie's database; on a read-only root there is one."""
    if driver.read_only:
        return open_sqlite(path, read_only=True)
    lock = partial(driver.lock, "write", wait_seconds=bounds.BUSY_MAX_SECONDS)
    return open_sqlite(path, lock=lock, epoch=partial(next_epoch, driver, clock))


def _nothing() -> MetadataStore:
    """An empty database to read."""
    nothing = open_sqlite(Path(MEMORY))
    nothing.read_only = True
    return nothing


def _examine_metadata(path: Path, driver: Driver) -> tuple[MetadataStore, StoreError | None]:
    """The movie's database as it is; an empty one in memory, with the reason, where there is none or none to read."""
    problem: StoreError
    try:
        if driver.stat(_DATABASE) is not None:
            if driver.read_only:
                return open_sqlite(path, read_only=True), None
            return examine_sqlite(path, lock=partial(driver.lock, "write", wait_seconds=bounds.BUSY_MAX_SECONDS)), None
        problem = NotFoundError(
            f"There is no {_DATABASE}.", hint="Opening the movie makes it anew from what was published."
        )
        if path.is_dir():
            problem = DamageError(f"{_DATABASE} is a folder, not a file.", hint="`renku-store rebuild` moves it aside.")
    except (DamageError, UnsupportedFormatError) as error:
        problem = error
    return _nothing(), problem
