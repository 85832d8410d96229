"""`abandon`, `cancel` and `status`: runs that have not come to an end."""

from __future__ import annotations

from typing import Final

import click

from renku_cli.grammar import GlobalOptions, command, complete
from renku_cli.opening import open_movie
from renku_cli.output import Cell, print_heading, print_json, print_line, print_table, state
from renku_cli.resting import tell_of_resting
from renku_cli.table import load
from renku_cli.text import shown_value, size
from renku_store import ArtefactEvent, InputEvent, MovieStatus, movie_status
from renku_store import abandon as abandon_run
from renku_store import cancel as cancel_run

_DECISIONS: Final = {
    "edited": "a person's version",
    "edit-undone": "what was made again",
    "chosen": "a chosen take",
    "accepted": "accepted as it is",
}


@command("abandon", "renku-store abandon 01932c5e-4a7b-7c3d-8e9f-0a1b2c3d4e5f")
@click.argument("run", shell_complete=complete("unfinished_runs"))
@click.pass_obj
def abandon(options: GlobalOptions, run: str) -> None:
    """Nothing of it is published. What it made stays reusable: a later run that wants the same does not call again."""
    with open_movie(options) as movie:
        abandon_run(movie, run)
    if options.as_json:
        print_json({"run": run, "status": "abandoned"})
    else:
        print_line(f"Abandoned {run}.")


@command("cancel", "renku-store cancel 01932c5e-4a7b-7c3d-8e9f-0a1b2c3d4e5f")
@click.argument("run", shell_complete=complete("unfinished_runs"))
@click.pass_obj
def cancel(options: GlobalOptions, run: str) -> None:
    """As Ctrl-C in the run's own terminal: its running jobs are ended, what is finished is kept, `run` continues it."""
    with open_movie(options) as movie:
        status = cancel_run(movie, run)
    if options.as_json:
        print_json({"run": run, "status": status})
    elif status == "cancelling":
        print_line(f"{run} is asked to stop; a job of it is still ending.")
    elif status == "interrupted":
        print_line(f"Cancelled {run}.")
    else:
        print_line(f"{run} came to its end before: it is {status}.")


@command("status", "renku-store status", "renku-store --movie trailer status --json", "renku-store status --follow")
@click.option("--follow", is_flag=True, help="Show the run that goes on here as its own terminal does, until it ends.")
@click.pass_obj
def status(options: GlobalOptions, follow: bool) -> None:
    """A run without a live holder died, failed or was interrupted: `run` takes it up again, `abandon` gives it up."""
    with open_movie(options) as movie:
        if follow:
            load("following:follow_newest")(options, movie)
            return
        found = movie_status(movie)
        current = movie.manifests.current()
        revision = current[0].revision if current else None
        if options.as_json:
            runs = [run.to_json() for run in found.runs]
            pending = [event.to_json() for event in found.pending]
            print_json({"movie": movie.id, "revision": revision, "runs": runs, "pending": pending})
            return
        print_line(f"{movie.id}: {revision or 'no revision yet'}")
        _show(found)
        tell_of_resting(found.runs)


def _show(found: MovieStatus) -> None:
    if found.runs:
        print_heading("Unfinished runs")
        runs: list[tuple[Cell, ...]] = [
            (
                run.run,
                state(run.status),
                run.base_revision or "-",
                run.created_at,
                run.holder or "-",
            )
            for run in found.runs
        ]
        print_table(("run", "state", "base", "created", "holder"), runs)
    if found.pending:
        print_heading("Pending edits")
        rows = [(*_told(event), event.edited_by or "-", event.created_at) for event in found.pending]
        print_table(("id", "value", "by", "at"), rows)
    if not found.runs and not found.pending:
        print_line("Nothing is pending.")


def _told(event: InputEvent | ArtefactEvent) -> tuple[str, str]:
    """What an edit is about, and what it says."""
    if isinstance(event, InputEvent):
        return event.input, f"(blob {event.blob[:12]})" if event.blob else shown_value(event.value)
    value = event.value
    held = f" ({value.mime_type}, {size(value.size)}, {value.hash[:12]})" if value else ""
    return event.artefact, f"{_DECISIONS.get(event.status, event.status)}{held}"
