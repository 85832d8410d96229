"""What would run, and why. Pure: graph, manifest, inputs and edits in, a plan with reasons out.

A job is clean when the manifest holds all its outputs with the signature that its inputs give now, and their blobs
are usable. Otherwise it is dirty, with reasons that lead, job by job, down to what was edited. Where a job depends on
outputs that are not made yet, its signature is decided at dispatch.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass

from renku_store import bounds
from renku_store.errors import InvalidValueError
from renku_store.graph import GraphIndex
from renku_store.hashing import canonical_json, graph_bytes, hash_bytes, signature
from renku_store.records._base import Json
from renku_store.records.events import InputEvent
from renku_store.records.graph import GraphInput, GraphNode, ProducerGraph
from renku_store.records.ids import revision_name, revision_number
from renku_store.records.manifest import ArtefactValue, Manifest, ManifestArtefact, ManifestInput
from renku_store.records.plan import Choices, ExecutionPlan, PlannedJob, Reason
from renku_store.selection import MISSING, Missing, Selection, references

_SIGNED_FIELDS = ("producer", "version", "provider", "provider_model", "config", "context")


class Planner:
    """Computes plans. It has no state: `Planner.compute_plan` is a function with a place to live."""

    @staticmethod
    def compute_plan(
        *,
        graph: ProducerGraph,
        manifest: Manifest | None,
        inputs: Mapping[str, Json],
        pending_edits: Iterable[InputEvent] = (),
        manifest_hash: str | None = None,
        base_graph: ProducerGraph | None = None,
        base_inputs: Mapping[str, Json] | None = None,
        defaults: Collection[str] = (),
        documents: Mapping[str, Json] | None = None,
        damaged: Collection[str] = (),
        failed: Collection[str] = (),
        edits_through: int = 0,
        choices: Choices | None = None,
    ) -> ExecutionPlan:
        """The plan for the revision after `manifest` (None: for the first one).

        - `inputs`: id -> value as it is to be used (defaults included); `pending_edits` replace values, the last wins.
        - `defaults`: the ids of `inputs` that nobody set: used, but not recorded in the manifest.
        - `base_graph` and `base_inputs`: what `manifest` was made from (defaults included), so that reasons can name
          what changed.
        - `documents`: parsed content by hash of the JSON artefacts that jobs read into (and of edits that are blobs).
        - `damaged`: hashes of blobs that cannot be used; `failed`: signatures whose last attempt failed.
        - `choices`: what a person wants of this run beyond that.

        Raises `GraphError` for a cycle, a duplicate, or a reference to nothing, `NotFoundError` for a choice that names
        nothing, `InvalidValueError` for one that cannot be. Time and memory are linear in the graph.
        """
        known = documents or {}
        edits = list(pending_edits)
        edited = {edit.input: known[edit.blob] if edit.blob else edit.value for edit in edits}
        values = {**inputs, **edited}
        artefacts = manifest.artefacts if manifest else {}

        def document(artefact: ArtefactValue) -> Json | Missing:
            return known.get(artefact.hash, MISSING)

        now = Selection(values, artefacts, document)
        past = Selection(base_inputs or {}, artefacts, document)
        differences = _Differences(base_graph if base_inputs is not None else None, past, now)
        index = GraphIndex(graph)
        chosen = _Chosen.of(index, choices or Choices())
        state = _State(index, artefacts, now, differences, chosen, set(damaged), set(failed))
        jobs = chosen.restrict(index, state.plan())
        return ExecutionPlan(
            format=bounds.FORMAT_VERSION,
            movie=manifest.movie if manifest else None,
            revision=revision_name(revision_number(manifest.revision) + 1 if manifest else 1),
            base_revision=manifest.revision if manifest else None,
            manifest_base_hash=manifest_hash,
            edits_through=max([edits_through, *(edit.seq or 0 for edit in edits)]),
            layers=_layers(jobs),
            jobs=jobs,
            graph=graph,
            graph_hash=hash_bytes(graph_bytes(graph)),
            inputs={key: input_entry(value) for key, value in values.items()},
            defaults=sorted(set(defaults) - edited.keys()),
            choices=choices,
        )


def input_entry(value: Json) -> ManifestInput:
    """An input as manifests and plans hold it: inline up to 2,048 bytes of canonical JSON, else a blob of that JSON."""
    data = canonical_json(value)
    digest = hash_bytes(data)
    if len(data) <= bounds.INLINE_MAX_BYTES:
        return ManifestInput(hash=digest, value=value)
    return ManifestInput(hash=digest, blob=digest)


@dataclass(frozen=True, slots=True)
class _Chosen:
    """The jobs that a person's choices come to; `wanted` is None where all are."""

    forced: set[str]
    pinned: set[str]
    wanted: set[str] | None
    deepest: int | None

    @classmethod
    def of(cls, index: GraphIndex, choices: Choices) -> _Chosen:
        forced, pinned, targets = (
            {job for name in names for job in index.jobs_named(name)}
            for names in (choices.regen, choices.pin, choices.targets)
        )
        if both := sorted(forced & pinned):
            raise InvalidValueError(
                f"{both[0]} is to be made anew and kept as it is.", hint="Name it once: --regen or --pin."
            )
        wanted = {*targets, *index.ancestors(targets)} if choices.targets else None
        return cls(forced, pinned, wanted, choices.up_to_layer)

    def restrict(self, index: GraphIndex, jobs: dict[str, PlannedJob]) -> dict[str, PlannedJob]:
        """Leave out what is not wanted, and what reads from that."""
        left_out: set[str] = set()
        for job_id, job in jobs.items():
            if job.state != "clean" and (
                not self._wants(job_id, job) or any(maker in left_out for maker in index.dependencies(job_id))
            ):
                left_out.add(job_id)
        if not left_out:
            return jobs
        return {key: job.model_copy(update={"left_out": True}) if key in left_out else job for key, job in jobs.items()}

    def _wants(self, job_id: str, job: PlannedJob) -> bool:
        return (self.wanted is None or job_id in self.wanted) and (self.deepest is None or job.layer <= self.deepest)


@dataclass(slots=True)
class _State:
    """One planning: what is given, and how far it has come."""

    index: GraphIndex
    artefacts: Mapping[str, ManifestArtefact]
    now: Selection
    differences: _Differences
    chosen: _Chosen
    damaged: set[str]
    failed: set[str]

    def plan(self) -> dict[str, PlannedJob]:
        index = self.index
        jobs: dict[str, PlannedJob] = {}
        for job_id in index.order:
            node = index.node(job_id)
            waits = _dirty_makers(node, index, jobs)
            known = None if waits else signature(node, self.now.signed_inputs(node))
            if job_id in self.chosen.pinned:
                jobs[job_id] = self._pinned(node, known)
                continue
            reasons = [Reason(kind="upstream", subject=maker) for maker in waits]
            reasons += self._reasons(node, known)
            if job_id in self.chosen.forced:
                reasons.append(Reason(kind="forced", subject=job_id))
            jobs[job_id] = PlannedJob(
                state="dirty" if reasons else "clean", reasons=reasons, signature=known, layer=index.layer(job_id)
            )
        return jobs

    def _pinned(self, node: GraphNode, known: str | None) -> PlannedJob:
        """A job that is kept as it is: it needs something good to keep. One that is clean is so without being kept."""
        for output in node.produces:
            present = self.artefacts.get(output.id)
            if present is None or present.blob in self.damaged:
                wrong = "missing" if present is None else "damaged"
                raise InvalidValueError(
                    f"{node.job_id} cannot be kept as it is: {output.id} is {wrong}.",
                    hint="Let it be made once, then pin it.",
                )
        layer = self.index.layer(node.job_id)
        signatures = {self.artefacts[output.id].signature for output in node.produces}
        if known is not None and signatures <= {known}:
            return PlannedJob(state="clean", signature=known, layer=layer)
        held = self.artefacts[node.produces[0].id].signature if node.produces else None
        return PlannedJob(
            state="clean",
            reasons=[Reason(kind="pinned", subject=node.job_id)],
            signature=held,
            layer=layer,
            pinned=True,
        )

    def _reasons(self, node: GraphNode, known: str | None) -> list[Reason]:
        """Why a job is dirty by itself, whatever is upstream of it."""
        reasons: list[Reason] = []
        changed = False
        for output in node.produces:
            present = self.artefacts.get(output.id)
            if present is None:
                reasons.append(Reason(kind="output missing", subject=output.id))
            elif present.blob in self.damaged:
                reasons.append(Reason(kind="blob missing or damaged", subject=output.id, detail=present.hash))
            elif known is not None and present.signature != known:
                changed = True
        if changed or (known is None and not reasons):
            reasons = [*self.differences.of(node, sure=known is not None), *reasons]
        if reasons and known in self.failed:
            reasons.append(Reason(kind="last attempt failed", subject=node.job_id))
        return reasons


class _Differences:
    """What is other than in the base manifest, job by job, where the base graph tells."""

    def __init__(self, base_graph: ProducerGraph | None, past: Selection, now: Selection) -> None:
        self._nodes = {node.job_id: node for node in base_graph.nodes} if base_graph else {}
        self._past = past
        self._now = now

    def of(self, node: GraphNode, *, sure: bool) -> list[Reason]:
        """The reasons why this job's signature is not the base's; with `sure` at least one is given."""
        base = self._nodes.get(node.job_id)
        if base is None:
            return [Reason(kind="input changed", subject=node.job_id, detail="made from other inputs")] if sure else []
        reasons = [
            Reason(kind="producer changed", subject=node.producer, detail=f"its {_words(name)}")
            for name in _SIGNED_FIELDS
            if getattr(base, name) != getattr(node, name)
        ]
        if _signed_outputs(base) != _signed_outputs(node):
            reasons.append(Reason(kind="producer changed", subject=node.producer, detail="its outputs"))
        reasons.extend(self._inputs(base, node))
        if sure and not reasons:
            reasons.append(Reason(kind="input changed", subject=node.job_id, detail="made from other inputs"))
        return reasons

    def _inputs(self, base: GraphNode, node: GraphNode) -> Iterable[Reason]:
        before = {entry.name: entry for entry in base.inputs}
        for entry in node.inputs:
            past = before.pop(entry.name, None)
            if past is None:
                yield Reason(kind="input changed", subject=_subject(entry), detail=f"{entry.name} is new")
            elif self._past.signed(past) != self._now.signed(entry):
                yield Reason(kind="input changed", subject=self._changed(past, entry), detail=entry.name)
        for name, entry in before.items():
            yield Reason(kind="input changed", subject=_subject(entry), detail=f"{name} is read no longer")

    def _changed(self, past: GraphInput, entry: GraphInput) -> str:
        """What has changed of an input: of a fan-in the places that are new, gone or other than before."""
        before = {reference.text(): self._past.item(reference) for reference in references(past)}
        now = {reference.text(): self._now.item(reference) for reference in references(entry)}
        differing = [text for text in {**now, **before} if before.get(text) != now.get(text)]
        return _named(differing) if differing else _subject(entry)


def _layers(jobs: Mapping[str, PlannedJob]) -> list[list[str]]:
    """The jobs that are to be run, by depth."""
    to_run = {key: job.layer for key, job in jobs.items() if job.state != "clean" and not job.left_out}
    layers: list[list[str]] = [[] for _ in range(1 + max(to_run.values(), default=-1))]
    for key, layer in to_run.items():
        layers[layer].append(key)
    return layers


def _named(names: Sequence[str]) -> str:
    return names[0] if len(names) == 1 else f"{names[0]} and {len(names) - 1} more"


def _dirty_makers(node: GraphNode, index: GraphIndex, jobs: Mapping[str, PlannedJob]) -> list[str]:
    """The jobs whose outputs this one reads and that are not clean, each once, in the order of reading."""
    makers: dict[str, None] = {}
    for entry in node.inputs:
        for reference in references(entry):
            maker = index.maker(reference.id) if reference.kind == "artefact" else None
            if maker is not None and jobs[maker].state != "clean":
                makers[maker] = None
    return list(makers)


def _signed_outputs(node: GraphNode) -> dict[str, str]:
    return {output.name: output.mime_type for output in node.produces}


def _subject(entry: GraphInput) -> str:
    named: Sequence[str] = [reference.text() for reference in references(entry)]
    return _named(named) if named else entry.name


def _words(field: str) -> str:
    return field.replace("provider_model", "model")
