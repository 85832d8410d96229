"""Buckets that others use, too: marks of folders, odd keys, and credentials that end at the prefix of the root."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import pytest

from renku_store import StoreUnavailableError
from renku_store.drivers.objects.client import ObjectClient
from renku_store.drivers.objects.driver import ObjectDriver
from renku_store.drivers.objects.obstore_client import ObstoreClient
from renku_store.drivers.objects.options import S3Place
from renku_store.drivers.objects.s3fs_client import S3fsClient
from tests.drivers.proxy import Proxy
from tests.drivers.servers import BUCKET, Server, behind

_CLIENTS = {"obstore": ObstoreClient, "s3fs": S3fsClient}


@pytest.fixture(params=_CLIENTS)
def client_name(request: pytest.FixtureRequest) -> str:
    """Each client."""
    return str(request.param)


def driver_of(client: ObjectClient, place: S3Place, folder: Path) -> ObjectDriver:
    """A driver for a place."""
    return ObjectDriver(client, url=place.url, prefix=place.prefix, workspace=folder)


def put_as_others_do(server: Server, place: S3Place, *keys: str) -> None:
    """Empty objects below a place, under keys that no library has tidied."""
    for key in keys:
        assert server.request("PUT", f"/{BUCKET}/{place.prefix}/{key}") == 200


def test_nothing_outside_the_prefix_is_looked_at(
    client_name: str, moto: Server, moto_place: S3Place, tmp_path: Path
) -> None:
    """Credentials may end there, and beside it may be whatever others put."""
    with Proxy(moto.port) as proxy:
        place = behind(moto_place, proxy.endpoint)
        with closing(driver_of(_CLIENTS[client_name](place), place, tmp_path)) as driver:
            assert driver.stat("film/format.json") is None
            assert driver.create("film/format.json", b"{}")
            assert [*driver.list("film/")]
            assert [*driver.children("")] == ["film/"]
        asked = [urlsplit(seen.request.path) for seen in proxy.requests]
    for url in asked:
        where = parse_qs(url.query).get("prefix", [url.path.removeprefix(f"/{BUCKET}/")])
        assert where[0].startswith(place.prefix), url


def test_marks_of_folders_are_no_objects(client_name: str, moto: Server, moto_place: S3Place, tmp_path: Path) -> None:
    """Consoles and file managers make empty objects that end in `/`."""
    put_as_others_do(moto, moto_place, "", "film/", "film/blobs/")
    with closing(driver_of(_CLIENTS[client_name](moto_place), moto_place, tmp_path)) as driver:
        film = driver.sub("film")
        film.create("blobs/x", b"x")
        assert [*driver.children("")] == ["film/"]
        assert [*film.children("")] == ["blobs/"]
        assert [*film.children("blobs/")] == ["x"]
        assert [found.name for found in film.list("blobs/")] == ["blobs/x"]


def test_keys_that_are_no_names_are_left_out_or_named(moto: Server, moto_place: S3Place, tmp_path: Path) -> None:
    """The library obstore cannot list them: the error says so at once, instead of that the server cannot be reached."""
    put_as_others_do(moto, moto_place, "a//b", "c")
    with closing(driver_of(S3fsClient(moto_place), moto_place, tmp_path)) as driver:
        assert [found.name for found in driver.list("")] == ["c"]
    with pytest.raises(StoreUnavailableError, match="empty or dotted part") as caught:
        list(driver_of(ObstoreClient(moto_place), moto_place, tmp_path).list(""))
    assert "s3+fsspec://" in caught.value.hint
