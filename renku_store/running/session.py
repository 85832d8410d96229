"""One run while it goes: what is known by now, and the way of one job.

    signature, clean?, earlier result?, claim, slot, call, store

A job that is known never waits for a slot. Keeps invariant 10: a new call starts only under a claim, and a result that
came after its claim was lost is not taken by itself: the job goes back to where it looks for an earlier one.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Callable, Collection, Mapping, Sequence
from contextlib import asynccontextmanager
from functools import partial
from typing import cast

import orjson

from renku_store.calls import Produce
from renku_store.clock import timestamp
from renku_store.costs import price
from renku_store.errors import (
    BudgetExceededError,
    DamageError,
    NotFoundError,
    StoreError,
)
from renku_store.finishing import settle
from renku_store.graph import GraphIndex
from renku_store.growth import Growth
from renku_store.hashing import parse_json
from renku_store.leases import AlreadyMade, ClaimAnswer, Claimed
from renku_store.media_types import is_json
from renku_store.movie import Movie
from renku_store.projection import fold_artefacts, stood_for
from renku_store.records._base import Json
from renku_store.records.events import JobFailure, Trace
from renku_store.records.graph import GraphNode
from renku_store.records.manifest import ArtefactValue, Manifest, ManifestArtefact, Metrics
from renku_store.records.plan import ExecutionPlan
from renku_store.records.run import JobResult, JobStatus, LeaseToken, ProgressKind, RunProgress
from renku_store.running.activity import Activity, told_if_long
from renku_store.running.budget import UNLIMITED, Budget, Charge
from renku_store.running.calling import FATAL, CallEnd, Caller
from renku_store.running.claiming import ClaimLost, Claims, ClaimUnseen, HeldClaim
from renku_store.running.concurrency import ConcurrencyLimiter, HeldSlot
from renku_store.running.deciding import Decider, Decision
from renku_store.running.earlier import EarlierResults
from renku_store.running.handing_over import Handover
from renku_store.running.results import Outcome, ResultWriter, Stored
from renku_store.running.totals import run_totals
from renku_store.selection import MISSING, Missing, Selection, artefacts_awaited, references
from renku_store.versions import Held, marked

SUCCEEDED = frozenset({"clean", "made", "reused"})


_NO_CALL = CallEnd(JobResult(status="reused"), Stored("", {}))


class RunSession:
    """The state of one run. Its methods are safe to call from many tasks of one event loop."""

    def __init__(
        self,
        movie: Movie,
        plan: ExecutionPlan,
        base: Manifest | None,
        token: LeaseToken,
        *,
        limiter: ConcurrencyLimiter,
        logger: logging.Logger,
        on_event: Callable[[RunProgress], None] | None,
        budget: Budget | None = None,
    ) -> None:
        self.plan = plan
        self.base = base
        self.token = token
        self.index = GraphIndex(plan.graph)
        self.activity = Activity()
        self.handover = Handover()
        self.results: dict[str, JobResult] = {}
        self.held = Held(base.artefacts if base else {}, plan.edits)
        self.growth = Growth(movie, plan, base)
        self.artefacts: dict[str, ManifestArtefact] = self._kept_artefacts()
        self._movie = movie
        self._limiter = limiter
        self._budget = budget or Budget()
        self._earlier = EarlierResults(movie, token)
        self._on_event = on_event
        self._documents: dict[str, Json | Missing] = {}
        self._selection: Selection | None = None
        self._under_way: dict[str, asyncio.Future[JobResult] | None] = {}
        self._decider = Decider(self, self._earlier, lambda wanted: movie.leases.claim_many(wanted, token))
        self._claims = Claims(movie.leases, token, self.tell)
        self._writer = ResultWriter(
            movie.metadata, movie.blobs, movie.events.new_ids, movie.events.clock, token, movie.archiver.keep_late
        )
        self._caller = Caller(
            movie, token, self._writer, self.activity, selection=self.selection, logger=logger, tell=self.tell
        )

    def _kept_artefacts(self) -> dict[str, ManifestArtefact]:
        """What is held of clean jobs, and, marked as outdated, of those that this run leaves out."""
        kept: dict[str, ManifestArtefact] = {}
        for node in self.plan.graph.nodes:
            planned = self.plan.jobs[node.job_id]
            if planned.state != "clean" and not planned.left_out:
                continue
            for output in node.produces:
                present = self.held.present(output.id, planned.signature)
                if present is not None and output.id not in planned.damaged:
                    kept[output.id] = marked(present, outdated=planned.pinned or planned.left_out)
        left_out = [node for node in self.index.placeholders if self.plan.jobs[node.job_id].left_out]
        for key in stood_for(left_out, self.base.artefacts if self.base else {}):
            present = self.held.present(key)
            if present is not None:
                kept[key] = marked(present, outdated=True)
        return kept

    def adopt(self, plan: ExecutionPlan) -> None:
        """Go on with the same plan after more of its jobs have become known."""
        self.plan = plan
        self.index = GraphIndex(plan.graph)
        self.held = Held(self.base.artefacts if self.base else {}, plan.edits)
        for key in [key for key in self.artefacts if key not in self.index.outputs]:
            del self.artefacts[key]
        for key, kept in self._kept_artefacts().items():
            self.artefacts.setdefault(key, kept)

    async def run_job(self, job_id: str, produce: Produce, *, priority: float = 0.0) -> JobResult:
        """Bring one job to its result: keep it, reuse an earlier one, or call `produce`. Failures are results, too.

        Who asks for a job that is under way or done gets its result; one that failed or was cancelled is tried again.
        Raises only what ends the whole run: a store that cannot be used, or a lease that is lost.
        """
        done = self.results.get(job_id)
        if done is not None and done.status in SUCCEEDED:
            return done
        while job_id in self._under_way:
            under_way = self._under_way[job_id] or asyncio.get_running_loop().create_future()
            self._under_way[job_id] = under_way
            await asyncio.wait([under_way])
            if not under_way.cancelled():
                return under_way.result()
        self._under_way[job_id] = None  # until somebody else asks for it
        outcome: JobResult | StoreError | None = None
        try:
            result = outcome = await self._run(job_id, produce, priority)
        except StoreError as error:
            outcome = error
            raise
        finally:
            self.handover.arrived(job_id)
            settle(self._under_way.pop(job_id), outcome)
        return result

    async def _run(self, job_id: str, produce: Produce, priority: float) -> JobResult:
        try:
            decision = await self._decide(job_id)
            result = await self._resolve(job_id, decision, produce, priority)
        except asyncio.CancelledError:
            if job_id not in self.results:
                self.finish(job_id, JobResult(status="cancelled"))
            raise
        except FATAL:
            raise
        except BudgetExceededError as error:
            told = JobFailure(kind=error.kind, message=error.message) if job_id == self._budget.ended_by else None
            result = JobResult(status="over budget", error=told)
        except StoreError as error:
            result = JobResult(status="failed", error=JobFailure(kind=error.kind, message=error.message))
        return self.finish(job_id, result)

    async def _decide(self, job_id: str) -> Decision:
        decision, cancelled = await self._decider.decide(job_id)
        if cancelled:
            if isinstance(decision.claim, Claimed):  # else nobody could make it before the rest of the run has ended
                await self._claims.unclaim(decision.signature, job_id)
            raise asyncio.CancelledError
        return decision

    def finish(self, job_id: str, result: JobResult) -> JobResult:
        """Note how a job ended, and tell."""
        self.results[job_id] = result
        data: dict[str, Json] = {"cost": result.cost, "seconds": round(result.duration_seconds, 3)}
        if result.error:
            data["error"] = result.error.to_json()
        self.tell("job-finished", job_id, result.status, data)
        return result

    def tell(
        self, event: str, job: str | None = None, status: str | None = None, data: Mapping[str, Json] | None = None
    ) -> None:
        """Send a typed event to whoever listens."""
        if self._on_event is not None:
            now = timestamp(self._movie.clock.now())
            kind = cast("ProgressKind", event)
            told = RunProgress(event=kind, run=self.token.run, at=now, job=job, status=status, data=dict(data or {}))
            self._on_event(told)

    def totals(self) -> Metrics:
        """What this run took since it began."""
        return run_totals(self._movie.events.spent(self.token.run), self.results)

    async def flush(self) -> None:
        """Wait until every result that was handed over is durable."""
        await self._writer.flush()

    def close(self) -> None:
        """Let go of what calls share with other processes."""
        self._caller.close()

    def selection(self) -> Selection:
        """The references of this run against what is known by now."""
        if self._selection is None:
            inputs = {key: self._movie.value(entry) for key, entry in self.plan.inputs.items()}
            self._selection = Selection(inputs, self.artefacts, self._document)
        return self._selection

    async def _resolve(self, job_id: str, decision: Decision, produce: Produce, priority: float) -> JobResult:
        node = self.index.node(job_id)
        if decision.clean:
            self._keep(node, decision.signature)
            return JobResult(status="clean", signature=decision.signature)
        found: Claimed | Trace | None = decision.trace or _found(decision.claim)
        kept, failures, begun = _NO_CALL, list[JobFailure](), False
        if not isinstance(found, Claimed):  # it needs no slot, or waits for others
            self.handover.arrived(job_id)
        while True:
            found = found or await self._claims.claim(decision.signature, job_id, forced=decision.forced)
            if isinstance(found, Claimed) and decision.forced and begun:
                found = await self._instead(decision, job_id, kept) or found
            if isinstance(found, Trace):
                try:
                    return _after(failures, await self._reuse(node, found, kept))
                except DamageError:  # it was collected, or damaged, after it was found
                    await asyncio.to_thread(self._earlier.mend, found)
                    found = None
                    continue
            claim, found = self._claims.held(decision.signature, job_id, found), None
            try:
                call = await self._call_claimed(node, decision, claim, produce, priority)
            except ClaimLost as lost:
                failures += lost.failures
                begun = begun or lost.begun
                continue
            except ClaimUnseen as unseen:
                raise unseen.error from unseen
            if call.stored.ours:
                return _after(failures, call.result)
            kept, begun = call, True

    async def _reuse(self, node: GraphNode, trace: Trace, kept: CallEnd) -> JobResult:
        """Take an earlier result over; `kept` is what a call of ours came to whose claim was lost."""
        stored = await self._writer.store(Outcome(node, trace.signature, trace=trace))
        self._take(node, trace.signature, stored.values, trace.source)
        status: JobStatus = "made" if trace.result == kept.stored.result else "reused"
        saved = trace.cost if status == "reused" and trace.run != self.token.run else 0.0
        told = {"status": status, "signature": trace.signature, "error": None, "saved": saved}
        return kept.result.replace(**told)

    async def _instead(self, decision: Decision, job_id: str, kept: CallEnd) -> Trace | None:
        """What a forced job takes whose claim was lost after it had begun a call: a newer result, or else its own."""
        signature, ours = decision.signature, kept.stored.result
        trace, found = None, False
        try:
            trace = await asyncio.to_thread(self._earlier.since, signature, decision.known, ours)
            found = True
        finally:
            if trace is not None or not found:  # no call is to be made under the claim
                await self._claims.unclaim(signature, job_id)
        return trace

    async def _call_claimed(
        self, node: GraphNode, decision: Decision, claim: HeldClaim, produce: Produce, priority: float
    ) -> CallEnd:
        known, stored = decision.signature, False
        self.handover.arrives(node.job_id)
        try:
            async with self._limiter.held(priority) as slot, self._charged(node, slot) as charge:
                await claim.confirm()
                end = await self._caller.call(node, known, produce, slot, charge, claim, forced=decision.forced)
                charge.took(end.result.cost)
                if end.result.status == "made" and end.stored.ours and not end.cancelled:
                    self.handover.keep(node.job_id, slot)
            stored = bool(end.stored.result)
        finally:
            if not stored:
                await self._claims.unclaim(known, node.job_id)
        if end.result.status == "made" and end.stored.ours:
            self._take(node, known, end.stored.values, node.source)
        if end.cancelled:
            if end.stored.ours or end.result.status == "cancelled":
                self.finish(node.job_id, end.result)
            raise asyncio.CancelledError
        return end

    def _charged(self, node: GraphNode, slot: HeldSlot) -> Charge:
        """The gate of the budget, for one call."""
        if not self._budget.is_limited:  # and so nobody waits for it
            return UNLIMITED
        return self._budget.call(node.job_id, self._highest(node), partial(self._aside, node.job_id, slot))

    @asynccontextmanager
    async def _aside(self, job_id: str, slot: HeldSlot) -> AsyncIterator[None]:
        with told_if_long(self.tell, job_id, "budget", None):
            async with slot.lent():
                yield

    def _highest(self, node: GraphNode) -> float:
        """The most that a call is expected to take; nothing where nobody knows."""
        planned = self.plan.jobs.get(node.job_id)
        cost = price(node, self.selection()) or (planned.cost if planned is not None else None)
        return 0.0 if cost is None else cost.high

    def _keep(self, node: GraphNode, known: str) -> None:
        for output in node.produces:
            present = self.held.present(output.id, known)
            if present is not None:
                self.artefacts[output.id] = marked(present, outdated=None)

    def _take(self, node: GraphNode, known: str, values: Mapping[str, ArtefactValue], source: str | None) -> None:
        for output in node.produces:
            value = values[output.name]
            made = ManifestArtefact(
                hash=value.hash,
                size=value.size,
                mime_type=value.mime_type,
                inline=value.inline,
                blob=value.blob,
                produced_by=node.producer,
                job=node.job_id,
                signature=known,
                source=source,
            )
            self.artefacts[output.id] = self.held.shown(output.id, made) or made

    def look_elsewhere(self, artefacts: Collection[str]) -> None:
        """Take what another process that works on the same run has made of some artefacts."""
        made = fold_artefacts({}, (e for e in self._movie.events.stream(run=self.token.run) if e.type == "artefact"))
        self.artefacts.update(
            {key: shown for key in artefacts if (shown := self.held.shown(key, made.get(key))) is not None}
        )

    def is_read(self, node: GraphNode) -> bool:
        """Whether every document that a job reads into is in memory by now."""
        into = (r.id for e in node.inputs for r in references(e) if r.kind == "artefact" and r.path)
        found = (self.artefacts.get(artefact) for artefact in into)
        return all(a is not None and (a.hash in self._documents or not is_json(a.mime_type)) for a in found)

    def await_upstream(self, node: GraphNode) -> None:
        """See that everything this job reads has been made, here or by another process that works on the same run."""
        # Not a difference of sets: that would look at all artefacts of the run for each of its jobs.
        missing = {artefact for artefact in artefacts_awaited(node) if artefact not in self.artefacts}
        if missing:
            self.look_elsewhere(missing)
            missing = {artefact for artefact in missing if artefact not in self.artefacts}
        if missing:
            raise NotFoundError(
                f"{node.job_id} reads {min(missing)}, which is not made yet.", hint="Run its job first."
            )

    def _document(self, artefact: ArtefactValue) -> Json | Missing:
        if artefact.hash not in self._documents:
            data = self._movie.read(artefact)
            try:
                self._documents[artefact.hash] = parse_json(data)
            except orjson.JSONDecodeError:
                self._documents[artefact.hash] = MISSING
        return self._documents[artefact.hash]


def _found(answer: ClaimAnswer | None) -> Claimed | Trace | None:
    """What a claim gave; None where somebody else holds it, or it is still to be asked for."""
    return answer.trace if isinstance(answer, AlreadyMade) else answer if isinstance(answer, Claimed) else None


def _after(failures: Sequence[JobFailure], result: JobResult) -> JobResult:
    """The result, with what attempts took whose claim was lost before the next one."""
    if not failures:
        return result
    cost = result.cost + sum(failure.cost or 0.0 for failure in failures)
    return result.replace(cost=cost, attempts=result.attempts + len(failures))
