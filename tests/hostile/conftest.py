"""A movie whose producers are programs that leave a line for every call, so that nothing is made twice unseen."""

from __future__ import annotations

import json
import os
import shutil
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from renku_cli.main import run
from tests.cli.conftest import call, place

__all__ = ["call", "place"]

BLUEPRINT = """\
name: film
inputs:
  lines: {type: list, required: true}
  greeting: {type: string, default: hello}
loops:
  line: {over: lines}
producers:
  sound:
    for: [line]
    run: command
    argv: [sh, -c, 'echo $RENKU_JOB >> "$LEDGER"; cat request.json > outputs/audio']
    inputs: {line: "lines[line]", greeting: greeting}
    outputs: {audio: {mimeType: audio/wav}}
  reel:
    run: command
    argv: [sh, -c, 'echo $RENKU_JOB >> "$LEDGER"; cat inputs/* > outputs/video; echo {} > outputs/index']
    inputs: {sounds: "sound[*].audio"}
    outputs: {video: {mimeType: video/mp4}, index: {mimeType: application/json}}
timeline: reel.index
"""
LINES = ["one", "two", "three"]
JOBS = Counter(["sound[0]", "sound[1]", "sound[2]", "reel"])


class Ledger:
    """Which jobs' programs were started, and how often."""

    def __init__(self, path: Path) -> None:
        self.path = path

    @property
    def calls(self) -> Counter[str]:
        """The calls by job id since the last `clear`."""
        return Counter(self.path.read_text().split())

    def clear(self) -> None:
        """Forget."""
        self.path.write_text("")


@pytest.fixture
def ledger(place: Path, monkeypatch: pytest.MonkeyPatch) -> Ledger:
    """Where the producers of this test say that they were called."""
    path = place / "ledger.txt"
    monkeypatch.setenv("LEDGER", str(path))
    path.touch()
    return Ledger(path)


@pytest.fixture(scope="session")
def stages(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The movie at three moments, each as a build root: `film` (not run yet), `shown` (one revision) and `twice`."""
    folder = tmp_path_factory.mktemp("stages")
    (folder / "film.yaml").write_text(BLUEPRINT)

    def do(root: str, *arguments: str) -> None:
        assert run(["--root", str(folder / root), *arguments]) == 0

    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("LEDGER", str(folder / "ledger.txt"))
        do("film", "init", "film", "--blueprint", str(folder / "film.yaml"))
        do("film", "set", "lines", json.dumps(LINES))
        shutil.copytree(folder / "film", folder / "shown")
        do("shown", "run")
        shutil.copytree(folder / "shown", folder / "twice")
        do("twice", "set", "greeting", "good day")
        do("twice", "run")
    assert Counter((folder / "ledger.txt").read_text().split()) == JOBS + JOBS
    return folder


def _moved_in(stages: Path, name: str, place: Path) -> Path:
    shutil.copytree(stages / name, place / "builds")
    return place / "builds" / "film"


@pytest.fixture
def film(stages: Path, place: Path, ledger: Ledger) -> Path:
    """The folder of a movie with a blueprint and inputs, not run yet."""
    return _moved_in(stages, "film", place)


@pytest.fixture
def shown(stages: Path, place: Path, ledger: Ledger) -> Path:
    """The folder of that movie with its first revision."""
    return _moved_in(stages, "shown", place)


@pytest.fixture
def twice(stages: Path, place: Path, ledger: Ledger) -> Path:
    """The folder of that movie with a second revision, in which the greeting is another."""
    return _moved_in(stages, "twice", place)


def working(place: Path) -> list[str]:
    """The processes that work below the build root of a test."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            if (process / "cwd").readlink().is_relative_to(place / "builds"):
                found.append((process / "cmdline").read_text())
        except OSError:
            continue
    return found


Tree = dict[str, tuple[Any, ...]]
Look = Callable[[Path], Tree]


@pytest.fixture
def look() -> Look:
    """What is below a folder: names, modes, times and bytes."""

    def looked(folder: Path) -> Tree:
        tree: Tree = {}
        for path in [folder, *folder.rglob("*")]:
            found = path.lstat()
            content = path.read_bytes() if path.is_file() else b""
            tree[os.fsdecode(path)] = (found.st_mode, found.st_mtime_ns, found.st_size, content)
        return tree

    return looked
