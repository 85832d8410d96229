"""What a repair does: nothing damaged is lost, nothing wrong comes from a copy, and what cannot be mended is said."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from msgspec.structs import replace

from renku_store import (
    BlobCorruptError,
    StoreUnavailableError,
    abandon,
    check_movie,
    copy_movies,
    open_store,
    repair_movie,
)
from renku_store.drivers import posix
from renku_store.fsck.quarantine import move_blob
from tests import children
from tests.authoring import LONG, WritersWatched, artefact_event, lose_database, publish
from tests.fsck.conftest import Film, flip
from tests.roots import Root

REPAIR = "renku-store fsck --repair"


def quarantined(film: Film) -> list[bytes]:
    return sorted(path.read_bytes() for path in (film.folder / "quarantine").rglob("*") if path.is_file())


def test_a_shell_can_do_what_is_printed(film: Film) -> None:
    """Word by word, from any folder, with the root and the movie that the check was called with."""
    flip(film.blob("speak[0].audio"))
    said = film.call("fsck", "--movie", "film", "--json")
    assert said.code == 4
    [problem] = said.json["problems"]
    assert problem["repair"] == (
        f"renku-store --root {film.root} --movie film fsck --repair; renku-store --root {film.root} --movie film run"
    )
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    ended = subprocess.run(
        ["sh", "-c", problem["repair"]], env={**os.environ, "PATH": path}, capture_output=True, check=False, timeout=60
    )
    assert ended.returncode == 0, ended
    assert film.call("fsck").code == 0


def test_damaged_bytes_are_kept_and_their_artefacts_become_dirty(film: Film) -> None:
    """A plan sees no changed byte; after the repair it does, and says why. What is left is said, and how to mend it."""
    path = film.blob("speak[0].audio")
    flip(path)
    wrong = path.read_bytes()
    assert film.call("plan", "--json").json["layers"] == []
    said = film.call("fsck", "--repair", "--json")
    assert said.code == 4
    assert any("moved to quarantine" in done for done in said.json["repaired"])
    [left] = said.json["problems"]
    assert (left["invariant"], left["artefacts"]) == (5, ["speak[0].audio"])
    assert left["repair"] == f"renku-store --root {film.root} run"
    assert quarantined(film) == [wrong]
    jobs = film.call("plan", "--json").json["jobs"]
    assert [reason["kind"] for reason in jobs["speak[0]"]["reasons"]] == ["blob missing or damaged"]
    assert film.call("run").code == 0
    assert film.check().ok
    assert quarantined(film) == [wrong]


def test_a_blob_that_cannot_be_read_stays_unless_a_copy_has_it(
    film: Film, original: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Rights that miss, or too many open files, are no damage: once they are mended the blob is what it was."""
    path = film.blob("cut.video")
    before, open_object, file = path.read_bytes(), posix.ObjectFile, path.stat().st_ino

    def refused(name: str, mode: str) -> posix.ObjectFile:
        if Path(name).exists() and Path(name).stat().st_ino == file:
            raise PermissionError(13, "Permission denied", name)
        return open_object(name, mode)

    with monkeypatch.context() as patch:
        patch.setattr(posix, "ObjectFile", refused)
        said = film.call("fsck", "--repair", "--json")
        assert (said.code, said.json["repaired"]) == (4, [])
        [problem] = said.json["problems"]
        assert "cannot be read" in problem["message"]
        assert problem["repair"].endswith("fsck --repair --from PATH")
        assert (path.read_bytes(), quarantined(film)) == (before, [])
    assert film.check().ok
    with monkeypatch.context() as patch:
        patch.setattr(posix, "ObjectFile", refused)
        film.call("fsck", "--repair", "--from", str(original))
    assert (path.read_bytes(), quarantined(film)) == (before, [before])
    assert film.check().ok


def test_a_damaged_artefact_is_never_given_away(film: Film) -> None:
    """`cat` and `export` end with code 4, before and after the repair; other artefacts are read as ever."""
    flip(film.blob("cut.video"))
    for attempt in ("before", "after"):
        assert film.call("cat", "cut.video").code == 4
        assert film.call("export", "latest", str(film.root / attempt)).code == 4
        assert film.call("cat", "cut.index").out == "{}\n"
        film.call("fsck", "--repair")


def test_what_is_made_otherwise_leaves_the_old_revisions_to_be_let_go(film: Film) -> None:
    """A producer that gives other bytes: the new revision is whole, and the old ones say how to end them."""
    with film.open() as movie:
        source = str(movie.manifests.load("latest").inputs["@blueprint"].value)
    moody = film.root / "moody.yaml"
    moody.write_text(source.replace("cat request.json >>", "date +%N >>"))
    assert film.call("set", "@blueprint", f"@{moody}").code == 0
    assert film.call("run").code == 0
    path = film.blob("speak[0].audio", 4)
    path.unlink()
    [problem] = film.check().problems
    film.obey(problem.repair)
    left = film.check().problems
    assert {problem.invariant for problem in left} == {5}
    assert {problem.repair for problem in left} == {"renku-store prune --expire rev-0004"}
    film.obey(left[0].repair)
    assert film.check().ok
    assert film.call("cat", "cut.video").code == 0


@pytest.mark.parametrize("folder", ["", "film"])
def test_a_copy_gives_back_whatever_was_lost(film: Film, original: Path, folder: str) -> None:
    """A build root or the folder of the movie: blobs, manifests and archives come from there; files are as before."""
    before = film.files()
    flip(film.folder / "manifests/rev-0002.json")
    (film.folder / "manifests/rev-0003.json").unlink()
    (film.folder / f"events/{film.manifest(1).run}.jsonl.zst").unlink()
    film.sql("UPDATE runs SET edits_through = 0")
    for path in (film.folder / "blobs").rglob("*.zst"):
        path.unlink()
    flip(next(path for path in (film.folder / "blobs").rglob("*") if path.is_file()))
    said = film.call("fsck", "--repair", "--from", str(original / folder), "--json")
    assert said.code == 0, said
    assert sum("fetched from the copy" in done for done in said.json["repaired"]) >= 9
    after = film.files()
    assert {name: after[name] for name in before if name != "current.json"} == {
        name: data for name, data in before.items() if name != "current.json"
    }
    assert film.check().ok


@pytest.mark.processes
@pytest.mark.parametrize("what", ["root", "movie"])
def test_a_copy_in_any_kind_of_root_gives_back_what_was_lost(film: Film, any_root: Root, what: str) -> None:
    """`--from` takes a path or a URL; each object that is fetched has the hash that it must have."""
    copy = f"{any_root}/copies"
    with open_store(film.root) as store, open_store(copy) as away:
        assert copy_movies(store, away).problem is None
    before = film.files()
    (film.folder / "manifests/rev-0003.json").unlink()
    for path in [path for path in (film.folder / "blobs").rglob("*") if path.is_file()]:
        path.unlink()
    source = copy if what == "root" else f"{copy}/film"
    said = film.call("fsck", "--repair", "--from", source, "--json")
    assert said.code == 0, said
    assert sum("fetched from the copy" in done for done in said.json["repaired"]) >= 2
    after = film.files()
    kept = {name for name in before if name.startswith(("blobs/", "manifests/"))}
    assert {name: after.get(name) for name in kept} == {name: before[name] for name in kept}
    assert film.check().ok


def test_a_copy_that_is_damaged_gives_nothing_wrong(film: Film, original: Path, tmp_path: Path) -> None:
    """What does not have the right hash is left there."""
    shutil.copytree(original, tmp_path / "copy")
    copy = Film(tmp_path / "copy")
    for kept in (film, copy):
        flip(kept.blob("notes"))
    flip(copy.folder / "manifests/rev-0003.json")
    (film.folder / "manifests/rev-0003.json").unlink()
    film.sql("DELETE FROM newest_manifest", "UPDATE revisions SET made = 9 WHERE number = 3")
    wrong = copy.files()
    said = film.call("fsck", "--repair", "--from", str(copy.root), "--json")
    assert said.code == 4
    assert {problem["invariant"] for problem in said.json["problems"]} == {5}
    assert copy.files() == wrong
    assert not (film.folder / "manifests/rev-0003.json").exists()


def test_a_copy_without_the_movie_is_refused(film: Film, tmp_path: Path) -> None:
    """Nothing is repaired by halves."""
    flip(film.blob("cut.video"))
    before = film.files()
    (tmp_path / "empty").mkdir()
    assert film.call("fsck", "--repair", "--from", str(tmp_path / "empty")).code == 2
    assert film.files() == before


def test_foreign_files_are_kept_in_quarantine(film: Film) -> None:
    """Under their own names, whatever these are."""
    (film.folder / "blobs/notes.txt").write_text("mine")
    (film.folder / "blobs/zz/deep").mkdir(parents=True)
    (film.folder / "blobs/zz/deep/more.txt").write_text("more")
    assert film.call("fsck", "--repair").code == 0
    assert quarantined(film) == [b"mine", b"more"]
    assert film.check().ok


def test_a_link_among_blobs_is_moved_and_never_what_lies_behind_it(film: Film, tmp_path: Path) -> None:
    """Be it to a folder, to a file or to nothing."""
    mine = tmp_path / "mine"
    (mine / "deep").mkdir(parents=True)
    for name in ("thesis.txt", "deep/notes.txt"):
        (mine / name).write_text("precious")
    links = {"folder": mine, "file": mine / "thesis.txt", "nothing": mine / "nothing"}
    for name, target in links.items():
        (film.folder / "blobs" / name).symlink_to(target)
    assert sorted(problem.object for problem in film.check().problems) == [f"blobs/{name}" for name in sorted(links)]
    assert film.call("fsck", "--repair").code == 0
    assert sorted(path.name for path in mine.rglob("*.txt")) == ["notes.txt", "thesis.txt"]
    moved = {path.name: path.readlink() for path in (film.folder / "quarantine").rglob("*") if path.is_symlink()}
    assert moved == links
    assert film.check().ok


def test_what_lies_behind_the_link_to_a_folder_of_blobs_stays_there(film: Film, tmp_path: Path) -> None:
    """Blobs are found behind it; what else is there is told of, and not moved."""
    shard = film.blob("cut.video").parent
    shard.rename(tmp_path / "elsewhere")
    shard.symlink_to(tmp_path / "elsewhere")
    (tmp_path / "elsewhere/thesis.txt").write_text("precious")
    (film.folder / "blobs/notes.txt").write_text("mine")
    said = film.call("fsck", "--repair", "--json")
    assert (said.code, said.json["ok"]) == (0, True)
    assert [note for note in said.json["notes"] if f"blobs/{shard.name}/thesis.txt" in note]
    assert (tmp_path / "elsewhere/thesis.txt").read_text() == "precious"
    assert quarantined(film) == [b"mine"]


def test_a_repair_of_a_sound_film_does_nothing(film: Film) -> None:
    """And says so."""
    before = film.files()
    said = film.call("fsck", "--repair", "--json")
    assert (said.code, said.json["repaired"], said.json["ok"]) == (0, [], True)
    assert film.files() == before


def test_a_database_that_cannot_be_read_is_rebuilt_before_anything_is_repaired(film: Film) -> None:
    """Rows are part of every repair."""
    lose_database(film.root)
    (film.folder / "metadata.db").write_bytes(b"garbage " * 1_000)
    flip(film.blob("speak[0].audio"))
    before = film.files()
    said = film.call("fsck", "--repair", "--json")
    assert said.code == 4
    assert "before metadata.db can be read" in said.json["notes"][-1]
    assert film.files() == before
    film.obey("renku-store rebuild")
    film.obey(film.check().problems[0].repair)
    assert film.check().ok


def test_without_a_database_objects_are_repaired(film: Film) -> None:
    """It is made anew by the way."""
    lose_database(film.root)
    flip(film.blob("speak[0].audio"))
    film.obey(f"{REPAIR}; renku-store run")
    report = film.check()
    assert (report.ok, report.notes) == (True, [])


READ_ONLY = """
    import sys
    from renku_cli.main import run
    print(run(["--root", sys.argv[1], "fsck", "--repair"]))
"""


def test_a_read_only_root_cannot_be_repaired(film: Film) -> None:
    """Code 5, before anything is read."""
    ended = children.run(READ_ONLY, film.root, prefix=children.on_read_only(film.root))
    assert (ended.code, ended.out) == (0, "5\n"), ended
    with open_store(film.root) as store, store.examine("film") as movie, pytest.raises(StoreUnavailableError):
        repair_movie(movie, check_movie(movie))


def test_the_plan_of_an_unfinished_run_is_made_anew(film: Film) -> None:
    """A collection could not go on beside it; what the run has made is reused."""
    with film.open() as movie:
        run = movie.events.new_id()
        movie.leases.release(movie.leases.start(run, base_revision=None, edits_through=0))
    plan = film.folder / f"runs/{run}-plan.json"
    plan.write_text("{")
    assert film.call("gc").code == 4
    assert film.call("fsck", "--repair").code == 0
    assert film.call("gc").code == 0
    assert quarantined(film) == [b"{"]


def test_a_revision_whose_tag_is_damaged_is_not_let_go(film: Film) -> None:
    """The tag is not taken away by a repair: it might protect what a person wants."""
    assert film.call("tag", "1", "first").code == 0
    (film.folder / "tags/first.json").write_text("{")
    said = film.call("fsck", "--repair", "--json")
    assert said.code == 4
    assert [problem["object"] for problem in said.json["problems"]] == ["tags/first.json"]
    assert film.call("prune", "--keep-last", "1").code == 4


def test_a_kill_in_the_middle_of_a_repair_is_repaired_by_the_next(film: Film) -> None:
    """Between the quarantine and everything else (invariant 11)."""
    flip(film.blob("speak[0].audio"))
    flip(film.blob("cut.video"))
    script = """
        import os, sys
        from renku_cli.main import run
        from renku_store.durability import listening

        def kill(moment, step):
            if step == "object move" and moment == "after":
                os.kill(os.getpid(), 9)

        with listening(kill):
            run(["--root", sys.argv[1], "fsck", "--repair"])
    """
    assert children.run(script, film.root).code == -9
    assert len(quarantined(film)) == 1
    film.obey(f"{REPAIR}; renku-store run")
    assert film.check().ok
    assert len(quarantined(film)) == 2


def test_an_edit_by_hand_has_no_command_but_a_copy(tmp_path: Path) -> None:
    """What no job of the blueprint makes cannot be made anew."""
    with open_store(tmp_path / "root") as store:
        movie = store.create_movie("film")
        publish(movie, {"a": LONG})
        digest = movie.manifests.load("latest").artefacts["a"].hash
        path = tmp_path / "root/film" / movie.blobs.stat(digest).path
        flip(path)
        [problem] = check_movie(movie).problems
        assert problem.repair == "renku-store fsck --repair --from PATH"
        with pytest.raises(BlobCorruptError):
            movie.blobs.read(digest)


def test_a_damaged_archive_of_late_results_is_made_anew_with_them(tmp_path: Path) -> None:
    """But with none that another archive lists; so they are found again without the database."""
    root = tmp_path / "root"
    with open_store(root) as store:
        movie = store.create_movie("film")
        publish(movie, {"a": "x"})
        begun = movie.events.new_id()
        movie.leases.release(movie.leases.start(begun, base_revision=None, edits_through=0))
        early = artefact_event(movie, "early.out", "early", run=begun).replace(status="kept")
        movie.events.append_many([early])
        abandon(movie, begun)
        late = artefact_event(movie, "late.out", "late", run=begun).replace(status="kept")
        movie.events.append_many([late])
        archived = movie.archiver.keep_late([late])
        before = [event.id for event in movie.archives.read(archived)]
        assert early.id in {event.id for event in movie.archives.read(begun)}
        flip(root / f"film/events/{archived}.jsonl.zst")
        left = repair_movie(movie, check_movie(movie))
        assert left.problems == []
        assert [event.id for event in movie.archives.read(archived)] == before
        assert len(list((root / "film/quarantine").rglob(f"{archived}*"))) == 1
    lose_database(root)
    with open_store(root) as store:
        assert late.signature is not None
        assert store.movie("film").events.find_trace(late.signature) is not None


def test_bytes_are_read_without_holding_writers_up(tmp_path: Path) -> None:
    """A repair hashes a blob while others can write, whatever its size."""
    with open_store(tmp_path / "root") as store:
        movie = store.create_movie("film")
        digest = movie.blobs.put(LONG.encode()).hash
        flip(tmp_path / "root/film" / movie.blobs.stat(digest).path)
        driver = WritersWatched(tmp_path / "root/film")
        assert move_blob(replace(movie, driver=driver), digest)
    assert driver.could_write == [True]


def test_a_root_with_blanks_is_quoted(film: Film, tmp_path: Path) -> None:
    """What is printed can be pasted."""
    root = tmp_path / "my films; rm -rf"
    film.root.rename(root)
    moved = Film(root)
    (moved.folder / "current.json").unlink()
    [problem] = moved.call("fsck", "--json").json["problems"]
    assert problem["repair"] == f"renku-store --root '{root}' fsck --repair"
