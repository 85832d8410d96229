"""What is printed: for people, for pipes, for programs."""

from __future__ import annotations

import json
import os
import pty
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from renku_cli import output
from tests.cli.conftest import Call

_VALUES = st.recursive(st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.text(), st.lists)


@given(st.dictionaries(st.text(), _VALUES), st.booleans())
def test_json_is_one_document_without_raw_controls(value: dict[str, object], one_line: bool) -> None:
    """What a program reads back is what was meant, and a terminal is not steered by it."""
    with pytest.MonkeyPatch.context() as patch:
        written: list[bytes] = []
        patch.setattr(output, "write_bytes", written.append)
        output.print_json(value, one_line=one_line)
    text = b"".join(written).decode()
    assert json.loads(text) == value
    assert not any(0x7F <= ord(char) <= 0x9F for char in text)
    assert not one_line or text.count("\n") == 1


def test_json_with_a_path_that_is_not_utf8_can_be_read(capsys: pytest.CaptureFixture[str]) -> None:
    """Half a surrogate pair becomes its escape."""
    output.print_json({"path": os.fsdecode(b"a\xff")})
    assert json.loads(capsys.readouterr().out) == {"path": os.fsdecode(b"a\xff")}


def test_a_table_in_a_pipe_is_columns_between_tabs(capsys: pytest.CaptureFixture[str]) -> None:
    """Cells hold no tabs or line ends of their own."""
    output.print_table(("a", "b"), [("x\ty", output.state("dirty")), ("[bold]\n", "\x1b[31m")])
    assert capsys.readouterr().out == "a\tb\nx\\ty\tdirty\n[bold]\\n\t\\x1b[31m\n"


def on_terminal(*arguments: str, **environment: str) -> str:
    """What the program shows on a terminal of 200 columns."""
    master, slave = pty.openpty()
    surroundings = {**os.environ, "TERM": "xterm-256color", "COLUMNS": "200", **environment}
    with subprocess.Popen(
        [str(Path(sys.executable).parent / "renku-store"), *arguments],
        stdin=slave,
        stdout=slave,
        stderr=slave,
        env=surroundings,
    ) as process:
        os.close(slave)
        shown = b""
        while True:
            try:
                chunk = os.read(master, 65536)
            except OSError:
                break
            if not chunk:
                break
            shown += chunk
        process.wait()
    os.close(master)
    return shown.decode()


def test_a_terminal_gets_a_table_in_colours(place: Path) -> None:
    """On a terminal there are rules and styles."""
    shown = on_terminal("config")
    assert "\x1b[1m" in shown
    assert "───" in shown


@pytest.mark.parametrize("environment", [{"NO_COLOR": "1"}, {"TERM": "dumb"}])
def test_nobody_who_asks_for_no_colours_gets_them(place: Path, environment: dict[str, str]) -> None:
    """NO_COLOR counts for tables, errors and states."""
    for arguments in (["config"], ["config", "nothing"]):
        shown = on_terminal(*arguments, **environment)
        assert "\x1b[3" not in shown
        assert "\x1b[1;3" not in shown


def test_errors_are_red_on_a_terminal(place: Path) -> None:
    """The word that begins an error stands out."""
    assert "\x1b[1;31merror:\x1b[0m" in on_terminal("config", "nothing")


def test_markup_and_controls_in_data_stay_text_on_a_terminal(call: Call, place: Path) -> None:
    """A value cannot colour, clear or fake what is shown."""
    assert call("config", "root", "[red]x[/red]\x1b[2J:smile:").code == 0
    assert "[red]x[/red]\\x1b[2J:smile:" in on_terminal("config")


def test_text_that_the_encoding_lacks_is_written_as_escapes(place: Path) -> None:
    """An old terminal's encoding is no reason to fail."""
    done = subprocess.run(
        [str(Path(sys.executable).parent / "renku-store"), "config", "root", "--root", "caf\u00e9"],
        capture_output=True,
        env={**os.environ, "PYTHONIOENCODING": "ascii"},
        check=True,
    )
    assert done.stdout == b"caf\\xe9\n"
