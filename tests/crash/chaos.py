"""A chaos run: a film of many jobs against an unreliable provider, its process killed at random, until it is published.

What "made exactly once" comes to:

1. In the store each request has exactly one result, and each job one event that stored or took it.
2. A polled call is paid for again only if its process was killed before it had remembered it, or never heard its name.
3. A direct call is answered again only if its process was killed while the answer was on its way into the store, or
   never heard the answer.
"""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
import time
from collections import Counter, defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from renku_store import Movie, open_store
from tests.crash.chaos_film import MOVIE, create

_TIMEOUT_SECONDS = 900.0
_LOOK_SECONDS = 0.002
_VARYING = ("run", "archive", "createdAt")
"""Of a manifest: who made it, and when."""


@dataclass
class Chaos:
    """What happened: the provider's ledger, the processes' journal, who was killed, and how many were begun."""

    root: Path
    ledger: list[dict[str, Any]] = field(default_factory=list)
    journal: list[dict[str, Any]] = field(default_factory=list)
    killed: set[int] = field(default_factory=set)
    begun: int = 0

    def count(self, kind: str) -> Counter[str]:
        """How often the provider did something, by request."""
        return Counter(line["request"] for line in self.ledger if line["kind"] == kind)

    def lost(self) -> set[tuple[str, int]]:
        """The requests to which a process heard no answer."""
        return {(line["request"], line["pid"]) for line in self.journal if line["kind"] == "lost"}


def run_calmly(folder: Path, jobs: int) -> Chaos:
    """The same film with nothing in its way."""
    return _run(folder, jobs, seed=0, kills=0)


def run_in_chaos(folder: Path, jobs: int, *, seed: int, kills: int) -> Chaos:
    """A film whose process is killed so many times, each time after a few more things have happened."""
    return _run(folder, jobs, seed=seed, kills=kills)


def _run(folder: Path, jobs: int, *, seed: int, kills: int) -> Chaos:
    folder.mkdir()
    chaos = Chaos(folder / "root")
    create(chaos.root, jobs)
    ledger, journal = folder / "ledger", folder / "journal"
    journal.touch()
    chance = random.Random(seed)
    with _provider(ledger, seed, calm=kills == 0) as port:
        left = kills
        until = time.monotonic() + _TIMEOUT_SECONDS
        ended = False
        while not ended:
            assert time.monotonic() < until, f"not published after {chaos.begun} processes"
            process = subprocess.Popen(
                [sys.executable, "-m", "tests.crash.chaos_film", str(chaos.root), str(port), str(journal)],
                env={**os.environ, "PYTHONWARNINGS": "error", "PYTHONDONTWRITEBYTECODE": "1"},
                stderr=subprocess.PIPE,
            )
            chaos.begun += 1
            # Three kills in four come where there is work, the others while a process has hardly begun.
            lines = chance.choice([1, *[chance.randrange(2, max(3, 8 * jobs // max(kills, 1)))] * 3]) if left else 0
            if lines and _killed(process, journal, lines, chance.uniform(0, 0.02)):
                chaos.killed.add(process.pid)
                left -= 1
            errors = process.communicate(timeout=_TIMEOUT_SECONDS)[1].decode()
            assert process.returncode in {0, 1, -9}, errors
            assert "Traceback" not in errors, errors
            ended = process.returncode == 0 and not left
    chaos.ledger, chaos.journal = _lines(ledger), _lines(journal)
    return chaos


@contextmanager
def _provider(ledger: Path, seed: int, *, calm: bool) -> Iterator[int]:
    command = [sys.executable, "-m", "tests.crash.chaos_provider", str(ledger), str(seed), "calm" if calm else "wild"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            yield int(process.stdout.readline())
        finally:
            process.kill()


def _killed(process: subprocess.Popen[bytes], journal: Path, lines: int, after_seconds: float) -> bool:
    """Kill a process once it has written so many lines, and a moment later; False where it ended before."""
    begun = journal.read_bytes().count(b"\n")
    while journal.read_bytes().count(b"\n") < begun + lines:
        if process.poll() is not None:
            return False
        time.sleep(_LOOK_SECONDS)
    time.sleep(after_seconds)
    if process.poll() is not None:
        return False
    process.kill()
    return True


def _lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


# What must be true of it


def check_each_result_once(chaos: Chaos) -> None:
    """Law 1."""
    with open_store(chaos.root) as store:
        events = [event for event in store.movie(MOVIE).events.stream() if event.type == "artefact"]
    assert not [event for event in events if event.status == "kept"]
    made = Counter(event.signature for event in events if event.status == "succeeded")
    assert set(made.values()) == {1}
    by_job = Counter(event.job for event in events if event.status == "succeeded")
    assert set(by_job.values()) == {1}


def check_polled_calls(chaos: Chaos) -> None:
    """Law 2: every accepted call but one of a request was lost before it was remembered."""
    remembered = {line["call"] for line in chaos.journal if line["kind"] == "remembered"}
    fetched = defaultdict(set)
    for line in chaos.ledger:
        if line["kind"] == "fetched":
            fetched[line["request"]].add(line["call"])
    begun = [line for line in chaos.ledger if line["kind"] == "begun"]
    for request in {line["request"] for line in begun}:
        assert len(fetched[request]) == 1, f"{request} was fetched from {sorted(fetched[request])}"
    for line in begun:
        if line["call"] not in fetched[line["request"]]:
            excused = int(line["caller"]) in chaos.killed or (line["request"], int(line["caller"])) in chaos.lost()
            assert excused, f"{line['call']} was paid for and forgotten"
            assert line["call"] not in remembered, f"{line['call']} was remembered and not adopted"


def check_direct_calls(chaos: Chaos) -> None:
    """Law 3: every answer but the last of a request never came into the store; no process heard one twice."""
    answered = defaultdict(list)
    for line in chaos.ledger:
        if line["kind"] == "answered":
            answered[line["request"]].append(int(line["caller"]))
    for request, callers in answered.items():
        for caller in callers[:-1]:
            assert caller in chaos.killed or (request, caller) in chaos.lost(), f"{request} was answered for {callers}"
    heard = Counter((line["request"], line["pid"]) for line in chaos.journal if line["kind"] == "got")
    assert set(heard.values()) == {1}


def manifest(movie: Movie) -> bytes:
    """The newest manifest, but for who made it and when, as bytes."""
    document = json.loads((Path(movie.root) / movie.id / "manifests" / "rev-0001.json").read_bytes())
    return json.dumps({key: value for key, value in document.items() if key not in _VARYING}, indent=1).encode()


def newest_manifest(chaos: Chaos) -> bytes:
    """The manifest that a chaos run ended with; it is the only one."""
    with open_store(chaos.root) as store:
        movie = store.movie(MOVIE)
        assert movie.manifests.load_current()[0].revision == "rev-0001"
        return manifest(movie)
