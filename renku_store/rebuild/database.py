"""The database of a movie made anew: from the objects, and from what only the old one knew.

Nobody else has the movie open meanwhile. The new database is made beside the old one, whole and durable, before
anything happens to that; then, in this order:

    old one sound:    it is closed, which copies its log back into it and removes the log; the new one replaces it
    old one damaged:  the new one gets a durable name of its own, the old one moves to `quarantine/`: see `placing`

Keeps invariant 11: killed anywhere, the old database is there or the new one, never the log of one beside the other.
What an earlier rebuild left under the temporary name goes with the next one, or with a collection.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, nullcontext
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Final, Literal

from renku_store import bounds
from renku_store.clock import Clock
from renku_store.drivers.base import Driver
from renku_store.drivers.local import on_this_machine
from renku_store.durability import step
from renku_store.errors import DamageError, UnsupportedFormatError
from renku_store.indexing import Indexer
from renku_store.manifests import ManifestStore
from renku_store.metadata.base import MetadataStore
from renku_store.metadata.sqlite import MEMORY, DatabaseInMemory, DatabasePlace, open_sqlite
from renku_store.metadata.sqlite.opening import build_sqlite, finish
from renku_store.metadata.sqlite.replacing import is_blank, parts_of, remove_database, take_place
from renku_store.movie import Movie
from renku_store.rebuild.losses import Known
from renku_store.rebuild.placing import finish_rebuild, is_unfinished, named_errors, refuse_newer, take_damaged_place
from renku_store.rebuild.salvage import Salvage
from renku_store.rebuild.turns import next_epoch
from renku_store.records._base import Record, written
from renku_store.records.ids import revision_name

RebuildStep = Literal["blobs", "events", "revisions", "compared"]

_NEW: Final = "tmp/rebuild.db"
_NAMES_MAX: Final = 1_000
"""Revisions that are named as lost: a pointer can say anything."""


@dataclass(frozen=True, slots=True)
class RebuildProgress:
    """How far a step is: `blobs`, archived `events` and `revisions` indexed; events of the old database `compared`."""

    step: RebuildStep
    count: int


class RebuildReport(Record):
    """What the new database holds: revisions, artefacts of the newest one, blobs, events, runs.

    `salvaged` counts the events that only the old database had. `quarantined` is where that was moved to, relative to
    the movie, if it was damaged. `restored` is the newest revision, if its manifest was lost and the old database had
    its exact bytes. `left_out` are revisions whose manifest is damaged or missing, as far as anything knows of them:
    once it is restored from a copy, another rebuild takes them in. Of `damaged_archives` (paths) events are missing.
    """

    revisions: int
    artefacts: int
    blobs: int
    events: int
    runs: int
    salvaged: int = written(0)
    quarantined: str | None = None
    restored: str | None = None
    left_out: list[str] = written([])
    damaged_archives: list[str] = written([])


def rebuild_database(
    place: DatabasePlace,
    driver: Driver,
    clock: Clock,
    assemble: Callable[[MetadataStore], Movie],
    on_progress: Callable[[RebuildProgress], None] | None = None,
) -> RebuildReport:
    """Make the database at `place` anew, for a caller that is `alone`; `assemble` puts the movie around a database.

    Raises `UnsupportedFormatError` for a database of a newer version, which is left as it is, and
    `StoreUnavailableError` where another program uses it or the disk fails.
    """
    rebuilding = _Rebuilding(driver, clock, assemble, on_progress or _tell_nobody)
    if isinstance(place, DatabaseInMemory):
        return _rebuild_in_memory(place, rebuilding)
    assert place.path is not None
    return _rebuild_file(place.path, rebuilding)


def _rebuild_file(path: Path, rebuilding: _Rebuilding) -> RebuildReport:
    here = on_this_machine(rebuilding.driver)
    built = path.parent / _NEW
    refuse_newer(path)
    if is_unfinished(path):
        finish_rebuild(path, here)
    with named_errors(path):
        remove_database(built)
        with step("folder make"):
            built.parent.mkdir(parents=True, exist_ok=True)
        if is_blank(path):
            remove_database(path)
    with ExitStack() as stack:
        old = _open_old(path, rebuilding)
        if old is not None:
            stack.callback(old.close)
        new = build_sqlite(built, epoch=partial(rebuilding.epoch, old))
        stack.callback(new.close)
        report = rebuilding.fill(old, new)
        with named_errors(built):
            finish(new)
    if rebuilding.salvage.damaged:
        return report.replace(quarantined=take_damaged_place(built, path, here))
    with named_errors(path):
        take_place(built, path)
    return report


def _rebuild_in_memory(place: DatabaseInMemory, rebuilding: _Rebuilding) -> RebuildReport:
    """The same without files: the new one is nobody's until it takes the place."""
    with ExitStack() as stack:
        old = None if place.is_blank() else place.examine(lock=nullcontext)
        new = open_sqlite(Path(MEMORY), epoch=partial(rebuilding.epoch, old))
        stack.callback(new.close)
        report = rebuilding.fill(old, new)
        stack.pop_all()
    place.replace(new)
    return report


class _Rebuilding:
    """What is the same wherever the database is: from which objects, by whose clock, and what of the old one counts."""

    def __init__(
        self,
        driver: Driver,
        clock: Clock,
        assemble: Callable[[MetadataStore], Movie],
        tell: Callable[[RebuildProgress], None],
    ) -> None:
        self.driver = driver
        self.salvage = Salvage(lambda count: tell(RebuildProgress("compared", count)))
        self._clock = clock
        self._assemble = assemble
        self._tell = tell

    def epoch(self, old: MetadataStore | None) -> int:
        """The epoch of the new database."""
        return next_epoch(self.driver, self._clock, old.epoch if old is not None else 0)

    def fill(self, old: MetadataStore | None, new: MetadataStore) -> RebuildReport:
        """Fill the new database, and carry over what only the old one knew."""
        known = Known(self.driver, old)
        restored = known.put_back()
        movie = self._assemble(new)
        pending = self.salvage.pending(old) if old is not None else None
        with ThreadPoolExecutor(1) as beside:  # SQLite reads the old file while Python reads the objects
            examined = beside.submit(self.salvage.examine, old) if old is not None else None
            filled = fill_index(movie, self._tell, pending or ())
            movie.committer.repair()
        if old is not None and examined is not None:
            examined.result()
            self.salvage.carry_over(old, new)
        lost = sorted(filled.unreadable | known.lost_archives(movie.archives))
        return _report(movie, self.salvage.events, known.newest, filled.artefacts).replace(
            restored=restored, damaged_archives=lost
        )


def _open_old(path: Path, rebuilding: _Rebuilding) -> MetadataStore | None:
    """The old database; None where there is none, or where it cannot be opened."""
    if not parts_of(path):
        return None
    try:
        lock = partial(rebuilding.driver.lock, "write", wait_seconds=bounds.BUSY_MAX_SECONDS)
        return open_sqlite(path, lock=lock)
    except (DamageError, UnsupportedFormatError):
        rebuilding.salvage.damaged = True
        return None


def fill_index(
    movie: Movie,
    on_progress: Callable[[RebuildProgress], None] | None = None,
    pending: Collection[str] = (),
) -> Indexer:
    """Fill the index of a movie, which has nothing in it yet, from the objects; writes nothing else.

    `pending` are the ids of edits that the index before had as pending: they stay so, though a later one was taken.
    What filled it can tell of the archives that could not be read to their end, and of the newest revision.
    """
    tell = on_progress or _tell_nobody
    steps: dict[str, RebuildStep] = {"blobs": "blobs", "events": "events", "revisions": "revisions"}
    manifests = ManifestStore(movie.driver, movie.blobs.read)
    apart = movie.announcer.needed
    indexer = Indexer(
        movie.driver, movie.metadata, movie.blobs, manifests, movie.archives, movie.events.new_id, apart=apart
    )
    indexer.restore(lambda kind, count: tell(RebuildProgress(steps[kind], count)), pending)
    return indexer


def _report(movie: Movie, salvaged: int, known: int, artefacts: int) -> RebuildReport:
    newest = max(known, ManifestStore(movie.driver, movie.blobs.read).newest())
    with movie.metadata.read() as reader:
        sizes = reader.checks.sizes()
        booked = {row.number for row in reader.revisions.list(limit=newest + 1)}
    return RebuildReport(
        revisions=sizes.revisions,
        artefacts=artefacts,
        blobs=sizes.blobs,
        events=sizes.events,
        runs=sizes.runs,
        salvaged=salvaged,
        left_out=[revision_name(number) for number in range(1, newest + 1) if number not in booked][:_NAMES_MAX],
    )


def _tell_nobody(_progress: RebuildProgress) -> None:
    return
