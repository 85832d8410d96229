"""Roots of every kind that the tests of the store go through: `any_root` gives each test one of each kind.

Another kind is another entry of `KINDS`. A test that not every kind can have carries one of `MARKS`.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from renku_store import forget_memory
from renku_store.drivers.base import Driver
from renku_store.drivers.opening import open_driver


@dataclass(frozen=True)
class Root:
    """An empty build root, to be given to `open_store`."""

    url: str

    def __fspath__(self) -> str:
        return self.url

    def __str__(self) -> str:
        return self.url

    def __truediv__(self, name: str) -> Path:
        """A file or folder below a root that is a folder."""
        return self.folder / name

    @property
    def folder(self) -> Path:
        """The root as a folder, where it is one."""
        assert "://" not in self.url, "The objects of this root are no files: mark the test, or ask the driver."
        return Path(self.url)

    def driver(self, movie: str = "film") -> Driver:
        """The objects of a movie."""
        return open_driver(self.url).sub(movie)


@contextmanager
def local_root(request: pytest.FixtureRequest) -> Iterator[Root]:
    """A folder that does not exist yet."""
    yield Root(str(request.getfixturevalue("tmp_path") / "root"))


@contextmanager
def memory_root(request: pytest.FixtureRequest) -> Iterator[Root]:
    """A name of its own."""
    root = Root(f"memory://{abs(hash(request.node.nodeid)):x}")
    try:
        yield root
    finally:
        forget_memory(os.fspath(root))


@dataclass(frozen=True)
class Kind:
    """How a kind of root is made, and what it has; `marks` are put on its tests."""

    make: Callable[[pytest.FixtureRequest], AbstractContextManager[Root]]
    files: bool = False
    processes: bool = False
    backdates: bool = False
    marks: tuple[pytest.MarkDecorator, ...] = ()


MARKS = {
    "files": "looks at the files of a root, so it needs one that is a folder",
    "processes": "other processes open the root, so it cannot be in memory",
    "backdates": "lets objects have been written earlier, so the clock of the root must not be a server's",
}
"""What a test can ask of a kind, by the field that says so."""

KINDS: dict[str, Kind] = {
    "local": Kind(local_root, files=True, processes=True, backdates=True),
    "memory": Kind(memory_root, backdates=True),
}


def kinds_for(definition: pytest.Item) -> list[object]:
    """The kinds of root that a test is for, as parameters."""
    wanted = [mark for mark in MARKS if definition.get_closest_marker(mark) is not None]
    return [
        pytest.param(name, marks=kind.marks)
        for name, kind in KINDS.items()
        if all(getattr(kind, mark) for mark in wanted)
    ]
