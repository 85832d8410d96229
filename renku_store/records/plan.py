"""What a run would do, and why."""

from __future__ import annotations

from collections.abc import Iterable
from math import fsum
from typing import Literal

from renku_store.records._base import Hash, Json, Record, written
from renku_store.records.graph import ProducerGraph
from renku_store.records.manifest import ManifestArtefact, ManifestInput

JobState = Literal["clean", "dirty", "deferred"]
ReasonKind = Literal[
    "input changed",
    "producer changed",
    "output missing",
    "upstream",
    "forced",
    "pinned",
    "edited",
    "chosen",
    "blob missing or damaged",
    "last attempt failed",
]


class Reason(Record):
    """Why a job is dirty; `subject` is an input, an artefact, or a job upstream (follow it for its own causes)."""

    kind: ReasonKind
    subject: str
    detail: str = written("")


class CostRange(Record):
    """US dollars, at least and at most; `unknown` calls, which nobody can price, are in neither.

    `open_loops`: placeholders of which nobody knows how many jobs they stand for. One call of each is in `high`.
    """

    low: float = written(0.0)
    high: float = written(0.0)
    unknown: int = written(0)
    open_loops: int | None = None

    @classmethod
    def total(cls, ranges: Iterable[CostRange]) -> CostRange:
        """All of them together."""
        every = list(ranges)
        return cls(
            low=round(fsum(cost.low for cost in every), 9),
            high=round(fsum(cost.high for cost in every), 9),
            unknown=sum(cost.unknown for cost in every),
            open_loops=sum(cost.open_loops or 0 for cost in every) or None,
        )

    def times(self, count: int) -> CostRange:
        """That many of them."""
        return CostRange.total([self] * count)


class PlannedJob(Record):
    """A job in a plan; `signature` is absent where it depends on outputs not made yet and is decided at dispatch.

    `pinned`: it counts as clean whatever its inputs are; `left_out`: it is dirty, and this run leaves it as it is.
    `seconds`: how long its call is expected to take, where it is known how long calls of its producer took.
    `jobs_before`: how many jobs a placeholder stood for in the base revision, if any.
    `edited`: every output of it is a person's version, so that it does not run, whatever its inputs are.
    `made_in`: the revision that its outputs were made for, where that is older than the base: the reasons start there.
    `reuse`: a result that there is, or that a job before it makes, will answer it. `cost` is what its call is expected
    to take; clean jobs and those left out have none.
    """

    state: JobState
    reasons: list[Reason] = written([])
    signature: Hash | None = None
    layer: int
    seconds: float | None = None
    pinned: bool | None = None
    edited: bool | None = None
    left_out: bool | None = None
    made_in: str | None = None
    reuse: bool | None = None
    jobs_before: int | None = None
    cost: CostRange | None = None

    @property
    def damaged(self) -> set[str]:
        """The job's artefacts that the base revision names and whose bytes cannot be used."""
        return {reason.subject for reason in self.reasons if reason.kind == "blob missing or damaged"}


class Choices(Record):
    """What a person wants of one run beyond what is dirty. Names are those of jobs, artefacts or producers.

    - `targets`: only these and what they need are made; everything is where none is named.
    - `regen`: made anew though they be clean: another take.
    - `pin`: kept as they are though they be dirty; what comes after reads what they hold.
    - `up_to_layer`: jobs of deeper layers are left as they are.
    """

    targets: list[str] = written([])
    regen: list[str] = written([])
    pin: list[str] = written([])
    up_to_layer: int | None = None


class ExecutionPlan(Record):
    """What would run, in layers, and everything that a run needs to do it.

    `revision` is the one to be published; `manifest_base_hash` names the manifest that this plan stands on (None: no
    revision yet). `layers` lists the jobs to be run by depth in the whole graph; `choices` are those that it follows.
    `edits_through` is the number of the last movie-wide edit that is part of the plan; `defaults` are the inputs that
    nobody set, which manifests leave out. `edits` are the artefacts that people decided on: their own versions, each
    over what its producer made, and takes that they chose and no revision holds yet (without `edited_by`), which hold
    for their `signature` only. `spent`, in US dollars, is what the run that is taken up again took before; `cost` is
    what is left to be paid.
    """

    format: int
    movie: str | None = None
    run: str | None = None
    revision: str
    base_revision: str | None = None
    manifest_base_hash: Hash | None = None
    edits_through: int = written(0)
    layers: list[list[str]]
    jobs: dict[str, PlannedJob]
    cost: CostRange = written(CostRange())
    spent: float | None = None
    graph: ProducerGraph
    graph_hash: Hash
    inputs: dict[str, ManifestInput]
    defaults: list[str] = written([])
    choices: Choices | None = None
    edits: dict[str, ManifestArtefact] = written({})
    warnings: list[str] = written([])

    @property
    def dirty(self) -> list[str]:
        """The ids of the jobs that are to be run, layer by layer."""
        return [job for layer in self.layers for job in layer]

    def reasons_of(self, jobs: Iterable[str]) -> dict[str, Json]:
        """Why these jobs are dirty, as JSON."""
        return {job: [reason.to_json() for reason in self.jobs[job].reasons] for job in jobs}
