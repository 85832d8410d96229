"""Runs: who holds them, how their jobs end, and the typed events that they send while they go."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from renku_store.records._base import Json, Record
from renku_store.records.events import JobFailure

RunStatus = Literal["planned", "running", "published", "failed", "abandoned"]
JobStatus = Literal["clean", "made", "reused", "failed", "upstream failed", "cancelled", "skipped"]
RunOutcome = Literal["published", "unchanged", "failed", "partial", "interrupted"]


@dataclass(frozen=True, slots=True)
class LeaseToken:
    """Proof that a run is held: (`epoch`, `counter`) only grow, so that a late holder is told from the present one."""

    run: str
    epoch: int
    counter: int


@dataclass(frozen=True, slots=True)
class Holder:
    """Who holds a lease: `pid` on `host`, started at `process_start` (as the system tells it), running `command`."""

    host: str
    pid: int
    process_start: str
    command: str


class RunRecord(Record):
    """A run as the metadata store knows it. `revision` is set once it has published."""

    run: str
    status: RunStatus
    base_revision: str | None = None
    edits_through: int = 0
    revision: str | None = None
    created_at: str
    ended_at: str | None = None
    holder: str | None = None
    alive: bool = False


class JobResult(Record):
    """How a job ended. `attempts` counts producer calls in this run; `cost` is in US dollars."""

    status: JobStatus
    attempts: int = 0
    cost: float = 0.0
    duration_seconds: float = 0.0
    signature: str | None = None
    error: JobFailure | None = None


class RunProgress(Record):
    """A typed event of a run while it goes (`on_event`, `run --events`).

    `event` is one of `run-started`, `job-waiting`, `job-started`, `job-finished`, `run-finished`.
    """

    event: Literal["run-started", "job-waiting", "job-started", "job-finished", "run-finished"]
    run: str
    at: str
    job: str | None = None
    status: str | None = None
    data: dict[str, Json] = {}
