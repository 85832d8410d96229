"""The events: what happened, in order, never changed. Keeps the shape of invariant 4.

`id` is a UUID of version 7 and the same everywhere; `seq` is the row number in one database (None before appending).
`run` is None for what people do between runs: movie-wide edits, taken by the next run that plans.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import ConfigDict, Field, model_serializer

from renku_store.records._base import Hash, Json, Record, exactly_one
from renku_store.records.manifest import ArtefactValue

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


class InputEvent(Record):
    """A new value of an input; `value` inline, or `blob` where its canonical JSON is longer than 2,048 bytes."""

    model_config = ConfigDict(json_schema_extra=exactly_one("value", "blob"))

    type: Literal["input"] = "input"
    seq: int | None = None
    id: str
    run: str | None = None
    input: str
    hash: Hash
    value: Json = None
    blob: Hash | None = None
    edited_by: str = "user"
    created_at: str

    @model_serializer(mode="wrap")
    def _written(self, handler: Any) -> dict[str, Any]:
        written: dict[str, Any] = {key: value for key, value in handler(self).items() if value is not None}
        written.pop("value", None)
        if self.blob is None:
            written["value"] = self.value
        return written


class JobFailure(Record):
    """Why a job failed: a stable `kind`, one sentence, and the end of what the producer wrote to standard error.

    `cost` is what the failed call took nevertheless, in US dollars, where the producer says so.
    """

    kind: str
    message: str
    retryable: bool = False
    diagnostics: str | None = None
    cost: float | None = None


class ArtefactEvent(Record):
    """What happened to one artefact.

    `result` groups the outputs of one producer call; with status `succeeded` and a signature it is a trace, found again
    by that signature. So is one of status `kept`: it came after the call's claim was lost, and is not the artefact's
    value by itself. `output` is the producer's own name of the artefact. `value` is absent where the job failed.
    `cost` is in US dollars and is written at the first output of a result only, so that costs can be added up;
    `attempts` counts calls. `source` is the fingerprint of the program files that made it, where its producer has any.

    Movie-wide are `edited` (a person's version), `edit-undone` (what was made stands again), and, with all outputs of a
    job, `chosen` (a take) and `accepted` (what there is), which stand for their `signature`.
    """

    type: Literal["artefact"] = "artefact"
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


class RunEvent(Record):
    """A step in the life of a run; `data` says more (for `planned`: base revision, number of jobs)."""

    type: Literal["run"] = "run"
    seq: int | None = None
    id: str
    run: str
    kind: RunEventKind
    data: dict[str, Json] = {}
    created_at: str


Event = Annotated[InputEvent | ArtefactEvent | RunEvent, Field(discriminator="type")]
"""Any event, told apart by `type`."""


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
    cost: float = 0.0
    request_id: str | None = None
    kept: bool = False
    created_at: str
    duration_seconds: float | None = None
    source: Hash | None = None
