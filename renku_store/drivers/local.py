"""Objects as files below a folder of this machine.

Keeps invariant 2 (through staging and tree), and what 5 and 7 rest on: creation that one wins, replacement that is
never half seen. Every `OSError` leaves here as a named error with the path in it. Nothing writes to a read-only root
(invariant 11).
"""

from __future__ import annotations

import contextlib
import errno
import io
import os
import stat
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import BinaryIO

from renku_store import bounds
from renku_store.drivers import locks, posix
from renku_store.drivers.base import Driver, Guarantees, ObjectStat
from renku_store.drivers.removing import remove_all
from renku_store.drivers.staging import LocalBatch, temporary
from renku_store.drivers.tree import LOCKS, TEMPORARY, Tree, check_name, check_names
from renku_store.durability import step
from renku_store.errors import BlobMissingError, StoreUnavailableError


class LocalDriver:
    """Objects below the folder `root`, which is made with the first write. Safe to use from many threads and processes.

    Raises `StoreUnavailableError` where the root is a file.
    """

    def __init__(self, root: str | os.PathLike[str], *, top: str | None = None) -> None:
        self._root = os.path.abspath(os.fspath(root))
        self._top = self._root if top is None else top
        self._tree = Tree(self._root, self._top)
        self._read_only = not _writable(self._root)
        self._probed = False

    @property
    def root(self) -> Path:
        """The folder."""
        return Path(self._root)

    @property
    def guarantees(self) -> Guarantees:
        """What this file system can do; the first question tries it out."""
        if not self._probed and not self._read_only:
            with self._named_errors("write below", self._root), temporary(self._tree, b"") as trial:
                self._tree.try_out(trial)
            self._probed = True
        return Guarantees(
            atomic_create=self._tree.atomic,
            compare_and_swap=True,
            strong_listing=True,
            links=self._tree.links,
            free_space=True,
        )

    @property
    def url(self) -> str:
        """The absolute path of the folder."""
        return self._root

    @property
    def read_only(self) -> bool:
        """Whether the root cannot be written to: by its mount, or for want of permission."""
        return self._read_only

    def workspace(self) -> Path:
        """The folder itself."""
        return Path(self._root)

    # Reading

    def read(self, name: str, limit: int | None = None) -> bytes:
        """The bytes, at most the first `limit`; `BlobMissingError` where there is no such object."""
        path = self._tree.path(name)
        try:
            descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
            try:
                return posix.read_all(descriptor, limit)
            finally:
                os.close(descriptor)
        except (FileNotFoundError, IsADirectoryError) as error:
            raise _missing(path) from error
        except OSError as error:
            raise posix.unavailable(error, "read", path) from error

    def read_many(self, names: Iterable[str], limit: int | None = None) -> dict[str, bytes]:
        """`read` of many names; those that are not there are left out."""
        found: dict[str, bytes] = {}
        for name in names:
            with contextlib.suppress(BlobMissingError):
                found[name] = self.read(name, limit)
        return found

    def open(self, name: str) -> BinaryIO:
        """A stream of the bytes; `BlobMissingError` where there is no such object."""
        path = self._tree.path(name)
        try:
            return io.BufferedReader(posix.ObjectFile(path, "rb"))
        except (FileNotFoundError, IsADirectoryError) as error:
            raise _missing(path) from error
        except OSError as error:
            raise posix.unavailable(error, "open", path) from error

    def stat(self, name: str) -> ObjectStat | None:
        """Size and time, or None where there is no such object."""
        return _look(self._root, check_name(name))

    def stat_many(self, names: Iterable[str]) -> dict[str, ObjectStat]:
        """`stat` of many names; those that are not there are left out."""
        given = [*check_names(names)]
        with posix.folder(self._root) as root:
            looked = self._tree.look_all(root, given)
            found = {name: ObjectStat(name, *seen) for name, seen in zip(given, looked, strict=False) if seen}
            for name in given[len(looked) :]:
                seen = _look(self._root, name, root)
                if seen is not None:
                    found[name] = seen
        return found

    def among(self, names: Iterable[str]) -> set[str]:
        """Those of many names that there are; where a folder holds few others, it is listed once for all of its own."""
        with self._named_errors("list below", self._root):
            return self._tree.among(names)

    def list(self, prefix: str) -> Iterator[ObjectStat]:
        """Every object below the folder `prefix`, without temporary and lock files, in no order."""
        folders = [_folder(prefix)]
        while folders:
            folder = folders.pop()
            for entry in self._scan(folder):
                name = f"{folder}{entry.name}"
                if name in {TEMPORARY, LOCKS}:
                    continue
                try:  # no context: it would take longer than all else that is done here for an object
                    if entry.is_dir(follow_symlinks=False):
                        folders.append(f"{name}/")
                    elif entry.is_file():
                        found = entry.stat()
                        yield ObjectStat(name, found.st_size, found.st_mtime)
                except FileNotFoundError:
                    pass

    def children(self, prefix: str) -> Iterator[str]:
        """The names directly below the folder `prefix`; folders end in `/`."""
        for entry in self._scan(_folder(prefix)):
            try:
                folder = entry.is_dir()
            except OSError as error:
                if error.errno != errno.ELOOP:
                    raise posix.unavailable(error, "look at", entry.path) from error
                folder = False  # a link that leads back to itself: whoever reads it is told
            yield f"{entry.name}/" if folder else entry.name

    def _scan(self, folder: str) -> Sequence[os.DirEntry[str]]:
        path = f"{self._root}/{folder}"
        try:
            with os.scandir(path) as entries:
                return [*entries]
        except (FileNotFoundError, NotADirectoryError):
            return []
        except OSError as error:
            raise posix.unavailable(error, "list", path) from error

    # Writing

    def batch(self) -> LocalBatch:
        """Write many new objects with shared syncs."""
        self._check_writable("write below", self._root)
        return LocalBatch(self._tree)

    def create(self, name: str, data: bytes) -> bool:
        """Create a durable object if the name is free; False if it is not, and then what is there is durable."""
        path = self._tree.path(name)
        with self._writing("create", path):
            created = False
            if not os.path.lexists(path):
                with temporary(self._tree, data) as complete:
                    created = self._tree.take_name(complete, path, must_be_atomic=True)
            self._tree.sync_folders((os.path.dirname(path),))
        return created

    def replace(self, name: str, data: bytes) -> None:
        """Create or replace an object, atomically and durably."""
        path = self._tree.path(name)
        with self._writing("replace", path):
            with temporary(self._tree, data) as complete:
                try:
                    _replace(complete, path)
                except FileNotFoundError:
                    self._tree.make_folder(os.path.dirname(path))
                    _replace(complete, path)
            self._tree.sync_folders((os.path.dirname(path),))

    def compare_and_swap(self, name: str, expected: bytes | None, data: bytes) -> bool:
        """Replace durably if the bytes are still `expected`; atomic among all who change this name by this method."""
        with self.lock(f"swap/{name}", wait_seconds=bounds.BUSY_MAX_SECONDS):
            try:
                current: bytes | None = self.read(name)
            except BlobMissingError:
                current = None
            if current != expected:
                return False
            self.replace(name, data)
            return True

    def move(self, name: str, target: str) -> bool:
        """Give an object another name that is free; False if it is not there or the name is taken."""
        source, path = self._tree.path(name), self._tree.path(target)
        with self._writing("move", source):
            if not os.path.lexists(source):
                return False
            try:
                self._tree.make_folder(os.path.dirname(path))
                with step("object move"):
                    posix.rename_new(source, path)
            except FileExistsError:
                return False
            self._tree.sync_folders((os.path.dirname(path), os.path.dirname(source)))
            return True

    def renew(self, name: str) -> None:
        """Let an object's `modified` be now; nothing where it is not there."""
        path = self._tree.path(name)
        with self._writing("touch", path), contextlib.suppress(FileNotFoundError):
            os.utime(path)

    def settle(self, names: Iterable[str]) -> None:
        """Make durable the names of objects that another writer may have created a moment ago."""
        with self._writing("sync below", self._root):
            self._tree.sync_folders({os.path.dirname(self._tree.path(name)) for name in names})

    def delete(self, name: str) -> None:
        """Remove an object; no error if it is not there. A crash may bring it back, whole."""
        path = self._tree.path(name)
        with self._writing("delete", path), contextlib.suppress(FileNotFoundError), step("object delete"):
            os.unlink(path)

    def delete_many(self, names: Iterable[str]) -> None:
        """`delete` of many names, some at a time; where many are in one folder, of those that it holds."""
        with self._writing("delete below", self._root):
            remove_all(self._tree.possible(names))

    def local_path(self, name: str) -> Path | None:
        """The file that an object is, to be read or linked and never to be changed; None where there is none."""
        return Path(self._tree.path(name)) if self.stat(name) is not None else None

    def cache(self) -> None:
        """None: the objects themselves are as near."""

    def free_bytes(self) -> int:
        """How many bytes of the file system whoever runs this may still use."""
        with self._named_errors("look at", self._root):
            found = os.statvfs(_nearest(self._root))
        return found.f_bavail * found.f_frsize

    def clone_to(self, name: str, target: Path) -> bool:
        """Let the empty file `target` share the object's blocks (reflink); False where that cannot be done."""
        path = self._tree.path(name)
        try:
            source = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        except FileNotFoundError as error:
            raise _missing(path) from error
        except OSError as error:
            raise posix.unavailable(error, "open", path) from error
        try:
            descriptor = os.open(target, os.O_WRONLY | os.O_CLOEXEC)
            try:
                return posix.clone_file(source, descriptor)
            finally:
                os.close(descriptor)
        except OSError as error:
            raise posix.unavailable(error, "write", target) from error
        finally:
            os.close(source)

    # The rest

    @contextlib.contextmanager
    def lock(self, name: str, *, shared: bool = False, wait_seconds: float) -> Iterator[None]:
        """Hold a named lock among this machine's processes; `StoreUnavailableError` names the holder after the wait.

        On a read-only root a shared lock is held only where its file exists: nothing is created for it.
        """
        path = self._tree.path(f"{LOCKS}/{name}")
        if self._read_only:
            if not shared:
                self._check_writable("lock", path)
            if not os.path.exists(path):
                yield
                return
        descriptor = self._open_lock(path)
        try:
            sign = not self._read_only
            with locks.hold(descriptor, path, shared=shared, wait_seconds=wait_seconds, sign=sign):
                yield
        finally:
            os.close(descriptor)

    def _open_lock(self, path: str) -> int:
        flags = os.O_CLOEXEC | (os.O_RDONLY if self._read_only else os.O_RDWR | os.O_CREAT)
        try:
            return os.open(path, flags, 0o666)
        except FileNotFoundError:
            with self._named_errors("lock", path):
                self._tree.make_folder(os.path.dirname(path))
                return os.open(path, flags, 0o666)
        except OSError as error:
            raise posix.unavailable(error, "lock", path) from error

    def scratch(self) -> Path:
        """The folder `tmp/scratch` below the root, on its file system; swept after the grace time."""
        path = f"{self._root}/{TEMPORARY}/scratch"
        with self._writing("write below", path):
            self._tree.make_folder(path)
        return Path(path)

    def sub(self, prefix: str) -> LocalDriver:
        """The same storage seen from a folder."""
        return LocalDriver(f"{self._root}/{check_name(prefix.rstrip('/'))}", top=self._top)

    def close(self) -> None:
        """There is nothing to let go of."""

    def _check_writable(self, doing: str, path: str) -> None:
        if self._read_only:
            raise StoreUnavailableError(
                f"Cannot {doing} {posix.shown(path)}: the root is read-only here.",
                hint="Reading works; choose another root to write to, or check its mode.",
            )

    @contextlib.contextmanager
    def _writing(self, doing: str, path: str) -> Iterator[None]:
        self._check_writable(doing, path)
        with self._named_errors(doing, path):
            yield

    @contextlib.contextmanager
    def _named_errors(self, doing: str, path: str) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise posix.unavailable(error, doing, path) from error


def _replace(complete: str, path: str) -> None:
    with step("object replace"):
        os.replace(complete, path)


def _folder(prefix: str) -> str:
    return f"{check_name(prefix.rstrip('/'))}/" if prefix else ""


def _missing(path: str) -> BlobMissingError:
    return BlobMissingError(f"There is no object {posix.shown(path)}.", hint="Restore it from a copy, or make it anew.")


def _look(root: str, name: str, opened: int | None = None) -> ObjectStat | None:
    """`opened`: the root, if it is open."""
    try:
        found = os.stat(f"{root}/{name}") if opened is None else os.stat(name, dir_fd=opened)
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as error:
        raise posix.unavailable(error, "look at", f"{root}/{name}") from error
    return ObjectStat(name, found.st_size, found.st_mtime) if stat.S_ISREG(found.st_mode) else None


def _writable(root: str) -> bool:
    """Whether files, or the root itself, can be made here; `StoreUnavailableError` where a file is in the way."""
    level = _nearest(root)
    if not os.path.isdir(level):
        raise StoreUnavailableError(
            f"Cannot use {posix.shown(root)} as a root: {posix.shown(level)} is not a folder.",
            hint="Choose a folder as root.",
        )
    return os.access(level, os.W_OK | os.X_OK, effective_ids=os.access in os.supports_effective_ids)


def _nearest(path: str) -> str:
    """The path, or the nearest one above it where it does not exist."""
    while not os.path.lexists(path):
        path = os.path.dirname(path)
    return path


def on_this_machine(driver: Driver) -> Driver:
    """The driver of what belongs to this machine alone, such as temporary files and the notes beside the database.

    It is the driver itself where all share that: in a folder, and in memory.
    """
    folder = driver.workspace()
    return driver if folder is None or driver.url == str(folder) else LocalDriver(folder)
