"""Measures what a run takes for each job whose producer does nothing, every result durable."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from measuring import Task, arguments, measure, report, workplace
from peer_environments import programs

from renku_store import Job, JobContext, Produced, Runner, open_store, plan_movie, run_movie, set_inputs

QUESTION = "What does a run take for each job, where its producer does nothing?"
SIZES = {False: (1_000, 10_000), True: (50, 200)}
CONCURRENCY = 64
EXECUTED = "durable: each result is synced before anything rests on it, at most 256 in one commit"
AWAITS = 8
"""Turns of the event loop that a job takes at least: begun, decided on, claimed, in its slot, called, stored, told."""
BLUEPRINT = """
name: many
inputs: {numbers: {type: list, required: true}}
loops: {number: {over: numbers}}
producers:
  job:
    for: [number]
    run: bench/nothing@1
    inputs: {number: "numbers[number]"}
    outputs: {out: {mimeType: text/plain}}
"""
PEERS = {
    "doit": "durable at its end only: one commit of SQLite",
    "redun": "durable: several commits a job of SQLite",
    "dagster": "durable: several commits a job of SQLite",
}
JOBS_MAX = {"doit": 10_000, "redun": 200, "dagster": 100}
"""So many at once, and what that took times what is missing to all: some take minutes for more."""
FIRST_RUN = Path(__file__).with_name("first_run.py")


async def nothing(job: Job, _context: JobContext) -> Produced:
    """A short text that follows from the request."""
    return Produced({"out": str(job.inputs["number"])})


class Bench:
    """New movies and new files for every round."""

    def __init__(self, place: Path, peers: str | None) -> None:
        self._place = place
        self._pythons = {name: programs(Path(peers), name) / "python" for name in PEERS} if peers else {}

    def tasks(self, jobs: int) -> list[Task]:
        """The same jobs, as a plan that is executed, and from edit to published revision."""
        at_once = f"{jobs:,} jobs, {CONCURRENCY} at once"
        peers = dict(self._first_run(name, jobs) for name in self._pythons)
        return [
            Task(f"execute a plan, {at_once}", EXECUTED, self._executed(jobs), lambda _: idle_seconds(jobs)),
            Task(f"the same, over raw group commits, {at_once}", EXECUTED, self._executed(jobs), self._raw(jobs)),
            Task(f"plan, run, publish, {at_once}", EXECUTED, self._whole(jobs), lambda _: idle_seconds(jobs), peers),
        ]

    def _executed(self, jobs: int) -> Callable[[int], float]:
        def work(number: int) -> float:
            return asyncio.run(executed(self._new_folder(), jobs, number))

        return work

    def _whole(self, jobs: int) -> Callable[[int], float]:
        def work(number: int) -> float:
            return asyncio.run(published(self._new_folder(), jobs, number))

        return work

    def _raw(self, jobs: int) -> Callable[[int], float]:
        return lambda _: asyncio.run(raw(self._new_folder() / "log", jobs))

    def _first_run(self, name: str, jobs: int) -> tuple[str, Callable[[int], float]]:
        done = min(jobs, JOBS_MAX[name])
        less = "" if done == jobs else f"{done:,} jobs, times {jobs // done}; "
        told = f"{name} ({less}{PEERS[name]})"

        def work(_: int) -> float:
            command = [str(self._pythons[name]), str(FIRST_RUN), name, str(self._new_folder().resolve()), str(done)]
            ended = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, check=True)
            return float(ended.stdout.split()[-1]) * jobs / done

        return told, work

    def _new_folder(self) -> Path:
        folder = self._place / str(len(list(self._place.iterdir())))
        folder.mkdir()
        return folder


async def executed(root: Path, jobs: int, number: int) -> float:
    """Seconds from a plan to the last durable result: what the runner adds to its producers."""
    with open_store(root) as store, store.create_movie("many") as movie:
        set_inputs(movie, {"@blueprint": BLUEPRINT, "numbers": list(range(number, number + jobs))})
        plan = plan_movie(movie)
        loop = asyncio.get_running_loop()
        async with Runner(movie, concurrency=CONCURRENCY) as runner:
            started = loop.time()
            result = await runner.execute(plan, produce=nothing)
            seconds = loop.time() - started
        assert result.metrics.made == jobs
        return seconds


async def published(root: Path, jobs: int, number: int) -> float:
    """Seconds of the daily loop: planned, run, published."""
    with open_store(root) as store, store.create_movie("many") as movie:
        set_inputs(movie, {"@blueprint": BLUEPRINT, "numbers": list(range(number, number + jobs))})
        loop = asyncio.get_running_loop()
        started = loop.time()
        made = (await run_movie(movie, produce=nothing, concurrency=CONCURRENCY)).made
        assert made == jobs
        return loop.time() - started


def idle_seconds(jobs: int) -> float:
    """The limit: a task for each job that does nothing but wait its turns, as many at once."""

    async def all_of_them() -> float:
        slots = asyncio.Semaphore(CONCURRENCY)

        async def one() -> None:
            async with slots:
                for _ in range(AWAITS):
                    await asyncio.sleep(0)

        loop = asyncio.get_running_loop()
        started = loop.time()
        await asyncio.gather(*[one() for _ in range(jobs)])
        return loop.time() - started

    return asyncio.run(all_of_them())


async def raw(path: Path, jobs: int) -> float:
    """The limit with the disk: tasks that each wait until their line is synced, one sync for all who wait."""
    slots = asyncio.Semaphore(CONCURRENCY)
    loop = asyncio.get_running_loop()
    waiting: list[tuple[bytes, asyncio.Future[None]]] = []
    busy = False

    def sync(lines: bytes, descriptor: int) -> None:
        os.write(descriptor, lines)
        os.fdatasync(descriptor)

    async def drain(descriptor: int) -> None:
        nonlocal busy, waiting
        while waiting:
            group, waiting = waiting, []
            await asyncio.to_thread(sync, b"".join(line for line, _ in group), descriptor)
            for _, future in group:
                future.set_result(None)
        busy = False

    async def one(number: int, descriptor: int) -> None:
        nonlocal busy
        async with slots:
            future = loop.create_future()
            waiting.append((f"{number:064x} {number}\n".encode() * 4, future))
            if not busy:
                busy = True
                kept.add(asyncio.ensure_future(drain(descriptor)))
            await future

    kept: set[asyncio.Future[None]] = set()
    descriptor = os.open(path, os.O_CREAT | os.O_WRONLY | os.O_APPEND)
    try:
        started = loop.time()
        await asyncio.gather(*[one(number, descriptor) for number in range(jobs)])
        return loop.time() - started
    finally:
        os.close(descriptor)


def main() -> None:
    """Measure and report."""
    given = arguments(QUESTION)
    sizes = SIZES[given.quick]
    with workplace(given.directory) as place:
        bench = Bench(place, given.peers)
        tasks = [task for jobs in sizes for task in bench.tasks(jobs)]
        results = measure(tasks, given.rounds, given.peer_rounds)
    for found, jobs in zip(results, [jobs for jobs in sizes for _ in range(len(tasks) // len(sizes))], strict=True):
        over = found["ours"]["median"] - found["limit"]["median"]
        found["milliseconds a job over the limit"] = round(1000 * over / jobs, 4)
    report(QUESTION, {"jobs": list(sizes), "concurrency": CONCURRENCY}, results, given)
    if not given.json:
        for found in results:
            print(f"  {found['task']}: {found['milliseconds a job over the limit']} ms a job over the limit")


if __name__ == "__main__":
    main()
