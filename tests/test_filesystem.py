"""`renku://` for fsspec, through fsspec itself and the libraries that use it."""

from __future__ import annotations

import errno
import glob
import io
import json
import pickle
import random
import subprocess
import sys
import tracemalloc
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import fsspec
import pandas as pd
import pytest
from fsspec.callbacks import Callback
from hypothesis import example, given, settings
from hypothesis import strategies as st
from PIL import Image

from renku_store import (
    BlobCorruptError,
    DamageError,
    Movie,
    RenkuFileSystem,
    RetentionPolicy,
    collect,
    hash_bytes,
    open_store,
    prune,
    tag_revision,
)
from tests.publishing import publish_files

CLIP = random.Random(1).randbytes(300_000)
SCRIPT = "".join(f"{number}: a line of the script\n" for number in range(20_000)).encode()
TABLE = b"shot,seconds\n1,2.5\n2,4\n"
CUT = b'{"tracks": [{"clip": "clip[0]"}, {"clip": "clip[1]"}]}'


def _png() -> bytes:
    data = io.BytesIO()
    Image.effect_noise((80, 60), 50).save(data, "PNG")
    return data.getvalue()


FILM = {
    "clip[0]": ("video/mp4", CLIP),
    "clip[1]": ("video/mp4", CLIP[::-1]),
    "clip[10]": ("video/mp4", CLIP[:5_000]),
    "clip": ("video/mp4", CLIP[:4_000]),
    "cut": ("application/json", CUT),
    "note": ("text/plain", "kürzer".encode()),
    "script": ("text/plain", SCRIPT),
    "slide": ("image/png", _png()),
    "table": ("text/csv", TABLE),
}


@pytest.fixture
def movie(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Movie]:
    """A movie in `builds/film` of the present folder with one revision."""
    monkeypatch.chdir(tmp_path)
    RenkuFileSystem.clear_instance_cache()
    with open_store("builds") as store, store.create_movie("film") as movie:
        publish_files(movie, FILM)
        yield movie


@pytest.fixture
def system(movie: Movie) -> RenkuFileSystem:
    """The file system as fsspec gives it."""
    found = fsspec.filesystem("renku")
    assert isinstance(found, RenkuFileSystem)
    return found


def _again(movie: Movie, text: bytes = b"second") -> None:
    publish_files(movie, {**FILM, "note": ("text/plain", text)})


# With the libraries that people use


def test_pandas_reads_tables(movie: Movie) -> None:
    """CSV and JSON, by URL alone and with the root as a storage option."""
    table = pd.read_csv("renku://builds/film@1/table")
    assert table["seconds"].tolist() == [2.5, 4.0]
    tracks = pd.read_json("renku://film/cut", storage_options={"root": "builds"})["tracks"]
    assert [track["clip"] for track in tracks] == ["clip[0]", "clip[1]"]


def test_pillow_opens_images(system: RenkuFileSystem) -> None:
    """Which reads here and there before it reads all."""
    with system.open("builds/film/slide") as file, Image.open(file) as image:
        image.load()
        assert image.size == (80, 60)


def test_json_and_text_are_read(movie: Movie) -> None:
    """By `fsspec.open` in binary and in text mode."""
    with fsspec.open("renku://builds/film@latest/cut") as file:
        assert json.load(file)["tracks"][1] == {"clip": "clip[1]"}
    with fsspec.open("renku://builds/film/note", "rt", encoding="utf-8") as file:
        assert file.read() == "kürzer"
    with fsspec.open("renku://builds/film/script", "rt") as file:
        assert sum(1 for _ in file) == 20_000


def test_another_file_system_caches_what_does_not_change(movie: Movie, tmp_path: Path) -> None:
    """`filecache::` asks for the hash, and so sees a new revision."""
    url, options = "filecache::renku://builds/film/note", {"cache_storage": str(tmp_path / "c"), "check_files": True}
    with fsspec.open(url, filecache=options) as file:
        assert file.read() == "kürzer".encode()
    _again(movie)
    with fsspec.open(url, filecache=options) as file:
        assert file.read() == b"second"


def test_a_mapping_of_a_revision(system: RenkuFileSystem) -> None:
    """What array and table libraries take."""
    mapping = system.get_mapper("builds/film@1")
    assert set(mapping) == set(FILM)
    assert mapping["note"] == "kürzer".encode()


# What a path names


@pytest.mark.parametrize("revision", ["", "@latest", "@1", "@rev-0001", "@rev-1", "@first-cut"])
def test_a_revision_has_many_names(system: RenkuFileSystem, movie: Movie, revision: str) -> None:
    """The newest, numbers, and tags."""
    tag_revision(movie, "1", "first-cut")
    assert system.cat(f"renku://builds/film{revision}/note") == "kürzer".encode()
    assert system.info(f"builds/film{revision}")["revision"] == "rev-0001"


@pytest.mark.parametrize(
    "url",
    [
        "renku://builds/film/note",
        "renku://./builds/film/note",
        "renku://{here}/builds/film@1/note",
        "renku://film/note::{here}/builds",
        "renku://film@1/note::file://{here}/builds",
    ],
)
def test_a_root_is_a_folder_or_stands_behind(movie: Movie, tmp_path: Path, url: str) -> None:
    """Relative, absolute, or chained."""
    with fsspec.open(url.format(here=tmp_path)) as file:
        assert file.read() == "kürzer".encode()


def test_a_root_is_an_option(movie: Movie, tmp_path: Path) -> None:
    """Then paths begin with the movie; a leading slash means nothing."""
    system = fsspec.filesystem("renku", root=tmp_path / "builds")
    assert system.ls("", detail=False) == ["film"]
    assert system.cat("film@1/note") == system.cat("/film/note") == "kürzer".encode()
    with pytest.raises(FileNotFoundError, match="nothing at film/note/x"):
        system.info("film/note/x")


def test_the_present_folder_is_a_root(system: RenkuFileSystem, movie: Movie, monkeypatch: pytest.MonkeyPatch) -> None:
    """A path that begins with a movie is looked for here."""
    monkeypatch.chdir("builds")
    assert system.ls("", detail=False) == ["film"]
    assert "film/note" in system.find("film")


@pytest.mark.parametrize(
    "path",
    [
        "builds/film/nothing",
        "builds/film@7/note",
        "builds/film@no-such-tag/note",
        "builds/film@no-such-tag",
        "builds/film@/note",
        "builds/flim/note",
        "builds/film/manifests/rev-0001.json",
        "bilds",
        "builds/film/../../builds/film/x",
        "nowhere/film/note/more",
        "builds/film/note/more",
    ],
)
def test_what_is_not_there_is_a_file_not_found_error(system: RenkuFileSystem, path: str) -> None:
    """With the path in it, for `info`, `ls`, `open` and `cat` alike; `exists` says no."""
    for ask in (system.info, system.ls, system.open, system.cat_file):
        with pytest.raises(FileNotFoundError) as caught:
            ask(path)
        assert caught.value.filename == path
    assert not system.exists(path)


def test_a_url_within_the_path_is_refused(system: RenkuFileSystem) -> None:
    """The message says where a root that is a URL belongs."""
    with pytest.raises(ValueError, match="root="):
        system.info("renku://s3://bucket/film/note")
    with pytest.raises(ValueError, match="twice"):
        RenkuFileSystem("builds", fo="builds")


def test_a_folder_is_not_a_file(system: RenkuFileSystem) -> None:
    """Nor is it opened."""
    with pytest.raises(IsADirectoryError):
        system.open("builds/film")
    assert system.isdir("builds/film@")
    assert system.isfile("builds/film/note")


def test_a_movie_without_a_revision_is_empty(system: RenkuFileSystem) -> None:
    """It is there, and has nothing to read yet."""
    with open_store("builds") as store:
        store.create_movie("new").close()
    assert system.ls("builds", detail=False) == ["builds/film", "builds/new"]
    assert system.ls("builds/new") == system.ls("builds/new@") == []
    assert "revision" not in system.info("builds/new")
    with pytest.raises(FileNotFoundError):
        system.open("builds/new/note")


# Looking


def test_info_says_what_an_artefact_is(system: RenkuFileSystem) -> None:
    """Its size, type and hash; `ls` says the same."""
    info = system.info("renku://builds/film@1/clip[0]")
    assert info == {
        "name": "builds/film@1/clip[0]",
        "type": "file",
        "size": len(CLIP),
        "mimeType": "video/mp4",
        "hash": hash_bytes(CLIP),
        "artefact": "clip[0]",
        "revision": "rev-0001",
    }
    assert info in system.ls("builds/film@1")
    assert system.ls("builds/film@1/clip[0]") == [info]
    assert system.ukey("builds/film/clip[0]") == info["hash"]
    assert system.modified("builds/film/clip[0]").tzinfo is not None


def test_listings_go_from_roots_to_artefacts(system: RenkuFileSystem, movie: Movie) -> None:
    """Movies, revisions and artefacts; everything below a root is each movie once, at its newest revision."""
    _again(movie)
    assert system.ls("builds", detail=False) == ["builds/film"]
    assert system.ls("builds/film@", detail=False) == ["builds/film@rev-0001", "builds/film@rev-0002"]
    assert system.ls("builds/film", detail=False) == sorted(f"builds/film/{key}" for key in FILM)
    assert system.find("builds") == sorted(f"builds/film/{key}" for key in FILM)
    assert len(system.find("builds/film@")) == 2 * len(FILM)
    assert system.du("builds/film@1") == sum(len(data) for _, data in FILM.values())


def test_revisions_that_are_gone_are_not_listed(system: RenkuFileSystem, movie: Movie) -> None:
    """Those in the trash are: they can be read."""
    _again(movie)
    publish_files(movie, {"note": ("text/plain", b"third")})
    prune(movie, RetentionPolicy(keep_last=1))
    assert len(system.ls("builds/film@")) == 3
    collect(movie, grace_seconds=0, trash_seconds=0, force=True)
    assert system.ls("builds/film@", detail=False) == ["builds/film@rev-0003"]
    with pytest.raises(FileNotFoundError, match="has expired"):
        system.info("builds/film@1/note")


@pytest.mark.parametrize(
    ("pattern", "found"),
    [
        ("builds/film/clip[1]", ["clip[1]"]),
        (glob.escape("builds/film/clip[1]"), ["clip[1]"]),
        ("builds/film/clip[*]", ["clip[0]", "clip[10]", "clip[1]"]),
        ("builds/film/clip[?]", ["clip[0]", "clip[1]"]),
        ("builds/film/clip[[]*", ["clip[0]", "clip[10]", "clip[1]"]),
        ("builds/film/clip[[][0-1]]", ["clip[0]", "clip[1]"]),
        ("builds/film/[ns]*", ["note", "script", "slide"]),
        ("builds/film/clip*", ["clip", "clip[0]", "clip[10]", "clip[1]"]),
        ("builds/*/note", ["note"]),
        ("renku://builds/f*/n?te", ["note"]),
        ("builds/film/clip[7]", []),
        ("builds/film/x*", []),
        ("builds/nothing*/note", []),
        ("nowhere/*@*/note", []),
    ],
)
def test_patterns_mean_what_people_mean(system: RenkuFileSystem, pattern: str, found: list[str]) -> None:
    """Brackets stand for themselves where they can; escaped ones and sets of characters work, too."""
    assert sorted(system.glob(pattern)) == sorted(f"builds/film/{key}" for key in found)
    assert sorted(system.glob(pattern, detail=True)) == sorted(f"builds/film/{key}" for key in found)


def test_patterns_reach_over_revisions(system: RenkuFileSystem, movie: Movie) -> None:
    """Behind the `@`; without one the newest revision is meant."""
    _again(movie)
    notes = ["builds/film@rev-0001/note", "builds/film@rev-0002/note"]
    assert system.glob("builds/film@*/note") == notes
    assert system.glob("builds/*@rev-*/not[e]") == notes
    assert system.glob("builds/f*@2/note") == ["builds/film@2/note"]
    assert system.glob("builds/film@*2") == ["builds/film@rev-0002"]
    assert system.cat("builds/film@*/note") == dict(zip(notes, ["kürzer".encode(), b"second"], strict=True))
    assert len(system.glob("builds/**")) == 2 + len(FILM)


_IDS = st.lists(
    st.text("ab[]*?!-0", min_size=1, max_size=6).filter(lambda key: key not in {".", ".."}),
    min_size=1,
    max_size=6,
    unique=True,
)


@settings(max_examples=20)
@example(ids=["a*b", "a[x]b"], chosen=0)
@given(ids=_IDS, chosen=st.integers(0, 5))
def test_any_id_is_found_by_its_text_and_by_its_escaped_text(
    tmp_path_factory: pytest.TempPathFactory, ids: list[str], chosen: int
) -> None:
    """Whatever other ids there are, and whatever glob makes of its characters."""
    root = tmp_path_factory.mktemp("root")
    with open_store(root) as store, store.create_movie("film") as movie:
        publish_files(movie, {key: ("text/plain", key.encode()) for key in ids})
    system = fsspec.filesystem("renku", root=str(root), skip_instance_cache=True)
    key = ids[chosen % len(ids)]
    escaped = glob.escape(key)
    assert system.glob(f"film/{key}") == [f"film/{key}"]
    assert system.glob(f"film/{escaped}") == [f"film/{escaped if escaped in ids else key}"]
    assert system.cat(f"film/{key}") == key.encode()


# Reading


@pytest.mark.parametrize("key", ["note", "script", "clip[0]", "cut"])
def test_all_of_an_artefact_is_read(system: RenkuFileSystem, key: str) -> None:
    """Inline, packed and plain ones; at once, in pieces, and line by line."""
    path, data = f"builds/film/{key}", FILM[key][1]
    assert system.cat(path) == system.read_block(path, 0, None) == data
    with system.open(path) as file:
        assert b"".join(iter(lambda: file.read(10_007), b"")) == data
        assert (file.tell(), file.size, file.seek(0), file.read()) == (len(data), len(data), 0, data)
    with system.open(path) as file:
        assert b"".join(file) == data


@given(key=st.sampled_from(["note", "script", "clip[0]"]), data=st.data())
def test_any_range_is_what_a_slice_is(film_root: str, key: str, data: st.DataObject) -> None:
    """Also beyond both ends, and counted from the end."""
    content = FILM[key][1]
    edges = st.none() | st.integers(-len(content) - 9, len(content) + 9)
    start, end = data.draw(edges), data.draw(edges)
    assert RenkuFileSystem(film_root).cat_file(f"film/{key}", start, end) == content[start:end]


@given(key=st.sampled_from(["note", "script", "clip[0]"]), data=st.data())
def test_a_file_behaves_as_one_in_memory(film_root: str, key: str, data: st.DataObject) -> None:
    """Whatever is read and sought, in whatever order."""
    content = FILM[key][1]
    expected = io.BytesIO(content)
    steps = st.tuples(st.sampled_from(["read", "seek", "end", "on"]), st.integers(0, len(content) + 10))
    with RenkuFileSystem(film_root).open(f"film/{key}") as file:
        for what, number in data.draw(st.lists(steps, max_size=8)):
            if what == "read":
                assert file.read(number) == expected.read(number)
            elif what == "end":
                assert file.seek(-min(number, len(content)), 2) == expected.seek(-min(number, len(content)), 2)
            else:
                assert file.seek(number, what == "on") == expected.seek(number, what == "on")
            assert file.tell() == expected.tell()


@pytest.fixture(scope="module")
def film_root(tmp_path_factory: pytest.TempPathFactory) -> str:
    root = tmp_path_factory.mktemp("film")
    with open_store(root) as store, store.create_movie("film") as movie:
        publish_files(movie, FILM)
    return str(root)


def test_ranges_of_several_artefacts(system: RenkuFileSystem) -> None:
    """What readers of tables in columns ask for; an error takes the place of what cannot be read."""
    paths = ["builds/film/clip[0]", "builds/film/script", "builds/film/nothing"]
    first, second, third = system.cat_ranges(paths, [10, 20, 0], [30, 25, 1])
    assert (first, second) == (CLIP[10:30], SCRIPT[20:25])
    assert isinstance(third, FileNotFoundError)


@pytest.mark.parametrize("compressible", [False, True])
def test_ranges_take_constant_memory(movie: Movie, compressible: bool) -> None:
    """Of 40 MB, a part in the middle takes less than four."""
    data = b"0123456789abcdef" * 2_500_000 if compressible else random.Random(2).randbytes(40_000_000)
    publish_files(movie, {"long": ("video/mp4", data)})
    expected = data[30_000_000:30_000_100]
    del data
    system = RenkuFileSystem()
    tracemalloc.start()
    try:
        assert system.cat_file("builds/film/long", 30_000_000, 30_000_100) == expected
        assert tracemalloc.get_traced_memory()[1] < 4_000_000
    finally:
        tracemalloc.stop()


def _damage(movie: Movie, data: bytes) -> None:
    """Let the last byte of a blob that is stored as it is be another one."""
    path = Path("builds/film") / movie.blobs.stat(hash_bytes(data)).path
    path.chmod(0o644)
    path.write_bytes(data[:-1] + bytes([data[-1] ^ 1]))


def test_damage_is_found_before_the_last_byte(system: RenkuFileSystem, movie: Movie, tmp_path: Path) -> None:
    """By whoever reads from start to end, in whatever pieces; a part in the middle can still be had."""
    path = "builds/film/clip[0]"
    _damage(movie, CLIP)
    for read in (system.cat, lambda path: system.open(path).read(), lambda path: system.open(path).readlines()):
        with pytest.raises(BlobCorruptError):
            read(path)
    with system.open(path) as file:
        assert file.read(100_000) == CLIP[:100_000]
        assert (file.seek(0), file.read(150_000)) == (0, CLIP[:150_000])
        with pytest.raises(BlobCorruptError):
            file.read()
        with pytest.raises(BlobCorruptError):
            file.read(1)
    with system.open(path) as file:
        for place in (0, 70_000):
            assert (file.seek(place), file.read(5)) == (place, CLIP[place : place + 5])
        file.seek(0)
        with pytest.raises(BlobCorruptError):
            file.read()
    with pytest.raises(BlobCorruptError):
        system.get(path, str(tmp_path / "clip.mp4"))
    assert not list(tmp_path.glob("*clip*"))
    assert system.cat_file(path, 10, 20) == CLIP[10:20]


def test_a_blob_of_a_wrong_size_or_none_is_damage(system: RenkuFileSystem, movie: Movie) -> None:
    """No end of file takes the place of what is missing."""
    stored = Path("builds/film") / movie.blobs.stat(hash_bytes(CLIP)).path
    stored.chmod(0o644)
    stored.write_bytes(CLIP[:-1])
    with pytest.raises(DamageError):
        system.open("builds/film/clip[0]")
    stored.unlink()
    with pytest.raises(DamageError):
        system.open("builds/film/clip[0]")
    with pytest.raises(DamageError):
        system.cat_file("builds/film/clip[0]", 1, 2)


def test_a_damaged_manifest_is_an_error_everywhere(system: RenkuFileSystem) -> None:
    """Also for `exists` and `find`: nothing may look as if it were not there."""
    manifest = Path("builds/film/manifests/rev-0001.json")
    manifest.chmod(0o644)
    manifest.write_bytes(manifest.read_bytes().replace(b"video/mp4", b"video/mpg"))
    for ask in (system.exists, system.find, system.ls, system.info):
        with pytest.raises(DamageError):
            ask("builds/film")


# Copying


def test_one_artefact_is_copied(system: RenkuFileSystem, tmp_path: Path) -> None:
    """Under the name that is given, or into a folder; over what is there."""
    target = tmp_path / "mine.mp4"
    target.write_bytes(b"old")
    system.get("renku://builds/film/clip[0]", str(target))
    assert target.read_bytes() == CLIP
    system.get("renku://builds/film/clip[0]", f"{tmp_path}/new/")
    system.get("renku://builds/film/note", str(tmp_path / "new"))
    assert (tmp_path / "new/clip[0]").read_bytes() == CLIP
    assert (tmp_path / "new/note").read_bytes() == "kürzer".encode()
    buffer = io.BytesIO()
    system.get_file("builds/film/script", buffer)
    assert buffer.getvalue() == SCRIPT


def test_a_revision_is_copied(system: RenkuFileSystem, tmp_path: Path) -> None:
    """With all of its artefacts; and the clips alone, by a pattern."""
    system.get("renku://builds/film@1", str(tmp_path / "copy"), recursive=True)
    assert {path.name: path.read_bytes() for path in (tmp_path / "copy").iterdir()} == {
        key: data for key, (_, data) in FILM.items()
    }
    system.get("renku://builds/film/clip[*]", f"{tmp_path}/clips/")
    assert {path.name for path in (tmp_path / "clips").iterdir()} == {"clip[0]", "clip[1]", "clip[10]"}


class _Publishing(Callback):  # type: ignore[misc]
    """Publishes a revision when the first file has been copied."""

    def __init__(self, publish: Callable[[], object]) -> None:
        super().__init__()
        self._publish: Callable[[], object] | None = publish

    def relative_update(self, inc: int = 1) -> None:
        """Something was copied."""
        publish, self._publish = self._publish, None
        if publish is not None:
            publish()
        super().relative_update(inc)

    def branched(self, path_1: str, path_2: str, **kwargs: Any) -> Callback:
        """Count what happens below, too."""
        return self


def test_what_is_copied_is_of_one_revision(system: RenkuFileSystem, movie: Movie, tmp_path: Path) -> None:
    """Though another one is published in the middle; who asks again gets that one."""

    def publish() -> None:
        publish_files(movie, {key: (kind, b"new") for key, (kind, _) in FILM.items() if kind.startswith("text")})

    system.get("builds/film", str(tmp_path / "copy"), recursive=True, callback=_Publishing(publish))
    assert (tmp_path / "copy/table").read_bytes() == TABLE
    assert system.cat("builds/film/table") == b"new"


# Always true, never in the way


def test_latest_is_never_stale(movie: Movie) -> None:
    """Whatever fsspec remembers of instances and listings."""
    system = fsspec.filesystem("renku")
    before = system.ls("builds/film", detail=False)
    opened = system.open("builds/film/note")
    publish_files(movie, {"note": ("text/plain", b"second"), "more": ("text/plain", b"more")})
    assert fsspec.filesystem("renku") is system
    assert system.ls("builds/film", detail=False) == ["builds/film/more", "builds/film/note"] != before
    assert system.cat("builds/film@latest/note") == b"second"
    assert system.info("builds/film")["revision"] == "rev-0002"
    assert opened.read() == "kürzer".encode()
    assert system.cat("builds/film@1/note") == "kürzer".encode()


def test_a_movie_made_anew_is_another_one(system: RenkuFileSystem, movie: Movie) -> None:
    """Nothing is remembered of the one that was there under its name."""
    assert system.cat("builds/film@1/note") == "kürzer".encode()
    movie.close()
    Path("builds/film").rename("builds/old")
    with open_store("builds") as store, store.create_movie("film") as other:
        publish_files(other, {"note": ("text/plain", b"other")})
    assert system.cat("builds/film@1/note") == b"other"


def test_reading_changes_nothing_and_keeps_nobody_waiting(system: RenkuFileSystem, movie: Movie) -> None:
    """No file of the movie is touched, and its database can be made anew beside an open file."""
    movie.close()
    before = {path: path.stat().st_mtime_ns for path in Path("builds/film").rglob("*") if path.is_file()}
    with system.open("builds/film/clip[0]") as file:
        system.find("builds")
        assert {path: path.stat().st_mtime_ns for path in before} == before
        with open_store("builds") as store:
            store.rebuild("film")
        assert file.read() == CLIP
        assert system.cat("builds/film/note") == "kürzer".encode()


def test_it_goes_through_pickle(system: RenkuFileSystem, movie: Movie) -> None:
    """With its root; so do files that were not opened yet."""
    below = fsspec.filesystem("renku", root="builds")
    again = pickle.loads(pickle.dumps(below))
    assert (again, again.cat("film/note")) == (below, "kürzer".encode())
    assert again != system
    with pickle.loads(pickle.dumps(fsspec.open("renku://builds/film/note"))) as file:
        assert file.read() == "kürzer".encode()


@pytest.mark.parametrize("path", ["builds/film/note", "builds/film@latest/note", "renku://builds/film@1/note"])
def test_an_open_file_goes_through_pickle(system: RenkuFileSystem, movie: Movie, path: str) -> None:
    """It is opened again at its place: the same bytes, whatever has been published since."""
    with system.open(path) as file:
        file.read(2)
        pickled = pickle.dumps(file)
        _again(movie)
        with pickle.loads(pickled) as again:
            assert (again.tell(), again.size) == (2, file.size)
            assert again.read() == file.read() == "kürzer".encode()[2:]
            assert pickle.loads(pickle.dumps(again)).tell() == again.size


def test_threads_share_an_instance(system: RenkuFileSystem, movie: Movie) -> None:
    """While another one publishes; each answer is of one revision."""

    def read(number: int) -> None:
        for _ in range(10):
            found = system.cat([f"builds/film/{key}" for key in ("note", "table")])
            assert len({data for data in found.values() if data.startswith(b"revision")}) <= 1
            assert system.cat_file("builds/film/script", number, number + 50) == SCRIPT[number : number + 50]

    with ThreadPoolExecutor(6) as pool:
        reading = [pool.submit(read, number) for number in range(6)]
        for number in range(5):
            text = f"revision {number}".encode()
            publish_files(movie, {**FILM, "note": ("text/plain", text), "table": ("text/plain", text)})
        for one in reading:
            one.result()


def test_it_is_found_by_its_name_in_a_fresh_interpreter(movie: Movie) -> None:
    """Through the entry point: nobody has to import the package."""
    code = "import fsspec; print(fsspec.open('renku://builds/film@1/table').open().read().decode())"
    done = subprocess.run([sys.executable, "-W", "error", "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == TABLE.decode() + "\n"


# Read-only


@pytest.mark.parametrize(
    ("method", "arguments"),
    [
        ("mkdir", ["new"]),
        ("makedirs", ["new"]),
        ("makedir", ["new"]),
        ("mkdirs", ["new"]),
        ("rmdir", ["builds/film"]),
        ("rm", ["builds/film/note"]),
        ("rm_file", ["builds/film/note"]),
        ("delete", ["builds/film/note"]),
        ("mv", ["builds/film/note", "builds/film/other"]),
        ("move", ["builds/film/note", "builds/film/other"]),
        ("rename", ["builds/film/note", "builds/film/other"]),
        ("copy", ["builds/film/note", "builds/film/other"]),
        ("cp", ["builds/film/note", "builds/film/other"]),
        ("cp_file", ["builds/film/note", "builds/film/other"]),
        ("put", [__file__, "builds/film/note"]),
        ("put_file", [__file__, "builds/film/note"]),
        ("upload", [__file__, "builds/film/note"]),
        ("pipe", ["builds/film/note", b"x"]),
        ("pipe", [{"builds/film/note": b"x"}]),
        ("pipe_file", ["builds/film/note", b"x"]),
        ("touch", ["builds/film/note"]),
        ("write_text", ["builds/film/note", "x"]),
        ("write_bytes", ["builds/film/note", b"x"]),
        *(("open", ["builds/film/note", mode]) for mode in ("w", "wb", "wt", "ab", "a", "xb", "r+b", "rb+")),
    ],
)
def test_writing_is_refused(system: RenkuFileSystem, method: str, arguments: list[Any]) -> None:
    """Every way of it, by the error that a read-only file system gives."""
    with pytest.raises(OSError, match="read-only") as caught:
        getattr(system, method)(*arguments)
    assert caught.value.errno == errno.EROFS
    assert system.cat("builds/film/note") == "kürzer".encode()
    assert [path.name for path in Path("builds").iterdir()] == ["film"]
