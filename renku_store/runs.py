"""Runs that have not come to an end, and edits that wait for one: which there are, giving a run up, stopping one."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import TYPE_CHECKING, Literal

from msgspec import Struct

from renku_store import bounds
from renku_store.clock import timestamp
from renku_store.errors import LeaseLostError, NotFoundError
from renku_store.late import late_module
from renku_store.movie import Movie
from renku_store.projection import fold_artefacts, fold_inputs
from renku_store.records.events import ArtefactEvent, InputEvent
from renku_store.records.manifest import ManifestArtefact
from renku_store.records.run import RunRecord
from renku_store.versions import DECISIONS, marked

if TYPE_CHECKING:
    from renku_store import conclusion
else:  # what ends a run knows what runs one
    conclusion = late_module("renku_store.conclusion")

CancelOutcome = Literal["interrupted", "cancelling", "published", "abandoned"]
"""What became of a run that was to be cancelled: stopped, not yet stopped, or come to its end before."""


class MovieStatus(Struct, frozen=True):
    """Runs that have not come to an end, and what people changed or decided for the next run, oldest first.

    The status of a run is `running`, `failed` or `interrupted`, which is also that of one whose process died.
    """

    runs: list[RunRecord]
    pending: list[InputEvent | ArtefactEvent]


def movie_status(movie: Movie) -> MovieStatus:
    """Runs that are neither published nor abandoned, and edits that the next run would take.

    What was taken back since (an edit that was undone, an input that has its former value again) is not among them.
    """
    runs = [_as_it_ended(movie, record) for record in movie.leases.unfinished()]
    pending = [
        event
        for event in movie.events.pending()
        if isinstance(event, InputEvent) or (isinstance(event, ArtefactEvent) and event.status in DECISIONS)
    ]
    back = _taken_back(movie, pending, unfinished=bool(runs)) if pending else set[str]()
    return MovieStatus(runs, [event for event in pending if _about(event) not in back])


def _as_it_ended(movie: Movie, record: RunRecord) -> RunRecord:
    """The record of an unfinished run, with the status by which people know it: it failed only if it said so itself."""
    if record.alive:
        return record
    last, seq = None, 0
    with movie.metadata.read() as reader:
        while steps := reader.events.runs_after(seq, bounds.EVENT_PAGE_ROWS, run=record.run):
            last, seq = steps[-1].kind, steps[-1].seq or 0
    return record.replace(status="failed" if last == "failed" else "interrupted")


def _taken_back(
    movie: Movie, pending: Sequence[InputEvent | ArtefactEvent], *, unfinished: bool
) -> set[tuple[str, str]]:
    """What pending edits leave as the newest revision has it; an input may still overrule one of an unfinished run."""
    base, _ = movie.manifests.current() or (None, None)
    inputs, artefacts = (base.inputs, base.artefacts) if base else ({}, {})
    given = fold_inputs({}, [event for event in pending if isinstance(event, InputEvent)])
    decisions = [event for event in pending if isinstance(event, ArtefactEvent)]
    before = {event.artefact: artefacts.get(event.artefact) for event in decisions}
    after = fold_artefacts({key: held for key, held in before.items() if held is not None}, decisions)
    back = {("artefact", key) for key, held in before.items() if _unmarked(held) == _unmarked(after.get(key))}
    if not unfinished:
        back |= {("input", key) for key, value in given.items() if key in inputs and inputs[key].hash == value.hash}
    return back


def _unmarked(held: ManifestArtefact | None) -> ManifestArtefact | None:
    return marked(held, outdated=None) if held is not None else None


def _about(event: InputEvent | ArtefactEvent) -> tuple[str, str]:
    return (event.type, event.input if isinstance(event, InputEvent) else event.artefact)


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
    conclusion.end_run(movie, token, "abandoned", record.edits_through, {})


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
            return record.status if record.status in ("published", "abandoned") else "interrupted"
        if movie.clock.monotonic() >= until:
            return "cancelling"
        time.sleep(bounds.CLAIM_POLL_SECONDS)
