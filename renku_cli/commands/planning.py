"""`plan` and `explain`: what a run would do, and why."""

from __future__ import annotations

from collections.abc import Mapping

import click
from rich.text import Text

from renku_cli import causes
from renku_cli.causes import Line, reason_text
from renku_cli.grammar import GlobalOptions, command, complete
from renku_cli.misuse import nearest
from renku_cli.opening import open_movie
from renku_cli.output import note, print_heading, print_json, print_line, print_table, print_tree, state, styled
from renku_cli.text import cost, count
from renku_store import (
    Choices,
    ExecutionPlan,
    Json,
    ManifestInput,
    Movie,
    NotFoundError,
    PlannedJob,
    default_registry,
    plan_movie,
)

_SHOWN_REASONS = 3


@command("plan", "renku-store plan", "renku-store --movie trailer plan --json")
@click.pass_obj
def plan(options: GlobalOptions) -> None:
    """Lists the jobs that are not up to date, layer by layer, each with the reasons."""
    with open_movie(options) as movie:
        show_plan(options, planned(movie))


def planned(movie: Movie, inputs: Mapping[str, Json] | None = None, choices: Choices | None = None) -> ExecutionPlan:
    """What a run would do, with a warning if a producer that it needs is not to be had here."""
    plan = plan_movie(movie, inputs=inputs, choices=choices)
    try:
        default_registry().check(plan)
    except NotFoundError as error:
        return plan.model_copy(update={"warnings": [*plan.warnings, f"{error.message} {error.hint}".strip()]})
    return plan


def show_plan(options: GlobalOptions, planned: ExecutionPlan) -> None:
    """Print a plan."""
    if options.as_json:
        print_json(plan_document(planned))
        return
    for warning in planned.warnings:
        note(f"warning: {warning}")
    dirty = planned.dirty
    if dirty:
        rows = [
            (str(planned.jobs[job].layer), job, state(planned.jobs[job].state), _reasons(planned.jobs[job]))
            for job in dirty
        ]
        print_table(("layer", "job", "state", "reasons"), rows, right=("layer",))
    left_out = sum(bool(job.left_out) for job in planned.jobs.values())
    clean = len(planned.jobs) - len(dirty) - left_out
    base = f" on {planned.base_revision}" if planned.base_revision else ""
    told = f", {left_out:,} left as they are" if left_out else ""
    print_line(f"{planned.revision}{base}: {count(len(dirty), 'job')} to run, {clean:,} clean{told}{_costs(planned)}.")


def plan_document(planned: ExecutionPlan) -> dict[str, object]:
    """The JSON form of a plan: without the graph and the values, which have their hashes."""
    document = planned.to_json()
    for key in ("graph", "inputs", "defaults", "run"):
        document.pop(key, None)
    document.setdefault("baseRevision", None)
    document.setdefault("manifestBaseHash", None)
    document.setdefault("movie", None)
    for job in document["jobs"].values():
        job.setdefault("signature", None)
    return document


def _reasons(job: PlannedJob) -> str:
    texts = [reason_text(reason) for reason in job.reasons[:_SHOWN_REASONS]]
    more = len(job.reasons) - _SHOWN_REASONS
    return "; ".join(texts) + (f"; and {more} more" if more > 0 else "")


def _costs(planned: ExecutionPlan) -> str:
    low, high = planned.cost.low, planned.cost.high
    if not high:
        return ""
    return f", {cost(low)}" if low == high else f", {cost(low)} to {cost(high)}"


@command("explain", "renku-store explain", "renku-store explain 'narration[2].audio'")
@click.argument("id", required=False, shell_complete=complete("jobs_and_artefacts"))
@click.pass_obj
def explain(options: GlobalOptions, id: str | None) -> None:
    """Follows the reasons of a job, or of an artefact's job, down to what was edited, and says what would undo it.

    Without an ID: everything that the next run would end in.
    """
    with open_movie(options) as movie:
        planned = plan_movie(movie)
        jobs = [_job_of(planned, id)] if id is not None else causes.ends(planned)
        dirty = [job for job in jobs if planned.jobs[job].state != "clean"]
        below = causes.closure(planned, dirty)
        advice = causes.remedies(planned, below, _base_inputs(movie, planned))
        if options.as_json:
            print_json(_explained(planned, id, jobs, below, advice))
        else:
            _show_causes(planned, jobs, dirty, advice)


def _job_of(planned: ExecutionPlan, name: str) -> str:
    if name in planned.jobs:
        return name
    makers = {output.id: node.job_id for node in planned.graph.nodes for output in node.produces}
    if name in makers:
        return makers[name]
    hint = nearest(name, [*planned.jobs, *makers], otherwise="`renku-store plan` lists the jobs.")
    raise NotFoundError(f"There is no job or artefact {name}.", hint=hint)


def _base_inputs(movie: Movie, planned: ExecutionPlan) -> dict[str, ManifestInput]:
    return dict(movie.manifests.load(planned.base_revision).inputs) if planned.base_revision else {}


def _explained(
    planned: ExecutionPlan, id: str | None, jobs: list[str], below: list[str], advice: list[str]
) -> dict[str, object]:
    every = plan_document(planned)["jobs"]
    shown = {job: every[job] for job in dict.fromkeys([*jobs, *below])} if isinstance(every, dict) else {}
    return {"id": id, "baseRevision": planned.base_revision, "roots": jobs, "jobs": shown, "silencedBy": advice}


def _show_causes(planned: ExecutionPlan, jobs: list[str], dirty: list[str], advice: list[str]) -> None:
    for job in jobs:
        if job not in dirty:
            print_line(state("clean"), f"  {job}: {planned.base_revision} holds it as its inputs give it now.")
    if not jobs:
        print_line(f"Everything is clean: {planned.base_revision} holds what the inputs give now.")
    print_tree((line.depth, _label(line)) for line in causes.tree(planned, dirty))
    if advice:
        print_heading("What would silence it")
        for sentence in advice:
            print_line(f"  {sentence}")


def _label(line: Line) -> Text:
    if line.job is None:
        return styled(line.text)
    told = styled(line.text, "dim") if line.state == "above" else state(line.state)
    return Text.assemble(styled(line.job, "bold"), "  ", told)
