"""Why jobs are dirty, followed from job to job down to what was edited, and what would undo it. Pure."""

from __future__ import annotations

import json
import shlex
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Final

from renku_cli.text import SHOWN_CHARS
from renku_store import ExecutionPlan, ManifestInput, Reason

MAX_DEPTH: Final = 40
"""Levels of a tree that a person can still follow; what is deeper is explained by asking for that job."""

SHOWN_SUBJECTS: Final = 5
"""Things that a sentence lists by name."""

_UNKNOWN_INPUTS: Final = "inputs that are not known"
_REMEDIES: Final = {
    "producer changed": "In the blueprint, change back to what it was in {base}: {listed}.",
    _UNKNOWN_INPUTS: "Only a run makes again what was made from inputs that nobody can tell any more: {listed}.",
    "output missing": "Only a run makes what was not made yet: {listed}.",
    "blob missing or damaged": "Only a run makes again what cannot be used: {listed}.",
    "forced": "Forced, so a run makes it again whatever the inputs are: {listed}.",
    "last attempt failed": "The last attempt failed, as `renku-store events {first}` tells: {listed}.",
}


@dataclass(frozen=True, slots=True)
class Line:
    """A line of the tree: how deep, the job (None for a cause), its state, and what is said of it."""

    depth: int
    job: str | None
    state: str
    text: str


def reason_text(reason: Reason) -> str:
    """A reason in words: `input changed: segments[2].text (text)`."""
    detail = f" ({reason.detail})" if reason.detail else ""
    return f"{reason.kind}: {reason.subject}{detail}"


def ends(plan: ExecutionPlan) -> list[str]:
    """The dirty jobs that no other dirty job waits for: the tops of the trees, in the order of the plan."""
    awaited = {r.subject for job in plan.jobs.values() for r in job.reasons if r.kind == "upstream"}
    return [job for job in plan.dirty if job not in awaited]


def closure(plan: ExecutionPlan, jobs: Iterable[str]) -> list[str]:
    """These jobs and every dirty job upstream of them, each once, in the order of the tree."""
    return [line.job for line in tree(plan, jobs, max_depth=len(plan.jobs) + 1) if line.job and line.state != "above"]


def tree(plan: ExecutionPlan, jobs: Iterable[str], *, max_depth: int = MAX_DEPTH) -> Iterator[Line]:
    """The trees of causes below some jobs, line by line. A job that was shown already has the state `above`."""
    shown: set[str] = set()
    waiting = [(0, job) for job in reversed(list(jobs))]
    while waiting:
        depth, job = waiting.pop()
        planned = plan.jobs[job]
        if job in shown:
            yield Line(depth, job, "above", "see above")
            continue
        if depth > max_depth:
            yield Line(depth, job, "above", f"`renku-store explain {shlex.quote(job)}` goes on from here")
            continue
        shown.add(job)
        yield Line(depth, job, planned.state, "")
        for reason in planned.reasons:
            if reason.kind != "upstream":
                yield Line(depth + 1, None, "", reason_text(reason))
        upstream = [reason.subject for reason in planned.reasons if reason.kind == "upstream"]
        waiting.extend((depth + 1, maker) for maker in reversed(upstream))


def made_in(plan: ExecutionPlan, job: str) -> str | None:
    """The revision that a job's outputs were made for, which the changes since are told from."""
    return plan.jobs[job].made_in or plan.base_revision


def remedies(plan: ExecutionPlan, jobs: Iterable[str], before: Mapping[str, Mapping[str, ManifestInput]]) -> list[str]:
    """What would make these jobs clean again, a sentence for each sort of cause.

    `before` are the inputs of the revisions, by name, that the jobs' outputs were made for.
    """
    found: dict[tuple[str, str], dict[str, None]] = {}
    for job in jobs:
        base = made_in(plan, job) or "the last revision"
        for reason in plan.jobs[job].reasons:
            unknown = reason.kind == "input changed" and reason.subject == job
            found.setdefault((_UNKNOWN_INPUTS if unknown else reason.kind, base), {})[reason.subject] = None
    sentences: dict[str, None] = {}
    for (kind, base), subjects in found.items():
        if kind == "input changed":
            sentences |= dict.fromkeys(_set_back(plan, subject, base, before.get(base, {})) for subject in subjects)
    for (kind, base), subjects in found.items():
        if kind in _REMEDIES:
            listed = _listed(list(subjects))
            sentences[_REMEDIES[kind].format(listed=listed, first=shlex.quote(next(iter(subjects))), base=base)] = None
    producer = next((next(iter(subjects)) for (kind, _), subjects in found.items() if kind == "producer changed"), None)
    if producer is not None:
        sentences[f"If what was made still holds, adopt it: renku-store accept {shlex.quote(producer)}"] = None
    return list(sentences)


def _set_back(plan: ExecutionPlan, subject: str, base: str, before: Mapping[str, ManifestInput]) -> str:
    """What would make the subject of a reason again what it was in a revision, whose inputs are `before`."""
    name, decided = _input_of(subject, [*plan.inputs, *before]), _input_of(subject, plan.edits)
    if decided is not None:
        return _undo(plan, decided)
    if name is not None:
        return _restore(name, base, before)
    return f"{subject} must be again what it was in {base}."


def standing(plan: ExecutionPlan, jobs: Iterable[str]) -> list[str]:
    """What would let those of these jobs run that do not because people's versions stand for what they make."""
    reasons = [reason for job in jobs for reason in plan.jobs[job].reasons if reason.kind == "edited"]
    return [_undo(plan, reason.subject) for reason in reasons]


def keeping(plan: ExecutionPlan, job: str) -> list[str]:
    """How a dirty job can be kept as it is for one run; it needs something good to keep."""
    lacks = {"output missing", "blob missing or damaged"}
    planned = plan.jobs[job]
    if planned.state != "dirty" or any(reason.kind in lacks for reason in planned.reasons):
        return []
    return [f"Keep it as it is, for one run: renku-store run --pin {shlex.quote(job)}"]


def _undo(plan: ExecutionPlan, artefact: str) -> str:
    edit = plan.edits[artefact]
    if edit.edited_by is None:
        return f"Choose the former take of {artefact}: renku-store takes {shlex.quote(artefact)}"
    return f"Undo {edit.edited_by}'s version of {artefact}: renku-store edit {shlex.quote(artefact)} --undo"


def _listed(subjects: list[str]) -> str:
    more = len(subjects) - SHOWN_SUBJECTS
    return ", ".join(subjects[:SHOWN_SUBJECTS]) + (f" and {more} more" if more > 0 else "")


def _input_of(subject: str, names: Iterable[str]) -> str | None:
    """The input that a subject such as `segments[2].text` (or `voice and 2 more`) goes into."""
    fitting = [name for name in names if subject == name or subject.startswith((f"{name}[", f"{name}.", f"{name} "))]
    return max(fitting, key=len, default=None)


def _restore(name: str, base: str, before: Mapping[str, ManifestInput]) -> str:
    entry = before.get(name)
    if entry is None:
        return f"{base} has no value of {name} of its own: it was set since."
    argument = None if entry.blob else _argument(entry)
    if argument is None:
        return f"Set {name} back to its value in {base}."
    return f"Set {name} back to its value in {base}: renku-store set {shlex.quote(name)} {argument}"


def _argument(entry: ManifestInput) -> str | None:
    """The value as `set` would take it whatever its declared type is; None where it is long or could be misread."""
    value = entry.value
    if not isinstance(value, str):
        text = json.dumps(value, ensure_ascii=False)
    elif value.startswith(("@", "-")) or _is_json(value):
        return None
    else:
        text = value
    return shlex.quote(text) if len(text) <= SHOWN_CHARS else None


def _is_json(text: str) -> bool:
    try:
        json.loads(text)
    except ValueError:
        return False
    return True
