"""Runs a plan: dispatch when ready, longest remaining path first, failures isolated to their dependents.

There is no barrier between layers. All errors are collected; a run ends when nothing more can be done, when it is
stopped or cancelled, or when its lease is lost (invariant 10: then nothing of it may be published any more).
"""

from __future__ import annotations

import asyncio
import heapq
import logging
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from typing import Self

from renku_store import bounds
from renku_store.calls import Produce
from renku_store.clock import timestamp
from renku_store.errors import StalePlanError
from renku_store.hashing import graph_bytes
from renku_store.leases import Heartbeat
from renku_store.movie import Movie
from renku_store.projection import next_manifest
from renku_store.records.manifest import Manifest, ManifestArtefact, Metrics
from renku_store.records.plan import ExecutionPlan
from renku_store.records.run import JobResult, LeaseToken, RunProgress
from renku_store.running.concurrency import ConcurrencyLimiter, resolve_concurrency
from renku_store.running.session import SUCCEEDED, RunSession

_AHEAD = 64
"""Jobs that may wait for a slot as tasks, beyond those that run: enough for any queue, little enough for memory."""


@dataclass(frozen=True, slots=True)
class RunResult:
    """What a run came to: how each dirty job ended, and every artefact of the graph that there is now.

    `totals` counts what the whole run took, earlier executions of it included; `metrics` this execution alone.
    """

    run: str
    plan: ExecutionPlan
    base: Manifest | None
    jobs: dict[str, JobResult]
    artefacts: dict[str, ManifestArtefact]
    totals: Metrics
    interrupted: bool
    created_at: str

    @property
    def succeeded(self) -> bool:
        """Whether every job of the graph has its result."""
        return all(self.jobs[job].status in SUCCEEDED if job in self.jobs else False for job in self.plan.dirty)

    @property
    def metrics(self) -> Metrics:
        """Calls that succeeded, jobs answered by an earlier result, and what the calls cost in US dollars."""
        results = self.jobs.values()
        return Metrics(
            made=sum(result.status == "made" for result in results),
            reused=sum(result.status == "reused" for result in results),
            cost=round(sum(result.cost for result in results), 6),
        )

    def build_manifest(self) -> Manifest:
        """The manifest of the revision that this run leads to; `ManifestService.save_manifest` publishes it.

        Of jobs that did not succeed it holds what the base does, marked as outdated.
        """
        plan = self.plan
        return next_manifest(
            self.base,
            plan.manifest_base_hash,
            movie=plan.movie or "",
            revision=plan.revision,
            run=self.run,
            created_at=self.created_at,
            graph=plan.graph_hash,
            timeline=plan.graph.timeline,
            inputs={key: value for key, value in plan.inputs.items() if key not in plan.defaults},
            artefacts={**self._older(), **self.artefacts},
            metrics=self.totals,
        )

    def _older(self) -> dict[str, ManifestArtefact]:
        """The base's artefacts of jobs that are still in the graph, and that this run was to make."""
        held = self.base.artefacts if self.base else {}
        dirty = set(self.plan.dirty)
        outputs = [output.id for node in self.plan.graph.nodes if node.job_id in dirty for output in node.produces]
        return {key: held[key].model_copy(update={"outdated": True}) for key in outputs if key in held}


class Runner:
    """Executes plans of one movie.

    `concurrency` is as in `resolve_concurrency`; `on_event` is called with `RunProgress` in the event loop's thread.
    """

    def __init__(
        self,
        movie: Movie,
        *,
        concurrency: int | str = bounds.CONCURRENCY_DEFAULT,
        on_event: Callable[[RunProgress], None] | None = None,
        logger: logging.Logger | None = None,
    ) -> None:
        self._movie = movie
        self._limiter = ConcurrencyLimiter(resolve_concurrency(concurrency))
        self._on_event = on_event
        self._logger = logger or logging.getLogger("renku_store")
        self._sessions: dict[str, RunSession] = {}
        self._opening = asyncio.Lock()
        self._leases = ExitStack()
        self._held: dict[str, ExitStack] = {}
        self._beats: dict[str, Heartbeat] = {}

    async def execute(
        self,
        plan: ExecutionPlan,
        *,
        produce: Produce,
        token: LeaseToken | None = None,
        heartbeat: Heartbeat | None = None,
        stop: asyncio.Event | None = None,
    ) -> RunResult:
        """Run every dirty job of a plan; the result says how each ended. Nothing is published.

        Without a `token` the run is begun and its lease held for the length of the call; with one, `heartbeat` is what
        the caller holds it by. When `stop` is set, or the run is cancelled from elsewhere, running calls are cancelled,
        what has finished is kept, and the result says so. Raises `StalePlanError` if the plan's
        base is no longer the current revision, `LeaseLostError` if the run was taken over, `StoreUnavailableError` if
        nothing can be stored.
        """
        session = await self._open(plan, token)
        beat = heartbeat or self._beats.get(_key(plan)) or Heartbeat(session.token)
        halt = asyncio.Event()
        dispatch = _Dispatch(session, produce, self._limiter.limit, (halt, stop or asyncio.Event()))
        session.tell("run-started", data={"jobs": {job: plan.jobs[job].layer for job in plan.dirty}})
        try:
            try:
                with beat.watched(partial(_set_from_thread, asyncio.get_running_loop(), halt)):
                    await dispatch.run()
            finally:
                await session.flush()
            beat.check()
            return await asyncio.to_thread(self._result, session, interrupted=dispatch.stopped)
        finally:
            await asyncio.to_thread(self._forget, plan)

    async def execute_job(
        self, job: str, *, plan: ExecutionPlan, produce: Produce, token: LeaseToken | None = None
    ) -> JobResult:
        """Run one job of a plan, for callers with a scheduler of their own; its upstream jobs must have run.

        Safe to call from many tasks at once, and from many processes that share the `token` of the run. `result` then
        says what it all came to; leave the runner's context, or `close` it, to let go of the run.
        """
        session = await self._open(plan, token)
        if _key(plan) in self._beats:
            self._beats[_key(plan)].check()
        return await session.run_job(job, produce)

    def result(self, plan: ExecutionPlan) -> RunResult:
        """What the jobs that were executed one by one have come to."""
        session = self._sessions.get(_key(plan))
        if session is None:
            raise StalePlanError("No job of this plan was executed by this runner.", hint="Call `execute_job` first.")
        return self._result(session, interrupted=False)

    def close(self) -> None:
        """Let go of every run that `execute_job` has begun."""
        self._leases.close()
        self._sessions.clear()
        self._beats.clear()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await asyncio.to_thread(self.close)

    def _result(self, session: RunSession, *, interrupted: bool) -> RunResult:
        now = timestamp(self._movie.clock.now())
        return RunResult(
            run=session.token.run,
            plan=session.plan,
            base=session.base,
            jobs=dict(session.results),
            artefacts=dict(session.artefacts),
            totals=session.totals(),
            interrupted=interrupted,
            created_at=now,
        )

    async def _open(self, plan: ExecutionPlan, token: LeaseToken | None) -> RunSession:
        async with self._opening:
            key = _key(plan)
            if key not in self._sessions:
                self._sessions[key] = await asyncio.to_thread(self._begin, plan, token)
            return self._sessions[key]

    def _begin(self, plan: ExecutionPlan, token: LeaseToken | None) -> RunSession:
        base, base_hash = self._base(plan)
        run = plan.run or self._movie.events.new_id()
        self._movie.blobs.put(graph_bytes(plan.graph))
        begun = plan.model_copy(update={"run": run, "movie": self._movie.id, "manifest_base_hash": base_hash})
        if token is None:
            token = self._movie.leases.start(run, base_revision=plan.base_revision, edits_through=plan.edits_through)
            self._held[_key(plan)] = self._leases.enter_context(ExitStack())
            self._beats[_key(plan)] = self._held[_key(plan)].enter_context(self._movie.leases.held(token))
            self._movie.plans.save(begun)
        return RunSession(
            self._movie, begun, base, token, limiter=self._limiter, logger=self._logger, on_event=self._on_event
        )

    def _forget(self, plan: ExecutionPlan) -> None:
        self._sessions.pop(_key(plan), None)
        self._beats.pop(_key(plan), None)
        held = self._held.pop(_key(plan), None)
        if held is not None:
            held.close()

    def _base(self, plan: ExecutionPlan) -> tuple[Manifest | None, str | None]:
        """The current revision, which the plan must stand on: by its hash or, where the plan has none, by its name."""
        current, digest = self._movie.manifests.current() or (None, None)
        named = current.revision if current else None
        if plan.base_revision != named or (plan.manifest_base_hash or digest) != digest:
            raise StalePlanError(
                f"The plan stands on {plan.base_revision or 'an empty movie'}, not on the current revision.",
                hint="Plan again.",
            )
        return current, digest


def _set_from_thread(loop: asyncio.AbstractEventLoop, event: asyncio.Event) -> None:
    loop.call_soon_threadsafe(event.set)


def _key(plan: ExecutionPlan) -> str:
    """What a runner knows a plan by; one that names no run is known by being itself."""
    return plan.run or f"plan at {id(plan)}"


class _Dispatch:
    """The scheduling of one execution: which job is ready, which goes next, when it is over."""

    def __init__(self, session: RunSession, produce: Produce, limit: int, stops: Sequence[asyncio.Event]) -> None:
        self._session = session
        self._produce = produce
        self._window = limit + _AHEAD
        self._stops = stops
        self._order = {job: place for place, job in enumerate(session.index.order)}
        self._remaining = session.index.longest_path(dict.fromkeys(session.plan.dirty, 1.0))
        self._waits = self._count_waits()
        self._ready = [self._ranked(job) for job, count in self._waits.items() if not count]
        self._tasks: dict[asyncio.Task[JobResult], str] = {}
        self.stopped = False

    def _count_waits(self) -> dict[str, int]:
        dirty = set(self._session.plan.dirty)
        return {job: sum(up in dirty for up in self._session.index.dependencies(job)) for job in dirty}

    def _ranked(self, job: str) -> tuple[float, int, str]:
        return (-self._remaining[job], self._order[job], job)

    async def run(self) -> None:
        """Until every dirty job has a result, or one of the stops is asked for."""
        heapq.heapify(self._ready)
        stopping = [asyncio.create_task(stop.wait()) for stop in self._stops]
        try:
            while self._ready or self._tasks:
                if any(stop.is_set() for stop in self._stops):
                    self.stopped = True
                    break
                self._start()
                await asyncio.wait({*stopping, *self._tasks}, return_when=asyncio.FIRST_COMPLETED)
                self._collect()
        finally:
            for task in stopping:
                task.cancel()
            await self._cancel()
        for job in self._waits:
            if self.stopped and job not in self._session.results:
                self._session.finish(job, JobResult(status="cancelled"))

    def _start(self) -> None:
        while self._ready and len(self._tasks) < self._window:
            rank, _, job = heapq.heappop(self._ready)
            task = asyncio.create_task(self._session.run_job(job, self._produce, priority=-rank))
            self._tasks[task] = job

    def _collect(self) -> None:
        for task in [task for task in self._tasks if task.done()]:
            job = self._tasks.pop(task)
            result = task.result()
            if result.status == "failed":
                self._fail_dependents(job)
            else:
                self._release_dependents(job)

    def _release_dependents(self, job: str) -> None:
        for after in self._session.index.dependents(job):
            if after in self._waits:
                self._waits[after] -= 1
                if not self._waits[after] and after not in self._session.results:
                    heapq.heappush(self._ready, self._ranked(after))

    def _fail_dependents(self, job: str) -> None:
        for after in self._session.index.descendants([job]):
            if after in self._waits and after not in self._session.results:
                self._session.finish(after, JobResult(status="upstream failed"))

    async def _cancel(self) -> None:
        for task in self._tasks:
            task.cancel()
        if self._tasks:
            await asyncio.gather(*self._tasks, return_exceptions=True)
        self._tasks.clear()
