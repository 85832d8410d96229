"""`copy`: movies from one build root to another."""

from __future__ import annotations

import os
from typing import Final

import click

from renku_cli.grammar import GlobalOptions, command
from renku_cli.output import note, print_json, print_line, print_table
from renku_cli.remarks import now_and_again
from renku_cli.text import count, size
from renku_store import CopyProgress, CopyReport, MovieCopy, copy_movies, open_store

_SHOWN_LOST: Final = 20


@command(
    "copy",
    "renku-store copy builds /mnt/backup/builds",
    "renku-store copy builds s3://bucket/videos --movie trailer",
    "renku-store copy s3://bucket/videos builds --dry-run --json",
)
@click.argument("source", metavar="SRC")
@click.argument("target", metavar="DST")
@click.option("--dry-run", is_flag=True, help="Say what would be copied; write nothing.")
@click.pass_obj
def copy(options: GlobalOptions, source: str, target: str, dry_run: bool) -> None:
    """SRC and DST are build roots, folders or URLs; --movie ID copies that movie only.

    Every blob is verified. Killed and called again, it goes on where it was; called later, it brings what is new. A
    movie whose revisions in DST are not the first of those in SRC is left as it is: code 3.
    """
    movies = None if options.movie is None else [options.movie]
    with open_store(_expanded(source)) as from_store, open_store(_expanded(target)) as to_store:
        report = copy_movies(from_store, to_store, movies, dry_run=dry_run, on_progress=now_and_again(_in_words))
    if options.as_json:
        print_json(report.to_json())
    else:
        _show(report)
    if report.problem is not None:
        raise report.problem


def _expanded(root: str) -> str:
    return os.path.expanduser(root) if root.startswith("~") else root  # noqa: PTH111 - may be a URL


def _show(report: CopyReport) -> None:
    for movie in report.movies:
        for remark in movie.notes:
            note(f"{movie.id}: {remark}")
        for lost in movie.uncopied[:_SHOWN_LOST]:
            needed = f"; {', '.join(lost.revisions)} needs it" if lost.revisions else ""
            note(f"{movie.id}: {lost.object} was not copied: {lost.why}{needed}")
        if len(movie.uncopied) > _SHOWN_LOST:
            note(f"{movie.id}: {len(movie.uncopied) - _SHOWN_LOST:,} more were not copied; --json lists them.")
    columns = ("movie", "newest", "revisions", "blobs", "size", "there already")
    print_table(columns, [_row(movie) for movie in report.movies], right=columns[2:])
    done = "Would copy" if report.dry_run else "Copied"
    revisions = sum(movie.revisions for movie in report.movies)
    blobs, stored = sum(m.blobs for m in report.movies), sum(m.bytes for m in report.movies)
    print_line(f"{done} {count(revisions, 'revision')}, {count(blobs, 'blob')}, {size(stored)}.")


def _row(movie: MovieCopy) -> tuple[str, ...]:
    newest = movie.revision or ("failed" if movie.problem else "-")
    return movie.id, newest, f"{movie.revisions:,}", f"{movie.blobs:,}", size(movie.bytes), f"{movie.skipped:,}"


def _in_words(progress: CopyProgress) -> str:
    done = f"{count(progress.blobs, 'blob')}, {size(progress.bytes)} copied"
    return f"{progress.movie}: revision {progress.revisions:,} of {progress.of:,}; {done}"
