"""Which job record is about which line of a revision folder, and what is left over: every dollar is told once. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Final

from renku_store.migration.described import NOTHING_LEFT, OldAttempt
from renku_store.migration.history import History
from renku_store.migration.lines import ArtefactLine
from renku_store.migration.reading import NO_TIME, safe_id
from renku_store.migration.records_of_jobs import OldJob

_NOT_ENDED: Final = "Its record does not say how it ended."


def attempts(history: History, after: int, through: int | None, jobs: Sequence[OldJob]) -> Iterator[OldAttempt]:
    """The tries to make artefacts after a revision, up to another one (None: all), each job's cost at one of them.

    Jobs come oldest first. One that no line is about is an attempt of its own if it failed, or was paid.
    """
    lines = [line for line in history.lines.between(after, through) if line.succeeded is not None]
    matched = _matched(lines, jobs)
    told: set[int] = set()
    for place, line in enumerate(lines):
        at = matched.get(place)
        job = jobs[at] if at is not None else None
        first = at is not None and at not in told
        if at is not None:
            told.add(at)
        yield OldAttempt(
            artefact=safe_id(line.id),
            succeeded=line.succeeded is True,
            created_at=line.created_at or history.time,
            value=history.artefact_value(line, None, history.anywhere) if line.succeeded else None,
            producer=history.maker(line.id, line),
            error=None if line.succeeded else (job.error if job else None) or "It failed.",
            cost=job.cost if job is not None and first else None,
            seconds=job.seconds if job is not None and first else None,
        )
    for at, job in enumerate(jobs):
        if at not in told and (job.succeeded is False or job.cost):
            yield from _left_over(history, job)


def _matched(lines: Sequence[ArtefactLine], jobs: Sequence[OldJob]) -> dict[int, int]:
    """By the place of a line that of its job: of one artefact and one outcome the newest lines have the newest jobs.

    A job that does not say how it ended is about a line that is left.
    """
    found: dict[int, int] = {}
    by_output: dict[str, list[int]] = {}
    for at, job in enumerate(jobs):
        for artefact in dict.fromkeys(job.outputs):
            by_output.setdefault(artefact, []).append(at)
    by_artefact: dict[str, list[int]] = {}
    for place, line in enumerate(lines):
        by_artefact.setdefault(safe_id(line.id), []).append(place)
    for artefact, places in by_artefact.items():
        for outcome in (True, False, None):
            left = [at for at in by_output.get(artefact, ()) if jobs[at].succeeded is outcome]
            for place in reversed(places):
                if left and place not in found and outcome in {lines[place].succeeded, None}:
                    found[place] = left.pop()
    return found


def _left_over(history: History, job: OldJob) -> Iterator[OldAttempt]:
    """What a job says of itself that no line says. One that gave nothing that is there has failed, as it looks here."""
    said = {True: NOTHING_LEFT, False: job.error or "It failed.", None: job.error or _NOT_ENDED}[job.succeeded]
    for place, artefact in enumerate(dict.fromkeys(job.outputs) or (job.producer or safe_id(job.id),)):
        if place == 0 or job.succeeded is False:
            yield OldAttempt(
                artefact=artefact,
                succeeded=False,
                created_at=job.ended if job.ended != NO_TIME else history.time,
                producer=job.producer,
                error=said,
                cost=job.cost if place == 0 else None,
                seconds=job.seconds,
            )
