"""A run whose jobs become more: lists that it has made are expanded at once, while other jobs go on.

What comes of a list is durable before any of its jobs begins: the plan is saved again, so that whoever takes the run
up, or works on it from another process, sees the same. A list that nobody can expand is the failure of what waits for
it.
"""

from __future__ import annotations

import asyncio
from functools import partial

from renku_store.clock import timestamp
from renku_store.errors import InvalidValueError
from renku_store.expansion import awaited, extended
from renku_store.hashing import graph_bytes
from renku_store.movie import Movie
from renku_store.records._base import Json
from renku_store.records.events import JobFailure, RunEvent
from renku_store.records.manifest import ArtefactValue
from renku_store.records.plan import ExecutionPlan
from renku_store.records.run import JobResult
from renku_store.running.session import SUCCEEDED, RunSession


class Extending:
    """What one execution does about placeholders; for its dispatch, in the event loop's thread.

    `wanted`: a list has been made that is still to be expanded; `task` is the expansion that is under way.
    """

    def __init__(self, movie: Movie, session: RunSession) -> None:
        self._movie = movie
        self._session = session
        self.task: asyncio.Task[None] | None = None
        self.wanted = False
        self._makers: set[str] = set()
        self._look()

    def note(self, job: str) -> None:
        """A job has succeeded: it may have made a list."""
        self.wanted = self.wanted or job in self._makers

    def begin(self) -> None:
        """Begin to expand, if there is anything to be expanded and that is not under way."""
        if self.wanted and self.task is None:
            self.wanted = False
            self.task = asyncio.create_task(extend(self._movie, self._session))

    def ended(self) -> bool:
        """Whether the plan is another one since the last time; raises what ends the whole run."""
        if self.task is None or not self.task.done():
            return False
        task, self.task = self.task, None
        task.result()
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
        index = self._session.index
        artefacts = awaited(index.graph)
        self._makers = {maker for artefact in artefacts if (maker := index.maker(artefact)) is not None}
        self.wanted = any(made(self._session, artefact) is not None for artefact in artefacts)


async def extend(movie: Movie, session: RunSession, *, elsewhere: bool = False) -> None:
    """Expand what has been made by now, durably, and go on with that plan.

    With `elsewhere` what other processes have made that work on the same run counts, too.
    """
    before = session.plan
    after = await asyncio.to_thread(_extended, movie, session, elsewhere=elsewhere)
    if after.graph_hash == before.graph_hash:
        return
    session.adopt(after)
    more: dict[str, Json] = {job: after.jobs[job].layer for job in after.dirty if job not in before.jobs}
    gone: list[Json] = [job for job in before.dirty if job not in after.jobs]
    told: dict[str, Json] = {"jobs": more, "reasons": after.reasons_of(more), "instead": gone}
    if new := [warning for warning in after.warnings if warning not in before.warnings]:
        told["warnings"] = [*new]
    session.tell("run-extended", data=told)


def made(session: RunSession, artefact: str) -> ArtefactValue | None:
    """The value of an artefact that nothing in this run will change any more; None where that is not so yet."""
    job = session.index.maker(artefact)
    if job is None:
        return None
    result, planned = session.results.get(job), session.plan.jobs[job]
    is_final = planned.state == "clean" or (result is not None and result.status in SUCCEEDED)
    return session.artefacts.get(artefact) if is_final or session.held.edited(artefact) else None


def _made_anywhere(session: RunSession, artefact: str) -> ArtefactValue | None:
    job = session.index.maker(artefact)
    return None if job is None or session.plan.jobs[job].left_out else session.artefacts.get(artefact)


def _extended(movie: Movie, session: RunSession, *, elsewhere: bool) -> ExecutionPlan:
    known = made
    if elsewhere:
        session.look_elsewhere(awaited(session.index.graph))
        known = _made_anywhere
    plan = extended(movie, session.plan, session.base, session.lists, partial(known, session))
    if plan.graph_hash == session.plan.graph_hash:
        return plan
    movie.leases.check(session.token)
    movie.blobs.put(graph_bytes(plan.graph))
    movie.plans.save(plan)
    told: dict[str, Json] = {"graph": plan.graph_hash, "jobs": len(plan.dirty)}
    now = timestamp(movie.clock.now())
    movie.events.append_many(
        [RunEvent(id=movie.events.new_id(), run=session.token.run, kind="extended", data=told, created_at=now)]
    )
    return plan


def _failure(problem: str) -> JobFailure:
    way_out = "Change what its producer is given, make it anew (`--regen`), or put a version of your own there."
    return JobFailure(kind=InvalidValueError.__name__, message=f"{problem} {way_out}")
