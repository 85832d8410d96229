"""The view of a movie, where the setting `view` asks for one: brought up to date after whatever publishes."""

from __future__ import annotations

import os
from pathlib import Path

import click

import renku_store
from renku_cli.output import note
from renku_cli.settings import setting
from renku_cli.text import count, neutral
from renku_store import Movie, StoreError


def refresh_view(movie: Movie) -> None:
    """Let the view show the newest revision. What is published stays published: a failure is a warning."""
    try:
        folder = setting("view").value
        report = None if folder is None else renku_store.update_view(movie, os.path.expanduser(folder))  # noqa: PTH111 - a URL is refused
    except (StoreError, OSError, RuntimeError) as error:
        reason = error.message if isinstance(error, StoreError) else str(error)
        note(f"warning: The view was not updated: {neutral(reason)}")
    except click.UsageError as error:
        note(f"warning: The view was not updated: {neutral(error.format_message())}")
    else:
        if report is not None and (report.written or report.removed):
            shown = os.fspath(Path(folder or "", movie.id))
            changed = f"{count(report.written, 'file')} written, {report.removed:,} removed"
            note(f"{neutral(shown)} shows {report.revision}: {changed}.")
