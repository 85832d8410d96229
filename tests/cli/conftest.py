"""The command line called in this process, in a folder and with a configuration of its own."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from renku_cli.main import run

BLUEPRINT = """\
name: tiny
inputs:
  lines: {type: list, required: true}
  greeting: {type: string, default: hello}
loops:
  line: {over: lines}
producers:
  word:
    for: [line]
    run: command
    argv: [sh, -c, 'cat request.json > outputs/text']
    inputs: {line: "lines[line].text", greeting: greeting}
    outputs: {text: {mimeType: text/plain}}
  book:
    run: command
    argv: [sh, -c, 'find inputs -type f | sort | xargs cat > outputs/text; echo {} > outputs/index']
    inputs: {words: "word[*].text"}
    outputs: {text: {mimeType: text/plain}, index: {mimeType: application/json}}
timeline: book.index
"""
LINES = [{"text": "one"}, {"text": "two"}, {"text": "three"}]


@dataclass(frozen=True)
class Called:
    """What a call of the command line gave."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        """The one JSON document of standard output."""
        return json.loads(self.out)

    @property
    def error(self) -> Any:
        """The error on standard error."""
        return json.loads(self.err.splitlines()[-1])["error"]


Call = Callable[..., Called]


@pytest.fixture(autouse=True)
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder to work in; nothing of the user's configuration is seen."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "xdg"))
    for name in ("RENKU_STORE_ROOT", "RENKU_STORE_MOVIE", "NO_COLOR", "FORCE_COLOR", "_RENKU_STORE_COMPLETE"):
        monkeypatch.delenv(name, raising=False)
    return tmp_path


@pytest.fixture
def call(capsys: pytest.CaptureFixture[str]) -> Call:
    """Call the command line in this process."""

    def called(*arguments: str) -> Called:
        capsys.readouterr()
        code = run(arguments)
        captured = capsys.readouterr()
        return Called(code, captured.out, captured.err)

    return called


def program(*arguments: str, **options: Any) -> subprocess.CompletedProcess[str]:
    """Call the installed program as another process."""
    return subprocess.run(
        [str(Path(sys.executable).parent / "renku-store"), *arguments],
        text=True,
        timeout=600,
        check=False,
        **{"env": dict(os.environ), "stdout": subprocess.PIPE, "stderr": subprocess.PIPE, **options},
    )


@pytest.fixture
def movie(call: Call, place: Path) -> str:
    """A movie with a blueprint and inputs, not run yet."""
    (place / "tiny.yaml").write_text(BLUEPRINT)
    assert call("init", "tiny", "--blueprint", "tiny.yaml").code == 0
    assert call("set", "lines", json.dumps(LINES)).code == 0
    return "tiny"


@pytest.fixture
def built(call: Call, movie: str) -> str:
    """The movie with its first revision."""
    assert call("run").code == 0
    return movie
