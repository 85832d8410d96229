"""Calls in flight, noted before their results are waited for: after a crash the paid call is adopted, not repeated.

Keeps its part of invariant 10: only who holds the claim of a signature notes its call, so nobody else's is replaced. A
holder that has lost its claim goes on with its call, whose result is kept as a take.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from functools import partial

from msgspec import Struct

from renku_store import bounds
from renku_store.calls import CallMemory, RememberedCall
from renku_store.clock import Clock
from renku_store.errors import InvalidValueError, JobError, ProducerError, StoreUnavailableError
from renku_store.finishing import in_thread_to_the_end
from renku_store.hashing import canonical_json
from renku_store.metadata.base import MetadataStore, Reader, Writer
from renku_store.metadata.calls import CallInFlight
from renku_store.records._base import Json
from renku_store.records.run import LeaseToken


class Errand(Struct, frozen=True, gc=False):  # it holds no cycle
    """What a call is made for: a signature, claimed for a job of the run that `token` holds."""

    signature: str
    job: str
    token: LeaseToken


class DurableMemory(CallMemory):
    """The call in flight of one job, in the metadata store; `tell` hears of every one that is noted.

    `call` is the one that the last holder of the claim has begun, as the claim told it. A `forced` job makes a new one,
    unless its own run has begun it.
    """

    def __init__(
        self,
        metadata: MetadataStore,
        clock: Clock,
        errand: Errand,
        tell: Callable[[str], None],
        *,
        forced: bool,
        call: CallInFlight | None = None,
    ) -> None:
        if call is None or (forced and call.run != errand.token.run):
            super().__init__()
        else:
            super().__init__(RememberedCall(call.request_id, call.data))
        self._metadata = metadata
        self._clock = clock
        self._errand = errand
        self._tell = tell

    async def remember(self, request_id: str, data: Json = None) -> None:
        """Note the call in flight, durable on return; one whose claim is lost is nobody's to adopt."""
        _check(request_id, data)
        errand = self._errand

        def note(writer: Writer) -> None:
            writer.calls.note(errand.signature, request_id, data, errand.token, errand.job)

        self.consulted = self.begun = True
        self.call = RememberedCall(request_id, data)
        await self._write(note)
        self._tell(request_id)

    async def forget(self) -> None:
        """Let there be no call in flight, durable on return."""
        errand = self._errand
        self.call = None
        await self._write(lambda writer: writer.calls.forget(errand.signature, errand.token, errand.job))

    async def _write(self, change: Callable[[Writer], object]) -> None:
        """What was paid for is noted even by one who is cancelled meanwhile, and waits for a busy store."""
        _, cancelled = await in_thread_to_the_end(partial(self._patiently, change))
        if cancelled:
            raise asyncio.CancelledError

    def _patiently(self, change: Callable[[Writer], object]) -> None:
        begun = self._clock.monotonic()
        while True:
            try:
                with self._metadata.write() as writer:
                    change(writer)
            except StoreUnavailableError as error:
                if self._clock.monotonic() - begun >= patience(error):
                    raise
            else:
                return
            time.sleep(bounds.RESULT_PAUSE_SECONDS)


def patience(error: StoreUnavailableError) -> float:
    """For how many seconds it is worth waiting that an error passes."""
    match error.reason:
        case "busy":
            return bounds.RESULT_BUSY_MAX_SECONDS
        case "full":
            return bounds.RESULT_FULL_MAX_SECONDS
        case _:
            return 0.0


def call_over(error: Exception, memory: CallMemory, *, expired: bool) -> str | None:
    """The remembered call that a failure has ended: the handler says so by an error that is not retryable.

    A call that took too long here, or whose handler failed before it came to it, may still be fetched.
    """
    final = isinstance(error, JobError) and not getattr(error, "retryable", False)
    return memory.call.request_id if memory.call and memory.consulted and final and not expired else None


def paid_before(reader: Reader, signature: str, request_id: str | None) -> bool:
    """Whether a result of the same remembered call is there already, of a holder that had lost its claim."""
    return request_id is not None and any(trace.request_id == request_id for trace in reader.events.traces(signature))


def _check(request_id: str, data: Json) -> None:
    if not isinstance(request_id, str) or not 0 < len(request_id) <= bounds.ID_MAX_BYTES:
        raise ProducerError(f"A remembered call needs a text of 1 to {bounds.ID_MAX_BYTES} characters as its name.")
    try:
        size = len(canonical_json(data))
    except InvalidValueError as error:
        raise ProducerError(f"What is to be remembered of {request_id} is not JSON: {error.message}") from error
    if size > bounds.CALL_DATA_MAX_BYTES:
        raise ProducerError(f"What is to be remembered of {request_id} exceeds {bounds.CALL_DATA_MAX_BYTES:,} bytes.")
