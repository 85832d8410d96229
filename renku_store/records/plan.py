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
    "pinned",
    "blob missing or damaged",
    "last attempt failed",
]


class Reason(Record):
    """Why a job is dirty; `subject` is an input, an artefact, or a job upstream (follow it for its own causes)."""

    kind: ReasonKind
    subject: str
    detail: str = ""


class PlannedJob(Record):
    """A job in a plan; `signature` is absent where it depends on outputs not made yet and is decided at dispatch.

    `pinned`: it counts as clean whatever its inputs are; `left_out`: it is dirty, and this run leaves it as it is.
    """

    state: JobState
    reasons: list[Reason] = []
    signature: Hash | None = None
    layer: int
    pinned: Literal[True] | None = None
    left_out: Literal[True] | None = None


class Choices(Record):
    """What a person wants of one run beyond what is dirty. Names are those of jobs, artefacts or producers.

    - `targets`: only these and what they need are made; everything is where none is named.
    - `regen`: made anew though they be clean: another take.
    - `pin`: kept as they are though they be dirty; what comes after reads what they hold.
    - `up_to_layer`: jobs of deeper layers are left as they are.
    """

    targets: list[str] = []
    regen: list[str] = []
    pin: list[str] = []
    up_to_layer: int | None = None


class CostRange(Record):
    """US dollars, at least and at most."""

    low: float = 0.0
    high: float = 0.0


class ExecutionPlan(Record):
    """What would run, in layers, and everything that a run needs to do it.

    `revision` is the one to be published; `manifest_base_hash` names the manifest that this plan stands on (None: no
    revision yet). `layers` lists the jobs to be run by depth in the whole graph; `choices` are those that it follows.
    `edits_through` is the number of the last movie-wide edit that is part of the plan; `defaults` are the inputs that
    nobody set, which manifests leave out.
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
    choices: Choices | None = None
    warnings: list[str] = []

    @property
    def dirty(self) -> list[str]:
        """The ids of the jobs that are to be run, layer by layer."""
        return [job for layer in self.layers for job in layer]
