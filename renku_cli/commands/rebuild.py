"""`rebuild`: the database of a movie anew."""

from __future__ import annotations

from typing import Final

import click

from renku_cli.grammar import GlobalOptions, command
from renku_cli.opening import movie_of, open_root
from renku_cli.output import note, print_json, print_line
from renku_cli.remarks import now_and_again
from renku_cli.text import count
from renku_store import RebuildProgress, RebuildReport

_TOLD: Final = {
    "blobs": "blobs indexed",
    "events": "archived events indexed",
    "revisions": "revisions indexed",
    "compared": "events of the old database compared",
}


@command("rebuild", "renku-store rebuild", "renku-store rebuild --movie trailer --json")
@click.pass_obj
def rebuild(options: GlobalOptions) -> None:
    """Whatever lies in its place: a damaged one moves to quarantine/, and what only it knew is carried over."""
    with open_root(options) as store:
        movie = movie_of(options, store)
        report = store.rebuild(movie, on_progress=now_and_again(_in_words))
    if options.as_json:
        print_json({"movie": movie, **report.to_json()})
        return
    if report.restored:
        note(f"The manifest of {report.restored} was lost; it is back, byte for byte, from the old database.")
    for revision in report.left_out:
        note(
            f"The manifest of {revision} is damaged or missing, and was left out. Restore it from a copy, then rebuild"
            " once more."
        )
    for archive in report.damaged_archives:
        note(f"{archive} is damaged or missing: events that it alone held are not there. Restore it from a copy.")
    for line in _told(movie, report):
        print_line(line)


def _told(movie: str, report: RebuildReport) -> list[str]:
    parts = [
        count(report.revisions, "revision"), count(report.artefacts, "artefact"), count(report.blobs, "blob"),
        count(report.runs, "run"), count(report.events, "event"),
    ]  # fmt: skip
    lines = [f"Made the database of {movie} anew: {', '.join(parts)}."]
    if report.salvaged:
        lines.append(f"{count(report.salvaged, 'event')} came from the old database alone.")
    if report.quarantined:
        lines.append(f"The old database was damaged and is {report.quarantined} now.")
    return lines


def _in_words(progress: RebuildProgress) -> str:
    return f"{progress.count:,} {_TOLD[progress.step]}"
