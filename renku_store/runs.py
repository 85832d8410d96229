"""Runs that have not come to an end: which there are, giving one up, stopping one from anywhere."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Literal

from renku_store import bounds
from renku_store.clock import timestamp
from renku_store.conclusion import end_run
from renku_store.errors import LeaseLostError, NotFoundError
from renku_store.movie import Movie
from renku_store.records.events import ArtefactEvent, InputEvent
from renku_store.records.run import RunRecord
from renku_store.versions import DECISIONS

CancelOutcome = Literal["interrupted", "cancelling", "published", "abandoned"]
"""What became of a run that was to be cancelled: stopped, not yet stopped, or come to its end before."""


@dataclass(frozen=True, slots=True)
class MovieStatus:
    """Runs that have not come to an end, and what people changed or decided that no run has taken, oldest first."""

    runs: list[RunRecord]
    pending: list[InputEvent | ArtefactEvent]


def movie_status(movie: Movie) -> MovieStatus:
    """Runs that are neither published nor abandoned, and edits that no run has taken."""
    pending = [
        event
        for event in movie.events.pending()
        if isinstance(event, InputEvent) or (isinstance(event, ArtefactEvent) and event.status in DECISIONS)
    ]
    return MovieStatus(movie.leases.unfinished(), pending)


def abandon(movie: Movie, run: str) -> None:
    """Give an unfinished run up: archived, nothing published, its results stay reusable.

    One of another machine, which its own is not working on, is given up here alone: this machine's collections do not
    keep its results any more. Raises `NotFoundError` for a run that is not unfinished, `LeaseLostError` while another
    process holds it.
    """
    movie.committer.repair()
    record = next((record for record in movie.leases.unfinished() if record.run == run), None)
    if record is None:
        raise NotFoundError(f"There is no unfinished run {run}.", hint="`renku-store status` lists them.")
    if record.elsewhere:
        _give_up_here(movie, record)
        return
    token = movie.leases.take_over(run)
    end_run(movie, token, "abandoned", record.edits_through, {})


def _give_up_here(movie: Movie, record: RunRecord) -> None:
    if record.run in movie.announcer.ids():
        raise LeaseLostError(
            f"The run {record.run} is another machine's, and may be going on there.", hint="Abandon it there."
        )
    with movie.metadata.write() as writer:
        writer.runs.update(record.run, status="abandoned", ended_at=timestamp(movie.clock.now()))


def cancel(movie: Movie, run: str, *, wait_seconds: float = bounds.CANCEL_WAIT_SECONDS) -> CancelOutcome:
    """Stop a running run, of whatever process, as Ctrl-C there would: what has finished is kept, and it can be resumed.

    Waits up to `wait_seconds` for its end and says what that was. Raises `NotFoundError` for a run that is not running.
    """
    movie.leases.cancel(run)
    until = movie.clock.monotonic() + wait_seconds
    while True:
        record = movie.leases.record(run)
        if not record.alive:
            return "interrupted" if record.status not in ("published", "abandoned") else record.status
        if movie.clock.monotonic() >= until:
            return "cancelling"
        time.sleep(bounds.CLAIM_POLL_SECONDS)
