"""Printed commands work where they are printed."""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from renku_cli.invocation import command_line, program

_BIN = Path(sys.executable).parent


def test_a_program_found_on_the_path_is_called_by_its_name(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody is told a long path who typed a short name."""
    monkeypatch.setenv("PATH", str(_BIN))
    assert program(str(_BIN / "renku-store")) == "renku-store"


def test_a_program_below_the_present_folder_is_called_from_there(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """`.venv/bin/renku-store` stays that, and an absolute path below here becomes that."""
    monkeypatch.setenv("PATH", "/nowhere")
    monkeypatch.chdir(tmp_path)
    assert program(".venv/bin/renku-store") == ".venv/bin/renku-store"
    assert program(str(tmp_path / "my tools/renku-store")) == "'my tools/renku-store'"


def test_the_module_form_is_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    """`python -m renku_cli` is repeated as that."""
    monkeypatch.chdir("/")
    words = shlex.split(program("/somewhere/renku_cli/__main__.py"))
    done = subprocess.run([*words, "--version"], capture_output=True, text=True, check=True, env=dict(os.environ))
    assert done.stdout.startswith("renku-store ")


def test_words_are_quoted_for_a_shell(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is copied means the same."""
    monkeypatch.setattr(sys, "argv", ["renku-store"])
    words = ["--root", "my builds", "set", "segments[1].text", "It's rain."]
    assert shlex.split(command_line(*words)) == ["renku-store", *words]
