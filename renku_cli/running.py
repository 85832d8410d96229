"""A run with all that is heard of it: progress on standard error, events, and Ctrl-C at its levels. Imported late."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Coroutine, Mapping
from typing import Any

from renku_cli.handlers import Handlers, heard_apart
from renku_cli.interruption import Interruption, waiting_for
from renku_cli.limiting import limited
from renku_cli.output import note
from renku_cli.progress import view
from renku_cli.resting import tell_of_others, tell_of_warnings
from renku_store import (
    Choices,
    ExecutionPlan,
    Json,
    Movie,
    OnConflict,
    Outset,
    ProducerRegistry,
    RunProgress,
    RunReport,
    run_movie,
)


def run_with_progress(
    movie: Movie,
    handlers: Handlers,
    *,
    inputs: Mapping[str, Json] | None = None,
    concurrency: int,
    on_conflict: OnConflict = "rebase",
    choices: Choices | None = None,
    allow_partial: bool = False,
    keep_going: bool = True,
    max_cost: float | None = None,
    record: Callable[[RunProgress], None] | None = None,
    outset: Outset | None = None,
) -> RunReport:
    """Run a movie, show how it goes on standard error, and end in good order on SIGINT and SIGTERM.

    `record` is given every event as well; `outset` is what has just been found, given the same.
    """
    registry = handlers.registry
    produce = limited(registry)

    def check(plan: ExecutionPlan) -> None:
        registry.check(plan)
        tell_of_others(movie, plan.run)
        tell_of_warnings(plan, max_cost)
        registry.warm_start(plan)

    async def whole() -> RunReport:
        interruption = Interruption()
        with view() as show, heard_apart(), interruption.listening():

            def on_event(event: RunProgress) -> None:
                show(event)
                _tell(event)
                if record is not None:
                    record(event)

            return await run_movie(
                movie,
                produce=produce,
                check=check,
                prices=registry.price,
                max_cost=max_cost,
                inputs=inputs or {},
                concurrency=concurrency,
                on_conflict=on_conflict,
                choices=choices,
                allow_partial=allow_partial,
                on_event=on_event,
                stop=interruption.stop,
                drain=interruption.drain,
                keep_going=keep_going,
                logger=_logger(),
                outset=outset,
            )

    with heard_apart():
        return asyncio.run(_closing(registry, whole()))


def _tell(event: RunProgress) -> None:
    """Say of an event what stays on the screen."""
    if event.event == "run-stopping":
        note(waiting_for(event))
    warnings = event.data.get("warnings") if event.event == "run-extended" else None
    for warning in warnings if isinstance(warnings, list) else ():
        note(f"warning: {warning}")


async def _closing(registry: ProducerRegistry, run: Coroutine[Any, Any, RunReport]) -> RunReport:
    """Run, and let producers let go of what they share."""
    async with registry:
        return await run


def _logger() -> logging.Logger:
    """What the runner logs, the view shows: nothing of it goes to standard error twice."""
    logger = logging.getLogger("renku_cli.run")
    logger.propagate = False
    if not logger.handlers:
        logger.addHandler(logging.NullHandler())
    return logger
