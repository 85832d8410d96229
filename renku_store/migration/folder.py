"""A folder that is only read, and never left: whatever paths and links in it say, and whoever swaps them meanwhile.

A path is walked name by name, each opened below the one before without following it; a link is read, and its target
walked in the same way. So what was looked at is what is read.
"""

from __future__ import annotations

import errno
import io
import os
import stat
from collections import deque
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import BinaryIO, Final, Self

from renku_store.errors import MigrationError

_LINKS_MAX: Final = 40
"""As many links as Linux follows on one path."""
_FOLDER: Final = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_FILE: Final = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC


class PathRefusedError(MigrationError):
    """A path leads out of the folder, or to something that is not a file."""


class PathMissingError(MigrationError):
    """A path leads to nothing that can be read."""


class OldFolder:
    """The folder of a movie in an older layout. Paths have slashes, whatever the system."""

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = Path(path)
        self._real = os.path.realpath(path)
        self._closing = ExitStack()
        try:
            self._root = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        except OSError as error:
            raise MigrationError(
                f"The folder {self.path} cannot be read: {error.strerror}.", hint="Check the path, and its mode."
            ) from error
        self._closing.callback(os.close, self._root)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._closing.close()

    @property
    def name(self) -> str:
        """The name of the folder itself."""
        return Path(self._real).name

    def resolve(self, path: str) -> tuple[str, int]:
        """Where a path to a file leads within the folder, and the size of the file in bytes.

        Raises `PathRefusedError` and `PathMissingError`.
        """
        with ExitStack() as stack:
            descriptor, where = self._walk(path, stack)
            return where, os.fstat(descriptor).st_size

    def open(self, path: str) -> BinaryIO:
        """A file of the folder, to be read. Raises `PathRefusedError` and `PathMissingError`."""
        with ExitStack() as stack:
            descriptor, _ = self._walk(path, stack)
            return io.FileIO(os.dup(descriptor), closefd=True)

    def read(self, path: str) -> bytes:
        """All bytes of a file. Raises `PathRefusedError` and `PathMissingError`."""
        with self.open(path) as file:
            try:
                return file.read()
            except OSError as error:
                raise _unreadable(path, error) from error

    def names(self, path: str = "") -> list[str]:
        """The names in a folder, sorted, those of folders with a slash; none where it is no folder within this one.

        Links are neither followed nor listed as folders.
        """
        with ExitStack() as stack:
            try:
                descriptor = self._folder(path, stack)
                found = list(os.scandir(descriptor))
            except (OSError, MigrationError):
                return []
        return sorted(f"{entry.name}/" if entry.is_dir(follow_symlinks=False) else entry.name for entry in found)

    def below(self, path: str = "") -> Iterator[str]:
        """The paths of all files below a folder, links among them."""
        for name in self.names(path):
            inner = f"{path}/{name}".lstrip("/")
            if name.endswith("/"):
                yield from self.below(inner.rstrip("/"))
            else:
                yield inner

    def size(self) -> int:
        """What the files of the folder have in bytes; links, and what cannot be looked at, count nothing."""
        total = 0
        for path in self.below():
            with suppress(OSError):
                status = os.stat(path, dir_fd=self._root, follow_symlinks=False)
                total += status.st_size if stat.S_ISREG(status.st_mode) else 0
        return total

    def _folder(self, path: str, stack: ExitStack) -> int:
        descriptor = self._root
        for name in filter(None, path.split("/")):
            descriptor = os.open(name, _FOLDER, dir_fd=descriptor)
            stack.callback(os.close, descriptor)
        descriptor = os.dup(descriptor)
        stack.callback(os.close, descriptor)
        return descriptor

    def _walk(self, path: str, stack: ExitStack) -> tuple[int, str]:
        """The descriptor of a regular file, and where it is; `stack` closes it."""
        if not path or path.startswith("/") or "\\" in path or "\0" in path or path[1:2] == ":":
            raise PathRefusedError(f"{path!a} is no path within the folder.", hint="Nothing outside is touched.")
        try:
            return self._steps(path, deque(path.split("/")), stack)
        except OSError as error:
            raise _unreadable(path, error) from error
        except UnicodeEncodeError as error:
            raise PathMissingError(f"{path!a} is no name of a file.") from error

    def _steps(self, path: str, left: deque[str], stack: ExitStack) -> tuple[int, str]:
        links = 0
        trail: list[tuple[str, int]] = []
        while left:
            name = left.popleft()
            if name in {"", "."}:
                continue
            if name == "..":
                if not trail:
                    raise _leads_out(path)
                trail.pop()
                continue
            above = trail[-1][1] if trail else self._root
            mode = os.stat(name, dir_fd=above, follow_symlinks=False).st_mode
            if stat.S_ISLNK(mode):
                links += 1
                if links > _LINKS_MAX:
                    raise PathRefusedError(f"{path!a} goes through links in a circle.")
                target = os.readlink(name, dir_fd=above)
                if target.startswith("/"):
                    target, trail = self._inside(path, target), []
                left.extendleft(reversed(target.split("/")))
            elif stat.S_ISDIR(mode):
                trail.append((name, os.open(name, _FOLDER, dir_fd=above)))
                stack.callback(os.close, trail[-1][1])
            elif any(step not in {"", "."} for step in left):
                raise PathMissingError(f"There is no file {path!a}.")
            else:
                where = "/".join([*(step for step, _ in trail), name])
                return self._file(path, name, above, stack), where
        raise PathRefusedError(f"{path!a} is a folder, not a file.")

    def _inside(self, path: str, target: str) -> str:
        if target != self._real and not target.startswith(f"{self._real}/"):
            raise _leads_out(path)
        return target.removeprefix(self._real)

    def _file(self, path: str, name: str, above: int, stack: ExitStack) -> int:
        descriptor = os.open(name, _FILE, dir_fd=above)
        stack.callback(os.close, descriptor)
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise PathRefusedError(f"{path!a} is not a regular file.")
        return descriptor


def _leads_out(path: str) -> PathRefusedError:
    return PathRefusedError(f"{path!a} leads out of the folder.", hint="Nothing outside is touched.")


def _unreadable(path: str, error: OSError) -> MigrationError:
    if error.errno == errno.ELOOP:
        return PathRefusedError(f"{path!a} was replaced by a link while it was looked at.")
    if error.errno in {errno.ENOENT, errno.ENOTDIR}:
        return PathMissingError(f"There is no file {path!a}.")
    return PathMissingError(f"{path!a} cannot be read: {error.strerror}.")
