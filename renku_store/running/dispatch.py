"""Which job goes next, and when a run is over: ready jobs by longest remaining path, no barrier between layers.

A run ends early in two ways. Halted, it cancels the calls that are under way. Closed, it begins nothing more, leaves
whatever only waits (for a slot, a limit, another run's claim, the next attempt), and stays for calls that are at work.
"""

from __future__ import annotations

import asyncio
import heapq
from collections.abc import Collection, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass

from renku_store import bounds
from renku_store.awaiting import Awaiting
from renku_store.calls import Produce
from renku_store.durations import expected_seconds
from renku_store.errors import StoreError
from renku_store.records._base import Json
from renku_store.records.run import JobResult, JobStatus
from renku_store.running.extending import Extending
from renku_store.running.handing_over import Follower, Handover
from renku_store.running.session import SUCCEEDED, RunSession

_AHEAD = 64
"""Jobs that may wait for a slot as tasks, beyond those that run: enough for any queue, little enough for memory."""

_WAITING_MAX = 256
"""Calls that wait for a limit, beyond those: others need not wait behind them, but each has copies of its inputs."""

_NEXT_SECONDS = 1e-9
"""What a place in the order of the graph counts beside the seconds of the remaining path."""


_COME_TO_NOTHING: Mapping[JobStatus, JobStatus] = {"failed": "upstream failed", "over budget": "over budget"}
"""How a job ends, and what becomes of those after it."""


@dataclass(frozen=True, slots=True)
class Ending:
    """What ends a run before its time: any of `halts` cancels its calls, `drain` lets them finish.

    Without `keep_going` the first job that fails drains the run.
    """

    halts: Sequence[asyncio.Event]
    drain: asyncio.Event
    keep_going: bool = True


class Dispatch:
    """The scheduling of one execution."""

    def __init__(self, session: RunSession, produce: Produce, limit: int, ending: Ending, extending: Extending) -> None:
        self._session = session
        self._produce = produce
        self._limit = limit
        self._window = limit + _AHEAD
        self._ending = ending
        self._extending = extending
        self._tasks: dict[asyncio.Task[JobResult], str] = {}
        self._ended: list[asyncio.Task[JobResult]] = []
        self._news = asyncio.Event()
        for job in [job for job, result in session.results.items() if result.status not in SUCCEEDED]:
            del session.results[job]
        self._arrange()
        self._halted = False
        self._drained = False
        self._closed = False
        self._due: list[str] = []
        session.activity.on_failure = self._note_failure
        session.handover = Handover(self._follower)

    @property
    def interrupted(self) -> bool:
        """Whether somebody ended the run before all was done that could be."""
        left = any(self._session.results[job].status == "cancelled" for job in self._waits)
        return left and (self._halted or self._drained)

    def close(self, why: str, *, ended: str | None = None) -> None:
        """Begin nothing more, and leave what only waits; calls at work go on to their ends, as `ended` has already."""
        if self._closed:
            return
        self._closed = True
        activity = self._session.activity
        activity.on_wait = self._leave
        for task, job in self._tasks.items():
            if not activity.works(job):
                task.cancel()
        calls: list[Json] = [job for job in activity.calls if job != ended]
        self._session.tell("run-stopping", status=why, data={"calls": calls})

    async def run(self) -> None:
        """Until every dirty job has a result, or the run is to end."""
        self._give_up_hopeless()
        self._session.activity.on_wait = self._note_wait
        signals = [asyncio.create_task(event.wait()) for event in (*self._ending.halts, self._ending.drain)]
        for signal in signals:
            signal.add_done_callback(self._wake)
        try:
            while self._tasks or self._extending.task or (self._may_begin and not self._closed):
                self._halted = any(event.is_set() for event in self._ending.halts)
                if self._halted:
                    break
                self._look_whether_to_close()
                pause = self._start()
                if self._tasks or self._extending.task:
                    await self._wait(pause)
                    self._collect()
                    if self._extending.ended():
                        self._arrange_again()
        finally:
            for signal in signals:
                signal.cancel()
            try:
                await self._cancel()
            finally:  # after the last call, which may leave its slot
                self._session.handover.close()
        for job in self._waits:
            if job not in self._session.results:
                self._session.finish(job, JobResult(status="cancelled"))

    async def _wait(self, pause: float | None) -> None:
        """Until a job or an expansion has ended, there is room for another job, the run is to end, or a pause is over.

        What there is to be told of is noted as it happens: a look at everything that goes on, at each end of a job,
        would take the longer the more goes on.
        """
        timer = None if pause is None else asyncio.get_running_loop().call_later(pause, self._news.set)
        try:
            await self._news.wait()
        finally:
            if timer is not None:
                timer.cancel()
        self._news.clear()

    def _wake(self, _: object) -> None:
        self._news.set()

    def _note_end(self, task: asyncio.Task[JobResult]) -> None:
        self._ended.append(task)
        self._news.set()

    @property
    def _may_begin(self) -> bool:
        return bool(self._ready) or self._extending.wanted

    @property
    def _waiting(self) -> int:
        return min(self._session.activity.idle, _WAITING_MAX)

    def _note_wait(self, job: str) -> None:
        del job
        self._news.set()

    def _note_failure(self, job: str) -> None:
        if not self._ending.keep_going:
            self.close("failed", ended=job)

    def _look_whether_to_close(self) -> None:
        if self._ending.drain.is_set() and not self._drained:
            self._drained = True
            self.close("interrupted")

    def _arrange(self, ended: Collection[str] = (), done: Collection[str] = ()) -> None:
        """Work out which jobs wait for how many others; `ended` are not begun, and nobody waits for those `done`."""
        index = self._session.index
        dirty = set(self._session.plan.dirty)
        self._order = {job: place for place, job in enumerate(index.order)}
        self._remaining = index.longest_path(expected_seconds(self._session.plan))
        self._awaiting = Awaiting(index, self._session.plan.edits)
        self._waits = {job: sum(up in dirty and up not in done for up in self._awaiting.makers(job)) for job in dirty}
        free = (job for job, count in self._waits.items() if not count and job not in ended)
        self._ready = [self._ranked(job) for job in free if index.node(job).awaits is None]
        heapq.heapify(self._ready)

    def _arrange_again(self) -> None:
        """Go on with more jobs; those that run go on, and what has failed has failed for the new ones, too."""
        results, running = self._session.results, set(self._tasks.values())
        done = {job for job, result in results.items() if result.status in SUCCEEDED} - running
        self._arrange(results.keys() | running, done)
        for job, result in list(results.items()):
            if job in self._session.index and result.status in _COME_TO_NOTHING:
                self._give_up_dependents(job, _COME_TO_NOTHING[result.status])
        self._give_up_hopeless()

    def _give_up_hopeless(self) -> None:
        for job, result in self._extending.hopeless().items():
            if job in self._waits and job not in self._session.results:
                self._session.finish(job, result)
                self._give_up_dependents(job, "upstream failed")
                if not self._ending.keep_going:
                    self.close("failed")

    def _ranked(self, job: str) -> tuple[float, int, str]:
        return (-self._remaining[job], self._order[job], job)

    def _start(self) -> float | None:
        """Begin what can begin; in how many seconds more could, though no job ends."""
        due, self._due = set(self._due), []
        while self._ready and not self._closed and len(self._tasks) < self._window + self._waiting:
            ranked = heapq.heappop(self._ready)
            job = ranked[2]
            task = asyncio.create_task(self._session.run_job(job, self._produce, priority=_priority(ranked)))
            task.add_done_callback(self._note_end)
            self._tasks[task] = job
            due.discard(job)
        for job in due:  # they are not begun yet
            self._session.handover.arrived(job)
        if self._closed:
            return None
        expanding = self._extending.task
        pause = self._extending.begin(rest=self._rest)
        if self._extending.task is not None and self._extending.task is not expanding:
            self._extending.task.add_done_callback(self._wake)
        return pause

    @property
    def _rest(self) -> float:
        """For how long to rest after an expansion, in its own length: not at all where nothing else is done."""
        at_work = len(self._tasks) - self._waiting
        if self._ready or at_work >= self._limit:
            return bounds.EXPANSION_REST_BUSY_FACTOR
        return bounds.EXPANSION_REST_FACTOR if at_work else 0.0

    def _collect(self) -> None:
        ended, self._ended = self._ended, []
        for task in ended:
            job = self._tasks.pop(task)
            if task.cancelled():  # it was left when the run was closed
                continue
            result = task.result()
            if result.status == "over budget":
                self._give_up_dependents(job, "over budget")
            elif result.status == "failed":
                self._give_up_dependents(job, "upstream failed")
                if not self._ending.keep_going:
                    self.close("failed")
            else:
                self._extending.note(job)
                self._release_dependents(job)

    def _release_dependents(self, job: str) -> None:
        for after in self._awaiting.waiting(job):
            if after in self._waits:
                self._waits[after] -= 1
                if not self._waits[after] and not self._is_held_back(after):
                    heapq.heappush(self._ready, self._ranked(after))
                    self._due.append(after)

    def _follower(self, job: str) -> Follower | None:
        """Of the jobs that wait for nothing but this one, whose result is stored, the first to go."""
        if self._closed:
            return None
        only = (after for after in self._awaiting.waiting(job) if self._waits.get(after) == 1)
        first = min((self._ranked(after) for after in only if not self._is_held_back(after)), default=None)
        return None if first is None else (first[2], _priority(first))

    def _is_held_back(self, job: str) -> bool:
        return job in self._session.results or self._session.index.node(job).awaits is not None

    def _give_up_dependents(self, job: str, status: JobStatus) -> None:
        for after in self._awaiting.all_waiting(job):
            if after in self._waits and after not in self._session.results:
                self._session.finish(after, JobResult(status=status))

    def _leave(self, job: str) -> None:
        for task, running in self._tasks.items():
            if running == job:
                task.cancel()

    async def _cancel(self) -> None:
        for task in self._tasks:
            task.cancel()
        if self._tasks:
            await asyncio.gather(*self._tasks, return_exceptions=True)
        self._tasks.clear()
        await self._extending.finish()
        with suppress(StoreError):  # what ends the run is told by what ended it
            if self._extending.ended():
                self._arrange_again()


def _priority(ranked: tuple[float, int, str]) -> float:
    """Of equals the first of the graph goes first, whichever of their look-ups was quicker."""
    rank, place, _ = ranked
    return -rank - place * _NEXT_SECONDS
