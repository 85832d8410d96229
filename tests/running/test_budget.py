"""The gate of a budget: never above its limit, whatever begins and ends when; nobody waits for ever."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field

import pytest
from hypothesis import given
from hypothesis import strategies as st

from renku_store.errors import BudgetExceededError, InvalidValueError
from renku_store.running.budget import Budget, checked_limit
from renku_store.testing.loop_time import run

EXACT = 1e-9
"""Amounts are counted in billionths of a dollar."""


@dataclass(frozen=True)
class Call:
    """When a call comes, how long it takes, the most it may cost, the part that it does, and when its caller leaves."""

    at: int
    seconds: int
    high: float
    part: float
    leaves: int | None


@dataclass
class Seen:
    """What happened: what was held at each beginning, who was let in, who was refused."""

    held: list[float] = field(default_factory=list[float])
    began: list[int] = field(default_factory=list[int])
    refused: list[int] = field(default_factory=list[int])
    aside: int = 0


prices = st.integers(0, 40).map(lambda cents: cents / 100)
calls = st.lists(
    st.builds(
        Call,
        at=st.integers(0, 6),
        seconds=st.integers(0, 6),
        high=prices,
        part=st.sampled_from([0.0, 0.25, 0.5, 1.0]),
        leaves=st.none() | st.integers(0, 6),
    ),
    max_size=14,
)


@asynccontextmanager
async def nowhere() -> AsyncIterator[None]:
    yield


async def one(budget: Budget, number: int, call: Call, seen: Seen) -> None:
    @asynccontextmanager
    async def aside() -> AsyncIterator[None]:
        seen.aside += 1
        try:
            yield
            await asyncio.sleep(0)  # a slot is waited for again
        finally:
            seen.aside -= 1

    await asyncio.sleep(call.at)
    try:
        async with budget.call(f"job {number}", call.high, aside) as charge:
            seen.held.append(budget.spent + budget.in_flight)
            seen.began.append(number)
            await asyncio.sleep(call.seconds)
            charge.took(call.high * call.part)
    except BudgetExceededError:
        seen.refused.append(number)


def played(limit: float | None, schedule: list[Call], spent: float = 0.0) -> tuple[Budget, Seen]:
    seen = Seen()
    budget = Budget(limit, spent)

    async def main() -> None:
        tasks = [asyncio.create_task(one(budget, number, call, seen)) for number, call in enumerate(schedule)]
        for task, call in zip(tasks, schedule, strict=True):
            if call.leaves is not None:
                asyncio.get_running_loop().call_later(call.leaves, task.cancel)
        for task in tasks:
            with suppress(asyncio.CancelledError):
                await asyncio.wait_for(task, 1_000)

    run(main())
    return budget, seen


@given(limit=prices, spent=prices, schedule=calls)
def test_no_call_begins_that_could_bring_the_run_above_its_limit(
    limit: float, spent: float, schedule: list[Call]
) -> None:
    """Spent and the most that is in flight, the new call included, stay within the limit; nothing is held at last."""
    budget, seen = played(limit, schedule, spent)
    assert all(held <= limit + EXACT for held in seen.held)
    assert budget.spent <= max(limit, spent) + EXACT
    assert budget.in_flight == 0
    assert seen.aside == 0


@given(limit=prices, schedule=calls)
def test_every_call_is_made_or_refused_and_who_left_is_neither(limit: float, schedule: list[Call]) -> None:
    """Nobody waits for ever, whoever gives up when; once one was refused nobody begins any more."""
    stay = [call for call in schedule if call.leaves is None]
    budget, seen = played(limit, stay)
    assert sorted(seen.began + seen.refused) == list(range(len(stay)))
    assert (budget.ended_by is None) == (not seen.refused)
    if not seen.refused:
        assert sum(call.high * call.part for call in stay) == pytest.approx(budget.spent)


@given(schedule=calls)
def test_a_budget_that_holds_everything_at_once_refuses_nothing(schedule: list[Call]) -> None:
    """Nobody waits either: whoever comes begins at once."""
    enough = sum(call.high for call in schedule)
    _, seen = played(enough + EXACT, [Call(c.at, c.seconds, c.high, c.part, None) for c in schedule])
    assert sorted(seen.began) == list(range(len(schedule)))
    assert [schedule[number].at for number in seen.began] == sorted(call.at for call in schedule)


def test_without_a_limit_nothing_is_refused() -> None:
    """What is spent is counted all the same."""
    budget, seen = played(None, [Call(0, 1, 1e6, 1.0, None)] * 3)
    assert (len(seen.began), budget.spent) == (3, 3e6)


def test_a_call_that_fits_after_others_have_ended_waits_for_them() -> None:
    """Each may take a dollar and takes a tenth: all ten go through a budget of two dollars, two at a time."""
    budget, seen = played(2.0, [Call(0, 1, 1.0, 0.1, None)] * 10)
    assert (len(seen.began), seen.refused) == (10, [])
    assert max(seen.held) <= 2.0
    assert budget.spent == pytest.approx(1.0)


def test_what_waits_goes_in_the_order_in_which_it_came() -> None:
    """A cheaper call that came later does not go before; one that costs nothing does, for it takes nobody's place."""
    first, dear = Call(0, 5, 0.6, 0.1, None), Call(1, 1, 0.9, 0.0, None)
    cheap, free = Call(2, 0, 0.1, 0.0, None), Call(3, 0, 0.0, 0.0, None)
    assert played(1.0, [first, dear, cheap, free])[1].began == [0, 3, 1, 2]


def test_who_gives_up_lets_those_behind_go_first() -> None:
    """The second waits for the first, the third for the second, and does so no longer than that one is there."""

    async def main() -> float:
        budget = Budget(1.0)
        loop = asyncio.get_running_loop()
        seen = Seen()
        schedule = [Call(0, 9, 0.6, 0.0, None), Call(1, 0, 0.9, 0.0, None), Call(2, 0, 0.1, 0.0, None)]
        tasks = [asyncio.create_task(one(budget, number, call, seen)) for number, call in enumerate(schedule)]
        loop.call_later(3, tasks[1].cancel)
        await tasks[2]
        ended = loop.time()
        await asyncio.wait(tasks)
        assert budget.in_flight == 0
        return ended

    assert run(main()) == 3


@pytest.mark.parametrize("late", [False, True])
def test_what_was_kept_for_one_who_gives_up_is_free_again(late: bool) -> None:
    """Let in, and cancelled in the same moment, or while it waits for its slot: the next one has all of the budget."""

    async def main() -> float:
        budget = Budget(1.0)

        @asynccontextmanager
        async def aside() -> AsyncIterator[None]:
            yield
            await asyncio.sleep(1)

        async def call() -> None:
            async with budget.call("second", 1.0, aside):
                raise AssertionError("it began")

        async with budget.call("first", 1.0, nowhere):
            second = asyncio.create_task(call())
            await asyncio.sleep(1)
        if late:
            await asyncio.sleep(0.5)
        second.cancel()
        with pytest.raises(asyncio.CancelledError):
            await second
        assert budget.in_flight == 0
        async with budget.call("third", 1.0, nowhere):
            return budget.in_flight

    assert run(main()) == 1.0


def test_the_error_names_the_job_what_was_spent_what_it_would_cost_and_the_limit() -> None:
    """And the hint says how much would be enough, rounded up to a cent."""

    async def main() -> BudgetExceededError:
        budget = Budget(1.0, spent=0.755)
        with pytest.raises(BudgetExceededError) as caught:
            async with budget.call("slide[3]", 0.25, nowhere):
                raise AssertionError("it began")
        assert budget.ended_by == "slide[3]"
        return caught.value

    error = run(main())
    assert error.message == "slide[3] would cost up to $0.25: the run has spent $0.755 of its budget of $1.00."
    assert "$1.01 or more" in error.hint


def test_a_call_is_tried_again_only_while_what_failed_leaves_room() -> None:
    """The failed attempt took more than was thought: with it and the next one the limit would be passed."""

    async def main() -> tuple[float, str | None]:
        budget = Budget(1.0)
        async with budget.call("a", 0.5, nowhere) as charge:
            charge.again(0.5)
            with pytest.raises(BudgetExceededError):
                charge.again(0.75)
        return budget.spent, budget.ended_by

    assert run(main()) == (0.75, "a")


def test_the_limit_itself_can_be_reached() -> None:
    """Ten calls of ten cents are exactly a dollar, whatever binary fractions make of it."""
    budget, seen = played(1.0, [Call(0, 0, 0.1, 1.0, None)] * 10)
    assert (len(seen.began), budget.spent) == (10, 1.0)


@pytest.mark.parametrize("wrong", [-0.01, float("nan"), float("inf"), "2", True])
def test_a_budget_is_a_finite_number_of_dollars_from_0(wrong: object) -> None:
    """Anything else is refused before a run begins."""
    with pytest.raises(InvalidValueError, match="cannot have the budget"):
        checked_limit(wrong)  # type: ignore[arg-type]
