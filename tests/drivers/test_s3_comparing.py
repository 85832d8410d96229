"""Uploads to a server that compares checksums itself, and to one that does not: how that is found out, and kept."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from renku_store import bounds
from renku_store.drivers.objects import verifying
from renku_store.drivers.objects.client import ObjectHead
from renku_store.drivers.objects.driver import ObjectDriver
from renku_store.drivers.objects.obstore_client import ObstoreClient
from renku_store.drivers.objects.options import S3Place
from renku_store.drivers.probe import TRIALS
from renku_store.errors import BlobCorruptError, StoreUnavailableError
from tests.drivers.proxy import Fault, Proxy, Request
from tests.drivers.servers import Server, behind, credentials
from tests.drivers.test_s3 import obstore_driver
from tests.drivers.test_s3_objects import write

_PART_BYTES = 5 * 1_048_576
"""The least that S3 allows."""
_LARGE = random.Random(3).randbytes(_PART_BYTES + 700)
_SMALL = b"what was sent"
_BOTH = pytest.mark.parametrize("data", [_SMALL, _LARGE], ids=["at once", "in parts"])


@pytest.fixture(autouse=True)
def _eager(short_pauses: None, monkeypatch: pytest.MonkeyPatch) -> None:
    """The server is asked before the first upload, and failures are short."""
    monkeypatch.setattr(bounds, "OBJECT_TRIAL_FROM_BYTES", 1)
    monkeypatch.setattr(bounds, "OBJECT_PART_BYTES", _PART_BYTES)


@pytest.fixture
def trusting(moto: Server) -> Iterator[Proxy]:
    """A proxy before a server that takes what comes."""
    with Proxy(moto.port) as made:
        yield made


@pytest.fixture
def compared(proxy: Proxy, seaweed: Server, tmp_path: Path) -> ObjectDriver:
    """An empty root on the server that compares."""
    return obstore_driver(behind(seaweed.place(), proxy.endpoint), tmp_path / "workspace")


@pytest.fixture
def taken(trusting: Proxy, moto: Server, tmp_path: Path) -> ObjectDriver:
    """An empty root on the other one."""
    return obstore_driver(behind(moto.place(), trusting.endpoint), tmp_path / "workspace")


@pytest.fixture
def digests(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many bytes each MD5 that was made here was of."""
    made: list[int] = []
    for sent in (verifying.SentBytes, verifying.SentFile):
        monkeypatch.setattr(sent, "tag", _noting(sent.tag, made))
    return made


def _noting(tag: Callable[..., str], made: list[int]) -> Callable[..., str]:
    def note(self: verifying.SentBytes | verifying.SentFile, in_parts: bool) -> str:
        made.append(self.size)
        return tag(self, in_parts)

    return note


def of_trial(request: Request) -> bool:
    """Whether a request belongs to a trial."""
    return TRIALS in request.path


def of_bytes(request: Request) -> bool:
    """Whether a request brings bytes of an object of ours."""
    return request.method == "PUT" and not of_trial(request)


@_BOTH
def test_a_server_that_compares_is_asked_once_and_nothing_is_compared_from_here(
    compared: ObjectDriver, proxy: Proxy, digests: list[int], data: bytes
) -> None:
    """One trial for each kind of upload, of which nothing is left; no MD5 is made of what follows."""
    for number in range(3):
        assert write(compared, {f"blob-{number}": data}) == frozenset()
    trials = [seen for seen in proxy.requests if of_trial(seen.request) and seen.request.method == "PUT"]
    assert [seen.status for seen in trials] == [400]
    assert digests == []
    assert {found.name for found in compared.list("")} == {f"blob-{number}" for number in range(3)}
    assert compared.read("blob-2") == data


@_BOTH
def test_a_server_that_takes_what_comes_is_compared_from_here(
    taken: ObjectDriver, trusting: Proxy, digests: list[int], data: bytes
) -> None:
    """It is asked once, too; what it took for the trial is removed."""
    for number in range(3):
        assert write(taken, {f"blob-{number}": data}) == frozenset()
    trials = [seen for seen in trusting.requests if of_trial(seen.request) and seen.request.method == "PUT"]
    assert [seen.status for seen in trials] == [200]
    assert digests == [len(data)] * 3
    assert {found.name for found in taken.list("")} == {f"blob-{number}" for number in range(3)}


@pytest.mark.parametrize("server", ["compared", "taken"])
@_BOTH
def test_bytes_that_change_on_the_way_are_sent_again(request: pytest.FixtureRequest, server: str, data: bytes) -> None:
    """Whoever compares: before the first upload of all, and once it is known who does."""
    driver: ObjectDriver = request.getfixturevalue(server)
    proxy: Proxy = request.getfixturevalue({"compared": "proxy", "taken": "trusting"}[server])
    for name in ("first", "second"):
        fault = proxy.inject(Fault("corrupt", of_bytes))
        assert write(driver, {name: data}) == frozenset()
        assert fault.struck
        assert driver.read(name) == data


@pytest.mark.parametrize("server", ["compared", "taken"])
@_BOTH
def test_bytes_that_always_change_on_the_way_get_no_name(
    request: pytest.FixtureRequest, server: str, data: bytes
) -> None:
    """The error says so, and nothing is there."""
    driver: ObjectDriver = request.getfixturevalue(server)
    proxy: Proxy = request.getfixturevalue({"compared": "proxy", "taken": "trusting"}[server])
    write(driver, {"before": data})
    proxy.inject(Fault("corrupt", of_bytes, last=10**9))
    with pytest.raises((BlobCorruptError, StoreUnavailableError), match=r"not what was sent|not hold what was sent"):
        write(driver, {"blob": data})
    assert [found.name for found in driver.list("")] == ["before"]


@_BOTH
def test_a_trial_that_changes_on_the_way_tells_nothing_wrong(taken: ObjectDriver, trusting: Proxy, data: bytes) -> None:
    """A server that takes it compares nothing, and is not believed to."""
    changed = trusting.inject(Fault("corrupt", lambda request: of_trial(request) and request.method == "PUT"))
    trusting.inject(Fault("corrupt", of_bytes))
    assert write(taken, {"blob": data}) == frozenset()
    assert changed.struck
    assert taken.read("blob") == data


@pytest.mark.parametrize("kind", ["reset", "answer", "drop", "answer after"])
@_BOTH
def test_without_an_answer_that_tells_it_is_asked_again(
    compared: ObjectDriver, proxy: Proxy, digests: list[int], kind: str, data: bytes
) -> None:
    """Until then it is compared from here."""
    proxy.inject(Fault(kind, of_trial))  # type: ignore[arg-type]
    assert write(compared, {"first": data}) == frozenset()
    assert digests == [len(data)]
    assert write(compared, {"second": data}) == frozenset()
    assert digests == [len(data)]


def test_a_refusal_that_is_not_of_the_bytes_is_no_comparison(
    taken: ObjectDriver, trusting: Proxy, digests: list[int]
) -> None:
    """Where only the beginning of an upload in parts is refused for its checksum, parts may be taken as they come."""
    trusting.inject(
        Fault("answer", lambda request: of_trial(request) and request.method == "POST", status=400, code="BadDigest")
    )
    assert write(taken, {"film": _LARGE}) == frozenset()
    assert digests == [len(_LARGE)]


@pytest.mark.parametrize("code", ["AccessDenied", "InvalidRequest", "XAmzContentSHA256Mismatch"])
def test_another_refusal_is_no_comparison(taken: ObjectDriver, trusting: Proxy, digests: list[int], code: str) -> None:
    """Such as that of the signature's own SHA-256, or by somebody who knows no such header."""
    trusting.inject(Fault("answer", of_trial, status=400, code=code))
    assert write(taken, {"blob": _SMALL}) == frozenset()
    assert digests == [len(_SMALL)]


def test_what_one_kind_of_upload_shows_is_not_believed_of_the_other(
    compared: ObjectDriver, proxy: Proxy, digests: list[int]
) -> None:
    """A server may compare whole objects and take parts as they come."""
    proxy.inject(Fault("answer", lambda request: of_trial(request) and request.method == "POST", last=10**9))
    write(compared, {"blob": _SMALL})
    write(compared, {"film": _LARGE})
    assert digests == [len(_LARGE)]


def test_the_first_objects_are_not_worth_a_trial(
    compared: ObjectDriver, proxy: Proxy, digests: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is made once so much was sent that comparing it from here takes as long."""
    monkeypatch.setattr(bounds, "OBJECT_TRIAL_FROM_BYTES", 3 * len(_SMALL))
    for number in range(4):
        before = len(proxy.requests)
        write(compared, {f"blob-{number}": _SMALL})
        asked = [of_trial(seen.request) for seen in proxy.requests[before:]]
        assert asked == ([True, False] if number == 2 else [False])
    assert digests == [len(_SMALL)] * 2


class _LosingParts(ObstoreClient):
    """Loses all but the first part, as a list of parts would that was cut off on the way."""

    def put_file(self, key: str, path: Path, part_bytes: int) -> str | None:
        """The first part alone."""
        return super().put(key, path.read_bytes()[:part_bytes])


def test_an_object_that_lacks_parts_is_noticed(seaweed: Server, tmp_path: Path, digests: list[int]) -> None:
    """Each part was compared by the server, and what they came to has another size."""
    place = seaweed.place()
    client = _LosingParts(place, credentials=credentials)
    driver = ObjectDriver(client, url=place.url, prefix=place.prefix, workspace=tmp_path)
    with pytest.raises(BlobCorruptError, match="did not hold what was sent"):
        write(driver, {"film": _LARGE})
    assert driver.stat("film") is None
    assert digests == []


class _Encrypting(ObstoreClient):
    """Gives tags that are no digests of the bytes, as for objects that are encrypted with a customer's keys."""

    def put(self, key: str, data: bytes, **conditions: object) -> str | None:
        """The same write."""
        super().put(key, data, **conditions)  # type: ignore[arg-type]
        return '"encrypted"'

    def head(self, key: str) -> ObjectHead | None:
        """The same look."""
        found = super().head(key)
        return found and replace(found, etag='"encrypted"')


def test_where_the_server_compares_its_tags_do_not_matter(proxy: Proxy, seaweed: Server, tmp_path: Path) -> None:
    """Nothing is read back, and no size is asked for."""
    place: S3Place = behind(seaweed.place(), proxy.endpoint)
    client = _Encrypting(place, credentials=credentials)
    driver = ObjectDriver(client, url=place.url, prefix=place.prefix, workspace=tmp_path)
    write(driver, {"blob-1": b"1"})
    write(driver, {"blob-2": b"2"})
    sent = [seen.request for seen in proxy.requests if not of_trial(seen.request)]
    assert [request.method for request in sent] == ["PUT", "PUT"]
