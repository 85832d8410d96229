"""The recorder: the real calls run, and those that change or sync something below a folder are journalled."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import Final, Self
from unittest import mock

from renku_store.drivers import bulk, posix
from renku_store.testing.power_cut.database import RecordingVFS
from renku_store.testing.power_cut.disk import DiskState
from renku_store.testing.power_cut.journal import Call, Journal, Names, Sync, is_volatile, scan
from renku_store.testing.power_cut.watching import EXTRA_CALLS, SYSTEM_CALLS, WatchedCalls

_SCRATCH: Final = "tmp/scratch"
"""What producers put there is written by anybody, and promised to nobody."""

Identities = dict[tuple[int, int], int]
"""Device and inode to the node of a journal."""


class Recording:
    """Records what this process, in all its threads, does below `top` until the context ends; one at a time.

    `top` is an existing folder whose content, and whose own name, count as durable. Close every database below it
    before the context ends. `on_call` is told how many calls there are after each, for tests that end a process there.
    `journal` and `identities` continue the recording of another process, which was killed and not cut off.
    """

    def __init__(
        self,
        top: Path,
        *,
        on_call: Callable[[int], None] | None = None,
        journal: Journal | None = None,
        identities: Identities | None = None,
    ) -> None:
        self.top = Path(os.path.realpath(top))
        self.identities: Identities = {} if identities is None else identities
        # Held by a call from before it is made until it is journalled, so that the order is the real one.
        self.lock = threading.RLock()
        self._on_call = on_call
        self._stack = ExitStack()
        self.journal = Journal() if journal is None else journal
        if journal is None:
            for status, node in scan(self.journal, self.top):
                self.identities[status.st_dev, status.st_ino] = node

    def __enter__(self) -> Self:
        watched = WatchedCalls(self)
        for name in SYSTEM_CALLS:
            self._stack.enter_context(mock.patch.object(os, name, getattr(watched, name)))
        for name in EXTRA_CALLS:
            self._stack.enter_context(mock.patch.object(posix, name, getattr(watched, name)))
        self._stack.enter_context(bulk.one_by_one())
        self._stack.callback(RecordingVFS(self).unregister)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._stack.close()

    def promise(self, what: object) -> None:
        """The workload was told something, by the return of a call: from now on a cut must keep it."""
        with self.lock:
            self.journal.promises.append((len(self.journal.calls), what))

    def check_complete(self) -> None:
        """Fail if the folder is not what the journal says: then something was written that was not recorded."""
        state = DiskState(self.journal, len(self.journal.calls))
        recorded = {path: content for path, content in state.tree().items() if _SCRATCH not in path}
        real: dict[str, bytes | None] = {}
        for path in self.top.rglob("*"):
            name = path.relative_to(self.top).as_posix()
            if _SCRATCH not in name and not is_volatile(name):
                real[name] = None if path.is_dir() else path.read_bytes()
        names = sorted(recorded.keys() | real.keys())
        different = [name for name in names if (name in real, real.get(name)) != (name in recorded, recorded.get(name))]
        if different:
            raise AssertionError(f"Written behind the recorder's back, or recorded wrongly: {different}")

    # What the watched calls say

    def node(self, status: os.stat_result) -> int | None:
        """The node of a file or folder; None for one that is not below `top`."""
        return self.identities.get((status.st_dev, status.st_ino))

    def node_at(self, path: str) -> int | None:
        """The node that a path names now."""
        try:
            return self.node(os.stat(path))
        except (FileNotFoundError, NotADirectoryError):
            return None

    def place(self, path: str) -> tuple[int, str] | None:
        """The node of the folder that a path is in, and the name there; None where that is not recorded."""
        folder, name = os.path.split(path)
        node = self.node_at(folder or ".")
        return None if node is None or is_volatile(name) else (node, name)

    def made(self, path: str, *, folder: bool = False) -> None:
        """Journal a file or folder that was made at a path."""
        place = self.place(path)
        if place is not None:
            parent, name = place
            node = self.journal.add(f"{self.journal.paths[parent]}/{name}".removeprefix("./"), folder=folder)
            status = os.stat(path)
            self.identities[status.st_dev, status.st_ino] = node
            self.call(Names(parent, ((name, node),)))

    def call(self, *calls: Call) -> None:
        """Journal a call that was made; one that does two things which last independently is two in the journal."""
        self.journal.calls.extend(calls)
        if self._on_call is not None:
            self._on_call(len(self.journal.calls))

    def sync(self, node: int | None) -> None:
        """Journal a sync."""
        if node is not None:
            self.call(Sync(node))
