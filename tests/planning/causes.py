"""Whether the reasons of a plan lead to what was really done."""

from __future__ import annotations

from renku_store import ExecutionPlan
from tests.planning.reference import Reference
from tests.planning.worlds import World


def check_causes(plan: ExecutionPlan, world: World, reference: Reference) -> None:
    """Every chain of reasons of a dirty job ends, at something that is true; a clean one has none, or is kept."""
    jobs = {job.name: job for job in world.jobs}
    for name, entry in plan.jobs.items():
        if entry.state == "clean":
            assert {reason.kind for reason in entry.reasons} <= {"pinned"}
            continue
        assert entry.reasons, f"{name} is dirty without a reason"
        assert causes(plan, name), f"the reasons of {name} lead nowhere"
        for reason in entry.reasons:
            match reason.kind:
                case "upstream":
                    assert plan.jobs[reason.subject].state == "dirty"
                case "output missing":
                    assert reason.subject not in reference.held
                case "blob missing or damaged":
                    assert reference.held[reason.subject].text in reference.lost
                case "forced":
                    assert reason.subject == name
                case "producer changed":
                    assert reason.subject == jobs[name].producer
                case "last attempt failed":
                    assert reason.subject == name
                case "input changed":
                    assert entry.signature is None or reference.held
                case _:
                    raise AssertionError(reason.kind)


def causes(plan: ExecutionPlan, job: str) -> set[tuple[str, str, str]]:
    """The ends of all chains of reasons: (job, kind, subject)."""
    found: set[tuple[str, str, str]] = set()
    open_jobs, seen = [job], {job}
    while open_jobs:
        current = open_jobs.pop()
        for reason in plan.jobs[current].reasons:
            if reason.kind != "upstream":
                found.add((current, reason.kind, reason.subject))
            elif reason.subject not in seen:
                seen.add(reason.subject)
                open_jobs.append(reason.subject)
    return found


def check_edits(plan: ExecutionPlan, world: World, before: World | None) -> None:
    """Where every run was published, every cause is an edit: of an input, of the job itself, or that it is new."""
    old = {job.name: job for job in before.jobs} if before else {}
    edited_inputs = {key for key, value in world.inputs.items() if before is None or before.inputs[key] != value}
    edited_jobs = {job.name for job in world.jobs if old.get(job.name) != job}
    for name, entry in plan.jobs.items():
        if entry.state == "clean":
            continue
        for job, kind, subject in causes(plan, name):
            match kind:
                case "output missing":
                    assert subject not in _artefacts(before)
                case "producer changed":
                    assert job in edited_jobs
                case "input changed":
                    assert job in edited_jobs or subject.split(" and ")[0].partition(".")[0] in edited_inputs
                case _:
                    raise AssertionError(f"{name} is said to be dirty for {kind} of {subject}")


def _artefacts(world: World | None) -> set[str]:
    return {job.artefact(name) for job in world.jobs for name in job.outputs} if world else set()
