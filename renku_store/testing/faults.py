"""Lets one system call of an operation fail, or all from one on: a full disk, a failing one, too many open files.

For tests of drivers, of metadata stores, and of whatever is built on them; to be used in a process that ends soon, such
as `crash_points.in_child` makes: what it replaces in `os` and SQLite concerns the whole process.

    with Faults(root, errno.ENOSPC, number=7) as faults:
        ...  # may open what is below `root`
        with faults.striking():
            ...  # the 7th call below `root` that can say so does
    assert faults.struck

The files of SQLite fail in its own way: by the error that it makes of the system's.
"""

from __future__ import annotations

import contextlib
import errno
import functools
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self

import apsw

from renku_store.drivers import posix
from renku_store.durability import Moment, listening

_SYSTEM: Final = apsw.vfs_names()[0]
_NAMES: Final = ("link", "rename", "replace", "unlink", "mkdir")
_NEW: Final = os.O_CREAT
_MAY_SAY: Final = {
    errno.ENOSPC: {"make", "write", "sync", "name"},
    errno.EDQUOT: {"make", "write", "sync", "name"},
    errno.EIO: {"make", "open", "write", "sync", "name"},
    errno.EROFS: {"make", "write", "name"},
    errno.EMFILE: {"make", "open"},
    errno.EINTR: {"name"},
}
"""Which calls can answer with an error. EINTR of the others is met by Python and SQLite, which try again."""
_SQLITE: Final = {
    "make": apsw.SQLITE_CANTOPEN,
    "open": apsw.SQLITE_CANTOPEN,
    "write": apsw.SQLITE_IOERR_WRITE,
    "sync": apsw.SQLITE_IOERR_FSYNC,
    "name": apsw.SQLITE_IOERR_DELETE,
}


class Faults:
    """While `striking`, the `number`-th call below a folder that may answer `error` does; if `lasting`, all from it on.

    What was opened before the object's own context is spared. `struck` says which calls failed. What SQLite does while
    it is closed is left out: it ignores what fails there, and does it when it is opened again.
    """

    def __init__(self, below: Path, error: int, number: int, *, lasting: bool = False) -> None:
        self.struck: list[str] = []
        self._below = os.fspath(below)
        self._error = error
        self._left = number
        self._lasting = lasting
        self._closing = 0
        self._striking = False
        self._stack = contextlib.ExitStack()

    def __enter__(self) -> Self:
        for name in _NAMES:
            self._replace(os, name, functools.partial(self._named, getattr(os, name)))
        self._replace(os, "open", functools.partial(self._open, os.open))
        self._replace(os, "write", functools.partial(self._by_descriptor, os.write, "write"))
        self._replace(os, "fsync", functools.partial(self._by_descriptor, os.fsync, "sync"))
        self._replace(posix, "rename_new", functools.partial(self._named, posix.rename_new))
        self._replace(posix, "sync_filesystem", functools.partial(self._by_descriptor, posix.sync_filesystem, "sync"))
        self._files = _Files(self.strike_database)  # stays: what is open goes on through it
        self._stack.enter_context(listening(self._listen))
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._stack.close()

    @contextlib.contextmanager
    def striking(self) -> Iterator[None]:
        """Let calls be counted, and fail."""
        self._striking = True
        try:
            yield
        finally:
            self._striking = False

    def strikes(self, kind: str, path: str) -> bool:
        """Whether this call is the one."""
        if self._closing or not self._striking or not path.startswith(self._below):
            return False
        if kind not in _MAY_SAY[self._error]:
            return False
        self._left -= 1
        if self._left == 0 or (self._lasting and self._left < 0):
            self.struck.append(f"{kind} {path}")
            return True
        return False

    def strike_database(self, kind: str, path: str) -> None:
        """Raise the error of SQLite if this call is the one."""
        if self.strikes(kind, path):
            full = self._error in {errno.ENOSPC, errno.EDQUOT} and kind == "write"
            raise apsw.exception_for(apsw.SQLITE_FULL if full else _SQLITE[kind])

    def _listen(self, moment: Moment, name: str) -> None:
        if name == "database close":
            self._closing += 1 if moment == "before" else -1

    def _replace(self, room: Any, name: str, failing: Callable[..., Any]) -> None:
        self._stack.callback(setattr, room, name, getattr(room, name))
        setattr(room, name, failing)

    def _fail(self, path: str) -> OSError:
        return OSError(self._error, os.strerror(self._error), path)

    def _named(self, call: Callable[..., Any], path: Any, *rest: Any, **options: Any) -> Any:
        if self.strikes("name", os.fsdecode(path)):
            raise self._fail(os.fsdecode(path))
        return call(path, *rest, **options)

    def _open(self, call: Callable[..., int], path: Any, flags: int, *rest: Any, **options: Any) -> int:
        if self.strikes("make" if flags & _NEW else "open", os.fsdecode(path)):
            raise self._fail(os.fsdecode(path))
        return call(path, flags, *rest, **options)

    def _by_descriptor(self, call: Callable[..., Any], kind: str, descriptor: int, *rest: Any) -> Any:
        try:
            path = str(Path("/proc/self/fd", str(descriptor)).readlink())
        except OSError:
            path = ""
        if self.strikes(kind, path):
            raise self._fail(path)
        return call(descriptor, *rest)


class _Files(apsw.VFS):
    """SQLite's own way to files, with failures."""

    def __init__(self, strike: Callable[[str, str], None]) -> None:
        self._strike = strike
        super().__init__(f"faults-{id(self):x}", _SYSTEM, makedefault=True)

    def xOpen(self, name: str | apsw.URIFilename | None, flags: list[int]) -> _File:  # noqa: N802
        path = name.filename() if isinstance(name, apsw.URIFilename) else name or ""
        self._strike("make" if flags[0] & apsw.SQLITE_OPEN_CREATE else "open", path)
        return _File(name, flags, path, self._strike)

    def xDelete(self, filename: str, syncdir: bool) -> None:  # noqa: N802
        self._strike("name", filename)
        super().xDelete(filename, syncdir)


class _File(apsw.VFSFile):
    """One file of SQLite's."""

    def __init__(
        self,
        name: str | apsw.URIFilename | None,
        flags: list[int],
        path: str,
        strike: Callable[[str, str], None],
    ) -> None:
        self._path = path
        self._strike = strike
        super().__init__(_SYSTEM, name, flags)

    def xWrite(self, data: bytes, offset: int) -> None:  # noqa: N802
        self._strike("write", self._path)
        super().xWrite(data, offset)

    def xTruncate(self, newsize: int) -> None:  # noqa: N802
        self._strike("write", self._path)
        super().xTruncate(newsize)

    def xSync(self, flags: int) -> None:  # noqa: N802
        self._strike("sync", self._path)
        super().xSync(flags)
