"""A run whose jobs become more: lists that it has made are expanded while other jobs go on.

What comes of a list is durable before any of its jobs begins: the plan is saved again, so that whoever takes the run
up, or works on it from another process, sees the same. A list that nobody can expand is the failure of what waits for
it. An expansion takes the longer the larger the graph is: while there is other work, lists that are made one after the
other are gathered, so that all expansions together take no more than a part of the run.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Collection
from functools import partial

from renku_store.clock import timestamp
from renku_store.errors import InvalidValueError
from renku_store.finishing import in_thread_to_the_end
from renku_store.growth import Finals, Growth
from renku_store.many import bytes_of_graph
from renku_store.movie import Movie
from renku_store.records._base import Json
from renku_store.records.events import JobFailure, RunEvent
from renku_store.records.manifest import ArtefactValue
from renku_store.records.plan import ExecutionPlan
from renku_store.records.run import JobResult
from renku_store.running.session import SUCCEEDED, RunSession


class Extending:
    """What one execution does about placeholders; for its dispatch, in the event loop's thread.

    `wanted`: a list has been made that is still to be expanded; `task` is the expansion that is under way. `seconds`
    tells the time.
    """

    def __init__(self, movie: Movie, session: RunSession, seconds: Callable[[], float] = time.monotonic) -> None:
        self._movie = movie
        self._session = session
        self._seconds = seconds
        self.task: asyncio.Task[bool] | None = None
        self.wanted = False
        self._began = self._ended = seconds()
        self._makers: set[str] = set()
        self._look()

    def note(self, job: str) -> None:
        """A job has succeeded: it may have made a list."""
        self.wanted = self.wanted or job in self._makers

    def begin(self, *, rest: float) -> float | None:
        """Begin to expand what there is, unless that is under way or `rest` times as long as the last time is not over.

        Says in how many seconds that will be so.
        """
        if not self.wanted or self.task is not None:
            return None
        now = self._seconds()
        left = (self._ended - self._began) * rest - (now - self._ended)
        if left > 0:
            return left
        self.wanted, self._began = False, now
        self.task = asyncio.create_task(_grow(self._movie, self._session, partial(_final, self._session)))
        return None

    def ended(self) -> bool:
        """Whether the plan is another one since the last time; raises what ends the whole run."""
        if self.task is None or not self.task.done():
            return False
        task, self.task = self.task, None
        task.result()
        self._ended = self._seconds()
        self._look()
        return True

    def hopeless(self) -> dict[str, JobResult]:
        """The placeholders that no list will replace in this run, and how that is told."""
        return {
            node.job_id: JobResult(status="failed", error=_failure(node.awaits.problem))
            for node in self._session.index.placeholders
            if node.awaits is not None and node.awaits.problem is not None
        }

    async def finish(self) -> None:
        """Wait for what is under way: what it writes must not come after the run has ended."""
        if self.task is not None:
            await asyncio.gather(self.task, return_exceptions=True)

    def _look(self) -> None:
        session = self._session
        artefacts = session.growth.awaited(session.plan)
        self._makers = {maker for artefact in artefacts if (maker := session.index.maker(artefact)) is not None}
        self.wanted = bool(_final(session, artefacts))


async def extend_as_seen(movie: Movie, session: RunSession) -> None:
    """Expand what has been made by now, in this process or in another one that works on the same run."""
    while await _grow(movie, session, partial(_made_anywhere, session)):
        pass


async def _grow(movie: Movie, session: RunSession, final: Finals) -> bool:
    """Whether there was something to expand: then it is durable, and part of the plan."""
    before = session.plan
    # To its end: what is durable is part of the plan, and what is known of its lists must be what the plan has.
    after, cancelled = await in_thread_to_the_end(partial(_extended, movie, session, final))
    if after is not before:
        _adopt(session, before, after)
    if cancelled:
        raise asyncio.CancelledError
    return after is not before


def _adopt(session: RunSession, before: ExecutionPlan, after: ExecutionPlan) -> None:
    session.adopt(after)
    more: dict[str, Json] = {job: after.jobs[job].layer for job in after.dirty if job not in before.jobs}
    gone: list[Json] = [job for job in before.dirty if job not in after.jobs]
    told: dict[str, Json] = {"jobs": more, "reasons": after.reasons_of(more), "instead": gone}
    if new := [warning for warning in after.warnings if warning not in before.warnings]:
        told["warnings"] = [*new]
    session.tell("run-extended", data=told)


def _final(session: RunSession, artefacts: Collection[str]) -> dict[str, ArtefactValue]:
    """The values of those artefacts that nothing in this run will change any more."""
    found = ((artefact, _value(session, artefact)) for artefact in artefacts)
    return {artefact: value for artefact, value in found if value is not None}


def _value(session: RunSession, artefact: str) -> ArtefactValue | None:
    job = session.index.maker(artefact)
    if job is None:
        return None
    if session.held.edited(artefact):
        return session.held.present(artefact)
    result, planned = session.results.get(job), session.plan.jobs[job]
    is_final = planned.state == "clean" or (result is not None and result.status in SUCCEEDED)
    return session.artefacts.get(artefact) if is_final else None


def _made_anywhere(session: RunSession, artefacts: Collection[str]) -> dict[str, ArtefactValue]:
    session.look_elsewhere(artefacts)
    makers = {artefact: session.index.maker(artefact) for artefact in artefacts}
    wanted = [artefact for artefact, job in makers.items() if job is not None and not session.plan.jobs[job].left_out]
    return {artefact: session.artefacts[artefact] for artefact in wanted if artefact in session.artefacts}


def _extended(movie: Movie, session: RunSession, final: Finals) -> ExecutionPlan:
    try:
        return _saved(movie, session, final)
    except BaseException:
        session.growth = Growth(movie, session.plan, session.base)  # it knows lists by now that the plan has not
        raise


def _saved(movie: Movie, session: RunSession, final: Finals) -> ExecutionPlan:
    plan = session.growth.extended(session.plan, final)
    if plan is session.plan:
        return plan
    movie.blobs.put(bytes_of_graph(plan.graph, recorded=True))
    movie.plans.save(plan, movie.leases.kept(session.token), graph=bytes_of_graph(plan.graph, recorded=False))
    told: dict[str, Json] = {"graph": plan.graph_hash, "jobs": len(plan.dirty)}
    now = timestamp(movie.clock.now())
    movie.events.append_many(
        [RunEvent(id=movie.events.new_id(), run=session.token.run, kind="extended", data=told, created_at=now)]
    )
    return plan


def _failure(problem: str) -> JobFailure:
    way_out = "Change what its producer is given, make it anew (`--regen`), or put a version of your own there."
    return JobFailure(kind=InvalidValueError.__name__, message=f"{problem} {way_out}")
