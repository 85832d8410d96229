"""`plan` and `explain`: what a run would do, and why."""

from __future__ import annotations

from collections.abc import Mapping

import click

from renku_cli import causes
from renku_cli.causes import Line, reason_text
from renku_cli.grammar import GlobalOptions, command, complete
from renku_cli.handlers import Handlers, heard_apart, take_stdout
from renku_cli.misuse import nearest
from renku_cli.opening import concurrency_of, open_movie
from renku_cli.output import (
    Styled,
    joined,
    note,
    print_heading,
    print_json,
    print_line,
    print_table,
    print_tree,
    state,
    styled,
)
from renku_cli.prices import is_priced, job_cost, range_text
from renku_cli.text import count, rough
from renku_store import (
    Choices,
    CostRange,
    ExecutionPlan,
    Json,
    ManifestInput,
    Movie,
    NotFoundError,
    PlannedJob,
    budget_warnings,
    plan_movie,
    run_seconds,
)

_SHOWN_REASONS = 3


@command("plan", "renku-store plan", "renku-store --movie trailer plan --json")
@click.pass_obj
def plan(options: GlobalOptions) -> None:
    """Lists the jobs that are not up to date, layer by layer, each with the reasons."""
    take_stdout()
    with open_movie(options) as movie:
        show_plan(options, planned(movie), concurrency_of())


def show_dry_run(
    options: GlobalOptions,
    movie: Movie,
    inputs: Mapping[str, Json],
    choices: Choices | None,
    max_cost: float | None,
    concurrency: int,
) -> None:
    """Print what a run would do that is given the same."""
    show_plan(options, planned(movie, inputs, choices, max_cost), concurrency)


def planned(
    movie: Movie,
    inputs: Mapping[str, Json] | None = None,
    choices: Choices | None = None,
    max_cost: float | None = None,
) -> ExecutionPlan:
    """What a run would do and cost, with a warning of what is not to be had here, or may be too much."""
    handlers = Handlers()
    with heard_apart():
        plan = plan_movie(movie, inputs=inputs, choices=choices, prices=handlers.price)
        plan = plan.replace(warnings=[*plan.warnings, *budget_warnings(plan, max_cost)])
        if not plan.dirty:
            return plan
        try:
            handlers.registry.check(plan)
        except NotFoundError as error:
            return plan.replace(warnings=[*plan.warnings, f"{error.message} {error.hint}".strip()])
        return plan


def show_plan(options: GlobalOptions, planned: ExecutionPlan, concurrency: int) -> None:
    """Print a plan, with what it would take with so many jobs at once."""
    if options.as_json:
        timed = {"concurrency": concurrency, "expectedSeconds": run_seconds(planned, concurrency)}
        print_json({**plan_document(planned), **timed})
        return
    for warning in planned.warnings:
        note(f"warning: {warning}")
    dirty = planned.dirty
    if dirty:
        _show_jobs([(job, planned.jobs[job]) for job in dirty])
    left_out = sum(bool(job.left_out) for job in planned.jobs.values())
    clean = len(planned.jobs) - len(dirty) - left_out
    base = f" on {planned.base_revision}" if planned.base_revision else ""
    reused = sum(bool(planned.jobs[job].reuse) for job in dirty)
    told = f", {reused:,} answered by earlier results" if reused else ""
    told += f", {clean:,} clean" + (f", {left_out:,} left as they are" if left_out else "")
    expected = _costs(planned) + _time(planned, concurrency)
    print_line(f"{planned.revision}{base}: {count(len(dirty) - reused, 'job')} to run{told}{expected}.")


def plan_document(planned: ExecutionPlan) -> dict[str, object]:
    """The JSON form of a plan: without the graph and the values, which have their hashes."""
    document = planned.to_json()
    for key in ("graph", "inputs", "defaults", "run"):
        document.pop(key, None)
    document.setdefault("baseRevision", None)
    document.setdefault("manifestBaseHash", None)
    for job in document["jobs"].values():
        job.setdefault("signature", None)
    return document


def _show_jobs(jobs: list[tuple[str, PlannedJob]]) -> None:
    if not is_priced(job for _, job in jobs):
        rows = [(str(job.layer), key, state(job.state), _reasons(job)) for key, job in jobs]
        print_table(("layer", "job", "state", "reasons"), rows, right=("layer",))
        return
    priced = [(str(job.layer), key, state(job.state), job_cost(job), _reasons(job)) for key, job in jobs]
    print_table(("layer", "job", "state", "cost", "reasons"), priced, right=("layer", "cost"))


def _reasons(job: PlannedJob) -> str:
    texts = [reason_text(reason) for reason in job.reasons[:_SHOWN_REASONS]]
    more = len(job.reasons) - _SHOWN_REASONS
    before = f" ({count(job.jobs_before, 'job')} so far)" if job.jobs_before else ""
    return "; ".join(texts) + (f"; and {more} more" if more > 0 else "") + before


def _time(planned: ExecutionPlan, concurrency: int) -> str:
    seconds = run_seconds(planned, concurrency)
    return "" if seconds is None else f", about {rough(seconds)} at concurrency {concurrency}"


def _costs(planned: ExecutionPlan) -> str:
    return f", {range_text(planned.cost)}" if is_priced(planned.jobs[job] for job in planned.dirty) else ""


@command("explain", "renku-store explain", "renku-store explain 'narration[2].audio'")
@click.argument("id", required=False, shell_complete=complete("jobs_and_artefacts"))
@click.pass_obj
def explain(options: GlobalOptions, id: str | None) -> None:
    """Follows the reasons of a job, or of an artefact's job, down to what was edited, and says what would undo it.

    Without an ID: everything that the next run would end in.
    """
    with open_movie(options) as movie:
        planned = plan_movie(movie, prices=Handlers().price)
        jobs = [_job_of(planned, id)] if id is not None else causes.ends(planned)
        dirty = [job for job in jobs if planned.jobs[job].state != "clean"]
        below = causes.closure(planned, dirty)
        revisions = {revision for job in below if (revision := causes.made_in(planned, job)) is not None}
        advice = causes.remedies(planned, below, _inputs_before(movie, revisions))
        if id is not None:
            advice += [*causes.keeping(planned, jobs[0]), *causes.standing(planned, jobs)]
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
    for node in planned.graph.nodes:
        if node.stands_for(name) or node.output_for(name):
            return node.job_id
    hint = nearest(name, [*planned.jobs, *makers], otherwise="`renku-store plan` lists the jobs.")
    raise NotFoundError(f"There is no job or artefact {name}.", hint=hint)


def _inputs_before(movie: Movie, revisions: set[str]) -> dict[str, dict[str, ManifestInput]]:
    """The inputs of some revisions, by name."""
    return {name: dict(movie.manifests.load(name).inputs) for name in sorted(revisions)}


def _explained(
    planned: ExecutionPlan, id: str | None, jobs: list[str], below: list[str], advice: list[str]
) -> dict[str, object]:
    every = plan_document(planned)["jobs"]
    shown = {job: every[job] for job in dict.fromkeys([*jobs, *below])} if isinstance(every, dict) else {}
    return {"id": id, "baseRevision": planned.base_revision, "roots": jobs, "jobs": shown, "silencedBy": advice}


def _show_causes(planned: ExecutionPlan, jobs: list[str], dirty: list[str], advice: list[str]) -> None:
    for job in jobs:
        if job not in dirty:
            print_line(state("clean"), f"  {job}: {_why_clean(planned, job)}")
    if not jobs:
        print_line(f"Everything is clean: {planned.base_revision} holds what the inputs give now.")
    print_tree((line.depth, _label(line)) for line in causes.tree(planned, dirty))
    made = [planned.jobs[job] for job in causes.closure(planned, dirty)]
    if is_priced(made):
        total = CostRange.total(job.cost for job in made if job.cost is not None)
        print_line(f"To make it costs {range_text(total)}.")
    if advice:
        print_heading("What would silence it")
        for sentence in advice:
            print_line(f"  {sentence}")


def _why_clean(planned: ExecutionPlan, job: str) -> str:
    told = [reason_text(reason) for reason in planned.jobs[job].reasons if reason.kind == "edited"]
    if told:
        return f"it does not run. {'; '.join(told)}."
    return f"{planned.base_revision} holds it as its inputs give it now."


def _label(line: Line) -> Styled:
    if line.job is None:
        return styled(line.text)
    told = styled(line.text, "dim") if line.state == "above" else state(line.state)
    return joined(styled(line.job, "bold"), "  ", told)
