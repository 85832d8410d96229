"""`migrate`: what it prints and writes, its codes, and what it says to those who give it something else."""

from __future__ import annotations

import json
from pathlib import Path
from random import Random

import pytest

from renku_store.testing.old_folders import build_revision_folder
from tests import children
from tests.cli.conftest import Call, program
from tests.migration.checking import Old
from tests.roots import Root


def test_a_whole_migration_ends_with_0(call: Call, place: Path) -> None:
    """It says which revision became which, in text and as JSON; the report file has the same document."""
    build_revision_folder(place / "old" / "film", Random(1), revisions=2, irregularities={"torn", "gaps"})
    done = call("migrate", "old/film", "--json", "--report", "report.json")
    assert done.code == 0
    assert done.json["movie"] == "film"
    assert list(done.json["mapped"].values()) == ["rev-0001", "rev-0002"]
    assert (done.json["revisions"], done.json["missing"], done.json["refused"]) == (2, [], [])
    assert done.json["artefacts"] > 10
    assert len(done.json["torn"]) == 2
    assert json.loads((place / "report.json").read_text()) == done.json
    told = call("migrate", "old/film")
    assert (told.code, told.err) == (0, "")
    assert "rev0 is rev-0001" in told.out
    assert "Brought over 0 revisions" in told.out
    assert call("log", "--json").json[0]["revision"] == "rev-0002"


def test_something_missing_or_refused_ends_with_4(call: Call, place: Path) -> None:
    """Everything else has come over, and what has not is named."""
    build_revision_folder(place / "film", Random(1), irregularities={"missing", "escaping"})
    done = call("migrate", "film")
    assert done.code == 4
    assert "film: missing: assets/rev0/" in done.out
    assert "film: refused: " in done.out
    assert call("migrate", "film", "--json").json["revisions"] == 3
    assert "error" not in done.err


def test_all_movies_and_one_by_name(call: Call, place: Path) -> None:
    """`--all` takes every one, `--movie` one of several; both at once are bad use."""
    for name in ("one", "two"):
        build_revision_folder(place / "old" / name, Random(1), revisions=1)
    assert call("migrate", "old").code == 2
    assert call("migrate", "old", "--movie", "two").code == 0
    done = call("migrate", "old", "--all", "--json")
    assert (done.code, done.json["added"]) == (0, 1)
    assert done.json["mapped"] == {"one": {"rev0": "rev-0001"}, "two": {"rev0": "rev-0001"}}
    assert [movie["id"] for movie in call("movies", "--json").json] == ["one", "two"]
    assert call("migrate", "old", "--all", "--movie", "one").code == 2


def test_a_dry_run_writes_nothing(call: Call, place: Path) -> None:
    """It has sizes, and the code that the migration would have."""
    build_revision_folder(place / "film", Random(1))
    done = call("migrate", "film", "--dry-run", "--json")
    assert done.code == 0
    assert done.json["bytes"]["named"] > done.json["bytes"]["content"] > 0
    assert "Would bring over 3 revisions" in call("migrate", "film", "--dry-run").out
    assert not (place / "builds").exists()


def test_a_movie_of_that_id_with_other_revisions_ends_with_3(call: Call, built: str, place: Path) -> None:
    """It stays as it is; another id helps."""
    build_revision_folder(place / "old" / built, Random(1), revisions=1)
    refused = call("migrate", f"old/{built}", "--json")
    assert (refused.code, refused.error["kind"]) == (3, "RevisionExistsError")
    assert "--movie" in refused.error["hint"]
    assert call("migrate", f"old/{built}", "--movie", "migrated").code == 0


def test_all_with_a_bad_id_or_a_twin_ends_with_4(call: Call, place: Path) -> None:
    """The hint of the refusal is a command that works."""
    for name in ("a", "b"):
        old = Old(place / "old" / name, movie_id="clean")
        old.artefact("text", 0, content=name)
        old.snapshot(0, "text")
    Old(place / "old" / "film_\u00e9").snapshot(0)
    done = call("migrate", "old", "--all")
    assert done.code == 4
    assert "The movie id film_\u00e9 is not allowed." in done.out
    document = call("migrate", "old", "--all", "--json").json
    assert len(document["refused"]) == 2
    assert [movie["added"] for movie in document["movies"]] == [0, 0, 0]
    assert call("migrate", "old/b", "--movie", "b").code == 0
    assert call("migrate", "old/film_\u00e9", "--movie", "film_e").code == 0
    assert [movie["id"] for movie in call("movies", "--json").json] == ["b", "clean", "film_e"]


@pytest.mark.parametrize(
    ("source", "kind"),
    [("nothing", "NotFoundError"), ("file", "MigrationError"), ("empty", "MigrationError")],
)
def test_what_is_no_movie_ends_with_2(source: str, kind: str, call: Call, place: Path) -> None:
    """One sentence and a hint; nothing is created."""
    (place / "file").write_text("x")
    (place / "empty").mkdir()
    refused = call("migrate", source, "--json")
    assert (refused.code, refused.error["kind"]) == (2, kind)
    assert refused.error["hint"]
    assert not (place / "builds").exists()


def test_the_folder_of_the_root_itself_is_refused(call: Call, place: Path) -> None:
    """The source is never changed: another root has to be named."""
    build_revision_folder(place / "builds" / "film", Random(1), revisions=1)
    refused = call("migrate", "builds", "--all", "--json")
    assert refused.code == 2
    assert "--root" in refused.error["hint"]
    assert not (place / "builds" / "film" / "format.json").exists()


def test_it_is_a_program_like_any_other(place: Path) -> None:
    """Called from a shell, with a home folder in the path."""
    build_revision_folder(place / "film", Random(1), revisions=1)
    done = program("migrate", "film", "--root", "root")
    assert (done.returncode, done.stderr) == (0, "")


def test_a_report_for_people_has_every_path_and_item(call: Call, place: Path) -> None:
    """A file whose name ends in .txt: what the screen cuts short is all there."""
    build_revision_folder(place / "old/film", Random(1), segments=6, images=6, irregularities={"missing", "gaps"})
    for path in (place / "old/film").rglob("*.png"):
        path.unlink()
    told = call("migrate", "old/film", "--report", "report.txt")
    assert told.code == 4
    assert "more; --report FILE lists them." in told.out
    assert "Missing: " in told.err
    text = (place / "report.txt").read_text()
    document = call("migrate", "old/film", "--json").json
    assert text.count("film: missing: ") == len(document["missing"])
    assert all(f"{old} is {new}" in text for old, new in document["mapped"].items())
    for path in document["paths"]:
        assert f"film: {path['path']} is {path['artefact']} of {', '.join(path['revisions'])}" in text


def test_a_report_does_not_take_the_place_of_a_file_that_is_migrated(call: Call, place: Path) -> None:
    """SRC is only read; beside the movies of a folder a report may lie."""
    build_revision_folder(place / "old/film", Random(1), revisions=1)
    before = (place / "old/film/metadata.json").read_bytes()
    for arguments in (["old/film"], ["old"], ["old", "--all"]):
        refused = call("migrate", *arguments, "--report", "old/film/metadata.json")
        assert (refused.code, "only read" in refused.err) == (2, True), arguments
    assert (place / "old/film/metadata.json").read_bytes() == before
    assert call("migrate", "old", "--all", "--report", "old/report.json").code == 0


@pytest.mark.parametrize("report", ["nowhere/report.json", ".", "~nobody.of.that.name/report.json", "/proc/version"])
def test_a_report_that_cannot_be_written_is_said_before_anything_is_done(report: str, call: Call, place: Path) -> None:
    """Not when hours have passed."""
    build_revision_folder(place / "old/film", Random(1), revisions=1)
    refused = call("migrate", "old/film", "--report", report)
    assert (refused.code, refused.out) == (2, "")
    assert "report" in refused.err
    assert not (place / "builds").exists()


def test_a_report_for_which_there_is_no_room_is_named(call: Call, place: Path) -> None:
    """The movie has come over, and the file that could not be written is told; a former report stays until then."""
    build_revision_folder(place / "old/film", Random(1), revisions=1)
    full = call("migrate", "old/film", "--report", "/dev/full")
    assert (full.code, "/dev/full" in full.err) == (5, True), full.err
    (place / "report.json").write_text("the former one, which is longer than any line of the new one" * 1_000)
    assert call("migrate", "old/film", "--report", "report.json").code == 0
    assert json.loads((place / "report.json").read_text()), "nothing of the former one is left"


def test_names_that_are_no_text_are_escaped(call: Call, place: Path) -> None:
    """A folder whose name is not UTF-8, and one with a line end: they are reported without harm."""
    (place / "old").mkdir()
    for movie, name in (("one", "fi\udcfflm"), ("two", "li\n\x1b[31mne")):
        build_revision_folder(place / movie, Random(1), revisions=1, irregularities={"missing"})
        (place / movie).rename(place / "old" / name)
    for report in ("report.json", "report.txt"):
        told = call("migrate", "old", "--all", "--report", report)
        assert told.code == 4, told.err
        assert "\x1b" not in told.out + told.err
    sources = [movie["source"] for movie in json.loads((place / "report.json").read_text())["movies"]]
    assert sources == ["old/fi\udcfflm", "old/li\n\x1b[31mne"]
    text = (place / "report.txt").read_text()
    assert "one, from old/fi\\xfflm\n" in text
    assert "two, from old/li\\n\\x1b[31mne\n" in text


def test_a_name_that_is_no_id_needs_another(call: Call, place: Path) -> None:
    """The hint says how to give it one."""
    build_revision_folder(place / "my film", Random(1), revisions=1)
    refused = call("migrate", "my film", "--json")
    assert (refused.code, refused.error["kind"]) == (2, "InvalidIdError")
    assert "--movie" in refused.error["hint"]
    assert call("migrate", "my film", "--movie", "film").code == 0


def test_a_full_disk_ends_with_5_and_the_report_of_what_was_done(place: Path) -> None:
    """What had come over is told, the movies that follow are not begun, and the same command goes on."""
    for seed, name in enumerate(["a", "b", "c", "d"]):
        build_revision_folder(place / "old" / name, Random(seed), segments=3, images=3, revisions=2)
    (place / "small").mkdir()
    script = "import sys; from renku_cli.main import run; sys.exit(run(sys.argv[1:]))"
    arguments = ("migrate", "old", "--all", "--report", "report.json", "--root")
    ended = children.run(script, *arguments, "small/root", prefix=children.on_small_disk(place / "small", 700))
    assert ended.code == 5, ended.err
    assert "Traceback" not in ended.err
    assert "error: " in ended.err
    assert "hint: " in ended.err
    movies = json.loads((place / "report.json").read_text())["movies"]
    assert 1 <= len(movies) < 4
    assert [movie.get("problem", {}).get("kind") for movie in movies] == [None] * (len(movies) - 1) + [
        "StoreUnavailableError"
    ]
    assert f"Movies that were not begun: {4 - len(movies)}." in movies[-1]["notes"][0]


@pytest.mark.long_away
def test_it_goes_to_any_kind_of_root(any_root: Root, call: Call, place: Path) -> None:
    """Named by --root; what came over can be listed, compared, read and exported there."""
    expected = build_revision_folder(place / "old/film", Random(1), revisions=2, changes=1.0)
    root = ("--root", any_root.url)
    assert call("migrate", "old", "--all", "--report", "report.txt", *root).code == 0
    assert "Brought over 0 revisions" in call("migrate", "old", "--all", *root).out
    assert [entry["revision"] for entry in call("log", "--json", *root).json] == ["rev-0002", "rev-0001"]
    assert call("diff", "rev-0001", "rev-0002", "--json", *root).json["artefacts"]["changed"]
    assert call("export", "rev-0001", "out", *root).code == 0
    held = {path.read_bytes() for path in (place / "out").iterdir() if path.is_file()}
    files = [value for value in expected.revisions[0].artefacts.values() if isinstance(value, bytes)]
    assert files
    assert held.issuperset(files)
