"""When the jobs of a run went on, from its events: what a chart of the run is drawn from."""

from __future__ import annotations

import heapq
from collections.abc import Iterable
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from typing import Final, Literal
from uuid import UUID

from renku_store.clock import timestamp
from renku_store.errors import NotFoundError
from renku_store.movie import Movie
from renku_store.records._base import Record, written
from renku_store.records.events import ArtefactEvent, Event, RunEvent

GanttStatus = Literal["made", "late", "reused", "failed"]

_STATUSES: Final[dict[str, GanttStatus]] = {
    "succeeded": "made",
    "kept": "late",
    "reused": "reused",
    "failed": "failed",
}


class GanttBar(Record):
    """What one job took: its last call, from `start` to `end`, the same moment where an earlier result answered it.

    `lane` counts from 0: bars of one lane do not overlap, and there are as many as went on at once. `late`: the result
    came after its claim was lost. `attempts` counts calls; the bar is as long as the last one took, without the waits
    for limits and the attempts before it. `cost` is in US dollars, of all attempts.
    """

    job: str
    lane: int
    start: str
    end: str
    status: GanttStatus
    attempts: int = written(0)
    cost: float = written(0.0)


class RunGantt(Record):
    """A run as a chart shows it: `bars` in the order of their starts, `status` its last step."""

    run: str
    revision: str | None = None
    status: str | None = None
    start: str | None = None
    end: str | None = None
    bars: list[GanttBar]

    @property
    def lanes(self) -> int:
        """How many jobs went on at once, at most."""
        return 1 + max((bar.lane for bar in self.bars), default=-1)


def run_gantt(movie: Movie, name: str = "latest") -> RunGantt:
    """The chart of the run that made a revision, or of a run named by its id; archived and compacted ones too.

    Raises `NotFoundError` where there is no such revision or run, `DamageError` where its archive is gone or damaged.
    """
    if _is_run(name):
        gantt = chart(name, movie.events.stream(run=name), _published(movie, name))
        if gantt.status is None and not gantt.bars:
            raise NotFoundError(
                f"Nothing is known of a run {name}.", hint="`renku-store log` and `status` list what is."
            )
        return gantt
    entry, _ = movie.manifests.entry(name)
    return chart(entry.run, movie.events.stream(run=entry.run), entry.revision)


def chart(run: str, events: Iterable[Event], revision: str | None = None) -> RunGantt:
    """The chart that the events of a run give."""
    results: dict[tuple[str, str], ArtefactEvent] = {}
    costs: dict[tuple[str, str], float] = {}
    steps: list[RunEvent] = []
    for event in events:
        if isinstance(event, RunEvent):
            steps.append(event)
        elif isinstance(event, ArtefactEvent) and event.status in _STATUSES and event.job is not None:
            key = (event.job, event.result or event.id)
            results.setdefault(key, event)
            costs[key] = costs.get(key, 0.0) + (event.cost or 0.0)
    bars = sorted((_bar(event, costs[key]) for key, event in results.items()), key=lambda bar: (bar.start, bar.end))
    moments = [*(step.created_at for step in steps), *(bar.start for bar in bars), *(bar.end for bar in bars)]
    return RunGantt(
        run=run,
        revision=revision,
        status="published" if revision else steps[-1].kind if steps else None,
        start=min(moments, default=None),
        end=max(moments, default=None),
        bars=_in_lanes(bars),
    )


def _published(movie: Movie, run: str) -> str | None:
    with suppress(NotFoundError):
        return movie.leases.record(run).revision
    return None


def _bar(event: ArtefactEvent, cost: float) -> GanttBar:
    end = datetime.fromisoformat(event.created_at).astimezone(UTC)
    seconds = event.duration_seconds or 0.0
    return GanttBar(
        job=event.job or "",
        lane=0,
        start=timestamp(end - timedelta(seconds=seconds)),
        end=event.created_at,
        status=_STATUSES[event.status],
        attempts=event.attempts or 0,
        cost=cost,
    )


def _in_lanes(bars: list[GanttBar]) -> list[GanttBar]:
    """Each bar in the lowest lane that is free at its start."""
    free: list[int] = []
    taken: list[tuple[str, int]] = []
    lanes = 0
    placed: list[GanttBar] = []
    for bar in bars:
        while taken and taken[0][0] <= bar.start:
            heapq.heappush(free, heapq.heappop(taken)[1])
        if free:
            lane = heapq.heappop(free)
        else:
            lane, lanes = lanes, lanes + 1
        heapq.heappush(taken, (bar.end, lane))
        placed.append(bar.replace(lane=lane))
    return placed


def _is_run(name: str) -> bool:
    try:
        return str(UUID(name)) == name
    except ValueError:
        return False
