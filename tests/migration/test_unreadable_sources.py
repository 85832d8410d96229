"""Old folders that cannot be read in part, or change meanwhile: what is named, what comes along, and what goes on."""

from __future__ import annotations

import io
import json
import os
from collections.abc import Callable
from pathlib import Path
from random import Random
from typing import Any, BinaryIO, cast

import pytest

from renku_store import InvalidValueError, MigrationError, Store, migrate, open_store
from renku_store.migration.folder import OldFolder
from renku_store.testing.invariants import check_invariants
from renku_store.testing.old_folders import build_manifest_logs, build_revision_folder
from tests import children
from tests.migration.checking import Old, state_of

MIGRATE = """
    import json, sys
    from renku_store import migrate, open_store
    with open_store(sys.argv[2]) as store:
        print(json.dumps(migrate(sys.argv[1], store, every=True).to_json()))
"""
LARGE = 3_000_000
"""More bytes than are read at a time."""


def two_files(old: Old) -> Old:
    """A movie of a revision, with a large file and a small one."""
    old.put("assets/rev0/a.mp3", os.urandom(LARGE))
    old.put("assets/rev0/b.mp3", b"small")
    os.utime(old.path / "assets/rev0/a.mp3", ns=(1, 1))
    for name in ("a", "b"):
        old.artefact(name, 0, f"assets/rev0/{name}.mp3")
    old.snapshot(0, "a", "b")
    return old


def migrated(source: Path, root: Path, prefix: list[str]) -> Any:
    """What a child reports of a migration."""
    ended = children.run(MIGRATE, source, root, prefix=prefix)
    assert (ended.code, ended.err) == (0, ""), ended.err
    return json.loads(ended.out)["movies"]


def test_a_file_without_permission_is_named_with_the_reason(old: Old, tmp_path: Path) -> None:
    """The rest comes along; a second migration says that this revision can take it no more, and what can."""
    two_files(old)
    (old.path / "assets/rev0/a.mp3").chmod(0)
    (report,) = migrated(old.path, tmp_path / "root", children.without_privilege())
    (lost,) = report["missing"]
    assert (lost["path"], lost["artefact"]) == ("assets/rev0/a.mp3", "a")
    assert lost["why"] == "It cannot be read: Permission denied."
    assert (report["mapped"], report["artefacts"]) == ({"rev0": "rev-0001"}, 1)
    (old.path / "assets/rev0/a.mp3").chmod(0o600)
    with open_store(tmp_path / "root") as store:
        (again,) = migrate(old.path, store).movies
        assert "--movie" in again.missing[0].why
        assert migrate(old.path, store, movie="other").whole


def test_a_folder_of_files_without_permission_is_told_file_by_file(old: Old, tmp_path: Path) -> None:
    """Not as if there were no file."""
    two_files(old)
    (old.path / "assets/rev0").chmod(0)
    (report,) = migrated(old.path, tmp_path / "root", children.without_privilege())
    (old.path / "assets/rev0").chmod(0o700)
    assert [item["why"] for item in report["missing"]] == ["It cannot be read: Permission denied."] * 2


def test_a_take_that_no_snapshot_names_is_missed_too(old: Old, tmp_path: Path) -> None:
    """Its file is there and cannot be read: somebody may want to mend that."""
    two_files(old)
    old.put("assets/rev0/first.mp3", b"first take")
    old.artefact("c", 0, "assets/rev0/first.mp3")
    (old.path / "assets/rev0/first.mp3").chmod(0)
    (report,) = migrated(old.path, tmp_path / "root", children.without_privilege())
    assert [item["path"] for item in report["missing"]] == ["assets/rev0/first.mp3"]


@pytest.mark.parametrize("after", [0, 1, 2])
def test_a_disk_that_fails_in_the_middle_of_a_file_costs_this_file(after: int, old: Old, tmp_path: Path) -> None:
    """What was read of it until then is nowhere; the other file is there."""
    two_files(old)
    failing = children.with_failing_disk(old.path / "assets/rev0/a.mp3", "read", after=after)
    (report,) = migrated(old.path, tmp_path / "root", failing)
    assert [(item["path"], item["why"]) for item in report["missing"]] == [
        ("assets/rev0/a.mp3", "It cannot be read: Input/output error.")
    ]
    with open_store(tmp_path / "root") as store:
        movie = store.movie("film")
        manifest, _ = movie.manifests.load_current()
        assert {key: movie.read(held) for key, held in manifest.artefacts.items()} == {"b": b"small"}
        check_invariants(movie)
    assert not list((tmp_path / "root" / "film" / "tmp").iterdir())


DOCUMENTS = ["dag/snapshots", "dag/snapshots/rev0.json", "dag/artifacts.jsonl", "dag/inputSources.jsonl", "dag/jobs",
             "dag/producers.json", "metadata.json", "dag"]  # fmt: skip


def test_what_a_movie_rests_on_is_read_or_nothing_is_written(tmp_path: Path) -> None:
    """Each document and folder without permission in turn ends it with a sentence; mended, everything comes over."""
    film = tmp_path / "old" / "film"
    build_revision_folder(film, Random(1), revisions=2)
    script = """
        import json, os, sys
        from renku_store import migrate, open_store
        with open_store(sys.argv[2]) as store:
            for name in sys.argv[3:]:
                path = f"{sys.argv[1]}/film/{name}"
                mode = os.stat(path).st_mode
                os.chmod(path, 0)
                for dry_run in (True, False):
                    (report,) = migrate(sys.argv[1], store, every=True, dry_run=dry_run).movies
                    print(json.dumps([name, store.ids(), report.to_json()["problem"]]))
                os.chmod(path, mode)
    """
    prefix = children.without_privilege()
    ended = children.run(script, tmp_path / "old", tmp_path / "root", *DOCUMENTS, prefix=prefix)
    assert ended.code == 0, ended.err
    told = [json.loads(line) for line in ended.out.splitlines()]
    assert len(told) == 2 * len(DOCUMENTS)
    for name, ids, problem in told:
        assert (ids, problem["kind"]) == ([], "MigrationError"), name
        assert name in problem["message"]
        assert "Permission denied" in problem["message"]
        assert problem["hint"]
    with open_store(tmp_path / "root") as store:
        assert migrate(film, store).whole


@pytest.mark.parametrize(("name", "call"), [("dag/artifacts.jsonl", "read"), ("dag/snapshots", "getdents64")])
def test_a_disk_that_fails_under_a_document_ends_it(name: str, call: str, tmp_path: Path) -> None:
    """Half of the lines, or none of the snapshots, would be another history."""
    film = tmp_path / "old" / "film"
    build_revision_folder(film, Random(1), revisions=2)
    after = 1 if call == "read" else 0
    (report,) = migrated(film, tmp_path / "root", children.with_failing_disk(film / name, call, after=after))
    assert report["problem"]["message"].endswith(f"{name}' cannot be read: Input/output error.")
    assert not (tmp_path / "root").exists()


def test_manifests_and_blobs_without_permission(tmp_path: Path) -> None:
    """In the layout of the first manifests, too: a document ends it, a blob is named."""
    film = tmp_path / "old" / "film"
    build_manifest_logs(film, Random(1), segments=2, revisions=1)
    blob = min(film.rglob("*.mp3"))
    (film / "manifests").chmod(0)
    (report,) = migrated(film.parent, tmp_path / "root", children.without_privilege())
    (film / "manifests").chmod(0o700)
    assert "'manifests' cannot be read" in report["problem"]["message"]
    blob.chmod(0)
    (report,) = migrated(film.parent, tmp_path / "root", children.without_privilege())
    assert [(item["path"], item["why"]) for item in report["missing"]] == [
        (blob.relative_to(film).as_posix(), "It cannot be read: Permission denied.")
    ]
    assert report["artefacts"] == 3


def test_a_movie_that_cannot_be_looked_at_is_not_passed_over(tmp_path: Path) -> None:
    """Among all movies of a folder it has a problem of its own, and the others come over."""
    for name in ("one", "two"):
        build_revision_folder(tmp_path / "old" / name, Random(1), revisions=1)
    (tmp_path / "old/one").chmod(0)
    reports = migrated(tmp_path / "old", tmp_path / "root", children.without_privilege())
    (tmp_path / "old/one").chmod(0o700)
    assert [(report["movie"], report.get("problem", {}).get("kind")) for report in reports] == [
        ("one", "MigrationError"),
        ("two", None),
    ]
    assert "Permission denied" in reports[0]["problem"]["message"]


def test_folders_behind_links_are_read_within_and_refused_outside(old: Old, store: Store, tmp_path: Path) -> None:
    """A link in place of the snapshots leads to other snapshots of the folder, or it ends the migration."""
    old.artefact("text", 0, content="words")
    old.snapshot(0, "text")
    (old.path / "dag/snapshots").rename(tmp_path / "elsewhere")
    (old.path / "dag/snapshots").symlink_to("../../elsewhere")
    (report,) = migrate(old.path, store).movies
    assert isinstance(report.problem, MigrationError)
    assert "'dag/snapshots' leads out of the folder" in report.problem.message
    assert store.ids() == []
    (tmp_path / "elsewhere").rename(old.path / "snapshots")
    (old.path / "dag/snapshots").unlink()
    (old.path / "dag/snapshots").symlink_to("../snapshots")
    assert migrate(old.path, store).movies[0].mapped == {"rev0": "rev-0001"}


class _Disturbed(io.FileIO):
    """A file to which something happens once some of it was read."""

    def __init__(self, path: Path, disturb: Callable[[Path], None]) -> None:
        super().__init__(path)
        self._path = path
        self._disturb = disturb

    def read(self, size: int | None = -1, /) -> bytes | Any:
        """Some bytes; after the first ones, whatever happens does."""
        data = super().read(size)
        self._disturb(self._path)
        self._disturb = lambda path: None
        return data


def _grow(path: Path) -> None:
    with path.open("ab") as file:
        file.write(b"more")


def _shrink(path: Path) -> None:
    os.truncate(path, LARGE // 2)


def _rewrite(path: Path) -> None:
    with path.open("r+b") as file:
        file.write(b"other")


def _replace(path: Path) -> None:
    path.with_name("new").write_bytes(b"new")
    path.with_name("new").replace(path)


def _disturb(patch: pytest.MonkeyPatch, name: str, disturb: Callable[[Path], None]) -> None:
    """Let something happen to a file of any folder while it is read."""
    real = OldFolder.open

    def open_one(self: OldFolder, path: str) -> BinaryIO:
        return cast("BinaryIO", _Disturbed(self.path / path, disturb)) if path == name else real(self, path)

    patch.setattr(OldFolder, "open", open_one)


@pytest.mark.parametrize("change", [_grow, _shrink, _rewrite])
def test_a_file_that_changes_while_it_is_read_is_missing(
    change: Callable[[Path], None], old: Old, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Half of one version and half of another are no version; the rest comes along, and later all of it."""
    two_files(old)
    with monkeypatch.context() as patch:
        _disturb(patch, "assets/rev0/a.mp3", change)
        (report,) = migrate(old.path, store).movies
    assert [(item.path, item.why) for item in report.missing] == [
        ("assets/rev0/a.mp3", "It changed while it was read.")
    ]
    assert report.artefacts == 1
    check_invariants(store.movie("film"))
    assert migrate(old.path, store, movie="later").whole


@pytest.mark.parametrize("change", [_replace, Path.unlink])
def test_a_file_that_is_replaced_while_it_is_read_comes_along_as_it_was(
    change: Callable[[Path], None], old: Old, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What was opened stays whole, whatever takes its name."""
    two_files(old)
    data = (old.path / "assets/rev0/a.mp3").read_bytes()
    with monkeypatch.context() as patch:
        _disturb(patch, "assets/rev0/a.mp3", change)
        assert migrate(old.path, store).whole
    movie = store.movie("film")
    assert movie.read(movie.artefact("a")) == data


def test_a_file_that_vanishes_before_it_is_read_is_missing(
    old: Old, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It was there when its size was taken."""
    two_files(old)
    real = OldFolder.open

    def open_one(self: OldFolder, path: str) -> BinaryIO:
        if path == "assets/rev0/a.mp3":
            (self.path / path).unlink()
        return real(self, path)

    monkeypatch.setattr(OldFolder, "open", open_one)
    (report,) = migrate(old.path, store).movies
    assert [(item.path, item.artefact) for item in report.missing] == [("assets/rev0/a.mp3", "a")]
    assert report.artefacts == 1


def test_many_unreadable_files_cost_each_other_little(old: Old, store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """However many of a group are lost, the others are opened twice at most."""
    names = [f"f{number}" for number in range(40)]
    for name in names:
        old.put(f"assets/rev0/{name}.mp3", name.encode())
        old.artefact(name, 0, f"assets/rev0/{name}.mp3")
    old.snapshot(0, *names)
    opened: list[str] = []
    real = OldFolder.open

    def open_one(self: OldFolder, path: str) -> BinaryIO:
        opened.append(path)
        if path.endswith(("1.mp3", "5.mp3", "7.mp3")):
            (self.path / path).unlink(missing_ok=True)
        return real(self, path)

    monkeypatch.setattr(OldFolder, "open", open_one)
    (report,) = migrate(old.path, store).movies
    assert (len(report.missing), report.artefacts) == (12, 28)
    assert max(opened.count(f"assets/rev0/{name}.mp3") for name in names) <= 2


def test_a_source_beside_or_in_the_target_stays_as_it_is(tmp_path: Path) -> None:
    """A root that is the folder of the movies, or lies in one of them, is refused before anything is written."""
    for name in ("one", "two"):
        build_revision_folder(tmp_path / "old" / name, Random(1), revisions=1, irregularities={"torn"})
        (tmp_path / "old" / name).rename(tmp_path / "old" / f"the-{name}")
    before = state_of(tmp_path)
    for root in (tmp_path / "old", tmp_path / "old/the-two", tmp_path / "old/the-two/deep/root"):
        with open_store(root) as store, pytest.raises(InvalidValueError, match="migrated"):
            migrate(tmp_path / "old", store, every=True)
        assert state_of(tmp_path) == before
