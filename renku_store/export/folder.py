"""The folder of a revision: a file per artefact, the timeline with local paths, the manifest.

The folder is a view: exporting again writes what differs, removes what an earlier export wrote and this one does not,
and leaves everything else in it alone. Nothing outside the folder is touched: links in it are replaced, never followed.

1. What differs is written beside its place and verified; only when all of it is there, and nothing but files in its
   place, it is renamed into place. So an export that fails leaves the folder as it was, and files of two revisions
   stand side by side for the time of renames.
2. `.renku-export.json` says what exports have put here. It is replaced before the renames, by what was and what will be
   there, and after them: an export that was killed in between is simply done again. The manifest is renamed last.
3. One export at a time works in a folder: it holds the lock of the folder itself.
"""

from __future__ import annotations

import errno
import os
import secrets
import stat
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import orjson

from renku_store import bounds
from renku_store.drivers.locks import hold
from renku_store.drivers.urls import checked_path, without_secrets
from renku_store.encoding import manifest_path
from renku_store.errors import BlobCorruptError, InvalidValueError, StoreUnavailableError, UnsafeDriverError
from renku_store.export.index import Index, Known, is_linked, is_untouched, look, read_index, settled
from renku_store.export.names import INDEX, MANIFEST, TIMELINE, file_names
from renku_store.hashing import hash_bytes
from renku_store.media_types import is_json
from renku_store.movie import Movie
from renku_store.premises import holds_movies, movie_around
from renku_store.records.blob import BlobRef
from renku_store.records.manifest import Manifest, ManifestArtefact

_NO_HARD_LINK: Final = {
    errno.EXDEV,
    errno.EPERM,
    errno.EMLINK,
    errno.ENOTSUP,
    errno.EOPNOTSUPP,
    errno.ENOSYS,
    errno.EACCES,
}
_TEMPORARY: Final = ".renku-export-"


@dataclass(frozen=True, slots=True)
class ExportReport:
    """The folder after an export: its files and their bytes; `written` and `removed` say how many of them changed.

    `revision` is what it shows, `names` gives the file name of each artefact.
    """

    revision: str
    files: int
    bytes: int
    written: int
    removed: int
    names: Mapping[str, str]


def export_revision(
    movie: Movie, revision: str, directory: str | os.PathLike[str], *, link: bool = False
) -> ExportReport:
    """Write a revision (`rev-0003`, `3`, `latest`, a tag) as a plain folder, verified while it is copied.

    Files are clones (reflinks) of the store's where the file system can, else copies. With `link`, artefacts that the
    store holds as they are, and that cannot be cloned, become hard links: no space, but to be read only, since they are
    the store's own bytes. Without it none is left that an earlier export made. Raises `NotFoundError` for the
    revision, `InvalidValueError` for a folder that cannot be the target, `DamageError` for damaged artefacts (the
    folder stays as it was then), `StoreUnavailableError` where it cannot be written or another export works in it for
    too long.
    """
    target = local_folder(directory)
    chosen = movie.manifests.load_with_hash(revision)
    return export_into(movie, target, lambda: chosen, link=link)


def local_folder(directory: str | os.PathLike[str]) -> Path:
    """A folder of this machine; `InvalidValueError` for what cannot be the name of one.

    Such as a URL, of which a path would make folders such as `s3:`.
    """
    text = os.fspath(directory)
    if "://" in text:
        raise InvalidValueError(
            f"{without_secrets(text)} is no folder of this machine.",
            hint="Name a folder here; what is in it can be copied anywhere.",
        )
    return Path(checked_path(text))


def export_into(
    movie: Movie, target: Path, choose: Callable[[], tuple[Manifest, str]], *, link: bool, view_of: str | None = None
) -> ExportReport:
    """Write into a folder, alone, the revision that `choose` gives, with its hash, once nobody else writes there.

    `view_of`: the folder is the view of the movie with this identity; `InvalidValueError` where it is another one's.
    """
    _check_target(movie, target)
    with _reported(target):
        target.mkdir(parents=True, exist_ok=True)
        target = target.resolve()
        with _alone(target) as locked:
            return _Export(movie, *choose(), target, link=link, view_of=view_of, locked=locked).write()


@dataclass(frozen=True, slots=True)
class _File:
    """A file to be: the hash of its bytes, their number, and how to write them to a new path."""

    hash: str
    size: int
    write: Callable[[Path], None]


@dataclass(slots=True)
class _Export:
    """One export into one folder; `locked`: nobody else works in it, so that temporary files there are left over."""

    movie: Movie
    manifest: Manifest
    hash: str
    target: Path
    link: bool
    view_of: str | None
    locked: bool
    clones: bool | None = None

    def write(self) -> ExportReport:
        if self.locked:
            self._sweep()
        names = file_names({key: artefact.mime_type for key, artefact in self.manifest.artefacts.items()})
        files = self._files(names)
        self._check_places((*files, INDEX))
        index = read_index(self.target)
        self._check_owner(index)
        before = settled(self.target, index.files)
        self._check_foreign(files, before)
        stale = {name: file for name, file in files.items() if not self._is_right(name, file, before)}
        gone = before.keys() - files.keys()
        removed = 0
        if stale or gone or not index.shows(self.manifest.revision, self.view_of):
            removed = self._switch(files, stale, before)
        return ExportReport(
            self.manifest.revision, len(files), sum(file.size for file in files.values()), len(stale), removed, names
        )

    def _switch(self, files: Mapping[str, _File], stale: Mapping[str, _File], before: Mapping[str, Known]) -> int:
        """Write beside their places all files that differ, then rename them; returns how many files were removed."""
        staged: dict[str, Path] = {}
        begun, ended = self._temporary(), self._temporary()
        try:
            for name, file in stale.items():
                staged[name] = self._temporary()
                file.write(staged[name])
            after = {
                name: {"hash": file.hash, **look(staged[name])} if name in stale else before[name]
                for name, file in files.items()
            }
            beginning = {name: {**before.get(name, {}), "begun": after[name]} for name in stale}
            self._write_index(begun, {**before, **beginning})
            self._write_index(ended, after)
            begun.replace(self.target / INDEX)
            for name, path in staged.items():
                path.replace(self.target / name)
            removed = sum(self._remove(name, before[name]) for name in before.keys() - files.keys())
            ended.replace(self.target / INDEX)
            return removed
        finally:
            for path in (*staged.values(), begun, ended):
                path.unlink(missing_ok=True)

    def _files(self, names: Mapping[str, str]) -> dict[str, _File]:
        """Every file of the folder by its name, the manifest last."""
        files = {
            names[key]: _File(artefact.hash, artefact.size, self._writer(artefact))
            for key, artefact in self.manifest.artefacts.items()
        }
        timeline = self._timeline(names)
        if timeline is not None:
            files[TIMELINE] = _of_bytes(timeline)
        files[MANIFEST] = _of_bytes(self._manifest())
        return files

    def _manifest(self) -> bytes:
        """The exact bytes of the manifest; an error of `load` where the revision has expired since it was chosen."""
        data = self.movie.driver.read(manifest_path(self.manifest.revision))
        if hash_bytes(data) != self.hash:
            self.movie.manifests.load(self.manifest.revision)
            raise BlobCorruptError(
                f"The manifest of {self.manifest.revision} is another one than it was a moment ago.",
                hint="`renku-store fsck` says what is wrong with it.",
            )
        return data

    def _timeline(self, names: Mapping[str, str]) -> bytes | None:
        """The timeline document; each object in it that names an artefact gains the path of its file."""
        artefact = self.manifest.artefacts.get(self.manifest.timeline or "")
        if artefact is None or not is_json(artefact.mime_type):
            return None
        try:
            document = orjson.loads(self.movie.read(artefact))
        except orjson.JSONDecodeError:
            return None
        waiting = [document]
        while waiting:
            value = waiting.pop()
            if isinstance(value, dict):
                waiting.extend(value.values())
                named = value.get("artefact")
                if isinstance(named, str) and named in names:
                    value["path"] = names[named]
            elif isinstance(value, list):
                waiting.extend(value)
        return orjson.dumps(document, option=orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE)

    def _writer(self, artefact: ManifestArtefact) -> Callable[[Path], None]:
        if artefact.inline is not None:
            return _of_bytes(artefact.inline.encode()).write
        return lambda path: self._copy(artefact, path)

    def _copy(self, artefact: ManifestArtefact, path: Path) -> None:
        blob = BlobRef(artefact.hash, artefact.size)
        if not (self.link and self._hard_link(blob, path)):
            self.movie.blobs.copy_to(blob, path)

    def _hard_link(self, blob: BlobRef, path: Path) -> bool:
        """Link the verified object; False where it is packed, far away or can be cloned, or links cannot be."""
        stored = self.movie.blobs.stat(blob)
        source = self.movie.driver.local_path(stored.path) if stored.encoding == "raw" else None
        if source is None or self._can_clone(stored.path):
            return False
        with self.movie.blobs.open(blob) as stream:
            while stream.read(bounds.CHUNK_BYTES):
                pass
        try:
            path.hardlink_to(source)
        except OSError as error:
            if error.errno in _NO_HARD_LINK:
                return False
            raise
        return True

    def _can_clone(self, name: str) -> bool:
        """Whether objects can be cloned into the folder; the first one is tried."""
        if self.clones is None:
            trial = self._temporary()
            trial.touch(exist_ok=False)
            try:
                self.clones = self.movie.driver.clone_to(name, trial)
            finally:
                trial.unlink()
        return self.clones

    def _sweep(self) -> None:
        """Remove the temporary files of exports that were killed."""
        for path in self.target.glob(f"{_TEMPORARY}*.tmp"):
            if stat.S_ISREG(path.lstat().st_mode):
                path.unlink()

    def _temporary(self) -> Path:
        return self.target / f"{_TEMPORARY}{secrets.token_hex(8)}.tmp"

    def _is_right(self, name: str, file: _File, before: Mapping[str, Known]) -> bool:
        known = before.get(name, {})
        if known.get("hash") != file.hash or not is_untouched(self.target / name, known):
            return False
        return self.link or not is_linked(self.target / name)

    def _remove(self, name: str, known: Known) -> bool:
        """Remove what an earlier export wrote, unless somebody has changed it since."""
        path = self.target / name
        if not is_untouched(path, known):
            return False
        path.unlink()
        return True

    def _check_owner(self, index: Index) -> None:
        """A view is of one movie of one root: two of the same id would take turns in it.

        Earlier versions wrote the URL alone, which is that of a movie on any server.
        """
        if self.view_of is not None and index.view_of not in {None, self.view_of, self.movie.driver.url}:
            raise InvalidValueError(
                f"{self.target} is the view of another movie of that id: {index.view_of}.",
                hint="Give the other root a view elsewhere, or remove that folder.",
            )

    def _check_places(self, names: Iterable[str]) -> None:
        """What is neither a file nor a link cannot be replaced by one: nothing is begun then."""
        for name in names:
            path = self.target / name
            if os.path.lexists(path) and not (path.is_symlink() or path.is_file()):
                raise InvalidValueError(
                    f"{path} is in the way: it is no file.", hint="Export into another folder, or move that away."
                )

    def _check_foreign(self, files: Mapping[str, _File], before: Mapping[str, Known]) -> None:
        """What somebody else put here is never overwritten."""
        for name in files:
            if name not in before and os.path.lexists(self.target / name):
                raise InvalidValueError(
                    f"{self.target / name} is in the way: it was not written by an export.",
                    hint="Export into another folder, or move that file away.",
                )

    def _write_index(self, path: Path, files: Mapping[str, Known]) -> None:
        path.write_bytes(Index(self.movie.id, self.manifest.revision, self.view_of, dict(files)).encode())


def _of_bytes(data: bytes) -> _File:
    def write(path: Path) -> None:
        with path.open("xb") as file:
            file.write(data)

    return _File(hash_bytes(data), len(data), write)


@contextmanager
def _alone(target: Path) -> Iterator[bool]:
    """Keep other exports out of the folder; False where its file system has no locks for folders: then nobody is."""
    with ExitStack() as stack:
        descriptor = os.open(target, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        stack.callback(os.close, descriptor)
        lock = hold(descriptor, os.fspath(target), shared=False, wait_seconds=bounds.EXPORT_WAIT_SECONDS, sign=False)
        try:
            stack.enter_context(lock)
            locked = True
        except UnsafeDriverError:
            locked = False
        except StoreUnavailableError as error:
            if error.reason == "busy":
                raise
            locked = False
        yield locked


def _check_target(movie: Movie, target: Path) -> None:
    """Refuse folders that belong to this store or another one, and what is no folder."""
    if target.exists() and not target.is_dir():
        raise InvalidValueError(f"{target} is a file, not a folder.", hint="Name a folder to export into.")
    workspace, place = movie.driver.workspace(), target.resolve()
    own = workspace is not None and (place == workspace.resolve().parent or place.is_relative_to(workspace.resolve()))
    if own or movie_around(target) is not None or holds_movies(target):
        raise InvalidValueError(f"{target} belongs to the store itself.", hint="Export into a folder of its own.")


@contextmanager
def _reported(target: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise StoreUnavailableError(
            f"The folder {target} cannot be written: {error.strerror}.", hint="Check its rights and the free space."
        ) from error
