"""Measures how near the time of a run comes to the least that its graph and its slots allow."""

from __future__ import annotations

import asyncio
import heapq
import json
import statistics
import sys
import time
from pathlib import Path
from random import Random

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from measuring import arguments, report, spread, workplace

from renku_store import Job, JobContext, Produced, open_store, run_movie, set_inputs

QUESTION = "How near does a run come to the shortest time that its graph and its slots allow?"
SIZES = {False: {"jobs": 60, "slots": 4, "scale": 0.5}, True: {"jobs": 16, "slots": 3, "scale": 0.05}}
UPSTREAM_MAX = 3


class World:
    """A random graph: job n reads from some jobs before it, and takes `seconds[n]`."""

    def __init__(self, number: int, jobs: int, scale: float) -> None:
        random = Random(number)
        self.seconds = [scale * random.lognormvariate(0.0, 0.8) for _ in range(jobs)]
        # A narrow window makes deep graphs, a wide one flat graphs.
        window = random.choice([4, 12, jobs])
        self.upstream = [
            sorted({random.randrange(max(0, job - window), job) for _ in range(random.randint(0, UPSTREAM_MAX))})
            if job
            else []
            for job in range(jobs)
        ]

    def blueprint(self) -> str:
        """The same for the store."""
        producers = {
            f"job{job}": {
                "run": f"bench/job{job}@1",
                "inputs": {"seed": "seed", **{f"from{other}": f"job{other}.out" for other in upstream}},
                "outputs": {"out": {"mimeType": "text/plain"}},
            }
            for job, upstream in enumerate(self.upstream)
        }
        return json.dumps({"name": "world", "inputs": {"seed": {"type": "integer"}}, "producers": producers})

    def bound(self, slots: int) -> float:
        """No schedule is shorter: the longest way through the graph, or all work evenly on the slots."""
        ends: list[float] = []
        for job, upstream in enumerate(self.upstream):
            ends.append(self.seconds[job] + max((ends[other] for other in upstream), default=0.0))
        return max(*ends, sum(self.seconds) / slots)

    def listed(self, slots: int) -> float:
        """Without any cost but the calls, the longest remaining way first: what our rule comes to by itself."""
        after: list[list[int]] = [[] for _ in self.seconds]
        waits = [len(upstream) for upstream in self.upstream]
        for job, upstream in enumerate(self.upstream):
            for other in upstream:
                after[other].append(job)
        left = list(self.seconds)
        for job in reversed(range(len(left))):
            left[job] += max((left[other] for other in after[job]), default=0.0)
        ready = [(-left[job], job) for job, count in enumerate(waits) if not count]
        heapq.heapify(ready)
        running: list[tuple[float, int]] = []
        now = 0.0
        while ready or running:
            while ready and len(running) < slots:
                _, job = heapq.heappop(ready)
                heapq.heappush(running, (now + self.seconds[job], job))
            now, ended = heapq.heappop(running)
            for job in after[ended]:
                waits[job] -= 1
                if not waits[job]:
                    heapq.heappush(ready, (-left[job], job))
        return now

    def in_layers(self, slots: int) -> float:
        """With a barrier after each layer, longest first within it: what many build tools do."""
        layers: list[int] = []
        for upstream in self.upstream:
            layers.append(1 + max((layers[other] for other in upstream), default=-1))
        total = 0.0
        for layer in range(max(layers) + 1):
            free = [0.0] * slots
            of_layer = [seconds for seconds, found in zip(self.seconds, layers, strict=True) if found == layer]
            for seconds in sorted(of_layer, reverse=True):
                heapq.heappush(free, heapq.heappop(free) + seconds)
            total += max(free)
        return total


def measured(root: Path, world: World, slots: int) -> float:
    """Seconds of a second run, whose calls take as long as those of the first."""

    async def produce(job: Job, _context: JobContext) -> Produced:
        await asyncio.sleep(world.seconds[int(job.producer.removeprefix("job"))])
        return Produced({"out": str(job.inputs["seed"])})

    with open_store(root) as store, store.create_movie("world") as movie:
        set_inputs(movie, {"@blueprint": world.blueprint(), "seed": 1})
        assert asyncio.run(run_movie(movie, produce=produce, concurrency=len(world.seconds))).status == "published"
        set_inputs(movie, {"seed": 2})
        started = time.perf_counter()
        assert asyncio.run(run_movie(movie, produce=produce, concurrency=slots)).made == len(world.seconds)
        return time.perf_counter() - started


def main() -> None:
    """Measure and report: one round is one graph."""
    given = arguments(QUESTION)
    sizes = SIZES[given.quick]
    slots = int(sizes["slots"])
    ours, listed, layers, bounds = [], [], [], []
    with workplace(given.directory) as place:
        for number in range(given.rounds):
            world = World(number, int(sizes["jobs"]), sizes["scale"])
            ours.append(measured(place / str(number), world, slots))
            listed.append(world.listed(slots))
            layers.append(world.in_layers(slots))
            bounds.append(world.bound(slots))
    figures = [
        figure("whole run, its start and publishing included", ours, bounds),
        figure("the longest remaining way first, at no cost (computed)", listed, bounds),
        figure("the same jobs with a barrier after each layer (computed)", layers, bounds),
    ]
    report(QUESTION, {**sizes}, figures, given)


def figure(task: str, seconds: list[float], bounds: list[float]) -> dict[str, object]:
    """The median of the ratios, each of a graph of its own."""
    ratios = [ours / bound for ours, bound in zip(seconds, bounds, strict=True)]
    return {
        "task": task,
        "durability": "durable: each result is synced",
        "ours": spread(seconds),
        "limit": spread(bounds),
        "ratio": round(statistics.median(ratios), 3),
        "ratios": [round(ratio, 3) for ratio in ratios],
    }


if __name__ == "__main__":
    main()
