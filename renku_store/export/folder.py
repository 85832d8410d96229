"""The folder of a revision: a file per artefact, the timeline with local paths, the manifest.

The folder is a view: exporting again writes what differs, removes what an earlier export wrote and this one does not,
and leaves everything else in it alone. `.renku-export.json` remembers what was written; it is written before the files,
so that an export that was killed is simply done again. Nothing outside the folder is touched: links in it are replaced,
never followed.
"""

from __future__ import annotations

import errno
import os
import secrets
import stat
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import orjson

from renku_store.errors import InvalidValueError, StoreUnavailableError
from renku_store.export.names import INDEX, MANIFEST, TIMELINE, file_names, is_plain_name
from renku_store.hashing import hash_bytes
from renku_store.manifests import manifest_path
from renku_store.media_types import is_json
from renku_store.movie import Movie
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
_LEFTOVER_SECONDS: Final = 3_600.0
"""A temporary file that nobody has written to for so long is left over from an export that was killed."""


@dataclass(frozen=True, slots=True)
class ExportReport:
    """The folder after an export: its files and their bytes; `written` and `removed` say how many of them changed.

    `names` gives the file name of each artefact.
    """

    files: int
    bytes: int
    written: int
    removed: int
    names: Mapping[str, str]


def export_revision(
    movie: Movie, revision: str, directory: str | os.PathLike[str], *, link: bool = False
) -> ExportReport:
    """Write a revision (`rev-0003`, `3`, `latest`) as a plain folder, verified while it is copied.

    With `link`, artefacts that the store holds as they are become hard links: no space, but to be read only, since they
    are the store's own bytes. Raises `NotFoundError` for the revision, `InvalidValueError` for a folder that cannot be
    the target, `DamageError` for damaged artefacts, `StoreUnavailableError` where the folder cannot be written.
    """
    manifest = movie.manifests.load(revision)
    target = Path(directory)
    _check_target(movie, target)
    with _reported(target):
        target.mkdir(parents=True, exist_ok=True)
        return _Export(movie, manifest, target.resolve(), link=link).write()


@dataclass(frozen=True, slots=True)
class _File:
    """A file to be: the hash of its bytes, their number, and how to write them to a new path."""

    hash: str
    size: int
    write: Callable[[Path], None]


@dataclass(slots=True)
class _Export:
    """One export into one folder."""

    movie: Movie
    manifest: Manifest
    target: Path
    link: bool
    written: dict[str, Any] = field(default_factory=dict)

    def write(self) -> ExportReport:
        self._sweep()
        names = file_names({key: artefact.mime_type for key, artefact in self.manifest.artefacts.items()})
        files = self._files(names)
        before = self._read_index()
        self._check_foreign(files, before)
        self._write_index({**before, **{name: before.get(name, {}) for name in files}})
        changed = 0
        for name, file in files.items():
            known = before.get(name, {})
            if known.get("hash") == file.hash and _is_untouched(self.target / name, known):
                self.written[name] = known
                continue
            self._place(name, file.write)
            self.written[name] = {"hash": file.hash, **_look(self.target / name)}
            changed += 1
        removed = sum(self._remove(name, before[name]) for name in before.keys() - files.keys())
        self._write_index(self.written)
        return ExportReport(len(files), sum(file.size for file in files.values()), changed, removed, names)

    def _files(self, names: Mapping[str, str]) -> dict[str, _File]:
        """Every file of the folder by its name."""
        files = {
            names[key]: _File(artefact.hash, artefact.size, self._writer(artefact))
            for key, artefact in self.manifest.artefacts.items()
        }
        data = self.movie.driver.read(manifest_path(self.manifest.revision))
        files[MANIFEST] = _of_bytes(data)
        timeline = self._timeline(names)
        if timeline is not None:
            files[TIMELINE] = _of_bytes(timeline)
        return files

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
        if not (self.link and self._hard_link(artefact, path)):
            self.movie.blobs.copy_to(BlobRef(artefact.hash, artefact.size), path)

    def _hard_link(self, artefact: ManifestArtefact, path: Path) -> bool:
        """Link the verified object; False where it is stored compressed, or the file system cannot."""
        stored = self.movie.blobs.stat(BlobRef(artefact.hash, artefact.size))
        if stored.encoding != "raw":
            return False
        with self.movie.blobs.open(BlobRef(artefact.hash, artefact.size)) as stream:
            while stream.read(1 << 20):
                pass
        source = Path(self.movie.root) / self.movie.id / stored.path
        try:
            path.hardlink_to(source)
        except OSError as error:
            if error.errno in _NO_HARD_LINK:
                return False
            raise
        return True

    def _sweep(self) -> None:
        """Remove the temporary files of exports that were killed; a young one may be another export's."""
        for path in self.target.glob(f"{_TEMPORARY}*.tmp"):
            found = path.lstat()
            if stat.S_ISREG(found.st_mode) and found.st_mtime < time.time() - _LEFTOVER_SECONDS:
                path.unlink()

    def _place(self, name: str, write: Callable[[Path], None]) -> None:
        """Write a file beside its place, then rename: no program ever sees half of it."""
        temporary = self.target / f"{_TEMPORARY}{secrets.token_hex(8)}.tmp"
        try:
            write(temporary)
            temporary.replace(self.target / name)
        finally:
            temporary.unlink(missing_ok=True)

    def _remove(self, name: str, known: Mapping[str, Any]) -> bool:
        """Remove what an earlier export wrote, unless somebody has changed it since."""
        path = self.target / name
        if not _is_untouched(path, known):
            return False
        path.unlink()
        return True

    def _check_foreign(self, files: Mapping[str, _File], before: Mapping[str, Any]) -> None:
        """What somebody else put here is never overwritten."""
        for name in files:
            if name not in before and os.path.lexists(self.target / name):
                raise InvalidValueError(
                    f"{self.target / name} is in the way: it was not written by an export.",
                    hint="Export into another folder, or move that file away.",
                )

    def _read_index(self) -> dict[str, dict[str, Any]]:
        path = self.target / INDEX
        try:
            if not stat.S_ISREG(path.lstat().st_mode):
                return {}
            files = orjson.loads(path.read_bytes())["files"]
            return {name: dict(known) for name, known in files.items() if is_plain_name(name)}
        except (FileNotFoundError, orjson.JSONDecodeError, KeyError, TypeError, ValueError, AttributeError):
            return {}

    def _write_index(self, files: Mapping[str, Any]) -> None:
        document = {"movie": self.movie.id, "revision": self.manifest.revision, "files": files}
        data = orjson.dumps(document, option=orjson.OPT_INDENT_2 | orjson.OPT_SORT_KEYS)
        self._place(INDEX, _of_bytes(data).write)


def _of_bytes(data: bytes) -> _File:
    def write(path: Path) -> None:
        with path.open("xb") as file:
            file.write(data)

    return _File(hash_bytes(data), len(data), write)


def _look(path: Path) -> dict[str, int]:
    found = path.lstat()
    return {"size": found.st_size, "modifiedNs": found.st_mtime_ns}


def _is_untouched(path: Path, known: Mapping[str, Any]) -> bool:
    """Whether a file is as an export left it: regular, of that size and that time."""
    try:
        found = path.lstat()
    except FileNotFoundError:
        return False
    return stat.S_ISREG(found.st_mode) and _look(path) == {key: known.get(key) for key in ("size", "modifiedNs")}


def _check_target(movie: Movie, target: Path) -> None:
    """Refuse folders that belong to the store, and what is no folder."""
    if target.exists() and not target.is_dir():
        raise InvalidValueError(f"{target} is a file, not a folder.", hint="Name a folder to export into.")
    root = Path(movie.root).resolve()
    place = target.resolve()
    if place == root or (
        place.is_relative_to(root) and (root / place.relative_to(root).parts[0] / "format.json").exists()
    ):
        raise InvalidValueError(f"{target} belongs to the store itself.", hint="Export into a folder of its own.")


@contextmanager
def _reported(target: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise StoreUnavailableError(
            f"The folder {target} cannot be written: {error.strerror}.", hint="Check its rights and the free space."
        ) from error
