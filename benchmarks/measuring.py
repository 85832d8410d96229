"""What all benchmarks share: alternating rounds, median and spread, and on which machine and day that was.

Ours and the physical limit take turns in one run, so that a slow minute of the machine hits both. Nothing is deleted
between rounds: a file system may create files several times slower after a mass removal.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import shutil
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

from renku_store import __version__

CACHE = "warm: what is read was written shortly before, and nobody threw it out of the page cache"

Work = Callable[[int], object]
"""One round of something; it is given the round's number, from 0. A float that it gives is the seconds it took."""


@dataclass(frozen=True)
class Task:
    """Something to measure, and the least that any program must do for it. `durability`: what a power cut spares.

    `peers` are others that do the same, by their names.
    """

    name: str
    durability: str
    ours: Work
    limit: Work
    peers: Mapping[str, Work] = field(default_factory=dict)


def arguments(question: str, parser: argparse.ArgumentParser | None = None) -> argparse.Namespace:
    """What every benchmark takes on its command line; `parser` has what one takes beside it."""
    parser = parser or argparse.ArgumentParser(description=question)
    parser.add_argument("--quick", action="store_true", help="small sizes: shows that it works, not how fast")
    parser.add_argument("--rounds", type=int, help="rounds of each (default: 7; 3 with --quick)")
    parser.add_argument("--peers", metavar="DIR", help="measure other stores, too, installed into an environment here")
    parser.add_argument("--peer-rounds", type=int, help="so many of the rounds with them (default: all)")
    parser.add_argument("--json", action="store_true", help="one JSON document instead of a table")
    parser.add_argument("--directory", default=".", help="where to work; a real disk, not memory (default: here)")
    given = parser.parse_args()
    given.load = round(os.getloadavg()[0], 2)  # of the minute before: what else the machine had to do
    given.rounds = given.rounds or (3 if given.quick else 7)
    return given


@contextmanager
def workplace(directory: str) -> Iterator[Path]:
    """A folder for all rounds, removed at the very end."""
    path = Path(tempfile.mkdtemp(prefix=".bench-", dir=directory))
    try:
        yield path
    finally:
        shutil.rmtree(path)


def measure(tasks: list[Task], rounds: int, peer_rounds: int | None = None) -> list[dict[str, object]]:
    """Seconds of each task and its limit, in turns; tasks of one round may build on the ones before.

    Peers take part in all rounds, or in the first `peer_rounds`.
    """
    seconds: dict[tuple[str, str], list[float]] = {}
    for number in range(rounds):
        for task in tasks:
            peers = task.peers if peer_rounds is None or number < peer_rounds else {}
            sides = (("limit", task.limit), ("ours", task.ours), *peers.items())
            for side, work in sides if number % 2 else reversed(sides):
                started = time.perf_counter()
                told = work(number)
                taken = told if isinstance(told, float) else time.perf_counter() - started
                seconds.setdefault((task.name, side), []).append(taken)
    return [_figures(task, {side: s for (name, side), s in seconds.items() if name == task.name}) for task in tasks]


def _figures(task: Task, seconds: Mapping[str, list[float]]) -> dict[str, object]:
    ours, limit = seconds["ours"], seconds["limit"]
    found: dict[str, object] = {
        "task": task.name,
        "durability": task.durability,
        "ours": spread(ours),
        "limit": spread(limit),
        "ratio": round(statistics.median(ours) / statistics.median(limit), 2),
    }
    if task.peers:
        found["peers"] = {name: spread(seconds[name]) for name in task.peers}
    return found


def spread(seconds: list[float]) -> dict[str, float]:
    """Median, smallest and largest."""
    figures = {"median": statistics.median(seconds), "min": min(seconds), "max": max(seconds)}
    return {name: round(value, 4) for name, value in figures.items()}


def report(
    question: str, sizes: dict[str, object], results: list[dict[str, object]], given: argparse.Namespace
) -> None:
    """Print what was measured, as a table or as JSON."""
    document = {
        "question": question,
        "date": datetime.now(UTC).date().isoformat(),
        "machine": machine(given.directory),
        "load": given.load,
        "cache": CACHE,
        "quick": given.quick,
        "rounds": given.rounds,
        **({"rounds of peers": given.peer_rounds or given.rounds} if given.peers else {}),
        **sizes,
        "results": results,
    }
    if given.json:
        print(json.dumps(document, indent=2))
        return
    print(question)
    print(", ".join(f"{name} {value}" for name, value in {**document["machine"], "load": given.load, **sizes}.items()))
    print(f"{given.rounds} rounds, seconds: median (min to max)")
    for result in results:
        sides = (result["ours"], result["limit"])
        ours, limit = (f"{s['median']:.3f} ({s['min']:.3f} to {s['max']:.3f})" for s in sides)
        print(f"  {result['task']}: {ours}; limit {limit}; ratio {result['ratio']}  [{result['durability']}]")
        for name, s in result.get("peers", {}).items():
            print(f"    {name}: {s['median']:.3f} ({s['min']:.3f} to {s['max']:.3f})")


def machine(directory: str) -> dict[str, object]:
    """Where it was measured."""
    return {
        "processors": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
        "processor": _processor(),
        "system": f"{platform.system()} {platform.release().partition('-')[0]}",
        "file system": _file_system(Path(directory).resolve()),
        "python": platform.python_version(),
        "renku-store": __version__,
    }


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.machine()
    names = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(names, platform.machine())


def _file_system(path: Path) -> str:
    try:
        mounts = [line.split() for line in Path("/proc/mounts").read_text(encoding="utf-8").splitlines()]
    except OSError:
        return "unknown"
    above = [mount for mount in mounts if path.is_relative_to(mount[1])]
    return max(above, key=lambda mount: len(mount[1]))[2] if above else "unknown"
