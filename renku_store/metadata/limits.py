"""What limits that several processes share ask of the store that keeps them, and who may go on by what it says.

Keeps the law of a limit: no more than its slots at once over all holders that are unexpired and whose processes are not
seen to be gone, and no more starts in any window than its rate. One transaction sees and changes all of it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, Protocol, TypeVar

from renku_store.records.run import Holder

if TYPE_CHECKING:
    import asyncio

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Demand:
    """What a call asks of one key. What is None does not bind; times are in milliseconds.

    `slots` may be held at once, and `starts` may lie in any window of `period_ms`, weights added up.
    """

    key: str
    weight: int = 1
    slots: int | None = None
    starts: int | None = None
    period_ms: int = 0
    spacing_ms: int = 0

    @property
    def paced(self) -> bool:
        """Whether its starts are counted."""
        return self.starts is not None or self.spacing_ms > 0

    @property
    def rule(self) -> str:
        """Under which rule of the key it stands: who waits under another one does not stand in its way."""
        return f"{self.slots}/{self.starts}/{self.period_ms}/{self.spacing_ms}"


@dataclass(frozen=True, slots=True)
class Refused:
    """A call must wait: for a slot of `key`, or until its rate lets it start, in `seconds` if that is known.

    `ticket` is its place among those who wait. `lost`: the slots that it had are another's by now.
    """

    reason: Literal["limit", "rate"]
    key: str
    seconds: float | None = None
    ticket: int | None = None
    lost: bool = False


@dataclass(frozen=True, slots=True)
class Grant:
    """Slots and starts that were given to a call, by their numbers; `at` is when, by the clock of this process."""

    demands: Sequence[Demand]
    slots: Sequence[int]
    starts: Sequence[int]
    at: float


@dataclass(frozen=True, slots=True)
class HeldPlace:
    """A slot or a place in the queue: its number or ticket, what it weighs or its priority, and whose it is.

    A place in the queue has the `rule` under which it waits, too.
    """

    number: int
    size: float
    holder: Holder
    rule: str = ""


@dataclass(frozen=True, slots=True)
class Occupancy:
    """What the tables say of a key at one moment; what expired holders have is not in it.

    `queue`: who was refused under this key, and asked a moment ago. `starts` are moment and weight of those of the last
    window, oldest first.
    """

    slots: Sequence[HeldPlace]
    queue: Sequence[HeldPlace]
    starts: Sequence[tuple[int, int]]
    paused_until_ms: int


def refusal(demand: Demand, found: Occupancy, now_ms: int, *, ticket: int | None, priority: float) -> Refused | None:
    """Why a call that has this ticket, or none yet, may not go on under a key; None if it may."""
    wait = found.paused_until_ms - now_ms
    if wait > 0:
        return Refused("rate", demand.key, wait / 1000)
    if any(other.rule == demand.rule and _before(other, ticket, priority) for other in found.queue):
        return Refused("limit", demand.key)
    used = sum(slot.size for slot in found.slots)
    if demand.slots is not None and used and used + demand.weight > demand.slots:
        return Refused("limit", demand.key)
    wait = _next_start(demand, found.starts) - now_ms
    return Refused("rate", demand.key, wait / 1000) if wait > 0 else None


def _before(other: HeldPlace, ticket: int | None, priority: float) -> bool:
    if ticket is None:
        return other.size >= priority
    return (-other.size, other.number) < (-priority, ticket)


def _next_start(demand: Demand, starts: Sequence[tuple[int, int]]) -> int:
    """The first moment at which the window, and the spacing, let a call of this weight start."""
    ready = starts[-1][0] + demand.spacing_ms if starts and demand.spacing_ms else 0
    if demand.starts is not None:
        excess = sum(weight for _, weight in starts) + demand.weight - demand.starts
        for at, weight in starts:
            if excess <= 0:
                break
            excess -= weight
            ready = max(ready, at + demand.period_ms)
    return ready


class LimitReads(Protocol):
    """Looking. Times are the store's clock."""

    def now_ms(self) -> int:
        """The store's clock, Unix milliseconds."""
        ...

    def occupancy(self, key: str, window_ms: int) -> Occupancy:
        """What holds a key up now; starts of the last `window_ms`."""
        ...

    def holds(self, slots: Iterable[int]) -> bool:
        """Whether all of these slots are still held."""
        ...

    def waits(self, ticket: int, rules: Mapping[str, str], milliseconds: int) -> bool:
        """Whether this ticket waits under just these rules, by their keys, and for so long from now at least."""
        ...


class LimitWrites(LimitReads, Protocol):
    """Those who take part, and their slots; starts, pauses and the queue."""

    def join(self, holder: Holder, milliseconds: int) -> int:
        """Take part, for so long unless it is renewed; gives the number under which a run holds what it takes."""
        ...

    def renew(self, number: int, milliseconds: int) -> bool:
        """Let a holder count for so long from now; False for one that was dropped."""
        ...

    def holders(self) -> Iterator[tuple[int, Holder]]:
        """All who take part, expired or not, by their numbers."""
        ...

    def drop(self, numbers: Iterable[int]) -> None:
        """Let holders go with all that they hold; no error for one that is gone."""
        ...

    def tidy(self) -> None:
        """Drop holders that have not renewed in time."""
        ...

    def take(self, key: str, weight: int, holder: int) -> int:
        """Take a slot; gives its number, which nobody has again."""
        ...

    def give(self, slots: Iterable[int]) -> None:
        """Give slots back; no error for what is gone."""
        ...

    def start(self, key: str, weight: int) -> int:
        """Note that a call starts now; gives its number. What no window can hold any more leaves."""
        ...

    def unstart(self, starts: Iterable[int]) -> None:
        """Take back what was noted: the call has not started."""
        ...

    def pause(self, key: str, milliseconds: int) -> None:
        """Let nobody start under a key for so long from now; a longer pause stays."""
        ...

    def enqueue(self, priority: float, holder: int) -> int:
        """Wait; gives the ticket, which is higher than any before."""
        ...

    def ask(self, ticket: int, rules: Mapping[str, str], milliseconds: int) -> bool:
        """Stand in the way under rules, by their keys, for so long from now; False for a ticket that is gone."""
        ...

    def leave(self, tickets: Iterable[int]) -> None:
        """Wait no longer; no error for what is gone."""
        ...


class LimitStore(Protocol):
    """Where the limits of a machine are kept. Safe to use from many threads and processes."""

    def read(self) -> AbstractContextManager[LimitReads]:
        """One moment to look at. Raises `StoreUnavailableError`, `DamageError`."""
        ...

    def write(self) -> AbstractContextManager[LimitWrites]:
        """All of what is done within, or nothing. Raises `StoreUnavailableError`, `DamageError`."""
        ...

    def close(self) -> None:
        """Let go of it; again is no harm."""
        ...


class SharedLimits(Protocol):
    """Limits of a machine, as calls of one run take part in them."""

    def now(self) -> float:
        """The clock of `Grant.at`, in seconds."""
        ...

    def apart(self, work: Callable[[], T]) -> asyncio.Future[T]:
        """Do what may wait for the disk in a thread; the future is no task, which a loop could cancel."""
        ...

    def take(self, demands: Sequence[Demand], priority: float, ticket: int | None, *, queue: bool) -> Grant | Refused:
        """Take slots and starts of all keys or, if that cannot be now, of none: with `queue`, wait with a ticket."""
        ...

    def restart(self, grant: Grant, priority: float) -> Grant | Refused:
        """Count the starts of a grant anew, now, if the rates let it; its slots stay, unless they were `lost`."""
        ...

    def pause(self, key: str, seconds: float) -> None:
        """Let nobody start under a key for so many seconds. Never fails, and waits for nothing."""
        ...

    def give(self, grant: Grant | None, ticket: int | None, *, started: bool) -> None:
        """Give slots and a ticket back; the starts, too, of a call that has not `started`.

        Never fails, and waits for nothing: what was made in the call is to be stored first.
        """
        ...
