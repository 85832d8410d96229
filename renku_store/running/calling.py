"""One call of a producer under a claim: a folder of its own, the call, the answer checked, the result stored."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterable
from contextlib import suppress
from functools import partial
from math import fsum
from pathlib import Path
from typing import NoReturn, cast

from msgspec import Struct
from msgspec.structs import replace

from renku_store import bounds
from renku_store.answers import check_answer, is_long_to_check, wrong_documents
from renku_store.calls import CallContext, Job, JobContext, Produce, Produced, failure_of
from renku_store.errors import (
    BlobCorruptError,
    BudgetExceededError,
    ConflictError,
    ProducerError,
    StoreError,
    UnusableError,
)
from renku_store.finishing import in_thread_to_the_end
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


class CallEnd(Struct, frozen=True, gc=False):  # it holds no cycle
    """How a call ended, and what was stored of it; `cancelled`: whoever waited for it has given up meanwhile."""

    result: JobResult
    stored: Stored
    cancelled: bool = False


class Call(Waits):
    """One call: what it is of, what it has taken, and how it is tried again.

    As many are in flight as there are slots, and more wait: one object for all of it keeps the garbage collector from
    looking at many.
    """

    __slots__ = ("_prepare", "cancelled", "charge", "folder", "known", "node", "parts")

    def __init__(
        self,
        node: GraphNode,
        known: str,
        folder: JobFolder,
        slot: HeldSlot,
        charge: Charge,
        claim: HeldClaim,
        memory: DurableMemory,
        parts: StoredParts,
        tell: Tell,
        activity: Activity,
        prepare: Callable[[Call], Job],
    ) -> None:
        seconds = (node.timeout_seconds or bounds.JOB_TIMEOUT_SECONDS) + 2 * bounds.CANCEL_GRACE_SECONDS
        super().__init__(node.job_id, tell, activity, Deadline(seconds), slot, claim, memory)
        self.cancelled = False
        self.node = node
        self.known = known
        self.folder = folder
        self.charge = charge
        self.parts = parts
        self._prepare = prepare

    async def prepared(self) -> Job:
        """What the producer is asked, with the files that it is given, once its claim is seen to be ours still."""
        if reads_files(self.node):
            job = await asyncio.to_thread(self._prepare, self)
        else:  # what it reads was read when its signature was computed
            job = self._prepare(self)
        await self.confirm()
        return job

    async def again(self, part: Path | None = None) -> None:
        """Prepare another attempt, of a call or of one of its parts."""
        self.charge.again(_lost(self.failures))
        if part is not None:
            await asyncio.to_thread(clear_job, part)
        elif not self.parts.under_way:
            if self.folder.is_made:
                await asyncio.to_thread(clear_job, self.folder.path)
                await asyncio.to_thread(self._prepare, self)
            self.deadline.begin_again()
        await self.confirm()


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
        self._activity.begin(node.job_id)
        folder: JobFolder | None = None
        try:
            folder = self._folders.next()
            memory = self._memory(node, known, claim.call, forced=forced)
            parts = StoredParts(self._movie, self._token, self._writer, slot.limiter, node, known, claim, forced=forced)
            call = Call(
                node, known, folder, slot, charge, claim, memory, parts, self._tell, self._activity, self._prepare
            )
            end = await self._make(call, produce)
            return replace(end, cancelled=True) if call.cancelled else end
        finally:
            if folder is not None:
                folder.end()
            self._activity.end(node.job_id)

    async def _make(self, call: Call, produce: Produce) -> CallEnd:
        try:
            job, produced = await self._produce(call, produce)
            await _check(call, job, check_answer(job, call.folder.made, produced))
            outcome = _outcome(call, job, produced)
        except FATAL as error:
            await self._book_lost(call, error)
            raise
        except asyncio.CancelledError:
            end = await self._cancelled(call)
            if end is None:
                raise
            return end
        except BaseException as error:
            if (call.claim.lost or call.claim.error) and not isinstance(error, KeyboardInterrupt):
                await self._store_attempts(call, error)  # whatever it was made into
            if not isinstance(error, Exception):
                raise
            if call.folder.error is not None:
                await self._book_lost(call, error)
                raise call.folder.error from error
            over = call_over(error, call.memory, expired=call.deadline.limit.expired())
            return await self._failed(call, error, over)
        return await self._made(call, outcome, produced.cost)

    async def _made(self, call: Call, outcome: Outcome, own_cost: float) -> CallEnd:
        """Store what a call came to; `own_cost` is without that of the attempts before.

        A remembered call whose answer cannot be stored stays: it is fetched again, and paid for with its result.
        """
        memory = call.memory
        try:
            stored, cancelled = await self._writer.store_to_the_end(outcome)
        except StoreError:
            raise
        except Exception as error:  # noqa: BLE001 (an answer that cannot be stored is its producer's failure)
            told = f"The answer cannot be stored: {type(error).__name__}: {error}"
            unstored = ProducerError(told, cost=0.0 if memory.consulted and memory.call else own_cost)
            return await self._failed(call, unstored, None, seconds=outcome.duration_seconds)
        result = JobResult(
            status="made",
            attempts=outcome.attempts,
            cost=outcome.cost,
            duration_seconds=outcome.duration_seconds,
            signature=call.known,
        )
        return CallEnd(result, stored, cancelled)

    def _memory(self, node: GraphNode, known: str, noted: CallInFlight | None, *, forced: bool) -> DurableMemory:
        errand, tell = Errand(known, node.job_id, self._token), partial(self._remembered, node.job_id)
        memory = DurableMemory(self._movie.metadata, self._movie.clock, errand, tell, forced=forced, call=noted)
        if memory.request_id is not None:
            self._tell("job-remembered", node.job_id, data={"requestId": memory.request_id, "adopted": True})
        return memory

    def _remembered(self, job_id: str, request_id: str) -> None:
        self._tell("job-remembered", job_id, data={"requestId": request_id})

    def _context(self, call: Call) -> JobContext:
        return CallContext(
            call.node.job_id,
            self._token.run,
            1,
            cast("Path", call.folder),
            self._logger,
            call.failures,
            idle=call.idle,
            again=call.again,
            waiting=call.waiting,
            confirm=call.confirm,
            memory=call.memory,
            parts=call.parts,
            rate_key=call.node.rate_key,
            priority=call.slot.priority,
            uses=call.node.uses or {},
            shared=self._limits,
        )

    def _prepare(self, call: Call) -> Job:
        try:
            return prepare_job(call.node, call.known, self._selection(), self._movie.blobs, call.folder)
        except BlobCorruptError:
            self._set_damaged_aside(call.node)
            raise

    async def _produce(self, call: Call, produce: Produce) -> tuple[Job, Produced]:
        job = await call.prepared()
        deadline = call.deadline
        try:
            async with deadline.limit:
                deadline.begin_again()
                return job, await produce(job, self._context(call))
        except asyncio.CancelledError:
            task = asyncio.current_task()
            if task is None or task.cancelling():
                raise
            raise ProducerError(f"The call of {job.job_id} was cancelled from within.", retryable=True) from None
        except SystemExit as error:
            raise ProducerError(f"The producer of {job.job_id} wanted to exit ({error.code!r}).") from error
        except TimeoutError as error:
            if not deadline.limit.expired():  # the handler's own: what it waits for may still be fetched
                raise
            raise ProducerError(
                f"{job.job_id} did not end within {deadline.seconds:g} seconds.", hint="Give it a `timeout`."
            ) from error

    async def _store_attempts(self, call: Call, error: BaseException) -> NoReturn:
        """Store what failed attempts took, of a call that is not made after all, and say it to who goes on."""
        last = failure_of(error) if isinstance(error, Exception) else None
        failures = [*call.failures, last] if last is not None and last.cost else call.failures
        cost = _lost(failures)
        call.charge.took(cost)
        if failures:
            outcome = Outcome(call.node, call.known, failure=failures[-1], cost=cost, attempts=len(failures))
            with suppress(*([StoreError] if call.claim.error else [])):  # the one that ends the run is raised
                await self._writer.store(outcome)
        if call.claim.error:
            raise ClaimUnseen(call.claim.error) from error
        raise ClaimLost(call.known, failures, begun=call.memory.begun) from error

    async def _cancelled(self, call: Call) -> CallEnd | None:
        """Book what the failed attempts took of a call that is cancelled; None where there were none.

        Nothing is stored where the store refuses.
        """
        failures, seconds = call.failures, call.deadline.spent
        if not failures:
            return None
        cost, attempts = _lost(failures), len(failures)
        outcome = Outcome(
            call.node, call.known, failure=failures[-1], cost=cost, attempts=attempts, duration_seconds=seconds
        )
        try:
            stored, _ = await self._writer.store_to_the_end(outcome)
        except StoreError as error:
            self._logger.warning("%s took $%.2f that cannot be booked: %s", call.node.job_id, cost, error.message)
            stored = Stored("", {}, ours=False)
        result = JobResult(
            status="cancelled", attempts=attempts, cost=cost, duration_seconds=seconds, signature=call.known
        )
        return CallEnd(result, stored, cancelled=True)

    def _set_damaged_aside(self, node: GraphNode) -> None:
        """Move the damaged among a job's inputs to quarantine: the next plan makes them anew."""
        for entry in node.inputs:
            for reference in references(entry):
                artefact = self._selection().artefact(reference.id) if reference.kind == "artefact" else None
                if artefact is not None and artefact.blob is not None:
                    self._movie.blobs.quarantine(artefact.blob)

    async def _book_lost(self, call: Call, error: Exception) -> None:
        """Book what a call took that the store itself ends, where anything is known of that; the store may refuse."""
        if call.failures or failure_of(error).cost:
            with suppress(StoreError):  # the one that ends the run is raised
                await self._failed(call, error, None)

    async def _failed(self, call: Call, error: Exception, over: str | None, *, seconds: float | None = None) -> CallEnd:
        """Store that a call has failed; `seconds`: how long it took, where it did not end just now."""
        node, known, failure, attempts = call.node, call.known, failure_of(error), 1 + len(call.failures)
        elapsed = call.deadline.spent if seconds is None else seconds
        cost = _lost([*call.failures, failure])
        self._logger.warning("%s failed: %s", node.job_id, failure.message)
        self._activity.on_failure(node.job_id)
        stored = await self._writer.store(
            Outcome(
                node,
                known,
                failure=failure,
                cost=cost,
                attempts=attempts,
                request_id=call.memory.request_id,
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


async def _check(call: Call, job: Job, produced: Produced) -> None:
    """Raise `ProducerError` where what is to be JSON is none; to the end, as the answer has been paid for."""
    if is_long_to_check(job, produced):
        wrong, call.cancelled = await in_thread_to_the_end(partial(wrong_documents, job, produced))
    else:
        wrong = wrong_documents(job, produced)
    if wrong is not None:
        raise wrong


def _outcome(call: Call, job: Job, produced: Produced) -> Outcome:
    """What is stored of a call that has succeeded."""
    given = produced.outputs
    contents = {name: content.encode() if isinstance(content, str) else content for name, content in given.items()}
    return Outcome(
        call.node,
        call.known,
        contents,
        {name: produced.mime_types.get(name, job.outputs[name].mime_type) for name in contents},
        cost=produced.cost + _lost(call.failures),
        attempts=1 + len(call.failures),
        request_id=call.memory.request_id or produced.request_id,
        duration_seconds=call.deadline.spent,
        over=call.memory.request_id,
    )


def _lost(failures: Iterable[JobFailure]) -> float:
    """What failed attempts took nevertheless, in US dollars."""
    return fsum(failure.cost or 0.0 for failure in failures)
