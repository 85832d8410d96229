"""One call of a producer under a claim: a folder of its own, the call, the answer checked, the result stored."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from math import fsum
from pathlib import Path
from typing import NoReturn, cast

from renku_store import bounds
from renku_store.answers import check_answer
from renku_store.calls import CallContext, Job, JobContext, Produce, Produced, failure_of
from renku_store.errors import (
    BlobCorruptError,
    BudgetExceededError,
    ConflictError,
    ProducerError,
    StoreError,
    UnusableError,
)
from renku_store.metadata.calls import CallInFlight
from renku_store.movie import Movie
from renku_store.records.events import JobFailure
from renku_store.records.graph import GraphNode
from renku_store.records.run import JobResult, LeaseToken
from renku_store.running.activity import Activity, Tell
from renku_store.running.budget import Charge
from renku_store.running.claiming import ClaimLost, ClaimUnseen, HeldClaim
from renku_store.running.concurrency import HeldSlot
from renku_store.running.partition import StoredParts
from renku_store.running.preparation import JobFolder, JobFolders, clear_job, prepare_job, reads_files
from renku_store.running.remembering import DurableMemory, Errand, call_over
from renku_store.running.results import Outcome, ResultWriter, Stored
from renku_store.running.shared_limits import limits_of_this_machine
from renku_store.running.waits import Deadline, Waits
from renku_store.selection import Selection, references

FATAL = (UnusableError, ConflictError)
"""Errors of the store itself, not of a job: nothing that runs beside it can do better."""


@dataclass(frozen=True, slots=True)
class CallEnd:
    """How a call ended, and what was stored of it; `cancelled`: whoever waited for it has given up meanwhile."""

    result: JobResult
    stored: Stored
    cancelled: bool = False


class Caller:
    """Makes the calls of one run."""

    def __init__(
        self,
        movie: Movie,
        token: LeaseToken,
        writer: ResultWriter,
        activity: Activity,
        *,
        selection: Callable[[], Selection],
        logger: logging.Logger,
        tell: Tell,
    ) -> None:
        self._movie = movie
        self._token = token
        self._writer = writer
        self._activity = activity
        self._selection = selection
        self._logger = logger
        self._tell = tell
        self._limits = limits_of_this_machine(partial(movie.leases.check, token), movie.clock)
        self._folders = JobFolders(movie.driver.scratch)

    def close(self) -> None:
        """Take part in limits of the machine no longer: no more calls are made."""
        self._limits.close()

    async def call(
        self,
        node: GraphNode,
        known: str,
        produce: Produce,
        slot: HeldSlot,
        charge: Charge,
        claim: HeldClaim,
        *,
        forced: bool = False,
    ) -> CallEnd:
        """Call `produce` for a node whose signature is `known`; a failure of the job is an end like any other.

        One that is `forced` adopts no call in flight that another run has begun.
        Raises what is in `FATAL`, `ClaimLost` where the claim was lost while the call waited for its turn,
        `ClaimUnseen` where that cannot be told, and `CancelledError` where the call itself was cancelled; after failed
        attempts that is an end, told as `cancelled`. What attempts took by then is booked, as far as the store lets it.
        """
        self._tell("job-started", node.job_id)
        with self._activity.calling(node.job_id), self._folders.next() as folder:
            seconds = (node.timeout_seconds or bounds.JOB_TIMEOUT_SECONDS) + 2 * bounds.CANCEL_GRACE_SECONDS
            deadline = Deadline(seconds)
            memory = self._memory(node, known, claim.call, forced=forced)
            parts = StoredParts(
                self._movie, self._token, self._writer, slot.limiter, node, known, claim.confirm, forced=forced
            )
            context = self._context(node, known, folder, slot, charge, deadline, memory, parts, claim)
            try:
                job, produced = await self._produce(node, known, produce, context, folder, deadline)
                contents = _contents(check_answer(job, lambda: folder.path, produced))
            except FATAL as error:
                await self._book_lost(node, known, error, context, deadline.spent)
                raise
            except asyncio.CancelledError:
                end = await self._cancelled(node, known, context, deadline.spent)
                if end is None:
                    raise
                return end
            except BaseException as error:
                if (claim.lost or claim.error) and not isinstance(error, KeyboardInterrupt):
                    await self._store_attempts(node, known, context, charge, claim, error)  # whatever it was made into
                if not isinstance(error, Exception):
                    raise
                if folder.error is not None:
                    await self._book_lost(node, known, error, context, deadline.spent)
                    raise folder.error from error
                over = call_over(error, memory, expired=deadline.limit.expired())
                return await self._failed(node, known, error, context, deadline.spent, over)
            outcome = Outcome(
                node,
                known,
                contents,
                {name: produced.mime_types.get(name, job.outputs[name].mime_type) for name in contents},
                cost=produced.cost + _lost(context.failures),
                attempts=1 + len(context.failures),
                request_id=memory.request_id or produced.request_id,
                duration_seconds=deadline.spent,
                over=memory.request_id,
            )
            return await self._made(outcome, context, produced.cost)

    async def _made(self, outcome: Outcome, context: JobContext, own_cost: float) -> CallEnd:
        """Store what a call came to; `own_cost` is without that of the attempts before.

        A remembered call whose answer cannot be stored stays: it is fetched again, and paid for with its result.
        """
        seconds, known, memory = outcome.duration_seconds, outcome.signature, context.memory
        try:
            stored, cancelled = await self._writer.store_to_the_end(outcome)
        except StoreError:
            raise
        except Exception as error:  # noqa: BLE001 (an answer that cannot be stored is its producer's failure)
            told = f"The answer cannot be stored: {type(error).__name__}: {error}"
            unstored = ProducerError(told, cost=0.0 if memory.consulted and memory.call else own_cost)
            return await self._failed(outcome.node, known, unstored, context, seconds, None)
        result = JobResult(
            status="made", attempts=outcome.attempts, cost=outcome.cost, duration_seconds=seconds, signature=known
        )
        return CallEnd(result, stored, cancelled)

    def _memory(self, node: GraphNode, known: str, noted: CallInFlight | None, *, forced: bool) -> DurableMemory:
        def tell(request_id: str) -> None:
            self._tell("job-remembered", node.job_id, data={"requestId": request_id})

        errand = Errand(known, node.job_id, self._token)
        memory = DurableMemory(self._movie.metadata, self._movie.clock, errand, tell, forced=forced, call=noted)
        if memory.request_id is not None:
            self._tell("job-remembered", node.job_id, data={"requestId": memory.request_id, "adopted": True})
        return memory

    def _context(
        self,
        node: GraphNode,
        known: str,
        folder: JobFolder,
        slot: HeldSlot,
        charge: Charge,
        deadline: Deadline,
        memory: DurableMemory,
        parts: StoredParts,
        claim: HeldClaim,
    ) -> JobContext:
        failures: list[JobFailure] = []
        waits = Waits(node.job_id, self._tell, self._activity, deadline, slot, failures, claim, memory)

        return CallContext(
            node.job_id,
            self._token.run,
            1,
            cast("Path", folder),
            self._logger,
            failures,
            idle=waits.idle,
            again=partial(self._again, node, known, folder, charge, deadline, parts, failures, waits),
            waiting=waits.waiting,
            confirm=waits.confirm,
            memory=memory,
            parts=parts,
            rate_key=node.rate_key,
            priority=slot.priority,
            uses=node.uses or {},
            shared=self._limits,
        )

    async def _again(
        self,
        node: GraphNode,
        known: str,
        folder: JobFolder,
        charge: Charge,
        deadline: Deadline,
        parts: StoredParts,
        failures: Sequence[JobFailure],
        waits: Waits,
        part: Path | None = None,
    ) -> None:
        """Prepare another attempt, of a call or of one of its parts."""
        charge.again(_lost(failures))
        if part is not None:
            await asyncio.to_thread(clear_job, part)
        elif not parts.under_way:
            if folder.is_made:
                await asyncio.to_thread(clear_job, folder.path)
                await asyncio.to_thread(self._prepare, node, known, folder)
            deadline.begin_again()
        await waits.confirm()

    def _prepare(self, node: GraphNode, known: str, folder: JobFolder) -> Job:
        try:
            return prepare_job(node, known, self._selection(), self._movie.blobs, folder)
        except BlobCorruptError:
            self._set_damaged_aside(node)
            raise

    async def _produce(
        self,
        node: GraphNode,
        known: str,
        produce: Produce,
        context: JobContext,
        folder: JobFolder,
        deadline: Deadline,
    ) -> tuple[Job, Produced]:
        if reads_files(node):
            job = await asyncio.to_thread(self._prepare, node, known, folder)
        else:  # what it reads was read when its signature was computed
            job = self._prepare(node, known, folder)
        await context.confirm()
        try:
            async with deadline.limit:
                deadline.begin_again()
                return job, await produce(job, context)
        except asyncio.CancelledError:
            task = asyncio.current_task()
            if task is None or task.cancelling():
                raise
            raise ProducerError(f"The call of {node.job_id} was cancelled from within.", retryable=True) from None
        except SystemExit as error:
            raise ProducerError(f"The producer of {node.job_id} wanted to exit ({error.code!r}).") from error
        except TimeoutError as error:
            if not deadline.limit.expired():  # the handler's own: what it waits for may still be fetched
                raise
            raise ProducerError(
                f"{node.job_id} did not end within {deadline.seconds:g} seconds.", hint="Give it a `timeout`."
            ) from error

    async def _store_attempts(
        self,
        node: GraphNode,
        known: str,
        context: JobContext,
        charge: Charge,
        claim: HeldClaim,
        error: BaseException,
    ) -> NoReturn:
        """Store what failed attempts took, of a call that is not made after all, and say it to who goes on."""
        last = failure_of(error) if isinstance(error, Exception) else None
        failures = [*context.failures, last] if last is not None and last.cost else context.failures
        cost = _lost(failures)
        charge.took(cost)
        if failures:
            outcome = Outcome(node, known, failure=failures[-1], cost=cost, attempts=len(failures))
            with suppress(*([StoreError] if claim.error else [])):  # the one that ends the run is raised
                await self._writer.store(outcome)
        if claim.error:
            raise ClaimUnseen(claim.error) from error
        raise ClaimLost(known, failures, begun=context.memory.begun) from error

    async def _cancelled(self, node: GraphNode, known: str, context: JobContext, elapsed: float) -> CallEnd | None:
        """Book what the failed attempts took of a call that is cancelled; None where there were none.

        Nothing is stored where the store refuses.
        """
        failures = context.failures
        if not failures:
            return None
        cost, attempts = _lost(failures), len(failures)
        outcome = Outcome(node, known, failure=failures[-1], cost=cost, attempts=attempts, duration_seconds=elapsed)
        try:
            stored, _ = await self._writer.store_to_the_end(outcome)
        except StoreError as error:
            self._logger.warning("%s took $%.2f that cannot be booked: %s", node.job_id, cost, error.message)
            stored = Stored("", {}, ours=False)
        result = JobResult(status="cancelled", attempts=attempts, cost=cost, duration_seconds=elapsed, signature=known)
        return CallEnd(result, stored, cancelled=True)

    def _set_damaged_aside(self, node: GraphNode) -> None:
        """Move the damaged among a job's inputs to quarantine: the next plan makes them anew."""
        for entry in node.inputs:
            for reference in references(entry):
                artefact = self._selection().artefact(reference.id) if reference.kind == "artefact" else None
                if artefact is not None and artefact.blob is not None:
                    self._movie.blobs.quarantine(artefact.blob)

    async def _book_lost(
        self, node: GraphNode, known: str, error: Exception, context: JobContext, elapsed: float
    ) -> None:
        """Book what a call took that the store itself ends, where anything is known of that; the store may refuse."""
        if context.failures or failure_of(error).cost:
            with suppress(StoreError):  # the one that ends the run is raised
                await self._failed(node, known, error, context, elapsed, None)

    async def _failed(
        self, node: GraphNode, known: str, error: Exception, context: JobContext, elapsed: float, over: str | None
    ) -> CallEnd:
        failure, attempts = failure_of(error), 1 + len(context.failures)
        cost = _lost([*context.failures, failure])
        self._logger.warning("%s failed: %s", node.job_id, failure.message)
        self._activity.on_failure(node.job_id)
        stored = await self._writer.store(
            Outcome(
                node,
                known,
                failure=failure,
                cost=cost,
                attempts=attempts,
                request_id=context.memory.request_id,
                duration_seconds=elapsed,
                over=over,
            )
        )
        result = JobResult(
            status="over budget" if isinstance(error, BudgetExceededError) else "failed",
            attempts=attempts,
            cost=cost,
            duration_seconds=elapsed,
            signature=known,
            error=failure,
        )
        return CallEnd(result, stored)


def _contents(produced: Produced) -> dict[str, bytes | Path]:
    return {
        name: content.encode() if isinstance(content, str) else content for name, content in produced.outputs.items()
    }


def _lost(failures: Iterable[JobFailure]) -> float:
    """What failed attempts took nevertheless, in US dollars."""
    return fsum(failure.cost or 0.0 for failure in failures)
