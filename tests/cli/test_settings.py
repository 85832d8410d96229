"""Settings and the config file."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.cli.conftest import Call


def _file(place: Path) -> Path:
    return place / "xdg" / "renku-store" / "config.toml"


def test_the_command_line_goes_before_environment_file_and_default(
    call: Call, place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each step of the order is seen with its source."""

    def source() -> tuple[str, str]:
        found = call("config", "--json").json["settings"]["root"]
        return found["value"], found["source"]

    assert source() == ("builds", "default")
    assert call("config", "root", "from-file").code == 0
    assert source() == ("from-file", "config file")
    monkeypatch.setenv("RENKU_STORE_ROOT", "from-env")
    assert source() == ("from-env", "environment")
    assert call("--root", "x", "config", "root", "--root", "y").out == "y\n"
    monkeypatch.setenv("RENKU_STORE_ROOT", "")
    assert source() == ("from-file", "config file")


def test_writing_a_setting_keeps_comments_and_what_is_not_ours(call: Call, place: Path) -> None:
    """The file belongs to the person who wrote it."""
    _file(place).parent.mkdir(parents=True)
    _file(place).write_text('# mine\nroot = "a"  # why\n\n[editor]\nx = 1\n')
    assert call("config", "root", "b").code == 0
    assert call("config", "movie", "m").code == 0
    assert call("config", "movie", "--unset").code == 0
    assert _file(place).read_text() == '# mine\nroot = "b"  # why\n\n[editor]\nx = 1\n'


def test_a_linked_config_file_stays_a_link(call: Call, place: Path) -> None:
    """Dotfiles folders link their files into place."""
    _file(place).parent.mkdir(parents=True)
    (place / "dotfile").write_text("")
    _file(place).symlink_to(place / "dotfile")
    assert call("config", "movie", "m").code == 0
    assert _file(place).is_symlink()
    assert (place / "dotfile").read_text() == 'movie = "m"\n'


@pytest.mark.parametrize(
    ("arguments", "hint"),
    [
        (["rot"], "Did you mean root?"),
        (["rot", "x"], "Did you mean root?"),
        (["concurrency", "0"], "percentage"),
        (["concurrency", "many"], "percentage"),
        (["root", ""], "--unset"),
        (["movie", "../x"], "letter or digit"),
        (["movie=a/b"], "letter or digit"),
        (["root", "x", "--unset"], "one of them"),
        (["--unset"], "Keys are"),
    ],
)
def test_a_wrong_setting_is_refused_and_nothing_is_written(
    call: Call, place: Path, arguments: list[str], hint: str
) -> None:
    """Bad settings end with code 2, a hint, and no file."""
    done = call("config", *arguments)
    assert (done.code, done.out) == (2, "")
    assert hint in done.err
    assert not _file(place).exists()


@pytest.mark.parametrize("text", ["root = ", "root = [1]", "root = true", b"root = '\xff'"])
def test_a_config_file_that_cannot_be_read_is_named(call: Call, place: Path, text: str | bytes) -> None:
    """The error says which file it is."""
    _file(place).parent.mkdir(parents=True)
    _file(place).write_bytes(text if isinstance(text, bytes) else text.encode())
    done = call("movies", "--json")
    assert done.code == 2
    assert done.error["kind"] == "UsageError"
    assert str(_file(place)) in done.error["message"]


@pytest.mark.parametrize(
    ("text", "command", "code", "kind"),
    [
        ('movie = "../x"', "plan", 2, "InvalidIdError"),
        ('movie = "../x"', "fsck", 2, "InvalidIdError"),
        ('movie = "tinny"', "log", 2, "NotFoundError"),
        ('root = "nope://x"', "log", 5, "StoreUnavailableError"),
        ('concurrency = "many"', "plan", 2, "InvalidValueError"),
        ("concurrency = 0", "run", 2, "InvalidValueError"),
    ],
)
def test_a_bad_value_of_the_config_file_is_told_with_the_file(
    call: Call, movie: str, place: Path, text: str, command: str, code: int, kind: str
) -> None:
    """And with the command that removes it; one of the command line is told without."""
    _file(place).parent.mkdir(parents=True, exist_ok=True)
    _file(place).write_text(text)
    refused = call(command, "--json")
    assert (refused.code, refused.error["kind"]) == (code, kind)
    key = text.partition(" ")[0]
    assert f"`{key}` in {_file(place)}: `renku-store config {key} --unset` removes it." in refused.error["hint"]
    assert call("config", key, "--unset").code == 0
    assert call(command).code == 0
    assert str(_file(place)) not in call("log", "--movie", "../x").err


def test_a_key_that_means_nothing_is_pointed_out(call: Call, place: Path) -> None:
    """A typing error in the file is told of, with the nearest key."""
    _file(place).parent.mkdir(parents=True)
    _file(place).write_text("rooot = 'x'\n")
    done = call("config")
    assert done.code == 0
    assert "Did you mean root?" in done.err


def test_a_relative_config_home_is_ignored(call: Call, place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The XDG specification says that such a value counts as not set."""
    monkeypatch.setenv("XDG_CONFIG_HOME", "relative")
    monkeypatch.setenv("HOME", str(place))
    assert call("config", "movie", "m").code == 0
    assert (place / ".config/renku-store/config.toml").read_text() == 'movie = "m"\n'
