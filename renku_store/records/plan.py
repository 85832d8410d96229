"""What a run would do, and why."""

from __future__ import annotations

from typing import Literal

from renku_store.records._base import Hash, Record
from renku_store.records.graph import ProducerGraph
from renku_store.records.manifest import ManifestInput

JobState = Literal["clean", "dirty", "deferred"]
ReasonKind = Literal[
    "input changed",
    "producer changed",
    "output missing",
    "upstream",
    "forced",
    "blob missing or damaged",
    "last attempt failed",
]


class Reason(Record):
    """Why a job is dirty; `subject` is an input, an artefact, or a job upstream (follow it for its own causes)."""

    kind: ReasonKind
    subject: str
    detail: str = ""


class PlannedJob(Record):
    """A job in a plan; `signature` is absent where it depends on outputs not made yet and is decided at dispatch."""

    state: JobState
    reasons: list[Reason] = []
    signature: Hash | None = None
    layer: int


class CostRange(Record):
    """US dollars, at least and at most."""

    low: float = 0.0
    high: float = 0.0


class ExecutionPlan(Record):
    """What would run, in layers, and everything that a run needs to do it.

    `revision` is the one to be published; `manifest_base_hash` names the manifest that this plan stands on (None: no
    revision yet). `layers` lists the dirty jobs by depth in the whole graph. `edits_through` is the number of the last
    movie-wide edit that is part of the plan; `defaults` are the inputs that nobody set, which manifests leave out.
    """

    format: int
    movie: str | None = None
    run: str | None = None
    revision: str
    base_revision: str | None = None
    manifest_base_hash: Hash | None = None
    edits_through: int = 0
    layers: list[list[str]]
    jobs: dict[str, PlannedJob]
    cost: CostRange = CostRange()
    graph: ProducerGraph
    graph_hash: Hash
    inputs: dict[str, ManifestInput]
    defaults: list[str] = []
    warnings: list[str] = []

    @property
    def dirty(self) -> list[str]:
        """The ids of the jobs that are not clean, layer by layer."""
        return [job for layer in self.layers for job in layer]
