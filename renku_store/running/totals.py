"""What a run took, from its own events: calls that succeeded, jobs answered by others' results, US dollars. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from math import fsum

from renku_store.records.events import ArtefactEvent, Event
from renku_store.records.manifest import Metrics
from renku_store.records.run import JobResult


def run_totals(events: Iterable[Event], results: Mapping[str, JobResult]) -> Metrics:
    """Count what a run took since it began, earlier executions of it included: a revision tells its whole price.

    The cost is that of all calls, failed ones included. `results` are those of the last execution. A result that the
    run had made before it died counts as made, not as reused.
    """
    made: set[str] = set()
    reused: dict[str, str] = {}
    costs: list[float] = []
    for event in events:
        if not isinstance(event, ArtefactEvent) or event.result is None or event.job is None:
            continue
        if event.status in {"succeeded", "kept", "failed"}:
            costs.append(event.cost or 0.0)
        if event.status in {"succeeded", "kept"}:
            made.add(event.result)
        elif event.status == "reused" and event.job in results and results[event.job].status == "reused":
            reused[event.job] = event.result
    others = [job for job, result in reused.items() if result not in made]
    saved = round(fsum(results[job].saved for job in others), 6)
    return Metrics(made=len(made), reused=len(others), cost=round(fsum(costs), 6), saved=saved or None)
