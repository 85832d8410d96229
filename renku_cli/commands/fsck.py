"""`fsck`: whether everything is as it should be, and mending what is not."""

from __future__ import annotations

import re
import shlex
from typing import Final

import click

from renku_cli.grammar import PROGRAM, GlobalOptions, command
from renku_cli.misuse import Misuse
from renku_cli.opening import movie_of, open_root
from renku_cli.output import note, print_json, print_line, print_table, styled
from renku_cli.quantities import seconds_of
from renku_cli.remarks import now_and_again
from renku_cli.settings import setting
from renku_cli.text import count, size
from renku_store import (
    CheckProgress,
    CheckReport,
    DamageError,
    NotFoundError,
    Problem,
    Store,
    StoreUnavailableError,
    check_movie,
    open_store,
    repair_movie,
)

PROBLEMS: Final = 4
"""The exit code where something is wrong, as for every damage."""
_FORMAT: Final = "format.json"
_ANY_COPY: Final = "--from PATH"
_PERCENT: Final = re.compile(r"(\d{1,3}(?:\.\d{1,6})?)%?")


@command(
    "fsck", "renku-store fsck", "renku-store fsck --sample 10%", "renku-store fsck --max-age 7d --budget 60s",
    "renku-store fsck --repair --from /mnt/backup/builds",
)  # fmt: skip
@click.option("--sample", metavar="P", help="Read only so many per cent of the blobs, drawn at random: 10%, or 10.")
@click.option("--seed", type=click.IntRange(min=0), metavar="N", help="Draw the sample of an earlier check again.")
@click.option("--max-age", metavar="SPAN", help="Do not read again what was verified within it: 7d.")
@click.option("--budget", metavar="SPAN", help="Read for so long, what was verified least recently first: 60s.")
@click.option("--repair", is_flag=True, help="Mend what can be mended; what is damaged moves to quarantine/.")
@click.option("--from", "source", metavar="PATH|URL", help="With --repair: another copy, to fetch what is lost from.")
@click.pass_obj
def fsck(
    options: GlobalOptions,
    sample: str | None,
    seed: int | None,
    max_age: str | None,
    budget: str | None,
    repair: bool,
    source: str | None,
) -> int:
    """Every invariant is checked, by its number, while others go on working; only --repair changes anything.

    Exit code 4 says that something is wrong; with each problem comes the command that mends it.
    """
    if source is not None and not repair:
        raise Misuse("--from says where to repair from.", hint="Give --repair, too.")
    with open_root(options) as store:
        movie = movie_of(options, store)
        with store.examine(movie) as examined:
            if repair and examined.driver.read_only:
                raise StoreUnavailableError(
                    f"{store.root} cannot be written.", hint="Without --repair, fsck only reads."
                )
            report = check_movie(
                examined,
                sample=1.0 if sample is None else part_of(sample),
                seed=seed,
                max_age_seconds=None if max_age is None else seconds_of(max_age),
                budget_seconds=None if budget is None else seconds_of(budget),
                on_progress=now_and_again(_in_words),
            )
        if repair:
            report = _repaired(store, movie, report, source)
    report = report.replace(problems=[_addressed(problem, options) for problem in report.problems])
    if options.as_json:
        print_json(report.to_json())
    else:
        _show(report)
    return 0 if report.ok else PROBLEMS


def part_of(text: str) -> float:
    """A part in per cent, `10%` or `10`, as a number from 0 to 1."""
    match = _PERCENT.fullmatch(text.strip())
    if match is None or float(match[1]) > 100:
        raise Misuse(f"{text!r} is not a part.", hint="Give per cent from 0 to 100, such as 10%.")
    return float(match[1]) / 100


def _repaired(store: Store, movie: str, report: CheckReport, source: str | None) -> CheckReport:
    """The report after mending. A database that cannot be read has to be made anew before anything can be mended."""
    if source is None:
        return _repair(store, movie, report, None)
    with open_store(source) as copy:
        return _repair(store, movie, report, copy)


def _repair(store: Store, movie: str, report: CheckReport, copy: Store | None) -> CheckReport:
    driver = None
    if copy is not None:
        driver = copy.driver if copy.driver.stat(_FORMAT) is not None else copy.driver.sub(movie)
        if driver.stat(_FORMAT) is None:
            raise NotFoundError(f"{copy.root} has no copy of {movie}.", hint="--from takes a build root, or a movie.")
    if any(problem.object == "metadata.db" for problem in report.problems):
        notes = [*report.notes, "Nothing is repaired before metadata.db can be read."]
        return report.replace(notes=notes, repaired=[])
    try:
        opened = store.movie(movie)
    except DamageError as error:
        return report.replace(notes=[*report.notes, error.message], repaired=[])
    with opened:
        return repair_movie(opened, report, source=driver, on_progress=now_and_again(_in_words))


def _addressed(problem: Problem, options: GlobalOptions) -> Problem:
    """The problem with a command that can be typed: with the root, the movie and the copy that are in effect."""
    if _ANY_COPY in problem.repair:
        copy = setting("copy").value
        if copy is None:
            said = f"{problem.message} This needs a copy of the movie: PATH is its build root."
            problem = problem.replace(message=said)
        else:
            repair = problem.repair.replace(_ANY_COPY, f"--from {shlex.quote(copy)}")
            problem = problem.replace(repair=repair)
    given = [(name, value) for name, value in (("--root", options.root), ("--movie", options.movie)) if value]
    if not given:
        return problem
    program = " ".join([PROGRAM, *(f"{name} {shlex.quote(value)}" for name, value in given)])
    repair = re.sub(rf"(?:^|(?<=; )){PROGRAM}\b", lambda _: program, problem.repair)
    return problem.replace(repair=repair)


def _show(report: CheckReport) -> None:
    for remark in report.notes:
        note(remark)
    for done in report.repaired or []:
        print_line(styled("repaired", "green"), f"  {done}")
    if report.problems:
        rows = [
            (str(p.invariant), p.object, _named(p.artefacts), _named(p.revisions), p.message, p.repair)
            for p in report.problems
        ]
        print_table(("invariant", "object", "artefacts", "revisions", "problem", "repair"), rows, right=("invariant",))
    read = f"{count(report.checked, 'object')} checked, {size(report.checked_bytes)} of blobs read"
    skipped = f", {count(report.skipped, 'blob')} not read" if report.skipped else ""
    found = count(len(report.problems), "problem") if report.problems else "no problem"
    print_line(f"{read}{skipped}: {found}.")


def _named(names: list[str]) -> str:
    shown = ", ".join(names[:5])
    return f"{shown} and {len(names) - 5} more" if len(names) > 5 else shown or "-"


def _in_words(progress: CheckProgress) -> str:
    return f"{progress.step}: {progress.done:,}, {size(progress.bytes)} read"
