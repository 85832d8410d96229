"""Exporting a revision as a plain folder."""

from __future__ import annotations

import json
import os
import random
import re
import resource
import stat
import unicodedata
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import count
from pathlib import Path
from typing import Any, cast

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from renku_store import (
    BlobCorruptError,
    BlobMissingError,
    InvalidValueError,
    Manifest,
    Movie,
    NotFoundError,
    RetentionPolicy,
    StoreUnavailableError,
    collect,
    export_revision,
    hash_bytes,
    open_store,
    prune,
    update_view,
)
from renku_store.drivers.base import Driver
from renku_store.export.folder import export_into
from renku_store.export.names import INDEX, MANIFEST, NAME_MAX_BYTES, TIMELINE, file_names
from tests.children import trace
from tests.publishing import publish_files

MOVING = random.Random(1).randbytes(1_000_000)
TEXT = b"word " * 2_000
CUT = b'{"tracks": [{"clips": [{"artefact": "clip[0]", "deep": [{"artefact": "note"}]}, {"artefact": "none"}]}]}'


@pytest.fixture
def movie(tmp_path: Path) -> Iterator[Movie]:
    """An empty movie."""
    with open_store(tmp_path / "builds") as store, store.create_movie("film") as movie:
        yield movie


FILM = {
    "clip[0]": ("video/mp4", MOVING),
    "script": ("text/plain", TEXT),
    "note": ("text/markdown", b"# short"),
    "cut": ("application/json", CUT),
}


def _contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir() if path.name not in {INDEX, MANIFEST}}


def test_every_artefact_is_a_file_named_by_its_id_and_type(movie: Movie, tmp_path: Path) -> None:
    """Raw, compressed and inline ones alike; the manifest is the published file itself."""
    revision = publish_files(movie, FILM)
    report = export_revision(movie, revision, tmp_path / "out")
    contents = _contents(tmp_path / "out")
    assert contents == {"clip[0].mp4": MOVING, "script.txt": TEXT, "note.md": b"# short", "cut.json": CUT}
    manifest = (tmp_path / "out" / MANIFEST).read_bytes()
    assert manifest == (tmp_path / "builds/film/manifests/rev-0001.json").read_bytes()
    assert report.files == 5
    assert report.bytes == sum(map(len, contents.values())) + len(manifest)
    assert report.names == {"clip[0]": "clip[0].mp4", "script": "script.txt", "note": "note.md", "cut": "cut.json"}


def test_the_timeline_gains_the_paths_of_its_artefacts(movie: Movie, tmp_path: Path) -> None:
    """At any depth; what names nothing stays as it is."""
    export_revision(movie, publish_files(movie, FILM, timeline="cut"), tmp_path / "out")
    clips = json.loads((tmp_path / "out" / TIMELINE).read_text())["tracks"][0]["clips"]
    assert clips == [
        {"artefact": "clip[0]", "path": "clip[0].mp4", "deep": [{"artefact": "note", "path": "note.md"}]},
        {"artefact": "none"},
    ]


def test_exporting_again_writes_nothing(movie: Movie, tmp_path: Path) -> None:
    """Files that are as they were left are not touched."""
    revision = publish_files(movie, FILM)
    export_revision(movie, revision, tmp_path / "out")
    before = {path.name: path.stat().st_mtime_ns for path in (tmp_path / "out").iterdir() if path.name != INDEX}
    report = export_revision(movie, revision, tmp_path / "out")
    assert (report.files, report.written, report.removed) == (5, 0, 0)
    assert before == {path.name: path.stat().st_mtime_ns for path in (tmp_path / "out").iterdir() if path.name != INDEX}


def test_another_revision_writes_what_differs_and_removes_what_is_gone(movie: Movie, tmp_path: Path) -> None:
    """And files of others stay, also one that was exported and changed since."""
    first = publish_files(movie, FILM)
    second = publish_files(movie, {"note": ("text/markdown", b"# new"), "cut": FILM["cut"]})
    out = tmp_path / "out"
    export_revision(movie, first, out)
    (out / "mine.txt").write_text("mine")
    (out / "script.txt").write_text("my notes on the script")
    report = export_revision(movie, second, out)
    assert (report.written, report.removed) == (2, 1)
    assert _contents(out) == {
        "note.md": b"# new",
        "cut.json": CUT,
        "mine.txt": b"mine",
        "script.txt": b"my notes on the script",
    }


def test_a_changed_file_of_the_revision_is_written_anew(movie: Movie, tmp_path: Path) -> None:
    """The folder shows the revision, whatever happened to it: changed, gone, or replaced by a link or folder's link."""
    revision = publish_files(movie, FILM)
    out = tmp_path / "out"
    export_revision(movie, revision, out)
    (out / "script.txt").write_text("changed")
    (out / "note.md").unlink()
    (tmp_path / "secret").write_text("keep")
    (out / "cut.json").unlink()
    (out / "cut.json").symlink_to(tmp_path / "secret")
    assert export_revision(movie, revision, out).written == 3
    assert _contents(out)["script.txt"] == TEXT
    assert not (out / "cut.json").is_symlink()
    assert (tmp_path / "secret").read_text() == "keep"


def test_a_file_of_somebody_else_is_never_overwritten(movie: Movie, tmp_path: Path) -> None:
    """It is named, and nothing is written."""
    revision = publish_files(movie, FILM)
    out = tmp_path / "out"
    out.mkdir()
    (out / "script.txt").write_text("mine")
    with pytest.raises(InvalidValueError, match=r"script\.txt"):
        export_revision(movie, revision, out)
    assert [path.name for path in out.iterdir()] == ["script.txt"]


@pytest.mark.parametrize("name", ["script.txt", MANIFEST, INDEX])
def test_what_is_no_file_in_the_place_of_one_ends_an_export_before_it_begins(
    movie: Movie, tmp_path: Path, name: str
) -> None:
    """It is named, and the folder stays as it was: the old revision, whole but for what somebody put there."""
    out = tmp_path / "out"
    export_revision(movie, publish_files(movie, FILM), out)
    second = publish_files(movie, {**FILM, "clip[0]": FILM["note"], "script": ("text/plain", b"new")})
    (out / name).unlink()
    (out / name).mkdir()
    before = {path.name: path.is_file() and path.read_bytes() for path in out.iterdir()}
    with pytest.raises(InvalidValueError, match=re.escape(str(out / name))):
        export_revision(movie, second, out)
    assert {path.name: path.is_file() and path.read_bytes() for path in out.iterdir()} == before


def test_after_the_first_file_has_its_place_nothing_is_written(movie: Movie, tmp_path: Path) -> None:
    """A disk that is full is met before that, also by what is known of the files only in the end."""
    second = publish_files(movie, FILM)
    ended, calls = trace(_EXPORT, tmp_path / "builds", second, tmp_path / "out", log=tmp_path / "log")
    assert ended.code == 0, ended.err
    renames = [at for at, call in enumerate(calls) if re.match(r"rename\(.*/out/", call)]
    opened = [at for at, call in enumerate(calls) if re.match(r"openat\(.*/out/.*O_CREAT", call)]
    assert len(renames) == 1 + 5 + 1
    assert max(opened) < renames[1]


def test_an_export_that_was_killed_is_done_again(movie: Movie, tmp_path: Path) -> None:
    """What it had written is known to be its own, though it never came to its end; what it left is swept."""
    revision = publish_files(movie, FILM)
    out = tmp_path / "out"
    export_revision(movie, revision, out)
    index = json.loads((out / INDEX).read_text())
    index["files"] = {name: {} for name in index["files"]}
    (out / INDEX).write_text(json.dumps(index))
    (out / ".renku-export-00.tmp").write_text("half")
    assert export_revision(movie, revision, out).written == 5
    assert list(out.glob("*.tmp")) == []


@pytest.mark.parametrize(
    "text", ["", "[]", '{"files": 3}', '{"files": {"a": 1}}', '{"files": {"../../secret": {}}}', "\xff"]
)
def test_an_index_that_is_not_ours_harms_nothing(movie: Movie, tmp_path: Path, text: str) -> None:
    """Damaged or malicious, it removes nothing outside the folder, and nothing that it does not describe exactly."""
    revision = publish_files(movie, {"note": FILM["note"]})
    out = tmp_path / "deep" / "out"
    out.mkdir(parents=True)
    (tmp_path / "secret").write_text("keep")
    (out / "a").write_text("keep")
    (out / INDEX).write_text(text, encoding="latin-1")
    export_revision(movie, revision, out)
    assert (tmp_path / "secret").read_text() == "keep"
    assert _contents(out) == {"note.md": b"# short", "a": b"keep"}


def test_an_index_cannot_name_files_elsewhere(movie: Movie, tmp_path: Path) -> None:
    """Not even one that it describes exactly."""
    out = tmp_path / "out"
    out.mkdir()
    (tmp_path / "secret").write_text("keep")
    found = (tmp_path / "secret").stat()
    known = {"hash": "x", "size": found.st_size, "modifiedNs": found.st_mtime_ns}
    (out / INDEX).write_text(json.dumps({"files": {"../secret": known}}))
    assert export_revision(movie, publish_files(movie, FILM), out).removed == 0
    assert (tmp_path / "secret").read_text() == "keep"


def test_a_full_disk_is_named_and_leaves_no_half_of_a_file(movie: Movie, tmp_path: Path) -> None:
    """The limit on the size of files stands for the disk."""
    revision = publish_files(movie, {"note": ("text/plain", b"x" * 2_000)})
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1_500, hard))
    try:
        with pytest.raises(StoreUnavailableError, match="out"):
            export_revision(movie, revision, tmp_path / "out")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert [path.name for path in (tmp_path / "out").iterdir()] == []


def test_links_share_the_bytes_of_raw_blobs_only(movie: Movie, tmp_path: Path) -> None:
    """Compressed and inline artefacts are written; all contents are right."""
    revision = publish_files(movie, FILM)
    report = export_revision(movie, revision, tmp_path / "out", link=True)
    assert report.written == 5
    assert (tmp_path / "out/clip[0].mp4").stat().st_nlink == 2
    assert (tmp_path / "out/script.txt").stat().st_nlink == 1
    assert _contents(tmp_path / "out") == {
        "clip[0].mp4": MOVING,
        "script.txt": TEXT,
        "note.md": b"# short",
        "cut.json": CUT,
    }


@pytest.mark.parametrize("view", [False, True])
def test_what_was_linked_is_copied_once_copies_are_asked_for(movie: Movie, tmp_path: Path, view: bool) -> None:
    """A copy is the person's to change: the folder holds none of the store's own files then, whatever it held."""

    def written(link: bool) -> int:
        if not view:
            return export_revision(movie, revision, out, link=link).written
        report = update_view(movie, tmp_path, link=link)
        assert report is not None
        return report.written

    out = tmp_path / "film"
    revision = publish_files(movie, FILM)
    assert written(link=True) == 5
    assert (out / "clip[0].mp4").stat().st_nlink == 2
    assert written(link=False) == 1
    with (out / "clip[0].mp4").open("r+b") as file:
        file.write(b"cut")
    assert movie.read(movie.artefact("clip[0]")) == MOVING


def test_copies_that_are_there_stay_where_links_are_asked_for(movie: Movie, tmp_path: Path) -> None:
    """They are right; and somebody may be about to change them, in place."""
    revision = publish_files(movie, FILM)
    export_revision(movie, revision, tmp_path / "out")
    assert export_revision(movie, revision, tmp_path / "out", link=True).written == 0
    assert (tmp_path / "out/clip[0].mp4").stat().st_nlink == 1


def test_linking_where_it_cannot_be_copies(movie: Movie, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Another file system, or one without hard links."""

    def refused(*_: object, **__: object) -> None:
        raise OSError(18, "Invalid cross-device link")

    revision = publish_files(movie, FILM)
    monkeypatch.setattr(os, "link", refused)
    export_revision(movie, revision, tmp_path / "out", link=True)
    assert (tmp_path / "out/clip[0].mp4").stat().st_nlink == 1
    assert (tmp_path / "out/clip[0].mp4").read_bytes() == MOVING


@pytest.mark.parametrize("link", [False, True])
def test_a_damaged_artefact_is_never_exported(movie: Movie, tmp_path: Path, link: bool) -> None:
    """One bit is enough; no half of it is left behind."""
    revision = publish_files(movie, {"clip[0]": FILM["clip[0]"]})
    digest = hash_bytes(MOVING)
    blob = tmp_path / "builds/film/blobs" / digest[:2] / digest
    blob.chmod(0o644)
    data = bytearray(blob.read_bytes())
    data[-1] ^= 1
    blob.write_bytes(data)
    with pytest.raises(BlobCorruptError):
        export_revision(movie, revision, tmp_path / "out", link=link)
    assert {path.name for path in (tmp_path / "out").iterdir()} == set()


def test_an_export_that_fails_leaves_the_folder_as_it_was(movie: Movie, tmp_path: Path) -> None:
    """Nothing has its name before all that differs is there, and right: the old revision stays whole."""
    out = tmp_path / "out"
    export_revision(movie, publish_files(movie, FILM), out)
    before = {path.name: path.read_bytes() for path in out.iterdir()}
    moving = random.Random(2).randbytes(100_000)
    second = publish_files(movie, {**FILM, "a": ("text/plain", b"first by name"), "clip[0]": ("video/mp4", moving)})
    digest = hash_bytes(moving)
    (tmp_path / "builds/film/blobs" / digest[:2] / digest).unlink()
    with pytest.raises(BlobMissingError):
        export_revision(movie, second, out)
    assert {path.name: path.read_bytes() for path in out.iterdir()} == before


_EXPORT = """
import sys
from renku_store import export_revision, open_store
with open_store(sys.argv[1]) as store, store.movie("film") as movie:
    export_revision(movie, sys.argv[2], sys.argv[3])
"""


def test_an_export_that_is_killed_at_any_rename_is_healed_by_the_next(movie: Movie, tmp_path: Path) -> None:
    """The process ends at its first, second, ... rename; the next export makes the folder right, and leaves nothing.

    The manifest is renamed last: who finds that of a revision finds all files of it.
    """
    first = publish_files(movie, FILM)
    second = publish_files(
        movie, {"note": ("text/markdown", b"# new"), "cut": FILM["cut"], "more": ("text/plain", b"more")}
    )
    expected = {"note.md": b"# new", "cut.json": CUT, "more.txt": b"more"}
    killed = 0
    for place in range(1, 20):
        out = tmp_path / f"out-{place}"
        export_revision(movie, first, out)
        old = (out / MANIFEST).read_bytes()
        inject = f"rename:signal=SIGKILL:when={place}"
        ended, _ = trace(_EXPORT, tmp_path / "builds", second, out, log=tmp_path / "log", inject=inject)
        found = _contents(out)
        if (out / MANIFEST).read_bytes() != old:
            assert {name: found[name] for name in expected} == expected
        if ended.code == 0:
            break
        killed += 1
        export_revision(movie, second, out)
        assert _contents(out) == expected
        assert not list(out.glob("*.tmp"))
    assert killed >= 5


def test_what_a_killed_export_had_written_goes_with_the_next_revision(
    movie: Movie, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Killed at any rename, on the way to a revision with one more file: none of it stays, none is ever in the way."""
    without = publish_files(movie, {"note": FILM["note"]})
    more = publish_files(movie, {"note": ("text/markdown", b"# new"), "more": ("text/plain", b"more")})
    replace = Path.replace
    for place in range(5):
        out, calls = tmp_path / f"out-{place}", count()

        def killed(path: Path, target: Path, place: int = place, calls: Iterator[int] = calls) -> Path:
            if next(calls) == place:
                raise KeyboardInterrupt
            return replace(path, target)

        export_revision(movie, without, out)
        with monkeypatch.context() as patch:
            patch.setattr(Path, "replace", killed)
            with pytest.raises(KeyboardInterrupt):
                export_revision(movie, more, out)
        export_revision(movie, without, out)
        assert _contents(out) == {"note.md": FILM["note"][1]}
        export_revision(movie, more, out)
        assert _contents(out) == {"note.md": b"# new", "more.txt": b"more"}


def test_a_file_of_somebody_else_stays_where_a_killed_export_had_not_come_to(
    movie: Movie, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """That its name was about to be written makes it nobody's but theirs."""
    revision = publish_files(movie, {"more": ("text/plain", b"more")})
    out, replace = tmp_path / "out", Path.replace

    def killed(path: Path, target: Path) -> Path:
        if target.name == "more.txt":
            raise KeyboardInterrupt
        return replace(path, target)

    with monkeypatch.context() as patch:
        patch.setattr(Path, "replace", killed)
        with pytest.raises(KeyboardInterrupt):
            export_revision(movie, revision, out)
    (out / "more.txt").write_text("mine")
    with pytest.raises(InvalidValueError, match="in the way"):
        export_revision(movie, revision, out)
    assert (out / "more.txt").read_text() == "mine"


def test_a_revision_that_expires_while_it_is_exported_leaves_the_folder_as_it_was(movie: Movie, tmp_path: Path) -> None:
    """The stub in the place of its manifest is none."""
    out = tmp_path / "out"
    first = publish_files(movie, {"note": FILM["note"]})
    second = publish_files(movie, {"note": ("text/markdown", b"# new")})
    publish_files(movie, FILM)
    export_revision(movie, first, out)
    before = {path.name: path.read_bytes() for path in out.iterdir()}

    def chosen() -> tuple[Manifest, str]:
        found = movie.manifests.load_with_hash(second)
        prune(movie, RetentionPolicy(), expire=[second])
        collect(movie, trash_seconds=0, grace_seconds=0, force=True)
        return found

    with pytest.raises(NotFoundError, match="has expired"):
        export_into(movie, out, chosen, link=False)
    assert {path.name: path.read_bytes() for path in out.iterdir()} == before


def test_two_exports_into_one_folder_wait_for_each_other(movie: Movie, tmp_path: Path) -> None:
    """Each leaves the folder whole; it shows the revision of whichever came last."""
    revisions = [publish_files(movie, {**FILM, "note": ("text/markdown", f"# {n}".encode())}) for n in range(4)]
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda revision: export_revision(movie, revision, tmp_path / "out"), revisions * 3))
    shown = json.loads((tmp_path / "out" / MANIFEST).read_bytes())["revision"]
    assert _contents(tmp_path / "out")["note.md"] == f"# {revisions.index(shown)}".encode()
    assert export_revision(movie, shown, tmp_path / "out").written == 0


class _Cloning:
    """A driver whose files can be cloned, as on btrfs or xfs; all else is another driver's."""

    def __init__(self, driver: Driver) -> None:
        self._driver = driver

    def __getattr__(self, name: str) -> Any:
        return getattr(self._driver, name)

    def clone_to(self, name: str, target: Path) -> bool:
        """A copy stands for the clone."""
        target.write_bytes(self._driver.read(name))
        return True


def test_a_clone_is_better_than_a_link(movie: Movie, tmp_path: Path) -> None:
    """Where the file system can share blocks, nobody needs to share the store's own file."""
    revision = publish_files(movie, FILM)
    cloning = replace(movie, driver=cast("Driver", _Cloning(movie.driver)))
    export_revision(cloning, revision, tmp_path / "out", link=True)
    assert (tmp_path / "out/clip[0].mp4").stat().st_nlink == 1
    assert _contents(tmp_path / "out")["clip[0].mp4"] == MOVING


@pytest.mark.parametrize("target", ["builds", "builds/film", "builds/film/out/deep", "way/film", "file"])
def test_the_stores_own_folders_are_refused(movie: Movie, tmp_path: Path, target: str) -> None:
    """Also when they are reached by a link; and a file is no folder."""
    revision = publish_files(movie, FILM)
    (tmp_path / "way").symlink_to(tmp_path / "builds")
    (tmp_path / "file").write_text("")
    before = sorted(path.name for path in (tmp_path / "builds/film").iterdir())
    with pytest.raises(InvalidValueError):
        export_revision(movie, revision, tmp_path / target)
    assert sorted(path.name for path in (tmp_path / "builds/film").iterdir()) == before


@pytest.mark.parametrize("target", ["others", "others/film", "others/film/out", "others/headless/out"])
def test_folders_of_another_store_are_refused(movie: Movie, tmp_path: Path, target: str) -> None:
    """Its root, and its movies, also one that has lost what marks it."""
    revision = publish_files(movie, FILM)
    for name in ("film", "headless"):
        with open_store(tmp_path / "others") as store, store.create_movie(name) as other:
            publish_files(other, {"note": FILM["note"]})
    (tmp_path / "others/headless/format.json").unlink()
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises(InvalidValueError, match="belongs to"):
        export_revision(movie, revision, tmp_path / target)
    assert sorted(tmp_path.rglob("*")) == before


def test_a_format_of_something_else_marks_no_movie(movie: Movie, tmp_path: Path) -> None:
    """Not one above the target, and not one that is an artefact and was exported there."""
    (tmp_path / "format.json").write_text('{"format": "A4"}')
    revision = publish_files(movie, {"format": ("application/json", b'{"paper": "A4"}')})
    assert export_revision(movie, revision, tmp_path / "out").written == 2
    assert export_revision(movie, revision, tmp_path / "out").written == 0


def test_a_folder_beside_the_movies_is_fine(movie: Movie, tmp_path: Path) -> None:
    """The demo exports into `out` of its root."""
    export_revision(movie, publish_files(movie, FILM), tmp_path / "builds/out")
    with open_store(tmp_path / "builds") as store:
        assert store.ids() == ["film"]


def test_an_unknown_revision_creates_no_folder(movie: Movie, tmp_path: Path) -> None:
    """Nothing is done before it is known what to do."""
    with pytest.raises(NotFoundError):
        export_revision(movie, "rev-0007", tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_place_that_cannot_be_written_is_named(movie: Movie, tmp_path: Path) -> None:
    """A folder below a file cannot be made."""
    (tmp_path / "file").write_text("")
    with pytest.raises((StoreUnavailableError, InvalidValueError), match="file"):
        export_revision(movie, publish_files(movie, FILM), tmp_path / "file" / "out")


def test_exported_copies_can_be_edited(movie: Movie, tmp_path: Path) -> None:
    """A copy is the person's own: it is writable, and the store does not see what becomes of it."""
    revision = publish_files(movie, FILM)
    export_revision(movie, revision, tmp_path / "out")
    path = tmp_path / "out/clip[0].mp4"
    assert path.stat().st_mode & stat.S_IWUSR
    path.write_bytes(b"cut")
    assert movie.read(movie.artefact("clip[0]")) == MOVING


_NAMES = st.text(st.characters(exclude_characters="/\\", exclude_categories=("Cs", "Cc")), min_size=1, max_size=120)


@given(st.dictionaries(_NAMES, st.sampled_from(["text/plain", "video/mp4", "x/unknown", "application/json"])))
def test_names_are_safe_and_never_two_for_one_file(mime_types: dict[str, str]) -> None:
    """On file systems that fold case and Unicode forms, with reserved names, short limits and forbidden characters."""
    names = file_names(mime_types)
    assert names.keys() == mime_types.keys()
    folded = {unicodedata.normalize("NFC", unicodedata.normalize("NFD", name).casefold()) for name in names.values()}
    assert len(folded) == len(names)
    assert not folded & {INDEX, MANIFEST, TIMELINE}
    for name in names.values():
        assert len(name.encode()) <= NAME_MAX_BYTES
        assert not set(name) & set('<>:"/\\|?*')
        assert not name.startswith(".")
        assert not name.endswith((" ", "."))


@pytest.mark.parametrize(
    ("ids", "names"),
    [
        ({"a": "image/png", "A": "image/png"}, {"A": "A.png", "a": "a~"}),
        ({"a?": "image/png", "a*": "image/png"}, {"a*": "a_.png", "a?": "a_~"}),
        ({"con": "text/plain"}, {"con": "_con.txt"}),
        ({"manifest": "application/json"}, {"manifest": "manifest~"}),
        ({"film.mp4": "video/mp4"}, {"film.mp4": "film.mp4"}),
        ({"a": "x/unknown"}, {"a": "a"}),
    ],
)
def test_collisions_and_reserved_names(ids: dict[str, str], names: dict[str, str]) -> None:
    """The first keeps its name, the others get a part of their own."""
    found = file_names(ids)
    for key, start in names.items():
        assert found[key].startswith(start)
        assert ("~" in start) == ("~" in found[key])


@pytest.mark.parametrize("key", ["n[a_b].x", "n" * 300])
def test_an_id_that_is_like_the_own_part_of_another_takes_no_name_from_it(key: str) -> None:
    """Be it as it comes, or made for the name that was tried next: each has a file of its own."""
    ids = dict.fromkeys([key, key.replace("_", ":")], "video/mp4")
    for _ in range(4):
        assert len(set(file_names(ids).values())) == len(ids)
        ids |= dict.fromkeys([Path(name).stem.replace("_", ":", 1) for name in file_names(ids).values()], "video/mp4")


def test_what_no_path_can_be_is_no_target(movie: Movie, tmp_path: Path) -> None:
    """A NUL character ends every path of the system."""
    before = sorted(tmp_path.iterdir())
    for write in (lambda path: export_revision(movie, "latest", path), lambda path: update_view(movie, path)):
        with pytest.raises(InvalidValueError, match=r"a\\x00b' cannot be the name of a file or folder"):
            write(tmp_path / "a\0b")
    assert sorted(tmp_path.iterdir()) == before


def test_a_url_is_no_target(movie: Movie, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It would make folders of that name here, though it looks as if it had gone elsewhere."""
    monkeypatch.chdir(tmp_path)
    before = sorted(tmp_path.iterdir())
    for write in (lambda url: export_revision(movie, "latest", url), lambda url: update_view(movie, url)):
        with pytest.raises(InvalidValueError, match="s3://bucket/out is no folder of this machine"):
            write("s3://key:hunter2@bucket/out")
    assert sorted(tmp_path.iterdir()) == before
