"""New objects before they are uploaded: in memory what one request carries, the others in files of this machine.

Memory stays constant: the objects of a root share so many bytes of it; what finds none goes into a file.
"""

from __future__ import annotations

import contextlib
import io
import os
from pathlib import Path
from typing import BinaryIO

from renku_store import bounds
from renku_store.drivers import posix
from renku_store.drivers.objects.working import Share
from renku_store.drivers.staging import LocalStagedFile
from renku_store.drivers.tree import Tree


class Room:
    """The bytes of memory that the objects of one batch take of what a root has; for one thread."""

    def __init__(self, memory: Share) -> None:
        self._memory = memory
        self.taken = 0

    def take(self, count: int) -> bool:
        """Take some, if there are so many."""
        if not self._memory.take_now(count):
            return False
        self.taken += count
        return True

    def give_back(self, count: int) -> None:
        """Let others have them."""
        self.taken -= count
        self._memory.give_back(count)


class StagedObject:
    """A new object, written front to back by one thread."""

    def __init__(self, tree: Tree, room: Room) -> None:
        self._tree = tree
        self._room = room
        self._parts: list[bytes] | None = []
        self._held = 0
        self._file: LocalStagedFile | None = None

    def write(self, data: bytes | bytearray | memoryview) -> None:
        """Append bytes; `StoreUnavailableError` where the disk is full or fails."""
        if self._parts is not None:
            count = memoryview(data).nbytes
            if self._held + count <= bounds.OBJECT_PART_BYTES and self._room.take(count):
                self._parts.append(bytes(data))
                self._held += count
                return
        self._in_file().write(data)

    def clone_from(self, source: Path) -> bool:
        """Share the blocks of a whole file (reflink); False where that cannot be done."""
        return self._in_file().clone_from(source)

    def read_back(self) -> BinaryIO:
        """The bytes written so far, from the start; the caller closes it."""
        if self._parts is not None:
            return io.BytesIO(self._whole(self._parts))
        return self._in_file().read_back()

    @property
    def path(self) -> str | None:
        """The temporary file, or None while it is all in memory."""
        return None if self._file is None else self._file.path

    @property
    def held(self) -> int:
        """The bytes of memory that it takes."""
        return self._held

    def size(self) -> int:
        """Its size in bytes; `OSError` where the file cannot be looked at."""
        return self._held if self._file is None else os.path.getsize(self._file.path)

    def data(self) -> bytes | memoryview:
        """All of its bytes; `OSError` where the file cannot be read."""
        return self._whole(self._parts or []) if self._file is None else posix.read_apart(self._file.path)

    @staticmethod
    def _whole(parts: list[bytes]) -> bytes:
        """All of them, put together once."""
        if len(parts) != 1:
            parts[:] = [b"".join(parts)]
        return parts[0]

    def close(self) -> None:
        """It is complete: let go of the descriptor."""
        if self._file is not None:
            self._file.close()

    def remove(self) -> None:
        """Forget the bytes."""
        self._empty()
        if self._file is not None:
            # Whatever goes wrong here must not hide the reason for removing.
            with contextlib.suppress(OSError):
                self._file.close()
            with contextlib.suppress(OSError):
                os.unlink(self._file.path)

    def _in_file(self) -> LocalStagedFile:
        if self._file is None:
            try:
                self._file = LocalStagedFile(*self._tree.open_temporary())
            except OSError as error:
                raise posix.unavailable(error, "write below", self._tree.root) from error
            for part in self._parts or ():
                self._file.write(part)
            self._empty()
        return self._file

    def _empty(self) -> None:
        self._parts = None
        self._room.give_back(self._held)
        self._held = 0
