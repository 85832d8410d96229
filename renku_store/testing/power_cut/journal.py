"""The journal: what was on the disk, every call that changed or synced it since, and what was promised when."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

ROOT: Final = 0
"""The node of the folder that is recorded."""


@dataclass(frozen=True, slots=True)
class Names:
    """Names of one folder changed, all at once or not at all: to a node, or to nothing."""

    folder: int
    changes: tuple[tuple[str, int | None], ...]


@dataclass(frozen=True, slots=True)
class Data:
    """Bytes written into a file at an offset."""

    node: int
    offset: int
    data: bytes


@dataclass(frozen=True, slots=True)
class Size:
    """A file cut, or extended by zeros, to a size in bytes."""

    node: int
    size: int


@dataclass(frozen=True, slots=True)
class Sync:
    """A file's bytes, or a folder's names, made durable."""

    node: int


@dataclass(frozen=True, slots=True)
class SyncAll:
    """Everything so far made durable."""


Change = Names | Data | Size
Call = Change | Sync | SyncAll


@dataclass
class Journal:
    """Calls in their order, on top of a base that is durable; plain data, which can be pickled.

    `folders` and `files` are the base by node, empty for nodes that came later; `paths` has the first name that each
    was seen under, for people. `promises` are (position, whatever the workload said): the calls before the position had
    returned by then.
    """

    folders: dict[int, dict[str, int]] = field(default_factory=lambda: {ROOT: {}})
    files: dict[int, bytes] = field(default_factory=dict)
    paths: dict[int, str] = field(default_factory=lambda: {ROOT: "."})
    calls: list[Call] = field(default_factory=list)
    promises: list[tuple[int, object]] = field(default_factory=list)

    def add(self, path: str, *, folder: bool) -> int:
        """A new node."""
        node = len(self.paths)
        self.paths[node] = path
        if folder:
            self.folders[node] = {}
        else:
            self.files[node] = b""
        return node

    def promised(self, position: int) -> list[object]:
        """What had been promised before the call at a position began."""
        return [promise for place, promise in self.promises if place <= position]

    def describe(self, position: int) -> str:
        """One call, for people."""
        call = self.calls[position]
        match call:
            case Names(folder, changes):
                where = self.paths[folder]
                said = ", ".join(f"{name} -> {self._shown(node)}" for name, node in changes)
                return f"{position}: names in {where}: {said}"
            case Data(node, offset, data):
                return f"{position}: write {self.paths[node]} [{offset}, {offset + len(data)})"
            case Size(node, size):
                return f"{position}: truncate {self.paths[node]} to {size}"
            case Sync(node):
                return f"{position}: sync {self.paths[node]}"
            case SyncAll():
                return f"{position}: sync the file system"

    def _shown(self, node: int | None) -> str:
        return "nothing" if node is None else f"node {node} ({self.paths[node]})"


def scan(journal: Journal, top: Path) -> Iterator[tuple[os.stat_result, int]]:
    """Take what is in a folder as the durable base; gives the status and the node of all that was found."""
    seen: dict[tuple[int, int], int] = {}
    folders = [(top, ROOT, "")]
    yield top.stat(), ROOT
    while folders:
        folder, parent, above = folders.pop()
        for path in sorted(folder.iterdir()):
            if is_volatile(path.name):
                continue
            status = path.lstat()
            identity = status.st_dev, status.st_ino
            if identity not in seen:
                seen[identity] = child = journal.add(f"{above}{path.name}", folder=path.is_dir())
                if path.is_dir():
                    folders.append((path, child, f"{above}{path.name}/"))
                else:
                    journal.files[child] = path.read_bytes()
                yield status, child
            journal.folders[parent][path.name] = seen[identity]


def is_volatile(name: str) -> bool:
    """Whether a file holds nothing that outlasts a cut: SQLite's shared memory, what followers of a run read."""
    return name.endswith("-shm") or name.rpartition("/")[2].startswith("progress-")
