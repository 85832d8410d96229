"""`migrate`: what it prints and writes, its codes, and what it says to those who give it something else."""

from __future__ import annotations

import json
from pathlib import Path
from random import Random

import pytest

from renku_store.testing.old_folders import build_revision_folder
from tests.cli.conftest import Call, program


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
