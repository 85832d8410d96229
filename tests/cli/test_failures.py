"""Errors: one sentence, a hint, and the code of their group."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import click
import pytest

import renku_store
from renku_cli.failures import failure_of, write_failure
from renku_store import InputConflictError, NotFoundError, StoreError
from tests.cli.conftest import Call, program

_GROUPS = {"BadInputError": 2, "ConflictError": 3, "DamageError": 4, "UnusableError": 5, "JobError": 1}


def _kinds() -> list[type[StoreError]]:
    found = (getattr(renku_store, name) for name in renku_store.__all__ if name.endswith("Error"))
    return [kind for kind in found if kind is not StoreError]


@pytest.mark.parametrize("kind", _kinds())
def test_every_kind_of_error_has_the_code_of_its_group(kind: type[StoreError]) -> None:
    """The contract gives a code to each group, and each kind is in one."""
    error = kind.__new__(kind)
    StoreError.__init__(error, "It went wrong.", hint="Do better.")
    if isinstance(error, InputConflictError):
        error.values = {}
    failure = failure_of(error)
    groups = [code for group, code in _GROUPS.items() if isinstance(error, getattr(renku_store, group))]
    assert [failure.exit_code] == groups
    assert (failure.kind, failure.message, failure.hint) == (kind.__name__, "It went wrong.", "Do better.")


@pytest.mark.parametrize(
    ("error", "kind", "code"),
    [
        (click.UsageError("no"), "UsageError", 2),
        (click.FileError("x"), "UsageError", 2),
        (KeyboardInterrupt(), "Interrupted", 130),
        (click.Abort(), "Interrupted", 130),
        (OSError(28, "No space left on device"), "StoreUnavailableError", 5),
        (ZeroDivisionError("oh"), "InternalError", 70),
    ],
)
def test_other_errors_have_a_kind_and_a_code(error: BaseException, kind: str, code: int) -> None:
    """Nothing reaches a person as a traceback."""
    failure = failure_of(error)
    assert (failure.kind, failure.exit_code) == (kind, code)
    assert failure.hint or kind == "Interrupted"


@pytest.mark.parametrize(
    ("arguments", "hint"),
    [
        (["init", "film", "--graph", "broken.yaml"], "--blueprint"),
        (["init", "film", "--blueprint", "broken.yaml"], "left open"),
        (["init", "film", "--blueprint", "when.yaml"], "For example not segments[segment].video"),
        (["events", "nosuch"], "`renku-store events` shows all"),
        (["run", "--events", "nowhere/events.jsonl"], "can be written"),
        (["cat", "a\0b"], "without it"),
        (["--json=1", "movies"], "`renku-store --help`"),
        (["movies", "--json=1"], "`renku-store movies --help`"),
    ],
)
def test_a_mistake_on_the_command_line_is_met_with_a_way_out(
    call: Call, place: Path, arguments: list[str], hint: str
) -> None:
    """The sentence is followed by what to do."""
    (place / "broken.yaml").write_text("name: film\nproducers: {one: [\n")
    (place / "when.yaml").write_text(
        "producers: {p: {run: a/b, when: 'not (', outputs: {o: {mimeType: text/plain}}}}\n"
    )
    assert call("init", "other").code == 0
    done = call(*arguments)
    assert done.code == 2
    assert hint in done.err.partition("hint: ")[2]


def test_a_conflict_of_inputs_shows_both_values(capsys: pytest.CaptureFixture[str]) -> None:
    """Nobody has to guess which edits collided."""
    error = InputConflictError("Two edits.", values={"topic": ("a", ["b"])})
    write_failure(failure_of(error), as_json=True)
    assert json.loads(capsys.readouterr().err)["error"]["values"] == {"topic": ["a", ["b"]]}
    write_failure(failure_of(error), as_json=False)
    assert 'topic: theirs "a", ours ["b"]' in capsys.readouterr().err


def test_a_message_cannot_steer_the_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    """Ids from outside stand in messages."""
    write_failure(failure_of(NotFoundError("no \x1b[2J\u202e", hint="\x07")), as_json=False)
    assert capsys.readouterr().err == "error: no \\x1b[2J\\u202e\nhint: \\x07\n"


@pytest.mark.parametrize(
    ("arguments", "hint"),
    [
        (["rum"], "Did you mean run or prune?"),
        (["zzz"], "renku-store --help"),
        (["run", "--conc", "5"], "--concurrency"),
        (["log", "--limit", "0"], "--help"),
        (["cat"], "--help"),
        (["config", "a", "b", "c"], "--help"),
    ],
)
def test_a_wrong_use_ends_with_2_and_a_hint(call: Call, arguments: list[str], hint: str) -> None:
    """The same error as text and as JSON."""
    plain = call(*arguments)
    assert (plain.code, plain.out) == (2, "")
    assert plain.err.startswith("error: ")
    assert hint in plain.err
    told = call(*arguments, "--json")
    assert (told.code, told.out, told.error["kind"]) == (2, "", "UsageError")


def test_an_option_without_its_value_points_at_the_help(call: Call) -> None:
    """The parser's own errors know their command."""
    assert "`renku-store run --help`" in call("run", "--concurrency").err


def test_no_command_at_all_shows_the_help(call: Call) -> None:
    """Somebody who types the bare name wants to know what there is."""
    done = call()
    assert (done.code, done.out) == (2, "")
    assert "Commands:" in done.err


def test_debug_shows_the_traceback_and_still_the_sentence(call: Call) -> None:
    """Only --debug does."""
    assert "Traceback" not in call("log").err
    done = call("log", "--debug")
    assert done.code == 2
    assert "Traceback" in done.err
    assert done.err.splitlines()[-2].startswith("error: ")


def test_a_reader_that_went_away_is_no_error(place: Path) -> None:
    """`renku-store ... | head` prints nothing about pipes."""
    writer = subprocess.run(
        ["bash", "-c", 'renku() { "$0" "$@"; }; renku config --json | true; echo "${PIPESTATUS[0]}"', _executable()],
        capture_output=True,
        text=True,
        check=True,
    )
    assert writer.stderr == ""
    assert writer.stdout.strip() in {"0", "141"}


def test_a_full_disk_behind_standard_output_is_an_error(place: Path) -> None:
    """A script must not take a truncated document for a whole one."""
    with Path("/dev/full").open("w") as full:
        done = program("config", "--json", stdout=full)
    assert done.returncode == 5
    assert "No space left" in done.stderr


@pytest.mark.parametrize("closed", [">&-", "2>&-", ">&- 2>&-", "<&- >&- 2>&-"])
def test_a_closed_stream_changes_nothing(call: Call, movie: str, place: Path, closed: str) -> None:
    """What would be printed goes nowhere, above all into no file that is opened in the stream's place."""
    done = subprocess.run(["bash", "-c", f'"$0" run {closed}', _executable()], capture_output=True, check=False)
    assert (done.returncode, done.stdout if ">&- " in closed else b"") == (0, b"")
    assert call("log", "--json").json[0]["revision"] == "rev-0001"
    assert call("fsck").code == 0


def _executable() -> str:
    return str(Path(sys.executable).parent / "renku-store")


def test_a_root_of_the_settings_that_no_path_can_be_is_refused(call: Call, place: Path) -> None:
    """A config file can hold what an argument cannot."""
    config = place / "xdg" / "renku-store" / "config.toml"
    config.parent.mkdir(parents=True)
    for root in ("a\\u0000b", "file:///a%00b"):
        config.write_text(f'root = "{root}"\n')
        for command in ("movies", "doctor"):
            done = call("--json", command)
            assert done.code in {2, 5}
            assert "NUL" in done.out + done.err


@pytest.mark.parametrize(
    "arguments",
    [
        ("--root", "a\0b", "movies"),
        ("--root", "a\0b", "doctor"),
        ("init", "film", "--blueprint", "a\0b"),
        ("init", "film", "--graph", "a\0b"),
        ("set", "greeting", "@a\0b"),
        ("set", "--file", "a\0b"),
        ("edit", "book.text", "@a\0b"),
        ("run", "--blueprint", "a\0b"),
        ("run", "--graph", "a\0b"),
        ("run", "--inputs", "a\0b"),
        ("run", "--events", "a\0b"),
        ("export", "latest", "a\0b"),
        ("copy", "builds", "a\0b"),
        ("copy", "a\0b", "builds"),
        ("timeline", "--output", "a\0b"),
        ("demo", "a\0b"),
    ],
)
@pytest.mark.usefixtures("built")
def test_what_no_path_can_be_is_refused(call: Call, arguments: tuple[str, ...]) -> None:
    """A NUL character ends every path of the system: bad use, with the path, wherever a path is taken."""
    refused = call("--json", *arguments)
    assert refused.code == 2
    assert "x00" in refused.error["message"]
    assert "Traceback" not in refused.err


@pytest.mark.parametrize("name", ["worker", "ui"])
def test_a_command_that_is_to_come_says_so(call: Call, name: str) -> None:
    """Not that it is unknown, nor a name that is near it."""
    refused = call(name, "--json")
    assert (refused.code, refused.error["kind"]) == (2, "UsageError")
    assert refused.error["message"] == f"renku-store {name} comes later: there is no such command yet."
    assert f"  {name} " not in call("--help").out
