"""Roots of every kind that the tests of the store go through: `any_root` gives each test one of each kind.

Another kind is another entry of `KINDS`. A test that not every kind can have carries one of `MARKS`; `MANNERS` say how
others are run where every object is a request to a server.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from renku_store import forget_memory
from renku_store.drivers.base import Driver
from renku_store.drivers.opening import open_driver

if TYPE_CHECKING:  # pytest rewrites the assertions of a plugin, which must not be imported before
    from tests.drivers.servers import Server


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


@contextmanager
def s3_root(request: pytest.FixtureRequest) -> Iterator[Root]:
    """A prefix of its own on a real server, which the environment names: to this process and to those it starts."""
    server: Server = request.getfixturevalue("seaweed")
    request.getfixturevalue("s3_environment")
    with pytest.MonkeyPatch.context() as patch:
        for name, value in {**server.environment, "AWS_ENDPOINT_URL": server.endpoint}.items():
            patch.setenv(name, value)
        if request.node.get_closest_marker("damages") is not None:
            patch.setenv("RENKU_STORE_CACHE_BYTES", "0")
        yield Root(server.place().url)


@dataclass(frozen=True)
class Kind:
    """How a kind of root is made, and what it has; `away`: every object is a request to a server."""

    make: Callable[[pytest.FixtureRequest], AbstractContextManager[Root]]
    files: bool = False
    processes: bool = False
    forks: bool = False
    backdates: bool = False
    away: bool = False


MARKS = {
    "files": "looks at the files of a root, so it needs one that is a folder",
    "processes": "other processes open the root, so it cannot be in memory",
    "forks": "goes on in a forked process, which the library of S3 refuses by name (tests/drivers/test_s3_objects.py)",
    "backdates": "lets objects have been written earlier, so the clock of the root must not be a server's",
}
"""What a test can ask of a kind, by the field that says so."""
MANNERS = {
    "long_away": "costs much where every object is a request: there it is `long`",
    "damages": "changes objects behind the store's back: this machine keeps no copies that would make up for them",
}
"""How a test is run on roots that are `away`."""

KINDS: dict[str, Kind] = {
    "local": Kind(local_root, files=True, processes=True, forks=True, backdates=True),
    "memory": Kind(memory_root, backdates=True),
    "s3": Kind(s3_root, processes=True, away=True),
}


def kinds_for(definition: pytest.Item) -> list[object]:
    """The kinds of root that a test is for, as parameters."""
    wanted = [mark for mark in MARKS if definition.get_closest_marker(mark) is not None]
    long_away = definition.get_closest_marker("long_away") is not None
    return [
        pytest.param(name, marks=[pytest.mark.long] if kind.away and long_away else [])
        for name, kind in KINDS.items()
        if all(getattr(kind, mark) for mark in wanted)
    ]
