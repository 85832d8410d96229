"""Limits over all processes of a machine, as the calls of a run take part in them.

1. Slots and starts of all keys of a call are given in one transaction, or none: nobody waits while it holds another's.
2. What a run holds counts while it renews its part, as it does a lease; of a process that is gone it is free at once.
3. Who waits stands in the way of those alone who come later under the rule that it was refused under, while it asks.
4. Nothing is opened, and nothing written, until a call asks. Who gives back waits for nothing.
"""

from __future__ import annotations

import asyncio
import os
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TypeVar

from renku_store import bounds
from renku_store.clock import Clock
from renku_store.drivers.caching.place import cache_folder
from renku_store.errors import StoreError, StoreUnavailableError
from renku_store.metadata.limits import (
    Demand,
    Grant,
    HeldPlace,
    LimitReads,
    LimitStore,
    LimitWrites,
    Refused,
    refusal,
)
from renku_store.metadata.sqlite.limit_store import open_limits
from renku_store.processes import process_alive, this_process

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class _Debt:
    """What is to be given back, or, with `pause` (a key and seconds), to be told."""

    grant: Grant | None = None
    ticket: int | None = None
    started: bool = True
    pause: tuple[str, float] | None = None


@dataclass(frozen=True, slots=True)
class _HeldUp:
    """The first refusal of a call; the rules, by their keys, under which it was refused; and who holds these up."""

    first: Refused
    rules: Mapping[str, str]
    by: Sequence[HeldPlace]


class MachineLimits:
    """The limits of this machine, in which one run takes part. Safe to use from many threads.

    `check` raises `LeaseLostError` once the run is another's: it begins no call, then.
    """

    def __init__(
        self,
        open_store: Callable[[], LimitStore],
        check: Callable[[], None],
        clock: Clock,
        *,
        lease_seconds: float = bounds.LEASE_SECONDS,
        heartbeat_seconds: float = bounds.HEARTBEAT_SECONDS,
    ) -> None:
        self._open_store = open_store
        self._check = check
        self._clock = clock
        self._lease_ms = round(lease_seconds * 1000)
        self._heartbeat_seconds = heartbeat_seconds
        self._process = os.getpid()
        self._thread: ThreadPoolExecutor | None = None
        self._store: LimitStore | None = None
        self._beating: threading.Thread | None = None
        self._number: int | None = None
        self._owed: deque[_Debt] = deque()
        self._lock = threading.RLock()
        self._gate = threading.Lock()
        self._closed = threading.Event()
        self._failure: tuple[float, StoreUnavailableError] | None = None

    def now(self) -> float:
        """The clock of `Grant.at`, in seconds."""
        return self._clock.monotonic()

    def apart(self, work: Callable[[], T]) -> asyncio.Future[T]:
        """Do what may wait for the disk in this run's own thread: what calls have made is stored by others.

        Where the store was found to be unusable since, those that have waited behind that fail by the same error.
        """
        asked = time.monotonic()

        def unless_unusable() -> T:
            if self._failure is not None and self._failure[0] >= asked:
                raise self._failure[1]
            try:
                return work()
            except StoreUnavailableError as error:
                self._failure = time.monotonic(), error
                raise

        return asyncio.wrap_future(self._submit(unless_unusable))

    def take(self, demands: Sequence[Demand], priority: float, ticket: int | None, *, queue: bool) -> Grant | Refused:
        """Take slots and starts of all keys or, if that cannot be now, of none: with `queue`, wait with a ticket.

        Who has a ticket goes before all that come later with no higher priority. Raises `LeaseLostError` if the run is
        another's, `StoreUnavailableError`, `DamageError`.
        """
        self._refuse_unusable()
        if ticket is not None:
            with self._opened().read() as reader:
                found = self._look(reader, demands, priority, ticket)
                stays = found is not None and reader.waits(ticket, found.rules, _asked_ms(found.first) // 2)
            if found is not None and stays and all(process_alive(place.holder) for place in found.by):
                return replace(found.first, ticket=ticket)
        self._check()
        with self._lock:
            with self._writing() as writer:
                holder = self._taking_part(writer)
                others = ((number, other) for number, other in writer.holders() if number != holder)
                writer.drop([number for number, other in others if not process_alive(other)])
                answer = self._answer(writer, holder, demands, priority, ticket, queue=queue)
            self._number = holder  # only now: a number that was not committed may be another's next
            return answer

    def restart(self, grant: Grant, priority: float) -> Grant | Refused:
        """Count the starts of a grant anew, now, if the rates let it; its slots stay, unless they were lost.

        If they do not let it, the call has not started for anybody. Raises `StoreUnavailableError`.
        """
        with self._writing() as writer:
            writer.unstart(grant.starts)
            if not writer.holds(grant.slots):
                writer.give(grant.slots)
                return Refused("limit", grant.demands[0].key, lost=True)
            for demand in grant.demands:
                found = replace(writer.occupancy(demand.key, demand.period_ms), queue=())
                rates = replace(demand, slots=None)
                held_up = refusal(rates, found, writer.now_ms(), ticket=None, priority=priority)
                if held_up is not None:
                    return held_up
            at = self.now()
            return replace(grant, starts=_started(writer, grant.demands), at=at)

    def pause(self, key: str, seconds: float) -> None:
        """Let nobody start under a key for so many seconds, as a provider asks. Never fails, and waits for nothing."""
        self._owe(_Debt(pause=(key, seconds)))

    def give(self, grant: Grant | None, ticket: int | None, *, started: bool) -> None:
        """Give slots and a ticket back; the starts, too, of a call that has not `started`.

        Never fails, and waits for nothing: what the store does not take now, it is given at the next occasion, and else
        the end of the run's part is the end of it.
        """
        self._owe(_Debt(grant, ticket, started))

    def close(self) -> None:
        """Take part no longer: what is still held is free. What cannot be said now is over when its time is."""
        if self._process != os.getpid():  # it is the parent who takes part
            return
        with self._gate:
            if self._closed.is_set():
                return
            self._closed.set()
        if self._thread is not None:
            self._thread.shutdown(wait=True)
        if self._beating is not None:
            self._beating.join()
        if self._store is not None:
            with suppress(StoreError), self._writing() as writer:
                writer.drop([] if self._number is None else [self._number])
            self._store.close()

    def _submit(self, work: Callable[[], T]) -> Future[T]:
        self._refuse_unusable()
        with self._gate:
            self._refuse_unusable()
            if self._thread is None:
                self._thread = ThreadPoolExecutor(1, thread_name_prefix="limits of this machine")
            return self._thread.submit(work)

    def _owe(self, debt: _Debt) -> None:
        self._owed.append(debt)
        with suppress(StoreError):
            self._submit(self._settle)

    def _settle(self) -> None:
        """Give back what is owed, and renew this run's part."""
        # A full disk or a busy store may pass: there will be another occasion before the time is up.
        with suppress(StoreError), self._writing():
            pass

    def _refuse_unusable(self) -> None:
        if self._closed.is_set() or self._process != os.getpid():
            raise StoreUnavailableError("The run takes part in limits no longer.", hint="It has ended, or was forked.")

    def _opened(self) -> LimitStore:
        with self._lock:
            if self._store is None:
                self._refuse_unusable()
                self._store = self._open_store()
                beating = threading.Thread(target=self._beat, name="limits of this machine", daemon=True)
                beating.start()
                self._beating = beating
            return self._store

    def _taking_part(self, writer: LimitWrites) -> int:
        """The number of this run: a new one if it was away for so long that others have dropped it."""
        if self._number is not None and writer.renew(self._number, self._lease_ms):
            return self._number
        return writer.join(this_process(), self._lease_ms)

    def _beat(self) -> None:
        while not self._closed.wait(self._heartbeat_seconds):
            self._settle()

    @contextmanager
    def _writing(self) -> Iterator[LimitWrites]:
        """A transaction that begins with renewing this run's part, and with giving back what is owed.

        The debt is over once it has been committed.
        """
        with self._lock:
            owed = list(self._owed)
            with self._opened().write() as writer:
                if self._number is not None:
                    writer.renew(self._number, self._lease_ms)
                writer.tidy()
                for debt in owed:
                    _pay(writer, debt)
                yield writer
            for _ in owed:
                self._owed.popleft()

    def _answer(
        self,
        writer: LimitWrites,
        holder: int,
        demands: Sequence[Demand],
        priority: float,
        ticket: int | None,
        *,
        queue: bool,
    ) -> Grant | Refused:
        held_up = self._look(writer, demands, priority, ticket)
        if held_up is not None:
            asked = held_up.rules, _asked_ms(held_up.first)
            if queue and (ticket is None or not writer.ask(ticket, *asked)):
                ticket = writer.enqueue(priority, holder)
                writer.ask(ticket, *asked)
            return replace(held_up.first, ticket=ticket)
        if ticket is not None:
            writer.leave([ticket])
        slots = [writer.take(demand.key, demand.weight, holder) for demand in demands if demand.slots is not None]
        at = self.now()
        return Grant(demands, slots, _started(writer, demands), at)

    def _look(
        self, reader: LimitReads, demands: Sequence[Demand], priority: float, ticket: int | None
    ) -> _HeldUp | None:
        """What holds a call up, and who does; None if nothing does."""
        now = reader.now_ms()
        refused: list[Refused] = []
        rules: dict[str, str] = {}
        by: list[HeldPlace] = []
        for demand in demands:
            found = reader.occupancy(demand.key, demand.period_ms)
            held_up = refusal(demand, found, now, ticket=ticket, priority=priority)
            if held_up is not None:
                refused.append(held_up)
                rules[demand.key] = demand.rule
                by += [*found.slots, *found.queue]
        return _HeldUp(refused[0], rules, by) if refused else None


def limits_file() -> Path:
    """Where the processes of this machine meet: those of one cache folder."""
    return cache_folder(None, os.environ) / "limits.db"


def limits_of_this_machine(check: Callable[[], None], clock: Clock) -> MachineLimits:
    """Those that all processes with the same cache folder share, for one run; `check` is as in `MachineLimits`."""
    return MachineLimits(lambda: open_limits(limits_file()), check, clock)


def _asked_ms(refused: Refused) -> int:
    """For how long one who was refused so is sure to ask again."""
    wait = min(refused.seconds or 0.0, bounds.LIMIT_RATE_LOOK_MAX_SECONDS)
    return round((wait + bounds.LIMIT_ASKED_SECONDS) * 1000)


def _pay(writer: LimitWrites, debt: _Debt) -> None:
    if debt.pause is not None:
        key, seconds = debt.pause
        writer.pause(key, round(max(0.0, seconds) * 1000))
    if debt.ticket is not None:
        writer.leave([debt.ticket])
    if debt.grant is not None:
        writer.give(debt.grant.slots)
        writer.unstart(() if debt.started else debt.grant.starts)


def _started(writer: LimitWrites, demands: Sequence[Demand]) -> list[int]:
    return [writer.start(demand.key, demand.weight) for demand in demands if demand.paced]
