"""Deletions of many objects by one request, whose reply tells of each: none that failed passes for done."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from renku_store import StoreUnavailableError, bounds
from renku_store.drivers.objects.driver import ObjectDriver
from renku_store.drivers.objects.obstore_client import ObstoreClient
from renku_store.drivers.objects.s3fs_client import S3fsClient
from tests.drivers.proxy import Fault, Proxy, Request
from tests.drivers.servers import Server, behind, credentials

pytestmark = pytest.mark.usefixtures("short_pauses")


@pytest.fixture(params=["obstore", "s3fs"])
def driver(
    request: pytest.FixtureRequest, proxy: Proxy, seaweed: Server, s3_environment: object, tmp_path: Path
) -> Iterator[ObjectDriver]:
    """A driver behind it, through each client."""
    place = behind(seaweed.place(), proxy.endpoint)
    client = ObstoreClient(place, credentials=credentials) if request.param == "obstore" else S3fsClient(place)
    with closing(ObjectDriver(client, url=place.url, prefix=place.prefix, workspace=tmp_path)) as made:
        yield made


def deletes(request: Request) -> bool:
    """Whether a request deletes, one object or many."""
    return request.method == "DELETE" or (request.method == "POST" and "delete" in request.path.partition("?")[2])


def answered(*refused: tuple[str, str]) -> bytes:
    """The reply that these keys could not be deleted, for these reasons, and the others could."""
    errors = "".join(
        f"<Error><Key>{key}</Key><Code>{code}</Code><Message>As asked for.</Message></Error>" for key, code in refused
    )
    return f'<?xml version="1.0"?><DeleteResult>{errors}</DeleteResult>'.encode()


def test_a_deletion_that_was_refused_is_named_whichever_of_a_batch_it_is(driver: ObjectDriver, proxy: Proxy) -> None:
    """Also behind one that says that there was nothing to delete."""
    for name in ("a", "b", "c"):
        driver.create(name, b"x")
    missing, kept = driver._keys.key("a"), driver._keys.key("c")

    def names_kept(request: Request) -> bool:
        return deletes(request) and kept.encode() in request.raw

    several = answered((missing, "NoSuchKey"), (kept, "AccessDenied"))
    fault = proxy.inject(Fault("answer", names_kept, status=200, body=several))
    proxy.inject(Fault("answer", names_kept, last=10**9, status=403, code="AccessDenied"))
    with pytest.raises(StoreUnavailableError, match=r"delete .*/c: .*AccessDenied"):
        driver.delete_many(["a", "b", "c"])
    assert fault.struck
    assert "c" in {found.name for found in driver.list("")}


def test_what_is_not_there_is_no_error(driver: ObjectDriver, proxy: Proxy) -> None:
    """Though a server may tell of it as one, and of each that it has met."""
    for name in ("a", "b"):
        driver.create(name, b"x")
    driver.delete_many(["a", "nowhere", "b"])
    driver.delete("nowhere")
    assert list(driver.list("")) == []
    missing = driver._keys.key("nowhere")
    proxy.inject(
        Fault(
            "answer",
            lambda request: deletes(request) and missing.encode() in request.raw,
            last=10**9,
            status=200,
            body=answered((missing, "NoSuchKey")),
        )
    )
    driver.delete_many(["nowhere", "a"])


def test_a_refusal_in_any_of_several_requests_is_named(driver: ObjectDriver, proxy: Proxy) -> None:
    """There are more than one request may name: the reply to each is looked at."""
    names = [f"blobs/{number:04d}" for number in range(1_500)]
    refused = driver._keys.key(names[-1])
    reply = answered((refused, "AccessDenied"))
    proxy.inject(
        Fault("answer", lambda request: deletes(request) and refused.encode() in request.raw, body=reply, status=200)
    )
    with pytest.raises(StoreUnavailableError, match=r"delete .*AccessDenied"):
        driver.delete_many(names)


def test_a_deletion_that_may_pass_the_next_time_is_asked_for_again(driver: ObjectDriver, proxy: Proxy) -> None:
    """A server that is busy refuses some keys of a request, and deletes the others; it is asked for a bounded time."""
    for name in ("a", "b", "c"):
        driver.create(name, b"x")
    reply = answered((driver._keys.key("b"), "SlowDown"), (driver._keys.key("c"), "InternalError"))
    fault = proxy.inject(Fault("answer", deletes, last=2, status=200, body=reply))
    driver.delete_many(["b", "c"])
    assert len(fault.struck) == 2
    assert [found.name for found in driver.list("")] == ["a"]
    endless = proxy.inject(Fault("answer", deletes, last=10**9, status=200, body=reply))
    with pytest.raises(StoreUnavailableError, match=r"SlowDown|InternalError"):
        driver.delete_many(["b", "c"])
    assert len(endless.struck) <= bounds.OBJECT_ATTEMPTS
