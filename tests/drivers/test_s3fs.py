"""S3 through s3fs: the shared suite on real servers, and what is of this client."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from renku_store import InvalidValueError, StoreUnavailableError, UnsafeDriverError, bounds
from renku_store.drivers.objects.client import ConditionFailedError, UncertainError
from renku_store.drivers.objects.driver import ObjectDriver
from renku_store.drivers.objects.opening import open_s3_fsspec, open_s3_obstore
from renku_store.drivers.objects.options import S3Place
from renku_store.drivers.objects.s3fs_client import S3fsClient
from renku_store.testing.driver_suite import DriverSuite
from tests.drivers.proxy import Fault, Kind, Proxy
from tests.drivers.servers import ACCESS_KEY, SECRET_KEY, Server, behind


def s3fs_driver(place: S3Place, workspace: Path) -> ObjectDriver:
    """A driver for a place through s3fs."""
    return ObjectDriver(S3fsClient(place), url=place.url, prefix=place.prefix, workspace=workspace)


class TestS3fsOnSeaweedFS(DriverSuite):
    """The suite, on SeaweedFS."""

    @pytest.fixture
    def driver(self, seaweed_place: S3Place, tmp_path: Path) -> Iterator[ObjectDriver]:
        with closing(s3fs_driver(seaweed_place, tmp_path / "workspace")) as driver:
            yield driver


class TestS3fsOnMoto(DriverSuite):
    """The suite, on moto's server."""

    @pytest.fixture
    def driver(self, moto_place: S3Place, tmp_path: Path) -> Iterator[ObjectDriver]:
        with closing(s3fs_driver(moto_place, tmp_path / "workspace")) as driver:
            yield driver


@pytest.fixture
def client(seaweed_place: S3Place) -> Iterator[S3fsClient]:
    """A client of SeaweedFS."""
    with closing(S3fsClient(seaweed_place)) as made:
        yield made


@pytest.fixture
def key(seaweed_place: S3Place) -> str:
    """A key that nobody else uses."""
    return f"{seaweed_place.prefix}/object"


def test_a_large_object_goes_up_in_parts_and_comes_back_in_ranges(client: S3fsClient, key: str, tmp_path: Path) -> None:
    """Any part of it can be read; its tag is that of an object of parts."""
    data = bytes(range(256)) * 45_000
    (tmp_path / "large").write_bytes(data)
    tag = client.put_file(key, tmp_path / "large", 5 * 1_048_576)
    assert tag is not None
    assert tag.strip('"').endswith("-3")
    for start, length in ((0, None), (0, 10), (7, 1_000_000), (len(data) - 3, 10), (len(data), 10), (5, 0)):
        found = client.get(key, start=start, length=length)
        assert found is not None
        assert found[0] == data[start:][:length]
        assert found[1].size == len(data)
        assert found[1].etag == tag


def test_an_upload_that_fails_leaves_no_parts(client: S3fsClient, key: str, tmp_path: Path) -> None:
    """They would be paid for, and no listing shows them."""
    (tmp_path / "large").write_bytes(bytes(11_000_000))
    real = S3fsClient._put_part
    started: list[int] = []

    async def breaks(self: S3fsClient, *arguments: Any) -> dict[str, Any]:
        started.append(arguments[4])
        if arguments[4] == 2:
            raise OSError("the disk is gone")
        return await real(self, *arguments)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(S3fsClient, "_put_part", breaks)
        with pytest.raises(StoreUnavailableError, match="the disk is gone"):
            client.put_file(key, tmp_path / "large", 5 * 1_048_576)
    assert 2 in started
    assert client.head(key) is None
    uploads = client._call("list_multipart_uploads", Prefix=key)
    assert uploads.get("Uploads", []) == []


def test_a_mark_is_kept_beside_the_bytes(client: S3fsClient, key: str) -> None:
    """And told by the answer of a read."""
    client.put(key, b"x", if_absent=True, mark="ours")
    found = client.get(key)
    assert found is not None
    assert found[1].mark == "ours"


def test_refused_conditions_are_told_from_failures(client: S3fsClient, key: str) -> None:
    """However s3fs spells them: the name is taken, another tag, nothing there."""
    tag = client.put(key, b"x", if_absent=True)
    with pytest.raises(ConditionFailedError):
        client.put(key, b"y", if_absent=True)
    with pytest.raises(ConditionFailedError):
        client.put(key, b"y", if_match='"another"')
    with pytest.raises(ConditionFailedError):
        client.put(f"{key}-nowhere", b"y", if_match=tag)
    assert client.put(key, b"z", if_match=tag) != tag
    found = client.get(key)
    assert found is not None
    assert found[0] == b"z"


@pytest.mark.parametrize("kind", ["drop", "reset after", "truncate", "answer after"])
def test_a_lost_reply_is_made_up_for(
    kind: Kind, seaweed_place: S3Place, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whichever request of a creation and of a swap it belongs to; the long runs try every operation."""
    monkeypatch.setattr(bounds, "OBJECT_FIRST_PAUSE_SECONDS", 0.002)
    assert seaweed_place.endpoint is not None
    with (
        Proxy(int(seaweed_place.endpoint.rpartition(":")[2])) as proxy,
        closing(s3fs_driver(behind(seaweed_place, proxy.endpoint), tmp_path)) as driver,
    ):
        for nth in range(1, 5):
            fault = proxy.inject(Fault(kind, first=nth, last=nth, keep=10))
            assert driver.create(f"{nth}", b"one")
            assert driver.compare_and_swap(f"{nth}", b"one", b"two")
            assert not driver.create(f"{nth}", b"late")
            assert driver.read(f"{nth}") == b"two"
            assert fault.struck
            proxy.calm()


@pytest.mark.parametrize("kind", ["drop", "reset after"])
@pytest.mark.parametrize("condition", ["if_absent", "if_match"])
def test_a_conditional_write_is_sent_once(seaweed_place: S3Place, key: str, condition: str, kind: Kind) -> None:
    """Where its reply is lost, nobody repeats it: a repetition would be refused because of what it had written."""
    assert seaweed_place.endpoint is not None
    with (
        Proxy(int(seaweed_place.endpoint.rpartition(":")[2])) as proxy,
        closing(S3fsClient(behind(seaweed_place, proxy.endpoint))) as far,
    ):
        tag = None if condition == "if_absent" else far.put(key, b"one")
        fault = proxy.inject(Fault(kind, lambda request: request.conditional, first=1, last=1))
        with pytest.raises(UncertainError):
            far.put(key, b"two", if_absent=tag is None, if_match=tag)
        assert fault.struck
        assert [seen.status for seen in proxy.requests if seen.request.conditional] == [200]
        found = far.get(key)
        assert found is not None
        assert found[0] == b"two"


@pytest.mark.parametrize("condition", ["IfNoneMatch", "IfMatch"])
def test_a_library_that_would_leave_conditions_out_is_refused(client: S3fsClient, key: str, condition: str) -> None:
    """s3fs drops parameters that its botocore does not know: the write would succeed over anything."""
    client.put(key, b"theirs")
    model = client._file_system(1).s3.meta.service_model.operation_model("PutObject")
    del model.input_shape.members[condition]
    for wanted in ({"if_absent": True}, {"if_match": '"tag"'}):
        with pytest.raises(UnsafeDriverError, match="conditional writes"):
            client.put(key, b"ours", **wanted)
    found = client.get(key)
    assert found is not None
    assert found[0] == b"theirs"


def test_listings_are_those_of_the_server(client: S3fsClient, key: str, seaweed_place: S3Place) -> None:
    """Nothing is remembered from earlier ones, also over several pages."""
    with closing(S3fsClient(seaweed_place)) as other:
        for number in range(3):
            assert len(list(client.list(f"{key}/"))) == number
            other.put(f"{key}/{number}", b"")
            assert [found.key for found in client.list(f"{key}/")] == [f"{key}/{n}" for n in range(number + 1)]
        other.delete([f"{key}/{number}" for number in range(3)])
        assert list(client.list(f"{key}/")) == []


def test_a_forked_process_can_use_the_client(client: S3fsClient, key: str) -> None:
    """It gets connections of its own: event loops do not fork."""
    client.put(key, b"before")
    child = os.fork()
    if child == 0:
        found = client.get(key)
        os._exit(0 if found is not None and found[0] == b"before" else 1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    assert client.head(key) is not None


@pytest.mark.parametrize("opening", [open_s3_fsspec, open_s3_obstore])
class TestProfiles:
    """Both clients read the configuration files of AWS in the same way."""

    @pytest.fixture(autouse=True)
    def _files(self, seaweed: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        for name in tuple(os.environ):
            if name.startswith("AWS_"):
                monkeypatch.delenv(name)
        (tmp_path / "credentials").write_text(
            f"[films]\naws_access_key_id = {ACCESS_KEY}\naws_secret_access_key = {SECRET_KEY}\n"
            "[wrong]\naws_access_key_id = nobody\naws_secret_access_key = hunter2hunter2\n"
        )
        (tmp_path / "config").write_text(
            f"[profile films]\nregion = us-east-1\nendpoint_url = {seaweed.endpoint}\n"
            "[profile wrong]\nregion = us-east-1\n"
        )
        monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "credentials"))
        monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "config"))
        monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")

    def test_a_profile_names_keys_region_and_endpoint(
        self, opening: Any, seaweed: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """By an option, in the URL, or by AWS_PROFILE."""
        place = seaweed.place()
        url = f"s3://{place.bucket}/{place.prefix}"
        cache = {"cache": str(tmp_path / "cache")}
        with closing(opening(url, {"profile": "films", **cache})) as driver:
            driver.gate.driver.replace("x", b"by option")
        with closing(opening(f"{url}?profile=films", cache)) as driver:
            assert driver.read("x") == b"by option"
        monkeypatch.setenv("AWS_PROFILE", "films")
        with closing(opening(url, cache)) as driver:
            assert driver.read("x") == b"by option"
            assert driver.workspace().is_relative_to(tmp_path / "cache" / "renku-store" / "roots")

    def test_what_is_wrong_with_a_profile_is_said_without_its_keys(
        self, opening: Any, seaweed: Server, tmp_path: Path
    ) -> None:
        """One that is not there, and one whose keys the server does not know."""
        place = seaweed.place()
        url = f"s3://{place.bucket}/{place.prefix}?endpoint={seaweed.endpoint}"
        with pytest.raises(InvalidValueError, match="no profile 'nowhere'"):
            opening(url, {"profile": "nowhere"})
        with closing(opening(url, {"profile": "wrong", "cache": str(tmp_path)})) as driver:
            with pytest.raises(StoreUnavailableError) as error:
                driver.read("x")
            assert "hunter2" not in f"{error.value.message} {error.value.hint}"
            assert "credentials" in f"{error.value.message} {error.value.hint}"


@pytest.mark.parametrize("opening", [open_s3_fsspec, open_s3_obstore])
def test_a_missing_package_names_the_command_that_installs_it(opening: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """For either client, before anything is asked of a server."""
    for library in ("s3fs", "obstore"):
        monkeypatch.setitem(sys.modules, library, None)
    for module in ("s3fs_client", "s3fs_files", "obstore_client"):
        monkeypatch.delitem(sys.modules, f"renku_store.drivers.objects.{module}", raising=False)
    with pytest.raises(StoreUnavailableError) as error:
        opening("s3://bucket/videos", {})
    assert "which is not installed" in error.value.message
    assert error.value.hint == "pip install 'renku-store[s3]'"


def test_certificates_that_are_not_there_are_named(tmp_path: Path) -> None:
    """Before they would be taken for an answer of the server."""
    with pytest.raises(InvalidValueError, match=r"nowhere\.pem is not there"):
        open_s3_fsspec("s3://bucket", {"ca": tmp_path / "nowhere.pem"})
