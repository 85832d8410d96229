"""Blobs that lie far away, read and written by way of this machine's cache."""

from __future__ import annotations

import random
import shutil
import signal
import threading
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
import zstandard
from hypothesis import given, settings
from hypothesis import strategies as st

from renku_store import BlobCorruptError, BlobMissingError, Movie, bounds, check_movie
from renku_store.blobs import BlobStore
from renku_store.clock import SystemClock
from renku_store.drivers.caching.cache import ObjectCache
from renku_store.hashing import hash_bytes
from renku_store.records.blob import BlobRef, blob_path
from renku_store.records.events import ArtefactEvent
from renku_store.store import Store
from renku_store.testing.interleaving import Storage, Timeline
from renku_store.testing.interleaving.shared_objects import SharedObjects
from tests import children
from tests.authoring import LONG, artefact_event, publish
from tests.drivers.counted import CountedBucket, driver_of

LIMIT = 400 * bounds.CHUNK_BYTES
SMALL = b"A line of speech. " * 40
LARGE = random.Random(7).randbytes(9 * bounds.CHUNK_BYTES + 777)
MIDDLING = LARGE[: 2 * bounds.CHUNK_BYTES + 777]


@pytest.fixture
def bucket() -> CountedBucket:
    return CountedBucket()


@pytest.fixture
def blobs(bucket: CountedBucket, tmp_path: Path) -> BlobStore:
    """A reader of the bucket on a machine that has read nothing yet."""
    return reader(bucket, tmp_path)


def reader(bucket: CountedBucket, folder: Path) -> BlobStore:
    """Another process of a machine."""
    cache = ObjectCache(folder / "cache", LIMIT)
    return BlobStore(driver_of(bucket, folder / "workspace", cache), None, cache=cache)


def stored(bucket: CountedBucket, data: bytes, *, packed: bool = False) -> BlobRef:
    """A blob of the bucket."""
    digest = hash_bytes(data)
    bucket.objects[blob_path(digest, "zstd" if packed else "raw")] = (
        zstandard.ZstdCompressor(write_checksum=True).compress(data) if packed else data
    )
    return BlobRef(digest, len(data))


def forget_requests(bucket: CountedBucket) -> None:
    bucket.reads, bucket.looks, bucket.read_bytes = [], [], 0


def cached(folder: Path) -> list[Path]:
    """The files of a machine's cache, parts too."""
    return [path for path in (folder / "cache").glob("*/*") if path.is_file()]


@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize("data", [SMALL, LARGE], ids=["small", "large"])
@pytest.mark.parametrize("first", ["bytes", "stream", "file"])
def test_what_was_read_once_is_not_asked_for_again(
    bucket: CountedBucket, tmp_path: Path, first: str, data: bytes, packed: bool
) -> None:
    """Neither as bytes nor as a stream nor into a file, whichever of them was first, nor by another process."""
    blob = stored(bucket, data, packed=packed)
    ways = {"bytes": as_bytes, "stream": as_stream, "file": as_file}
    assert ways[first](reader(bucket, tmp_path), blob, tmp_path / "first") == data
    forget_requests(bucket)
    for number in range(2):
        blobs = reader(bucket, tmp_path)
        for name, way in ways.items():
            assert way(blobs, blob, tmp_path / f"{name}-{number}") == data
        assert blobs.read(blob.hash) == data
    assert (bucket.reads, bucket.looks) == ([], [])


def as_bytes(blobs: BlobStore, blob: BlobRef, target: Path) -> bytes:
    """All at once."""
    return blobs.read(blob)


def as_stream(blobs: BlobStore, blob: BlobRef, target: Path) -> bytes:
    """Piece by piece."""
    with blobs.open(blob) as stream:
        return b"".join(iter(lambda: stream.read(70_000), b""))


def as_file(blobs: BlobStore, blob: BlobRef, target: Path) -> bytes:
    """By way of a file."""
    blobs.copy_to(blob, target)
    return target.read_bytes()


def test_the_first_byte_does_not_wait_for_the_last(bucket: CountedBucket, blobs: BlobStore) -> None:
    """A large blob is handed over while it comes."""
    with blobs.open(stored(bucket, LARGE)) as stream:
        assert stream.read(100) == LARGE[:100]
        assert bucket.read_bytes < len(LARGE) / 2


def test_a_download_that_was_stopped_goes_on(bucket: CountedBucket, blobs: BlobStore, tmp_path: Path) -> None:
    """What came is not asked for again, but for the window with which a stream begins."""
    blob = stored(bucket, LARGE)
    with blobs.open(blob) as stream:
        assert stream.read(len(LARGE) // 2) == LARGE[: len(LARGE) // 2]
    forget_requests(bucket)
    assert reader(bucket, tmp_path).read(blob) == LARGE
    assert bucket.read_bytes <= len(LARGE) // 2 + bounds.OBJECT_WINDOW_MIN_BYTES + bounds.CHUNK_BYTES
    forget_requests(bucket)
    assert blobs.read(blob) == LARGE
    assert bucket.reads == []


_KILLED = """
import os, signal, sys
from pathlib import Path
from tests.drivers.counted import CountedBucket
from tests.test_blobs_cached import LARGE, reader, stored

bucket = CountedBucket()
blob = stored(bucket, LARGE)

def before_read(key, start):
    if start > len(LARGE) // 2:
        os.kill(os.getpid(), signal.SIGKILL)

bucket.before_read = before_read
with reader(bucket, Path(sys.argv[1])).open(blob) as stream:
    while stream.read(10_000):
        pass
"""


def test_a_download_that_was_killed_goes_on(bucket: CountedBucket, tmp_path: Path) -> None:
    """In another process, with the chunks that are whole; what is read in the end is verified."""
    ended = children.run(_KILLED, tmp_path)
    assert ended.code == -signal.SIGKILL, ended.err
    blob = stored(bucket, LARGE)
    assert reader(bucket, tmp_path).read(blob) == LARGE
    assert bucket.read_bytes < 0.8 * len(LARGE)
    assert [path.name for path in cached(tmp_path)] == [blob.hash]


_READER = """
import sys
from pathlib import Path
from tests.drivers.counted import CountedBucket
from tests.test_blobs_cached import LARGE, SMALL, reader, stored

bucket = CountedBucket()
wanted = [(stored(bucket, data, packed=packed), data) for data in (SMALL, LARGE) for packed in (0, 1)]
blobs = reader(bucket, Path(sys.argv[1]))
for blob, data in wanted:
    with blobs.open(blob) as stream:
        assert stream.read() == data
    assert blobs.read(blob) == data
"""


def test_two_processes_that_want_the_same_both_get_it(bucket: CountedBucket, tmp_path: Path) -> None:
    """Whoever of them keeps it: both read right bytes, and a third one asks for nothing."""
    pair = [children.start(_READER, tmp_path) for _ in range(2)]
    ended = [children.finish(child) for child in pair]
    assert [one.code for one in ended] == [0, 0], [one.err for one in ended]
    for data in (SMALL, LARGE):
        assert reader(bucket, tmp_path).read(stored(bucket, data)) == data
    assert bucket.reads == []


def test_threads_that_want_the_same_all_get_it(bucket: CountedBucket, blobs: BlobStore) -> None:
    """One keeps it, the others go to the storage."""
    blob, wrong = stored(bucket, LARGE), []

    def read() -> None:
        if blobs.read(blob) != LARGE:
            wrong.append(1)

    threads = [threading.Thread(target=read) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    forget_requests(bucket)
    assert (wrong, blobs.read(blob), bucket.reads) == ([], LARGE, [])


@settings(max_examples=30)
@given(
    place=st.integers(0, len(MIDDLING)),
    packed=st.booleans(),
    stream=st.booleans(),
    data=st.sampled_from([SMALL, MIDDLING]),
)
def test_damage_here_is_made_up_for_by_the_storage(
    tmp_path_factory: pytest.TempPathFactory, place: int, packed: bool, stream: bool, data: bytes
) -> None:
    """It is no damage of the blob: right bytes come, wherever the file is wrong, and are here the next time."""
    bucket, folder = CountedBucket(), tmp_path_factory.mktemp("machine")
    blob, blobs = stored(bucket, data, packed=packed), reader(bucket, folder)
    assert blobs.read(blob) == data
    (path,) = cached(folder)
    broken = bytearray(path.read_bytes())
    broken[place % len(broken)] ^= 1
    path.write_bytes(broken)
    if stream:
        with blobs.open(blob) as opened:
            assert b"".join(iter(lambda: opened.read(100_000), b"")) == data
    assert blobs.read(blob) == data
    forget_requests(bucket)
    assert (blobs.read(blob), bucket.reads) == (data, [])


@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize("size", [len(SMALL), len(LARGE)])
def test_damage_in_the_storage_is_told_and_not_kept(
    bucket: CountedBucket, blobs: BlobStore, tmp_path: Path, packed: bool, size: int
) -> None:
    """The next one reads it anew; once it is mended, it is read and kept."""
    data = LARGE[:size]
    blob = stored(bucket, data, packed=packed)
    (name,) = bucket.objects
    right = bucket.objects[name]
    bucket.objects[name] = right[:-9] + bytes([right[-9] ^ 1]) + right[-8:]
    for _ in range(2):
        with pytest.raises(BlobCorruptError):
            blobs.read(blob)
        with pytest.raises(BlobCorruptError), blobs.open(blob) as stream:
            stream.read()
    assert cached(tmp_path) == []
    bucket.objects[name] = right
    assert (blobs.read(blob), len(cached(tmp_path))) == (data, 1)


def test_what_is_nowhere_is_missing(bucket: CountedBucket, blobs: BlobStore, tmp_path: Path) -> None:
    """And leaves nothing here."""
    blob = BlobRef(hash_bytes(LARGE), len(LARGE))
    for size in (len(LARGE), 5):
        with pytest.raises(BlobMissingError):
            blobs.read(BlobRef(blob.hash, size))
        with pytest.raises(BlobMissingError):
            blobs.open(BlobRef(blob.hash, size))
    assert cached(tmp_path) == []


def test_an_empty_blob_is_read(bucket: CountedBucket, blobs: BlobStore) -> None:
    """Twice, in both ways."""
    blob = stored(bucket, b"")
    for _ in range(2):
        assert blobs.read(blob) == b""
        with blobs.open(blob) as stream:
            assert stream.read() == b""


def test_without_a_cache_everything_is_asked_for(bucket: CountedBucket, tmp_path: Path) -> None:
    """As often as it is read; nothing is left on this machine."""
    blobs = BlobStore(driver_of(bucket, tmp_path / "workspace", None), None)
    blob = stored(bucket, LARGE)
    assert [blobs.read(blob), blobs.read(blob)] == [LARGE, LARGE]
    assert bucket.read_bytes >= 2 * len(LARGE)
    assert list(tmp_path.iterdir()) == []


def test_a_cache_that_cannot_be_written_keeps_nobody_from_reading(
    bucket: CountedBucket, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """One warning, right bytes."""
    (tmp_path / "cache").write_bytes(b"")
    blobs = reader(bucket, tmp_path)
    for data in (SMALL, LARGE):
        assert blobs.read(stored(bucket, data)) == data
        with blobs.open(stored(bucket, data)) as stream:
            assert stream.read() == data
    assert [record.levelname for record in caplog.records] == ["WARNING"]


@pytest.fixture
def timeline() -> Timeline:
    """The clock of the storage, and of both machines."""
    return Timeline()


@pytest.fixture
def storage(tmp_path: Path, timeline: Timeline) -> Storage:
    """What two machines share."""
    return Storage(timeline, tmp_path)


@pytest.fixture
def movie(storage: Storage, tmp_path: Path) -> Iterator[Movie]:
    """A movie on one of them, which has a cache."""
    with closing(machine(storage, tmp_path / "here")) as store:
        yield store.create_movie("film")


def machine(storage: Storage, folder: Path) -> Store:
    """The root as a process of a machine has it."""
    driver = SharedObjects(storage, folder, cache=ObjectCache(folder / "cache", LIMIT))
    return Store("shared://objects", driver, SystemClock())


def test_what_is_put_is_kept(movie: Movie, storage: Storage, tmp_path: Path) -> None:
    """Bytes and files: they are read here without asking."""
    (tmp_path / "file").write_bytes(LARGE)
    blobs = [movie.blobs.put(SMALL), movie.blobs.put_file(tmp_path / "file")]
    storage.objects.clear()
    assert [movie.blobs.read(blob) for blob in blobs] == [SMALL, LARGE]


def test_what_another_machine_has_collected_is_put_again_by_publishing(
    movie: Movie, storage: Storage, tmp_path: Path
) -> None:
    """From what is kept here: no job is repeated for it."""
    event = artefact_event(movie, "narration[0].audio", LONG)
    movie.events.append_many([event])
    lose(storage, digest_of(event))
    assert not movie.blobs.has(digest_of(event))
    movie.manifests.save_manifest(movie.manifests.build_from_events("rev-0001"), previous_hash=None)
    with closing(machine(storage, tmp_path / "there")) as there:
        assert there.movie("film").blobs.read(digest_of(event)) == LONG.encode()


def test_what_is_nowhere_any_more_is_not_published(movie: Movie, storage: Storage, tmp_path: Path) -> None:
    """Then the publication says what is missing."""
    event = artefact_event(movie, "narration[0].audio", LONG)
    movie.events.append_many([event])
    lose(storage, digest_of(event))
    shutil.rmtree(tmp_path / "here" / "cache")
    with pytest.raises(BlobMissingError):
        movie.manifests.save_manifest(movie.manifests.build_from_events("rev-0001"), previous_hash=None)


def test_a_check_reads_what_is_stored(movie: Movie, storage: Storage, tmp_path: Path) -> None:
    """Though right bytes are here: damage in the root is found."""
    publish(movie, {"narration[0].audio": LONG})
    current = movie.manifests.current()
    assert current is not None
    blob = current[0].artefacts["narration[0].audio"].blob
    assert blob is not None
    (name,) = [name for name in storage.objects if blob in name]
    data, modified = storage.objects[name]
    storage.objects[name] = (bytes([data[0] ^ 1]) + data[1:], modified)
    assert movie.blobs.read(blob) == LONG.encode()
    with closing(machine(storage, tmp_path / "here")) as store, closing(store.examine("film")) as examined:
        problems = check_movie(examined).problems
    assert any(blob in problem.message for problem in problems)


def digest_of(event: ArtefactEvent) -> str:
    """The hash of the blob of an artefact."""
    assert event.value is not None
    assert event.value.blob is not None
    return event.value.blob


def lose(storage: Storage, digest: str) -> None:
    """Remove a blob, as a collector of another machine does that takes it for old."""
    for name in [name for name in storage.objects if digest in name]:
        del storage.objects[name]
