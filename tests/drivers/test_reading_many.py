"""Many objects read side by side: one request each, no further ahead than allowed, put together by who takes them."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import os
import threading
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import Any, cast

import pytest
from hypothesis import given
from hypothesis import strategies as st

from renku_store import StoreUnavailableError
from renku_store.drivers.objects.client import ObjectHead
from renku_store.drivers.objects.driver import ObjectDriver
from renku_store.drivers.objects.obstore_client import ObstoreClient
from renku_store.drivers.objects.obstore_together import Together
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


@pytest.mark.parametrize("sizes", [[_LARGE_BYTES] * 12, [100] * 40, [_LARGE_BYTES, 0, 100] * 6], ids=str)
def test_many_objects_of_any_size_come_each_once(seaweed: Server, tmp_path: Path, sizes: list[int]) -> None:
    """Large, small and mixed, with some that are not there; also where an event loop runs in the thread that takes."""
    driver = obstore_driver(seaweed.place(), tmp_path / "workspace")
    contents = {f"{number}": os.urandom(size) for number, size in enumerate(sizes)}
    for name, data in contents.items():
        driver.replace(name, data)

    async def read() -> dict[str, bytes]:
        return driver.read_many([*contents, "missing"])

    assert dict([*driver.read_each([*contents, "missing", "0"])]) == contents
    assert asyncio.run(read()) == contents


def test_reading_goes_on_in_an_event_loop_and_in_another_thread(seaweed: Server, tmp_path: Path) -> None:
    """Wherever the next one is asked for, whatever runs there."""
    driver = obstore_driver(seaweed.place(), tmp_path / "workspace")
    contents = {f"{number}": os.urandom(_LARGE_BYTES) for number in range(12)}
    for name, data in contents.items():
        driver.replace(name, data)
    coming = driver.read_each(contents)

    async def some(count: int) -> list[tuple[str, bytes]]:
        return [*islice(coming, count)]

    found = [next(coming), *asyncio.run(some(4)), next(coming)]
    with ThreadPoolExecutor(1) as pool:
        found += pool.submit(lambda: [*coming]).result()
    assert len(found) == 12
    assert dict(found) == contents


def test_large_objects_are_fetched_by_one_thread(
    seaweed: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A thread each would be woken for each piece of a reply."""
    driver = obstore_driver(seaweed.place(), tmp_path / "workspace")
    contents = {f"{number}": os.urandom(_LARGE_BYTES) for number in range(12)}
    for name, data in contents.items():
        driver.replace(name, data)
    submitted: list[object] = []
    monkeypatch.setattr(ThreadPoolExecutor, "submit", lambda _pool, run: submitted.append(run))
    assert driver.read_many(contents) == contents
    assert submitted == []


@pytest.mark.usefixtures("short_pauses")
@pytest.mark.parametrize("kind", ["truncate", "reset"])
def test_replies_to_one_thread_that_break_off_are_asked_for_again(
    seaweed: Server, proxy: Proxy, tmp_path: Path, kind: str
) -> None:
    """Those alone, by the way of single reads, which repeats; all others came."""
    driver = obstore_driver(behind(seaweed.place(), proxy.endpoint), tmp_path / "workspace")
    contents = {f"{number}": os.urandom(_LARGE_BYTES) for number in range(12)}
    for name, data in contents.items():
        driver.replace(name, data)
    fault = proxy.inject(Fault(kind, lambda request: request.method == "GET", keep=2 * 1_048_576))  # type: ignore[arg-type]
    assert driver.read_many(contents) == contents
    assert fault.struck


def test_who_stops_reading_leaves_nothing_under_way(
    seaweed: Server, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """What was begun for who stops is given up, and the next one reads all."""
    driver = obstore_driver(seaweed.place(), tmp_path / "workspace")
    contents = {f"{number}": os.urandom(_LARGE_BYTES) for number in range(12)}
    for name, data in contents.items():
        driver.replace(name, data)
    coming: Any = driver.read_each(contents)
    name, data = next(coming)
    assert data == contents[name]
    coming.close()
    gc.collect()
    assert caplog.records == []
    assert driver.read_many(contents) == contents


class _Reply:
    """A reply of the library that came whole."""

    meta: Any = {"size": 1}  # noqa: RUF012

    async def bytes_async(self) -> Any:
        return self

    def __len__(self) -> int:
        return 1

    def to_bytes(self) -> bytes:
        return b"x"


@given(steps=st.lists(st.integers(0, 6), min_size=1, max_size=6))
def test_a_reply_is_given_whenever_it_came(steps: list[int]) -> None:
    """Also one that came while another was begun, or before anybody waited."""

    async def reply(_store: object, key: str) -> _Reply:
        for _ in range(int(key)):
            await asyncio.sleep(0)
        return _Reply()

    with pytest.MonkeyPatch.context() as patch, contextlib.closing(Together(cast("Any", None))) as together:
        patch.setattr("obstore.get_async", reply)
        together.begin(str(step) for step in steps[:2])
        given_ = []
        waiting = iter(steps[2:])
        while (came := together.next()) is not None:
            given_.append(came)
            together.begin(str(step) for step in islice(waiting, 1))
    assert sorted(given_) == sorted((str(step), b"x") for step in steps)
