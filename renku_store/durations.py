"""How long jobs and whole runs are expected to take, from how long calls of the same producers took before. Pure."""

from __future__ import annotations

import heapq
from collections.abc import Collection, Mapping
from typing import TYPE_CHECKING

from renku_store.graph import GraphIndex
from renku_store.late import late_module
from renku_store.records.plan import ExecutionPlan
from renku_store.records.sheet import nodes_by_id

if TYPE_CHECKING:
    from renku_store import awaiting
else:  # who finds nothing to do expects nothing
    awaiting = late_module("renku_store.awaiting")

_UNKNOWN_SECONDS = 1.0
"""What a job weighs where nothing is known of any: then all weigh the same, and the longest chain goes first."""


def with_seconds(
    plan: ExecutionPlan, means: Mapping[str, float], among: Collection[str] | None = None
) -> ExecutionPlan:
    """The plan with the expected seconds of each job to be run (of those `among` some jobs).

    `means` are those of a call, by producer.
    """
    dirty = set(plan.dirty) if among is None else {job for job in plan.dirty if job in among}
    nodes = nodes_by_id(plan.graph)
    expected = {
        job: plan.jobs[job].replace(seconds=round(means[nodes[job].producer], 3))
        for job in dirty
        if nodes[job].producer in means
    }
    return plan.replace(jobs={**plan.jobs, **expected}) if expected else plan


def expected_seconds(plan: ExecutionPlan) -> dict[str, float]:
    """The seconds that each job to be run is expected to take; where nothing is known of a job, the mean of the others.

    What an earlier result answers takes none.
    """
    known = {job: seconds for job in plan.dirty if (seconds := plan.jobs[job].seconds) is not None}
    otherwise = sum(known.values()) / len(known) if known else _UNKNOWN_SECONDS
    return {job: 0.0 if plan.jobs[job].reuse else known.get(job, otherwise) for job in plan.dirty}


def seconds_by_producer(plan: ExecutionPlan) -> dict[str, float]:
    """The seconds that a call is expected to take, by producer, where that is known."""
    known = ((node.producer, plan.jobs[node.job_id].seconds) for node in plan.graph.nodes)
    return {producer: seconds for producer, seconds in known if seconds is not None}


def run_seconds(plan: ExecutionPlan, concurrency: int) -> float | None:
    """The seconds that a run of this plan is expected to take with so many calls at once; None where nothing is known.

    Found by going through the run as it would be dispatched: ready jobs by longest remaining path (list scheduling;
    Graham, 1969).
    """
    if not any(plan.jobs[job].seconds is not None for job in plan.dirty):
        return None
    index, seconds = GraphIndex(plan.graph), expected_seconds(plan)
    order = awaiting.Awaiting(index, plan.edits)
    remaining = index.longest_path(seconds)
    waits = {job: sum(before in seconds for before in order.makers(job)) for job in seconds}
    ready = [(-remaining[job], job) for job, count in waits.items() if not count]
    heapq.heapify(ready)
    running: list[tuple[float, str]] = []
    now = 0.0
    while ready or running:
        while ready and len(running) < concurrency:
            _, job = heapq.heappop(ready)
            heapq.heappush(running, (now + seconds[job], job))
        now, job = heapq.heappop(running)
        for after in order.waiting(job):
            if after in waits:
                waits[after] -= 1
                if not waits[after]:
                    heapq.heappush(ready, (-remaining[after], after))
    return now
