"""Other stores, measured beside ours: packages in environments of their own, and programs that this machine has."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from peer_environments import programs

_WORK: Final = Path(__file__).with_name("peer_work.py")
_REMOVED_MIN_BYTES: Final = 1_048_576
"""Contents of so many bytes each are removed after their last task: a few files are no mass removal, and fill disks."""
_ALL: Final = frozenset({"add", "again", "read"})


@dataclass(frozen=True)
class Peer:
    """A contender; `durability` is what a power cut spares of what it has added, `program` what it needs.

    `works` is what it can do of `add`, `again`, `read` (verified) and `gc` (removing what nothing names).
    """

    name: str
    durability: str
    program: str = ""
    works: frozenset[str] = _ALL
    most: int = 0
    """It does so many at once, and what that took is multiplied: it syncs each by itself, and more takes minutes."""

    def told(self, count: int) -> str:
        """What stands beside its figure."""
        less = f"{self.most:,}, times {count / self.most:g}; " if 0 < self.most < count else ""
        return f"{self.name} ({less}{self.durability})"


PEERS: Final = (
    Peer("sqlite", "durable: one synced transaction"),
    Peer("disk-objectstore, loose", "durable: each file synced", works=_ALL | {"gc"}, most=2_000),
    Peer("disk-objectstore, packed", "not durable: its pack is not synced"),
    Peer("diskcache", "not durable: its database syncs at checkpoints only"),
    Peer("git", "durable: core.fsync=added, core.fsyncMethod=batch", "git", _ALL | {"gc"}),
    Peer("restic", "durable: each pack synced", "restic", _ALL | {"gc"}),
    Peer("borg", "durable: each segment synced", "borg", _ALL | {"gc"}),
    Peer("dvc", "not durable: nothing is synced", works=frozenset({"add", "again", "gc"})),
)


class Contenders:
    """The peers there are: those whose packages can be installed, and whose programs this machine has."""

    def __init__(self, environments: Path) -> None:
        self._python = programs(environments, "stores") / "python"
        self._path = f"{programs(environments, 'dvc')}{os.pathsep}{os.environ.get('PATH', '')}"
        self.all = tuple(peer for peer in PEERS if not peer.program or shutil.which(peer.program))
        for peer in PEERS:
            if peer not in self.all:
                print(f"no {peer.program} here (on Debian: apt-get install {peer.name})", file=sys.stderr)

    def works(self, what: str, folder: Path, count: int, size: int) -> dict[str, Callable[[int], float]]:
        """One round of each that can do it, by name and durability."""
        return {peer.told(count): self.work(peer, what, folder, count, size) for peer in self.all if what in peer.works}

    def work(self, peer: Peer, what: str, folder: Path, count: int, size: int) -> Callable[[int], float]:
        """One round of a peer; gives its seconds, without the start of Python or of its program."""
        done = min(count, peer.most or count)

        def run(number: int) -> float:
            place = folder.resolve() / peer.name / f"{size}-{number}"
            command = [str(self._python), str(_WORK), peer.name, what, str(place), str(number), str(done), str(size)]
            ended = subprocess.run(command, stdout=subprocess.PIPE, check=True, env={**os.environ, "PATH": self._path})
            if what == "read" and size >= _REMOVED_MIN_BYTES:
                shutil.rmtree(place)
            return float(ended.stdout) * count / done

        return run
