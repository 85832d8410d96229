"""The events: what happened, in order, never changed. Keeps the shape of invariant 4.

`id` is a UUID of version 7 and the same everywhere; `seq` is the row number in one database (None before appending).
`run` is None for what people do between runs: movie-wide edits, taken by the next run that plans.
"""

from __future__ import annotations

from typing import Any, ClassVar, Final, Literal, TypeAlias, get_args

from renku_store.records._base import Hash, Json, Record, RecordError, read_as, written
from renku_store.records.manifest import UNSET, ArtefactValue, fill_value

ArtefactStatus = Literal["succeeded", "kept", "reused", "failed", "edited", "edit-undone", "chosen", "accepted"]
RunEventKind = Literal[
    "planned",
    "started",
    "resumed",
    "rebased",
    "extended",
    "rollback",
    "migrated",
    "published",
    "unchanged",
    "failed",
    "interrupted",
    "abandoned",
]


class InputEvent(Record, tag_field="type", tag="input"):
    """A new value of an input; `value` inline, or `blob` where its canonical JSON is longer than 2,048 bytes."""

    exactly_one: ClassVar = ("value", "blob")
    type: ClassVar[Literal["input"]] = "input"

    seq: int | None = None
    id: str
    run: str | None = None
    input: str
    hash: Hash
    blob: Hash | None = None
    edited_by: str = written("user")
    created_at: str
    value: Json = UNSET

    def __post_init__(self) -> None:
        fill_value(self)


class JobFailure(Record):
    """Why a job failed: a stable `kind`, one sentence, and the end of what the producer wrote to standard error.

    `cost` is what the failed call took nevertheless, in US dollars, where the producer says so.
    """

    kind: str
    message: str
    retryable: bool = written(default=False)
    diagnostics: str | None = None
    cost: float | None = None


class ArtefactEvent(Record, tag_field="type", tag="artefact"):
    """What happened to one artefact.

    `result` groups the outputs of one producer call; with status `succeeded` and a signature it is a trace, found again
    by that signature. So is one of status `kept`: it came after the call's claim was lost, and is not the artefact's
    value by itself. `output` is the producer's own name of the artefact. `value` is absent where the job failed.
    `cost` is in US dollars and is written at the first output of a result only, so that costs can be added up;
    `attempts` counts calls. `source` is the fingerprint of the program files that made it, where its producer has any.

    Movie-wide are `edited` (a person's version), `edit-undone` (what was made stands again), and, with all outputs of a
    job, `chosen` (a take) and `accepted` (what there is), which stand for their `signature`.
    """

    type: ClassVar[Literal["artefact"]] = "artefact"

    seq: int | None = None
    id: str
    run: str | None = None
    artefact: str
    status: ArtefactStatus
    output: str | None = None
    job: str | None = None
    producer: str | None = None
    signature: Hash | None = None
    result: str | None = None
    value: ArtefactValue | None = None
    cost: float | None = None
    attempts: int | None = None
    request_id: str | None = None
    duration_seconds: float | None = None
    failure: JobFailure | None = None
    edited_by: str | None = None
    source: Hash | None = None
    created_at: str


class RunEvent(Record, tag_field="type", tag="run"):
    """A step in the life of a run; `data` says more (for `planned`: base revision, number of jobs)."""

    type: ClassVar[Literal["run"]] = "run"

    seq: int | None = None
    id: str
    run: str
    kind: RunEventKind
    data: dict[str, Json] = written({})
    created_at: str


Event: TypeAlias = InputEvent | ArtefactEvent | RunEvent
"""Any event, told apart by `type`."""


def read_event(data: bytes | str) -> Event:
    """The event that JSON text holds. Raises `RecordError`."""
    kind: Any = Event
    event: Event = read_as(kind, data)
    return event


def read_outputs(data: bytes | str) -> dict[str, ArtefactValue]:
    """The outputs of a trace that JSON text holds, by name. Raises `RecordError`."""
    return read_as(dict[str, ArtefactValue], data)


def check_event(event: Event) -> None:
    """Raise `RecordError` if an event that was made of a row is none that could be read: the row may be damaged."""
    if read_event(event.to_bytes()) != event:
        raise RecordError(f"{event.id!r} is no event")


_STATUSES: Final = frozenset(get_args(ArtefactStatus))


def check_made(event: ArtefactEvent) -> None:
    """Raise `RecordError` for what programs get wrong, such as a MIME type that nobody could guess.

    A look at the fields that are guessed and counted takes a tenth of a look at all of them.
    """
    if event.status not in _STATUSES:
        raise RecordError(f"there is no status {event.status!r}", "status")
    value = event.value
    if value is None:
        return
    if type(value.mime_type) is not str or not value.mime_type:
        raise RecordError(f"{value.mime_type!r} is no MIME type", "value.mimeType")
    if type(value.size) is not int or value.size < 0:
        raise RecordError(f"{value.size!r} is no number of bytes", "value.size")
    if value.blob is not None and value.blob != value.hash:  # inline bytes are hashed when they are published
        raise RecordError(f"the blob {value.blob!r} is not the one of its hash", "value.blob")


class Trace(Record):
    """A result that a producer call gave for a signature: every output by the producer's own name.

    Several traces of one signature are takes, numbered from 1 in the order in which they were made. One that is `kept`
    came from a holder that had lost its claim: it is reused only where there is no other.
    """

    result: str
    signature: Hash
    run: str | None = None
    job: str | None = None
    producer: str | None = None
    outputs: dict[str, ArtefactValue]
    cost: float = written(0.0)
    request_id: str | None = None
    kept: bool = written(default=False)
    created_at: str
    duration_seconds: float | None = None
    source: Hash | None = None
