"""Limits over all processes that work on a movie, through its metadata store, as the calls of a run take part.

1. Slots and starts of all keys of a call are given in one transaction, or none: nobody waits while it holds another's.
2. What a process holds that is gone, or whose lease has ended, is free (as claims are).
"""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace

from renku_store.clock import Clock
from renku_store.errors import StoreError
from renku_store.leases import process_alive, taken_over, this_process
from renku_store.metadata.base import MetadataStore, Reader, Writer
from renku_store.metadata.limits import Demand, Grant, HeldPlace, Refused, refusal
from renku_store.records.run import LeaseToken


@dataclass(frozen=True, slots=True)
class _Debt:
    """What is to be given back."""

    grant: Grant | None
    ticket: int | None
    started: bool


class RunLimits:
    """The shared limits of a movie under the lease of one run. Safe to use from many threads."""

    def __init__(self, metadata: MetadataStore, token: LeaseToken, clock: Clock) -> None:
        self._metadata = metadata
        self._token = token
        self._clock = clock
        self._holder = this_process()
        self._owed: list[_Debt] = []
        self._lock = threading.Lock()

    def now(self) -> float:
        """The clock of `Grant.at`, in seconds."""
        return self._clock.monotonic()

    def take(self, demands: Sequence[Demand], priority: float, ticket: int | None, *, queue: bool) -> Grant | Refused:
        """Take slots and starts of all keys or, if that cannot be now, of none: with `queue`, wait with a ticket.

        Who has a ticket goes before all that come later with no higher priority. Raises `LeaseLostError` if the run is
        another's, `StoreUnavailableError`.
        """
        if ticket is not None:
            with self._metadata.read() as reader:
                found = self._look(reader, demands, priority, ticket)
            if found is not None and not any(map(self._gone, found[1])):
                return replace(found[0], ticket=ticket)
        with self._writing() as writer:
            if not writer.runs.holds(self._token):
                raise taken_over(self._token.run)
            self._free_the_gone(writer, demands)
            held_up = self._look(writer, demands, priority, ticket)
            if held_up is not None:
                if queue and ticket is None:
                    keys = [demand.key for demand in demands]
                    ticket = writer.limits.enqueue(keys, priority, self._token, self._holder)
                return replace(held_up[0], ticket=ticket)
            if ticket is not None:
                writer.limits.leave([ticket])
            return self._granted(writer, demands)

    def restart(self, grant: Grant, priority: float) -> Grant | Refused:
        """Count the starts of a grant anew, now, if the rates let it; its slots stay either way.

        If they do not let it, the call has not started for anybody. Raises `StoreUnavailableError`.
        """
        with self._writing() as writer:
            writer.limits.unstart(grant.starts)
            for demand in grant.demands:
                found = replace(writer.limits.occupancy(demand.key, demand.period_ms), queue=())
                rates = replace(demand, slots=None)
                held_up = refusal(rates, found, writer.now_ms(), ticket=None, priority=priority)
                if held_up is not None:
                    return held_up
            at = self.now()
            return replace(grant, starts=_started(writer, grant.demands), at=at)

    def pause(self, key: str, seconds: float) -> None:
        """Let nobody start under a key for so many seconds, as a provider asks. Raises `StoreUnavailableError`."""
        with self._writing() as writer:
            writer.limits.pause(key, round(max(0.0, seconds) * 1000))

    def give(self, grant: Grant | None, ticket: int | None, *, started: bool) -> None:
        """Give slots and a ticket back; the starts, too, of a call that has not `started`.

        Never fails: what the store does not take now, it is given at the next occasion, and else the lease's end is
        the end of it.
        """
        with self._lock:
            self._owed.append(_Debt(grant, ticket, started))
        with suppress(StoreError), self._writing():
            pass

    @contextmanager
    def _writing(self) -> Iterator[Writer]:
        """A transaction that begins with giving back what is owed; the debt is over once it has been committed."""
        with self._lock:
            owed = list(self._owed)
        with self._metadata.write() as writer:
            writer.limits.tidy()
            for debt in owed:
                writer.limits.leave([] if debt.ticket is None else [debt.ticket])
                writer.limits.give(debt.grant.slots if debt.grant else ())
                writer.limits.unstart(debt.grant.starts if debt.grant and not debt.started else ())
            yield writer
        with self._lock:
            self._owed = [debt for debt in self._owed if debt not in owed]

    def _look(
        self, reader: Reader, demands: Sequence[Demand], priority: float, ticket: int | None
    ) -> tuple[Refused, list[HeldPlace]] | None:
        """What holds a call up, and who does; None if nothing does."""
        now = reader.now_ms()
        for demand in demands:
            found = reader.limits.occupancy(demand.key, demand.period_ms)
            held_up = refusal(demand, found, now, ticket=ticket, priority=priority)
            if held_up is not None:
                return held_up, [*found.slots, *found.queue]
        return None

    def _free_the_gone(self, writer: Writer, demands: Sequence[Demand]) -> None:
        for demand in demands:
            found = writer.limits.occupancy(demand.key, 0)
            writer.limits.give(slot.number for slot in found.slots if self._gone(slot))
            writer.limits.leave(waiter.number for waiter in found.queue if self._gone(waiter))

    def _gone(self, place: HeldPlace) -> bool:
        holder = place.holder
        return (holder.host, holder.pid) != (self._holder.host, self._holder.pid) and not process_alive(holder)

    def _granted(self, writer: Writer, demands: Sequence[Demand]) -> Grant:
        slots = [
            writer.limits.take(demand.key, demand.weight, self._token, self._holder)
            for demand in demands
            if demand.slots is not None
        ]
        at = self.now()
        return Grant(demands, slots, _started(writer, demands), at)


def _started(writer: Writer, demands: Sequence[Demand]) -> list[int]:
    return [writer.limits.start(demand.key, demand.weight) for demand in demands if demand.paced]
