"""One call of a producer under a claim: a folder of its own, the call, the answer checked, the result stored."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Callable, Iterable, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from renku_store import bounds
from renku_store.answers import check_answer
from renku_store.calls import Job, JobContext, Produce, Produced, failure_of
from renku_store.errors import (
    BlobCorruptError,
    BudgetExceededError,
    ConflictError,
    ProducerError,
    StoreError,
    UnusableError,
)
from renku_store.finishing import to_the_end
from renku_store.movie import Movie
from renku_store.records.events import JobFailure
from renku_store.records.graph import GraphNode
from renku_store.records.run import JobResult, LeaseToken
from renku_store.running.activity import Activity, Tell, told_if_long
from renku_store.running.budget import Charge
from renku_store.running.concurrency import HeldSlot
from renku_store.running.partition import StoredParts
from renku_store.running.preparation import clear_job, job_directory, prepare_job
from renku_store.running.remembering import DurableMemory, Errand, call_over
from renku_store.running.results import Outcome, ResultWriter, Stored
from renku_store.running.shared_limits import limits_of_this_machine
from renku_store.selection import Selection, references

FATAL = (UnusableError, ConflictError)
"""Errors of the store itself, not of a job: nothing that runs beside it can do better."""


@dataclass(frozen=True, slots=True)
class CallEnd:
    """How a call ended, and what was stored of it; `cancelled`: whoever waited for it has given up meanwhile."""

    result: JobResult
    stored: Stored
    cancelled: bool = False


class Deadline:
    """How long a call may take: `seconds`, waiting for its turn not counted, and anew for each attempt."""

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds
        self._left = seconds
        self._waiting = 0
        self.limit = asyncio.timeout(seconds)

    @property
    def spent(self) -> float:
        """Seconds that the last attempt has taken by now."""
        until = None if self._waiting else self.limit.when()
        left = self._left if until is None else until - asyncio.get_running_loop().time()
        return min(max(self.seconds - left, 0.0), self.seconds)

    @contextmanager
    def suspended(self) -> Iterator[None]:
        """Let the time stand still for the length of a block."""
        loop = asyncio.get_running_loop()
        if not self._waiting:
            self._left = self.seconds - self.spent
            self.limit.reschedule(None)
        self._waiting += 1
        try:
            yield
        finally:
            self._waiting -= 1
            if not self._waiting and not self.limit.expired():
                self.limit.reschedule(loop.time() + self._left)

    def begin_again(self) -> None:
        """Count from now."""
        self.limit.reschedule(asyncio.get_running_loop().time() + self.seconds)


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

    def close(self) -> None:
        """Take part in limits of the machine no longer: no more calls are made."""
        self._limits.close()

    async def call(
        self, node: GraphNode, known: str, produce: Produce, slot: HeldSlot, charge: Charge, *, forced: bool = False
    ) -> CallEnd:
        """Call `produce` for a node whose signature is `known`; a failure of the job is an end like any other.

        One that is `forced` adopts no call in flight that another run has begun.
        Raises what is in `FATAL`, and `CancelledError` where the call itself was cancelled.
        """
        self._tell("job-started", node.job_id)
        with self._activity.calling(node.job_id), job_directory(self._movie.driver.scratch) as directory:
            seconds = (node.timeout_seconds or bounds.JOB_TIMEOUT_SECONDS) + 2 * bounds.CANCEL_GRACE_SECONDS
            deadline = Deadline(seconds)
            memory = await asyncio.to_thread(self._memory, node, known, forced)
            if memory.request_id is not None:
                self._tell("job-remembered", node.job_id, data={"requestId": memory.request_id, "adopted": True})
            parts = StoredParts(self._movie, self._token, self._writer, slot.limiter, node, known, forced=forced)
            context = self._context(node, known, directory, slot, charge, deadline, memory, parts)
            try:
                job, produced = await self._produce(node, known, produce, context, deadline)
                contents = _contents(check_answer(job, directory, produced))
            except FATAL:
                raise
            except Exception as error:  # noqa: BLE001 (the boundary of a job: whatever its producer raises is its failure)
                over = call_over(error, memory, expired=deadline.limit.expired())
                return await self._failed(node, known, error, context, deadline.spent, over)
            elapsed = deadline.spent
            attempts, cost = 1 + len(context.failures), produced.cost + _lost(context.failures)
            outcome = Outcome(
                node,
                known,
                contents,
                {name: produced.mime_types.get(name, job.outputs[name].mime_type) for name in contents},
                cost=cost,
                attempts=attempts,
                request_id=memory.request_id or produced.request_id,
                duration_seconds=elapsed,
                over=memory.request_id,
            )
            try:
                stored, cancelled = await to_the_end(self._writer.store(outcome))
            except StoreError:
                raise
            except Exception as error:  # noqa: BLE001 (an answer that cannot be stored is its producer's failure)
                unstored = ProducerError(f"The answer cannot be stored: {type(error).__name__}: {error}", cost=cost)
                return await self._failed(node, known, unstored, context, elapsed, None)
        result = JobResult(status="made", attempts=attempts, cost=cost, duration_seconds=elapsed, signature=known)
        return CallEnd(result, stored, cancelled)

    def _memory(self, node: GraphNode, known: str, forced: bool) -> DurableMemory:
        def tell(request_id: str) -> None:
            self._tell("job-remembered", node.job_id, data={"requestId": request_id})

        errand = Errand(known, node.job_id, self._token)
        return DurableMemory(self._movie.metadata, self._movie.clock, errand, tell, forced=forced)

    def _context(
        self,
        node: GraphNode,
        known: str,
        directory: Path,
        slot: HeldSlot,
        charge: Charge,
        deadline: Deadline,
        memory: DurableMemory,
        parts: StoredParts,
    ) -> JobContext:
        failures: list[JobFailure] = []
        shown = 0

        @contextmanager
        def waiting(reason: str = "limit", key: str | None = None) -> Iterator[None]:
            nonlocal shown
            for failure in failures[shown:]:
                shown += 1
                self._tell("job-attempt-failed", node.job_id, data={"attempt": shown, "error": failure.to_json()})
            with (
                told_if_long(self._tell, node.job_id, reason, key),
                self._activity.waiting(node.job_id),
                deadline.suspended(),
            ):
                yield

        @asynccontextmanager
        async def idle(reason: str = "back-off", key: str | None = None) -> AsyncIterator[None]:
            with waiting(reason, key):
                async with slot.lent():
                    yield

        async def again(part: Path | None = None) -> None:
            charge.again(_lost(failures))
            if part is not None:
                await asyncio.to_thread(clear_job, part)
            elif not parts.under_way:
                await asyncio.to_thread(clear_job, directory)
                await asyncio.to_thread(self._prepare, node, known, directory)
                deadline.begin_again()

        return JobContext(
            node.job_id,
            self._token.run,
            1,
            directory,
            self._logger,
            failures,
            idle=idle,
            again=again,
            waiting=waiting,
            memory=memory,
            parts=parts,
            rate_key=node.rate_key,
            priority=slot.priority,
            uses=node.uses or {},
            shared=self._limits,
        )

    def _prepare(self, node: GraphNode, known: str, directory: Path) -> Job:
        try:
            return prepare_job(node, known, self._selection(), self._movie.blobs, directory)
        except BlobCorruptError:
            self._set_damaged_aside(node)
            raise

    async def _produce(
        self, node: GraphNode, known: str, produce: Produce, context: JobContext, deadline: Deadline
    ) -> tuple[Job, Produced]:
        job = await asyncio.to_thread(self._prepare, node, known, context.directory)
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

    def _set_damaged_aside(self, node: GraphNode) -> None:
        """Move the damaged among a job's inputs to quarantine: the next plan makes them anew."""
        for entry in node.inputs:
            for reference in references(entry):
                artefact = self._selection().artefact(reference.id) if reference.kind == "artefact" else None
                if artefact is not None and artefact.blob is not None:
                    self._movie.blobs.quarantine(artefact.blob)

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
    return sum(failure.cost or 0.0 for failure in failures)
