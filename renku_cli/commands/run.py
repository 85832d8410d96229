"""`run`: the daily loop, with its progress on standard error and its events wherever they are wanted."""

from __future__ import annotations

import signal
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, Final, cast

import click
import orjson

from renku_cli.commands.movies import blueprint_source
from renku_cli.failures import INTERRUPTED
from renku_cli.grammar import GlobalOptions, command, complete
from renku_cli.handlers import Handlers, heard_apart, take_stdout
from renku_cli.misuse import Misuse
from renku_cli.opening import concurrency_of, open_movie
from renku_cli.outcome import report_document, show_report
from renku_cli.output import note, print_json
from renku_cli.prices import Dollars
from renku_cli.quantities import COUNT_MAX
from renku_cli.resting import tell_of_others, tell_of_warnings
from renku_cli.sources import read_mapping
from renku_cli.table import load
from renku_cli.view import refresh_view
from renku_store import BlueprintError, Choices, set_out

if TYPE_CHECKING:
    from renku_store import Json, Movie, OnConflict, RunProgress, RunReport

_EXIT_CODES: Final = {"published": 0, "unchanged": 0, "failed": 1, "partial": 1, "interrupted": INTERRUPTED}
_SHOWN_BY_VIEWS: Final = frozenset({"published", "unchanged", "partial"})


@command(
    "run",
    "renku-store run",
    "renku-store run --dry-run",
    "renku-store run --inputs tonight.yaml --concurrency 50%",
    "renku-store run --regen 'slide[2]' --pin narration",
    "renku-store run --json --events run-events.jsonl",
)
@click.option("--blueprint", metavar="FILE", type=click.Path(), help="Blueprint for this run instead of the movie's.")
@click.option("--graph", metavar="FILE", type=click.Path(), help="Expanded graph (JSON) for this run.")
@click.option(
    "--inputs",
    "inputs_file",
    metavar="FILE",
    type=click.Path(),
    help="Inputs for this run (YAML or JSON: id to value).",
)
@click.option("-c", "--concurrency", metavar="N|P%|auto", help="Jobs at once; the default is a setting, at first 5.")
@click.option(
    "--events",
    "events_file",
    metavar="FILE",
    type=click.Path(),
    help="Append the run's events as JSON lines; - is standard output.",
)
@click.option(
    "--on-conflict",
    type=click.Choice(["rebase", "fail"]),
    default="rebase",
    show_default=True,
    help="If someone else publishes meanwhile: plan again on that, or fail.",
)
@click.option(
    "--target",
    "targets",
    metavar="ID",
    multiple=True,
    shell_complete=complete("jobs_and_artefacts"),
    help="Make only this job, artefact or producer, and what it needs. Repeatable.",
)
@click.option(
    "--regen",
    metavar="ID",
    multiple=True,
    shell_complete=complete("jobs_and_artefacts"),
    help="Make this anew though nothing has changed: another take. Repeatable.",
)
@click.option(
    "--pin",
    metavar="ID",
    multiple=True,
    shell_complete=complete("jobs_and_artefacts"),
    help="Keep this as it is though something has changed. Repeatable.",
)
@click.option(
    "--up-to-layer", metavar="N", type=click.IntRange(0, COUNT_MAX), help="Leave jobs of deeper layers as they are."
)
@click.option("--allow-partial", is_flag=True, help="Publish what succeeded, with older values for the rest.")
@click.option(
    "--keep-going/--fail-fast",
    default=True,
    show_default=True,
    help="After a job has failed: go on with all that does not need it, or begin nothing more.",
)
@click.option(
    "--max-cost",
    metavar="X",
    type=Dollars(),
    help="What the run may spend in US dollars: it ends before the first call that could exceed it.",
)
@click.option("--dry-run", is_flag=True, help="Show the plan, run nothing.")
@click.pass_obj
def run(
    options: GlobalOptions,
    blueprint: str | None,
    graph: str | None,
    inputs_file: str | None,
    concurrency: str | None,
    events_file: str | None,
    on_conflict: OnConflict,
    targets: tuple[str, ...],
    regen: tuple[str, ...],
    pin: tuple[str, ...],
    up_to_layer: int | None,
    allow_partial: bool,
    keep_going: bool,
    max_cost: float | None,
    dry_run: bool,
) -> int:
    """Plans, runs what is not up to date, and publishes if anything differs from the current revision.

    A run that died, failed or was interrupted is taken up again. Ctrl-C lets running jobs finish and begins nothing
    more, a second one cancels them, a third one exits; what is finished is kept. What --blueprint, --graph and --inputs
    give is private to the run until it publishes.
    """
    take_stdout()
    private = _private_inputs(blueprint, graph, inputs_file)
    limit = concurrency_of(concurrency)
    chosen = bool(targets or regen or pin or up_to_layer is not None)
    wanted = Choices(targets=[*targets], regen=[*regen], pin=[*pin], up_to_layer=up_to_layer)
    choices = wanted if chosen else None
    with open_movie(options) as movie, _named_by_file(blueprint):
        if dry_run:
            if events_file is not None:
                note("A dry run has no events: nothing is written for --events.")
            load("commands.planning:show_dry_run")(options, movie, private, choices, max_cost, limit)
            return 0
        with _events_to(events_file) as record:
            how = {"concurrency": limit, "on_conflict": on_conflict, "record": record}
            how |= {"allow_partial": allow_partial, "keep_going": keep_going}
            report = _report(movie, private, choices, max_cost, how)
        if report.status in _SHOWN_BY_VIEWS:
            refresh_view(movie)
    if options.as_json:
        print_json(report_document(report), one_line=events_file == "-")
    else:
        show_report(report, stream=sys.stderr if events_file == "-" else sys.stdout)
    return exit_code(report)


def exit_code(report: RunReport) -> int:
    """The exit code of a run."""
    return _EXIT_CODES[report.status]


def _report(
    movie: Movie,
    inputs: Mapping[str, Json],
    choices: Choices | None,
    max_cost: float | None,
    options: Mapping[str, Any],
) -> RunReport:
    """What came of it; where there is nothing to do, that is found without what runs jobs."""
    handlers = Handlers()
    with interruptible(), heard_apart():
        outset = set_out(movie, inputs=inputs, choices=choices, prices=handlers.price)
        report = outset.nothing_to_do()
    if report is not None:
        tell_of_others(movie, outset.plan.run)
        tell_of_warnings(outset.plan, max_cost)
        return report
    run_with_progress: Callable[..., RunReport] = load("running:run_with_progress")
    given = {"inputs": inputs, "choices": choices, "max_cost": max_cost}
    return run_with_progress(movie, handlers, outset=outset, **given, **options)


@contextmanager
def interruptible() -> Iterator[None]:
    """Let SIGTERM interrupt as Ctrl-C does, for the length of a block."""
    before = signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before or signal.SIG_DFL)  # None: it is not from Python


def _private_inputs(blueprint: str | None, graph: str | None, inputs_file: str | None) -> dict[str, Json]:
    private = read_mapping(inputs_file) if inputs_file is not None else {}
    source = blueprint_source(blueprint, graph)
    return private if source is None else {**private, "@blueprint": source}


@contextmanager
def _named_by_file(blueprint: str | None) -> Iterator[None]:
    """Let a mistake that is found when the input @blueprint is expanded name the file that it was given in."""
    try:
        yield
    except BlueprintError as error:
        if blueprint is None or error.file != "@blueprint":
            raise
        message = error.message.removeprefix(f"{error.file}:{error.line}: ")
        raise BlueprintError(message, hint=error.hint, file=blueprint, line=error.line) from error


@contextmanager
def _events_to(target: str | None) -> Iterator[Callable[[RunProgress], None] | None]:
    """Something that writes events, one JSON object a line, to a file or standard output; None where nobody asked."""
    if target is None:
        yield None
    elif target == "-":
        yield _Lines(sys.stdout.buffer).write
    else:
        with _appending(target) as file:
            yield _Lines(file).write


def _appending(target: str) -> BinaryIO:
    """A file that is appended to without a buffer: what failed to be written does not come back when it is closed."""
    if not target:
        raise Misuse("--events names no file: its name is empty.", hint="Name a file, or - for standard output.")
    try:
        return cast("BinaryIO", Path(target).open("ab", buffering=0))
    except OSError as error:
        raise Misuse(
            f"The events cannot be written to {target}: {error.strerror}.", hint="Name a file that can be written."
        ) from error


class _Lines:
    """Events as JSON lines. When nobody reads them any more the run goes on without."""

    def __init__(self, stream: BinaryIO) -> None:
        self._stream = stream
        self._readers = True

    def write(self, event: RunProgress) -> None:
        """Write one event and flush it."""
        if not self._readers:
            return
        try:
            self._stream.write(orjson.dumps(event.to_json()) + b"\n")
            self._stream.flush()
        except OSError as error:
            self._readers = False
            note(f"The events cannot be written any more: {error.strerror}.")
