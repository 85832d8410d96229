"""Folders and names below a root on a POSIX file system: names to paths, names taken once, folders made durable.

Keeps the second half of invariant 2: a name appears by an atomic link or rename, and lasts once its folders are synced.
"""

from __future__ import annotations

import contextlib
import errno
import itertools
import os
import stat
from collections import deque
from collections.abc import Collection, Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Final

from renku_store import bounds
from renku_store.drivers import posix
from renku_store.durability import step
from renku_store.errors import InvalidIdError, UnsafeDriverError
from renku_store.late import late_module

if TYPE_CHECKING:
    from renku_store.drivers import bulk
else:  # who puts nothing does not load what puts
    bulk = late_module("renku_store.drivers.bulk")

TEMPORARY: Final = "tmp"
"""Where files live that have no name yet; what a crash leaves there is swept after the grace time."""
LOCKS: Final = "locks"
"""Where lock files live."""
_NOT_A_PART: Final = frozenset({"", ".", ".."})


def check_name(name: str) -> str:
    """Return the object name, or raise `InvalidIdError` unless it is a relative path that stays below the root."""
    if not is_name(name):
        raise InvalidIdError(
            f"{name!a} is not an object name.", hint="Names are relative paths without '.', '..' or empty parts."
        )
    return name


def check_names(names: Iterable[str]) -> Collection[str]:
    """Many names, each as `check_name` has it: together they are one, longer name."""
    given = [*names]
    if given and not is_name("/".join(given)):
        for name in given:
            check_name(name)
    return given


def is_name(text: str) -> bool:
    """Whether this can be the name of an object."""
    if text.isascii() and "\0" not in text and "/." not in (framed := f"/{text}/") and "//" not in framed:
        return True  # as nearly all are
    return _NOT_A_PART.isdisjoint(text.split("/")) and "\0" not in text and _encodable(text)


def _by_folder(names: Iterable[str]) -> Iterable[tuple[str, list[str]]]:
    """Names, each checked, by the folder that they are in, which is given with its slash."""
    folders: dict[str, list[str]] = {}
    for name in check_names(names):
        folders.setdefault(name[: name.rfind("/") + 1], []).append(name)
    return folders.items()


def _is_file(path: str) -> bool:
    try:
        return stat.S_ISREG(os.stat(path).st_mode)
    except (FileNotFoundError, NotADirectoryError):
        return False


def _remove(temporary: str) -> None:
    with step("temporary remove"):
        os.unlink(temporary)


def _encodable(name: str) -> bool:
    try:
        return name.isascii() or bool(os.fsencode(name))
    except UnicodeEncodeError:
        return False


class Tree:
    """Paths below one root. Safe to use from many threads; methods raise `OSError`, which the callers name.

    `top` is the folder that was opened as a whole and that the root is a part of: the root itself if it is not given.
    """

    def __init__(self, root: str, top: str | None = None) -> None:
        self.root = root
        self.links = True
        self.renames = True
        self._durable: set[str] = set()
        # Another process may have made the root, or what it is a part of, and died before their names were durable.
        self._above: set[str] = {root}
        while top is not None and len(root) > len(top):
            root = os.path.dirname(root)
            self._above.add(root)
        self._token = os.urandom(5).hex()
        self._numbers = itertools.count()

    def path(self, name: str) -> str:
        """The path of an object."""
        return f"{self.root}/{name if is_name(name) else check_name(name)}"

    def among(self, names: Iterable[str]) -> set[str]:
        """Those of these names that are files: seen by a look at each, or where many are in one folder at that."""
        found: set[str] = set()
        for below, given in _by_folder(names):
            entries = self._listed(below, len(given))
            if entries is None:
                found.update(name for name in given if _is_file(f"{self.root}/{name}"))
            elif entries:
                found.update({f"{below}{entry.name}" for entry in entries if entry.is_file()}.intersection(given))
        return found

    def look_all(self, root: int | None, names: Sequence[str]) -> list[tuple[int, float] | None]:
        """Size and time of change of these, each checked, from the first on; none where others look quicker."""
        return bulk.look_all(root, names) if len(names) >= bounds.BULK_MIN_FILES else []

    def possible(self, names: Iterable[str]) -> Iterator[str]:
        """The paths of these names without those that a listing of their folder lacks, where many are in one."""
        for below, given in _by_folder(names):
            entries = self._listed(below, len(given))
            if entries is not None:
                listed = {f"{below}{entry.name}" for entry in entries}
                given = [name for name in given if name in listed]  # noqa: PLW2901 (what is left of them)
            yield from (f"{self.root}/{name}" for name in given)

    def _listed(self, below: str, count: int) -> Sequence[os.DirEntry[str]] | None:
        """What a folder holds; None where that is so much that `count` looks are quicker, or cannot be read."""
        if count < bounds.LISTED_MIN_NAMES:
            return None
        limit = bounds.LISTED_PER_NAME_MAX * count
        try:
            with os.scandir(f"{self.root}/{below}") as entries:
                found = [*itertools.islice(entries, limit + 1)]
        except (FileNotFoundError, NotADirectoryError):
            return ()
        except PermissionError:
            return None
        return found if len(found) <= limit else None

    def new_temporary(self) -> str:
        """A path for a temporary file that nobody else is given."""
        return f"{self.root}/{TEMPORARY}/{os.getpid():x}-{self._token}-{next(self._numbers):x}"

    def open_temporary(self) -> tuple[int, str]:
        """A new empty file without a name: its descriptor and path."""
        while True:
            path = self.new_temporary()
            try:
                return os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o666), path
            except FileNotFoundError:
                self.make_folder(f"{self.root}/{TEMPORARY}")
            except FileExistsError:
                continue

    def write_temporary(self, path: str, data: bytes) -> None:
        """Make a temporary file of its own path, whole, and close it."""
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
        try:
            descriptor = os.open(path, flags, 0o666)
        except FileNotFoundError:
            self.make_folder(f"{self.root}/{TEMPORARY}")
            descriptor = os.open(path, flags, 0o666)
        try:
            posix.write_all(descriptor, data)
        except OSError as error:
            error.filename = path
            raise
        finally:
            os.close(descriptor)

    def make_folder(self, path: str) -> None:
        """Make a folder and what is missing above it; durable with the next `sync_folders` below it."""
        missing = []
        while not os.path.isdir(path):
            missing.append(path)
            path = os.path.dirname(path)
        for level in reversed(missing):
            try:
                with step("folder make"):
                    os.mkdir(level)
            except FileExistsError:
                if not os.path.isdir(level):
                    raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR), level) from None
        self._durable.difference_update(missing)
        self._above.update(level for level in missing if self.root.startswith(level))

    @property
    def atomic(self) -> bool:
        """Whether a name can be taken atomically, as far as that is known."""
        return self.links or self.renames

    def try_out(self, temporary: str) -> None:
        """Find out how names can be taken here; the temporary path is gone afterwards."""
        named = f"{temporary}-named"
        links = self._link(temporary, named)
        if links:
            temporary, named = named, temporary
        renames = self._rename(temporary, named)
        _remove(named if renames else temporary)
        self.links, self.renames = links, renames

    def take_name(self, temporary: str, path: str, *, must_be_atomic: bool) -> bool:
        """Give a temporary file its name if that is free; False if it is not. The temporary path is gone afterwards.

        Raises `UnsafeDriverError` if it must be atomic and this file system can neither link nor rename so.
        """
        try:
            try:
                return self._take(temporary, path, must_be_atomic)
            except FileNotFoundError:
                self.make_folder(os.path.dirname(path))
                return self._take(temporary, path, must_be_atomic)
        except FileExistsError:
            _remove(temporary)
            return False

    def take_names(self, pairs: deque[tuple[str, str]]) -> list[str]:
        """Give temporary files names, which need not be atomic, and take them off; tells those that were not free."""
        existing: list[str] = []
        sources, targets = (bulk.encoded(paths) for paths in zip(*pairs, strict=True))
        count = len(pairs)
        while pairs:
            quick = bulk.compiled() if self.renames else None
            if quick is not None:
                renamed = quick.rename_new(sources, targets, count - len(pairs))
                while pairs and count - len(pairs) < renamed:
                    pairs.popleft()
            if pairs:
                if not self.take_name(*pairs[0], must_be_atomic=False):
                    existing.append(pairs[0][1])
                pairs.popleft()
        return existing

    def take_folder(self, temporary: str, path: str) -> bool:
        """Give a folder of complete files its name if that is free; False where it is not, or for any other reason.

        Then its files have to be named one by one, which finds out what it was.
        """
        try:
            self.make_folder(os.path.dirname(path))
            with step("folder rename"):
                posix.rename_new(temporary, path)
        except OSError:
            return False
        self._durable.discard(path)
        return True

    def _take(self, temporary: str, path: str, must_be_atomic: bool) -> bool:
        # A rename is one call less than a link and a removal. But a file system in user space may overlook its flag:
        # no harm among blobs, whose name says what they are; a revision could be replaced.
        if not must_be_atomic:
            if self.renames and self._rename(temporary, path, refused=self.links):
                return True
            if self.links and self._link(temporary, path):
                self.renames = False
                return True
        else:
            if self.links and self._link(temporary, path):
                return True
            if self.renames and self._rename(temporary, path):
                self.links = False
                return True
        self._take_unsafely(temporary, path, must_be_atomic)
        self.links = self.renames = False
        return True

    def _link(self, temporary: str, path: str) -> bool:
        """Name a file by a hard link; False where there are none."""
        try:
            with step("object link"):
                os.link(temporary, path)
        except OSError as error:
            if error.errno not in posix.NO_HARD_LINKS:
                raise
            return False
        _remove(temporary)
        return True

    def _rename(self, temporary: str, path: str, *, refused: bool = False) -> bool:
        """Name a file by a rename that does not replace; False where there is none.

        `refused`: also where it is not permitted, as a sandbox says of system calls that it does not know.
        """
        try:
            with step("object rename"):
                posix.rename_new(temporary, path)
        except OSError as error:
            if error.errno not in posix.NO_RENAME_NEW and not (refused and error.errno == errno.EPERM):
                raise
            return False
        return True

    def _take_unsafely(self, temporary: str, path: str, must_be_atomic: bool) -> None:
        if must_be_atomic:
            raise UnsafeDriverError(
                f"The file system of {posix.shown(self.root)} can create nothing atomically.",
                hint="It has neither hard links nor a rename that does not replace; use a root on another file system.",
            )
        if os.path.lexists(path):
            raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), path)
        with step("object rename"):
            os.rename(temporary, path)

    def sync_folders(self, folders: Iterable[str], filesystem: int | None = None) -> None:
        """Make the names in folders durable, and the folders themselves where this process has not done so yet.

        `filesystem`: a descriptor on the same file system, used where one sync of it all is cheaper.
        """
        wanted = set(folders)
        for folder in tuple(wanted):
            level = folder
            while level not in self._durable and level != self.root:
                level = os.path.dirname(level)
                wanted.add(level)
        if filesystem is not None and len(wanted) >= bounds.SYNCFS_MIN_FILES:
            posix.sync_filesystem(filesystem)
        else:
            for folder in sorted(wanted):
                posix.sync_folder(folder)
        if self.root in wanted and self.root not in self._durable:
            self._sync_root()
        self._durable |= wanted

    def _sync_root(self) -> None:
        """Make the root's own name durable, and the folders made above it, as far as this process may read."""
        for level in sorted(self._above):
            with contextlib.suppress(PermissionError):
                posix.sync_folder(os.path.dirname(level))
