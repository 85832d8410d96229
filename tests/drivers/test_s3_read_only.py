"""Roots on S3 with credentials that may only read: everything published is read, and nothing is repaired."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path

import pytest

from renku_store import StoreUnavailableError, open_store, probe_root
from renku_store.drivers.objects.options import S3Place
from renku_store.drivers.opening import open_driver
from tests.authoring import publish, texts
from tests.drivers.servers import READER_KEY, READER_SECRET


@pytest.fixture(params=["s3", "s3+fsspec"])
def root(
    request: pytest.FixtureRequest, seaweed_place: S3Place, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> str:
    """A movie with two revisions whose pointer names the first; from now on with the credentials of a reader."""
    place = seaweed_place
    url = f"{request.param}://{place.bucket}/{place.prefix}?endpoint={place.endpoint}&region={place.region}"
    with open_store(url, cache=tmp_path / "writer") as store:
        movie = store.create_movie("film")
        publish(movie, {"a": "one"})
        first = movie.driver.read("current.json")
        publish(movie, {"a": "two" * 1_000})
        movie.driver.replace("current.json", first)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", READER_KEY)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", READER_SECRET)
    monkeypatch.setenv("RENKU_STORE_CACHE", str(tmp_path / "reader"))
    return url


def test_a_reader_opens_a_movie_whose_pointer_lags_behind(root: str) -> None:
    """The newest revision is read, the pointer stays as it is, and what would write is refused by name."""
    with closing(open_driver(root)) as driver:
        before = driver.read("film/current.json")
    for _ in range(2):
        with open_store(root) as store:
            movie = store.movie("film")
            assert store.ids() == ["film"]
            assert texts(movie) == {"a": "two" * 1_000}
            with movie.metadata.read() as reader:
                assert {row.number for row in reader.revisions.list(limit=9)} == {1, 2}
            assert movie.driver.read("current.json") == before
            with pytest.raises(StoreUnavailableError, match="permission is denied") as error:
                publish(movie, {"a": "three"})
            assert error.value.reason == "denied"
        with open_store(root) as store:
            assert store.movies()[0].revision == "rev-0002"


def test_a_reader_can_probe_and_is_told_that_nothing_can_be_written(root: str) -> None:
    """It is no failure of the root, and no word about its guarantees."""
    report = probe_root(root)
    assert report.denied is not None
    assert "permission is denied" in report.denied
    assert not report.safe
    assert (report.missing, report.write_seconds) == ((), None)
