"""What is published below build roots, found by path and remembered only as long as it is true.

A path is ROOT/MOVIE[@REVISION][/ARTEFACT]. Ids of artefacts have no slash, so at most the last two parts are not the
root's. Nothing is written, repaired or locked out: movies are opened as `Store.examine` does, and closed at once.
"""

from __future__ import annotations

import errno
import threading
from collections import OrderedDict
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from functools import partial
from io import BytesIO
from typing import Any, BinaryIO, Final

from renku_store.blobs import BlobStore
from renku_store.drivers.base import Driver, ObjectStat
from renku_store.encoding import expiry_path, manifest_path
from renku_store.errors import BlobCorruptError, DamageError, InvalidIdError, NotFoundError, StoreUnavailableError
from renku_store.filesystem.content import ArtefactFile, Content
from renku_store.records.blob import BlobRef
from renku_store.records.ids import check_movie_id, revision_name, revision_number
from renku_store.records.manifest import Manifest, ManifestArtefact, ManifestStub
from renku_store.store import Store, open_store

_KEPT_REVISIONS: Final = 4
"""Revisions that are kept in memory: a large one takes some hundred megabytes."""
_FORM: Final = "A path is ROOT/MOVIE[@REVISION][/ARTEFACT]."


@dataclass(frozen=True, slots=True)
class Place:
    """What a path names; `revision` is what stands behind the `@`: None without one, empty for all of them."""

    root: str
    movie: str | None = None
    revision: str | None = None
    artefact: str | None = None


@dataclass(frozen=True, slots=True)
class Published:
    """A revision with what its bytes are read with; `seen` is its manifest as an object."""

    manifest: Manifest
    hash: str
    blobs: BlobStore
    driver: Driver
    seen: ObjectStat | None

    def open(
        self, artefact: ManifestArtefact, path: str, again: Callable[[int], ArtefactFile] | None = None
    ) -> ArtefactFile:
        """An artefact as a file; `BlobMissingError` where its bytes are gone, `BlobCorruptError` for a wrong size."""
        return ArtefactFile(Content(self._source(artefact), artefact.hash, artefact.size), path, again)

    def read(self, artefact: ManifestArtefact) -> bytes:
        """All of an artefact, verified."""
        if artefact.inline is not None:
            return artefact.inline.encode()
        return self.blobs.read(BlobRef(artefact.hash, artefact.size))

    def _source(self, artefact: ManifestArtefact) -> Callable[[], BinaryIO]:
        if artefact.inline is not None:
            return partial(BytesIO, artefact.inline.encode())
        blob = BlobRef(artefact.hash, artefact.size)
        stored = self.blobs.stat(blob)
        if stored.encoding == "zstd":
            return partial(self.blobs.open, blob)
        if stored.stored_size != artefact.size:
            raise BlobCorruptError(
                f"The blob {artefact.hash} is damaged: it has {stored.stored_size} bytes, not {artefact.size}.",
                hint="`renku-store fsck` says what brings it back.",
            )
        return partial(self.driver.open, stored.path)


@dataclass(frozen=True, slots=True)
class _Look:
    """What one operation has found so far: movies by root and id, revisions by root, movie and what was asked for."""

    movies: dict[tuple[str, str], bool] = field(default_factory=dict)
    published: dict[tuple[str, str, str], Published | None] = field(default_factory=dict)


class Library:
    """Everything below one root, or below whatever root a path begins with. Safe to use from many threads."""

    def __init__(self, root: str | None, options: Mapping[str, Any]) -> None:
        self._root = root
        self._options = dict(options)
        self._stores: dict[str, Store] = {}
        self._kept: OrderedDict[tuple[str, str, str], Published] = OrderedDict()
        self._changing = threading.Lock()
        self._looking = threading.local()

    @contextmanager
    def one_look(self) -> Iterator[None]:
        """Until the end, `latest` and each tag mean the same in this thread: an operation sees one revision."""
        if self._look() is not None:
            yield
            return
        self._looking.now = _Look()
        try:
            yield
        finally:
            self._looking.now = None

    def locate(self, path: str) -> Place:
        """What a path names; `FileNotFoundError` where that is nothing. Whether a revision is there is not asked."""
        if self._root is not None:
            return self._located_below(self._root, path)
        if "://" in path:
            raise ValueError(f"{path} holds another URL: give the root as `root=`, or behind `::`.")
        head, _, last = path.rpartition("/")
        above, _, middle = head.rpartition("/")
        for root, movie, artefact in ((_folder(above, path), middle, last), (_folder(head, path), last, None)):
            place = _place(root, movie, artefact)
            if place is not None and self._has_movie(place):
                return place
        root = _folder(path, path)
        if self._has_movies(root):
            return Place(root)
        raise missing(path, f"There is nothing at {path}. {_FORM}")

    def movies(self, root: str) -> list[str]:
        """The ids of a root's movies, sorted."""
        return self._store(root).ids()

    def published(self, place: Place, path: str) -> Published | None:
        """The revision that a place names, verified; None for the newest one of a movie that has none yet.

        Raises `FileNotFoundError` for one that never was or has expired, and what `ManifestService.load` raises for
        damage.
        """
        key = (place.root, place.movie or "", place.revision or "latest")
        look = self._look()
        if look is None:
            return self._load(*key, path)
        if key not in look.published:
            look.published[key] = self._load(*key, path)
        return look.published[key]

    def artefact(self, place: Place, path: str) -> tuple[Published, ManifestArtefact]:
        """An artefact and its revision; `FileNotFoundError` where it is none."""
        published = self.published(place, path)
        if published is None:
            raise missing(path, f"The movie {place.movie} has no revision yet.")
        artefact = published.manifest.artefacts.get(place.artefact or "")
        if artefact is None:
            raise missing(path, f"{published.manifest.revision} of {place.movie} has no artefact {place.artefact}.")
        return published, artefact

    def revisions(self, place: Place) -> list[str]:
        """The revisions of a movie that can be read, in order: those in the trash too, not those that are gone."""
        with self._store(place.root).examine(place.movie or "") as movie:
            names = set(movie.driver.children("manifests/"))
            found: list[str] = []
            for name in names:
                revision = name.removesuffix(".json")
                if f"manifests/{name}" != manifest_path(revision) or not _is_revision(revision):
                    continue
                marked = expiry_path(revision).removeprefix("manifests/") in names
                with suppress(DamageError):
                    if marked and isinstance(movie.manifests.entry(revision)[0], ManifestStub):
                        continue
                found.append(revision)
        return sorted(found, key=revision_number)

    def _load(self, root: str, movie: str, wanted: str, path: str) -> Published | None:
        with _not_found_as_such(path), self._store(root).examine(movie, cached=True) as opened:
            try:
                revision = revision_name(opened.manifests.number(wanted))
            except NotFoundError:
                if wanted == "latest":
                    return None
                raise
            seen = opened.driver.stat(manifest_path(revision))
            kept = self._kept.get((root, movie, revision))
            if kept is not None and seen is not None and kept.seen == seen:
                return kept
            manifest, digest = opened.manifests.load_with_hash(revision)
            published = Published(manifest, digest, opened.blobs, opened.driver, seen)
        with self._changing:
            self._kept[root, movie, revision] = published
            while len(self._kept) > _KEPT_REVISIONS:
                self._kept.popitem(last=False)
        return published

    def _located_below(self, root: str, path: str) -> Place:
        parts = path.strip("/").split("/") if path.strip("/") else []
        if not parts:
            return Place(root)
        place = _place(root, parts[0], parts[1] if len(parts) == 2 else None) if len(parts) <= 2 else None
        if place is None or not self._has_movie(place):
            raise missing(
                path, f"There is nothing at {path} below {root}. A path there is MOVIE[@REVISION][/ARTEFACT]."
            )
        return place

    def _look(self) -> _Look | None:
        return getattr(self._looking, "now", None)

    def _has_movie(self, place: Place) -> bool:
        look = self._look()
        if look is None:
            return self._is_there(place)
        key = (place.root, place.movie or "")
        if key not in look.movies:
            look.movies[key] = self._is_there(place)
        return look.movies[key]

    def _is_there(self, place: Place) -> bool:
        try:
            store = self._store(place.root)
        except StoreUnavailableError:
            if self._root is not None:
                raise
            return False
        return store.driver.stat(f"{place.movie}/format.json") is not None

    def _has_movies(self, root: str) -> bool:
        try:
            return bool(self._store(root).ids())
        except StoreUnavailableError:
            return False

    def _store(self, root: str) -> Store:
        """The store of a root; one on this machine is opened each time, as what its folder is may change."""
        if "://" not in root:
            return open_store(root, **self._options)
        with self._changing:
            if root not in self._stores:
                self._stores[root] = open_store(root, **self._options)
            return self._stores[root]


def missing(path: str, message: str) -> FileNotFoundError:
    """The error for what is not there, as programs that read files expect it."""
    return FileNotFoundError(errno.ENOENT, message, path)


@contextmanager
def _not_found_as_such(path: str) -> Iterator[None]:
    try:
        yield
    except (NotFoundError, InvalidIdError) as error:
        raise missing(path, f"{error.message} {error.hint}".strip()) from error


def _place(root: str, named: str, artefact: str | None) -> Place | None:
    movie, at, revision = named.partition("@")
    try:
        check_movie_id(movie)
    except InvalidIdError:
        return None
    if at and not revision and artefact is not None:  # `MOVIE@` holds revisions, and nothing else
        return None
    return Place(root, movie, revision if at else None, artefact)


def _folder(head: str, path: str) -> str:
    """A root as a folder; what nothing stands before is the present folder, or that of an absolute path the top."""
    return head or ("/" if path.startswith("/") else ".")


def _is_revision(name: str) -> bool:
    try:
        return revision_number(name) > 0
    except InvalidIdError:
        return False
