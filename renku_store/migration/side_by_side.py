"""Movies side by side: each processor of this machine migrates one at a time, in a process of its own.

A movie is a folder and a database of its own, so that only little concerns several: whose id is whose, what the caller
is told and raises, and when no further one is begun. All of that is decided here, in the caller's thread. A worker
(`worker`) is handed one folder after the other; it ends when its pipe does, be it because this process was killed. What
a worker was at that ended itself is done here.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import suppress
from multiprocessing.connection import Pipe, wait
from pathlib import Path
from typing import Any, Final

from renku_store.drivers.local import LocalDriver
from renku_store.errors import InvalidIdError, UnusableError
from renku_store.migration.layouts import OldPlace
from renku_store.migration.one_movie import Tell
from renku_store.migration.reports import MigrationProgress, MovieMigration
from renku_store.store import Store

MOVIES_EACH: Final = 16
"""Movies for each process from which on it pays: to start one takes as long as to migrate some five small ones."""
PROCESSES_MAX: Final = 8
"""Beyond that they wait for one disk."""
_END_SECONDS: Final = 10.0
"""How long a worker may take to notice that nobody listens to it; then it is killed, as a power cut might."""


def workers_for(movies: int, store: Store) -> int:
    """How many processes to start: 0 where there are few movies, one processor, or a root that is no folder here."""
    if type(store.driver) is not LocalDriver or not sys.executable or hasattr(sys, "frozen"):
        return 0
    processors = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    processes = min(processors, PROCESSES_MAX, movies // MOVIES_EACH)
    return processes if processes > 1 else 0


class SideBySide:
    """Migrates the movies at these places; `here` does so in this process.

    `take` notes whose id it is, or raises `InvalidIdError`: it is asked in the order of the places.
    """

    def __init__(
        self,
        places: Sequence[OldPlace],
        here: Callable[[OldPlace], MovieMigration],
        take: Callable[[OldPlace, str], None],
        tell: Tell,
    ) -> None:
        self._places = places
        self._here = here
        self._take = take
        self._tell = tell
        self._waiting = deque(range(len(places)))
        self._workers: dict[Any, _Worker] = {}  # by pipe, whose type is said by platform
        self._asking: dict[int, tuple[_Worker, str]] = {}
        self._lost: set[int] = set()
        self._settled: set[int] = set()
        """Whose id is decided, or needs no decision: that of all before `_turn` is."""
        self._turn = 0
        self._reports: dict[int, MovieMigration] = {}

    def migrated(self, processes: int, root: str, *, telling: bool, dry_run: bool) -> dict[int, MovieMigration]:
        """The reports by place: of all, or of the first ones where the store, or every worker, could not be used."""
        try:
            for _ in range(processes):
                with suppress(OSError):
                    worker = _Worker(root, telling=telling, dry_run=dry_run)
                    self._workers[worker.pipe] = worker
                    self._hand_out(worker)
            while self._workers:
                for pipe in wait([*self._workers]):
                    self._hear(self._workers[pipe])
                self._settle()
        finally:
            for worker in self._workers.values():
                worker.pipe.close()
            for worker in self._workers.values():
                worker.end()
        return self._reports

    def _hand_out(self, worker: _Worker) -> None:
        """Give a worker its next movie, or let it go."""
        if not self._waiting:
            self._drop(worker)
            return
        worker.number = self._waiting.popleft()
        worker.say(self._places[worker.number])

    def _drop(self, worker: _Worker) -> None:
        del self._workers[worker.pipe]
        worker.pipe.close()
        worker.end()

    def _hear(self, worker: _Worker) -> None:
        """Take one message of a worker: its progress, the id that its movie would have, or the report."""
        number = worker.number
        try:
            said = worker.pipe.recv()
        except (EOFError, OSError):
            self._asking.pop(number, None)
            self._lost.add(number)
            self._drop(worker)
            return
        if isinstance(said, MigrationProgress):
            self._tell(said)
        elif isinstance(said, str):
            self._asking[number] = worker, said
        else:
            assert isinstance(said, MovieMigration)
            self._ended(number, said)
            self._hand_out(worker)

    def _ended(self, number: int, report: MovieMigration) -> None:
        self._reports[number] = report
        self._settled.add(number)
        if isinstance(report.problem, UnusableError):
            self._waiting.clear()

    def _settle(self) -> None:
        """Say whose id it is, place by place, and do what workers have lost as soon as it is its turn."""
        self._do_here(self._lost & self._settled)
        while (number := self._turn) in self._settled or number in self._asking or number in self._lost:
            if number in self._asking:
                self._answer(number)
            elif number in self._lost:
                self._do_here({number})
            self._turn += 1

    def _answer(self, number: int) -> None:
        worker, name = self._asking.pop(number)
        self._settled.add(number)
        try:
            self._take(self._places[number], name)
        except InvalidIdError as error:
            worker.say(error)
        else:
            worker.say(None)

    def _do_here(self, numbers: set[int]) -> None:
        for number in sorted(numbers):
            self._lost.remove(number)
            self._ended(number, self._here(self._places[number]))


class _Worker:
    """A process that migrates movies; `number` is the place of the one that it is at."""

    def __init__(self, root: str, *, telling: bool, dry_run: bool) -> None:
        self.number = -1
        self.pipe, theirs = Pipe()
        try:
            self._process = subprocess.Popen(
                [sys.executable, "-P", "-m", "renku_store.migration.worker"],
                stdin=theirs.fileno(),
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                env={**os.environ, "PYTHONPATH": os.pathsep.join(path or str(Path.cwd()) for path in sys.path)},
            )
        except OSError:
            self.pipe.close()
            raise
        finally:
            theirs.close()
        self.say((root, telling, dry_run))

    def say(self, message: object) -> None:
        """Send a message; one that has ended is noticed where it is listened to."""
        with suppress(OSError):
            self.pipe.send(message)

    def end(self) -> None:
        """Wait for its end; its pipe is closed."""
        try:
            self._process.wait(_END_SECONDS)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
