"""How results reach the store: one writer, many results a commit; what has been paid for waits for a busy store.

Keeps invariants 3 (blobs are durable before the event that names them), 9 (what an earlier result names is made live
again) and 10 (storing a trace and releasing its claim are one transaction; without the claim it is a take that is only
kept, and without the lease nothing else is stored; the call in flight is forgotten with its result).
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, Final, TypeVar

from msgspec import Struct

from renku_store import bounds
from renku_store.blobs import BlobStore
from renku_store.clock import Clock, timestamp
from renku_store.errors import StoreUnavailableError, UnusableError
from renku_store.finishing import in_thread_to_the_end
from renku_store.hashing import hash_bytes
from renku_store.leases import taken_over
from renku_store.media_types import is_text
from renku_store.metadata.base import MetadataStore, Writer
from renku_store.records.events import ArtefactEvent, ArtefactStatus, JobFailure, Trace
from renku_store.records.graph import GraphNode
from renku_store.records.manifest import ArtefactValue
from renku_store.records.run import LeaseToken
from renku_store.running.grouping import Grouped
from renku_store.running.remembering import paid_before, patience

T = TypeVar("T")

_GROUP_MAX: Final = 256
"""Results in one commit: a sync is shared by this many, and no waiter waits for more."""


class Outcome(Struct, frozen=True, gc=False):  # it holds no cycle
    """What one job came to, on its way into the store.

    Exactly one is given: `contents` (output name -> bytes or a file, of a call that succeeded), `trace` (an earlier
    result that is taken over) or `failure`. `over` names the remembered call that has come to its end with this.
    A `part` of what a job is making is kept under its own signature, and is no job's and no producer's result.
    """

    node: GraphNode
    signature: str
    contents: Mapping[str, bytes | Path] = {}
    mime_types: Mapping[str, str] = {}
    trace: Trace | None = None
    failure: JobFailure | None = None
    cost: float = 0.0
    attempts: int = 0
    request_id: str | None = None
    duration_seconds: float = 0.0
    over: str | None = None
    part: bool = False


class Stored(Struct, frozen=True, gc=False):  # it holds no cycle
    """What was stored: the id of the result, and the value of each output (none for a failure).

    Not `ours` is what a call came to after its claim was lost: somebody else may be making it anew by now.
    """

    result: str
    values: Mapping[str, ArtefactValue]
    ours: bool = True


class ResultWriter:
    """Stores outcomes; those that arrive while a commit is under way share the next one."""

    def __init__(
        self,
        metadata: MetadataStore,
        blobs: BlobStore,
        new_ids: Callable[[int], Sequence[str]],
        clock: Clock,
        token: LeaseToken,
        keep_late: Callable[[Sequence[ArtefactEvent]], object],
    ) -> None:
        self._metadata = metadata
        self._blobs = blobs
        self._new_ids = new_ids
        self._clock = clock
        self._token = token
        self._keep_late = keep_late
        self._grouped = Grouped(self._store_group, _GROUP_MAX)

    async def store(self, outcome: Outcome) -> Stored:
        """Store one outcome, durable on return; without the lease only contents are, and for others it is an error."""
        return await self._grouped.ask(outcome)

    async def store_to_the_end(self, outcome: Outcome) -> tuple[Stored, bool]:
        """Store one outcome, even if the caller is cancelled meanwhile; says whether it was."""
        return await self._grouped.ask_to_the_end(outcome)

    async def flush(self) -> None:
        """Wait until everything that was handed over is stored."""
        await self._grouped.flush()

    async def _store_group(self, outcomes: Sequence[Outcome], *, patient: bool = True) -> Sequence[Stored | Exception]:
        paid = patient and any(outcome.contents or outcome.cost > 0 for outcome in outcomes)
        try:
            stored, late = await self._patiently(partial(self._commit, outcomes), patient=paid)
        except Exception as error:  # noqa: BLE001 (each waiter gets it; none is swallowed)
            if len(outcomes) == 1 or not _of_one(error):
                return [error] * len(outcomes)
            again = not isinstance(error, StoreUnavailableError)
            return [answer for one in outcomes for answer in await self._store_group([one], patient=again)]
        if not late:
            return stored
        try:
            await self._patiently(partial(self._keep_late, late), patient=patient)
        except Exception as error:  # noqa: BLE001 (as above; the results are stored, and are not stored again)
            return [answer if isinstance(answer, Exception) else error for answer in stored]
        return stored

    async def _patiently(self, work: Callable[[], T], *, patient: bool) -> T:
        """Do what may fail because others keep the store busy, or have filled it, until it works or the time is up.

        Once the lease is another's, the store is in use again: then it is tried for the last time; and so it is where
        the event loop is shut down, which alone cancels this, while it pauses.
        """
        loop = asyncio.get_running_loop()
        began, last = loop.time(), not patient
        while True:
            try:
                done, _ = await in_thread_to_the_end(work)
            except StoreUnavailableError as error:
                if last or loop.time() - began >= patience(error):
                    raise
            else:
                return done
            try:
                await asyncio.sleep(bounds.RESULT_PAUSE_SECONDS)
            except asyncio.CancelledError:
                last = True
            else:
                held, cancelled = await in_thread_to_the_end(self._may_be_held)
                last = cancelled or not held

    def _may_be_held(self) -> bool:
        try:
            with self._metadata.read() as reader:
                return reader.runs.holds(self._token)
        except StoreUnavailableError:
            return True

    def _commit(self, outcomes: Sequence[Outcome]) -> tuple[list[Stored | Exception], list[ArtefactEvent]]:
        """Store outcomes in one transaction; gives the answers, and the events that have come too late."""
        values = self._put(outcomes)
        reused = [value for outcome in outcomes if outcome.trace for value in outcome.trace.outputs.values()]
        self._blobs.keep_young(value.blob for value in reused if value.blob)
        answers: list[Stored | Exception] = []
        late: list[ArtefactEvent] = []
        with self._metadata.write() as transaction:
            held = transaction.runs.holds(self._token)
            for wave in _waves(list(zip(outcomes, values, strict=True))):
                admitted = [(outcome, outputs) for outcome, outputs in wave if held or outcome.contents]
                stored, events = self._append(transaction, admitted)
                given = iter(stored)
                answers += [
                    next(given) if held or outcome.contents else taken_over(self._token.run) for outcome, _ in wave
                ]
                late += [] if held else events
        return answers, late

    def _put(self, outcomes: Sequence[Outcome]) -> list[dict[str, ArtefactValue]]:
        """Make the bytes of all outcomes durable in one batch, and say what each output is."""
        values: list[dict[str, ArtefactValue]] = []
        large: list[tuple[dict[str, ArtefactValue], str, str]] = []
        contents: list[bytes | Path] = []
        for outcome in outcomes:
            outputs = dict(outcome.trace.outputs) if outcome.trace else {}
            for name, content in outcome.contents.items():
                mime_type = outcome.mime_types[name]
                inline = _inline(content, mime_type)
                if inline is not None:
                    outputs[name] = inline
                else:
                    large.append((outputs, name, mime_type))
                    contents.append(content)
            values.append(outputs)
        for (outputs, name, mime_type), blob in zip(large, self._blobs.put_many(contents, verify=True), strict=True):
            outputs[name] = ArtefactValue(hash=blob.hash, size=blob.size, mime_type=mime_type, blob=blob.hash)
        return values

    def _append(
        self, transaction: Writer, outcomes: Sequence[tuple[Outcome, Mapping[str, ArtefactValue]]]
    ) -> tuple[list[Stored], list[ArtefactEvent]]:
        """Append what the outcomes of different signatures came to, and end their claims and calls."""
        jobs = {outcome.signature: outcome.node.job_id for outcome, _ in outcomes}
        reused = {blob for outcome, values in outcomes if outcome.trace for blob in _blobs(values)}
        if reused:
            self._blobs.revive(transaction, reused)
        claimed = transaction.runs.claims_held(jobs, self._token)
        stored: list[Stored] = []
        events: list[ArtefactEvent] = []
        now = timestamp(self._clock.now())  # before the ids: the log's last one says how far times have come
        ids = iter(self._new_ids(sum(1 + len(outcome.node.produces) for outcome, _ in outcomes)))
        for outcome, values in outcomes:
            ours = outcome.trace is not None or outcome.signature in claimed
            result = outcome.trace.result if outcome.trace else next(ids)
            cost = 0.0 if paid_before(transaction, outcome.signature, outcome.over) else outcome.cost
            common = {"status": _status(outcome, ours=ours), "result": result, "created_at": now}
            events += self._events(outcome, values, common, cost, ids)
            stored.append(Stored(result, values, ours))
        transaction.events.add(events)
        ended = [outcome for outcome, _ in outcomes if outcome.contents or outcome.over]
        over = {outcome.signature: outcome.node.job_id for outcome in ended if outcome.signature in claimed}
        transaction.calls.forget_all(over, self._token)
        transaction.runs.unclaim_all(jobs, self._token)
        return stored, events

    def _events(
        self,
        outcome: Outcome,
        values: Mapping[str, ArtefactValue],
        common: Mapping[str, Any],
        cost: float,
        ids: Iterator[str],
    ) -> list[ArtefactEvent]:
        """The events of one result: `common` is what they share, and `ids` are new."""
        trace, node = outcome.trace, outcome.node
        common = {
            **common,
            "run": self._token.run,
            "job": None if outcome.part else node.job_id,
            "producer": None if outcome.part else node.producer,
            "signature": outcome.signature,
            "attempts": outcome.attempts or None,
            "request_id": outcome.request_id,
            "duration_seconds": round(outcome.duration_seconds, 3) if outcome.attempts else None,
            "failure": outcome.failure,
            "source": trace.source if trace else node.source,
        }
        return [
            ArtefactEvent(
                id=next(ids),
                artefact=output.id,
                output=output.name,
                value=values.get(output.name),
                cost=cost if place == 0 and not trace else None,
                **common,
            )
            for place, output in enumerate(node.produces)
        ]


def _waves(outcomes: Sequence[tuple[Outcome, T]]) -> list[list[tuple[Outcome, T]]]:
    """Outcomes in their order, cut before each that has the signature of one before: it finds what that one left."""
    waves: list[list[tuple[Outcome, T]]] = [[]]
    seen: set[str] = set()
    for outcome, values in outcomes:
        if outcome.signature in seen:
            waves.append([])
            seen.clear()
        seen.add(outcome.signature)
        waves[-1].append((outcome, values))
    return waves


def _blobs(values: Mapping[str, ArtefactValue]) -> list[str]:
    return [value.blob for value in values.values() if value.blob]


def _of_one(error: Exception) -> bool:
    """Whether an error may be the matter of one outcome, such as damage or its size, and not of those beside it."""
    return not isinstance(error, UnusableError) or (isinstance(error, StoreUnavailableError) and error.reason == "full")


def _status(outcome: Outcome, *, ours: bool) -> ArtefactStatus:
    if outcome.failure is not None:
        return "failed"
    if outcome.trace is not None:
        return "reused"
    return "succeeded" if ours else "kept"


def _inline(content: bytes | Path, mime_type: str) -> ArtefactValue | None:
    """Text of at most 2,048 UTF-8 bytes as an inline value; None for what is to be a blob."""
    size = len(content) if isinstance(content, bytes) else content.stat().st_size
    if size > bounds.INLINE_MAX_BYTES or not is_text(mime_type):
        return None
    data = content if isinstance(content, bytes) else content.read_bytes()
    try:
        text = data.decode()
    except UnicodeDecodeError:
        return None
    return ArtefactValue(hash=hash_bytes(data), size=len(data), mime_type=mime_type, inline=text)
