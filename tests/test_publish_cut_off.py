"""Publishing where the storage goes away behind the commit, or a reply about the pointer is lost."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from renku_store import Movie, StoreUnavailableError, open_store
from renku_store.drivers.base import Driver
from renku_store.drivers.local import LocalDriver
from renku_store.drivers.memory.driver import MemoryDriver
from renku_store.drivers.objects.driver import ObjectDriver
from renku_store.testing.invariants import check_invariants
from tests.authoring import publish, texts
from tests.roots import Root

Swap = Callable[[Driver, str, bytes | None, bytes], bool]
_GONE = StoreUnavailableError("The network is gone.")


@pytest.fixture
def movie(any_root: Root) -> Iterator[Movie]:
    """A movie with one revision."""
    with open_store(any_root) as store, store.create_movie("film") as movie:
        publish(movie, {"a": "one"})
        yield movie


def booked(movie: Movie) -> set[int]:
    """The numbers of the revisions in the index."""
    with movie.metadata.read() as reader:
        return {row.number for row in reader.revisions.list(limit=9)}


def swapping(monkeypatch: pytest.MonkeyPatch, swap: Callable[[Swap, Driver, str, bytes | None, bytes], bool]) -> None:
    """Let the pointer be swapped in another way; `swap` is handed the real one."""
    kinds: tuple[Any, ...] = (LocalDriver, MemoryDriver, ObjectDriver)
    for kind in kinds:
        real: Swap = kind.compare_and_swap

        def other(self: Driver, name: str, expected: bytes | None, data: bytes, real: Swap = real) -> bool:
            if name != "current.json":
                return real(self, name, expected, data)
            return swap(real, self, name, expected, data)

        monkeypatch.setattr(kind, "compare_and_swap", other)


def test_a_pointer_whose_reply_was_lost_has_been_moved(movie: Movie, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is read back: nothing is left to do, and nothing is told."""

    def lost(real: Swap, driver: Driver, name: str, expected: bytes | None, data: bytes) -> bool:
        assert real(driver, name, expected, data)
        raise _GONE

    swapping(monkeypatch, lost)
    assert publish(movie, {"a": "two"}).revision == "rev-0002"
    assert b"rev-0002" in movie.driver.read("current.json")
    assert booked(movie) == {1, 2}
    check_invariants(movie)


def test_a_pointer_that_somebody_has_moved_further_is_no_failure(movie: Movie, monkeypatch: pytest.MonkeyPatch) -> None:
    """The reply was lost, and by now it names a later revision: it never goes back (invariant 7)."""
    publish(movie, {"a": "two"})
    data = movie.driver.read("current.json")

    def overtaken(real: Swap, driver: Driver, name: str, expected: bytes | None, ours: bytes) -> bool:
        driver.replace(name, data)
        raise _GONE

    swapping(monkeypatch, overtaken)
    movie.driver.delete("current.json")
    movie.committer.repair()
    assert movie.driver.read("current.json") == data


def test_what_is_committed_is_published_though_the_pointer_cannot_be_moved(
    movie: Movie, any_root: Root, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Its caller is told of the revision, so that nobody publishes it again; whoever opens the movie does the rest."""

    def gone(*_: object) -> bool:
        raise _GONE

    with monkeypatch.context() as patch, caplog.at_level(logging.WARNING, "renku_store"):
        swapping(patch, gone)
        published = publish(movie, {"a": "two"})
    assert published.revision == "rev-0002"
    assert movie.manifests.load_current()[1] == published.hash
    assert b"rev-0001" in movie.driver.read("current.json")
    assert "rev-0002 is published" in caplog.text
    assert "The network is gone" in caplog.text
    movie.close()
    with open_store(any_root) as store, store.movie("film") as again:
        assert b"rev-0002" in again.driver.read("current.json")
        assert booked(again) == {1, 2}
        assert texts(again) == {"a": "two"}
        assert again.leases.unfinished() == []
        check_invariants(again)


def test_a_pointer_that_cannot_be_moved_keeps_nobody_from_reading(
    movie: Movie, any_root: Root, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As with credentials that may only read: opening the movie leaves it to whoever can."""
    first = movie.driver.read("current.json")
    publish(movie, {"a": "two"})
    movie.driver.replace("current.json", first)
    movie.close()

    def gone(*_: object) -> bool:
        raise _GONE

    with monkeypatch.context() as patch:
        swapping(patch, gone)
        with open_store(any_root) as store, store.movie("film") as reading:
            assert texts(reading) == {"a": "two"}
            assert reading.driver.read("current.json") == first
            with pytest.raises(StoreUnavailableError, match="network is gone"):
                reading.committer.repair()  # as what expires revisions does, which must not rest on an old pointer
    with open_store(any_root) as store, store.movie("film") as writing:
        assert b"rev-0002" in writing.driver.read("current.json")
