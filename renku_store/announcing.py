"""Intents and sweeping markers: what machines that share objects, and no index, tell each other.

    who needs blobs:   put the intent -> wait for markers that name one -> see each blob -> rest on them
    who deletes them:  put the marker -> read the intents, then what they led to -> delete the rest -> remove the marker

Of any two, one sees the other: each puts its object before it looks. Keeps invariant 5 where no row is a promise. An
intent of which its writer was not heard for long, and a marker of a collector that died, end by the storage's clock: no
two machines agree on the time. Where all share an index this does nothing at all.
"""

from __future__ import annotations

import math
import os
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Final

from msgspec import Struct

from renku_store import bounds
from renku_store.clock import Clock
from renku_store.drivers.base import Driver, ObjectStat, shares_index
from renku_store.drivers.local import on_this_machine
from renku_store.errors import BlobCorruptError, BlobMissingError, StoreUnavailableError
from renku_store.hashing import canonical_document, hash_bytes
from renku_store.late import late_module
from renku_store.processes import host_name
from renku_store.records._base import RecordError
from renku_store.records.announcement import Announcement, SweepMarker
from renku_store.records.ids import check_run_id

if TYPE_CHECKING:
    import logging
else:
    logging = late_module("logging")

_INTENTS: Final = "intents/"
_INTENT: Final = ".json"
_MARKERS: Final = "gc/"
_MARKER: Final = ".sweeping"
_TRIAL: Final = ".clock"
_MACHINE: Final = "machine"
_TOLD_SECONDS: Final = 5.0
"""Whoever waits for longer than this is told why."""


class Announced(Struct, frozen=True):
    """A living intent: of a run or an edit, since when (Unix seconds, by the storage's clock), and what it needs."""

    id: str
    is_run: bool
    since: float
    blobs: frozenset[str]


class _Noted(Struct, frozen=True):
    """What the storage's clock said at a moment of this machine's two clocks; all in seconds."""

    modified: float
    monotonic: float
    wall: float


class Announcer:
    """The intents and markers of one movie, as this machine puts and reads them. Safe to use from many threads.

    Every method raises `StoreUnavailableError` where the storage fails.
    """

    def __init__(self, driver: Driver, clock: Clock) -> None:
        self._driver = driver
        self._clock = clock
        self._noted: _Noted | None = None
        self._due: dict[str, float] = {}
        self._said: dict[str, tuple[float, float]] = {}

    @property
    def needed(self) -> bool:
        """Whether others may write here who do not share the index."""
        return not self._driver.read_only and not shares_index(self._driver)

    # The storage's clock

    def now(self) -> float:
        """About what the storage's clock says, Unix seconds, as long as nobody sets the clock of this machine."""
        noted = self._noted or self._look_at_the_clock()
        # One of them stands still while the machine sleeps, the other one can be set back.
        passed = max(self._clock.monotonic() - noted.monotonic, self._wall() - noted.wall)
        return noted.modified + passed

    def _look_at_the_clock(self) -> _Noted:
        """Set the watch by an object that is written for that."""
        name = f"{_MARKERS}{os.urandom(16).hex()}{_TRIAL}"
        self._driver.replace(name, b"")
        monotonic, wall = self._clock.monotonic(), self._wall()
        modified = _written(self._driver, name).modified
        self._driver.delete(name)
        self._noted = noted = _Noted(modified, monotonic, wall)
        return noted

    def _wall(self) -> float:
        return self._clock.now().timestamp()

    # Intents

    def announce(self, run: str, blobs: Iterable[str] = ()) -> None:
        """Say that a run goes on, and needs these blobs; durable on return. Again replaces what was said before."""
        if self.needed:
            self._announce(run, Announcement(kind="run", blobs=sorted(set(blobs))))

    def announce_edit(self, event: str, blobs: Iterable[str]) -> None:
        """Say that a person's edit needs blobs, until a revision has taken it."""
        if self.needed:
            self._announce(event, Announcement(kind="edit", blobs=sorted(set(blobs))))

    def is_due(self, run: str) -> bool:
        """Whether it is time to `renew` what was announced here of a run."""
        return self._clock.monotonic() > self._due.get(run, math.inf)

    def renew(self, run: str) -> None:
        """Say again that a run goes on, as it was said; nothing if that was changed or taken back meanwhile."""
        self._due[run] = self._clock.monotonic() + bounds.INTENT_RETRY_SECONDS
        present = self._read_intent(run)
        if present is None:
            return
        said, modified, data = present
        again = said if said.since is not None else said.replace(since=modified)
        if self._driver.compare_and_swap(_intent_path(run), data, canonical_document(again.to_json())):
            self._due[run] = self._clock.monotonic() + bounds.INTENT_RENEW_SECONDS

    def withdraw(self, ids: Iterable[str]) -> None:
        """Take intents back; no error for those that are not there."""
        gone = [*ids] if self.needed else []
        if gone:
            self._driver.delete_many([_intent_path(one) for one in gone])
            for one in gone:
                self._due.pop(one, None)
                self._said.pop(one, None)

    def check_said(self, run: str) -> None:
        """Raise `StoreUnavailableError` if what was announced here is so old that others may take it for dead."""
        monotonic, wall = self._said.get(run, (math.inf, math.inf))
        passed = max(self._clock.monotonic() - monotonic, self._wall() - wall)
        if passed > bounds.INTENT_SECONDS - bounds.INTENT_RENEW_SECONDS:
            raise StoreUnavailableError(
                f"The run {run} was held up for so long that other machines may take it for dead.",
                hint="Run again: what it needs is looked for anew, and nothing is made twice.",
                reason="busy",
            )

    def ids(self) -> dict[str, float]:
        """Whose intents there are, living or dead, and when each was written: Unix seconds by the storage's clock."""
        listed = self._driver.list(_INTENTS) if self.needed else ()
        return {
            found.name[len(_INTENTS) : -len(_INTENT)]: found.modified
            for found in listed
            if found.name.endswith(_INTENT)
        }

    def living(self, now: float) -> list[Announced]:
        """The intents that count at a time of the storage's clock.

        Raises `BlobCorruptError` for one that cannot be read: it might need anything.
        """
        announced: list[Announced] = []
        for run in self.ids():
            present = self._read_intent(run)
            if present is not None and not _is_over(present[0], present[1], now):
                said, modified, _ = present
                since = modified if said.since is None else min(said.since, modified)
                announced.append(Announced(run, said.kind == "run", since, frozenset(said.blobs)))
        return announced

    def bury(self, sweep: Sweep) -> int:
        """Remove the intents that do not count any more, for a collector; gives how many."""
        dead = [run for run in self.ids() if self._is_over(run, sweep.now)]
        if dead:
            with sweep.over(dead):
                # One that was put again since stays: its writer waits for the marker, and looks whether it is there.
                dead = [run for run in dead if self._is_over(run, sweep.now)]
                sweep.check()
                self._driver.delete_many(_intent_path(run) for run in dead)
        return len(dead)

    def _is_over(self, run: str, now: float) -> bool:
        present = self._read_intent(run)
        return present is not None and _is_over(present[0], present[1], now)

    def _announce(self, run: str, said: Announcement) -> None:
        present = self._read_intent(run)
        if present is not None:
            before, modified, _ = present
            said = said.replace(since=modified if before.since is None else before.since)
        there, began = False, (self._clock.monotonic(), self._wall())
        while not there:  # a collector may have taken the one that was there for dead, and remove this one
            self._driver.replace(_intent_path(run), canonical_document(said.to_json()))
            self.wait_for_sweeps([run])
            there = self._driver.stat(_intent_path(run)) is not None
        self._due[run] = self._clock.monotonic() + bounds.INTENT_RENEW_SECONDS
        self._said[run] = began

    def _read_intent(self, run: str) -> tuple[Announcement, float, bytes] | None:
        """What an intent says, when it was written, and its bytes; None where there is none."""
        name = _intent_path(run)
        found = self._driver.stat(name)
        if found is None:
            return None
        try:
            data = self._driver.read(name)
            return Announcement.read(data), found.modified, data
        except BlobMissingError:
            return None
        except RecordError as error:
            raise BlobCorruptError(
                f"The intent {name} cannot be read: it might need any blob.",
                hint="Another version may have written it; remove it once the run that it names is no more.",
            ) from error

    # Waiting for collectors

    def wait_for_sweeps(self, names: Iterable[str]) -> None:
        """Wait until no living collector is about to delete any of these; whoever waits has said what it needs before.

        Raises `StoreUnavailableError` (`busy`) for one that neither ends nor dies.
        """
        wanted = frozenset(names) if self.needed else frozenset()
        began = self._clock.monotonic()
        told, pause = False, bounds.SWEEP_FIRST_PAUSE_SECONDS
        while wanted:
            marker = self._marker_over(wanted)
            waited = self._clock.monotonic() - began
            if marker is None:
                return
            if waited > bounds.SWEEP_SECONDS + bounds.BUSY_MAX_SECONDS:
                raise StoreUnavailableError(
                    f"A collection of another machine ({marker}) does not come to an end.",
                    hint="Let it end, or try again: it is taken for dead after a quarter of an hour.",
                    reason="busy",
                )
            if waited > _TOLD_SECONDS and not told:
                told = True
                logging.getLogger("renku_store").warning("waiting for a collection of another machine (%s)", marker)
            time.sleep(pause)
            pause = min(2 * pause, bounds.SWEEP_PAUSE_MAX_SECONDS)

    def _marker_over(self, wanted: frozenset[str]) -> str | None:
        """The path of a living marker that names one of these."""
        for found in self._driver.list(_MARKERS):
            marker = self._read_marker(found) if found.name.endswith(_MARKER) else None
            if marker is not None and not wanted.isdisjoint(marker.names) and not self._is_dead(found):
                return found.name
        return None

    def _is_dead(self, marker: ObjectStat) -> bool:
        """Whether a marker is too old to count: a clock of this machine may be wrong, so the storage's own decides."""
        if marker.modified + bounds.SWEEP_SECONDS > self.now():
            return False
        return marker.modified + bounds.SWEEP_SECONDS <= self._look_at_the_clock().modified

    def _read_marker(self, found: ObjectStat) -> SweepMarker | None:
        """What a marker says; None where it is gone. One that cannot be read is taken to name everything it might."""
        try:
            return SweepMarker.read(self._driver.read(found.name))
        except BlobMissingError:
            return None
        except RecordError as error:
            raise BlobCorruptError(
                f"The marker {found.name} cannot be read: it might name any blob.",
                hint="Another version may have written it; remove it once no collection is going on.",
            ) from error

    # Collecting

    def sweep(self) -> Sweep:
        """Begin to collect, for one who holds this machine's lock `collect`; markers of dead ones here are removed."""
        sweep = Sweep(self._driver, self._clock, self._machine())
        now = sweep.begin()
        for found in list(self._driver.list(_MARKERS)):
            if found.name == sweep.path:
                continue
            if found.name.endswith(_TRIAL):
                is_over = found.modified + bounds.SWEEP_SECONDS < now
            else:
                marker = self._read_marker(found) if found.name.endswith(_MARKER) else None
                own = marker is not None and marker.machine == sweep.machine
                limit = bounds.SWEEP_OWN_SECONDS if own else 2 * bounds.SWEEP_SECONDS
                is_over = marker is not None and found.modified + limit < now
            if is_over:
                self._driver.delete(found.name)
        return sweep

    @contextmanager
    def sweeping(self, names: Iterable[str]) -> Iterator[Callable[[], None]]:
        """Have a marker over these for the length of the context; nothing where all share an index.

        Gives what is to be called right before each change that cannot be undone: `Sweep.check`.
        """
        wanted = [*names] if self.needed else []
        if not wanted:
            yield _nobody_waits
            return
        sweep = Sweep(self._driver, self._clock, self._machine())
        with sweep.over(wanted):
            yield sweep.check

    def _machine(self) -> str:
        """The name of this machine while it is up, as long as its workspace is there; a copy of that has another.

        Only for as long as it is up: to take one's own marker for another's costs some minutes, the reverse a blob.
        """
        here = on_this_machine(self._driver)
        if here.stat(_MACHINE) is None:
            here.create(_MACHINE, os.urandom(16).hex().encode())
        return hash_bytes(here.read(_MACHINE) + _this_boot())[:32]


class Sweep:
    """One collection of a machine: its marker, and the time by the storage's clock when it began."""

    def __init__(self, driver: Driver, clock: Clock, machine: str) -> None:
        self._driver = driver
        self._clock = clock
        self._marked: tuple[float, float] | None = None
        self.machine = machine
        self.path = f"{_MARKERS}{os.urandom(16).hex()}{_MARKER}"
        self.now = 0.0

    def begin(self) -> float:
        """Ask what the time is where the objects are; gives it, Unix seconds."""
        self._put(())
        self.now = _written(self._driver, self.path).modified
        self.end()
        return self.now

    @contextmanager
    def over(self, names: Iterable[str]) -> Iterator[None]:
        """Let the marker name these for the length of the context.

        After an error it stays, and ends by its age: what was asked of the storage may be carried out yet.
        """
        self._put(names)
        yield
        self.end()

    def check(self) -> None:
        """Raise `StoreUnavailableError` if the marker has been there for so long that others may take it for dead."""
        began, wall = self._marked or (0.0, 0.0)
        passed = max(self._clock.monotonic() - began, self._clock.now().timestamp() - wall)
        if passed > bounds.SWEEP_WORK_SECONDS or self._driver.stat(self.path) is None:
            raise StoreUnavailableError(
                "The collection was held up for too long: others may take it for dead.",
                hint="Run it again; nothing that is needed was removed.",
                reason="busy",
            )

    def end(self) -> None:
        """Remove the marker."""
        self._driver.delete(self.path)

    def _put(self, names: Iterable[str]) -> None:
        self._marked = self._clock.monotonic(), self._clock.now().timestamp()
        marker = SweepMarker(machine=self.machine, names=sorted(names))
        self._driver.replace(self.path, canonical_document(marker.to_json()))


def _written(driver: Driver, name: str) -> ObjectStat:
    """What the storage says of an object that was written a moment ago."""
    found = driver.stat(name)
    if found is None:
        raise StoreUnavailableError(
            f"{name} was written a moment ago and is not there.",
            hint="Other programs must not remove objects of a movie; try again.",
            reason="busy",
        )
    return found


def _this_boot() -> bytes:
    """What no two machines have in common that are up, be one a copy of the other: the host's name and its boot."""
    boot = b""
    with suppress(OSError):
        boot = Path("/proc/sys/kernel/random/boot_id").read_bytes()
    return b"/".join((b"", host_name().encode(), boot))


def _nobody_waits() -> None:
    """Where all share an index there is no marker to be taken for dead."""


def _is_over(said: Announcement, modified: float, now: float) -> bool:
    return modified + (bounds.INTENT_SECONDS if said.kind == "run" else bounds.EDIT_INTENT_SECONDS) < now


def _intent_path(run: str) -> str:
    return f"{_INTENTS}{check_run_id(run)}{_INTENT}"
