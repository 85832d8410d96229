"""Other stores, measured beside ours: their packages go into an environment of their own, kept between runs."""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

_WORK: Final = Path(__file__).with_name("peer_work.py")
_REMOVED_MIN_BYTES: Final = 1_048_576
"""Contents of so many bytes each are removed after their last task: a few files are no mass removal, and fill disks."""
_PACKAGES: Final = ("disk-objectstore==1.5.0", "diskcache==5.6.3")


@dataclass(frozen=True)
class Peer:
    """A contender; `durability` is what a power cut spares of what it has added, `program` what it needs."""

    name: str
    durability: str
    program: str = ""


PEERS: Final = (
    Peer("sqlite", "durable: one synced transaction"),
    Peer("disk-objectstore, loose", "durable: each file synced"),
    Peer("disk-objectstore, packed", "not durable: its pack is not synced"),
    Peer("diskcache", "not durable: its database syncs at checkpoints only"),
    Peer("git", "durable: core.fsync=added, core.fsyncMethod=batch", "git"),
    Peer("restic", "durable: each pack synced", "restic"),
)


class Contenders:
    """The peers there are: those whose packages can be installed, and whose programs this machine has."""

    def __init__(self, environment: Path) -> None:
        self._python = environment / "bin" / "python"
        if not self._python.exists():
            subprocess.run([sys.executable, "-m", "venv", str(environment)], check=True)
            subprocess.run([str(self._python), "-m", "pip", "install", "-q", *_PACKAGES], check=True)
        self.all = tuple(peer for peer in PEERS if not peer.program or shutil.which(peer.program))

    def work(self, peer: Peer, what: str, folder: Path, count: int, size: int) -> Callable[[int], float]:
        """One round of a peer, `add`, `again` or `read`; gives its seconds, without the start of Python."""

        def run(number: int) -> float:
            place = folder / peer.name / f"{size}-{number}"
            command = [str(self._python), str(_WORK), peer.name, what, str(place), str(number), str(count), str(size)]
            ended = subprocess.run(command, stdout=subprocess.PIPE, check=True)
            if what == "read" and size >= _REMOVED_MIN_BYTES:
                shutil.rmtree(place)
            return float(ended.stdout)

        return run
