"""What a run may spend: the gate that each call passes right before it is made.

    spent by the run so far + the most that calls in flight may take + the most that this one may take <= the limit

Keeps that at the start of every call, in whatever order calls begin and end; a call of unknown cost counts as nothing.
Only what calls take beyond what was declared of them can bring a run above its limit. A call that would fit once others
have ended waits for them, first come first served. The first that cannot fit any more ends the spending: no further
call begins, those in flight go on to their ends. Amounts are counted in billionths of a dollar, so that sums are exact.
"""

from __future__ import annotations

import asyncio
import math
from collections import deque
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from typing import Final, Self

from renku_store import bounds
from renku_store.costs import dollars
from renku_store.errors import BudgetExceededError, InvalidValueError

_UNITS: Final = 1_000_000_000
_CENT: Final = _UNITS // 100

Aside = Callable[[], AbstractAsyncContextManager[None]]
"""A block within which a call waits: its slot is lent to others."""


def checked_limit(max_cost: float | None) -> float | None:
    """The limit, in US dollars; raises `InvalidValueError` unless it is from 0 to `bounds.COST_MAX_DOLLARS`."""
    wrong = isinstance(max_cost, bool) or not isinstance(max_cost, int | float | None)
    if wrong or (max_cost is not None and not 0 <= max_cost <= bounds.COST_MAX_DOLLARS):
        raise InvalidValueError(
            f"A run cannot have the budget {max_cost!r}.",
            hint=f"Give a number of US dollars from 0 to {bounds.COST_MAX_DOLLARS:,}, such as 2.50.",
        )
    return max_cost


class Budget:
    """What one run may spend, in US dollars; `limit` None is without end. Belongs to one event loop."""

    def __init__(self, limit: float | None = None, spent: float = 0.0) -> None:
        self._limit = None if limit is None else _units(limit)
        self._spent = _units(spent)
        self._in_flight = 0
        self._waiting: deque[tuple[str, int, asyncio.Future[None]]] = deque()
        self._ended: BudgetExceededError | None = None
        self.ended_by: str | None = None

    @property
    def spent(self) -> float:
        """What the calls of the run took by now."""
        return self._spent / _UNITS

    @property
    def in_flight(self) -> float:
        """The most that the calls under way may take."""
        return self._in_flight / _UNITS

    @property
    def is_limited(self) -> bool:
        """Whether there is a limit at all."""
        return self._limit is not None

    def call(self, job: str, high: float, aside: Aside) -> Charge:
        """Make a call that takes at most `high` within a block (`async with`); what it took is said to the charge.

        Entering it raises `BudgetExceededError` where the call does not fit, or where another did not.
        """
        return Charge(self, job, _units(high), aside)

    def book(self, took: int, freed: int) -> None:
        """Count what a call took, in billionths, and free what was kept back for it; lets in who waits for that."""
        self._spent += took
        self._in_flight -= freed
        self._let_in()

    def check_again(self, job: str) -> None:
        """See that a call under way may be tried again, or raise `BudgetExceededError`."""
        if self._ended is None and not self._fits(0):
            self._end(job, 0)
        if self._ended is not None:
            raise self._ended

    async def admit(self, job: str, price: int, aside: Aside) -> None:
        """Keep back the most that a call may take, in billionths, once there is room for it."""
        if self._ended is None and self._never_fits(price):
            self._end(job, price)
        if self._ended is not None:
            raise self._ended
        if self._fits(price) and not (price and self._waiting):
            self._in_flight += price
            return
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append((job, price, future))
        try:
            async with aside():
                await future
        except BaseException:
            if future.done() and not future.cancelled() and future.exception() is None:
                self.book(0, price)
            future.cancel()
            self._let_in()
            raise

    def _fits(self, price: int) -> bool:
        return self._limit is None or self._spent + self._in_flight + price <= self._limit

    def _never_fits(self, price: int) -> bool:
        return self._limit is not None and self._spent + price > self._limit

    def _let_in(self) -> None:
        """Let in those who wait, in their order, as far as there is room."""
        while self._waiting:
            job, price, future = self._waiting[0]
            if not future.done():
                if self._never_fits(price):
                    self._end(job, price)
                    return
                if not self._fits(price):
                    return
                self._in_flight += price
                future.set_result(None)
            self._waiting.popleft()

    def _end(self, job: str, price: int) -> None:
        limit, enough = (self._limit or 0) / _UNITS, math.ceil((self._spent + price) / _CENT) / 100
        would = f"would cost up to {dollars(price / _UNITS)}" if price else "is not called any more"
        self.ended_by = job
        self._ended = BudgetExceededError(
            f"{job} {would}: the run has spent {dollars(self.spent)} of its budget of {dollars(limit)}.",
            hint=f"What is finished is kept: run again with a budget of {dollars(enough)} or more to go on.",
        )
        while self._waiting:
            _, _, future = self._waiting.popleft()
            if not future.done():
                future.set_exception(self._ended)
                future.exception()  # one who has given up meanwhile does not fetch it


class Charge:
    """What one call takes of a budget."""

    __slots__ = ("_aside", "_budget", "_job", "_told", "reserved")

    def __init__(self, budget: Budget, job: str, reserved: int, aside: Aside) -> None:
        self.reserved = reserved
        self._budget = budget
        self._job = job
        self._aside = aside
        self._told = 0

    async def __aenter__(self) -> Self:
        await self._budget.admit(self._job, self.reserved, self._aside)
        return self

    async def __aexit__(self, *_: object) -> None:
        self.close()

    def took(self, cost: float) -> None:
        """Say what the call took so far, failed attempts included, in US dollars."""
        more = _units(cost) - self._told
        self._told += more
        self._budget.book(more, 0)

    def again(self, cost: float) -> None:
        """Say what the failed attempts took, and see that there is enough for another one, which may take as much."""
        self.took(cost)
        self._budget.check_again(self._job)

    def close(self) -> None:
        """Free what was kept back."""
        self._budget.book(0, self.reserved)


class Unlimited(Charge):
    """What any call takes of a run that may spend whatever its calls take; `UNLIMITED` is all there is of it."""

    __slots__ = ()

    def __init__(self) -> None:
        pass

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        pass

    def took(self, cost: float) -> None:
        """Nobody counts."""

    def again(self, cost: float) -> None:
        """There is always enough for another attempt."""


UNLIMITED: Final = Unlimited()


def _units(amount: float) -> int:
    return round(amount * _UNITS)
