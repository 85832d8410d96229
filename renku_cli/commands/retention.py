"""`prune`: old revisions go to the trash by rules, and come back from it."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Any, Final

import click

from renku_cli.grammar import GlobalOptions, command, complete
from renku_cli.misuse import Misuse
from renku_cli.opening import open_movie
from renku_cli.output import note, print_json, print_line, print_table, styled
from renku_cli.quantities import bytes_of, seconds_of
from renku_cli.text import count, size
from renku_store import PruneReport, RetentionPolicy, restore_expired
from renku_store import prune as prune_revisions

_COUNT: Final = click.IntRange(min=1)
_QUIET_SECONDS: Final = 2.0
"""What takes longer says so on its way, and no more often than this."""
_PERIODS: Final = ("hourly", "daily", "weekly", "monthly", "yearly")


def _rules(function: Callable[..., Any]) -> Callable[..., Any]:
    """The options that make up a policy, in the order in which help shows them."""
    options = [click.option("--keep-last", type=_COUNT, metavar="N", help="The last N revisions stay.")]
    for period in _PERIODS:
        what = f"The newest of each of the last N {_units(period)} that have one stays."
        options.append(click.option(f"--keep-{period}", type=_COUNT, metavar="N", help=what))
    options += [
        click.option(
            "--keep-tag", multiple=True, metavar="NAME", shell_complete=complete("tags"),
            help="Tagged revisions stay in any case; this is a rule for those who have no other.",
        ),
        click.option("--within", metavar="SPAN", help="What is younger stays: 36h, 30d."),
        click.option("--max-bytes", metavar="SIZE", help="Then let go until the rest fits: 500MB, 2GiB, or bytes."),
    ]  # fmt: skip
    for option in reversed(options):
        function = option(function)
    return function


def _units(period: str) -> str:
    return "days" if period == "daily" else period.removesuffix("ly") + "s"


@command(
    "prune",
    "renku-store prune --keep-last 10 --keep-daily 7 --keep-weekly 5 --dry-run",
    "renku-store prune --within 30d --max-bytes 20GB",
    "renku-store prune --expire rev-0007",
    "renku-store prune --undo",
)
@click.argument("revisions", metavar="[REV]...", nargs=-1, shell_complete=complete("revisions"))
@_rules
@click.option(
    "--expire", multiple=True, metavar="REV", shell_complete=complete("revisions"), help="Let this one go; may repeat."
)
@click.option("--undo", is_flag=True, help="Bring revisions back from the trash: those named, or all.")
@click.option("--dry-run", is_flag=True, help="Show what would stay and go; change nothing.")
@click.pass_obj
def prune(
    options: GlobalOptions,
    /,
    revisions: Sequence[str],
    expire: Sequence[str],
    undo: bool,
    dry_run: bool,
    **rules: Any,
) -> None:
    """The newest revision and tagged ones always stay, the others if a rule says so.

    What no rule keeps goes to the trash: it can be read and brought back for a week; the first `gc` after that takes it
    for good. REV is for --undo.
    """
    policy = _policy(rules)
    if undo:
        if dry_run or expire or not policy.empty:
            raise Misuse("--undo takes revisions only.", hint="Such as `renku-store prune --undo rev-0007`.")
        _undo(options, revisions)
        return
    if revisions:
        raise Misuse(f"{revisions[0]!r} is not a rule.", hint=f"To let it go: --expire {revisions[0]}.")
    if policy.empty and not expire:
        raise Misuse(
            "No rule says which revisions stay.",
            hint="Such as --keep-last 10, --keep-daily 7 or --within 30d; --expire REV lets one go by name.",
        )
    with open_movie(options) as movie:
        report = prune_revisions(movie, policy, expire=expire, dry_run=dry_run)
    if options.as_json:
        print_json(report.to_json())
        return
    for remark in report.notes:
        note(remark)
    _show(report)


def _policy(rules: dict[str, Any]) -> RetentionPolicy:
    counts = {name: rules[name] or 0 for name in ("keep_last", *(f"keep_{period}" for period in _PERIODS))}
    return RetentionPolicy(
        **counts,
        keep_tags=tuple(rules["keep_tag"]),
        within_seconds=None if rules["within"] is None else seconds_of(rules["within"]),
        max_bytes=None if rules["max_bytes"] is None else bytes_of(rules["max_bytes"]),
    )


def _undo(options: GlobalOptions, revisions: Sequence[str]) -> None:
    with open_movie(options) as movie:
        report = restore_expired(movie, revisions, on_restored=_slow_progress())
    if options.as_json:
        print_json(report.to_json())
    elif report.restored:
        print_line(f"Back from the trash: {', '.join(report.restored)}.")
    else:
        print_line("The trash is empty.")


def _slow_progress() -> Callable[[str], None]:
    """Remarks on standard error, where there is much to bring back."""
    last = time.monotonic()

    def told(revision: str) -> None:
        nonlocal last
        if time.monotonic() - last >= _QUIET_SECONDS:
            last = time.monotonic()
            note(f"{revision} is back")

    return told


def _show(report: PruneReport) -> None:
    rows = [(kept.revision, kept.created_at, "stays", ", ".join(kept.reasons)) for kept in report.kept]
    what = {False: "expires", True: "goes for good"}
    rows += [(gone.revision, gone.created_at or "-", what[gone.lost], gone.why) for gone in report.removed]
    rows.sort(key=lambda row: (len(row[0]), row[0]), reverse=True)
    styles = {"stays": "green", "expires": "yellow", "goes for good": "red"}
    shown = [(name, created, styled(what, styles[what]), why) for name, created, what, why in rows]
    print_table(("revision", "created", "what", "why"), shown)
    done = "Would move" if report.dry_run else "Moved"
    lost = sum(gone.lost for gone in report.removed)
    trashed = f"{done} {count(len(report.removed) - lost, 'revision')} to the trash"
    if lost:
        trashed += f", let {count(lost, 'revision')} go for good that cannot be read"
    print_line(f"{trashed}, {size(report.freed_bytes)} that nothing else needs; {len(report.kept):,} stay.")
