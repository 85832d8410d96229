"""The read cache before a real server: what was read is not asked for again, and a download goes on."""

from __future__ import annotations

import random
from collections.abc import Mapping
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from renku_store import bounds, open_store
from renku_store.errors import InvalidValueError
from renku_store.store import Store
from tests.drivers.proxy import Proxy
from tests.drivers.servers import Server

_FILM = random.Random(3).randbytes(3 * bounds.CHUNK_BYTES + 5)


def test_a_blob_on_a_server_is_downloaded_once(
    seaweed: Server, s3_environment: Mapping[str, str], tmp_path: Path
) -> None:
    """In two halves by two processes of one machine; another machine that keeps nothing asks again."""
    place = seaweed.place()
    with Proxy(seaweed.port) as proxy:

        def opened(machine: str, **options: Any) -> Store:
            folder = str(tmp_path / machine)
            return open_store(place.url, endpoint=proxy.endpoint, region=place.region, cache=folder, **options)

        def asked(digest: str) -> int:
            return sum(1 for seen in proxy.requests if seen.request.method == "GET" and digest in seen.request.path)

        with opened("writer") as store:
            film = store.create_movie("film").blobs.put(_FILM)
            assert store.movie("film").blobs.read(film) == _FILM
        assert asked(film.hash) == 0
        with opened("reader") as store, store.movie("film").blobs.open(film) as stream:
            assert stream.read(2 * bounds.CHUNK_BYTES) == _FILM[: 2 * bounds.CHUNK_BYTES]
        counts: list[int] = []
        for _ in range(2):
            with opened("reader") as store, store.movie("film").blobs.open(film) as stream:
                assert stream.read() == _FILM
            counts.append(asked(film.hash))
        assert counts[0] == counts[1] > 0
        with opened("forgetful", cache_bytes=0) as store:
            assert store.movie("film").blobs.read(film) == _FILM
        assert asked(film.hash) > counts[1]
        assert not (tmp_path / "forgetful" / "renku-store" / "blobs").exists()


@pytest.mark.parametrize("said", ["many", "-1", "1.5"])
def test_a_size_that_is_none_is_refused(monkeypatch: pytest.MonkeyPatch, said: str) -> None:
    """From the environment as from the caller."""
    with (
        pytest.raises(InvalidValueError, match="size of the read cache"),
        closing(open_store("s3://bucket", cache_bytes=said)),
    ):
        pass
    monkeypatch.setenv("RENKU_STORE_CACHE_BYTES", said)
    with pytest.raises(InvalidValueError, match="size of the read cache"), closing(open_store("s3://bucket")):
        pass
