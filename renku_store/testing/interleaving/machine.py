"""One movie on a simulated machine: a real database, a simulated disk, and as many processes as are wanted."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from random import Random
from tempfile import TemporaryDirectory
from typing import Final, ParamSpec, Self, TypeVar
from unittest import mock

from msgspec.structs import replace

from renku_store.assembly import assemble
from renku_store.errors import StoreError
from renku_store.leases import _LET_GO, Heartbeat, RunLeases  # pyright: ignore[reportPrivateUsage]
from renku_store.movie import Movie
from renku_store.processes import this_process
from renku_store.records.run import Holder, LeaseToken
from renku_store.testing.interleaving.database import EMPTY, Database, Rows
from renku_store.testing.interleaving.scheduler import Scheduler
from renku_store.testing.interleaving.storage import SimulatedDriver, Storage
from renku_store.testing.interleaving.timeline import Timeline

T = TypeVar("T")
P = ParamSpec("P")

MOVIE: Final = "film"
_FIRST_PID: Final = 1_000


@dataclass(frozen=True, slots=True)
class Snapshot:
    """A state of the machine to begin schedules from."""

    rows: Rows
    objects: dict[str, tuple[bytes, float]]
    elapsed: float


class Leases(RunLeases):
    """Leases without the thread that renews them: there are no threads here, and leases are long."""

    @contextmanager
    def held(self, token: LeaseToken, on_lost: Callable[[], None] | None = None) -> Iterator[Heartbeat]:  # noqa: ARG002
        """Hold a lease for the length of the context."""
        try:
            yield Heartbeat(token)
        finally:
            with suppress(StoreError):
                self.release(token)


async def _at_once(work: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> T:
    """What `asyncio.to_thread` does, without the thread."""
    return work(*args, **kwargs)


def _done_at_once(work: Callable[[], T]) -> asyncio.Future[T]:
    """What `finishing.in_thread` does, without the thread."""
    future: asyncio.Future[T] = asyncio.get_running_loop().create_future()
    try:
        future.set_result(work())
    except Exception as error:  # noqa: BLE001 (whoever waits gets it)
        future.set_exception(error)
    return future


class Machine:
    """Owns database, disk and timeline over many schedules; a context manager, for one thread."""

    def __init__(self) -> None:
        self.timeline = Timeline()
        self._folder = TemporaryDirectory(prefix="renku-interleaving-")
        scratch = Path(self._folder.name, "scratch")
        scratch.mkdir()
        self.storage = Storage(self.timeline, scratch)
        self.database = Database(Path(self._folder.name, "metadata.db"), self.timeline)
        self.random = Random(0)  # noqa: S311 (a schedule, no secret)
        self._ids = Random(0)  # noqa: S311 (the random part of ids)
        self.scheduler = Scheduler(self.timeline, self.random, 1)
        self.promises: dict[str, float] = {}
        self.told: list[float] = []
        self._patches = ExitStack()
        self._processes: list[str] = []
        self._here = this_process()
        self._boot = self._here.process_start.rpartition("/")[0]

    def __enter__(self) -> Self:
        self._patches.enter_context(mock.patch("os.urandom", self._ids.randbytes))
        self._patches.enter_context(mock.patch("asyncio.to_thread", _at_once))
        self._patches.enter_context(mock.patch("renku_store.finishing.in_thread", _done_at_once))
        # Where the store waits for a collector it asks the module `time`; who still runs it reads from /proc.
        self._patches.enter_context(mock.patch("renku_store.blobs.intake.time", self))
        self._patches.enter_context(mock.patch("renku_store.processes._start_of", self._start_of))
        return self

    def __exit__(self, *_: object) -> None:
        self._patches.close()
        self.database.close()
        self._folder.cleanup()

    # States

    def begin(self, seed: int, horizon: int, snapshot: Snapshot | None = None) -> None:
        """Begin a schedule of a seed, at a snapshot or at an empty movie; `horizon` is about how many steps it has."""
        self.timeline.reset()
        self.timeline.pass_until(snapshot.elapsed if snapshot else 0.0)
        self.promises.clear()
        self.told.clear()
        _LET_GO.clear()
        self.storage.watchers.clear()
        self.storage.held.clear()
        self.storage.objects = dict(snapshot.objects) if snapshot else {}
        self.database.put_back(snapshot.rows if snapshot else EMPTY)
        self._processes = []
        self.random.seed(seed)
        self._ids.seed(seed)
        self.scheduler = Scheduler(self.timeline, self.random, horizon)

    def end(self) -> None:
        """Kill whoever is left."""
        for actor in self.scheduler.actors:
            self.scheduler.kill(actor.process)

    def snapshot(self) -> Snapshot:
        """The state as it is."""
        return Snapshot(self.database.rows(), dict(self.storage.objects), self.timeline.elapsed)

    def promise(self, digest: str, until: float) -> None:
        """Note that a blob has to stay until a time of day, in Unix seconds, because somebody was told so."""
        self.promises[digest] = until

    def jump(self, seconds: float) -> None:
        """Set the clock; what was promised until a moment that it has seen is promised no more, wherever it goes.

        `told` keeps what it said whenever it was set, before and after, Unix seconds: whoever is in the middle of
        something may have read either.
        """
        for moment in (self.timeline.unix_seconds(), self.timeline.unix_seconds() + seconds):
            self.told.append(moment)
            self.promises = {digest: until for digest, until in self.promises.items() if until > moment}
        self.timeline.jump(seconds)

    # Processes

    def open(self, process: str, *, elsewhere: bool = False) -> Movie:
        """The movie as a process has it that has just opened it, before it repairs anything.

        `elsewhere`: the process runs on another machine, so that nobody here can see whether it is gone. Each opening
        has a connection of its own: a thread of a process has one of its own, too.
        """
        self._processes.append(process)
        number = len(self._processes)
        driver = SimulatedDriver(self.storage, self.scheduler)
        metadata = self.database.store(number, driver, self.scheduler)
        movie = assemble(MOVIE, "simulated", driver, self.timeline, metadata)
        return replace(movie, leases=Leases(metadata, self.timeline, holder=self._holder(number, elsewhere)))

    def _holder(self, number: int, elsewhere: bool) -> Holder:
        pid = _FIRST_PID + number
        host = "another machine" if elsewhere else self._here.host
        return Holder(host, pid, f"{self._boot}/{pid}", f"process {number}")

    def _start_of(self, pid: int) -> str | None:
        """When a process started, as `renku_store.processes` has it: None for one that is gone."""
        number = pid - _FIRST_PID
        known = 0 < number <= len(self._processes) and self.scheduler.running(self._processes[number - 1])
        return f"{self._boot}/{pid}" if known else None

    # What takes the place of the module `time`

    def monotonic(self) -> float:
        """Seconds that never go back."""
        return self.timeline.monotonic()

    def sleep(self, seconds: float) -> None:
        """Let the others go on for a while."""
        self.scheduler.sleep(seconds)
