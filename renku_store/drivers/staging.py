"""New local objects: temporary files that are synced together and named together.

Keeps invariant 2: data is synced before its name appears, the names' folders are synced before `commit` returns.
Whatever has no name when the batch ends is removed; only a kill leaves temporary files behind, and those are swept.
"""

from __future__ import annotations

import contextlib
import os
from collections import deque
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, BinaryIO, Self

from renku_store import bounds
from renku_store.drivers import posix
from renku_store.drivers.base import StagedFile
from renku_store.drivers.tree import Tree
from renku_store.durability import step
from renku_store.errors import StoreUnavailableError
from renku_store.late import late_module

if TYPE_CHECKING:
    from renku_store.drivers import bulk, fresh
else:  # who puts nothing does not load what puts
    bulk = late_module("renku_store.drivers.bulk")
    fresh = late_module("renku_store.drivers.fresh")


class LocalStagedFile:
    """A temporary file, written front to back."""

    __slots__ = ("_descriptor", "path")

    def __init__(self, descriptor: int, path: str) -> None:
        self._descriptor = descriptor
        self.path = path

    def write(self, data: bytes | bytearray | memoryview) -> None:
        """Append bytes; `StoreUnavailableError` where the disk is full or fails."""
        try:
            posix.write_all(self._descriptor, data)
        except OSError as error:
            raise posix.unavailable(error, "write", self.path) from error

    def clone_from(self, source: Path) -> bool:
        """Share the blocks of a whole file (reflink); False where that cannot be done."""
        try:
            descriptor = os.open(source, os.O_RDONLY | os.O_CLOEXEC)
            try:
                return posix.clone_file(descriptor, self._descriptor)
            finally:
                os.close(descriptor)
        except OSError as error:
            raise posix.unavailable(error, "clone", source) from error

    def read_back(self) -> BinaryIO:
        """The bytes written so far, from the start; the caller closes it."""
        try:
            return open(self.path, "rb", buffering=0)
        except OSError as error:
            raise posix.unavailable(error, "read", self.path) from error

    def sync(self) -> None:
        """Make the data durable."""
        with step("file sync"):
            posix.sync_file(self._descriptor)

    def close(self) -> None:
        """Let go of the descriptor; harmless when done already."""
        if self._descriptor >= 0:
            descriptor, self._descriptor = self._descriptor, -1
            os.close(descriptor)


class LocalBatch:
    """New objects below one root that share their syncs; for one thread.

    Fewer than `SYNCFS_MIN_FILES` files are synced one by one; more by one sync of the file system, through a descriptor
    that was opened before the first byte was written, so that failed write-back is reported. Either way few are open.
    Of a whole object that this one sync is for two names are kept, and no more.
    """

    full: bool = False

    def __init__(self, tree: Tree) -> None:
        self._tree = tree
        self._filesystem: int | None = None
        self._staged: dict[LocalStagedFile, str | None] = {}
        self._closed: deque[tuple[str, str]] = deque()
        self._unsynced: list[LocalStagedFile] = []
        self._one_sync = False
        self._failed = False
        self._fresh = fresh.FreshFolders(tree)
        self._behind = bulk.WritingBehind(tree.write_temporary)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        try:
            self._behind.close()
        finally:
            for staged in tuple(self._staged):
                self.discard(staged)
            self._fresh.close()
            while self._closed:
                _remove(self._closed.pop()[0])
            if self._filesystem is not None:
                os.close(self._filesystem)
                self._filesystem = None

    def stage(self) -> LocalStagedFile:
        """Begin a new object."""
        try:
            staged = LocalStagedFile(*self._tree.open_temporary())
            self._staged[staged] = None
            if self._filesystem is None and posix.can_sync_filesystem():
                self._filesystem = os.open(os.path.dirname(staged.path), os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        except OSError as error:
            raise posix.unavailable(error, "write below", self._tree.root) from error
        return staged

    def name(self, staged: StagedFile, name: str) -> None:
        """Say under which name a staged file, now complete, shall appear."""
        assert isinstance(staged, LocalStagedFile)
        self._staged[staged] = self._tree.path(name)
        try:
            if self._filesystem is None:
                staged.sync()
                staged.close()
            elif self._one_sync:
                staged.close()
            else:
                self._unsynced.append(staged)
                if len(self._unsynced) >= bounds.SYNCFS_MIN_FILES:
                    self._one_sync = True
                    self._close_unsynced()
        except OSError as error:
            raise posix.unavailable(error, "write", staged.path) from error

    def add(self, data: bytes, name: str) -> None:
        """Stage a whole object, and say under which name it shall appear; after an error nothing of it is staged."""
        if not self._one_sync:
            staged = self.stage()
            staged.write(data)
            self.name(staged, name)
            return
        target = self._tree.path(name)
        try:
            path = self._fresh.place(target)
            if path is None:
                path = self._tree.new_temporary()
                self._closed.append((path, target))
            if self._behind.takes(data):
                self._behind.add(path, data)
            else:
                self._write_at_once(path, data, target)
        except OSError as error:
            raise posix.unavailable(error, "write", error.filename or self._tree.root) from error

    def _write_at_once(self, path: str, data: bytes, target: str) -> None:
        try:
            self._tree.write_temporary(path, data)
        except BaseException:
            if self._closed and self._closed[-1] == (path, target):
                self._closed.pop()
            else:
                self._fresh.drop(path, target)
            _remove(path)
            raise

    def discard(self, staged: StagedFile) -> None:
        """Forget a staged object and remove its temporary file."""
        assert isinstance(staged, LocalStagedFile)
        if staged in self._staged:
            del self._staged[staged]
            # The file may have its name already, or the disk may be failing: neither hides the reason for discarding.
            with contextlib.suppress(OSError):
                staged.close()
            _remove(staged.path)
        if staged in self._unsynced:
            self._unsynced.remove(staged)

    def commit(self) -> frozenset[str]:
        """Sync the data, create the names, sync the folders; returns the names that existed and were left alone.

        After one that failed all others do: what a disk did not write it tells once.
        """
        if self._failed:
            raise StoreUnavailableError(
                f"Nothing more is written below {posix.shown(self._tree.root)}: the batch has failed.",
                hint="Try again.",
            )
        self._failed = True
        existing = self._commit()
        self._failed = False
        return existing

    def _commit(self) -> frozenset[str]:
        named = [(staged, path) for staged, path in self._staged.items() if path is not None]
        if not named and not self._closed and not self._fresh:
            return frozenset()
        path = self._tree.root
        try:
            self._behind.finish()
            self._sync_data()
            existing: list[str] = []
            whole, left = self._fresh.name_all()
            self._closed += left
            folders = {path[: path.rindex("/")] for _, path in (*named, *self._closed)}.union(whole)
            for staged, path in named:
                if not self._tree.take_name(staged.path, path, must_be_atomic=False):
                    existing.append(path)
                del self._staged[staged]
            path = ""
            if self._closed:
                existing += self._tree.take_names(self._closed)
            path = self._tree.root
            self._fresh.close()
            self._tree.sync_folders(folders, self._filesystem)
        except OSError as error:
            raise posix.unavailable(error, "write", path or self._closed[0][1]) from error
        start = len(self._tree.root) + 1
        return frozenset(path[start:] for path in existing)

    def _sync_data(self) -> None:
        if self._one_sync and self._filesystem is not None:
            posix.sync_filesystem(self._filesystem)
        for staged in self._unsynced:
            staged.sync()
        self._close_unsynced()
        self._one_sync = False

    def _close_unsynced(self) -> None:
        while self._unsynced:
            self._unsynced.pop().close()


def _remove(path: str) -> None:
    with contextlib.suppress(OSError), step("temporary remove"):
        os.unlink(path)


@contextlib.contextmanager
def temporary(tree: Tree, data: bytes) -> Iterator[str]:
    """A durable temporary file with these bytes, to be named within the context; a failure leaves nothing of it."""
    staged = LocalStagedFile(*tree.open_temporary())
    try:
        try:
            staged.write(data)
            staged.sync()
        finally:
            staged.close()
        yield staged.path
    except BaseException:
        _remove(staged.path)
        raise
