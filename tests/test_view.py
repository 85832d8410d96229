"""The view of a movie: a folder that always shows its newest revision."""

from __future__ import annotations

import fcntl
import json
import os
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import msgspec.structs
import pytest

from renku_store import (
    InvalidValueError,
    Manifest,
    ManifestService,
    Movie,
    StoreUnavailableError,
    export_revision,
    hash_bytes,
    open_store,
    update_view,
)
from renku_store.drivers.objects.options import S3Place
from renku_store.export.names import INDEX, MANIFEST
from tests.authoring import publish
from tests.children import finish, start
from tests.publishing import publish_files
from tests.test_copying import url_of

PAGE = ("text/plain", b"page " * 1_000)


@pytest.fixture
def movie(tmp_path: Path) -> Iterator[Movie]:
    """An empty movie."""
    with open_store(tmp_path / "builds") as store, store.create_movie("film") as movie:
        yield movie


def _shown(folder: Path) -> str:
    revision: str = json.loads((folder / MANIFEST).read_bytes())["revision"]
    return revision


def _check(movie: Movie, folder: Path) -> None:
    """The folder is what the newest revision is, no more and no less."""
    manifest = movie.manifests.load("latest")
    files = {path.name: path.read_bytes() for path in folder.iterdir() if path.name not in {INDEX, MANIFEST}}
    assert _shown(folder) == manifest.revision
    assert {name: hash_bytes(data) for name, data in files.items()} == {
        f"{key}.txt": artefact.hash for key, artefact in manifest.artefacts.items()
    }


def test_a_view_follows_the_movie(movie: Movie, tmp_path: Path) -> None:
    """Before the first revision there is none; then each update writes what differs, and says what it shows."""
    assert update_view(movie, tmp_path / "films") is None
    assert not (tmp_path / "films").exists()
    publish_files(movie, {"a": PAGE, "b": ("text/plain", b"b"), "c": ("text/plain", b"c")})
    report = update_view(movie, tmp_path / "films")
    assert report is not None
    assert (report.revision, report.written, report.removed) == ("rev-0001", 4, 0)
    _check(movie, tmp_path / "films/film")
    before = (tmp_path / "films/film/a.txt").stat()
    publish_files(movie, {"a": PAGE, "b": ("text/plain", b"new")})
    report = update_view(movie, tmp_path / "films")
    assert report is not None
    assert (report.revision, report.written, report.removed) == ("rev-0002", 2, 1)
    _check(movie, tmp_path / "films/film")
    assert (tmp_path / "films/film/a.txt").stat() == before


def test_a_view_that_is_up_to_date_is_not_written_to(movie: Movie, tmp_path: Path) -> None:
    """Not even its index: programs that watch the folder see nothing."""
    publish_files(movie, {"a": PAGE})
    update_view(movie, tmp_path / "films")
    folder = tmp_path / "films/film"
    before = (folder.stat(), {path.name: path.stat() for path in folder.iterdir()})
    update_view(movie, tmp_path / "films")
    assert (folder.stat(), {path.name: path.stat() for path in folder.iterdir()}) == before


def test_a_folder_that_was_exported_into_becomes_a_view(movie: Movie, tmp_path: Path) -> None:
    """And an old revision that somebody exports into a view is replaced by the next update."""
    publish_files(movie, {"a": PAGE})
    publish_files(movie, {"a": PAGE, "b": PAGE})
    export_revision(movie, "1", tmp_path / "films/film")
    update_view(movie, tmp_path / "films")
    _check(movie, tmp_path / "films/film")
    export_revision(movie, "1", tmp_path / "films/film")
    assert _shown(tmp_path / "films/film") == "rev-0001"
    update_view(movie, tmp_path / "films")
    _check(movie, tmp_path / "films/film")


def test_a_movie_of_another_root_does_not_take_a_view(movie: Movie, tmp_path: Path) -> None:
    """Two movies of one id would otherwise take turns in it; the second one is told whose it is."""
    publish_files(movie, {"a": PAGE})
    update_view(movie, tmp_path / "films")
    with open_store(tmp_path / "others") as store, store.create_movie("film") as other:
        publish_files(other, {"z": PAGE})
        with pytest.raises(InvalidValueError, match="builds"):
            update_view(other, tmp_path / "films")
    _check(movie, tmp_path / "films/film")


def test_a_movie_on_another_server_does_not_take_a_view(
    tmp_path: Path, seaweed_place: S3Place, moto_place: S3Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Though bucket, folder and id have the same names. An index that has the URL alone is that of either, once."""
    monkeypatch.setenv("RENKU_STORE_CACHE", str(tmp_path / "cache"))
    views, index = tmp_path / "films", tmp_path / "films/film" / INDEX
    twin = replace(moto_place, bucket=seaweed_place.bucket, prefix=seaweed_place.prefix)
    with open_store(url_of(seaweed_place)) as here, open_store(url_of(twin)) as there:
        film, other = here.create_movie("film"), there.create_movie("film")
        publish_files(film, {"a": ("text/plain", b"of one server")})
        publish_files(other, {"a": ("text/plain", b"of the other")})
        update_view(film, views)
        with pytest.raises(InvalidValueError, match=str(seaweed_place.endpoint)):
            update_view(other, views)
        written = index.read_bytes()
        document = json.loads(written)
        document["viewOf"] = film.driver.url
        index.write_bytes(json.dumps(document).encode())
        update_view(film, views)
        assert index.read_bytes() == written
        _check(film, views / "film")


def test_a_view_inside_the_build_root_is_beside_the_movies(movie: Movie, tmp_path: Path) -> None:
    """The root itself cannot be the folder of views, a folder in it can."""
    publish_files(movie, {"a": PAGE})
    with pytest.raises(InvalidValueError, match="belongs to the store"):
        update_view(movie, tmp_path / "builds")
    update_view(movie, tmp_path / "builds/views")
    _check(movie, tmp_path / "builds/views/film")


def test_a_view_of_links_is_for_reading(movie: Movie, tmp_path: Path) -> None:
    """With `link` it takes no space for what the store holds as it is."""
    publish_files(movie, {"clip": ("video/mp4", os.urandom(10_000))})
    update_view(movie, tmp_path / "films", link=True)
    assert (tmp_path / "films/film/clip.mp4").stat().st_nlink == 2


def test_a_view_that_cannot_be_written_is_named(movie: Movie, tmp_path: Path) -> None:
    """A file in the place of the folder is an error with its path in it."""
    publish_files(movie, {"a": PAGE})
    (tmp_path / "films").write_text("")
    with pytest.raises(StoreUnavailableError, match="films"):
        update_view(movie, tmp_path / "films")


class _Watched:
    """The revisions of a movie; whoever loads one has locked a folder."""

    def __init__(self, manifests: ManifestService, folder: Path) -> None:
        self._manifests = manifests
        self._folder = folder
        self.loaded = 0

    def __getattr__(self, name: str) -> Any:
        return getattr(self._manifests, name)

    def load_with_hash(self, revision: str) -> tuple[Manifest, str]:
        """Load it, having seen that nobody else can lock the folder."""
        descriptor = os.open(self._folder, os.O_RDONLY)
        try:
            with pytest.raises(BlockingIOError):
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        finally:
            os.close(descriptor)
        self.loaded += 1
        return self._manifests.load_with_hash(revision)


def test_which_revision_is_shown_is_decided_alone(movie: Movie, tmp_path: Path) -> None:
    """Of two that update a view the later one finds the newer revision: nobody else writes when it looks."""
    publish_files(movie, {"a": PAGE})
    watched = _Watched(movie.manifests, tmp_path / "films/film")
    update_view(msgspec.structs.replace(movie, manifests=cast("ManifestService", watched)), tmp_path / "films")
    assert watched.loaded == 1
    _check(movie, tmp_path / "films/film")


_PUBLISHER = """
import sys
from renku_store import ManifestConflictError, RevisionExistsError, open_store, update_view
from tests.authoring import publish
with open_store(sys.argv[1]) as store, store.movie("film") as movie:
    for number in range(12):
        text = f"{sys.argv[3]} {number} "
        while True:
            try:
                publish(movie, {f"page-{number % 3}": text, f"text-{number % 2}": text * 500})
            except (ManifestConflictError, RevisionExistsError):
                continue
            break
        update_view(movie, sys.argv[2])
"""


def test_two_processes_that_publish_keep_one_view(movie: Movie, tmp_path: Path) -> None:
    """Each updates it after each of its revisions; it never goes back, and in the end it shows the newest one."""
    publish(movie, {"page-0": "first"})
    update_view(movie, tmp_path / "films")
    folder = tmp_path / "films/film"
    children = [start(_PUBLISHER, tmp_path / "builds", tmp_path / "films", name) for name in ("one", "two")]
    seen = [_shown(folder)]
    while any(child.poll() is None for child in children):
        seen.append(_shown(folder))
    ended = [finish(child) for child in children]
    assert [(end.code, end.err) for end in ended] == [(0, ""), (0, "")]
    assert seen == sorted(seen)
    assert _shown(folder) == "rev-0025"
    _check(movie, folder)
    assert not list(folder.glob("*.tmp"))
