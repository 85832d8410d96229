"""The setting `view`: a folder that shows the newest revision of each movie, whatever published it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.cli.conftest import LINES, Call


def _shown(folder: Path) -> str:
    revision: str = json.loads((folder / "manifest.json").read_bytes())["revision"]
    return revision


@pytest.mark.parametrize("spelling", [("config", "view", "films"), ("config", "view=films")])
def test_both_spellings_keep_an_absolute_path(call: Call, place: Path, spelling: tuple[str, ...]) -> None:
    """The view does not move with the folder in which the program is called."""
    assert call(*spelling).code == 0
    assert call("config", "view").out == f"{place / 'films'}\n"
    assert call("config", "view", "--unset").code == 0
    assert call("config", "view").out == "\n"


def test_every_key_can_be_written_with_an_equals_sign(call: Call) -> None:
    """And a value may hold further ones; what is no key is not cut."""
    assert call("config", "root=a=b").code == 0
    assert call("config", "root").out == "a=b\n"
    assert "There is no setting 'rot=x'" in call("config", "rot=x").err
    assert "may not be empty" in call("config", "view=").err


def test_a_view_follows_runs_and_rollbacks(call: Call, place: Path, movie: str) -> None:
    """After each of them it shows the newest revision; only what differs is written."""
    assert call("config", f"view={place / 'films'}").code == 0
    view = place / "films" / movie
    done = call("run")
    assert done.code == 0
    assert f"{view} shows rev-0001: " in done.err
    assert (view / "word[0].text.txt").exists()
    times = {path.name: path.stat().st_mtime_ns for path in view.iterdir()}
    assert call("set", "lines", json.dumps([*LINES[:2], {"text": "3"}])).code == 0
    assert call("run", "--json").code == 0
    changed = {path.name for path in view.iterdir() if path.stat().st_mtime_ns != times[path.name]}
    assert changed == {"word[2].text.txt", "book.text.txt", "manifest.json", ".renku-export.json"}
    assert _shown(view) == "rev-0002"
    assert call("rollback", "1").code == 0
    assert _shown(view) == "rev-0003"
    assert b"three" in (view / "word[2].text.txt").read_bytes()


def test_a_run_that_finds_nothing_to_do_mends_the_view(call: Call, place: Path, built: str) -> None:
    """What was changed or lost there is put right, also where the view was set after the last publication."""
    view = place / "films" / built
    assert call("config", "view", "films").code == 0
    assert call("run").code == 0
    (view / "word[0].text.txt").write_text("changed")
    (view / "word[1].text.txt").unlink()
    done = call("run")
    assert "2 files written, 0 removed" in done.err
    assert call("run").err == ""


def test_a_view_that_cannot_be_updated_is_a_warning(call: Call, place: Path, movie: str) -> None:
    """The revision is published all the same, and the exit code says so."""
    (place / "films").write_text("a file is in the way")
    assert call("config", "view", "films").code == 0
    done = call("run", "--json")
    assert (done.code, done.json["status"]) == (0, "published")
    assert "warning: The view was not updated" in done.err
    (place / "films").unlink()
    (place / "films" / movie).mkdir(parents=True)
    (place / "films" / movie / "manifest.json").write_text("mine")
    assert "is in the way" in call("run").err
    assert (place / "films" / movie / "manifest.json").read_text() == "mine"


def test_a_setting_that_is_no_text_is_a_warning_after_a_run(call: Call, place: Path, movie: str) -> None:
    """The config file was changed by hand while the run went on."""
    config = place / "xdg" / "renku-store" / "config.toml"
    config.parent.mkdir(parents=True, exist_ok=True)
    config.write_text("view = ['films']\n")
    done = call("run")
    assert done.code == 0
    assert "warning: The view was not updated" in done.err


def test_without_the_setting_nothing_is_written(call: Call, place: Path, movie: str) -> None:
    """A view is for those who ask for one."""
    assert call("run").code == 0
    assert not {"films", "views"} & {path.name for path in place.iterdir()}


def test_a_url_is_no_view(call: Call) -> None:
    """Nothing is written to the configuration."""
    done = call("config", "view=s3://bucket/films")
    assert done.code == 2
    assert "folder of this machine" in done.err
    assert call("config", "view").out.strip() == ""
