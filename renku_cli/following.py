"""`status --follow`: the run that goes on in another terminal, in the view that it has there."""

from __future__ import annotations

import sys
from contextlib import nullcontext

from renku_cli.grammar import GlobalOptions
from renku_cli.interruption import waiting_for
from renku_cli.output import note, print_json, print_line
from renku_cli.progress import view
from renku_cli.text import cost
from renku_store import Movie, NotFoundError, RunProgress, follow_run, movie_status


def follow_newest(options: GlobalOptions, movie: Movie) -> None:
    """Show the run of a movie that was begun last, of those that go on, until its end; with --json its events."""
    alive = [record.run for record in movie_status(movie).runs if record.alive]
    if not alive:
        note(f"No run of {movie.id} is going on.")
        return
    run = alive[-1]
    if len(alive) > 1:
        note(f"{len(alive)} runs are going on; this is {run}, the newest.")
    try:
        last = _show(options, movie, run)
    except NotFoundError as error:
        if movie.leases.record(run).alive:
            raise
        note(error.message.replace("cannot be followed from here", "has ended"))
        return
    if not options.as_json:
        print_line(_ending(run, last))


def _show(options: GlobalOptions, movie: Movie, run: str) -> RunProgress | None:
    """Show the events as they come; gives the last one."""
    last = None
    with nullcontext(_print_event) if options.as_json else view(sys.stdout) as show:
        for last in follow_run(movie, run):
            show(last)
            if last.event == "run-stopping" and not options.as_json:
                note(waiting_for(last))
    return last


def _print_event(event: RunProgress) -> None:
    print_json(event.to_json(), one_line=True)


def _ending(run: str, last: RunProgress | None) -> str:
    if last is None or last.event != "run-finished":
        return f"{run} ended without a word: `renku-store status` shows what is left of it."
    revision = last.data.get("revision")
    made, reused, spent = (last.data.get(key) for key in ("made", "reused", "cost"))
    named = f" {revision}" if revision and last.status in {"published", "unchanged", "partial"} else ""
    price = cost(spent) if isinstance(spent, int | float) else "$0.00"
    return f"{run}: {last.status}{named}: made {made}, reused {reused}, {price}."
