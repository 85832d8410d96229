"""What calls cost, for people; and what a person lets a run cost."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

import click

from renku_cli.text import cost, count
from renku_store import CostRange, PlannedJob

_MOST_DOLLARS: Final = 1_000_000_000
"""What the store lets a run spend at most; said here, before anything is read."""


class Dollars(click.ParamType[float]):
    """An amount of US dollars on the command line, with or without the sign."""

    name = "dollars"

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> float:
        """The amount; bad use where it is none."""
        try:
            amount = float(str(value).strip().removeprefix("$"))
        except ValueError:
            amount = float("nan")
        if not 0 <= amount <= _MOST_DOLLARS:
            told = f"{value!r} is not a number of US dollars from 0 to {_MOST_DOLLARS:,}, such as 2.50."
            self.fail(told, param, ctx)
        return amount


def job_cost(job: PlannedJob) -> str:
    """What a job of a plan will cost: `reused`, `$0.0200`, `$0.01 to $0.05`, `$0.0200 a job`, `unknown`."""
    if job.reuse:
        return "reused"
    if job.cost is None:
        return "-"
    if job.cost.unknown:
        return "unknown"
    return f"{_amount(job.cost)} a job" if job.cost.open_loops else _amount(job.cost)


def range_text(asked: CostRange) -> str:
    """An amount, or two; how many calls are in neither, and how many loops may have more jobs than the one counted."""
    unknown = f" and {count(asked.unknown, 'job')} of unknown cost" if asked.unknown else ""
    loops = f" and {count(asked.open_loops, 'loop')} of unknown length" if asked.open_loops else ""
    return _amount(asked) + unknown + loops


def _amount(asked: CostRange) -> str:
    return cost(asked.low) if asked.low == asked.high else f"{cost(asked.low)} to {cost(asked.high)}"


def is_priced(jobs: Iterable[PlannedJob]) -> bool:
    """Whether there is anything to say about what some jobs cost."""
    return any(job.reuse or (job.cost is not None and job.cost.high > 0) for job in jobs)
