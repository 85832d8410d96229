"""Many objects read side by side: one request each, no further ahead than allowed, put together by who takes them."""

from __future__ import annotations

import os
import threading
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from renku_store import StoreUnavailableError
from renku_store.drivers.objects.client import ObjectHead
from renku_store.drivers.objects.driver import ObjectDriver
from renku_store.drivers.objects.obstore_client import ObstoreClient
from renku_store.drivers.objects.working import Workers
from tests.drivers.counted import CountedBucket
from tests.drivers.proxy import Fault, Proxy
from tests.drivers.servers import Server, behind, credentials
from tests.drivers.test_s3 import obstore_driver

_THREADS = 4
_LARGE_BYTES = 3 * 1_048_576


@pytest.fixture
def bucket() -> CountedBucket:
    return CountedBucket()


@pytest.fixture
def driver(bucket: CountedBucket, tmp_path: Path) -> ObjectDriver:
    return ObjectDriver(bucket, url="counted://bucket", prefix="", workspace=tmp_path, concurrency=_THREADS)


def test_each_object_is_given_once_and_takes_one_request(driver: ObjectDriver, bucket: CountedBucket) -> None:
    """Also one that is named twice; one that is not there is left out."""
    bucket.objects = {f"{number}": os.urandom(number) for number in range(100)}
    names = [*bucket.objects, "7", "missing"]
    found = [*driver.read_each(names)]
    assert len(found) == 100
    assert dict(found) == bucket.objects == driver.read_many(names)
    assert sorted(key for key, _ in bucket.reads) == sorted([*bucket.objects] * 2)


def test_no_more_is_asked_for_than_threads_while_nobody_takes_it(driver: ObjectDriver, bucket: CountedBucket) -> None:
    """Large objects that are not taken do not fill the memory."""
    bucket.objects = {f"{number}": b"in two pieces, as large ones are" for number in range(100)}
    coming: Any = driver.read_each(bucket.objects)
    for taken in range(1, 20):
        next(coming)
        assert len(bucket.reads) <= taken + 2 * _THREADS
    coming.close()
    driver.close()
    assert len(bucket.reads) <= 19 + 2 * _THREADS


def test_many_items_take_as_many_threads_as_allowed_and_no_future_each(monkeypatch: pytest.MonkeyPatch) -> None:
    """A thousand items are begun by four submissions, not by a thousand."""
    submitted: list[object] = []
    submit = ThreadPoolExecutor.submit

    def note(pool: ThreadPoolExecutor, run: object) -> object:
        submitted.append(run)
        return submit(pool, run)  # type: ignore[arg-type]

    monkeypatch.setattr(ThreadPoolExecutor, "submit", note)
    workers = Workers(_THREADS)
    seen: list[int] = []
    threads: set[int] = set()

    def work(number: int) -> None:
        threads.add(threading.get_ident())
        seen.append(number)

    workers.map(work, range(1_000))
    workers.close()
    assert sorted(seen) == [*range(1_000)]
    assert len(submitted) <= _THREADS
    assert threading.get_ident() not in threads


@given(sizes=st.lists(st.integers(0, 200), max_size=30), limit=st.none() | st.integers(0, 200))
def test_reading_many_is_reading_each(sizes: list[int], limit: int | None) -> None:
    """The same bytes, however many, and whatever the limit."""
    bucket = CountedBucket()
    bucket.objects = {f"{number}": os.urandom(size) for number, size in enumerate(sizes)}
    driver = ObjectDriver(bucket, url="url", prefix="", workspace=Path("nowhere"), concurrency=_THREADS)
    assert driver.read_many(bucket.objects, limit) == {name: driver.read(name, limit) for name in bucket.objects}
    driver.close()


def test_an_error_ends_the_reading(driver: ObjectDriver, bucket: CountedBucket) -> None:
    """It is raised to who takes, and nothing more is asked for."""
    bucket.objects = {f"{number}": b"x" for number in range(100)}

    def fail(key: str, _start: int) -> None:
        if key == "50":
            raise StoreUnavailableError("no reply")

    bucket.before_read = fail
    with pytest.raises(StoreUnavailableError, match="no reply"):
        list(driver.read_each(bucket.objects))
    assert len(bucket.reads) < 99


def test_a_large_object_is_not_put_together_before_it_is_taken(seaweed: Server, tmp_path: Path) -> None:
    """Its pieces are as they came: not the thread that fetches puts 3 MiB together, but the one that takes them."""
    place = seaweed.place()
    client = ObstoreClient(place, credentials=credentials)
    driver = ObjectDriver(client, url=place.url, prefix=place.prefix, workspace=tmp_path)
    large, small = os.urandom(_LARGE_BYTES), os.urandom(4_096)
    driver.replace("large", large)
    driver.replace("small", small)
    driver.replace("empty", b"")
    found = client.get_pieces(f"{place.prefix}/large")
    assert found is not None
    assert len(found[0]) > 1
    assert b"".join(found[0]) == large
    assert driver.read_many(["large", "small", "empty", "missing"]) == {"large": large, "small": small, "empty": b""}
    assert driver.read_many(["large", "small", "empty"], 1_000) == {
        "large": large[:1_000],
        "small": small[:1_000],
        "empty": b"",
    }


@pytest.mark.usefixtures("short_pauses")
@pytest.mark.parametrize("kind", ["truncate", "reset"])
def test_a_reply_that_breaks_off_is_asked_for_again(seaweed: Server, proxy: Proxy, tmp_path: Path, kind: str) -> None:
    """Whole, and never with bytes of two replies mixed up."""
    driver = obstore_driver(behind(seaweed.place(), proxy.endpoint), tmp_path / "workspace")
    data = os.urandom(_LARGE_BYTES)
    driver.replace("x", data)
    fault = proxy.inject(Fault(kind, lambda request: request.method == "GET", keep=2 * 1_048_576))  # type: ignore[arg-type]
    assert driver.read_many(["x"]) == {"x": data}
    assert fault.struck


class _Shortening(CountedBucket):
    """Gives less than all of an object at first, which is `replaced` then, or not."""

    replaced = False

    def get_pieces(self, key: str, *, length: int | None = None) -> tuple[Sequence[bytes], ObjectHead] | None:
        found = super().get_pieces(key, length=length)
        assert found is not None
        if self.replaced:
            self.objects[key] = b"another"
        return (found[0][0],), replace(found[1], size=len(found[0][0]) + len(found[0][1]))


@pytest.mark.parametrize("replaced", [False, True])
def test_a_reply_that_ends_early_is_completed_or_named(tmp_path: Path, replaced: bool) -> None:
    """The rest is asked for from the byte reached, and never taken from another version."""
    bucket = _Shortening()
    bucket.objects = {"x": b"0123456789"}
    bucket.replaced = replaced
    driver = ObjectDriver(bucket, url="url", prefix="", workspace=tmp_path, concurrency=_THREADS)
    if not replaced:
        assert driver.read_many(["x"]) == {"x": b"0123456789"}
        assert bucket.reads == [("x", 0), ("x", 1)]
        return
    with pytest.raises(StoreUnavailableError, match="was replaced or removed"):
        driver.read_many(["x"])
