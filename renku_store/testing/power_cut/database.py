"""Below SQLite: a VFS that passes every call on to the real one and journals what changes or syncs a file."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Final

import apsw

from renku_store.testing.power_cut.journal import Data, Names, Size

if TYPE_CHECKING:
    from renku_store.testing.power_cut.recording import Recording

_NAME: Final = "renku-power-cut"
_JOURNALS: Final = apsw.SQLITE_OPEN_MAIN_JOURNAL | apsw.SQLITE_OPEN_WAL | apsw.SQLITE_OPEN_SUPER_JOURNAL


class RecordingVFS(apsw.VFS):
    """The default VFS from its creation until `unregister`."""

    def __init__(self, record: Recording) -> None:
        self._record = record
        self._base = apsw.vfs_names()[0]
        super().__init__(_NAME, self._base, makedefault=True)

    def xOpen(self, name: str | apsw.URIFilename | None, flags: list[int]) -> apsw.VFSFile:  # noqa: N802  (SQLite's)
        """Open, and make where it is missing."""
        path = name.filename() if isinstance(name, apsw.URIFilename) else name
        with self._record.lock:
            new = path is not None and not os.path.lexists(path)
            file = RecordingFile(self._record, self._base, name, flags, path)
            if new and path is not None and os.path.lexists(path):
                self._record.made(path)
            return file

    def xDelete(self, filename: str, syncdir: bool) -> None:  # noqa: N802
        """Remove a file, and sync its folder if so asked."""
        with self._record.lock:
            place = self._record.place(filename)
            super().xDelete(filename, syncdir)
            if place is not None:
                self._record.call(Names(place[0], ((place[1], None),)))
                if syncdir:
                    self._record.sync(place[0])


class RecordingFile(apsw.VFSFile):
    """A database, its log or its journal."""

    def __init__(
        self, record: Recording, base: str, name: str | apsw.URIFilename | None, flags: list[int], path: str | None
    ) -> None:
        super().__init__(base, name, flags)
        self._record = record
        self._path = path
        # The real VFS syncs the folder with the first sync of a log or journal, and at no other time.
        self._folder_is_synced = not (flags[0] & _JOURNALS and flags[0] & apsw.SQLITE_OPEN_CREATE)

    def xWrite(self, data: bytes, offset: int) -> None:  # noqa: N802
        """Bytes at an offset."""
        with self._record.lock:
            super().xWrite(data, offset)
            node = self._node()
            if node is not None:
                self._record.call(Data(node, offset, bytes(data)))

    def xTruncate(self, newsize: int) -> None:  # noqa: N802
        """Another size."""
        with self._record.lock:
            super().xTruncate(newsize)
            node = self._node()
            if node is not None:
                self._record.call(Size(node, newsize))

    def xSync(self, flags: int) -> None:  # noqa: N802
        """The bytes; the first time also the name of a log or journal."""
        with self._record.lock:
            super().xSync(flags)
            self._record.sync(self._node())
            if not self._folder_is_synced and self._path is not None:
                place = self._record.place(self._path)
                self._record.sync(place[0] if place else None)
                self._folder_is_synced = True

    def _node(self) -> int | None:
        return None if self._path is None else self._record.node_at(self._path)
