"""Runs a plan: its lease, its session, its dispatch, and what it came to. Failures are isolated to their dependents.

All errors are collected; a run ends when nothing more can be done, when it is drained, stopped or cancelled, or when
its lease is lost (invariant 10: then nothing of it may be published any more).
"""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass, field
from functools import partial
from math import fsum
from typing import Self

from renku_store import bounds
from renku_store.calls import Produce
from renku_store.clock import timestamp
from renku_store.durations import run_seconds, seconds_by_producer
from renku_store.errors import InvalidValueError, StalePlanError
from renku_store.finishing import in_thread_to_the_end
from renku_store.leases import Heartbeat
from renku_store.many import bytes_of_graph
from renku_store.movie import Movie
from renku_store.projection import next_manifest, stood_for
from renku_store.records._base import Json
from renku_store.records.manifest import Manifest, ManifestArtefact, Metrics
from renku_store.records.plan import ExecutionPlan
from renku_store.records.run import JobResult, LeaseToken, RunProgress
from renku_store.running.activity import Listener
from renku_store.running.at_work import PlanAtWork, PlansAtWork
from renku_store.running.budget import Budget, checked_limit
from renku_store.running.concurrency import ConcurrencyLimiter
from renku_store.running.dispatch import Dispatch, Ending
from renku_store.running.extending import Extending, extend_as_seen
from renku_store.running.session import SUCCEEDED, RunSession
from renku_store.running.shares import resolve_concurrency
from renku_store.running.totals import run_totals
from renku_store.versions import Held, marked


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
            cost=round(fsum(result.cost for result in results), 6),
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
        held = Held(self.base.artefacts if self.base else {}, self.plan.edits)
        dirty = set(self.plan.dirty)
        outputs = {output.id for node in self.plan.graph.nodes if node.job_id in dirty for output in node.produces}
        placeholders = [node for node in self.plan.graph.nodes if node.awaits is not None and node.job_id in dirty]
        outputs.update(stood_for(placeholders, self.base.artefacts if self.base else {}))
        whole = outputs.difference(*(job.damaged for job in self.plan.jobs.values()))
        found = ((key, held.present(key)) for key in sorted(whole))
        return {key: marked(present, outdated=True) for key, present in found if present is not None}


@dataclass(slots=True)
class _Begun:
    """What a runner keeps of a plan from its first job on: its session, and the lease if that is the runner's.

    And the plan itself, since one that names no run is known by being itself. `lock` is held, by threads, while it
    begins and while it is let go of; then it is `over`.
    """

    key: str
    plan: ExecutionPlan
    session: RunSession | None = None
    held: ExitStack = field(default_factory=ExitStack)
    beat: Heartbeat | None = None
    over: bool = False
    lock: threading.Lock = field(default_factory=threading.Lock)


class Runner:
    """Executes plans of one movie, each once at a time; in any event loop, also in those of several threads at once.

    `concurrency` is as in `resolve_concurrency`; `on_event` is called with `RunProgress` in the event loop's thread;
    what it raises is logged, and the run goes on.
    `max_cost`, in US dollars, is what each run may spend, earlier executions of it included: the first call that could
    bring it above that is not made, nor any other. A call of unknown cost counts as nothing.
    """

    def __init__(
        self,
        movie: Movie,
        *,
        concurrency: int | str = bounds.CONCURRENCY_DEFAULT,
        on_event: Callable[[RunProgress], None] | None = None,
        logger: logging.Logger | None = None,
        max_cost: float | None = None,
    ) -> None:
        self._movie = movie
        self._max_cost = checked_limit(max_cost)
        self._limiter = ConcurrencyLimiter(resolve_concurrency(concurrency))
        self._logger = logger or logging.getLogger("renku_store")
        self._on_event = on_event and Listener(on_event, self._logger)
        self._begun: dict[str, _Begun] = {}
        self._keys: dict[str, str] = {}
        self._at_work = PlansAtWork()

    async def execute(
        self,
        plan: ExecutionPlan,
        *,
        produce: Produce,
        token: LeaseToken | None = None,
        heartbeat: Heartbeat | None = None,
        stop: asyncio.Event | None = None,
        drain: asyncio.Event | None = None,
        keep_going: bool = True,
    ) -> RunResult:
        """Run every dirty job of a plan; the result says how each ended. Nothing is published.

        Without a `token` the run is begun and its lease held for the length of the call; with one, `heartbeat` is what
        the caller holds it by. When `drain` is set, nothing more is begun and running calls go on to their ends; when
        `stop` is set, or the run is cancelled from elsewhere, they are cancelled. Either way what has finished is kept,
        and the result says so. Without `keep_going` nothing more is begun once a job has failed.

        Raises `StalePlanError` if the plan's base is no longer the current revision, `LeaseLostError` if the run was
        taken over, `StoreUnavailableError` if nothing can be stored, `InvalidValueError` while this runner executes the
        plan, or a job of it, already, and for a token of another run.
        """
        key = self._key(plan)
        with self._at_work.on(key, executes=True) as at_work:
            try:
                session, ours = await self._open(key, plan, token, at_work)
                beat = heartbeat or ours or Heartbeat(session.token)
                halt = asyncio.Event()
                ending = Ending((halt, stop or asyncio.Event()), drain or asyncio.Event(), keep_going)
                dispatch = Dispatch(session, produce, self._limiter.limit, ending, Extending(self._movie, session))
                session.tell("run-started", data=await asyncio.to_thread(self._prospect, plan))
                try:
                    with beat.watched(partial(_set_from_thread, asyncio.get_running_loop(), halt)):
                        await dispatch.run()
                finally:
                    await session.flush()
                beat.check()
                return await asyncio.to_thread(self._result, session, interrupted=dispatch.interrupted)
            finally:
                if (begun := self._begun.get(key)) is not None:
                    _, cancelled = await in_thread_to_the_end(partial(self._forget, begun))
                    if cancelled:
                        raise asyncio.CancelledError

    async def execute_job(
        self, job: str, *, plan: ExecutionPlan, produce: Produce, token: LeaseToken | None = None
    ) -> JobResult:
        """Run one job of a plan, for callers with a scheduler of their own; its upstream jobs must have run.

        Safe to call from many tasks of one event loop at once, and from many processes that share the `token` of the
        run. `result` then says what it all came to; leave the runner's context, or `close` it, to let go of the run.
        Raises what `execute` does, and `InvalidValueError` while that is at the plan.
        """
        key = self._key(plan)
        with self._at_work.on(key) as at_work:
            session, beat = await self._open(key, plan, token, at_work)
            if beat:
                beat.check()
            return await session.run_job(job, produce)

    async def expand(self, plan: ExecutionPlan, *, token: LeaseToken | None = None) -> ExecutionPlan:
        """The plan with the jobs of every list that has been made by now, for callers with a scheduler of their own.

        Its placeholders (`state` "deferred", nodes with `awaits`) are those whose lists are still to be made; one with
        a `problem` is left for good. Execute the jobs of the plan that is returned, which is of the same run.
        """
        key = self._key(plan)
        with self._at_work.on(key) as at_work:
            session, _ = await self._open(key, plan, token, at_work)
            async with at_work.expanding:
                await extend_as_seen(self._movie, session)
            return session.plan

    def result(self, plan: ExecutionPlan) -> RunResult:
        """What the jobs that were executed one by one have come to."""
        begun = self._begun.get(self._key(plan))
        if begun is None or begun.session is None:
            raise StalePlanError("No job of this plan was executed by this runner.", hint="Call `execute_job` first.")
        return self._result(begun.session, interrupted=False)

    def close(self) -> None:
        """Let go of every run that was begun here: calls that go on meanwhile lose theirs."""
        with ExitStack() as each:
            for begun in list(self._begun.values()):
                each.callback(self._forget, begun)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        closed = await in_thread_to_the_end(self.close)
        if closed[1]:
            raise asyncio.CancelledError

    def _prospect(self, plan: ExecutionPlan) -> dict[str, Json]:
        """What a run tells at its beginning: which jobs, how many at once, and how long that is expected to take."""
        told: dict[str, Json] = {
            "jobs": {job: plan.jobs[job].layer for job in plan.dirty},
            "reasons": plan.reasons_of(plan.dirty),
            "concurrency": self._limiter.limit,
        }
        if (expected := run_seconds(plan, self._limiter.limit)) is not None:
            known: dict[str, Json] = {**seconds_by_producer(plan)}
            told |= {"seconds": known, "expected": round(expected, 3)}
        return told

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

    async def _open(
        self, key: str, plan: ExecutionPlan, token: LeaseToken | None, at_work: PlanAtWork
    ) -> tuple[RunSession, Heartbeat | None]:
        """The session of a plan, and the heartbeat if its lease is ours; begun by the first of its tasks.

        The others wait, and none of them in a thread. If it cannot begin nothing is kept, and it can be tried again.
        """
        async with at_work.opening:
            begun = self._begun.setdefault(key, _Begun(key, plan))
            if begun.session is not None:
                return begun.session, begun.beat
            try:
                # To its end: what it has begun is known, and can be let go of.
                session, cancelled = await in_thread_to_the_end(partial(self._opened, begun, token))
            except BaseException:
                self._begun.pop(key, None)
                raise
            if cancelled:
                raise asyncio.CancelledError
            return session, begun.beat

    def _opened(self, begun: _Begun, token: LeaseToken | None) -> RunSession:
        with begun.lock:
            if begun.over:
                raise InvalidValueError("This runner was closed meanwhile.", hint="Plan again.")
            with ExitStack() as held:
                session, begun.beat = self._begin(begun, token, held)
                begun.session, begun.held = session, held.pop_all()
            return session

    def _begin(self, begun: _Begun, token: LeaseToken | None, held: ExitStack) -> tuple[RunSession, Heartbeat | None]:
        plan = begun.plan
        base, base_hash = self._base(plan)
        self._check_kept(plan, base)
        if token is not None and plan.run not in (None, token.run):
            raise InvalidValueError(
                f"The plan is of {plan.run}, the token of {token.run}.", hint="Give the token of the plan's run."
            )
        run = token.run if token else plan.run or self._movie.events.new_id()
        if self._keys.setdefault(run, begun.key) != begun.key:
            raise InvalidValueError(
                f"This runner works on {run} already, by a plan that names it.", hint="Go on with that plan."
            )
        held.callback(self._keys.pop, run, None)
        self._movie.blobs.put(bytes_of_graph(plan.graph, recorded=True))
        named = plan.replace(run=run, movie=self._movie.id, manifest_base_hash=base_hash)
        beat = None
        if token is None:
            token = self._movie.leases.start(run, base_revision=plan.base_revision, edits_through=plan.edits_through)
            beat = held.enter_context(self._movie.leases.held(token))
            written = bytes_of_graph(plan.graph, recorded=False)
            self._movie.plans.save(named, self._movie.leases.kept(token), graph=written)
        session = RunSession(
            self._movie,
            named,
            base,
            token,
            limiter=self._limiter,
            logger=self._logger,
            on_event=self._on_event,
            budget=self._budget(token.run),
        )
        return session, beat

    def _check_kept(self, plan: ExecutionPlan, base: Manifest | None) -> None:
        """Refuse a plan whose jobs would find a long value of an input nowhere: planning keeps nothing."""
        before = base.inputs if base else {}
        for key, entry in plan.inputs.items():
            if entry.blob is not None and before.get(key) != entry and not self._movie.blobs.has(entry.blob):
                raise InvalidValueError(
                    f"The value of the input {key} is kept nowhere: it was given to the plan alone.",
                    hint="Set it (`set_inputs`) and plan again, or let `run_movie` take it.",
                )

    def _budget(self, run: str) -> Budget:
        if self._max_cost is None:
            return Budget()
        return Budget(self._max_cost, run_totals(self._movie.events.spent(run), {}).cost)

    def _forget(self, begun: _Begun) -> None:
        """Let go of a plan, once it has begun if it is about to, so that nothing of it is held for nobody."""
        with begun.lock:
            if begun.over:
                return
            begun.over = True
            try:
                with begun.held:
                    if begun.session is not None:
                        begun.session.close()
            finally:
                if self._begun.get(begun.key) is begun:
                    del self._begun[begun.key]

    def _key(self, plan: ExecutionPlan) -> str:
        """What this runner knows a plan by; one that names no run by being itself, for which it keeps hold of it."""
        return f"plan at {id(plan)}" if plan.run is None else self._keys.get(plan.run, plan.run)

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
