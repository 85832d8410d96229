"""Empty objects ending in `/`, by which consoles and other programs mark folders, below a root."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from renku_store import check_movie, export_revision, open_store
from renku_store.drivers.objects.driver import ObjectDriver
from renku_store.drivers.objects.obstore_client import ObstoreClient
from renku_store.drivers.objects.options import S3Place
from renku_store.drivers.objects.s3fs_client import S3fsClient
from tests.publishing import publish_files


@pytest.fixture
def console(moto_place: S3Place) -> Iterator[S3fsClient]:
    """A program that writes whatever keys it likes."""
    with closing(S3fsClient(moto_place)) as made:
        yield made


@pytest.fixture(params=[ObstoreClient, S3fsClient])
def driver(request: pytest.FixtureRequest, moto_place: S3Place, tmp_path: Path) -> Iterator[ObjectDriver]:
    """The root through each client."""
    place = moto_place
    made = ObjectDriver(request.param(place), url=place.url, prefix=place.prefix, workspace=tmp_path / "workspace")
    with closing(made):
        yield made


def test_marks_of_folders_are_no_objects(driver: ObjectDriver, console: S3fsClient, moto_place: S3Place) -> None:
    """Whether there is something in the folder or not; an empty object is one, also beside a mark of its name."""
    for name in ("", "a/", "a/b/", "a/empty/", "blobs/7f/"):
        console.put(f"{moto_place.prefix}/{name}", b"")
    for name, data in {"a/b/x": b"x", "a/none": b"", "blobs/7f/7f3c": b"y"}.items():
        driver.create(name, data)
    assert sorted(found.name for found in driver.list("")) == ["a/b/x", "a/none", "blobs/7f/7f3c"]
    assert sorted(found.name for found in driver.list("a/")) == ["a/b/x", "a/none"]
    assert [found.name for found in driver.list("a/empty/")] == []
    assert sorted(driver.children("")) == ["a/", "blobs/"]
    assert sorted(driver.children("a/")) == ["b/", "empty/", "none"]
    assert list(driver.children("a/empty/")) == []
    assert driver.stat("a/b") is None


@pytest.mark.parametrize("scheme", ["s3+obstore", "s3+fsspec"])
def test_a_movie_with_marked_folders_works(
    scheme: str, console: S3fsClient, moto_place: S3Place, tmp_path: Path
) -> None:
    """It is listed, published to, checked and exported."""
    place = moto_place
    root = f"{scheme}://{place.bucket}/{place.prefix}?endpoint={place.endpoint}&region={place.region}"
    files = {"clip": ("video/mp4", b"\0" * 5_000), "note": ("text/plain", b"short")}
    with open_store(root, cache=tmp_path / "cache") as store:
        movie = store.create_movie("film")
        publish_files(movie, files)
        for name in ("", "film/", "film/blobs/", "film/blobs/00/", "film/manifests/", "film/events/", "trash/"):
            console.put(f"{place.prefix}/{name}", b"")
        assert store.ids() == ["film"]
        assert publish_files(movie, files) == "rev-0002"
        assert export_revision(movie, "latest", tmp_path / "out").written == 3
        assert check_movie(movie).ok
    with open_store(root, cache=tmp_path / "another") as store:
        assert store.movie("film").manifests.load_current()[0].revision == "rev-0002"
