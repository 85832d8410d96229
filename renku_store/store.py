"""Opening stores and movies: which database belongs to them, and whether it has to be filled first."""

from __future__ import annotations

import difflib
import os
import threading
from collections.abc import Callable
from contextlib import ExitStack, suppress
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import orjson
from msgspec import Struct
from msgspec.structs import replace

from renku_store import bounds, rebuild
from renku_store.assembly import assemble
from renku_store.blobs import BlobStore
from renku_store.clock import Clock, SystemClock
from renku_store.drivers.base import Driver
from renku_store.drivers.local import on_this_machine
from renku_store.drivers.opening import open_driver
from renku_store.drivers.urls import scheme_of
from renku_store.errors import (
    BlobMissingError,
    DamageError,
    InvalidIdError,
    NotFoundError,
    RevisionExistsError,
    StoreError,
    StoreUnavailableError,
    UnsafeDriverError,
    UnsupportedFormatError,
)
from renku_store.hashing import canonical_json
from renku_store.late import late_module
from renku_store.manifests import ManifestStore
from renku_store.metadata.base import MetadataStore
from renku_store.metadata.sqlite import (
    MEMORY,
    DatabaseFile,
    DatabaseInMemory,
    DatabasePlace,
    forget_databases,
    open_sqlite,
)
from renku_store.metadata.sqlite.replacing import parts_of
from renku_store.movie import Movie
from renku_store.premises import FORMAT, check_root
from renku_store.rebuild import OPEN_LOCK, alone, finish_rebuild, is_unfinished, next_epoch
from renku_store.records.ids import check_movie_id

if TYPE_CHECKING:
    from renku_store.drivers.memory import driver as memory
    from renku_store.metadata import deferred
    from renku_store.metadata.sqlite import blank
    from renku_store.rebuild import RebuildProgress, RebuildReport
else:
    memory = late_module("renku_store.drivers.memory.driver")
    deferred = late_module("renku_store.metadata.deferred")
    blank = late_module("renku_store.metadata.sqlite.blank")

_DATABASE = "metadata.db"
_LOOK_SECONDS = 0.05
"""How long one waits to have a movie to oneself before one looks whether that is still needed."""


class MovieSummary(Struct, frozen=True):
    """A movie in a list: its newest revision (None: none yet), how many artefacts that has, and their bytes.

    `problem` says why a movie cannot be opened; the others of the list are none the worse for it.
    """

    id: str
    revision: str | None = None
    artefacts: int = 0
    bytes: int = 0
    problem: StoreError | None = None


class Store:
    """A build root: a folder of movies. Movies are opened once and closed with the store; any thread may ask.

    Once it is closed it raises `StoreUnavailableError`, as its movies do where they need their database.
    """

    def __init__(self, root: str, driver: Driver, clock: Clock) -> None:
        self.root = root
        self.driver = driver
        self._clock = clock
        self._movies: dict[str, Movie] = {}
        self._opening = threading.RLock()
        self._closed = False

    def ids(self) -> list[str]:
        """The ids of all movies, sorted."""
        self._check_open()
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
            self._check_open()
            if movie not in self._movies:
                if self.driver.stat(f"{movie}/{FORMAT}") is None:
                    raise self._not_found(movie)
                self._movies[movie] = self._open(movie)
            return self._movies[movie]

    def create_movie(self, movie: str) -> Movie:
        """A new, empty movie; `RevisionExistsError` if there is one of that name.

        Raises `InvalidValueError` where the root is a movie itself, or lies in one.
        """
        self._check_open()
        check_movie_id(movie)
        check_root(self.driver)
        self._refuse_headless(movie)
        driver = self.driver.sub(movie)
        if not driver.create(FORMAT, _format_document()):
            hint = "Choose another id, or go on with that one."
            if not any(driver.children("manifests/")):
                hint += " It has no revision: `renku-store set @blueprint @FILE` gives it a blueprint if it has none."
            raise RevisionExistsError(f"There is a movie {movie} in {self.root} already.", hint=hint)
        with self._opening:
            self._make_database(movie, driver, new=True)
            return self.movie(movie)

    def rebuild(self, movie: str, on_progress: Callable[[RebuildProgress], None] | None = None) -> RebuildReport:
        """Make the database of a movie anew from its objects, whatever lies in its place; keep what only it knew.

        Nobody may have the movie open meanwhile: `StoreUnavailableError` after 10 seconds if somebody does, and nothing
        is changed. Whoever opens it meanwhile waits. Raises `NotFoundError`, and `UnsupportedFormatError` for a
        database of a newer version.
        """
        self._check_open()
        check_movie_id(movie)
        driver = self.driver.sub(movie)
        if driver.stat(FORMAT) is None:
            raise self._not_found(movie)
        _check_format(movie, driver)
        if driver.read_only:
            raise StoreUnavailableError(
                f"The database of {movie} cannot be made anew: {self.root} is read-only here.",
                hint="Reading works; choose another root to write to, or check its mode.",
            )
        with self._opening:
            if movie in self._movies:
                raise StoreUnavailableError(f"The movie {movie} is open in this store.", hint="Close it first.")
            with alone(driver, movie, bounds.OPEN_LOCK_WAIT_SECONDS):
                around = partial(assemble, movie, self.root, driver, self._clock)
                return rebuild.rebuild_database(_database(driver), driver, self._clock, around, on_progress)

    def close(self) -> None:
        """Close every movie that was opened here, and let go of connections; who is opening one ends first."""
        with self._opening:
            self._closed = True
            for movie in list(self._movies.values()):
                movie.close()
            self.driver.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def examine(self, movie: str, *, cached: bool = False) -> Movie:
        """An existing movie as it is, to be checked: nothing is repaired, created or upgraded; the caller closes it.

        Blobs come from the root, or also from a cache (`cached`). A database that is missing or cannot be read is an
        empty one here; `problem` then says why. Raises `NotFoundError`, `UnsupportedFormatError`.
        """
        self._check_open()
        check_movie_id(movie)
        driver = self.driver.sub(movie)
        if driver.stat(FORMAT) is None:
            raise self._not_found(movie)
        _check_format(movie, driver)
        with ExitStack() as stack:
            stack.enter_context(driver.lock(OPEN_LOCK, shared=True, wait_seconds=bounds.BUSY_MAX_SECONDS))
            metadata, problem = _examine_metadata(_database(driver), driver)
            stack.callback(metadata.close)
            found = assemble(movie, self.root, driver, self._clock, metadata, cache=cached)
            return replace(found, read_only=True, problem=problem, closing=stack.pop_all().close)

    def _check_open(self) -> None:
        if self._closed:
            raise StoreUnavailableError(f"The store {self.root} was closed.", hint="Open it again: `open_store`.")

    def _is_movie(self, name: str) -> bool:
        """Whether a folder is a movie: one that has lost its `format.json` is one, and damaged."""
        driver = self.driver.sub(name)
        return driver.stat(FORMAT) is not None or any(driver.children("manifests/"))

    def _refuse_headless(self, movie: str) -> None:
        """Raise `DamageError` for a folder that has revisions and no `format.json`: it is no new movie's."""
        driver = self.driver.sub(movie)
        if driver.stat(FORMAT) is None and any(driver.children("manifests/")):
            raise DamageError(
                f"The {FORMAT} of {movie} is missing, and its revisions are there.",
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
        manifests = ManifestStore(driver, BlobStore(driver, None, cache=driver.cache()).read)
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

    def _make_database(self, movie: str, driver: Driver, *, new: bool = False) -> None:
        """Make the database where there is none, alone: it may have been removed beneath those who work with it.

        One that a killed rebuild left complete is put in its place first. The movie is `new`: there is nothing to fill
        the database with, so that it need not be opened to be made.
        """
        database = _database(driver)
        deadline = self._clock.monotonic() + bounds.OPEN_LOCK_WAIT_SECONDS
        while not driver.read_only and (_is_unfinished(database) or database.is_blank()):
            with ExitStack() as stack:
                try:
                    stack.enter_context(alone(driver, movie, _LOOK_SECONDS))
                except StoreUnavailableError as error:
                    if error.reason != "busy" or self._clock.monotonic() > deadline:
                        raise
                    continue
                if database.path is not None and is_unfinished(database.path):
                    finish_rebuild(database.path, on_this_machine(driver))
                if new:
                    _create_blank(database, driver, self._clock)
                if database.is_blank():
                    self._opened(movie, driver, stack)

    def _opened(self, movie: str, driver: Driver, stack: ExitStack) -> Movie:
        database = _database(driver)
        if driver.read_only and database.path is not None and not database.path.exists():
            # Manifests and blobs can be read without an index; who asks for more waits until there is one in memory.
            index = deferred.DeferredMetadata(partial(self._index_in_memory, movie, driver))
            stack.callback(index.close)
            return assemble(movie, self.root, driver, self._clock, index, thin=_nothing())
        metadata = _open_metadata(database, driver, self._clock)
        stack.callback(metadata.close)
        opened = assemble(movie, self.root, driver, self._clock, metadata)
        if not driver.read_only:
            opened.committer.repair(lenient=True)
        return opened

    def _index_in_memory(self, movie: str, driver: Driver) -> MetadataStore:
        metadata = open_sqlite(Path(MEMORY))
        rebuild.fill_index(assemble(movie, self.root, driver, self._clock, metadata))
        metadata.read_only = True
        return metadata

    def _close(self, movie: str, close: Callable[[], None]) -> None:
        self._movies.pop(movie, None)
        close()


def open_store(root: str | os.PathLike[str], *, clock: Clock | None = None, **options: Any) -> Store:
    """Open a build root: a folder, which is created with its first movie, or a URL such as `memory://films`.

    `options` are those of the URL's driver, and go before options in the URL. Raises `StoreUnavailableError` where the
    root is a file or cannot be reached, `InvalidValueError` for an option that its driver does not know.
    """
    text = os.fspath(root)
    driver = open_driver(text, options)
    return Store(driver.url if scheme_of(text) else text, driver, clock or SystemClock())


def forget_memory(root: str) -> None:
    """Drop all that a `memory://` root holds; who has it open cannot use it any more, who opens it finds it empty.

    Raises `InvalidValueError` for another root, or a folder of one.
    """
    forget_databases(f"{memory.forget_objects(root)}/")


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
        document = orjson.loads(driver.read(FORMAT))
    except (orjson.JSONDecodeError, BlobMissingError):
        document = None
    said = (document.get("format"), document.get("hash")) if isinstance(document, dict) else (None, None)
    if said != (bounds.FORMAT_VERSION, "blake3") or isinstance(said[0], bool):
        raise UnsupportedFormatError(
            f"The movie {movie} has a format that this version does not know: {ascii(document)[:100]}.",
            hint="Install a newer renku-store, or restore its format.json.",
        )


def _database(driver: Driver) -> DatabasePlace:
    """Where the database of a movie is that a driver sees."""
    folder = driver.workspace()
    return DatabaseInMemory(f"{driver.url}/") if folder is None else DatabaseFile(folder / _DATABASE)


def _open_metadata(place: DatabasePlace, driver: Driver, clock: Clock) -> MetadataStore:
    """The movie's database; on a read-only root there is one."""
    if driver.read_only and place.path is not None:
        return open_sqlite(place.path, read_only=True)
    lock = partial(driver.lock, "write", wait_seconds=bounds.BUSY_MAX_SECONDS)
    return place.open(lock=lock, epoch=partial(next_epoch, driver, clock))


def _create_blank(place: DatabasePlace, driver: Driver, clock: Clock) -> None:
    """Create the file of a new database, unless something of one is there: whose log that is, nobody knows."""
    if place.path is not None and not parts_of(place.path):
        with suppress(UnsafeDriverError):  # then SQLite makes it, which needs no names that are free
            on_this_machine(driver).create(_DATABASE, blank.blank_database(partial(next_epoch, driver, clock)))


def _nothing() -> MetadataStore:
    """An empty database to read."""
    nothing = open_sqlite(Path(MEMORY))
    nothing.read_only = True
    return nothing


def _examine_metadata(place: DatabasePlace, driver: Driver) -> tuple[MetadataStore, StoreError | None]:
    """The movie's database as it is; an empty one in memory, with the reason, where there is none or none to read."""
    problem: StoreError
    try:
        if not place.is_blank() if place.path is None else on_this_machine(driver).stat(_DATABASE) is not None:
            if driver.read_only and place.path is not None:
                return open_sqlite(place.path, read_only=True), None
            return place.examine(lock=partial(driver.lock, "write", wait_seconds=bounds.BUSY_MAX_SECONDS)), None
        problem = NotFoundError(
            f"There is no {_DATABASE}.", hint="Opening the movie makes it anew from what was published."
        )
        if place.path is not None and place.path.is_dir():
            problem = DamageError(f"{_DATABASE} is a folder, not a file.", hint="`renku-store rebuild` moves it aside.")
    except (DamageError, UnsupportedFormatError) as error:
        problem = error
    return _nothing(), problem


def _is_unfinished(place: DatabasePlace) -> bool:
    return place.path is not None and is_unfinished(place.path)
