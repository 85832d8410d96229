"""`stats` and `compact`: what a movie takes, and less of it."""

from __future__ import annotations

from typing import Final

import click

from renku_cli.grammar import GlobalOptions, command
from renku_cli.opening import open_movie
from renku_cli.output import note, print_heading, print_json, print_line, print_table
from renku_cli.remarks import now_and_again
from renku_cli.text import cost, count, size
from renku_store import CompactionProgress, CompactionReport, DamageError, MovieStats, RevisionGrowth, movie_stats
from renku_store import compact as compact_movie

_SHOWN: Final = 20
"""Revisions that the table of growth shows: the newest; `--json` has all of them."""


@command("stats", "renku-store stats", "renku-store stats --json")
@click.pass_obj
def stats(options: GlobalOptions) -> None:
    """Bytes as people see them, each content once, and on the disk; what each revision added; what all of it cost."""
    with open_movie(options) as movie:
        found = movie_stats(movie)
    if options.as_json:
        print_json(found.to_json())
        return
    print_heading(found.movie)
    print_table(("what", "how much"), _facts(found), right=("how much",))
    if len(found.growth) > _SHOWN:
        print_heading(f"The newest {_SHOWN} revisions")
    rows = [_grown(entry) for entry in found.growth[-_SHOWN:]]
    print_table(
        ("revision", "created", "new", "on disk", "made", "reused", "cost"),
        rows,
        right=("new", "on disk", "made", "reused", "cost"),
    )


def _facts(found: MovieStats) -> list[tuple[str, str]]:
    gone = [f"{found.trash:,} in the trash"] if found.trash else []
    gone += [f"{found.expired:,} expired"] if found.expired else []
    return [
        ("revisions", ", ".join([f"{found.revisions:,}", *gone])),
        ("artefacts now", f"{found.artefacts:,}"),
        ("in all revisions", f"{size(found.logical_bytes)}, {found.dedup_ratio:.2f} to 1 with each content once"),
        ("blobs", f"{size(found.unique_bytes)} in {count(found.blobs, 'blob')}"),
        ("on the disk", f"{size(found.stored_bytes)}, {found.compression_ratio:.2f} to 1"),
        ("of that in no revision", f"{size(found.unnamed_bytes)} in {count(found.unnamed_blobs, 'blob')}"),
        ("archives", size(found.archive_bytes)),
        ("database", size(found.database_bytes)),
        ("paid", f"{cost(found.cost.spent)}, of that {cost(found.cost.unpublished)} in no revision"),
        ("saved by reuse", cost(found.cost.saved)),
    ]


def _grown(entry: RevisionGrowth) -> tuple[str, ...]:
    return (
        f"{entry.revision} (expired)" if entry.expired else entry.revision,
        entry.created_at,
        size(entry.new_bytes),
        size(entry.new_stored_bytes),
        str(entry.made),
        str(entry.reused),
        cost(entry.cost),
    )


@command("compact", "renku-store compact --dry-run", "renku-store compact --json")
@click.option("--dry-run", is_flag=True, help="Verify the archives and count; change nothing.")
@click.pass_obj
def compact(options: GlobalOptions, dry_run: bool) -> None:
    """Verify the archives of ended runs, then drop the rows of their events; `events` shows them from the archives.

    What look-ups, pending edits and unfinished runs need stays. Code 4 where an archive is damaged: its rows stay, too.
    """
    with open_movie(options) as movie:
        report = compact_movie(movie, dry_run=dry_run, on_progress=now_and_again(_in_words))
    if options.as_json:
        print_json(report.to_json())
    else:
        for problem in report.problems:
            note(f"{problem.revision or f'run {problem.run}'}: {problem.message}")
        print_line(_told(report, dry_run=dry_run))
    if report.problems:
        raise DamageError(
            f"{count(len(report.problems), 'archive')} cannot be relied on; the rows stay.",
            hint="`renku-store fsck` says more; restore the archive from a copy.",
        )


def _told(report: CompactionReport, *, dry_run: bool) -> str:
    done = "Would drop" if dry_run else "Dropped"
    what = f"{done} {count(report.rows, 'row')} of {count(report.runs, 'run')}; {report.kept_rows:,} stay."
    return (
        what if dry_run else f"{what} The database takes {size(report.bytes_after)}, was {size(report.bytes_before)}."
    )


def _in_words(progress: CompactionProgress) -> str:
    return f"verified {progress.done:,} of {count(progress.total, 'run')}"
