"""`events`: what happened, in order."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Final

import click

from renku_cli.grammar import GlobalOptions, command, complete
from renku_cli.misuse import nearest
from renku_cli.opening import open_movie
from renku_cli.output import Cell, print_json, print_line, state, styled
from renku_cli.text import cost, duration, shown_value, size
from renku_store import ArtefactEvent, InputEvent, Movie, NotFoundError, RunEvent

_HINT: Final = "`renku-store events` shows all; an ID is that of an input, an artefact, a job or a run."
_POLL_SECONDS: Final = 0.5
"""How often --follow looks for what is new."""


@command(
    "events",
    "renku-store events",
    "renku-store events 'narration[2].audio'",
    "renku-store events --follow --json",
)
@click.argument("id", required=False, shell_complete=complete("subjects"))
@click.option("--follow", is_flag=True, help="Go on with what happens next, until Ctrl-C.")
@click.pass_obj
def events(options: GlobalOptions, id: str | None, follow: bool) -> None:
    """All events, or those about one input, artefact, job or run; oldest first. With --json one object a line."""
    with open_movie(options) as movie:
        seen = False
        for event in _events(movie, id, follow=follow):
            seen = True
            if options.as_json:
                print_json(event.to_json(), one_line=True)
            else:
                print_line(*_line(event))
        if not seen and id is not None:
            raise NotFoundError(f"Nothing is known of {id}.", hint=nearest(id, _known(movie), otherwise=_HINT))


def _events(movie: Movie, id: str | None, *, follow: bool) -> Iterator[InputEvent | ArtefactEvent | RunEvent]:
    last = 0
    while True:
        for event in movie.events.stream(about=id, after=last):
            last = max(last, event.seq or 0)  # those from archives have no number, and are not in the order of numbers
            yield event
        if not follow:
            return
        time.sleep(_POLL_SECONDS)


def _known(movie: Movie) -> set[str]:
    current = movie.manifests.current()
    pending = {event.input for event in movie.events.pending() if isinstance(event, InputEvent)}
    if current is None:
        return pending
    jobs = {artefact.job for artefact in current[0].artefacts.values() if artefact.job}
    return {*pending, *current[0].inputs, *current[0].artefacts, *jobs}


def _line(event: InputEvent | ArtefactEvent | RunEvent) -> list[Cell]:
    subject, word, told = _told(event)
    run = f"  run {event.run}" if event.run and not isinstance(event, RunEvent) else ""
    return [styled(event.created_at, "dim"), f"  {event.type}  ", styled(subject, "bold"), "  ", state(word), told, run]


def _told(event: InputEvent | ArtefactEvent | RunEvent) -> tuple[str, str, str]:
    """What it is about, what happened, and more of it."""
    if isinstance(event, InputEvent):
        value = f"blob {event.blob[:12]}" if event.blob else shown_value(event.value)
        return event.input, "set", f" by {event.edited_by} to {value}"
    if isinstance(event, RunEvent):
        data = ", ".join(
            f"{key} {shown_value(value)}" for key, value in event.data.items() if value not in (None, [], {})
        )
        return event.run, event.kind, f"  {data}" if data else ""
    parts: list[str] = []
    if event.value is not None:
        parts += [event.value.mime_type, size(event.value.size), event.value.hash[:12]]
    if event.duration_seconds is not None:
        parts.append(duration(event.duration_seconds))
    if event.cost:
        parts.append(cost(event.cost))
    if event.failure is not None:
        parts.append(f"{event.failure.kind}: {event.failure.message}")
    return event.artefact, event.status, "  " + "  ".join(parts)
