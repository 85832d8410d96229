"""`timeline`: when the jobs of a run went on, as text or as a picture."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path
from typing import Final

import click

from renku_cli.gantt_picture import png, svg
from renku_cli.gantt_text import ASCII, SOLID, chart_lines
from renku_cli.grammar import GlobalOptions, command, complete
from renku_cli.misuse import Misuse
from renku_cli.opening import open_movie
from renku_cli.output import note, print_json, print_line
from renku_store import RunGantt, run_gantt

PIPED_WIDTH: Final = 100
"""Columns of a chart in a pipe or a file: the same everywhere."""

_WRITTEN: Final = (".png", ".svg", ".txt")


@command(
    "timeline",
    "renku-store timeline",
    "renku-store timeline rev-0002 --output run.svg",
    "renku-store timeline --json",
)
@click.argument("revision", metavar="[REV|RUN]", default="latest", shell_complete=complete("revisions"))
@click.option(
    "--output", metavar="FILE", type=click.Path(), help="Write the chart to a file; .svg, .png or .txt says as what."
)
@click.pass_obj
def timeline(options: GlobalOptions, revision: str, output: str | None) -> None:
    """A Gantt chart of the run that made a revision, or of a run by its id: when each job went on, and for how long.

    REV is rev-0003, 3, a tag, or latest (the default). Jobs that an earlier result answered are marked where that was
    found.
    """
    target = _target(output) if output is not None else None
    with open_movie(options) as movie:
        gantt = run_gantt(movie, revision)
    if target is not None:
        _write(target, gantt)
    if options.as_json:
        print_json(_document(gantt))
    elif target is not None:
        note(f"Wrote {target}.")
    else:
        _print(gantt)


def _target(output: str) -> Path:
    path = Path(output)
    if path.suffix.lower() not in _WRITTEN:
        raise Misuse(f"{output} does not say what to write.", hint=f"End its name in {', '.join(_WRITTEN)}.")
    return path


def _document(gantt: RunGantt) -> dict[str, object]:
    return {"revision": None, "status": None, "start": None, "end": None, **gantt.to_json(), "lanes": gantt.lanes}


def _write(path: Path, gantt: RunGantt) -> None:
    match path.suffix.lower():
        case ".svg":
            data = svg(gantt).encode()
        case ".png":
            data = png(gantt)
        case _:
            data = "".join(line + "\n" for line in chart_lines(gantt, PIPED_WIDTH, ASCII)).encode()
    try:
        path.write_bytes(data)
    except OSError as error:
        raise Misuse(
            f"The chart cannot be written to {path}: {error.strerror}.", hint="Name a file that can be written."
        ) from error


def _print(gantt: RunGantt) -> None:
    if sys.stdout.isatty():
        lines = chart_lines(gantt, shutil.get_terminal_size().columns, SOLID)
    else:
        lines = chart_lines(gantt, PIPED_WIDTH, ASCII)
    for line in lines:
        print_line(line)
