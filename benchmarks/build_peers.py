"""Other build tools, each with the same finished work before it: so many files, each made of a line of text.

Their packages go into environments of their own, kept between runs.
"""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable, Collection
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from peer_environments import programs

_COPIES: Final = 100
"""How often a file holds its line: about as many bytes as ours have."""
_DOIT: Final = """
from pathlib import Path

def make(source, target):
    Path(target).write_text(Path(source).read_text() * 100)

def task_clip():
    for n in range({jobs}):
        source, target = f"in/{{n}}.txt", f"out/{{n}}.bin"
        yield {{"name": str(n), "file_dep": [source], "targets": [target], "actions": [(make, [source, target])]}}
"""
_REDUN: Final = """
from redun import task

redun_namespace = "bench"

@task()
def clip(text: str) -> bytes:
    return text.encode() * 100

@task()
def main() -> list:
    return [clip(f"This is line {{n}}.") for n in range({jobs})]
"""
_SNAKEMAKE: Final = """
rule all:
    input: expand("out/{{n}}.bin", n=range({jobs}))
rule clip:
    input: "in/{{n}}.txt"
    output: "out/{{n}}.bin"
    shell: "for i in `seq 100`; do cat {{input}}; done > {{output}}"
"""
_DVC: Final = """
stages:
  clip:
    foreach: [{items}]
    do:
      cmd: for i in `seq 100`; do cat in/${{item}}.txt; done > out/${{item}}.bin
      deps:
        - in/${{item}}.txt
      outs:
        - out/${{item}}.bin
"""


@dataclass(frozen=True)
class Peer:
    """A tool: what describes the work, in which file; what finishes it; the command that finds nothing to do.

    `plan` is the one that only says so, where there is another one for that.
    """

    name: str
    file: str
    text: str
    first: tuple[tuple[str, ...], ...]
    again: tuple[str, ...]
    plan: tuple[str, ...] = ()


PEERS: Final = (
    Peer("doit", "dodo.py", _DOIT, (("doit",),), ("doit",)),
    Peer("redun", "clips.py", _REDUN, (("redun", "run", "clips.py", "main"),), ("redun", "run", "clips.py", "main")),
    Peer(
        "snakemake",
        "Snakefile",
        _SNAKEMAKE,
        (),
        ("snakemake", "-c1", "--quiet"),
        ("snakemake", "--dry-run", "-c1", "--quiet"),
    ),
    Peer("dvc", "dvc.yaml", _DVC, (("dvc", "init", "--no-scm", "-q"), ("dvc", "commit", "-f", "-q")), ("dvc", "repro")),
)


class BuildTools:
    """The tools, installed."""

    def __init__(self, environments: Path) -> None:
        self._programs = {peer.name: programs(environments, peer.name) for peer in PEERS}

    def work(self, folder: Path, jobs: int) -> dict[str, Callable[[int], None]]:
        """The command of each that finds nothing to do, its work having been done here."""
        return {peer.name: self._prepared(peer, folder / peer.name, jobs, peer.again) for peer in PEERS}

    def plan(self, folder: Path, jobs: int, names: Collection[str]) -> dict[str, Callable[[int], None]]:
        """Of some of them the command that says that there is nothing to do, the work having been done here."""
        return {
            peer.name: self._prepared(peer, folder / peer.name, jobs, peer.plan or peer.again)
            for peer in PEERS
            if peer.name in names
        }

    def _prepared(self, peer: Peer, place: Path, jobs: int, again: tuple[str, ...]) -> Callable[[int], None]:
        for number in range(jobs):
            line = f"This is line {number}."
            for name, text in ((f"in/{number}.txt", line), (f"out/{number}.bin", line * _COPIES)):
                (place / name).parent.mkdir(parents=True, exist_ok=True)
                (place / name).write_text(text)
        items = ", ".join(f"'{number}'" for number in range(jobs))
        (place / peer.file).write_text(peer.text.format(jobs=jobs, items=items))
        for words in peer.first:
            self._call(place, words)
        return lambda _round: self._call(place, again)

    def _call(self, place: Path, words: tuple[str, ...]) -> None:
        folder = self._programs[words[0]]
        path = f"{folder}{os.pathsep}{os.environ.get('PATH', '')}"
        surroundings = {**os.environ, "PATH": path, "DVC_NO_ANALYTICS": "1", "HOME": str(place)}
        command = [str(folder / words[0]), *words[1:]]
        subprocess.run(
            command, cwd=place, env=surroundings, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
