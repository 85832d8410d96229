"""`gc`: what nothing needs any more goes."""

from __future__ import annotations

import click

from renku_cli.grammar import GlobalOptions, command
from renku_cli.opening import open_movie
from renku_cli.output import Cell, note, print_json, print_line, print_table
from renku_cli.quantities import seconds_of as seconds_of
from renku_cli.remarks import now_and_again
from renku_cli.text import cost, count, size
from renku_store import CollectedBlob, CollectionProgress, CollectionReport, collect


@command("gc", "renku-store gc --dry-run", "renku-store gc --grace 7d", "renku-store gc --force --json")
@click.option("--dry-run", is_flag=True, help="Name each blob and what used it last; remove nothing.")
@click.option("--grace", default="24h", show_default=True, metavar="SPAN", help="What was touched since stays.")
@click.option(
    "--trash", default="7d", show_default=True, metavar="SPAN", help="How long `prune --undo` can bring revisions back."
)
@click.option(
    "--keep-runs", default="90d", show_default=True, metavar="SPAN", help="How long plans and old runs are kept."
)
@click.option("--force", is_flag=True, help="Even if more than half of the stored bytes go.")
@click.pass_obj
def gc(options: GlobalOptions, dry_run: bool, grace: str, trash: str, keep_runs: str, force: bool) -> None:
    """Revisions, unfinished runs and pending edits keep all they need. Others may go on writing meanwhile.

    Revisions that `prune` moved to the trash keep it, too, until they have been there for a week.
    """
    times = {
        "grace_seconds": seconds_of(grace),
        "trash_seconds": seconds_of(trash),
        "keep_runs_seconds": seconds_of(keep_runs),
    }
    with open_movie(options) as movie:
        report = collect(movie, dry_run=dry_run, force=force, on_progress=now_and_again(_in_words), **times)
    if options.as_json:
        print_json(report.to_json())
        return
    for remark in report.notes:
        note(remark)
    if report.blobs:
        columns = ("blob", "bytes", "what", "id", "last used by", "cost")
        print_table(columns, [_row(blob) for blob in report.blobs], right=("bytes", "cost"))
    print_line(_told(report, dry_run=dry_run))


def _row(blob: CollectedBlob) -> tuple[Cell, ...]:
    price = "-" if blob.cost is None else cost(blob.cost)
    user = blob.revision or (f"run {blob.run}" if blob.run else "-")
    return blob.hash[:12], size(blob.bytes), blob.kind, blob.id or "-", user, price


def _told(report: CollectionReport, *, dry_run: bool) -> str:
    done = "Would remove" if dry_run else "Removed"
    kept = f"{count(report.kept, 'blob')} ({size(report.kept_bytes)})"
    expired = f" {count(report.expired, 'revision')} out of the trash." if report.expired else ""
    beside = [(report.traces, "reusable result"), (report.plans, "plan"), (report.runs, "old run")]
    told = ", ".join(count(number, what) for number, what in beside if number)
    others = f" Besides: {told}." if told else ""
    return f"{done} {count(report.removed, 'blob')}, {size(report.removed_bytes)}; {kept} stay.{expired}{others}"


def _in_words(progress: CollectionProgress) -> str:
    return f"{progress.step}: {progress.count:,}"
