"""A bounded cache of immutable objects in a folder of this machine, for all roots, processes and threads.

An object is there under its name once somebody has found its bytes to be what the name says (`keep`, `Part.finish`); it
appears by a rename. Until then it is a part: who holds its lock goes on where the last one stopped, and nobody waits
for that. Nothing is synced: checksums show what a power cut has taken. A cache that cannot be written keeps nobody from
reading.
"""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO

from renku_store import bounds
from renku_store.drivers import posix
from renku_store.drivers.caching.folder import Folder
from renku_store.drivers.caching.ledger import Account, blocks
from renku_store.drivers.caching.parts import Part
from renku_store.drivers.caching.records import Records, chunks_of, record_all


class ObjectCache:
    """Objects under names of at least two characters without a slash. Safe to use from many threads and processes.

    `max_bytes` bounds what the folder takes; an object takes at most half of it. `now_ns` says when one was used.
    """

    def __init__(self, folder: Path, max_bytes: int, *, now_ns: Callable[[], int] = time.time_ns) -> None:
        self.folder = folder
        self.max_bytes = max_bytes
        self._files = Folder(folder, max_bytes, now_ns)

    def used_bytes(self) -> int:
        """What the folder takes, as noted: never less than it does."""
        return self._files.ledger.noted()

    def open(self, name: str) -> Records | None:
        """A complete object, marked as used; None where it is not here. The caller closes it."""
        path = self._files.path(name)
        try:
            records = Records(os.open(path, os.O_RDONLY | os.O_CLOEXEC), name)
        except OSError:
            return None
        with contextlib.suppress(OSError):
            if records.is_complete():
                with contextlib.suppress(OSError):
                    self._files.touch(path)
                return records
        records.close()
        self.drop(name)
        return None

    def read(self, name: str) -> bytes | None:
        """All bytes of a complete object; None where it is not here. One that is damaged is dropped."""
        records = self.open(name)
        if records is None:
            return None
        whole: list[bytes] = []
        with contextlib.suppress(OSError), contextlib.closing(records):
            found = (records.chunk(number) for number in range(chunks_of(records.size)))
            whole = [chunk for chunk in found if chunk is not None]
        if len(whole) == chunks_of(records.size):
            return b"".join(whole)
        self.drop(name)
        return None

    def keep(self, name: str, data: bytes) -> None:
        """Keep an object whose bytes were found to be right; nothing where it is here, or somebody else writes it."""
        if not self._files.takes(len(data)) or self._has(name):
            return
        with self._files.alone() as account:
            part = self._files.lock_part(name) if account is not None else None
            if account is None or part is None:
                return
            try:
                self._write(name, record_all(name, data), part, account)
            finally:
                os.close(part)

    def keep_file(self, name: str, source: BinaryIO, size: int, is_right: Callable[[bytes], bool]) -> None:
        """Keep the rest of a stream as an object of `size` bytes, in constant memory.

        `is_right` is given each chunk, and at last an empty one: then it says whether all of them are right.
        """
        part = self.begin(name, size, resume=False) if not self._has(name) else None
        if part is None:
            return
        with contextlib.closing(part):
            while chunk := source.read(bounds.CHUNK_BYTES):
                is_right(chunk)
                if not part.append(chunk):
                    return
            if is_right(b"") and part.is_whole():
                part.finish()
            else:
                part.discard()

    def begin(self, name: str, size: int, *, resume: bool = True) -> Part | None:
        """The part of an object of `size` bytes, to be written; None where somebody else does, or it is not kept.

        `resume`: begin with what an earlier one has left, if that is of the same size. Empty objects are not begun.
        """
        if size == 0 or not self._files.takes(size):
            return None
        try:
            descriptor = self._files.lock_part(name)
        except OSError as error:
            self._files.give_up(error)
            return None
        return None if descriptor is None else Part(self._files, name, size, descriptor, resume=resume)

    def drop(self, name: str) -> None:
        """Forget an object; no error if it is not here."""
        with contextlib.suppress(OSError):
            if not self._has(name):
                return
            with self._files.ledger.alone() as account:
                length = os.stat(self._files.path(name)).st_size
                os.unlink(self._files.path(name))
                if account is not None:
                    account.give_back(blocks(length))

    def _has(self, name: str) -> bool:
        return os.path.exists(self._files.path(name))

    def _write(self, name: str, content: bytes, part: int, account: Account) -> None:
        """Write a whole file into a part, and let it appear."""
        before = blocks(os.fstat(part).st_size)
        if not account.take(blocks(len(content))):
            return
        os.ftruncate(part, 0)
        account.give_back(before)
        posix.write_all(part, content)
        self._files.appear(name, account)
