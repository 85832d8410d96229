"""New objects in memory, which get their names when they are whole."""

from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import BinaryIO, Self

from renku_store.drivers.base import StagedFile
from renku_store.drivers.tree import check_name


class MemoryStagedFile:
    """Bytes that have no name yet."""

    __slots__ = ("parts",)

    def __init__(self) -> None:
        self.parts: list[bytes] = []

    def write(self, data: bytes | bytearray | memoryview) -> None:
        """Append bytes."""
        self.parts.append(bytes(data))

    def clone_from(self, source: Path) -> bool:  # noqa: ARG002 (the protocol has it)
        """Memory shares no blocks with files."""
        return False

    def read_back(self) -> BinaryIO:
        """The bytes written so far, from the start."""
        return io.BytesIO(self.whole())

    def whole(self) -> bytes:
        """The bytes written so far, put together once."""
        if len(self.parts) != 1:
            self.parts = [b"".join(self.parts)]
        return self.parts[0]


class MemoryBatch:
    """New objects that get their names one after the other, each whole; for one thread."""

    full: bool = False

    def __init__(self, create: Callable[[str, bytes], bool]) -> None:
        self._create = create
        self._names: dict[MemoryStagedFile, str] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._names.clear()

    def stage(self) -> MemoryStagedFile:
        """Begin a new object."""
        return MemoryStagedFile()

    def name(self, staged: StagedFile, name: str) -> None:
        """Say under which name it shall appear."""
        assert isinstance(staged, MemoryStagedFile)
        self._names[staged] = check_name(name)

    def add(self, data: bytes, name: str) -> None:
        """Stage a whole object, and say under which name it shall appear."""
        staged = self.stage()
        staged.write(data)
        self.name(staged, name)

    def discard(self, staged: StagedFile) -> None:
        """Forget a staged object."""
        assert isinstance(staged, MemoryStagedFile)
        self._names.pop(staged, None)

    def commit(self) -> frozenset[str]:
        """Give the names; returns those that existed and were left alone."""
        existing: set[str] = set()
        for staged, name in [*self._names.items()]:
            if not self._create(name, staged.whole()):
                existing.add(name)
            del self._names[staged]
        return frozenset(existing)
