"""Several machines that share objects and nothing else: each has its database, its locks, its folder, and its own time.

Their clocks differ, by more than a schedule lasts: whoever goes by the wrong one is found out.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, Self
from unittest import mock

from msgspec.structs import replace

from renku_store import bounds
from renku_store.assembly import assemble
from renku_store.errors import StoreUnavailableError
from renku_store.movie import Movie
from renku_store.testing.interleaving.database import EMPTY, Database, Rows
from renku_store.testing.interleaving.machine import MOVIE, Leases, Machine, Snapshot
from renku_store.testing.interleaving.scheduler import Scheduler
from renku_store.testing.interleaving.shared_objects import SharedObjects
from renku_store.testing.interleaving.timeline import Timeline

SKEWS: Final[Mapping[str, float]] = {"here": -7_000.0, "there": 9_000.0}
"""The machines, and by how many seconds their clocks are ahead of the storage's."""


@dataclass(frozen=True, slots=True)
class FleetSnapshot(Snapshot):
    """A state of all machines: what each one's database holds."""

    databases: dict[str, Rows] = field(default_factory=dict[str, Rows])


class _Skewed(Timeline):
    """The time as one machine has it."""

    def __init__(self, real: Timeline, ahead: float) -> None:
        self._real = real
        super().__init__()
        self._skew = ahead

    def unix_seconds(self) -> float:
        return self._real.unix_seconds() + self._skew

    def monotonic(self) -> float:
        return self._real.monotonic() + abs(self._skew)


class Fleet(Machine):
    """Two machines on one storage; `on` says which one a process runs on."""

    def __init__(self) -> None:
        super().__init__()
        self._clocks = {name: _Skewed(self.timeline, skew) for name, skew in SKEWS.items()}
        self._homes = {name: Path(self._folder.name, name) for name in SKEWS}
        for name, home in self._homes.items():
            (home / "tmp" / "scratch").mkdir(parents=True)
            (home / "machine").write_text(name, encoding="ascii")
        self.databases = {
            name: Database(home / "metadata.db", self._clocks[name]) for name, home in self._homes.items()
        }
        self._held: dict[tuple[str, str], int] = {}

    def __enter__(self) -> Self:
        self._patches.enter_context(mock.patch("renku_store.announcing.time", self))
        self._patches.enter_context(mock.patch("renku_store.bounds.GC_BATCH_BLOBS", bounds.GC_BATCH_BLOBS))
        return super().__enter__()

    def __exit__(self, *error: object) -> None:
        for database in self.databases.values():
            database.close()
        super().__exit__(*error)

    def begin(self, seed: int, horizon: int, snapshot: Snapshot | None = None) -> None:
        """Begin a schedule."""
        super().begin(seed, horizon, snapshot)
        rows = snapshot.databases if isinstance(snapshot, FleetSnapshot) else {}
        for name, database in self.databases.items():
            database.put_back(rows.get(name, EMPTY))
        self._held = {}

    def in_batches_of(self, blobs: int) -> None:
        """Let collections delete so many blobs at a time: of a few one by one, they take longer than a step."""
        setattr(bounds, "GC_BATCH_BLOBS", blobs)  # noqa: B010 (a constant to all others)

    def snapshot(self) -> Snapshot:
        """The state as it is."""
        rows = {name: database.rows() for name, database in self.databases.items()}
        return FleetSnapshot({}, dict(self.storage.objects), self.timeline.elapsed, rows)

    def open(self, process: str, *, elsewhere: bool = False) -> Movie:
        """The movie as a process of the first machine has it, or of the other one."""
        return self.open_on("there" if elsewhere else "here", process)

    def open_on(self, machine: str, process: str) -> Movie:
        """The movie as a process of a machine has it that has just opened it, before it takes anything in."""
        self._processes.append(process)
        number = len(self._processes)
        driver = SharedObjects(
            self.storage,
            self._homes[machine],
            step=self.scheduler.step,
            lock=_Locks(self.scheduler, self._held, machine).hold,
        )
        metadata = self.databases[machine].store(number, driver, self.scheduler)
        clock = self._clocks[machine]
        movie = assemble(MOVIE, "shared", driver, clock, metadata)
        holder = self._holder(number, elsewhere=False)
        return replace(movie, leases=Leases(metadata, clock, holder=holder, announcer=movie.announcer))


class _Locks:
    """Locks among the processes of one machine; the death of who holds one frees it."""

    def __init__(self, scheduler: Scheduler, held: dict[tuple[str, str], int], machine: str) -> None:
        self._scheduler = scheduler
        self._held = held
        self._machine = machine

    @contextmanager
    def hold(self, name: str, *, shared: bool, wait_seconds: float) -> Iterator[None]:
        held, key = self._held, (self._machine, name)

        def free() -> bool:
            return held.get(key, 0) == 0 or (shared and held[key] > 0)

        if not self._scheduler.wait("lock", name, free, wait_seconds):
            raise StoreUnavailableError(f"The lock {name} is held by somebody else; waited {wait_seconds:g} seconds.")
        held[key] = held.get(key, 0) + 1 if shared else -1
        try:
            yield
        finally:
            held[key] = held[key] - 1 if shared else 0
