"""`rollback`: an old state as the newest revision."""

from __future__ import annotations

import click

from renku_cli.grammar import GlobalOptions, command, complete
from renku_cli.opening import open_movie
from renku_cli.output import note, print_json, print_line
from renku_cli.text import count
from renku_cli.view import refresh_view
from renku_store import Movie, movie_status
from renku_store import rollback as roll_back

_SHOWN = 5
"""How many pending edits a remark names."""


@command("rollback", "renku-store rollback rev-0002", "renku-store rollback 2 --json")
@click.argument("revision", metavar="REV", shell_complete=complete("revisions"))
@click.pass_obj
def rollback(options: GlobalOptions, revision: str) -> None:
    """Publish the inputs, artefacts and choices of REV as a new revision; nothing runs, and nothing is taken back.

    Edits that no run has taken stay pending: the next `run` takes them.
    """
    with open_movie(options) as movie:
        restored = movie.manifests.resolve(revision)
        published = roll_back(movie, restored)
        newest, digest = movie.manifests.load_current()
        pending = _pending(movie)
        refresh_view(movie)
    if options.as_json:
        named = (newest.revision, digest) if published is None else (published.revision, published.hash)
        status = "unchanged" if published is None else "published"
        print_json({"revision": named[0], "hash": named[1], "restored": restored, "status": status, "pending": pending})
        return
    if published is None:
        print_line(f"{newest.revision} is what {restored} was: nothing to publish.")
    else:
        print_line(f"Published {published.revision}, which is what {restored} was.")
    if pending:
        more = ", ..." if len(pending) > _SHOWN else ""
        told = f"{', '.join(pending[:_SHOWN])}{more}"
        note(f"{count(len(pending), 'edit')} still pending, for the next run: {told}.")


def _pending(movie: Movie) -> list[str]:
    """The inputs and artefacts that the next run would change, sorted."""
    return sorted({event.input if event.type == "input" else event.artefact for event in movie_status(movie).pending})
