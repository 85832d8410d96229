"""What a run took, from its own events: calls that succeeded, jobs answered by others' results, US dollars. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from math import fsum
from typing import Final

from renku_store.metadata.event_tables import RunOutcome
from renku_store.records.manifest import Metrics
from renku_store.records.run import JobResult

_MADE: Final = frozenset({"succeeded", "kept"})
_CALLED: Final = frozenset({"succeeded", "kept", "failed"})


def run_totals(outcomes: Iterable[RunOutcome], results: Mapping[str, JobResult]) -> Metrics:
    """Count what a run took since it began, earlier executions of it included: a revision tells its whole price.

    The cost is that of all calls, failed ones included. `results` are those of the last execution. A result that the
    run had made before it died counts as made, not as reused.
    """
    made: set[str] = set()
    reused: dict[str, str] = {}
    costs: list[float] = []
    for status, job, result, cost in outcomes:
        if result is None or job is None:
            continue
        if status in _CALLED:
            costs.append(cost or 0.0)
        if status in _MADE:
            made.add(result)
        elif status == "reused" and job in results and results[job].status == "reused":
            reused[job] = result
    others = [job for job, result in reused.items() if result not in made]
    saved = round(fsum(results[job].saved for job in others), 6)
    return Metrics(made=len(made), reused=len(others), cost=round(fsum(costs), 6), saved=saved or None)
