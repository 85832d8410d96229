"""Exports, views and `renku://` of roots that are no folders: in memory, and on object storage."""

from __future__ import annotations

import io
import random
from collections.abc import Iterator, Mapping
from pathlib import Path

import fsspec
import pytest

from renku_store import Movie, RenkuFileSystem, export_revision, open_store, update_view
from renku_store.drivers.objects.options import S3Place
from tests.publishing import publish_files
from tests.roots import Root

CLIP = random.Random(1).randbytes(200_000)
SCRIPT = b"a line of the script\n" * 20_000
FILM = {
    "clip[0]": ("video/mp4", CLIP),
    "note": ("text/plain", b"short"),
    "script": ("text/plain", SCRIPT),
}
NAMES = {"clip[0].mp4": CLIP, "note.txt": b"short", "script.txt": SCRIPT}


@pytest.fixture
def movie(any_root: Root) -> Iterator[Movie]:
    """A movie with one revision."""
    with open_store(any_root) as store, store.create_movie("film") as movie:
        publish_files(movie, FILM)
        yield movie


@pytest.fixture
def system(any_root: Root, movie: Movie) -> RenkuFileSystem:
    """The file system of that root."""
    return RenkuFileSystem(any_root.url, skip_instance_cache=True)


def _contents(folder: Path) -> Mapping[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir() if path.suffix in {".mp4", ".txt"}}


@pytest.mark.parametrize("link", [False, True])
def test_a_revision_of_any_root_is_exported(movie: Movie, tmp_path: Path, link: bool) -> None:
    """Whether there is a file to clone or link, or only a stream to read."""
    assert export_revision(movie, "latest", tmp_path / "out", link=link).written == 4
    assert _contents(tmp_path / "out") == NAMES
    assert export_revision(movie, "latest", tmp_path / "out", link=link).written == 0


def test_any_root_has_views(movie: Movie, tmp_path: Path) -> None:
    """Which follow the movie."""
    update_view(movie, tmp_path / "films")
    publish_files(movie, {"note": ("text/plain", b"second")})
    report = update_view(movie, tmp_path / "films")
    assert report is not None
    assert (report.revision, report.written, report.removed) == ("rev-0002", 2, 2)
    assert _contents(tmp_path / "films/film") == {"note.txt": b"second"}


def test_any_root_can_be_read(movie: Movie, system: RenkuFileSystem, tmp_path: Path) -> None:
    """Listed, searched, read whole and in parts, and copied; a new revision is seen at once."""
    assert system.ls("", detail=False) == ["film"]
    assert system.find("film") == [f"film/{key}" for key in sorted(FILM)]
    assert system.glob("film@*/clip[*]") == ["film@rev-0001/clip[0]"]
    for key, (_, data) in FILM.items():
        assert system.cat(f"film/{key}") == data
        assert system.cat_file(f"film/{key}", len(data) // 2, -1) == data[len(data) // 2 : -1]
    system.get("film", str(tmp_path / "copy"), recursive=True)
    assert {path.name: path.read_bytes() for path in (tmp_path / "copy").iterdir()} == {
        key: data for key, (_, data) in FILM.items()
    }
    publish_files(movie, {"note": ("text/plain", b"second")})
    assert system.cat("film/note") == b"second"
    assert system.cat("film@1/note") == b"short"


def test_a_file_of_any_root_can_seek(movie: Movie, system: RenkuFileSystem) -> None:
    """As one in memory does."""
    for key, (_, data) in FILM.items():
        expected = io.BytesIO(data)
        with system.open(f"film/{key}") as file:
            for place, count in ((len(data) // 2, 100), (0, 10), (len(data) - 3, 10), (1, len(data))):
                assert (file.seek(place), file.read(count)) == (expected.seek(place), expected.read(count))


@pytest.mark.parametrize("place", ["moto_place", "seaweed_place"])
def test_a_movie_on_object_storage_is_read(
    request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, place: str
) -> None:
    """With the root as an option or behind `::`; copied, exported and shown in a view."""
    found: S3Place = request.getfixturevalue(place)
    monkeypatch.setenv("RENKU_STORE_CACHE", str(tmp_path / "cache"))
    options = {"endpoint": found.endpoint, "region": found.region, "path_style": True}
    with open_store(found.url, **options) as store, store.create_movie("film") as movie:
        publish_files(movie, FILM)
        export_revision(movie, "latest", tmp_path / "out", link=True)
        update_view(movie, tmp_path / "films")
    assert _contents(tmp_path / "out") == _contents(tmp_path / "films/film") == NAMES
    system = fsspec.filesystem("renku", root=found.url, skip_instance_cache=True, **options)
    assert system.find("film") == [f"film/{key}" for key in sorted(FILM)]
    assert system.cat_file("film/clip[0]", 100_000, 100_100) == CLIP[100_000:100_100]
    system.get("film@1/script", str(tmp_path / "script.txt"))
    assert (tmp_path / "script.txt").read_bytes() == SCRIPT
    with fsspec.open(f"renku://film/note::{found.url}", s3=options) as file:
        assert file.read() == b"short"
