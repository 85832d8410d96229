"""What an S3 server refuses, and that it cannot be reached: one sentence with the URL, a hint, and no secrets."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest

from renku_store import bounds, open_store
from renku_store.drivers.objects.driver import ObjectDriver
from renku_store.drivers.objects.obstore_client import ObstoreClient
from renku_store.drivers.objects.options import S3Place
from renku_store.drivers.objects.s3fs_client import S3fsClient
from renku_store.errors import StoreUnavailableError
from tests.drivers import servers
from tests.drivers.proxy import Fault, Proxy, Request
from tests.drivers.servers import Server, behind, free_ports

_OPERATIONS: dict[str, Callable[[ObjectDriver], object]] = {
    "read": lambda driver: driver.read("a"),
    "open": lambda driver: driver.open("a"),
    "stat": lambda driver: driver.stat("a"),
    "list": lambda driver: list(driver.list("")),
    "children": lambda driver: list(driver.children("")),
    "create": lambda driver: driver.create("a", b"x"),
    "replace": lambda driver: driver.replace("a", b"x"),
    "swap": lambda driver: driver.compare_and_swap("a", None, b"x"),
    "batch": lambda driver: _batch(driver),
    "delete": lambda driver: driver.delete("a"),
    "delete many": lambda driver: driver.delete_many(["a", "b"]),
}
_CHANGES = ("create", "replace", "swap", "batch", "delete", "delete many")


def _batch(driver: ObjectDriver) -> None:
    with driver.batch() as batch:
        batch.name(batch.stage(), "a")
        batch.commit()


pytestmark = pytest.mark.usefixtures("short_pauses")


def driver_at(place: S3Place, folder: Path, key: str, secret: str) -> ObjectDriver:
    """A driver with credentials of its own."""
    keys = {"access_key_id": key, "secret_access_key": secret, "expires_at": None}
    client = ObstoreClient(place, credentials=lambda: keys)
    return ObjectDriver(client, url=place.url, prefix=place.prefix, workspace=folder)


def usual(place: S3Place, folder: Path) -> ObjectDriver:
    """A driver with the credentials of the test servers."""
    return driver_at(place, folder, servers.ACCESS_KEY, servers.SECRET_KEY)


def refused(driver: ObjectDriver, operation: str, said: str) -> StoreUnavailableError:
    """The error of an operation, whose message says this, is one sentence, and tells no secret."""
    with pytest.raises(StoreUnavailableError) as caught:
        _OPERATIONS[operation](driver)
    error = caught.value
    assert said in error.message
    assert "s3://" in error.message
    assert "\n" not in error.message
    assert error.message.endswith(".")
    assert error.hint.endswith(".")
    told = (
        f"{error.message} {error.hint} {error.__cause__} {error.__context__ if not error.__suppress_context__ else ''}"
    )
    for secret in (servers.SECRET_KEY, servers.READER_SECRET, servers.ACCESS_KEY, "Credential=", "Signature="):
        assert secret not in told
    return error


@pytest.mark.parametrize("kind", [ObstoreClient, S3fsClient])
@pytest.mark.parametrize("operation", _OPERATIONS)
def test_a_missing_bucket_is_named(
    kind: type[ObstoreClient | S3fsClient], seaweed_place: S3Place, tmp_path: Path, operation: str
) -> None:
    """By reads as well as writes, through each client: it must not look like an empty root."""
    place = replace(seaweed_place, bucket="nobody-made-this")
    with closing(ObjectDriver(kind(place), url=place.url, prefix=place.prefix, workspace=tmp_path)) as driver:
        refused(driver, operation, "there is no such bucket")


@pytest.mark.parametrize("operation", _OPERATIONS)
def test_wrong_credentials_are_named(seaweed: Server, tmp_path: Path, operation: str) -> None:
    """Neither they nor what the server says of them appear."""
    driver = driver_at(seaweed.place(), tmp_path, servers.ACCESS_KEY, "wrong")
    said = "answers 403" if operation == "stat" else "the server does not accept these credentials"
    assert "AWS_SECRET_ACCESS_KEY" in refused(driver, operation, said).hint


@pytest.mark.parametrize("operation", _CHANGES)
def test_credentials_that_may_only_read_are_named_when_something_is_written(
    seaweed: Server, tmp_path: Path, operation: str
) -> None:
    """Reading works with them."""
    place = seaweed.place()
    usual(place, tmp_path).create("there", b"x")
    reader = driver_at(place, tmp_path, servers.READER_KEY, servers.READER_SECRET)
    assert reader.read("there") == b"x"
    assert [found.name for found in reader.list("")] == ["there"]
    refused(reader, operation, "AccessDenied")


@pytest.mark.parametrize("operation", _OPERATIONS)
def test_a_server_that_does_not_run_is_named(tmp_path: Path, operation: str) -> None:
    """After some attempts, with its address."""
    (port,) = free_ports(1)
    place = S3Place("bucket", "p", endpoint=f"http://127.0.0.1:{port}", region="us-east-1", path_style=True)
    error = refused(usual(place, tmp_path), operation, f"http://127.0.0.1:{port} cannot be reached")
    assert "refused" in error.message


def test_a_server_without_tls_is_named_at_once(seaweed: Server, tmp_path: Path) -> None:
    """What will be the same the next time is not tried again."""
    place = behind(seaweed.place(), seaweed.endpoint.replace("http:", "https:"))
    refused(usual(place, tmp_path), "read", "does not speak TLS")


@pytest.fixture
def driver(proxy: Proxy, seaweed: Server, tmp_path: Path) -> ObjectDriver:
    """A driver behind it."""
    return usual(behind(seaweed.place(), proxy.endpoint), tmp_path)


def conditional(request: Request) -> bool:
    """Whether a request is a write under a condition."""
    return request.conditional


@pytest.mark.parametrize("status", [500, 502, 503, 429])
@pytest.mark.parametrize("operation", ["create", "replace", "swap", "batch", "stat", "list", "delete"])
def test_a_server_that_asks_to_slow_down_is_asked_again(
    driver: ObjectDriver, proxy: Proxy, operation: str, status: int
) -> None:
    """With a pause, some times; then the operation succeeds."""
    fault = proxy.inject(Fault("answer", last=3, status=status))
    _OPERATIONS[operation](driver)
    assert len(fault.struck) == 3


@pytest.mark.parametrize("operation", _OPERATIONS)
def test_a_server_that_keeps_asking_to_slow_down_is_named(driver: ObjectDriver, proxy: Proxy, operation: str) -> None:
    """As something that may pass by itself, so that paid results wait for it; after a bounded number of attempts."""
    fault = proxy.inject(Fault("answer", last=10**9))
    assert refused(driver, operation, "slow down (503").reason == "busy"
    assert len(fault.struck) <= 2 * bounds.OBJECT_ATTEMPTS


def test_a_conflict_with_another_write_is_tried_again(driver: ObjectDriver, proxy: Proxy) -> None:
    """409 says that nothing was decided: the next attempts decide."""
    fault = proxy.inject(Fault("answer", conditional, last=2, status=409, code="ConditionalRequestConflict"))
    assert driver.create("a", b"1")
    assert len(fault.struck) == 2
    proxy.inject(Fault("answer", conditional, last=2, status=409, code="ConditionalRequestConflict"))
    assert driver.compare_and_swap("a", b"1", b"2")
    proxy.inject(Fault("answer", conditional, last=2, status=409, code="ConditionalRequestConflict"))
    assert not driver.create("a", b"3")
    assert driver.read("a") == b"2"


@pytest.mark.parametrize("operation", ["create", "swap", "batch"])
def test_conflicts_without_end_are_named(driver: ObjectDriver, proxy: Proxy, operation: str) -> None:
    """They end, and nothing is claimed to have been written."""
    proxy.inject(Fault("answer", conditional, last=10**9, status=409, code="ConditionalRequestConflict"))
    assert refused(driver, operation, "refused every attempt").reason == "busy"
    assert driver.stat("a") is None


def test_a_bucket_in_another_region_says_to_name_the_region(driver: ObjectDriver, proxy: Proxy) -> None:
    """AWS answers so."""
    proxy.inject(Fault("answer", last=10**9, status=400, code="AuthorizationHeaderMalformed"))
    assert "region=" in refused(driver, "read", "another region").hint


def test_a_full_bucket_is_named_as_full(driver: ObjectDriver, proxy: Proxy) -> None:
    """Like a full disk."""
    proxy.inject(Fault("answer", last=10**9, status=403, code="QuotaExceeded"))
    assert refused(driver, "create", "quota").reason == "full"


@pytest.mark.parametrize("operation", ["stat", "create", "batch"])
@pytest.mark.parametrize("kind", [ObstoreClient, S3fsClient])
def test_missing_credentials_are_named(
    kind: type[ObstoreClient | S3fsClient],
    operation: str,
    moto_place: S3Place,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """At once, and not as a failure of the server or the network."""
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(name)
    monkeypatch.setenv("HOME", str(tmp_path))
    client = kind(moto_place)
    driver = ObjectDriver(client, url=moto_place.url, prefix=moto_place.prefix, workspace=tmp_path)
    error = refused(driver, operation, "no credentials were found.")
    assert "AWS_ACCESS_KEY_ID" in error.hint
    client.close()


def test_a_cache_that_cannot_be_used_is_named_and_nobody_is_blamed(moto_place: S3Place, tmp_path: Path) -> None:
    """What is not held by somebody does not get free by waiting."""
    with open_store(moto_place.identity, cache=tmp_path / "cache") as store:
        store.create_movie("film")
    tmp_path.joinpath("file").touch()
    with open_store(moto_place.identity, cache=tmp_path / "file") as store:
        began = time.monotonic()
        with pytest.raises(StoreUnavailableError, match="Cannot lock") as error:
            store.movie("film")
    assert time.monotonic() - began < bounds.OPEN_LOCK_WAIT_SECONDS / 2
    assert "Somebody" not in error.value.message
