"""Requests to any file system of fsspec, as far as it can be told from outside what it does.

Only what its own code creates exclusively (`pipe_file(mode="create")`) counts as such: the method that a file system
inherits looks whether the name is free and then writes, so that two may win. There is no conditional replacement in
fsspec, and no cache is used.
"""

from __future__ import annotations

import contextlib
import inspect
import os
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

from fsspec import AbstractFileSystem
from fsspec.asyn import AsyncFileSystem

from renku_store.drivers.objects.client import ConditionFailedError, ObjectHead, UncertainError
from renku_store.errors import StoreError, StoreUnavailableError, UnsafeDriverError

_TIMES: Final = ("mtime", "LastModified", "last_modified", "updated", "modified", "created")
"""Where file systems keep the time of the last write; those that never replace know only when it was created."""
_ASYNC: Final[Any] = AsyncFileSystem
_TAGS: Final = ("ETag", "etag")


class FsspecClient:
    """The files below the folder `base` of a file system; `url` names it in errors.

    The file system must have been opened without listings cache, and must allow use from many threads.
    """

    def __init__(self, files: AbstractFileSystem, base: str, url: str) -> None:
        self._files: Any = files
        self._base = self._files._strip_protocol(base).strip("/")  # noqa: SLF001 - what every file system implements
        self._root = self._files.root_marker
        self._url = url.rstrip("/")
        self._process = os.getpid()
        self.exclusive = creates_exclusively(files)

    def head(self, key: str) -> ObjectHead | None:
        """Size, time and tag, or None where there is no such object."""
        with self._named_errors("look at", key):
            try:
                return self._head(self._files.info(self._path(key)))
            except (FileNotFoundError, NotADirectoryError):
                return None

    def get(self, key: str, *, start: int = 0, length: int | None = None) -> tuple[bytes, ObjectHead] | None:
        """The bytes from `start`, at most `length`, and the head; None where there is no such object."""
        head = self.head(key)
        if head is None or length == 0 or start >= head.size > 0:
            return None if head is None else (b"", head)
        wanted: dict[str, int] = {"start": start} if start else {}
        if length is not None:
            wanted["end"] = min(start + length, head.size)
        with self._named_errors("read", key):
            try:
                data = bytes(self._files.cat_file(self._path(key), **wanted))
            except FileNotFoundError:
                return None
        # What was replaced after the look is whole as it is now, not as long as it was.
        return data, head if wanted else replace(head, size=len(data))

    def get_pieces(self, key: str, *, length: int | None = None) -> tuple[Sequence[bytes], ObjectHead] | None:
        """The same from the start: the library gives one piece."""
        found = self.get(key, length=length)
        return found and ((found[0],), found[1])

    def put(
        self,
        key: str,
        data: bytes | memoryview,
        *,
        if_absent: bool = False,
        if_match: str | None = None,
        mark: str | None = None,  # noqa: ARG002 - fsspec has no common way to keep one
    ) -> str | None:
        """Write an object in one request; `UnsafeDriverError` for a condition that the file system does not have."""
        if if_match is not None or (if_absent and not self.exclusive):
            lacking = "conditional replacement" if if_match else "exclusive creation"
            raise UnsafeDriverError(
                f"The file system of {self._url} has no {lacking}.",
                hint="Use a storage with conditional writes.",
            )
        with self._named_errors("write", key):
            if not if_absent:
                self._with_folder(key, lambda path: self._files.pipe_file(path, bytes(data)))
                return None
            try:
                self._with_folder(key, lambda path: self._files.pipe_file(path, bytes(data), mode="create"))
            except FileExistsError as error:
                raise ConditionFailedError(str(error)) from error
            except PermissionError:
                raise
            except OSError as error:
                unavailable = self._unavailable(error, "write", key)
                raise UncertainError(unavailable.message) from unavailable
        return None

    def put_file(self, key: str, path: Path, part_bytes: int) -> str | None:  # noqa: ARG002 - it chooses its own
        """Write a large object, in parts as the file system likes, with no condition."""
        with self._named_errors("write", key):
            self._with_folder(key, lambda target: self._files.put_file(str(path), target))
        return None

    def compares_checksums(self, key: str, *, in_parts: bool) -> bool | None:  # noqa: ARG002
        """False: fsspec knows of none."""
        return False

    def copy(self, source: str, target: str) -> bool:
        """Copy within the file system, replacing; False where there is no such object."""
        if self.head(source) is None:
            return False
        with self._named_errors("copy", source):
            self._with_folder(target, lambda path: self._files.cp_file(self._path(source), path))
        return True

    def delete(self, keys: Sequence[str]) -> None:
        """Remove objects one by one; no error for those that are not there."""
        for key in keys:
            with self._named_errors("delete", key), contextlib.suppress(FileNotFoundError, NotADirectoryError):
                self._files.rm_file(self._path(key))

    def list(self, prefix: str) -> Iterator[ObjectHead]:
        """Every object whose key begins with `prefix`, in the order of keys; read at once."""
        with self._named_errors("list", prefix):
            try:
                found = self._files.find(self._path(prefix.rpartition("/")[0]), detail=True)
            except (FileNotFoundError, NotADirectoryError):
                return
            heads = [head for head in map(self._head, found.values()) if head is not None]
        yield from sorted((head for head in heads if head.key.startswith(prefix)), key=lambda head: head.key)

    def folders(self, prefix: str) -> Iterator[ObjectHead | str]:
        """What is directly below `prefix` (ends in `/`, or empty): objects, and the full prefixes of folders."""
        with self._named_errors("list", prefix):
            try:
                found = self._files.ls(self._path(prefix.rstrip("/")), detail=True)
            except (FileNotFoundError, NotADirectoryError):
                return
        for entry in found:
            if entry["type"] == "directory":
                yield f"{self._key(entry['name'])}/"
            elif (head := self._head(entry)) is not None and head.key.startswith(prefix):
                yield head

    def close(self) -> None:
        """Nothing: a file system ends with the last who uses it."""

    def _path(self, key: str) -> str:
        return f"{self._root}{'/'.join(filter(None, (self._base, key)))}"

    def _key(self, path: str) -> str:
        return path.strip("/").removeprefix(self._base).lstrip("/")

    def _head(self, info: Mapping[str, Any]) -> ObjectHead | None:
        if info.get("type") != "file" or info["name"].endswith("/"):  # or a mark by which others tell of a folder
            return None
        modified = _modified(info)
        tag = next((info[name] for name in _TAGS if isinstance(info.get(name), str)), None)
        if tag is None and modified is not None:
            # What has been replaced has another time: all there is to tell two versions of one size apart.
            tag = f"at {modified!r}"
        # Where nobody says how old it is, it is young: nothing takes it for old.
        return ObjectHead(self._key(info["name"]), int(info["size"] or 0), modified or time.time(), tag)

    def _with_folder(self, key: str, write: Any) -> None:
        """Write to a path, with the folder that it needs where the file system has real ones."""
        path = self._path(key)
        try:
            write(path)
        except FileNotFoundError:
            self._files.makedirs(path.rpartition("/")[0], exist_ok=True)
            write(path)

    @contextlib.contextmanager
    def _named_errors(self, doing: str, key: str) -> Iterator[None]:
        if self._process != os.getpid():
            # Its threads are not here, and its connections are the parent's.
            raise StoreUnavailableError(
                f"Cannot {doing} {self._url}/{key}: its file system was opened before this process was forked.",
                hint="Open the store anew in each process, or start them by spawning (multiprocessing: 'spawn').",
            )
        try:
            yield
        except (StoreError, ConditionFailedError, UncertainError):
            raise
        except Exception as error:  # the code of another package: each has exceptions of its own
            raise self._unavailable(error, doing, key) from error

    def _unavailable(self, error: Exception, doing: str, key: str) -> StoreUnavailableError:
        said = " ".join(str(error).split()).rstrip(".")
        message = f"Cannot {doing} {self._url}/{key}: {said or type(error).__name__}."
        if isinstance(error, PermissionError):
            return StoreUnavailableError(message, hint="Check the permissions.", reason="denied")
        return StoreUnavailableError(message, hint="Check that it can be reached.")


def creates_exclusively(files: AbstractFileSystem) -> bool:
    """Whether a file system says how it creates what must not exist, rather than inherit to look and then write."""
    kind: Any = type(files)
    if isinstance(files, AsyncFileSystem):
        own, inherited = kind._pipe_file, _ASYNC._pipe_file  # noqa: SLF001 - fsspec's rule for names
    else:
        own, inherited = kind.pipe_file, AbstractFileSystem.pipe_file
    return own is not inherited and "mode" in inspect.signature(own).parameters


def _modified(info: Mapping[str, Any]) -> float | None:
    """When an object was written, as Unix seconds; None where the file system does not say."""
    for name in _TIMES:
        value = info.get(name)
        if isinstance(value, str):
            with contextlib.suppress(ValueError):
                value = datetime.fromisoformat(value)
        if isinstance(value, datetime):
            return (value if value.tzinfo else value.replace(tzinfo=UTC)).timestamp()
        if isinstance(value, int | float):
            return float(value)
    return None
