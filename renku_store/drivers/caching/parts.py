"""Objects on their way into a cache, chunk by chunk; a kill leaves the chunks that are whole to the next one."""

from __future__ import annotations

import contextlib
import os

from renku_store.drivers import posix
from renku_store.drivers.caching.folder import Folder
from renku_store.drivers.caching.ledger import Account, blocks
from renku_store.drivers.caching.records import Records, chunks_of, header, place_of, record


class Part:
    """The part of the object `name` of `size` bytes, locked; for one thread.

    `chunks` are here already; they are read (`chunk`) before they are relied on. Errors of the disk end a part, and are
    no errors of whoever reads.
    """

    def __init__(self, folder: Folder, name: str, size: int, descriptor: int, *, resume: bool) -> None:
        self._folder = folder
        self._name = name
        self._size = size
        self._records = Records(descriptor, name)
        self.chunks = self._records.whole_chunks() if resume and self._records.size == size else 0
        self._records.size = size

    def chunk(self, number: int) -> bytes | None:
        """A chunk that is here; None, and it is to be appended again with all that follow, where it is damaged."""
        try:
            found = self._records.chunk(number) if number < self.chunks else None
        except OSError:
            found = None
        if found is None:
            self.chunks = min(self.chunks, number)
        return found

    def append(self, chunk: bytes) -> bool:
        """Write the next chunk, of `CHUNK_BYTES` but for the last one; False, and it is over, where that cannot be."""
        done = False
        with self._folder.alone() as account:
            done = account is not None and self._records.descriptor >= 0 and self._append(account, chunk)
        if not done:
            self.close()
        return done

    def is_whole(self) -> bool:
        """Whether every chunk is here."""
        return self._records.descriptor >= 0 and self.chunks == chunks_of(self._size)

    def finish(self) -> None:
        """The bytes were found to be right: let the object appear."""
        with self._folder.alone() as account:
            if account is not None and self.is_whole():
                self._folder.appear(self._name, account)
        self.close()

    def discard(self) -> None:
        """Forget it."""
        with contextlib.suppress(OSError), self._folder.ledger.alone() as account:
            if self._records.descriptor >= 0:
                length = os.fstat(self._records.descriptor).st_size
                os.unlink(self._folder.part_path(self._name))
                if account is not None:
                    account.give_back(blocks(length))
        self.close()

    def close(self) -> None:
        """Leave what is here to the next one; again is no harm."""
        self._records.close()

    def _append(self, account: Account, chunk: bytes) -> bool:
        descriptor = self._records.descriptor
        before = blocks(os.fstat(descriptor).st_size)
        start = place_of(self.chunks) if self.chunks else 0
        data = record(chunk) if self.chunks else header(self._name, self._size) + record(chunk)
        after = blocks(start + len(data))
        if not account.take(max(after - before, 0)):
            return False
        os.ftruncate(descriptor, start)
        os.lseek(descriptor, start, os.SEEK_SET)
        posix.write_all(descriptor, data)
        account.give_back(max(before - after, 0))
        self._folder.touch(self._folder.part_path(self._name))
        self.chunks += 1
        return True
