"""What a run left in the objects: its archive with what that names, and the plan of one that can be taken up again."""

from __future__ import annotations

from dataclasses import dataclass

from renku_store.archives import ArchiveStore, archive_path
from renku_store.drivers.base import Driver
from renku_store.errors import BlobCorruptError, BlobMissingError
from renku_store.hashing import hash_bytes
from renku_store.indexing import blobs_of, told_by
from renku_store.plans import plan_path
from renku_store.records._base import RecordError
from renku_store.records.events import Event, RunEvent
from renku_store.records.plan import ExecutionPlan


@dataclass(frozen=True, slots=True)
class RunArchive:
    """An archive as it is stored, the ids of its events, the blobs they name; `over`: nobody goes on with the run.

    Of the events `own` are the run's, the others are movie-wide edits, or came late to another run.
    """

    run: str
    data: bytes
    events: frozenset[str]
    own: frozenset[str]
    blobs: frozenset[str]
    over: bool


@dataclass(frozen=True, slots=True)
class RunPlan:
    """A plan as it is stored, and the blobs that it names."""

    data: bytes
    blobs: frozenset[str]


def read_archive(driver: Driver, archives: ArchiveStore, run: str, expected: str | None = None) -> RunArchive:
    """The archive of a run, verified against the hash that a manifest says, where one does; raises `DamageError`."""
    data = driver.read(archive_path(run))
    ids: set[str] = set()
    own: set[str] = set()
    blobs: set[str] = set()
    steps: list[Event] = []
    for event in archives.read(run, expected or hash_bytes(data)):
        ids.add(event.id)
        if event.run == run:
            own.add(event.id)
        blobs |= blobs_of([event])
        if isinstance(event, RunEvent):
            steps.append(event)
    over = told_by(run, steps).ended_at is not None
    return RunArchive(run, data, frozenset(ids), frozenset(own), frozenset(blobs), over)


def read_plan(driver: Driver, run: str) -> RunPlan | None:
    """The plan of a run; None where it has none any more. Raises `BlobCorruptError` for one that cannot be read."""
    try:
        data = driver.read(plan_path(run))
        plan = ExecutionPlan.read(data)
    except BlobMissingError:
        return None
    except RecordError as error:
        raise BlobCorruptError(
            f"The plan {plan_path(run)} cannot be read.", hint="Abandon the run: what it made stays reusable."
        ) from error
    blobs = {plan.graph_hash, *(entry.blob for entry in plan.inputs.values() if entry.blob)}
    return RunPlan(data, frozenset(blob for blob in blobs if blob is not None))
