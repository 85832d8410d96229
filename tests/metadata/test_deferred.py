"""A metadata store that is made when it is first asked."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from renku_store.errors import StoreUnavailableError
from renku_store.metadata.deferred import DeferredMetadata
from renku_store.metadata.sqlite import SqliteMetadata, open_sqlite
from tests.metadata.samples import input_event


@pytest.fixture
def made() -> Iterator[list[SqliteMetadata]]:
    """What `make` has made."""
    stores: list[SqliteMetadata] = []
    yield stores
    for store in stores:
        store.close()


@pytest.fixture
def deferred(made: list[SqliteMetadata]) -> DeferredMetadata:
    def make() -> SqliteMetadata:
        store = open_sqlite(Path(":memory:"))
        with store.write() as writer:
            writer.events.append([input_event("a", "a")])
        made.append(store)
        return store

    return DeferredMetadata(make)


def test_it_is_made_once_when_it_is_asked(deferred: DeferredMetadata, made: list[SqliteMetadata]) -> None:
    """Whichever of many threads asks first; not before, and not to be written to."""
    with pytest.raises(StoreUnavailableError, match="reading only"), deferred.write():
        pass
    assert made == []

    def ask(_: int) -> bool:
        with deferred.read() as reader:
            return reader.events.latest_input("a") is not None

    with ThreadPoolExecutor(8) as pool:
        assert all(pool.map(ask, range(32)))
    assert len(made) == 1
    assert deferred.epoch == made[0].epoch


def test_closing_closes_what_was_made_and_makes_nothing(deferred: DeferredMetadata, made: list[SqliteMetadata]) -> None:
    """Again is no harm."""
    deferred.close()
    assert made == []
    with deferred.read():
        pass
    deferred.close()
    deferred.close()
    with pytest.raises(StoreUnavailableError, match="closed"), deferred.read():
        pass
