"""`fsck`: what it prints, what it refuses, and its exit codes."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from renku_cli.commands.fsck import part_of
from renku_cli.misuse import Misuse
from tests.cli.conftest import Call
from tests.fsck.conftest import Film, flip, make_film


@pytest.fixture
def film(place: Path) -> Film:
    """A film of three revisions."""
    return make_film(place / "root")


def test_a_sound_movie_is_one_line_and_code_0(call: Call, built: str) -> None:
    """And the fields of the contract."""
    said = call("fsck")
    assert (said.code, said.err) == (0, "")
    assert said.out.endswith(" of blobs read: no problem.\n")
    found = call("fsck", "--json").json
    assert {"ok", "checked", "checkedBytes", "skipped", "complete", "problems", "notes"} == set(found)
    assert (found["ok"], found["problems"]) == (True, [])
    assert isinstance(found["checked"], int)


def test_a_problem_is_a_row_and_code_4(film: Film) -> None:
    """Its number, what suffers, and the command."""
    flip(film.blob("speak[1].audio"))
    said = film.call("fsck")
    assert said.code == 4
    heading, row, last = said.out.splitlines()
    assert heading.split("\t") == ["invariant", "object", "artefacts", "revisions", "problem", "repair"]
    cells = row.split("\t")
    assert (cells[0], cells[2], cells[3]) == ("1", "speak[1].audio", "rev-0002, rev-0003")
    assert cells[5] == f"renku-store --root {film.root} fsck --repair; renku-store --root {film.root} run"
    assert last.endswith(": 1 problem.")
    [problem] = film.call("fsck", "--json").json["problems"]
    assert set(problem) == {"invariant", "object", "artefacts", "revisions", "message", "repair"}


def test_what_is_left_after_a_repair_is_code_4_and_a_clean_one_0(film: Film) -> None:
    """What was done comes first."""
    flip(film.blob("cut.video"))
    said = film.call("fsck", "--repair")
    assert said.code == 4
    assert said.out.splitlines()[0].startswith("repaired  blobs/")
    assert film.call("run").code == 0
    assert film.call("fsck", "--repair").code == 0


def test_a_configured_copy_is_what_a_repair_names(film: Film, place: Path) -> None:
    """Then the command can be typed as it stands; without one it is said that a copy is needed."""
    shutil.copytree(film.root, place / "my copy")
    path = film.blob("notes")
    flip(path)
    [problem] = film.call("fsck", "--json").json["problems"]
    assert problem["repair"] == f"renku-store --root {film.root} fsck --repair --from PATH"
    assert problem["message"].endswith("This needs a copy of the movie: PATH is its build root.")
    assert film.call("config", "copy", str(place / "my copy")).code == 0
    [problem] = film.call("fsck", "--json").json["problems"]
    assert problem["repair"] == f"renku-store --root {film.root} fsck --repair --from '{place / 'my copy'}'"
    film.obey(problem["repair"].replace(f"--root {film.root} ", ""))
    assert film.call("fsck").code == 0


def test_a_database_of_a_newer_version_is_not_to_be_made_anew(film: Film) -> None:
    """It holds what this version cannot keep: the way on is the newer version."""
    film.sql("PRAGMA user_version = 999")
    said = film.call("fsck", "--json")
    assert said.code == 4
    [problem] = said.json["problems"]
    assert (problem["object"], problem["repair"]) == ("metadata.db", "pip install --upgrade renku-store")


def test_files_in_events_that_are_no_archives_are_a_note(film: Film) -> None:
    """Nobody reads them, and nobody removes them."""
    (film.folder / "events/notes.txt").write_text("mine")
    said = film.call("fsck")
    assert said.code == 0
    assert "Files in events/ that are no archives: 1, such as events/notes.txt." in said.err


def test_a_movie_without_its_format_is_damaged_whoever_is_asked_for(film: Film) -> None:
    """Named or not: it is no movie that is not there."""
    (film.folder / "format.json").unlink()
    for arguments in (["log"], ["--movie", "film", "log"], ["fsck"]):
        said = film.call(*arguments)
        assert said.code == 4, said
        assert "The format.json of film is missing" in said.err


def test_the_extent_comes_from_the_options(film: Film) -> None:
    """A sample says its seed and is not complete; an age skips; a budget of nothing reads nothing."""
    said = film.call("fsck", "--sample", "50%", "--seed", "3")
    assert (said.code, "50% of the blobs were drawn to be read, with the seed 3" in said.err) == (0, True)
    found = film.call("fsck", "--sample", "0%", "--json").json
    assert (found["complete"], found["checkedBytes"], found["skipped"] > 0) == (False, 0, True)
    assert film.call("fsck").code == 0
    found = film.call("fsck", "--max-age", "7d", "--json").json
    assert (found["complete"], found["checkedBytes"]) == (True, 0)
    assert "blobs not read" in film.call("fsck", "--max-age", "7d").out
    found = film.call("fsck", "--budget", "0", "--json").json
    assert (found["complete"], found["checkedBytes"]) == (False, 0)


@pytest.mark.parametrize(
    "arguments",
    [("--sample", "ten"), ("--sample", "101%"), ("--max-age", "7"), ("--budget", "x"), ("--from", "backup"), ("x",)],
)
def test_wrong_uses_are_refused(call: Call, built: str, arguments: tuple[str, ...]) -> None:
    """With code 2, before anything is read."""
    assert call("fsck", *arguments).code == 2


def test_a_movie_that_is_not_there_is_code_2(call: Call, built: str) -> None:
    """As everywhere."""
    assert call("fsck", "--movie", "tinny", "--json").error["hint"] == "Did you mean tiny?"


@pytest.mark.parametrize(
    ("text", "part"),
    [("10%", 0.1), ("0%", 0), ("100%", 1), ("0.5%", 0.005), ("10", 0.1), ("0.5", 0.005), ("100", 1)],
)
def test_a_part_is_per_cent(text: str, part: float) -> None:
    """From nothing to all, with the sign or without."""
    assert part_of(text) == pytest.approx(part)


@pytest.mark.parametrize("text", ["", "%", "ten", "-1%", "101", "100.1%", "1e1%", "nan%"])
def test_a_part_that_is_none_is_refused(text: str) -> None:
    """By name, with an example."""
    with pytest.raises(Misuse, match="not a part"):
        part_of(text)
