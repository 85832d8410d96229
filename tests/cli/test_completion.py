"""Shell completion, as a shell asks for it."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.cli.conftest import Call, program

Completed = Callable[..., list[str]]


@pytest.fixture
def completed(call: Call, monkeypatch: pytest.MonkeyPatch) -> Completed:
    """What bash is offered after some words, the last one begun."""

    def offered(words: str, *, last: str = "") -> list[str]:
        line = f"renku-store {words} ".replace("  ", " ")
        with monkeypatch.context() as patch:
            patch.setenv("_RENKU_STORE_COMPLETE", "bash_complete")
            patch.setenv("COMP_WORDS", line + last)
            patch.setenv("COMP_CWORD", str(len(line.split())))
            done = call()
        assert (done.code, done.err) == (0, "")
        return [line.partition(",")[2] for line in done.out.splitlines() if line]

    return offered


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_a_shell_gets_its_script(shell: str) -> None:
    """The documented line for each shell gives a script for the program."""
    done = program(env={**os.environ, "_RENKU_STORE_COMPLETE": f"{shell}_source"})
    assert done.returncode == 0
    assert "renku-store" in done.stdout
    assert f"_RENKU_STORE_COMPLETE={shell}_complete" in done.stdout


def test_commands_and_options_are_completed(completed: Completed) -> None:
    """From the table, global options too."""
    assert completed("", last="ex") == ["explain", "export"]
    assert "--dry-run" in completed("run", last="--")
    assert "--movie" in completed("run", last="--")


def test_names_of_the_movie_are_completed(call: Call, completed: Completed, built: str) -> None:
    """Revisions, artefacts, inputs, jobs, movies, settings; after a root that is named on the line, too."""
    assert call("--root", "other", "init", "mine").code == 0
    assert completed("cat", last="word[1") == ["word[1].text"]
    assert completed("inspect") == ["latest", "rev-0001"]
    assert completed("set", last="g") == ["greeting"]
    assert completed("explain", last="bo") == ["book", "book.index", "book.text"]
    assert completed("events", last="l") == ["lines"]
    assert completed("--movie") == ["tiny"]
    assert completed("--root other --movie") == ["mine"]
    assert completed("log --root other --movie") == ["mine"]
    assert completed("config", last="r") == ["root"]
    assert completed("abandon") == []


def test_tags_are_completed_wherever_a_revision_is(call: Call, completed: Completed, built: str) -> None:
    """And where a tag itself is asked for."""
    assert call("tag", "1", "final-cut").code == 0
    assert completed("inspect") == ["latest", "final-cut", "rev-0001"]
    assert completed("tag --delete") == ["final-cut"]
    assert completed("prune --keep-tag", last="f") == ["final-cut"]
    assert completed("prune --expire", last="rev") == ["rev-0001"]


def test_a_broken_place_completes_to_nothing(completed: Completed, place: Path) -> None:
    """No movie, a root that is a file, a config that is no TOML: silence."""
    assert completed("cat") == []
    (place / "file").write_text("")
    assert completed("--root file cat") == []
    assert completed("--root file --movie") == []
    (place / "xdg/renku-store").mkdir(parents=True)
    (place / "xdg/renku-store/config.toml").write_text("=")
    assert completed("cat") == []
