"""Many small files at a time: by compiled code that holds no lock of Python's meanwhile, where there is any.

`_bulk.c` does what is usual, and stops at whatever is not: that goes the way of a single file, which knows every error.
Without it (no compiler was there, or not Linux), and while tests watch calls one by one, all files go that way.
"""

from __future__ import annotations

import contextlib
import itertools
import os
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from functools import cache
from importlib import import_module
from typing import TYPE_CHECKING, Final, Protocol, cast

from renku_store import durability
from renku_store.late import late_module

if TYPE_CHECKING:
    from concurrent import futures
else:
    futures = late_module("concurrent.futures")

SMALL_MAX_BYTES: Final = 16_384
"""Larger files are nearly as quick one by one: what they take is their bytes."""
HANDED_FILES: Final = 512
"""So many are handed to another thread at a time, or less: its start, end and turns are not felt then."""
_HANDED_MAX_BYTES: Final = 2 * 1_048_576
_WRITTEN_AHEAD: Final = 8
"""Parts that wait to be written: as much as is looked up at a time meanwhile, or 16 MiB."""
_READ_AHEAD: Final = 2
"""Parts that are read and not yet asked for: at most 8 MiB each, and 2 MiB of files of 4 KiB."""


class Compiled(Protocol):
    """Each goes through its lists from `start` on: to the end, to what is not as usual, or 1,024 items far."""

    def write_new(self, paths: list[bytes], contents: list[bytes], start: int, /) -> int:
        """Make a file for each path; of the one that could not be made nothing is left."""
        ...

    def rename_new(self, sources: list[bytes], targets: list[bytes], start: int, /) -> int:
        """Rename each file if the new name is free."""
        ...

    def look(self, folder: int, names: list[bytes], start: int, /) -> list[tuple[int, float] | None]:
        """Size and time of change of each regular file below an open folder, up to the first that gives an error."""
        ...

    def read_small(self, paths: list[bytes], limit: int, /) -> list[bytes | None]:
        """The content of each regular file of at most `limit` bytes, and None in the place of all others."""
        ...


_watched = 0


@cache
def _compiled() -> Compiled | None:
    try:
        return cast("Compiled", import_module("renku_store.drivers._bulk"))
    except ImportError:
        return None


def compiled() -> Compiled | None:
    """The compiled functions; None where there are none, or while somebody watches calls one by one."""
    return None if _watched or durability.is_heard() else _compiled()


@contextlib.contextmanager
def one_by_one() -> Iterator[None]:
    """Within the context every file goes the way of a single one, in all threads; for tests that watch calls."""
    global _watched  # noqa: PLW0603 (of the whole process, as what is watched)
    _watched += 1
    try:
        yield
    finally:
        _watched -= 1


def encoded(paths: Sequence[str]) -> list[bytes]:
    """Paths without NUL as the system has them."""
    return os.fsencode("\0".join(paths)).split(b"\0") if paths else []


def look_all(folder: int | None, names: Sequence[str]) -> list[tuple[int, float] | None]:
    """`Compiled.look` at names below an open folder, as far as it comes; nothing where there is none."""
    looked: list[tuple[int, float] | None] = []
    quick = compiled() if folder is not None else None
    if quick is not None and folder is not None:
        given = encoded(names)
        while part := quick.look(folder, given, len(looked)):
            looked += part
    return looked


class WritingBehind:
    """Writes new small files in a thread beside the one that gives them; `finish` waits for all.

    An error is raised by a later call, and by every `finish` from then on: what it left out can be told by nobody.
    """

    def __init__(self, write_one: Callable[[str, bytes], None]) -> None:
        self._write_one = write_one
        self._pool: futures.ThreadPoolExecutor | None = None
        self._waiting: deque[futures.Future[None]] = deque()
        self._given: list[tuple[str, bytes]] = []
        self._given_bytes = 0
        self._failed: BaseException | None = None

    def takes(self, data: bytes) -> bool:
        """Whether a file of these bytes is for `add`."""
        return len(data) <= SMALL_MAX_BYTES and compiled() is not None

    def add(self, path: str, data: bytes) -> None:
        """Have a file written; its folder should exist."""
        self._given.append((path, data))
        self._given_bytes += len(data)
        if len(self._given) >= HANDED_FILES or self._given_bytes >= _HANDED_MAX_BYTES:
            self._hand_over()

    def _hand_over(self) -> None:
        if self._pool is None:
            self._pool = _thread("blob-write")
        if self._pool is None:
            self.finish()
            return
        self._waiting.append(self._pool.submit(self._write, self._given))
        self._given, self._given_bytes = [], 0
        self._wait(_WRITTEN_AHEAD)

    def finish(self) -> None:
        """Return when all is written, though not synced; raises what stopped it, an `OSError` mostly."""
        self._wait(0)
        if self._failed is not None:
            raise self._failed
        try:
            self._write(self._given)
        except BaseException as error:
            self._failed = error
            raise
        self._given, self._given_bytes = [], 0

    def close(self) -> None:
        """Write nothing more: what is being written is waited for, and what waits is dropped."""
        self._given = []
        if self._pool is not None:
            self._pool.shutdown(wait=True, cancel_futures=True)

    def _wait(self, most: int) -> None:
        while len(self._waiting) > most:
            self._waiting[0].result()  # it stays in its place after an error, which then comes again
            self._waiting.popleft()

    def _write(self, given: list[tuple[str, bytes]]) -> None:
        paths, contents, done = encoded([path for path, _ in given]), [data for _, data in given], 0
        while done < len(given):
            quick = compiled()
            if quick is not None:
                done = quick.write_new(paths, contents, done)
            if done < len(given):
                self._write_one(*given[done])
                done += 1


def read_ahead(paths: Sequence[str]) -> Iterator[bytes | None]:
    """The content of each small regular file, read in a thread beside the one that takes them; None for all others."""
    quick = compiled()
    pool = None if quick is None else _thread("blob-read")
    if quick is None or pool is None:
        yield from itertools.repeat(None, len(paths))
        return
    parts = (paths[start : start + HANDED_FILES] for start in range(0, len(paths), HANDED_FILES))

    def read(part: Sequence[str]) -> list[bytes | None]:
        return quick.read_small(encoded(part), SMALL_MAX_BYTES)

    try:
        asked = deque(pool.submit(read, part) for part in itertools.islice(parts, _READ_AHEAD))
        while asked:
            yield from asked.popleft().result()
            asked.extend(pool.submit(read, part) for part in itertools.islice(parts, 1))
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


def _thread(name: str) -> futures.ThreadPoolExecutor | None:
    """A pool of one thread, which runs; None where none can be started."""
    pool = None
    try:
        pool = futures.ThreadPoolExecutor(1, thread_name_prefix=name)
        pool.submit(int)
    except RuntimeError:  # a limit of threads or memory, or Python is ending
        if pool is not None:
            pool.shutdown(wait=False, cancel_futures=True)
        return None
    return pool
