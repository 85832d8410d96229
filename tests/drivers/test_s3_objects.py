"""What an S3 driver does beside the shared suite: its requests, how it verifies, streams, copies and recovers."""

from __future__ import annotations

import io
import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from renku_store import bounds
from renku_store.drivers.objects.client import ObjectHead
from renku_store.drivers.objects.driver import ObjectDriver
from renku_store.drivers.objects.keys import Keys
from renku_store.drivers.objects.obstore_client import ObstoreClient
from renku_store.drivers.objects.options import S3Place
from renku_store.drivers.objects.streaming import ObjectStream
from renku_store.errors import (
    BlobCorruptError,
    BlobMissingError,
    InvalidIdError,
    StoreUnavailableError,
    UnsafeDriverError,
)
from tests import children
from tests.drivers.proxy import Fault, Proxy
from tests.drivers.servers import Server, behind, credentials
from tests.drivers.test_s3 import obstore_driver

_PART_BYTES = 5 * 1_048_576
"""The least that S3 allows."""
_LARGE = bytes(range(256)) * (_PART_BYTES // 256 + 1)


@pytest.fixture
def driver(proxy: Proxy, seaweed: Server, tmp_path: Path) -> ObjectDriver:
    """A driver behind it, with an empty root."""
    return obstore_driver(behind(seaweed.place(), proxy.endpoint), tmp_path / "workspace")


@pytest.fixture
def unverifying(moto: Server) -> Iterator[Proxy]:
    """A proxy before moto's server, which does not look at signatures."""
    with Proxy(moto.port) as made:
        yield made


@pytest.fixture
def small_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    """Parts as small as S3 allows."""
    monkeypatch.setattr(bounds, "OBJECT_PART_BYTES", _PART_BYTES)


def write(driver: ObjectDriver, objects: dict[str, bytes]) -> frozenset[str]:
    """Write objects in one batch."""
    with driver.batch() as batch:
        for name, data in objects.items():
            staged = batch.stage()
            staged.write(data)
            batch.name(staged, name)
        return batch.commit()


def leftovers(folder: Path) -> list[Path]:
    """Files below the workspace that are no locks."""
    return [path for path in folder.rglob("*") if path.is_file() and "locks" not in path.parts]


def test_only_writes_in_one_request_have_conditions(driver: ObjectDriver, proxy: Proxy, small_parts: None) -> None:
    """Manifests If-None-Match, pointers If-Match, small blobs If-None-Match; parts and copies have none."""
    driver.create("manifest", b"{}")
    driver.compare_and_swap("manifest", b"{}", b"[]")
    write(driver, {"blob": b"small", "film": _LARGE})
    driver.replace("tag", b"{}")
    assert driver.move("film", "moved")
    sent = [seen.request for seen in proxy.requests if seen.request.method in {"PUT", "POST"}]
    conditions = [(request.headers.get("if-none-match"), "if-match" in request.headers) for request in sent]
    assert conditions[:2] == [("*", False), (None, True)]
    assert sorted(request.path.rpartition("/")[2] for request in sent if request.conditional) == [
        "blob", "manifest", "manifest",
    ]  # fmt: skip
    assert any("partNumber" in request.path for request in sent)


def test_a_small_blob_takes_one_request(driver: ObjectDriver, proxy: Proxy) -> None:
    """Its name is taken and its bytes verified by the reply."""
    write(driver, {"blob": b"small"})
    assert [seen.request.method for seen in proxy.requests] == ["PUT"]
    assert driver.read("blob") == b"small"
    assert [seen.request.method for seen in proxy.requests] == ["PUT", "GET"]


def test_a_large_blob_that_exists_is_not_sent_again(driver: ObjectDriver, proxy: Proxy, small_parts: None) -> None:
    """It is looked at, no more."""
    assert write(driver, {"film": _LARGE}) == frozenset()
    before = len(proxy.requests)
    assert write(driver, {"film": _LARGE}) == {"film"}
    assert [seen.request.method for seen in proxy.requests[before:]] == ["HEAD"]


@pytest.mark.parametrize("data", [b"what was sent", _LARGE])
def test_bytes_that_change_on_the_way_are_noticed_and_sent_again(
    unverifying: Proxy, moto: Server, tmp_path: Path, small_parts: None, data: bytes
) -> None:
    """Even where the server does not check the signature; the first request of the upload is met."""
    driver = obstore_driver(behind(moto.place(), unverifying.endpoint), tmp_path / "workspace")
    unverifying.inject(Fault("corrupt", lambda request: request.method == "PUT"))
    assert write(driver, {"blob": data}) == frozenset()
    assert driver.read("blob") == data


def test_bytes_that_keep_changing_on_the_way_are_an_error_and_leave_no_object(
    unverifying: Proxy, moto: Server, tmp_path: Path
) -> None:
    """The name stays free, and no temporary file is left."""
    driver = obstore_driver(behind(moto.place(), unverifying.endpoint), tmp_path / "workspace")
    unverifying.inject(Fault("corrupt", lambda request: request.method == "PUT", last=10**9))
    with pytest.raises(BlobCorruptError, match="did not hold what was sent"):
        write(driver, {"blob": b"what was sent"})
    assert driver.stat("blob") is None
    assert leftovers(tmp_path) == []


@pytest.mark.parametrize("operation", ["create", "replace", "swap", "batch", "parts"])
def test_a_server_that_compares_checksums_is_given_one(
    driver: ObjectDriver, proxy: Proxy, small_parts: None, operation: str
) -> None:
    """It refuses bytes that changed on the way, and they are sent again, whatever is written."""
    driver.create("pointer", b"old")
    fault = proxy.inject(
        Fault("corrupt", lambda request: request.method == "PUT", last=1 if operation == "parts" else 2)
    )
    if operation == "create":
        assert driver.create("x", b"new")
    elif operation == "replace":
        driver.replace("x", b"new")
    elif operation == "swap":
        assert driver.compare_and_swap("pointer", b"old", b"new")
    else:
        assert write(driver, {"x": _LARGE if operation == "parts" else b"new"}) == frozenset()
    expected = _LARGE if operation == "parts" else b"new"
    assert driver.read("pointer" if operation == "swap" else "x") == expected
    assert len(fault.struck) == fault.last


def test_bytes_that_always_change_on_the_way_are_named(
    driver: ObjectDriver, proxy: Proxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By what the server says of them; nothing is written."""
    monkeypatch.setattr(bounds, "OBJECT_FIRST_PAUSE_SECONDS", 0.002)
    proxy.inject(Fault("corrupt", lambda request: request.method == "PUT", last=10**9))
    for attempt in (lambda: driver.create("x", b"1"), lambda: driver.replace("x", b"1")):
        with pytest.raises(StoreUnavailableError, match="is not what was sent"):
            attempt()
    assert driver.stat("x") is None


class _OtherTags(ObstoreClient):
    """Gives tags that are no digests of the bytes, as for objects that are encrypted with a customer's keys."""

    def put(self, key: str, data: bytes, **conditions: object) -> str | None:
        """The same write."""
        super().put(key, data, **conditions)  # type: ignore[arg-type]
        return '"0123456789abcdef0123456789abcdef"'


def test_where_tags_tell_nothing_one_object_is_read_back_and_the_others_by_size(
    proxy: Proxy, seaweed: Server, tmp_path: Path
) -> None:
    """So that encryption with keys of one's own costs one read, not one for each blob."""
    place = behind(seaweed.place(), proxy.endpoint)
    client = _OtherTags(place, credentials=credentials)
    driver = ObjectDriver(client, url=place.url, prefix=place.prefix, workspace=tmp_path, concurrency=1)
    write(driver, {f"blob-{number}": b"%d" % number for number in range(5)})
    methods = [seen.request.method for seen in proxy.requests]
    assert (methods.count("PUT"), methods.count("GET"), methods.count("HEAD")) == (5, 1, 5)


class _NoTags(ObstoreClient):
    """Tells no tags."""

    def get(self, key: str, *, start: int = 0, length: int | None = None) -> tuple[bytes, ObjectHead] | None:
        """The same bytes."""
        found = super().get(key, start=start, length=length)
        return found and (found[0], replace(found[1], etag=None))


def test_without_a_tag_nothing_is_replaced(seaweed: Server, tmp_path: Path) -> None:
    """A condition that has nothing to compare would be no condition."""
    place = seaweed.place()
    client = _NoTags(place, credentials=credentials)
    driver = ObjectDriver(client, url=place.url, prefix=place.prefix, workspace=tmp_path)
    assert driver.compare_and_swap("x", None, b"one")
    with pytest.raises(UnsafeDriverError, match="entity tag"):
        driver.compare_and_swap("x", b"one", b"two")
    assert driver.read("x") == b"one"


def test_no_temporary_file_outlives_a_batch(driver: ObjectDriver, proxy: Proxy, tmp_path: Path) -> None:
    """After success, a taken name, an error, and a batch that was left."""
    write(driver, {"a": b"1"})
    write(driver, {"a": b"2"})
    proxy.inject(Fault("answer", last=10**9, status=403, code="AccessDenied"))
    with pytest.raises(StoreUnavailableError):
        write(driver, {"b": b"3"})
    with driver.batch() as batch:
        batch.stage()
    assert leftovers(tmp_path) == []


@given(
    data=st.binary(max_size=300),
    window=st.integers(1, 64),
    moves=st.lists(st.tuples(st.integers(0, 320), st.integers(0, 2), st.integers(-1, 80)), max_size=8),
)
def test_a_stream_reads_as_the_bytes_themselves_would(
    data: bytes, window: int, moves: list[tuple[int, int, int]]
) -> None:
    """Wherever it is moved to, however much is asked for, and whatever replies hold less than was asked for."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(bounds, "OBJECT_WINDOW_BYTES", window)
        patch.setattr(bounds, "OBJECT_FIRST_PAUSE_SECONDS", 0.0)
        stream = io.BufferedReader(ObjectStream(_Halves(data), "key", "url", lambda: BlobMissingError("")), 16)
        model = io.BytesIO(data)
        for place, whence, count in moves:
            offset = place if whence == 0 else 0
            assert stream.seek(offset, whence) == model.seek(offset, whence)
            assert stream.read(count) == model.read(count)
            assert stream.tell() == model.tell()


@given(data=st.binary(max_size=300), limit=st.none() | st.integers(0, 320))
def test_a_read_is_whole_although_replies_are_short(data: bytes, limit: int | None) -> None:
    """What is left is asked for from the byte reached."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(bounds, "OBJECT_FIRST_PAUSE_SECONDS", 0.0)
        driver = ObjectDriver(_Halves(data), url="url", prefix="", workspace=Path("nowhere"))
        assert driver.read("x", limit) == data[:limit]


def test_replies_that_stay_empty_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """The error says how far the read came."""
    monkeypatch.setattr(bounds, "OBJECT_FIRST_PAUSE_SECONDS", 0.0)
    driver = ObjectDriver(_Halves(b"0123456789", until=5), url="url", prefix="", workspace=Path("nowhere"))
    with pytest.raises(StoreUnavailableError, match="end after 5 of 10 bytes"):
        driver.read("x")


class _Halves(ObstoreClient):
    """One object, of which a reply gives at most the half, rounded up, of what was asked for, and nothing `until`."""

    def __init__(self, data: bytes, until: int | None = None) -> None:
        self._data = data
        self._until = until

    def get(self, key: str, *, start: int = 0, length: int | None = None) -> tuple[bytes, ObjectHead] | None:
        """The first half of the range."""
        end = len(self._data) if length is None else min(start + length, len(self._data))
        whole = self._data[start:end]
        half = b"" if start == self._until else whole[: -(-len(whole) // 2)]
        return half, ObjectHead(key, len(self._data), 0.0, "tag")


def test_a_stream_whose_object_is_replaced_says_so(driver: ObjectDriver, monkeypatch: pytest.MonkeyPatch) -> None:
    """It never gives the beginning of one version and the end of another."""
    monkeypatch.setattr(bounds, "OBJECT_WINDOW_BYTES", 1_000)
    driver.replace("x", b"1" * 5_000)
    with driver.open("x") as stream:
        assert stream.read(10) == b"1" * 10
        driver.replace("x", b"2" * 5_000)
        with pytest.raises(StoreUnavailableError, match="was replaced or removed"):
            stream.read()


def test_a_part_of_an_object_takes_one_request_for_that_part(
    driver: ObjectDriver, proxy: Proxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Seeking asks for nothing."""
    monkeypatch.setattr(bounds, "OBJECT_WINDOW_BYTES", 1_000)
    driver.replace("x", bytes(range(250)) * 40)
    before = len(proxy.requests)
    with driver.open("x") as stream:
        stream.seek(-5, io.SEEK_END)
        assert stream.read() == bytes(range(245, 250))
    ranges = [seen.request.headers["range"] for seen in proxy.requests[before:]]
    assert ranges == ["bytes=0-999", "bytes=9995-9999"]


def test_a_stream_asks_for_more_at_a_time_as_it_is_read_on(
    driver: ObjectDriver, proxy: Proxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A look at the beginning is cheap, the whole takes few requests, and a jump begins anew."""
    monkeypatch.setattr(bounds, "OBJECT_WINDOW_MIN_BYTES", 1_000)
    monkeypatch.setattr(bounds, "OBJECT_WINDOW_BYTES", 4_000)
    driver.replace("x", b"0123456789" * 2_000)
    before = len(proxy.requests)
    with driver.open("x") as stream:
        assert stream.read(12_000) == b"0123456789" * 1_200
        stream.seek(18_500)
        assert stream.read(10) == b"0123456789"
    starts = [seen.request.headers["range"].partition("-")[0] for seen in proxy.requests[before:]]
    assert starts == ["bytes=0", "bytes=1000", "bytes=3000", "bytes=7000", "bytes=11000", "bytes=18500"]


def test_a_listing_goes_on_where_a_page_broke_off(driver: ObjectDriver, proxy: Proxy) -> None:
    """Nothing is left out, and nothing told twice."""
    names = [f"blobs/{number:04d}" for number in range(1_200)]
    write(driver, dict.fromkeys(names, b""))
    fault = proxy.inject(Fault("truncate", lambda request: request.method == "GET", first=2, last=2, keep=50))
    assert [found.name for found in driver.list("")] == names
    assert fault.struck


def test_objects_too_large_to_be_copied_by_the_server_move_nevertheless(
    driver: ObjectDriver, proxy: Proxy, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """By way of a temporary file, which goes."""
    monkeypatch.setattr(bounds, "OBJECT_COPY_MAX_BYTES", 1_000)
    driver.replace("x", b"large" * 1_000)
    assert driver.move("x", "y")
    assert (driver.stat("x"), driver.read("y")) == (None, b"large" * 1_000)
    assert not any("x-amz-copy-source" in seen.request.headers for seen in proxy.requests)
    assert leftovers(tmp_path) == []


def test_a_large_object_is_renewed_by_the_server(driver: ObjectDriver, proxy: Proxy, small_parts: None) -> None:
    """Its bytes do not travel, and nothing is left aside."""
    write(driver, {"film": _LARGE})
    before = len(proxy.requests)
    driver.renew("film")
    assert sum(len(seen.request.raw) for seen in proxy.requests[before:]) < 20_000
    assert driver.read("film") == _LARGE
    assert [found.name for found in driver.list("")] == ["film"]
    assert list(driver.list("tmp/")) == []  # some servers list the folder that has become empty


def test_renewing_does_not_bring_back_what_is_removed_meanwhile(driver: ObjectDriver, proxy: Proxy) -> None:
    """A collector may delete between the read and the write."""
    driver.create("x", b"1")
    held = proxy.inject(Fault("late", lambda request: request.method == "PUT"))
    renewing = threading.Thread(target=driver.renew, args=("x",))
    proxy.inject(Fault("answer", lambda request: request.conditional and bool(held.struck), last=3))
    renewing.start()
    renewing.join()
    driver.delete("x")
    proxy.calm()
    assert driver.stat("x") is None


@given(name=st.text(min_size=1, max_size=40))
def test_every_name_has_a_key_of_its_own_and_comes_back(name: str) -> None:
    """Keys hold nothing that servers refuse or change."""
    keys = Keys("a/prefix")
    try:
        key = keys.key(name)
    except InvalidIdError:
        return
    assert keys.name(key) == name
    assert key.startswith("a/prefix/")
    assert not any(character < " " or character in "\x7f\\" for character in key)


def test_the_url_names_bucket_and_folder_and_the_workspace_follows(tmp_path: Path) -> None:
    """Nothing is asked of the storage for it."""
    place = S3Place("bucket", "videos", endpoint="http://127.0.0.1:1", region="us-east-1", path_style=True)
    driver = obstore_driver(place, tmp_path)
    assert (driver.url, driver.workspace()) == ("s3://bucket/videos", tmp_path)
    movie = driver.sub("film").sub("cut/")
    assert (movie.url, movie.workspace()) == ("s3://bucket/videos/film/cut", tmp_path / "film" / "cut")
    assert not movie.guarantees.shared_index
    assert not tmp_path.joinpath("film").exists()


def test_a_server_that_is_killed_and_started_again_interrupts_nothing(seaweed: Server, tmp_path: Path) -> None:
    """A batch that is under way meanwhile is there, whole, afterwards."""
    driver = obstore_driver(seaweed.place(), tmp_path)
    objects = {f"blobs/{number}": b"%d" % number * 100 for number in range(2_000)}
    uploading = threading.Thread(target=write, args=(driver, objects))
    uploading.start()
    while not list(driver.list("blobs/")):
        pass
    seaweed.kill()
    assert seaweed.start()
    uploading.join()
    assert {found.name: found.size for found in driver.list("")} == {name: len(data) for name, data in objects.items()}
    assert driver.read("blobs/1999") == objects["blobs/1999"]


_FORKED = """
    import os, sys
    from pathlib import Path
    from renku_store.drivers.objects.options import S3Place
    from renku_store.errors import StoreUnavailableError
    from tests.drivers.test_s3 import obstore_driver

    place = S3Place("renku", sys.argv[2], endpoint=sys.argv[1], region="us-east-1", path_style=True)
    driver = obstore_driver(place, Path(sys.argv[3]))
    if sys.argv[4] == "used":
        driver.replace("x", b"1")
    child = os.fork()
    if child == 0:
        code = 0
        for use in (lambda: driver.replace("x", b"2"), lambda: driver.create("x", b"3"), lambda: driver.read("x")):
            try:
                use()
            except StoreUnavailableError as error:
                code += "forked" in error.message
        os._exit(code)
    print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), driver.read("x"))
"""


@pytest.mark.parametrize(("before", "said"), [("used", "3 b'1'\n"), ("unused", "0 b'2'\n")])
def test_a_forked_process_is_refused_rather_than_left_waiting(
    seaweed: Server, tmp_path: Path, before: str, said: str
) -> None:
    """Where its parent had used the library, whose threads it has not got."""
    ended = children.run(_FORKED, seaweed.endpoint, seaweed.place().prefix, tmp_path, before)
    assert (ended.code, ended.out, ended.err) == (0, said, "")


_LARGE_IN_LITTLE = """
    import os, sys
    from pathlib import Path
    from renku_store.drivers.objects.options import S3Place
    from tests.drivers.servers import credentials
    from tests.drivers.test_s3 import obstore_driver

    MIB = 1_048_576
    def peak():  # of this program: `ru_maxrss` counts what its parent had, too
        return int(Path("/proc/self/status").read_text().partition("VmHWM:")[2].split()[0])
    place = S3Place("renku", sys.argv[2], endpoint=sys.argv[1], region="us-east-1", path_style=True)
    driver = obstore_driver(place, Path(sys.argv[3]))
    driver.create("first", b"")
    before = peak()
    chunk = os.urandom(MIB)
    with driver.batch() as batch:
        for name, size in (("film", 400), *((f"clip-{number}", 7) for number in range(40))):
            staged = batch.stage()
            for _ in range(size):
                staged.write(chunk)
            batch.name(staged, name)
        batch.commit()
    with driver.open("film") as stream:
        count = 0
        while data := stream.read(MIB):
            assert data == chunk
            count += 1
    assert count == 400
    print((peak() - before) // 1_024)
"""


@pytest.mark.long
def test_memory_stays_constant_whatever_the_size(seaweed: Server, tmp_path: Path) -> None:
    """680 MiB go up, and 400 of them come down, in less than 200 MiB."""
    place = seaweed.place()
    ended = children.run(_LARGE_IN_LITTLE, seaweed.endpoint, place.prefix, tmp_path)
    assert (ended.code, ended.err) == (0, "")
    assert int(ended.out) < 200
