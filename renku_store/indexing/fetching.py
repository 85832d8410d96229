"""Objects fetched ahead of their turn, many side by side: filling an index takes no round trip for each of them.

They wait in a temporary file of this machine, so that memory is bounded however many they are, and nobody waits for a
network while the database is locked. Where all share an index the storage is near, and nothing is fetched ahead.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from importlib import import_module
from types import TracebackType
from typing import TYPE_CHECKING, Self

from renku_store import bounds
from renku_store.drivers.base import Driver, shares_index
from renku_store.drivers.posix import unavailable

if TYPE_CHECKING:
    from tempfile import SpooledTemporaryFile


class Fetched:
    """Objects of a movie as they were when they were fetched, for the length of a context; others are asked for."""

    def __init__(self, driver: Driver) -> None:
        self._driver = driver
        self._ahead = not shares_index(driver)
        self._places: dict[str, tuple[int, int]] = {}
        self._file: SpooledTemporaryFile[bytes] | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if self._file is not None:
            self._file.close()

    def fetch(self, sizes: Mapping[str, int]) -> None:
        """Fetch objects by their names; those that are not there are left out.

        `sizes` are about how many bytes each has: so many are asked for at a time as may be in memory together.
        """
        for names in _at_once(sizes) if self._ahead else ():
            for name, data in self._driver.read_many(names).items():
                self._keep(name, data)

    def read(self, name: str) -> bytes:
        """The bytes, fetched or asked for now; `BlobMissingError` where there is no such object."""
        place = self._places.get(name)
        if place is None or self._file is None:
            return self._driver.read(name)
        self._file.seek(place[0])
        return self._file.read(place[1])

    def __contains__(self, name: str) -> bool:
        return name in self._places

    def _keep(self, name: str, data: bytes) -> None:
        folder = self._driver.scratch()
        try:
            if self._file is None:
                # Loaded here: it takes long, and most commands fetch nothing.
                spooled: type[SpooledTemporaryFile[bytes]] = import_module("tempfile").SpooledTemporaryFile
                self._file = spooled(bounds.INDEX_FETCH_MAX_BYTES, dir=str(folder))
            self._places[name] = self._file.seek(0, os.SEEK_END), len(data)
            self._file.write(data)
        except OSError as error:
            raise unavailable(error, "write below", folder) from error


def _at_once(sizes: Mapping[str, int]) -> Iterator[list[str]]:
    """The names in groups of what may be in memory together."""
    group: list[str] = []
    total = 0
    for name, size in sizes.items():
        if group and (total + size > bounds.INDEX_FETCH_MAX_BYTES or len(group) >= bounds.INDEX_FETCH_MAX_OBJECTS):
            yield group
            group, total = [], 0
        group.append(name)
        total += size
    if group:
        yield group
