"""What a movie's blobs cost on a real server: requests, counted on their way there."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from renku_store import Movie, bounds, open_store
from renku_store.drivers.objects.options import S3Place
from renku_store.records.blob import blob_path
from tests.drivers.proxy import Fault, Proxy, Request
from tests.drivers.servers import Server, behind

pytestmark = pytest.mark.usefixtures("short_pauses")


@pytest.fixture(scope="module")
def proxy(seaweed: Server) -> Iterator[Proxy]:
    """One for all: a root is tried out once at each address."""
    with Proxy(seaweed.port) as made:
        yield made


@pytest.fixture
def place(seaweed_place: S3Place, proxy: Proxy) -> S3Place:
    """An empty prefix behind the proxy."""
    proxy.calm()
    return behind(seaweed_place, proxy.endpoint)


@contextmanager
def opened(place: S3Place, folder: Path, *, new: bool = False) -> Iterator[Movie]:
    """A movie as a machine has it, which has looked at the clock of the storage."""
    with open_store(
        place.url, endpoint=place.endpoint, region=place.region, path_style=place.path_style, cache=folder
    ) as store:
        movie = store.create_movie("film") if new else store.movie("film")
        movie.blobs.put(str(folder).encode())
        yield movie


@pytest.fixture
def here(place: S3Place, tmp_path: Path) -> Iterator[Movie]:
    with opened(place, tmp_path / "here", new=True) as movie:
        yield movie


def requests(proxy: Proxy) -> Counter[str]:
    """What has been asked since the last time, by methods; a listing is one of its own."""
    seen, proxy.requests = proxy.requests, []
    return Counter("LIST" if "list-type" in each.request.path else each.request.method for each in seen)


def contents_of(count: int, size: int = 4_096) -> list[bytes]:
    """Contents that nobody has put and that cannot be compressed."""
    return [os.urandom(size) for _ in range(count)]


def test_a_new_small_blob_costs_a_write_and_a_look_at_it(proxy: Proxy, here: Movie) -> None:
    """No look before the write, which is made under a condition; one listing of markers for a whole batch."""
    contents = contents_of(100)
    requests(proxy)
    blobs = here.blobs.put_many(contents)
    assert all(seen.request.conditional for seen in proxy.requests if seen.request.method == "PUT")
    assert requests(proxy) == {"PUT": 100, "HEAD": 100, "LIST": 1}
    assert [here.blobs.read(blob) for blob in blobs] == contents


def test_a_larger_blob_is_looked_for_first_in_both_its_forms(proxy: Proxy, here: Movie) -> None:
    """Its bytes are not sent where another machine has put them."""
    contents = contents_of(3, bounds.PUT_UNSEEN_MAX_BYTES + 1)
    requests(proxy)
    here.blobs.put_many(contents)
    assert requests(proxy) == {"PUT": 3, "HEAD": 9, "LIST": 1}


def test_what_this_machine_has_put_is_looked_at(proxy: Proxy, here: Movie, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is sent again; what is fresh is seen again after the sweeps that may have looked before."""
    contents = contents_of(10)
    here.blobs.put_many(contents)
    requests(proxy)
    here.blobs.put_many(contents)
    assert requests(proxy) == {"HEAD": 20, "LIST": 1}
    monkeypatch.setattr(bounds, "SWEEP_SECONDS", -60.0)  # nothing is fresh
    here.blobs.put_many(contents)
    assert requests(proxy) == {"HEAD": 10}


def test_what_another_machine_has_put_is_not_written_again(
    proxy: Proxy, here: Movie, place: S3Place, tmp_path: Path
) -> None:
    """Whose index has not heard of it: the server refuses the write, and what is there is looked at."""
    contents = contents_of(10)
    blobs = here.blobs.put_many(contents)
    with opened(place, tmp_path / "there") as there:
        before = {blob: there.driver.stat(blob_path(blob.hash)) for blob in blobs}
        requests(proxy)
        assert there.blobs.put_many(contents) == blobs
        refused = [seen for seen in proxy.requests if seen.request.method == "PUT" and seen.status == 412]
        assert len(refused) == 10
        assert requests(proxy) == {"PUT": 10, "HEAD": 30, "LIST": 2}
        assert {blob: there.driver.stat(blob_path(blob.hash)) for blob in blobs} == before


def test_a_damaged_object_of_that_name_is_replaced(proxy: Proxy, here: Movie, place: S3Place, tmp_path: Path) -> None:
    """One without a byte, as some servers leave after an upload that broke off; it moves to quarantine."""
    contents = contents_of(3)
    with opened(place, tmp_path / "there") as there:
        names = [blob_path(blob.hash) for blob in there.blobs.put_many(contents)]
    for name in names[1:]:
        here.driver.replace(name, b"")
    blobs = here.blobs.put_many(contents)
    assert [here.driver.read(name) for name in names] == contents
    assert [here.blobs.read(blob) for blob in blobs] == contents
    assert len([*here.driver.list("quarantine/")]) == 2


def test_the_lost_reply_of_a_write_is_a_write(proxy: Proxy, here: Movie) -> None:
    """Its mark tells that the object is ours: nothing is sent twice, and what is there is whole."""
    contents = contents_of(5)

    def writes(request: Request) -> bool:
        return request.conditional

    proxy.inject(Fault("drop", writes, last=2))
    blobs = here.blobs.put_many(contents)
    assert [here.driver.read(blob_path(blob.hash)) for blob in blobs] == contents
    assert [*here.driver.list("quarantine/")] == []
