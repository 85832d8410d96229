"""What a run took, from its own events: calls that succeeded, jobs answered by others' results, US dollars. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from renku_store.records.events import ArtefactEvent, Event
from renku_store.records.manifest import Metrics
from renku_store.records.run import JobResult


def run_totals(events: Iterable[Event], results: Mapping[str, JobResult]) -> Metrics:
    """Count what a run took since it began, earlier executions of it included: a revision tells its whole price.

    `results` are those of the last execution. A result that the run had made before it died counts as made, not as
    reused.
    """
    made: dict[str, float] = {}
    reused: dict[str, str] = {}
    for event in events:
        if not isinstance(event, ArtefactEvent) or event.result is None or event.job is None:
            continue
        if event.status in {"succeeded", "kept"}:
            made[event.result] = made.get(event.result, 0.0) + (event.cost or 0.0)
        elif event.status == "reused" and event.job in results and results[event.job].status == "reused":
            reused[event.job] = event.result
    others = sum(result not in made for result in reused.values())
    return Metrics(made=len(made), reused=others, cost=round(sum(made.values()), 6))
