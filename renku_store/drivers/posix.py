"""System calls on files: those that Python lacks, those that need a loop, and what an `OSError` means to a store."""

from __future__ import annotations

import errno
import fcntl
import io
import mmap
import os
import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from typing import TYPE_CHECKING, Final

from renku_store.durability import step
from renku_store.errors import StoreUnavailableError
from renku_store.late import late_module

if TYPE_CHECKING:
    import ctypes

    from _typeshed import WriteableBuffer
else:
    ctypes = late_module("ctypes")

_FICLONE: Final = 0x40049409
_AT_FDCWD: Final = -100
_RENAME_NOREPLACE: Final = 1
_READ_UNASKED_BYTES: Final = 16_384
"""So much is asked of a file whose size nobody knows, before it is asked for that."""
_APART_MIN_BYTES: Final = 262_144
_SYNCFS_SINCE: Final = (5, 8)
"""Older kernels do not report failed write-back through syncfs: there, only a sync of each file is a promise."""

NO_HARD_LINKS: Final = frozenset(
    {errno.EPERM, errno.EACCES, errno.EOPNOTSUPP, errno.ENOTSUP, errno.EMLINK, errno.ENOSYS, errno.EXDEV, errno.EINVAL}
)
"""What `link` answers on file systems without hard links (vfat, exfat, some network and overlay file systems)."""
NO_RENAME_NEW: Final = frozenset({errno.EINVAL, errno.ENOSYS, errno.EOPNOTSUPP, errno.ENOTSUP})
"""What a rename that does not replace answers where there is none (NFS, 9p, older kernels, other systems)."""

_FULL: Final = frozenset({errno.ENOSPC, errno.EDQUOT})
_REASONS: Final[dict[int, tuple[str, str]]] = {
    errno.ENOSPC: ("the disk is full", "Free some space and try again; nothing half-written was kept."),
    errno.EDQUOT: ("the disk quota is used up", "Free some space and try again; nothing half-written was kept."),
    errno.EFBIG: ("the file would be larger than allowed here", "Raise the limit (ulimit -f) and try again."),
    errno.EROFS: ("the file system is read-only", "Reading works; choose another root to write to."),
    errno.EACCES: ("permission is denied", "Check who owns the folder and its mode."),
    errno.EPERM: ("the operation is not permitted", "Check who owns the folder, its mode and its attributes."),
    errno.EXDEV: ("its folders lie on several file systems", "Let a root, with all below it, be on one file system."),
    errno.EIO: (
        "the disk reports an input/output error",
        "Check the disk or its server before trying again.",
    ),
    errno.EMFILE: ("this process has too many open files", "Raise the limit (ulimit -n) or lower the concurrency."),
    errno.ENFILE: ("this machine has too many open files", "Close other programs and try again."),
    errno.ENOTDIR: ("a part of this path is a file, not a folder", "Choose a folder as root."),
    errno.EISDIR: ("this is a folder, not a file", "Give the path of a file."),
    errno.ENOENT: ("there is no such file or folder", "Check the path; something may have removed it."),
    errno.ENAMETOOLONG: ("the name is too long for this file system", "Choose a shorter path."),
    errno.ESTALE: ("the network file system lost the file", "Mount it again and try again."),
}


def shown(path: str | bytes | os.PathLike[str]) -> str:
    """A path as text that can be printed anywhere: bytes that are not UTF-8 appear as escapes."""
    return os.fsencode(path).decode("utf-8", "backslashreplace")


def unavailable(error: OSError, doing: str, path: str | os.PathLike[str]) -> StoreUnavailableError:
    """The named error for an `OSError` met while `doing` ("write", "open") something at `path`."""
    reason, hint = _REASONS.get(error.errno or 0, (error.strerror or str(error), "Check the file system of this path."))
    return StoreUnavailableError(
        f"Cannot {doing} {shown(path)}: {reason}.", hint=hint, reason="full" if error.errno in _FULL else "other"
    )


class ObjectFile(io.FileIO):
    """A file opened for reading whose failures are named."""

    def readinto(self, buffer: WriteableBuffer, /) -> int:
        """Read into a buffer; `StoreUnavailableError` where the disk fails."""
        try:
            return super().readinto(buffer) or 0
        except OSError as error:
            raise unavailable(error, "read", os.fsdecode(self.name)) from error


def write_all(descriptor: int, data: bytes | bytearray | memoryview) -> None:
    """Write every byte; one write may take only a part (signals, limits, 2 GiB)."""
    written = os.write(descriptor, data)
    if written < len(data):
        view = memoryview(data).cast("B")[written:]
        while view:
            view = view[os.write(descriptor, view) :]


def read_all(descriptor: int, limit: int | None, expected: int | None = None) -> bytes:
    """Read to the end, or at most `limit` bytes; of a file that has `expected` bytes, as far as the caller knows."""
    if expected is None:
        asked = _READ_UNASKED_BYTES if limit is None else min(limit, _READ_UNASKED_BYTES)
        data = os.read(descriptor, asked)
        # Who knows how many there are asks for one more, and has them all. Else to ask for another one takes half the
        # time of asking how long the file is; a read that was cut off by an error meets that error here.
        if (asked == limit and len(data) >= asked - 1) or (len(data) < asked and not os.read(descriptor, 1)):
            return data
        os.lseek(descriptor, 0, os.SEEK_SET)
        expected = os.fstat(descriptor).st_size
    size = expected + 1 if limit is None or expected < limit else limit
    data = os.read(descriptor, size)
    if len(data) == min(expected, size):
        return data
    parts = [data]
    while data and (limit is None or sum(map(len, parts)) < limit):
        data = os.read(descriptor, size if limit is None else limit - sum(map(len, parts)))
        parts.append(data)
    return b"".join(parts)


def read_apart(path: str) -> bytes | memoryview:
    """A whole file, in memory that the system has back as soon as nobody holds it, if it is large.

    What a thread allocates stays with its heap: of many threads that each held a large file once, as much stays taken.
    """
    with open(path, "rb", buffering=0) as file:
        size = os.fstat(file.fileno()).st_size
        if size < _APART_MIN_BYTES:
            return file.read()
        content = memoryview(mmap.mmap(-1, size))
        filled = 0
        while filled < size and (count := file.readinto(content[filled:])):
            filled += count
        return content[:filled]


@contextmanager
def folder(path: str) -> Iterator[int | None]:
    """A folder that many names are looked up from: shorter than from the top; None where it cannot be opened."""
    try:
        descriptor = os.open(path, getattr(os, "O_PATH", os.O_RDONLY) | os.O_DIRECTORY | os.O_CLOEXEC)
    except OSError:
        yield None
        return
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def sync_file(descriptor: int) -> None:
    """Make a file or folder durable; on macOS a plain fsync stops in the drive's cache."""
    full = getattr(fcntl, "F_FULLFSYNC", None)
    if full is None:
        os.fsync(descriptor)
    else:
        fcntl.fcntl(descriptor, full)


def sync_folder(path: str) -> None:
    """Make the names in a folder durable."""
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        with step("folder sync"):
            sync_file(descriptor)
    finally:
        os.close(descriptor)


@cache
def can_sync_filesystem() -> bool:
    """Whether one call syncs a whole file system and reports what could not be written."""
    release = re.match(r"(\d+)\.(\d+)", os.uname().release)
    known = sys.platform.startswith("linux") and hasattr(_libc(), "syncfs") and release is not None
    return known and (int(release[1]), int(release[2])) >= _SYNCFS_SINCE if release else False


def sync_filesystem(descriptor: int) -> None:
    """Make all of the file system of an open file durable.

    Failed write-back is reported if it came after `descriptor` was opened (Linux syncfs(2)): open it before writing.
    """
    with step("filesystem sync"):
        while _libc().syncfs(descriptor) != 0:
            _raise_unless_interrupted()


def rename_new(source: str, target: str) -> None:
    """Rename unless the target exists (`FileExistsError`), atomically; ENOSYS or EINVAL where that cannot be done."""
    rename = getattr(_libc(), "renameat2", None)
    if rename is None:
        raise OSError(errno.ENOSYS, os.strerror(errno.ENOSYS), target)
    while rename(_AT_FDCWD, os.fsencode(source), _AT_FDCWD, os.fsencode(target), _RENAME_NOREPLACE) != 0:
        _raise_unless_interrupted()


def clone_file(source: int, target: int) -> bool:
    """Let the empty file `target` share the blocks of `source` (Linux FICLONE); False where that cannot be done."""
    if not sys.platform.startswith("linux"):
        return False
    try:
        fcntl.ioctl(target, _FICLONE, source)
    except OSError as error:
        if error.errno in {errno.EIO, errno.ENOSPC, errno.EDQUOT}:
            raise
        return False
    return True


def _raise_unless_interrupted() -> None:
    code = ctypes.get_errno()
    if code != errno.EINTR:
        raise OSError(code, os.strerror(code))


@cache
def _libc() -> ctypes.CDLL:
    return ctypes.CDLL(None, use_errno=True)
