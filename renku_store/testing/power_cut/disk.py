"""One disk that a cut may leave: the calls of a journal up to a moment, without those that were lost."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from renku_store.testing.power_cut.journal import ROOT, Data, Journal, Names, Size

SECTOR_BYTES: Final = 512
"""The smallest unit that disks write whole; a write reaches them in any subset of these."""
_LAST_CALLS_SHOWN: Final = 5


@dataclass(frozen=True, slots=True)
class Torn:
    """What arrived of a write: its first `head` bytes, and the sectors whose bit is set in `sectors`.

    Sectors are those of the file, counted from the one that holds the first byte of the write.
    """

    head: int
    sectors: int = 0

    def parts(self, write: Data) -> Iterator[tuple[int, bytes]]:
        """Offsets in the file, and the bytes that arrived there."""
        yield write.offset, write.data[: self.head]
        first = write.offset - write.offset % SECTOR_BYTES
        for number in range(self.sectors.bit_length()):
            if self.sectors >> number & 1:
                start = max(first + number * SECTOR_BYTES, write.offset)
                end = first + (number + 1) * SECTOR_BYTES
                yield start, write.data[start - write.offset : end - write.offset]


@dataclass(frozen=True)
class DiskState:
    """The disk after the first `position` calls, without the changes `lost`, with the `torn` writes in part.

    `filler`: None, and files have grown as far as what arrived in them; or they have the size that the lost writes gave
    them, and read as this byte where nothing arrived. It can be pickled, to be seen
    again.
    """

    journal: Journal
    position: int
    lost: frozenset[int] = frozenset()
    torn: Mapping[int, Torn] = field(default_factory=dict)
    filler: int | None = None

    @property
    def promises(self) -> list[object]:
        """What this disk must keep."""
        return self.journal.promised(self.position)

    def explain(self) -> str:
        """What happened last, and all that was lost or torn, for people."""
        describe = self.journal.describe
        lines = [f"cut after {self.position} of {len(self.journal.calls)} calls, filler={self.filler}; the last are"]
        lines += [f"  {describe(n)}" for n in range(max(0, self.position - _LAST_CALLS_SHOWN), self.position)]
        lines += [f"lost  {describe(number)}" for number in sorted(self.lost)]
        lines += [f"torn  {describe(number)}: {torn}" for number, torn in sorted(self.torn.items())]
        return "\n".join(lines)

    def tree(self) -> dict[str, bytes | None]:
        """Every path with its bytes; None for a folder."""
        contents = self._contents()
        return {path: contents.get(node) for path, node in self._paths()}

    def write_to(self, folder: Path) -> None:
        """Make the disk in an existing empty folder; names of one file are hard links there too."""
        contents = self._contents()
        first: dict[int, Path] = {}
        for name, node in self._paths():
            path = folder / name
            if node not in contents:
                path.mkdir()
            elif node in first:
                path.hardlink_to(first[node])
            else:
                path.write_bytes(contents[node])
                first[node] = path

    def _paths(self) -> Iterator[tuple[str, int]]:
        """What can be reached from the top, folders before what they hold."""
        names = self._names()
        waiting = [("", ROOT)]
        while waiting:
            above, folder = waiting.pop()
            for name, node in names[folder].items():
                yield f"{above}{name}", node
                if node in names:
                    waiting.append((f"{above}{name}/", node))

    def _names(self) -> dict[int, dict[str, int]]:
        """What each folder holds."""
        folders = {folder: dict(names) for folder, names in self.journal.folders.items()}
        for number, call in enumerate(self.journal.calls[: self.position]):
            if isinstance(call, Names) and number not in self.lost:
                names = folders[call.folder]
                for name, node in call.changes:
                    if node is None:
                        names.pop(name, None)
                    else:
                        names[name] = node
        return folders

    def _contents(self) -> dict[int, bytes]:
        """The bytes of each file."""
        files = {node: bytearray(data) for node, data in self.journal.files.items()}
        for number, call in enumerate(self.journal.calls[: self.position]):
            if isinstance(call, Data | Size):
                self._apply(files[call.node], number, call)
        return {node: bytes(data) for node, data in files.items()}

    def _apply(self, data: bytearray, number: int, call: Data | Size) -> None:
        lost = number in self.lost
        if isinstance(call, Size):
            if not lost:
                del data[call.size :]
                _extend(data, call.size)
            return
        whole = not lost and number not in self.torn
        if not whole and self.filler is not None:
            _extend(data, call.offset)
            _extend(data, call.offset + len(call.data), self.filler)
        if whole:
            _put(data, call.offset, call.data)
        elif not lost:
            for offset, part in self.torn[number].parts(call):
                _put(data, offset, part)


def _put(data: bytearray, offset: int, part: bytes) -> None:
    if part:
        _extend(data, offset)
        data[offset : offset + len(part)] = part


def _extend(data: bytearray, size: int, filler: int = 0) -> None:
    if size > len(data):
        data.extend(bytes((filler,)) * (size - len(data)))
