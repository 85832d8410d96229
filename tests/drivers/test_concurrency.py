"""The option `concurrency`: so many requests of one root are under way at once, whoever makes them."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from renku_store import bounds, copy_movies, open_store
from renku_store.clock import SystemClock
from renku_store.drivers.objects.driver import ObjectDriver
from renku_store.drivers.objects.limiting import Permits
from renku_store.drivers.objects.obstore_client import ObstoreClient
from renku_store.drivers.probe import probe
from tests.drivers.counted import CountedBucket
from tests.drivers.proxy import Proxy, Seen
from tests.drivers.servers import Server, behind, credentials
from tests.publishing import publish_files

_ALLOWED = 4
_THREADS = 8
_LARGE_BYTES = 1_048_576


class _Counting(Proxy):
    """Counts the requests for single objects that are under way; each waits a moment for one too many."""

    def __init__(self, port: int) -> None:
        super().__init__(port)
        self._counting = threading.Lock()
        self._too_many = threading.Event()
        self._now = 0
        self.most = 0

    def _ask(self, seen: Seen) -> bytes:
        if "list-type" in seen.request.path:
            return super()._ask(seen)
        with self._counting:
            self._now += 1
            self.most = max(self.most, self._now)
            if self.most > _ALLOWED:
                self._too_many.set()
        try:
            self._too_many.wait(0.02)  # what is allowed ends in any case: no more than a chance for others
            return super()._ask(seen)
        finally:
            with self._counting:
                self._now -= 1


@pytest.fixture
def counting(seaweed: Server) -> Iterator[_Counting]:
    with _Counting(seaweed.port) as made:
        yield made


def _each(driver: ObjectDriver, names: list[str]) -> object:
    return driver.read_many(names)


def _one_by_one(driver: ObjectDriver, names: list[str]) -> object:
    return [driver.read(name) for name in names]


def _streams(driver: ObjectDriver, names: list[str]) -> object:
    return [driver.open(name).read() for name in names]


def _looks(driver: ObjectDriver, names: list[str]) -> object:
    return driver.stat_many(names), driver.stat(names[0])


def _writes(driver: ObjectDriver, names: list[str]) -> object:
    own = f"{threading.get_ident()}"
    with driver.batch() as batch:
        for name in names:
            staged = batch.stage()
            staged.write(b"x")
            batch.name(staged, f"{own}/{name}")
        batch.commit()
    return driver.sub(own).read_many(names)


@pytest.mark.parametrize("use", [_each, _one_by_one, _streams, _looks, _writes])
@pytest.mark.parametrize("size", [100, _LARGE_BYTES])
def test_no_more_requests_are_under_way_than_allowed(
    seaweed: Server, counting: _Counting, tmp_path: Path, size: int, use: Callable[[ObjectDriver, list[str]], object]
) -> None:
    """From however many threads the root is used."""
    place = behind(seaweed.place(), counting.endpoint)
    client = ObstoreClient(place, credentials=credentials)
    driver = ObjectDriver(client, url=place.url, prefix=place.prefix, workspace=tmp_path, concurrency=_ALLOWED)
    names = [f"{number}" for number in range(10)]
    data = os.urandom(size)
    for name in names:
        driver.replace(name, data)
    with ThreadPoolExecutor(_THREADS) as pool:
        for done in [pool.submit(use, driver, names) for _ in range(_THREADS)]:
            done.result()
    assert counting.most <= _ALLOWED
    driver.close()


def test_who_lets_a_reading_lie_keeps_nobody_waiting(seaweed: Server, tmp_path: Path) -> None:
    """One request is left to those that end by themselves."""
    place = seaweed.place()
    client = ObstoreClient(place, credentials=credentials)
    driver = ObjectDriver(client, url=place.url, prefix=place.prefix, workspace=tmp_path, concurrency=_ALLOWED)
    contents = {f"{number}": os.urandom(_LARGE_BYTES) for number in range(20)}
    for name, data in contents.items():
        driver.replace(name, data)
    first, second = driver.read_each(contents), driver.read_each(contents)
    found = [dict([next(first)]), dict([next(second)])]
    assert driver.read_many(contents) == contents
    assert found[0] | dict(first) == found[1] | dict(second) == contents


def test_a_permit_that_is_dropped_is_free_again() -> None:
    """As an interruption drops it, before whoever waited for it knows of it."""
    permits = Permits(3)
    many = permits.none()
    many.widen()
    assert many.count == 2
    with permits.one():
        many.widen()
        assert many.count == 2
    many.narrow(1)
    del many
    assert [permits.one().count for _ in range(10)] == [1] * 10
    assert [permit.count for permit in [permits.one() for _ in range(3)]] == [1, 1, 1]
    permits.none().widen()
    many = permits.none()
    many.widen()
    assert many.count == 2


class _Careless(CountedBucket):
    """Looks whether a name is free, and then writes, however many have looked meanwhile."""

    def __init__(self) -> None:
        super().__init__()
        self.together = threading.Barrier(bounds.PROBE_CREATORS, timeout=60)
        self.looked = 0

    def put(
        self, key: str, data: bytes, *, if_absent: bool = False, if_match: str | None = None, mark: str | None = None
    ) -> str | None:
        with self._lock:
            self.looked += if_absent
            all_ = self.looked <= bounds.PROBE_CREATORS
        if not (if_absent and all_):
            return super().put(key, data, if_absent=if_absent, if_match=if_match, mark=mark)
        self.together.wait()
        return super().put(key, data)


def test_a_probe_races_though_one_request_is_allowed(tmp_path: Path) -> None:
    """What one machine alone never sees, the next one does."""
    driver = ObjectDriver(_Careless(), url="careless://bucket", prefix="", workspace=tmp_path, concurrency=1)
    (missing,) = probe(driver, SystemClock()).missing
    assert f"{bounds.PROBE_CREATORS} of {bounds.PROBE_CREATORS}" in missing


@pytest.mark.usefixtures("s3_environment")
def test_a_copy_asks_for_no_more_than_allowed(seaweed: Server, counting: _Counting, tmp_path: Path) -> None:
    """It carries blobs with threads of its own."""
    place = seaweed.place()
    with open_store(place.url, endpoint=seaweed.endpoint, cache=tmp_path / "one", cache_bytes=0) as store:
        files = {f"n[{number}]": ("image/png", os.urandom(5_000)) for number in range(40)}
        publish_files(store.create_movie("film"), files)
    with (
        open_store(
            place.url, endpoint=counting.endpoint, cache=tmp_path / "two", cache_bytes=0, concurrency=_ALLOWED
        ) as source,
        open_store(tmp_path / "builds") as target,
    ):
        assert copy_movies(source, target).movies[0].problem is None
        assert len(target.movie("film").manifests.load("latest").artefacts) == 40
    assert counting.most <= _ALLOWED
