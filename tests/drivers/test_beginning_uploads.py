"""Uploads that begin before their commit: what others see, what stays bounded, and how it ends."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from pathlib import Path

import pytest
from msgspec.structs import replace

from renku_store import StoreUnavailableError, bounds
from renku_store.blobs import BlobStore
from renku_store.drivers.base import EarlyBatch
from renku_store.drivers.objects.driver import S3_GUARANTEES, ObjectDriver
from renku_store.drivers.objects.uploading import ObjectBatch
from renku_store.metadata.sqlite.opening import MEMORY, open_sqlite
from tests.drivers.counted import CountedBucket

_KIB = 1_024
_LONG_SECONDS = 30


class HeldUpBucket(CountedBucket):
    """Calls `before_put` with each key before it is written; `most` is how many writes went on at once."""

    def __init__(self) -> None:
        super().__init__()
        self.before_put: Callable[[str], None] = lambda _key: None
        self.most = 0
        self._now = 0

    def put(
        self, key: str, data: bytes, *, if_absent: bool = False, if_match: str | None = None, mark: str | None = None
    ) -> str | None:
        with self._lock:
            self._now += 1
            self.most = max(self.most, self._now)
        try:
            self.before_put(key)
            return super().put(key, data, if_absent=if_absent, if_match=if_match, mark=mark)
        finally:
            with self._lock:
                self._now -= 1


@pytest.fixture(autouse=True)
def _little(monkeypatch: pytest.MonkeyPatch) -> None:
    """Bounds a thousandth of what they are."""
    monkeypatch.setattr(bounds, "OBJECT_PART_BYTES", 8 * _KIB)
    monkeypatch.setattr(bounds, "OBJECT_STAGED_TOTAL_BYTES", 40 * _KIB)
    monkeypatch.setattr(bounds, "OBJECT_BATCH_BYTES", 32 * _KIB)


@pytest.fixture
def bucket() -> HeldUpBucket:
    return HeldUpBucket()


@pytest.fixture
def driver(bucket: HeldUpBucket, tmp_path: Path) -> ObjectDriver:
    """A driver with four threads, whose temporary files are below `tmp_path`."""
    return ObjectDriver(bucket, url="counted://bucket", prefix="", workspace=tmp_path, concurrency=4)


def files(folder: Path) -> int:
    """How many temporary files there are."""
    return sum(path.is_file() for path in folder.rglob("tmp/*"))


def stage(batch: ObjectBatch, name: str, data: bytes) -> None:
    """Stage an object and name it."""
    staged = batch.stage()
    staged.write(data)
    batch.name(staged, name)


def test_the_batches_of_an_object_storage_can_begin_early(driver: ObjectDriver) -> None:
    """So whoever may let them does not wait for their commit."""
    with driver.batch() as batch:
        assert isinstance(batch, EarlyBatch)


def test_the_next_uploads_begin_while_the_slowest_of_the_last_goes_on(
    driver: ObjectDriver, bucket: HeldUpBucket, tmp_path: Path
) -> None:
    """A batch never stands still for one of its objects, and nothing passes through a file meanwhile."""
    others = threading.Event()
    bucket.before_put = lambda key: None if key != "0" else _wait_for(others)
    contents = {f"{number}": os.urandom(8 * _KIB) for number in range(12)}
    with driver.batch() as batch:
        for name, data in contents.items():
            stage(batch, name, data)
            if batch.full:
                batch.begin()
                assert not batch.full
            assert files(tmp_path) == 0
        seen = bucket.objects.keys() - {"0"}
        assert len(seen) >= 12 - 4
        assert "0" not in bucket.objects
        others.set()
        assert batch.commit() == frozenset()
    assert bucket.objects == contents


def _wait_for(event: threading.Event) -> None:
    assert event.wait(_LONG_SECONDS)


def test_no_more_uploads_go_on_at_once_than_there_are_threads(driver: ObjectDriver, bucket: HeldUpBucket) -> None:
    """However often more are let begin."""
    with driver.batch() as batch:
        for number in range(40):
            stage(batch, f"{number}", b"small")
            batch.begin()
        assert batch.commit() == frozenset()
    assert len(bucket.objects) == 40
    assert bucket.most <= 4


def test_a_commit_tells_all_names_that_existed_also_of_what_had_begun(
    driver: ObjectDriver, bucket: HeldUpBucket
) -> None:
    """Of two files for one name the first stays, on whichever side of the beginning; then the batch begins anew."""
    bucket.objects["taken"] = b"old"
    with driver.batch() as batch:
        for name, data in (("taken", b"new"), ("twice", b"one"), ("free", b"1")):
            stage(batch, name, data)
        batch.begin()
        stage(batch, "twice", b"two")
        assert batch.commit() == {"taken", "twice"}
        stage(batch, "twice", b"three")
        assert batch.commit() == {"twice"}
        stage(batch, "last", b"4")
        assert batch.commit() == frozenset()
    assert bucket.objects == {"taken": b"old", "twice": b"one", "free": b"1", "last": b"4"}


def test_what_fails_after_it_began_is_told_at_the_next_occasion(
    driver: ObjectDriver, bucket: HeldUpBucket, tmp_path: Path
) -> None:
    """By `begin`, or at the latest by `commit`; nothing is left of the batch, and its memory is there for others."""

    def write() -> None:
        with driver.batch() as batch:
            for number in range(8):
                stage(batch, f"{number}", os.urandom(8 * _KIB))
                batch.begin()
            batch.commit()

    bucket.before_put = _refuse
    with pytest.raises(StoreUnavailableError, match="refused"):
        write()
    assert (bucket.objects, files(tmp_path)) == ({}, 0)
    bucket.before_put = lambda _key: None
    with driver.batch() as batch:
        for number in range(5):
            stage(batch, f"{number}", os.urandom(8 * _KIB))
        assert files(tmp_path) == 0
        assert batch.commit() == frozenset()


def _refuse(_key: str) -> None:
    raise StoreUnavailableError("refused")


def test_leaving_a_batch_ends_what_had_begun_and_begins_nothing_more(
    driver: ObjectDriver, bucket: HeldUpBucket, tmp_path: Path
) -> None:
    """Nobody writes any more once the context has ended, and no file or memory is held."""
    begun = threading.Semaphore(0)
    on = threading.Event()

    def hold(_key: str) -> None:
        begun.release()
        _wait_for(on)

    bucket.before_put = hold
    with driver.batch() as batch:
        for number in range(30):
            stage(batch, f"{number}", b"small")
        stage(batch, "large", os.urandom(9 * _KIB))
        batch.begin()
        for _ in range(4):
            assert begun.acquire(timeout=_LONG_SECONDS)
        on.set()
    written = len(bucket.objects)
    assert 4 <= written <= 31
    assert files(tmp_path) == 0
    with driver.batch() as again:
        for number in range(5):
            stage(again, f"again-{number}", os.urandom(8 * _KIB))
        assert files(tmp_path) == 0


@pytest.mark.parametrize("shared", [False, True])
def test_blobs_appear_before_their_commit_only_where_no_index_is_shared(
    bucket: HeldUpBucket, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, shared: bool
) -> None:
    """There an object's age protects it; where rows do, none appears without the lock that its row is coming under."""
    monkeypatch.setattr(bounds, "BLOB_HOLD_MAX_BYTES", 8 * _KIB)
    guarantees = replace(S3_GUARANTEES, shared_index=shared)
    driver = ObjectDriver(
        bucket, url="counted://bucket", prefix="", workspace=tmp_path, concurrency=4, guarantees=guarantees
    )
    began: list[str] = []
    begin = ObjectBatch.begin

    def note(batch: ObjectBatch) -> None:
        began.append("begin")
        begin(batch)

    monkeypatch.setattr(ObjectBatch, "begin", note)
    contents = [os.urandom(5 * _KIB) for _ in range(30)]
    stored = BlobStore(driver, open_sqlite(Path(MEMORY))).put_many(contents)
    assert bool(began) is not shared
    assert [bucket.objects[f"blobs/{blob.hash[:2]}/{blob.hash}"] for blob in stored] == contents
