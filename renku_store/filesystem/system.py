"""The file system: what fsspec asks, answered from the library. Read-only."""

from __future__ import annotations

import errno
import glob
import os
import secrets
from collections.abc import Mapping
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, NoReturn

import fsspec
from fsspec.callbacks import DEFAULT_CALLBACK
from fsspec.utils import isfilelike, stringify_path

from renku_store.filesystem.content import ArtefactFile
from renku_store.filesystem.library import Library, Place, Published, missing
from renku_store.filesystem.patterns import matches, readings, revision_pattern, unescaped
from renku_store.records.blob import BlobRef
from renku_store.records.manifest import ManifestArtefact

if TYPE_CHECKING:
    _FileSystem = Any  # fsspec has no type information
else:
    _FileSystem = fsspec.AbstractFileSystem

_FSSPEC_OPTIONS: Final = frozenset(
    {"asynchronous", "batch_size", "listings_expiry_time", "loop", "max_paths", "use_listings_cache"}
)
"""What any file system may be given, and a root is not."""

Info = dict[str, Any]


class RenkuFileSystem(_FileSystem):
    """Published movies as folders of artefacts: `renku://builds/civil-war@rev-0003/narration[2].audio`.

    Behind `@` stands a revision (`rev-0003`, `3`), a tag, or `latest`, which is also meant without `@`; `MOVIE@` lists
    the revisions. Without `root` a path begins with one, a folder of this machine. `root` is a folder or URL as
    `open_store` takes it, and further options are that function's; or give the root behind `::`, as
    `renku://civil-war/script.text::s3://bucket/videos`. What is not there is a `FileNotFoundError`, damage a
    `DamageError`, writing an `OSError` with `EROFS`. Listings are never cached: `latest` is looked up every time.
    """

    protocol = "renku"
    root_marker = ""

    def __init__(
        self,
        root: str | os.PathLike[str] | None = None,
        *,
        fo: str | None = None,
        target_protocol: str | None = None,
        target_options: Mapping[str, Any] | None = None,
        **options: Any,
    ) -> None:
        if self._cached:
            return
        super().__init__(**options)
        if root is not None and fo is not None:
            raise ValueError("The root is given twice: as `root` and behind `::`.")
        named = os.fspath(root) if root is not None else None if fo is None else _chained(fo, target_protocol)
        own = {name: option for name, option in options.items() if name not in _FSSPEC_OPTIONS}
        self._library = Library(named, {**(target_options or {}), **own})

    # Looking

    def ls(self, path: str, detail: bool = True, **_: Any) -> list[Any]:
        """What lies in a place: movies in a root, artefacts in a movie, revisions in `MOVIE@`; a file alone."""
        path = self._strip_protocol(path)
        place = self._library.locate(path)
        found = sorted(self._listed(place, path), key=lambda info: info["name"])
        return found if detail else [info["name"] for info in found]

    def info(self, path: str, **_: Any) -> Info:
        """`name`, `size` in bytes and `type`; of an artefact also `mimeType`, `hash`, `artefact` and `revision`.

        Of a movie with a revision: `movie`, `revision`, `hash` of its manifest and `created`.
        """
        path = self._strip_protocol(path)
        place = self._library.locate(path)
        if place.artefact is not None:
            return _file(path, *self._library.artefact(place, path), place.artefact)
        if place.movie is None or place.revision == "":
            return _directory(path)
        published = self._library.published(place, path)
        if published is None:
            return _directory(path, movie=place.movie)
        manifest = published.manifest
        told = {"revision": manifest.revision, "hash": published.hash, "created": manifest.created_at}
        return _directory(path, movie=place.movie, **told)

    def exists(self, path: str, **kwargs: Any) -> bool:
        """Whether anything is there; damage is an error, not an answer."""
        try:
            self.info(path, **kwargs)
        except FileNotFoundError:
            return False
        return True

    def glob(self, path: str, maxdepth: int | None = None, **kwargs: Any) -> Any:
        """The names that a pattern matches.

        Brackets stand for themselves, as they do in ids: `narration[*].audio` finds `narration[2].audio`. A pattern
        that `glob.escape` has been at is taken by its rules, and one that finds nothing is tried with sets of
        characters. A text that names something means that alone. Only what follows the root may be a pattern.
        """
        with self._library.one_look():
            pattern = stringify_path(path)
            for literal in (pattern, unescaped(pattern)):
                if literal is not None and not literal.endswith("/") and self.exists(literal):
                    info = self.info(literal)
                    return {info["name"]: info} if kwargs.get("detail") else [info["name"]]
            found = (self._glob(reading, {"maxdepth": maxdepth, **kwargs}) for reading in readings(pattern))
            return next(filter(None, found), {} if kwargs.get("detail") else [])

    def modified(self, path: str) -> datetime:
        """When the revision was published that a path names."""
        path = self._strip_protocol(path)
        published = self._library.published(self._library.locate(path), path)
        if published is None:
            raise missing(path, f"{path} has no revision yet.")
        return datetime.fromisoformat(published.manifest.created_at)

    created = modified

    def ukey(self, path: str) -> str:
        """The hash: what is the same has the same."""
        return str(self.info(path).get("hash", path))

    def checksum(self, path: str) -> int:
        """The hash as a number."""
        return int(self.info(path).get("hash", "0"), 16)

    # Reading

    def cat_file(self, path: str, start: int | None = None, end: int | None = None, **_: Any) -> bytes:
        """The bytes of an artefact: all of them, verified, or those from `start` to `end`, as a slice takes them."""
        published, artefact = self._found(path)
        if start is None and end is None:
            return published.read(artefact)
        first, last, _step = slice(start, end).indices(artefact.size)
        with published.open(artefact, path) as file:
            file.seek(first)
            return file.read(max(0, last - first))

    def get_file(
        self, rpath: str, lpath: Any = None, callback: Any = DEFAULT_CALLBACK, outfile: Any = None, **kwargs: Any
    ) -> None:
        """Copy an artefact into a file, which appears whole and verified or not at all; cloned where possible."""
        if outfile is not None or isfilelike(lpath):
            super().get_file(rpath, lpath, callback=callback, outfile=outfile, **kwargs)
            return
        target = Path(lpath)
        if self.isdir(rpath):
            target.mkdir(parents=True, exist_ok=True)
            return
        published, artefact = self._found(rpath)
        target.parent.mkdir(parents=True, exist_ok=True)
        callback.set_size(artefact.size)
        temporary = target.with_name(f".renku-get-{secrets.token_hex(8)}.tmp")
        try:
            if artefact.inline is not None:
                temporary.write_bytes(published.read(artefact))
            else:
                published.blobs.copy_to(BlobRef(artefact.hash, artefact.size), temporary)
            temporary.replace(target)
        finally:
            temporary.unlink(missing_ok=True)
        callback.relative_update(artefact.size)

    def get(self, rpath: Any, lpath: Any, recursive: bool = False, **kwargs: Any) -> None:
        """Copy artefacts, or whole revisions, to this machine; all of it is of one revision of a movie."""
        with self._library.one_look():
            several = any(isinstance(given, list | tuple) for given in (rpath, lpath))
            if several or not self.isfile(rpath):
                super().get(rpath, lpath, recursive=recursive, **kwargs)
                return
            # fsspec takes brackets in a name for a pattern, whose matches go into a folder.
            text = os.fspath(lpath)
            name = self._strip_protocol(rpath).rpartition("/")[2]
            into = text.endswith(("/", os.sep)) or Path(text).is_dir()
            self.get_file(rpath, str(Path(text, name)) if into else text, **kwargs)

    def _open(self, path: str, mode: str = "rb", **_: Any) -> ArtefactFile:
        """A file that can seek; what is read from its start to its end is verified."""
        if mode != "rb":
            self._refused(path)
        published, artefact = self._found(path)
        movie, _, key = self._strip_protocol(path).rpartition("/")
        root, slash, named = movie.rpartition("/")
        same = f"{root}{slash}{named.partition('@')[0]}@{published.manifest.revision}/{key}"
        return published.open(artefact, path, partial(self._open_at, same))

    def _open_at(self, path: str, at: int) -> ArtefactFile:
        """A file that was pickled, at the place where it was."""
        file = self._open(path)
        file.seek(at)
        return file

    def cat(self, path: Any, *arguments: Any, **options: Any) -> Any:
        """The bytes of one artefact, or those of several by their names; all of one revision of a movie."""
        with self._library.one_look():
            return super().cat(path, *arguments, **options)

    def cat_ranges(self, paths: Any, *arguments: Any, **options: Any) -> Any:
        """Parts of several artefacts, all of one revision of a movie."""
        with self._library.one_look():
            return super().cat_ranges(paths, *arguments, **options)

    def find(self, path: str, *arguments: Any, **options: Any) -> Any:
        """Everything below a place."""
        with self._library.one_look():
            return super().find(path, *arguments, **options)

    def du(self, path: str, *arguments: Any, **options: Any) -> Any:
        """The bytes below a place."""
        with self._library.one_look():
            return super().du(path, *arguments, **options)

    # Writing

    def _refused(self, *arguments: Any, **_: Any) -> NoReturn:
        """Revisions are published by runs: every writing method is an `OSError` with `EROFS`."""
        path = str(arguments[0]) if arguments else ""
        raise OSError(errno.EROFS, "renku:// is read-only; revisions are published by runs", path)

    mkdir = makedirs = rmdir = touch = _refused
    rm = rm_file = _rm = mv = copy = cp_file = _refused
    put = put_file = pipe = pipe_file = write_bytes = write_text = _refused

    # Inside

    def _found(self, path: str) -> tuple[Published, ManifestArtefact]:
        path = self._strip_protocol(path)
        place = self._library.locate(path)
        if place.artefact is None:
            self.info(path)
            raise IsADirectoryError(errno.EISDIR, f"{path} is a folder, not an artefact.", path)
        return self._library.artefact(place, path)

    def _listed(self, place: Place, path: str) -> list[Info]:
        if place.artefact is not None:
            return [_file(path, *self._library.artefact(place, path), place.artefact)]
        below = f"{path}/" if path else ""
        if place.movie is None:
            return [_directory(below + movie, movie=movie) for movie in self._library.movies(place.root)]
        if place.revision == "":
            revisions = self._library.revisions(place)
            return [_directory(f"{path}{name}", movie=place.movie, revision=name) for name in revisions]
        published = self._library.published(place, path)
        if published is None:
            return []
        return [_file(below + key, published, value, key) for key, value in published.manifest.artefacts.items()]

    def _glob(self, pattern: str, options: dict[str, Any]) -> Any:
        """What one reading of a pattern finds; movies with a revision are put in first, as no listing has them."""
        split = revision_pattern(self._strip_protocol(pattern))
        if split is None or not self._is_root(split[0]):
            return super().glob(pattern, **options)
        head, movie_pattern, wanted, rest = split
        below = f"{head}/" if head else ""
        found: dict[str, Info] = {}
        for movie in self._library.movies(self._library.locate(head).root):
            if not matches(movie, movie_pattern):
                continue
            base = f"{below}{movie}@"
            names = self.ls(base, detail=False) if glob.has_magic(wanted) else [base + wanted]
            for name in names:
                if matches(name.removeprefix(base), wanted):
                    inner = "/".join(filter(None, (glob.escape(name), rest)))
                    found.update(super().glob(inner, **{**options, "detail": True}))
        return found if options.get("detail") else list(found)

    def _is_root(self, path: str) -> bool:
        try:
            return self._library.locate(path).movie is None
        except FileNotFoundError:
            return False


def _chained(target: str, protocol: str | None) -> str:
    """The root that stands behind `::`, as a path or URL that `open_store` takes."""
    if protocol in {None, "file", "local"}:
        return target
    return f"{protocol}://{target.lstrip('/')}"


def _file(name: str, published: Published, artefact: ManifestArtefact, key: str) -> Info:
    return {
        "name": name,
        "size": artefact.size,
        "type": "file",
        "mimeType": artefact.mime_type,
        "hash": artefact.hash,
        "artefact": key,
        "revision": published.manifest.revision,
    }


def _directory(name: str, **told: Any) -> Info:
    return {"name": name, "size": 0, "type": "directory", **told}
