"""What people are told before a run begins: of its plan, and of unfinished runs that nobody works on."""

from __future__ import annotations

import renku_store
from renku_cli.output import note
from renku_cli.text import count
from renku_store import ExecutionPlan, Movie, RunRecord


def tell_of_warnings(plan: ExecutionPlan, max_cost: float | None) -> None:
    """Say what a plan warns of, and what of it a budget may end."""
    for warning in [*plan.warnings, *renku_store.budget_warnings(plan, max_cost)]:
        note(f"warning: {warning}")


def tell_of_others(movie: Movie, taken_up: str | None) -> None:
    """Say which unfinished runs are left as they are by one that begins, or by the one that is taken up again."""
    left = [run for run in _resting(movie.leases.unfinished()) if run != taken_up]
    if len(left) == 1:
        note(
            f"The unfinished run {left[0]} is left as it is. What it made stays reusable; "
            f"`renku-store abandon {left[0]}` gives it up."
        )
    elif left:
        note(
            f"{len(left):,} unfinished runs are left as they are. What they made stays reusable; "
            "`renku-store status` lists them, `renku-store abandon RUN` gives one up."
        )


def tell_of_resting(runs: list[RunRecord]) -> None:
    """Say what can be done with those of some runs that nobody works on."""
    if left := _resting(runs):
        note(
            f"{count(len(left), 'unfinished run')}: `renku-store run` takes up the newest that still fits, "
            "`renku-store abandon RUN` gives one up. Either way what was made stays reusable."
        )


def _resting(runs: list[RunRecord]) -> list[str]:
    return [record.run for record in runs if not record.alive]
