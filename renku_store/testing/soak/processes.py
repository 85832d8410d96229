"""The processes of a soak: begun, killed, stopped, and ended."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from renku_store import bounds
from renku_store.edits import set_inputs
from renku_store.store import open_store
from renku_store.testing.soak.film import MOVIE, blueprint
from renku_store.testing.soak.journal import END, JOURNAL, ROOT, Journal
from renku_store.testing.soak.verdict import SoakReport, verdict

SHORT_LEASE_SECONDS: Final = 2.0
"""The lease of every third process; only these are stopped, for long enough that it runs out."""
_PAUSE_SECONDS: Final = (0.2, 1.0)
_WORK_BYTES: Final = 2_000
_WORK_SECONDS: Final = 3.0
_STOP_SECONDS: Final = (0.5, 5.0)
_STOPS: Final = 0.2
_END_SECONDS: Final = 120.0
_LAST_WORDS_SECONDS: Final = 2.0


def soak(folder: Path, *, seconds: float, seed: int, workers: int = 8) -> SoakReport:
    """Let `workers` processes work on a new movie below `folder`, killed and stopped at random, for so many seconds.

    What each of them wrote to standard error stays in the folder.
    """
    with open_store(folder / ROOT) as store:
        set_inputs(store.create_movie(MOVIE), {"@blueprint": blueprint()})
    crowd = _Crowd(folder, seed)
    try:
        crowd.begin(workers)
        crowd.disturb(seconds)
        (folder / END).touch()
        crowd.end()
    finally:
        crowd.kill_all()
    return verdict(folder, seed, seconds, crowd.violations)


@dataclass(slots=True)
class _Process:
    process: subprocess.Popen[bytes]
    errors: Path
    short_lease: bool
    stopped_until: float | None = None


class _Crowd:
    def __init__(self, folder: Path, seed: int) -> None:
        self._folder = folder
        self._seed = seed
        self._rng = random.Random(seed)  # noqa: S311 (replayable, not a secret)
        self._journal = Journal(folder / JOURNAL)
        self._count = 0
        self._seen = 0
        self._workers: list[_Process] = []
        self._reader: _Process | None = None
        self.violations: list[str] = []

    def begin(self, workers: int) -> None:
        self._reader = self._start("reader", short_lease=False)
        for place in range(workers):
            self._workers.append(self._worker(short_lease=place % 3 == 0))

    def disturb(self, seconds: float) -> None:
        """Kill and stop, and begin others in their place, until the time is up."""
        until = time.monotonic() + seconds
        while time.monotonic() < until:
            time.sleep(self._rng.uniform(*_PAUSE_SECONDS))
            self._await_work()
            self._wake()
            self._replace_ended()
            victim = self._rng.choice(self._workers)
            if self._rng.random() < _STOPS:
                self._stop(self._rng.choice([worker for worker in self._workers if worker.short_lease]))
            else:
                self._kill(victim)
                self._workers.remove(victim)
                self._workers.append(self._worker(short_lease=victim.short_lease))
        for worker in self._workers:
            self._continue(worker)

    def _await_work(self) -> None:
        """On a machine that is busy with other things, let something be done before the next is killed."""
        until = time.monotonic() + _WORK_SECONDS
        while self._journal.path.stat().st_size < self._seen + _WORK_BYTES and time.monotonic() < until:
            time.sleep(_PAUSE_SECONDS[0])
        self._seen = self._journal.path.stat().st_size

    def end(self) -> None:
        """Wait for everyone; who does not end says where it stands, and is a violation."""
        until = time.monotonic() + _END_SECONDS
        for worker in self._all():
            try:
                worker.process.wait(max(0.0, until - time.monotonic()))
            except subprocess.TimeoutExpired:
                worker.process.send_signal(signal.SIGUSR1)
                time.sleep(_LAST_WORDS_SECONDS)
                self.violations.append(f"11: {worker.process.pid} does not end: {_read(worker.errors)}")
                continue
            self._check_end(worker)

    def kill_all(self) -> None:
        for worker in self._all():
            worker.process.kill()
            worker.process.wait()
        self._journal.close()

    def _all(self) -> list[_Process]:
        return [*self._workers, *([self._reader] if self._reader else [])]

    def _worker(self, *, short_lease: bool) -> _Process:
        lease = SHORT_LEASE_SECONDS if short_lease else bounds.LEASE_SECONDS
        return self._start("worker", str(lease), short_lease=short_lease)

    def _start(self, role: str, *arguments: str, short_lease: bool) -> _Process:
        self._count += 1
        errors = self._folder / f"{role}-{self._count}.stderr"
        command = [sys.executable, "-m", f"renku_store.testing.soak.{role}", str(self._folder)]
        with errors.open("wb") as file:
            process = subprocess.Popen(  # noqa: S603 (our own module)
                [*command, f"{self._seed}/{self._count}", *arguments],
                stdin=subprocess.DEVNULL,
                stderr=file,
                env={**os.environ, "PYTHONWARNINGS": "error"},
            )
        return _Process(process, errors, short_lease)

    def _kill(self, worker: _Process) -> None:
        # Said before it is done: whoever finds it gone has this line before his own.
        self._journal.write("killing", pid=worker.process.pid)
        worker.process.kill()
        worker.process.wait()
        self._check_errors(worker)

    def _stop(self, worker: _Process) -> None:
        if worker.stopped_until is None and worker.process.poll() is None:
            self._journal.write("stopping", pid=worker.process.pid)
            worker.process.send_signal(signal.SIGSTOP)
            worker.stopped_until = time.monotonic() + self._rng.uniform(*_STOP_SECONDS)

    def _wake(self) -> None:
        for worker in self._workers:
            if worker.stopped_until is not None and worker.stopped_until < time.monotonic():
                self._continue(worker)

    def _continue(self, worker: _Process) -> None:
        worker.process.send_signal(signal.SIGCONT)
        worker.stopped_until = None

    def _replace_ended(self) -> None:
        for worker in [worker for worker in self._workers if worker.process.poll() is not None]:
            self._check_end(worker)
            self._workers.remove(worker)
            self._workers.append(self._worker(short_lease=worker.short_lease))
        if self._reader is not None and self._reader.process.poll() is not None:
            self._check_end(self._reader)
            self._reader = self._start("reader", short_lease=False)

    def _check_end(self, worker: _Process) -> None:
        code = worker.process.returncode
        if code != 0:
            self.violations.append(f"{worker.process.pid} ended with {code}: {_read(worker.errors)}")
        else:
            self._check_errors(worker)

    def _check_errors(self, worker: _Process) -> None:
        text = _read(worker.errors)
        if text:
            self.violations.append(f"{worker.process.pid} wrote to standard error: {text}")


def _read(path: Path) -> str:
    return path.read_text(encoding="utf-8", errors="replace")[-6_000:]
