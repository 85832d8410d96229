"""New objects that wait for their upload: in memory as far as that is shared out, else in files; and full batches."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from renku_store import bounds
from renku_store.blobs import BlobStore
from renku_store.drivers.objects.driver import ObjectDriver
from renku_store.drivers.objects.uploading import ObjectBatch
from renku_store.metadata.sqlite.opening import MEMORY, open_sqlite
from tests import children
from tests.drivers.counted import CountedBucket, driver_of
from tests.drivers.servers import Server

_KIB = 1_024


@pytest.fixture(autouse=True)
def _little(monkeypatch: pytest.MonkeyPatch) -> None:
    """Bounds a thousandth of what they are."""
    monkeypatch.setattr(bounds, "OBJECT_PART_BYTES", 8 * _KIB)
    monkeypatch.setattr(bounds, "OBJECT_STAGED_TOTAL_BYTES", 40 * _KIB)
    monkeypatch.setattr(bounds, "OBJECT_BATCH_BYTES", 32 * _KIB)


@pytest.fixture
def bucket() -> CountedBucket:
    return CountedBucket()


@pytest.fixture
def driver(bucket: CountedBucket, tmp_path: Path) -> ObjectDriver:
    """A driver whose temporary files are below `tmp_path`."""
    return driver_of(bucket, tmp_path, None)


def files(folder: Path) -> int:
    """How many temporary files there are."""
    return sum(path.is_file() for path in folder.rglob("tmp/*"))


def stage(batch: ObjectBatch, name: str, data: bytes) -> None:
    """Stage an object, in pieces."""
    staged = batch.stage()
    for start in range(0, len(data), 3 * _KIB):
        staged.write(data[start : start + 3 * _KIB])
    batch.name(staged, name)


@pytest.mark.parametrize(("kibibytes", "expected"), [(1, 0), (8, 0), (9, 1), (30, 1)])
def test_what_one_request_carries_waits_in_memory(
    driver: ObjectDriver, bucket: CountedBucket, tmp_path: Path, kibibytes: int, expected: int
) -> None:
    """What goes in parts waits in a file; both arrive as they were."""
    data = os.urandom(kibibytes * _KIB)
    with driver.batch() as batch:
        stage(batch, "x", data)
        assert files(tmp_path) == expected
        assert batch.commit() == frozenset()
    assert bucket.objects["x"] == data
    assert files(tmp_path) == 0


def test_all_batches_of_a_root_share_its_memory(driver: ObjectDriver, bucket: CountedBucket, tmp_path: Path) -> None:
    """What finds none of it left waits in a file; what is uploaded, discarded or left behind gives it back."""
    contents = {f"film/{number}": os.urandom(8 * _KIB) for number in range(5)}
    with driver.batch() as first, driver.sub("film/").batch() as second:
        for name, data in contents.items():
            stage(first, name, data)
        assert files(tmp_path) == 0
        stage(second, "6", b"one more")
        assert files(tmp_path) == 1
        first.commit()
        stage(second, "7", os.urandom(8 * _KIB))
        assert files(tmp_path) == 1
        second.commit()
    assert {name: bucket.objects[name] for name in contents} == contents
    assert bucket.objects["film/6"] == b"one more"
    with driver.batch() as batch:
        for name, data in contents.items():
            stage(batch, f"again/{name}", data)
            assert files(tmp_path) == 0


def test_a_batch_is_full_from_so_many_bytes_in_memory(driver: ObjectDriver) -> None:
    """Files do not count; what is discarded does not count any longer; another batch does not either."""
    with driver.batch() as batch, driver.batch() as other:
        stage(batch, "large", bytes(100 * _KIB))
        for number in range(3):
            stage(batch, f"{number}", bytes(8 * _KIB))
        assert not batch.full
        last = batch.stage()
        last.write(bytes(8 * _KIB))
        assert batch.full
        assert not other.full
        batch.discard(last)
        assert not batch.full


def test_many_blobs_are_uploaded_while_the_others_are_still_to_come(
    driver: ObjectDriver, bucket: CountedBucket, tmp_path: Path
) -> None:
    """A batch that is full goes up before more is taken: none of it passes through a file, and memory is bounded."""
    contents = [os.urandom(5 * _KIB) for _ in range(50)]
    waiting: list[int] = []

    def coming() -> Iterator[bytes]:
        for number, data in enumerate(contents):
            waiting.append(number - len(bucket.objects))
            assert files(tmp_path) == 0
            yield data

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(bounds, "BLOB_HOLD_MAX_BYTES", 8 * _KIB)
        stored = BlobStore(driver, open_sqlite(Path(MEMORY))).put_many(coming())
    assert max(waiting) * 5 <= 40 + 2 * 8
    assert [bucket.objects[f"blobs/{blob.hash[:2]}/{blob.hash}"] for blob in stored] == contents


_MUCH_IN_LITTLE = """
    import os, sys
    from pathlib import Path
    from renku_store.blobs import BlobStore
    from renku_store.drivers.objects.options import S3Place
    from renku_store.metadata.sqlite.opening import MEMORY, open_sqlite
    from tests.drivers.test_s3 import obstore_driver

    MIB = 1_048_576
    def peak():
        return int(Path("/proc/self/status").read_text().partition("VmHWM:")[2].split()[0])
    class Noise:
        left = 200 * MIB
        def read(self, count):
            count = min(count, self.left)
            self.left -= count
            return os.urandom(count)
    place = S3Place("renku", sys.argv[2], endpoint=sys.argv[1], region="us-east-1", path_style=True)
    blobs = BlobStore(obstore_driver(place, Path(sys.argv[3])), open_sqlite(Path(MEMORY)))
    blobs.put(b"small")
    idle = peak()
    if sys.argv[4] == "one stream":
        assert blobs.put(Noise()).size == 200 * MIB
    else:
        assert len(blobs.put_many(os.urandom(5 * MIB) for _ in range(40))) == 40
    print((peak() - idle) // 1_024)
"""


@pytest.mark.long
@pytest.mark.parametrize("what", ["one stream", "many blobs"])
def test_much_goes_up_in_little_memory(seaweed: Server, tmp_path: Path, what: str) -> None:
    """200 MiB of noise within 64 MiB above the idle process, in one blob, or 112 in 40."""
    ended = children.run(_MUCH_IN_LITTLE, seaweed.endpoint, seaweed.place().prefix, tmp_path, what)
    assert (ended.code, ended.err) == (0, "")
    assert int(ended.out) < (64 if what == "one stream" else 112)
