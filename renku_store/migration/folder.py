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
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import BinaryIO, Final, Self

from renku_store import bounds
from renku_store.errors import MigrationError

_LINKS_MAX: Final = 40
"""As many links as Linux follows on one path."""
_FOLDER: Final = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_FILE: Final = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC


class PathError(MigrationError):
    """A path gives nothing to read; `why` says it in a sentence about the file, for lists that name the path."""

    def __init__(self, message: str, why: str = "", *, hint: str = "") -> None:
        super().__init__(message, hint=hint)
        self.why = why or message


class PathRefusedError(PathError):
    """A path leads out of the folder, or to something that is not a file."""


class PathMissingError(PathError):
    """A path leads to nothing."""


class PathUnreadableError(PathError):
    """A path leads to something that the system does not let be read: its mode, or the disk."""


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

        Raises a `PathError`.
        """
        with ExitStack() as stack:
            descriptor, where = self._file(path, stack)
            return where, os.fstat(descriptor).st_size

    def open(self, path: str) -> BinaryIO:
        """A file of the folder, to be read. Raises a `PathError`."""
        with ExitStack() as stack:
            descriptor, _ = self._file(path, stack)
            return io.FileIO(os.dup(descriptor), closefd=True)

    def read(self, path: str) -> bytes:
        """All bytes of a file. Raises a `PathError`."""
        with self.open(path) as file, _telling(path):
            return file.read()

    def chunks(self, path: str) -> Iterator[bytes]:
        """The bytes of a file, piece by piece. Raises a `PathError`, be it after some of them."""
        with self.open(path) as file, _telling(path):
            while chunk := file.read(bounds.CHUNK_BYTES):
                yield chunk

    def holds(self, name: str) -> bool:
        """Whether there is a folder of that name right here, or a link in its place. Raises `PathUnreadableError`."""
        try:
            with _telling(name):
                mode = os.stat(name, dir_fd=self._root, follow_symlinks=False).st_mode
        except PathMissingError:
            return False
        return stat.S_ISDIR(mode) or stat.S_ISLNK(mode)

    def names(self, path: str = "") -> list[str]:
        """The names in a folder, sorted, those of folders with a slash; none where there is no such folder.

        Links in it are not listed as folders. Raises `PathRefusedError` where the path leads out, and
        `PathUnreadableError`.
        """
        with ExitStack() as stack:
            try:
                with _telling(path):
                    trail, name = self._steps(path, stack)
                    if name is not None:
                        return []
                    with os.scandir(trail[-1][1] if trail else self._root) as found:
                        return sorted(f"{entry.name}{'/' * entry.is_dir(follow_symlinks=False)}" for entry in found)
            except PathMissingError:
                return []

    def below(self, path: str = "") -> Iterator[str]:
        """The paths of all files below a folder, links among them. Raises as `names` does."""
        waiting = [path]
        while waiting:
            folder = waiting.pop()
            inner = [f"{folder}/{name}".lstrip("/") for name in self.names(folder)]
            waiting += [name.rstrip("/") for name in reversed(inner) if name.endswith("/")]
            yield from (name for name in inner if not name.endswith("/"))

    def size(self) -> int:
        """What the files of the folder have in bytes; links, and what cannot be looked at, count nothing."""
        total = 0
        waiting = [""]
        while waiting:
            folder = waiting.pop()
            with suppress(MigrationError):
                for name in self.names(folder):
                    path = f"{folder}/{name}".lstrip("/")
                    if name.endswith("/"):
                        waiting.append(path.rstrip("/"))
                    else:
                        total += self._size(path)
        return total

    def _size(self, path: str) -> int:
        try:
            status = os.stat(path, dir_fd=self._root, follow_symlinks=False)
        except OSError:
            return 0
        return status.st_size if stat.S_ISREG(status.st_mode) else 0

    def _file(self, path: str, stack: ExitStack) -> tuple[int, str]:
        """The descriptor of a regular file, and where it is; `stack` closes it."""
        if not path or path.startswith("/") or "\\" in path or "\0" in path or path[1:2] == ":":
            raise PathRefusedError(f"{path!a} is no path within the folder.", hint="Nothing outside is touched.")
        with _telling(path):
            trail, name = self._steps(path, stack)
            if name is None:
                raise PathRefusedError(f"{path!a} is a folder, not a file.")
            descriptor = os.open(name, _FILE, dir_fd=trail[-1][1] if trail else self._root)
            stack.callback(os.close, descriptor)
            if not stat.S_ISREG(os.fstat(descriptor).st_mode):
                raise PathRefusedError(f"{path!a} is not a regular file.")
        return descriptor, "/".join([*(step for step, _ in trail), name])

    def _steps(self, path: str, stack: ExitStack) -> tuple[list[tuple[str, int]], str | None]:
        """The folders on the way along a path, each with its descriptor, and the name of what is no folder at its end.

        None in place of that name: the path leads to the last folder. No link is left in any of them.
        """
        links = 0
        left = deque(path.split("/"))
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
                return trail, name
        return trail, None

    def _inside(self, path: str, target: str) -> str:
        if target != self._real and not target.startswith(f"{self._real}/"):
            raise _leads_out(path)
        return target.removeprefix(self._real)


def _leads_out(path: str) -> PathRefusedError:
    return PathRefusedError(f"{path!a} leads out of the folder.", hint="Nothing outside is touched.")


@contextmanager
def _telling(path: str) -> Iterator[None]:
    """Say in this project's errors what the system says about a path."""
    try:
        yield
    except OSError as error:
        if error.errno == errno.ELOOP:
            raise PathRefusedError(f"{path!a} was replaced by a link while it was looked at.") from error
        if error.errno in {errno.ENOENT, errno.ENOTDIR}:
            raise PathMissingError(f"There is no file {path!a}.") from error
        why = f"It cannot be read: {error.strerror}."
        raise PathUnreadableError(f"{path!a} cannot be read: {error.strerror}.", why) from error
    except UnicodeEncodeError as error:
        raise PathMissingError(f"{path!a} is no name of a file.") from error
