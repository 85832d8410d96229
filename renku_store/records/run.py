"""Runs: who holds them, how their jobs end, and the typed events that they send while they go."""

from __future__ import annotations

from typing import Literal

from msgspec import Struct

from renku_store.records._base import Json, Record, written
from renku_store.records.events import JobFailure

RunStatus = Literal["planned", "running", "interrupted", "published", "failed", "abandoned"]
JobStatus = Literal["clean", "made", "reused", "failed", "upstream failed", "over budget", "cancelled", "skipped"]
RunOutcome = Literal["published", "unchanged", "failed", "partial", "interrupted"]


class LeaseToken(Struct, frozen=True):
    """Proof that a run is held: (`epoch`, `counter`) only grow, so that a late holder is told from the present one."""

    run: str
    epoch: int
    counter: int


class Holder(Struct, frozen=True):
    """Who holds a lease: `pid` on `host`, started at `process_start` (as the system tells it), running `command`."""

    host: str
    pid: int
    process_start: str
    command: str


ProgressKind = Literal[
    "run-started",
    "run-extended",
    "run-stopping",
    "job-waiting",
    "job-started",
    "job-resumed",
    "job-remembered",
    "job-attempt-failed",
    "job-finished",
    "run-finished",
]


class RunRecord(Record):
    """A run as the metadata store knows it. `revision` is set once it has published.

    The status `interrupted` is never stored: `movie_status` tells it of runs that nobody works on and that did not
    fail.
    `elsewhere`: it is another machine's, known from its archive alone, and never taken up here.
    """

    run: str
    status: RunStatus
    base_revision: str | None = None
    edits_through: int = written(0)
    revision: str | None = None
    created_at: str
    ended_at: str | None = None
    holder: str | None = None
    alive: bool = written(default=False)
    elsewhere: bool = written(default=False)


class JobResult(Record):
    """How a job ended. `attempts` counts producer calls in this run.

    `cost` of the calls, failed ones included, and `saved`, what the reused result had taken, are in US dollars.
    `duration_seconds` is the time of the last call, what it waited for not counted.
    """

    status: JobStatus
    attempts: int = written(0)
    cost: float = written(0.0)
    saved: float = written(0.0)
    duration_seconds: float = written(0.0)
    signature: str | None = None
    error: JobFailure | None = None


class RunReport(Record):
    """What `run_movie` did. `run` is absent where nothing differed.

    `cost` of its calls and `saved`, what the reused results had taken, are in US dollars.
    """

    run: str | None = None
    revision: str | None = None
    status: RunOutcome
    jobs: dict[str, JobResult] = written({})
    made: int = written(0)
    reused: int = written(0)
    cost: float = written(0.0)
    saved: float = written(0.0)


class RunProgress(Record):
    """A typed event of a run while it goes (`on_event`, `run --events`).

    - `run-started`: `data["jobs"]` are those to be done, with their layers, `data["reasons"]` why (as in the plan),
      `data["concurrency"]` how many at once, `data["seconds"]` how long a call takes by producer, where known, and
      `data["expected"]` the whole run. `run-extended` adds jobs and reasons in the place of the placeholders
      `data["instead"]`; `data["warnings"]` say which choices and overrides name nothing after all.
    - `job-started`: its producer is called. `job-waiting`: it waits, `data["for"]` one of `claim` (another run, which
      `data["key"]` names, makes the same), `limit`, `rate`, `back-off` (`data["key"]` the key of the limit);
      `job-resumed`: the call goes on. `job-attempt-failed`: it will be tried again, `data["error"]` says what happened.
    - `job-remembered`: the provider works on it under the name `data["requestId"]`; `data["adopted"]`: since an earlier
      run or attempt.
    - `run-stopping`: nothing more is begun, `data["calls"]` are waited for; `status` says why.
    - `job-finished`, `run-finished`: `status` says how.
    """

    event: ProgressKind
    run: str
    at: str
    job: str | None = None
    status: str | None = None
    data: dict[str, Json] = written({})
