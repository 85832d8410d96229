"""`migrate`: movies of older layouts into the build root."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Final

import click
import orjson

from renku_cli.grammar import GlobalOptions, command
from renku_cli.misuse import Misuse
from renku_cli.opening import open_root
from renku_cli.output import note, print_json, print_line, print_table
from renku_cli.remarks import now_and_again
from renku_cli.text import count, size
from renku_store import MigrationProgress, MigrationReport, MovieMigration, UnmigratedItem, migrate

INCOMPLETE: Final = 4
"""The exit code where something is missing or was refused, as for every damage."""
_SHOWN: Final = 20


@command(
    "migrate",
    "renku-store migrate old/movie_civilwar_001 --root builds",
    "renku-store migrate old --all --root builds --report migration.json",
    "renku-store migrate old --all --dry-run --json",
)
@click.argument("source", metavar="SRC", type=click.Path())
@click.option("--all", "every", is_flag=True, help="Every movie in SRC, which is a folder of movies.")
@click.option("--dry-run", is_flag=True, help="Say what would come over, with sizes; write nothing.")
@click.option("--report", metavar="FILE", type=click.Path(), help="Write the whole report as JSON, every path in it.")
@click.pass_obj
def migrate_(options: GlobalOptions, source: str, every: bool, dry_run: bool, report: str | None) -> int:
    """SRC is the folder of a movie in an older layout, or a folder of such folders. It is only read.

    --movie ID is the id that the movie gets or, in a folder of several, says which one. Killed and called again, it
    goes on where it was. Exit code 4 says that something is missing or was refused; everything else has come over.
    """
    if every and options.movie is not None:
        raise Misuse("--all takes every movie, --movie one.", hint="Give one of them.")
    folder = os.path.expanduser(source) if source.startswith("~") else source  # noqa: PTH111 - stays as it was given
    with open_root(options) as store:
        done = migrate(
            folder, store, movie=options.movie, every=every, dry_run=dry_run, on_progress=now_and_again(_in_words)
        )
    if report is not None:
        Path(report).write_bytes(orjson.dumps(done.to_json(), option=orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE))
    if options.as_json:
        print_json(done.to_json())
    else:
        _show(done)
    if done.problem is not None:
        raise done.problem
    return 0 if done.whole else INCOMPLETE


def _show(done: MigrationReport) -> None:
    columns = ("movie", "revisions", "new", "artefacts", "missing", "refused", "old folder", "all revisions", "stored")
    print_table(columns, [_row(movie) for movie in done.movies], right=columns[1:])
    for movie in done.movies:
        _show_movie(movie)
    named = sum(movie.bytes.named for movie in done.movies)
    stored = sum(movie.bytes.stored for movie in done.movies)
    saved = sum(movie.bytes.saved for movie in done.movies)
    part = f" ({round(100 * saved / named)} % saved)" if named else ""
    verb = "Would bring over" if done.dry_run else "Brought over"
    added = count(sum(movie.added for movie in done.movies), "revision")
    print_line(f"{verb} {added}; {size(named)} of artefacts take {size(stored)}{part}.")


def _row(movie: MovieMigration) -> tuple[str, ...]:
    figures = (movie.revisions, movie.added, movie.artefacts, len(movie.missing), len(movie.refused))
    sizes = (movie.bytes.folder, movie.bytes.named, movie.bytes.stored)
    return movie.id, *(f"{figure:,}" for figure in figures), *(size(figure) for figure in sizes)


def _show_movie(movie: MovieMigration) -> None:
    if movie.mapped:
        print_line(f"{movie.id}: " + ", ".join(f"{old} is {new}" for old, new in movie.mapped.items()))
    for word, items in (("missing", movie.missing), ("refused", movie.refused), ("torn", movie.torn)):
        for item in items[:_SHOWN]:
            print_line(f"{movie.id}: {word}: {_told(item)}")
        if len(items) > _SHOWN:
            print_line(f"{movie.id}: {word}: {len(items) - _SHOWN:,} more; --report FILE lists them.")
    for remark in movie.notes:
        note(f"{movie.id}: {remark}")
    if movie.problem is not None:
        note(f"{movie.id}: {movie.problem.message}")


def _told(item: UnmigratedItem) -> str:
    needed = " of ".join(name for name in (item.artefact, item.revision) if name)
    return f"{item.path}{f' ({needed})' if needed else ''}: {item.why}"


def _in_words(progress: MigrationProgress) -> str:
    read = f"{count(progress.files, 'file')}, {size(progress.bytes)} read"
    return f"{progress.movie}: revision {progress.revisions:,} of {progress.of:,}; {read}"
