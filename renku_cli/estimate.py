"""How long the rest of a run will take, from how long its jobs took so far. Pure.

Jobs of one producer take about as long as each other, so each producer has a mean of its own; the rest of the work is
divided by how many jobs really went on at once.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable


def producer_of(job: str) -> str:
    """The producer in a job's id: `narration` of `narration[2]`."""
    return job.partition("[")[0]


class Estimate:
    """The seconds that are left of a run."""

    def __init__(self, jobs: Iterable[str]) -> None:
        self._left = Counter(producer_of(job) for job in jobs)
        self._seconds: dict[str, float] = {}
        self._done: Counter[str] = Counter()

    def finished(self, job: str, seconds: float, *, called: bool) -> None:
        """Count a finished job; only where its producer was `called` does its time say anything about others."""
        producer = producer_of(job)
        self._left[producer] = max(0, self._left[producer] - 1)
        if called:
            self._done[producer] += 1
            self._seconds[producer] = self._seconds.get(producer, 0.0) + seconds

    def seconds_left(self, elapsed: float) -> float | None:
        """Seconds until the end, given the seconds since the start; None while nothing is known."""
        busy = sum(self._seconds.values())
        calls = sum(self._done.values())
        if not calls or elapsed <= 0:
            return None
        work = sum(left * self._mean(producer, busy / calls) for producer, left in self._left.items())
        return work / max(1.0, busy / elapsed)

    def _mean(self, producer: str, otherwise: float) -> float:
        done = self._done[producer]
        return self._seconds[producer] / done if done else otherwise
