"""Who works on what: leases of runs with heartbeats, and claims of signatures. Keeps invariant 10.

A lease that expires is up for taking; one whose process is seen to be gone, on this machine, is so at once. Whoever
takes a lease has a greater token than anyone before, by which a late holder is told from the present one. A holder
hears within a moment that its lease is lost, or that it is asked to stop.
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime
from functools import partial
from typing import Final

from msgspec import Struct

from renku_store import bounds
from renku_store.announcing import Announcer
from renku_store.clock import Clock, timestamp
from renku_store.errors import LeaseLostError, NotFoundError, StoreError
from renku_store.metadata.base import MetadataStore, Reader, Writer
from renku_store.metadata.calls import CallInFlight
from renku_store.metadata.traces import usable_trace
from renku_store.processes import process_alive, this_process
from renku_store.records.events import Trace
from renku_store.records.run import Holder, LeaseToken, RunRecord

_ENDED: Final = frozenset({"published", "abandoned"})
_LET_GO: Final[dict[str, LeaseToken]] = {}
"""By run, the lease that this process has let go of and could not release: nobody in it has to wait for its end."""


class Wanted(Struct, frozen=True):
    """A signature that a job would make. `forced`: whatever results there are."""

    signature: str
    job: str
    forced: bool = False


class Claimed(Struct, frozen=True):
    """The signature is ours to make; `call`, if any, is the one that an earlier holder has begun and noted.

    `asked` is when it was asked for, by both clocks: its lease was renewed after that.
    """

    call: CallInFlight | None = None
    asked: tuple[float, datetime] | None = None

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Claimed) and self.call == other.call


class AlreadyMade(Struct, frozen=True):
    """There is a usable result."""

    trace: Trace


class HeldBy(Struct, frozen=True):
    """A run, maybe this one for another job, is making it."""

    run: str


ClaimAnswer = Claimed | AlreadyMade | HeldBy


class Heartbeat:
    """A lease that is being renewed: `lost` once somebody else has it, `cancelled` once its holder is asked to stop."""

    def __init__(self, token: LeaseToken) -> None:
        self.token = token
        self.lost = threading.Event()
        self.cancelled = threading.Event()
        self._lock = threading.Lock()
        self._listeners: list[Callable[[], None]] = []

    def check(self) -> None:
        """Raise `LeaseLostError` if the lease was lost."""
        if self.lost.is_set():
            raise taken_over(self.token.run)

    @contextmanager
    def watched(self, listener: Callable[[], None]) -> Iterator[None]:
        """Call `listener` when the lease is lost or its holder asked to stop: at once if it is so already.

        It is called in the thread of the heartbeat, and never after the context has ended.
        """
        with self._lock:
            self._listeners.append(listener)
            if self.lost.is_set() or self.cancelled.is_set():
                listener()
        try:
            yield
        finally:
            with self._lock:
                self._listeners.remove(listener)

    def tell(self, news: threading.Event) -> None:
        """Set `lost` or `cancelled`, and call whoever watches, the first time."""
        with self._lock:
            if not news.is_set():
                news.set()
                for listener in self._listeners:
                    listener()


class RunLeases:
    """The leases and claims of one movie, as this process takes them.

    `announcer` tells machines that do not share the index that a run goes on.
    """

    def __init__(
        self,
        metadata: MetadataStore,
        clock: Clock,
        *,
        announcer: Announcer | None = None,
        holder: Holder | None = None,
        lease_seconds: float = bounds.LEASE_SECONDS,
        heartbeat_seconds: float = bounds.HEARTBEAT_SECONDS,
    ) -> None:
        self._metadata = metadata
        self._clock = clock
        self._announcer = announcer
        self._holder = holder or this_process()
        self._lease_seconds = lease_seconds
        self._heartbeat_seconds = heartbeat_seconds

    def start(self, run: str, *, base_revision: str | None, edits_through: int) -> LeaseToken:
        """Begin a run, `running` under a lease of this process; one that has begun before is taken over."""
        with self._metadata.write() as writer:
            if writer.runs.get(run) is None:
                now = timestamp(self._clock.now())
                writer.runs.create(run, base_revision=base_revision, edits_through=edits_through, created_at=now)
            token = self._take(writer, run, base_revision, edits_through)
        return self._announced(token)

    def take_over(self, run: str, *, base_revision: str | None = None, edits_through: int | None = None) -> LeaseToken:
        """Continue a run whose lease was given up, has expired, or was held by a process of this machine that is gone.

        `base_revision` and `edits_through` are changed if given. Raises `NotFoundError` for a run that is not there,
        `LeaseLostError` for one that has ended or that a living process holds.
        """
        with self._metadata.write() as writer:
            token = self._take(writer, run, base_revision, edits_through)
        return self._announced(token)

    def _announced(self, token: LeaseToken) -> LeaseToken:
        """Tell other machines that the run goes on, before it puts or rests on anything."""
        if self._announcer is not None:
            try:
                self._announcer.announce(token.run)
            except BaseException:
                with contextlib.suppress(StoreError):
                    self.release(token)
                raise
        return token

    def unfinished(self) -> list[RunRecord]:
        """Runs neither published nor abandoned, oldest first; `alive` says whether a process may be working on one."""
        with self._metadata.read() as reader:
            records = reader.runs.list(unfinished=True)
            gone = {record.run for record in records if record.alive and self._gone(reader, record.run)}
        return [record.replace(alive=False) if record.run in gone else record for record in records]

    def record(self, run: str) -> RunRecord:
        """One run; `alive` says whether a process may be working on it. `NotFoundError` for one that is not there."""
        with self._metadata.read() as reader:
            record, gone = _known(reader, run), self._gone(reader, run)
        return record.replace(alive=False) if gone else record

    def check(self, token: LeaseToken) -> None:
        """Raise `LeaseLostError` unless this token is still the present one of its run."""
        with self._metadata.read() as reader:
            if not reader.runs.holds(token):
                raise taken_over(token.run)

    @contextmanager
    def kept(self, token: LeaseToken) -> Iterator[None]:
        """Let nobody take the lease over for the length of a block; `LeaseLostError` if somebody has.

        What a block replaces is its holder's, then, and no late holder's. Nothing else can be written meanwhile.
        """
        with self._metadata.write() as writer:
            if not writer.runs.holds(token):
                raise taken_over(token.run)
            yield

    def release(self, token: LeaseToken) -> None:
        """Give a lease and its claims up; no error if it is lost already.

        Where that cannot be written, this process may take it again at once; for others it ends by itself.
        """
        try:
            with self._metadata.write() as writer:
                writer.runs.release(token)
        except StoreError:
            _LET_GO[token.run] = token
            raise

    def cancel(self, run: str) -> None:
        """Ask the process that holds a run to stop; it hears so within `CANCEL_POLL_SECONDS`.

        Raises `NotFoundError` for a run that is not there, or that no living process holds.
        """
        with self._metadata.write() as writer:
            record = _known(writer, run)
            if self._gone(writer, run) or not writer.runs.cancel(run):
                raise _not_running(record)

    @contextmanager
    def held(self, token: LeaseToken, on_lost: Callable[[], None] | None = None) -> Iterator[Heartbeat]:
        """Renew a lease from a thread of its own, and release it at the end.

        When the lease turns out to be lost, `lost` is set and `on_lost` called in that thread, once.
        """
        heartbeat = Heartbeat(token)
        done = threading.Event()
        thread = threading.Thread(
            target=self._beat, args=(heartbeat, done, on_lost), name=f"lease of {token.run}", daemon=True
        )
        thread.start()
        try:
            yield heartbeat
        finally:
            done.set()
            thread.join()
            # What cannot be released now expires by itself.
            with contextlib.suppress(StoreError):
                self.release(token)

    def claim(self, signature: str, token: LeaseToken, job: str, *, forced: bool = False) -> ClaimAnswer:
        """Claim one signature, as `claim_many` does."""
        return self.claim_many([Wanted(signature, job, forced=forced)], token)[0]

    def claim_many(self, wanted: Sequence[Wanted], token: LeaseToken) -> list[ClaimAnswer]:
        """Claim signatures, unless there is a usable result of one already or someone else is making it.

        All of it is seen at one moment (invariant 10). A `forced` job wants a new result whatever there is. Claims of
        processes of this machine that are gone are taken at once. Raises `LeaseLostError` if the token is not the
        present one.
        """
        asked = self._clock.monotonic(), self._clock.now()
        with self._metadata.write() as writer:
            if not writer.runs.holds(token):
                raise taken_over(token.run)
            answers = self._claim_all(writer, wanted, token)
            calls = writer.calls.among(one.signature for one in wanted)
            # Under a lease that is overdue, as after a pause of the machine, whoever asks next would take the claim.
            if any(isinstance(answer, Claimed) for answer in answers):
                writer.runs.renew(token, self._lease_seconds)
        return [
            Claimed(calls.get(one.signature), asked) if isinstance(answer, Claimed) else answer
            for one, answer in zip(wanted, answers, strict=True)
        ]

    def _claim_all(self, writer: Writer, wanted: Sequence[Wanted], token: LeaseToken) -> list[ClaimAnswer]:
        """Claim those that nobody has made or is making, as most are, in one go; the others one by one."""
        free = writer.runs.claim_free([(one.signature, one.job) for one in wanted if not one.forced], token)
        answers: list[ClaimAnswer] = []
        for one in wanted:
            if not one.forced and one.signature in free:
                free.remove(one.signature)  # whoever names it again finds it claimed
                answers.append(Claimed())
            else:
                answers.append(self._claim(writer, one, token))
        return answers

    def _claim(self, writer: Writer, wanted: Wanted, token: LeaseToken) -> ClaimAnswer:
        trace = None if wanted.forced else usable_trace(writer, wanted.signature)
        if trace is not None:
            return AlreadyMade(trace)
        run = writer.runs.claim(wanted.signature, token, wanted.job)
        if run is not None:
            if not self._gone(writer, run):
                return HeldBy(run)
            writer.runs.claim(wanted.signature, token, wanted.job, steal=True)
        return Claimed()

    def is_sure(self, claimed: Claimed) -> bool:
        """Whether nobody can have taken a claim by now: the lease that was renewed with it cannot have run out."""
        if claimed.asked is None:
            return False
        seconds, day = claimed.asked
        # A machine that sleeps may stop the one clock, and whoever sets the time of day moves the other.
        passed = max(self._clock.monotonic() - seconds, (self._clock.now() - day).total_seconds())
        return passed < self._lease_seconds / 2

    def still_claims(self, signature: str, token: LeaseToken, job: str) -> bool:
        """Whether a claim is this job's still; its lease is renewed then. Raises `LeaseLostError` as `claim_many`."""
        with self._metadata.write() as writer:
            if not writer.runs.holds(token):
                raise taken_over(token.run)
            return writer.runs.holds_claim(signature, token, job) and writer.runs.renew(token, self._lease_seconds)

    def unclaim(self, signature: str, token: LeaseToken, job: str | None = None) -> None:
        """Give a claim up without a result, and only that of this job if it is given; no error if it is not ours."""
        with self._metadata.write() as writer:
            writer.runs.unclaim(signature, token, job)

    def _take(self, writer: Writer, run: str, base_revision: str | None, edits_through: int | None) -> LeaseToken:
        record = _known(writer, run)
        if record.status in _ENDED:
            raise LeaseLostError(f"The run {run} has ended: it is {record.status}.", hint="Start another run.")
        if record.elsewhere:
            raise LeaseLostError(
                f"The run {run} is another machine's.", hint="Start another run: what that one has made is reused."
            )
        token = writer.runs.acquire(run, self._holder, self._lease_seconds, steal=self._gone(writer, run))
        if token is None:
            raise LeaseLostError(
                f"The run {run} is held by {record.holder}.",
                hint=f"Wait for it, or stop it: `renku-store cancel {run}`.",
            )
        writer.runs.update(run, status="running", base_revision=base_revision, edits_through=edits_through)
        return token

    def _gone(self, reader: Reader, run: str) -> bool:
        """Whether the holder of a run's lease is known to work on it no more; False where nobody holds it."""
        holder, let_go = reader.runs.holder(run), _LET_GO.get(run)
        if holder is None:
            return False
        if let_go is not None and holder == self._holder and reader.runs.holds(let_go):
            return True
        return not process_alive(holder)

    def _beat(self, heartbeat: Heartbeat, done: threading.Event, on_lost: Callable[[], None] | None) -> None:
        pause = min(self._heartbeat_seconds, bounds.CANCEL_POLL_SECONDS)
        looks = 0
        while not done.wait(pause):
            looks += 1
            try:
                held = self._look(heartbeat)
                if held and looks * pause >= self._heartbeat_seconds:
                    held = self._renew(heartbeat.token)
                    looks = 0
            except StoreError:
                # A full disk or a busy store may pass before the lease does; whoever publishes asks the store again.
                continue
            if not held:
                heartbeat.tell(heartbeat.lost)
                if on_lost is not None:
                    on_lost()
                return

    def _look(self, heartbeat: Heartbeat) -> bool:
        """Whether the lease is still ours; passes on that its holder is to stop."""
        with self._metadata.read() as reader:
            held, cancelled = reader.runs.holds(heartbeat.token), reader.runs.cancelled(heartbeat.token)
        if cancelled:
            heartbeat.tell(heartbeat.cancelled)
        return held

    def _renew(self, token: LeaseToken) -> bool:
        with self._metadata.write() as writer:
            held = writer.runs.renew(token, self._lease_seconds)
        if held and self._announcer is not None and self._announcer.is_due(token.run):
            # Beside the heartbeat: a slow storage must not cost the lease. What fails is tried again later.
            again = partial(_renewed, self._announcer, token.run)
            threading.Thread(target=again, name=f"intent of {token.run}", daemon=True).start()
        return held


def _renewed(announcer: Announcer, run: str) -> None:
    with contextlib.suppress(StoreError):
        announcer.renew(run)


def taken_over(run: str) -> LeaseLostError:
    """What a holder is told whose lease is another's by now."""
    return LeaseLostError(f"The run {run} was taken over.", hint="`renku-store status` shows by whom.")


def _known(reader: Reader, run: str) -> RunRecord:
    record = reader.runs.get(run)
    if record is None:
        raise NotFoundError(f"There is no run {run}.", hint="`renku-store status` lists the runs.")
    return record


def _not_running(record: RunRecord) -> NotFoundError:
    if record.status in _ENDED:
        return NotFoundError(
            f"The run {record.run} is not running: it is {record.status}.", hint="`renku-store status` lists the runs."
        )
    return NotFoundError(
        f"The run {record.run} is not running: it has stopped before it came to its end.",
        hint=f"`renku-store run` takes it up again, `renku-store abandon {record.run}` gives it up.",
    )
