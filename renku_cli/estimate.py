"""How long the rest of a run will take, from how long its jobs took so far and calls of their producers before. Pure.

Jobs of one producer take about as long as each other, so each producer has a mean of its own; the rest of the work is
divided by how many jobs really went on at once.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping


def producer_of(job: str) -> str:
    """The producer in a job's id: `narration` of `narration[2]`."""
    return job.partition("[")[0]


class Estimate:
    """The seconds that are left of a run; `means` are the seconds of a call by producer as earlier runs know them."""

    def __init__(self, jobs: Iterable[str], means: Mapping[str, float] | None = None, concurrency: int = 0) -> None:
        self._left = Counter(producer_of(job) for job in jobs)
        self._means = dict(means or {})
        self._concurrency = concurrency
        self._seconds: dict[str, float] = {}
        self._done: Counter[str] = Counter()

    def extended(self, jobs: Iterable[str], *, instead: Iterable[str] = ()) -> None:
        """Count jobs that have come during the run, some of them instead of others."""
        self._left.update(producer_of(job) for job in jobs)
        self._left -= Counter(producer_of(job) for job in instead)

    def finished(self, job: str, seconds: float, *, called: bool) -> None:
        """Count a finished job; only where its producer was `called` does its time say anything about others."""
        producer = producer_of(job)
        self._left[producer] = max(0, self._left[producer] - 1)
        if called:
            self._done[producer] += 1
            self._seconds[producer] = self._seconds.get(producer, 0.0) + seconds

    def seconds_left(self, elapsed: float, going: Mapping[str, float] | None = None) -> float | None:
        """Seconds until the end, given the seconds since the start, and those for which each of some jobs is `going`.

        None while nothing is known, be it that all that is left takes longer than ever.
        """
        going = going or {}
        known = {producer: self._seconds[producer] / self._done[producer] for producer in self._done}
        known = {**self._means, **known}
        if not known or elapsed <= 0:
            return None
        busy, calls = sum(self._seconds.values()), sum(self._done.values())
        otherwise = busy / calls if calls else sum(known.values()) / len(known)
        work = sum(left * known.get(producer, otherwise) for producer, left in self._left.items())
        ahead = sum(min(seconds, known.get(producer_of(job), otherwise)) for job, seconds in going.items())
        if going and work <= ahead:
            return None
        busy += sum(going.values())
        at_once = busy / elapsed if calls else min(float(self._concurrency or 1), float(self._left.total()))
        return (work - ahead) / max(1.0, at_once)
