"""The system calls that are watched: each is made as ever, then journalled if it was below the recorded folder."""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import TYPE_CHECKING, Final

from renku_store.drivers import posix
from renku_store.testing.power_cut.journal import Data, Names, Size, SyncAll

if TYPE_CHECKING:
    from renku_store.testing.power_cut.recording import Recording

SYSTEM_CALLS: Final = (
    "open",
    "write",
    "pwrite",
    "ftruncate",
    "fsync",
    "fdatasync",
    "mkdir",
    "link",
    "unlink",
    "remove",
    "rmdir",
    "rename",
    "replace",
)
"""The functions of `os` that change or sync something, as far as drivers use them."""
EXTRA_CALLS: Final = ("sync_filesystem", "rename_new", "clone_file")
"""Those of `renku_store.drivers.posix` that Python lacks."""

StrPath = str | bytes | os.PathLike[str] | os.PathLike[bytes]


class WatchedCalls:
    """One method for each name in `SYSTEM_CALLS` and `EXTRA_CALLS`, with the arguments of the real one."""

    def __init__(self, record: Recording) -> None:
        self._record = record
        self._real = {name: getattr(os, name) for name in SYSTEM_CALLS}
        self._extra = {name: getattr(posix, name) for name in EXTRA_CALLS}

    # Files

    def open(self, path: StrPath, flags: int, mode: int = 0o777, *, dir_fd: int | None = None) -> int:
        """A file may be made, or emptied."""
        located = _located(path, dir_fd)
        with self._record.lock:
            new = bool(flags & os.O_CREAT) and not os.path.lexists(located)
            descriptor: int = self._real["open"](path, flags, mode, dir_fd=dir_fd)
            if new:
                self._record.made(located)
            elif flags & os.O_TRUNC and (node := self._record.node(os.fstat(descriptor))) is not None:
                self._record.call(Size(node, 0))
        return descriptor

    def write(self, descriptor: int, data: bytes | bytearray | memoryview) -> int:
        """Bytes at the position of the descriptor."""
        node = self._record.node(os.fstat(descriptor))
        if node is None:
            return int(self._real["write"](descriptor, data))
        with self._record.lock:
            written = int(self._real["write"](descriptor, data))
            offset = os.lseek(descriptor, 0, os.SEEK_CUR) - written
            self._record.call(Data(node, offset, bytes(memoryview(data).cast("B")[:written])))
        return written

    def pwrite(self, descriptor: int, data: bytes | bytearray | memoryview, offset: int) -> int:
        """Bytes at an offset."""
        node = self._record.node(os.fstat(descriptor))
        with self._record.lock:
            written = int(self._real["pwrite"](descriptor, data, offset))
            if node is not None:
                self._record.call(Data(node, offset, bytes(memoryview(data).cast("B")[:written])))
        return written

    def ftruncate(self, descriptor: int, length: int) -> None:
        """Another size."""
        node = self._record.node(os.fstat(descriptor))
        with self._record.lock:
            self._real["ftruncate"](descriptor, length)
            if node is not None:
                self._record.call(Size(node, length))

    def clone_file(self, source: int, target: int) -> bool:
        """The whole content of another file."""
        with self._record.lock:
            cloned = bool(self._extra["clone_file"](source, target))
            node = self._record.node(os.fstat(target))
            if cloned and node is not None:
                self._record.call(Data(node, 0, os.pread(target, os.fstat(target).st_size, 0)))
        return cloned

    # Syncs

    def fsync(self, descriptor: int) -> None:
        """A file's bytes, or a folder's names."""
        with self._record.lock:
            self._real["fsync"](descriptor)
            self._record.sync(self._record.node(os.fstat(descriptor)))

    def fdatasync(self, descriptor: int) -> None:
        """A file's bytes and size: what it leaves out (times) is not recorded."""
        with self._record.lock:
            self._real["fdatasync"](descriptor)
            self._record.sync(self._record.node(os.fstat(descriptor)))

    def sync_filesystem(self, descriptor: int) -> None:
        """Everything."""
        with self._record.lock:
            self._extra["sync_filesystem"](descriptor)
            if self._record.node(os.fstat(descriptor)) is not None:
                self._record.call(SyncAll())

    # Names

    def mkdir(self, path: StrPath, mode: int = 0o777, *, dir_fd: int | None = None) -> None:
        """A new folder."""
        with self._record.lock:
            self._real["mkdir"](path, mode, dir_fd=dir_fd)
            self._record.made(_located(path, dir_fd), folder=True)

    def link(self, src: StrPath, dst: StrPath) -> None:
        """A further name."""
        with self._record.lock:
            self._real["link"](src, dst)
            self._record.call(*self._appeared(_located(dst)))

    def unlink(self, path: StrPath, *, dir_fd: int | None = None) -> None:
        """A name less."""
        self._remove("unlink", path, dir_fd)

    def remove(self, path: StrPath, *, dir_fd: int | None = None) -> None:
        """A name less."""
        self._remove("remove", path, dir_fd)

    def rmdir(self, path: StrPath, *, dir_fd: int | None = None) -> None:
        """A folder less."""
        self._remove("rmdir", path, dir_fd)

    def rename(self, src: StrPath, dst: StrPath) -> None:
        """Another name, which may have been another's."""
        with self._record.lock:
            self._real["rename"](src, dst)
            self._renamed(_located(src), _located(dst))

    def replace(self, src: StrPath, dst: StrPath) -> None:
        """Another name, which may have been another's."""
        with self._record.lock:
            self._real["replace"](src, dst)
            self._renamed(_located(src), _located(dst))

    def rename_new(self, source: str, target: str) -> None:
        """Another name, which was free."""
        with self._record.lock:
            self._extra["rename_new"](source, target)
            self._renamed(source, target)

    def _remove(self, name: str, path: StrPath, dir_fd: int | None) -> None:
        with self._record.lock:
            place = self._record.place(_located(path, dir_fd))
            self._real[name](path, dir_fd=dir_fd)
            if place is not None:
                self._record.call(Names(place[0], ((place[1], None),)))

    def _appeared(self, path: str) -> Iterator[Names]:
        place, node = self._record.place(path), self._record.node_at(path)
        if place is not None and node is not None:
            yield Names(place[0], ((place[1], node),))

    def _renamed(self, source: str, target: str) -> None:
        old, new, node = self._record.place(source), self._record.place(target), self._record.node_at(target)
        if old is not None and new is not None and old[0] == new[0]:
            self._record.call(Names(old[0], ((old[1], None), (new[1], node))))
            return
        gone = [] if old is None else [Names(old[0], ((old[1], None),))]
        self._record.call(*self._appeared(target), *gone)


def _located(path: StrPath, dir_fd: int | None = None) -> str:
    """A path as text, also one relative to a descriptor."""
    text = os.fsdecode(path)
    return text if dir_fd is None or os.path.isabs(text) else f"{os.readlink(f'/proc/self/fd/{dir_fd}')}/{text}"
