"""What would run, and why. Pure: graph, manifest, inputs and edits in, a plan with reasons out.

A job is clean when the manifest holds all its outputs with the signature that its inputs give now, and their blobs
are usable. Otherwise it is dirty, with reasons that lead, job by job, down to what was edited. Where a job depends on
outputs that are not made yet, its signature is decided at dispatch.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from renku_store import bounds
from renku_store.choosing import Chosen
from renku_store.costs import price_plan
from renku_store.errors import BlobMissingError, InvalidValueError
from renku_store.graph import GraphIndex
from renku_store.hashing import canonical_json, graph_bytes, hash_bytes, signature
from renku_store.projection import jobs_before
from renku_store.reasons import Differences, Origin, in_words
from renku_store.records._base import Json
from renku_store.records.events import ArtefactEvent, Event, InputEvent
from renku_store.records.graph import GraphNode, ProducerGraph
from renku_store.records.ids import revision_name, revision_number
from renku_store.records.manifest import ArtefactValue, Manifest, ManifestArtefact, ManifestInput
from renku_store.records.plan import Choices, CostRange, ExecutionPlan, PlannedJob, Reason
from renku_store.selection import MISSING, Missing, Selection, artefacts_awaited
from renku_store.versions import Held, decided, homeless, source_changed


class Planner:
    """Computes plans. It has no state: `Planner.compute_plan` is a function with a place to live."""

    @staticmethod
    def compute_plan(
        *,
        graph: ProducerGraph,
        manifest: Manifest | None,
        inputs: Mapping[str, Json],
        pending_edits: Iterable[InputEvent | ArtefactEvent] = (),
        manifest_hash: str | None = None,
        base_graph: ProducerGraph | None = None,
        base_inputs: Mapping[str, Json] | None = None,
        origins: Mapping[str, Origin] | None = None,
        defaults: Collection[str] = (),
        documents: Mapping[str, Json] | None = None,
        damaged: Collection[str] = (),
        failed: Collection[str] = (),
        edits_through: int = 0,
        choices: Choices | None = None,
        decided_before: Mapping[str, ManifestArtefact] | None = None,
        reusable: Collection[str] = (),
        past_costs: Mapping[str, CostRange] | None = None,
        decided_jobs: Mapping[str, PlannedJob] | None = None,
    ) -> ExecutionPlan:
        """The plan for the revision after `manifest` (None: for the first one).

        - `inputs`: id -> value as it is to be used, with the `defaults` (ids that nobody set and manifests leave out).
        - `pending_edits`: values that replace those, and what people decided on artefacts since; the last wins.
        - `base_graph`, `base_inputs`: what `manifest` was made from, defaults included, for reasons that name changes.
        - `origins`: by job, the older revision that its outputs were made for, where `manifest` left them as they were.
        - `documents`: parsed content by hash of the JSON artefacts that jobs read into (and of edits that are blobs).
        - `damaged`: hashes of blobs that cannot be used; `failed`: signatures whose last attempt failed.
        - `choices`: what a person wants of this run beyond that.
        - `decided_before`: what people decided on, as an earlier plan has it (`edits`), instead of what is pending.
        - `reusable` and `past_costs`: as in `price_plan`, for what it will cost.
        - `decided_jobs`: what an earlier plan of the same run says of jobs; it stays. No document is needed for those.

        Time and memory are linear in the graph. Raises `GraphError` for a cycle, a duplicate, a reference to nothing,
        `NotFoundError` and `InvalidValueError` for choices, `BlobMissingError` for a person's version that is damaged.
        """
        edits = list(pending_edits)
        known = documents or {}
        edited = {e.input: known[e.blob] if e.blob else e.value for e in edits if isinstance(e, InputEvent)}
        values = {**inputs, **edited}
        index = GraphIndex(graph)
        decisions = _decisions(manifest, edits, decided_before, index, damaged)
        state = _State.of(index, manifest, decisions, values, known, (base_graph, base_inputs, origins), choices)
        state.damaged, state.failed = set(damaged), set(failed)
        state.decided = decided_jobs or {}
        state.before = jobs_before(index.placeholders, manifest.artefacts) if manifest else {}
        frozen = {
            "manifest_base_hash": manifest_hash,
            "edits_through": max([edits_through, *(edit.seq or 0 for edit in edits)]),
            "defaults": sorted(set(defaults) - edited.keys()),
            "choices": choices,
        }
        plan = _written(state, manifest, values).model_copy(update=frozen)
        waiting = _waiting(manifest, edits, decided_before, index)
        plan = plan.model_copy(update={"warnings": [*plan.warnings, *waiting]})
        return price_plan(plan, state.now, reusable=reusable, past=past_costs, priced=state.decided)


def _decisions(
    manifest: Manifest | None,
    edits: Iterable[InputEvent | ArtefactEvent],
    before: Mapping[str, ManifestArtefact] | None,
    index: GraphIndex,
    damaged: Collection[str],
) -> dict[str, ManifestArtefact]:
    """What people decided on, as far as this graph has it or may come to have it."""
    within = index.outputs
    if before is not None:
        return {key: entry for key, entry in before.items() if key in within}
    since = [edit for edit in edits if isinstance(edit, ArtefactEvent)]
    return decided(manifest.artefacts if manifest else {}, since, within=within, damaged=damaged)


def _waiting(
    manifest: Manifest | None,
    edits: Sequence[Event],
    before: Mapping[str, ManifestArtefact] | None,
    index: GraphIndex,
) -> list[str]:
    """A sentence for each person's version that this graph has no place for."""
    since = [edit for edit in edits if isinstance(edit, ArtefactEvent)]
    held = manifest.artefacts if manifest and before is None else {}
    people = {key: entry for key, entry in (before or {}).items() if entry.edited_by and key not in index.outputs}
    people |= homeless(held, since, within=index.outputs)
    return [
        f"{key}, {entry.edited_by}'s version, has no place in this graph: it waits until there is one, or is undone."
        for key, entry in people.items()
    ]


def _written(state: _State, manifest: Manifest | None, values: Mapping[str, Json]) -> ExecutionPlan:
    """The jobs of a plan, and what they stand on."""
    jobs = state.chosen.restrict(state.index, state.plan(), state.decided)
    return ExecutionPlan(
        format=bounds.FORMAT_VERSION,
        movie=manifest.movie if manifest else None,
        revision=revision_name(revision_number(manifest.revision) + 1 if manifest else 1),
        base_revision=manifest.revision if manifest else None,
        layers=_layers(jobs),
        jobs=jobs,
        graph=state.index.graph,
        graph_hash=hash_bytes(graph_bytes(state.index.graph)),
        inputs={key: input_entry(value) for key, value in values.items()},
        edits={key: entry for key, entry in state.decisions.items() if key not in state.lapsed},
        warnings=[*state.warnings, *state.chosen.told(jobs)],
    )


def input_entry(value: Json) -> ManifestInput:
    """An input as manifests and plans hold it: inline up to 2,048 bytes of canonical JSON, else a blob of that JSON."""
    data = canonical_json(value)
    digest = hash_bytes(data)
    if len(data) <= bounds.INLINE_MAX_BYTES:
        return ManifestInput(hash=digest, value=value)
    return ManifestInput(hash=digest, blob=digest)


@dataclass(slots=True)
class _State:
    """One planning: what is given, and how far it has come."""

    index: GraphIndex
    decisions: dict[str, ManifestArtefact]
    held: Held
    shown: dict[str, ManifestArtefact]
    now: Selection
    differences: Differences
    chosen: Chosen
    damaged: set[str] = field(default_factory=set[str])
    failed: set[str] = field(default_factory=set[str])
    warnings: list[str] = field(default_factory=list[str])
    lapsed: set[str] = field(default_factory=set[str])
    decided: Mapping[str, PlannedJob] = field(default_factory=dict[str, PlannedJob])
    before: Mapping[str, int] = field(default_factory=dict[str, int])

    @classmethod
    def of(
        cls,
        index: GraphIndex,
        manifest: Manifest | None,
        decisions: dict[str, ManifestArtefact],
        values: Mapping[str, Json],
        documents: Mapping[str, Json],
        base: tuple[ProducerGraph | None, Mapping[str, Json] | None, Mapping[str, Origin] | None],
        choices: Choices | None,
    ) -> _State:
        """What a graph is compared with: a manifest, what people decided on, and what `base` says it was made from."""
        artefacts = manifest.artefacts if manifest else {}
        held = Held(artefacts, decisions)
        shown = held.everything()

        def document(artefact: ArtefactValue) -> Json | Missing:
            return documents.get(artefact.hash, MISSING)

        base_graph, base_inputs, origins = base
        now, past = Selection(values, shown, document), Selection(base_inputs or {}, artefacts, document)
        differences = Differences(base_graph if base_inputs is not None else None, past, now, origins)
        chosen = Chosen.of(index, choices or Choices(), held)
        return cls(index, decisions, held, shown, now, differences, chosen)

    def plan(self) -> dict[str, PlannedJob]:
        index = self.index
        jobs: dict[str, PlannedJob] = {}
        for job_id in index.order:
            node = index.node(job_id)
            if job_id in self.decided:
                jobs[job_id] = _moved(self.decided[job_id], index.layer(job_id))
                self._take_choice(node, jobs[job_id])
                continue
            waits = self._dirty_makers(node, jobs)
            if node.awaits is not None or any(jobs[maker].state == "deferred" for maker in waits):
                jobs[job_id] = self._deferred(node, waits)
                continue
            known = None if waits else signature(node, self.now.signed_inputs(node))
            if self.held.all_edited(node):
                jobs[job_id] = self._edited(node, known, waits)
                continue
            if job_id in self.chosen.pinned:
                jobs[job_id] = self._pinned(node, known)
                continue
            reasons = [Reason(kind="upstream", subject=maker) for maker in waits]
            reasons += self._reasons(node, known)
            if job_id in self.chosen.forced:
                reasons.append(Reason(kind="forced", subject=job_id))
            jobs[job_id] = PlannedJob(
                state="dirty" if reasons else "clean",
                reasons=reasons,
                signature=known,
                layer=index.layer(job_id),
                made_in=self.differences.made_in(job_id) if reasons else None,
            )
            self._take_choice(node, jobs[job_id])
        self._warn_of_sources(jobs)
        return jobs

    def _deferred(self, node: GraphNode, waits: Sequence[str]) -> PlannedJob:
        """A placeholder, or a job that comes after one: what it is to read is known during the run."""
        reasons = [Reason(kind="upstream", subject=maker) for maker in waits]
        if node.awaits is not None and node.awaits.problem is not None:
            makers = dict.fromkeys(self.index.maker(artefact) for artefact in node.awaits.artefacts)
            reasons = [Reason(kind="upstream", subject=maker or "", detail=node.awaits.problem) for maker in makers]
        if node.job_id in self.chosen.forced:
            reasons.append(Reason(kind="forced", subject=node.job_id))
        before = self.before.get(node.job_id) if node.awaits is not None else None
        return PlannedJob(state="deferred", reasons=reasons, layer=self.index.layer(node.job_id), jobs_before=before)

    def _pinned(self, node: GraphNode, known: str | None) -> PlannedJob:
        """A job that is kept as it is: it needs something good to keep. One that is clean is so without being kept."""
        outputs = [output for output in node.produces if not self.held.edited(output.id)]
        made = {output.id: self.held.made(output.id, known) for output in outputs}
        for output in outputs:
            present = made[output.id]
            if present is None or present.blob in self.damaged:
                wrong = "missing" if present is None else "damaged"
                raise InvalidValueError(
                    f"{node.job_id} cannot be kept as it is: {output.id} is {wrong}.",
                    hint="Let it be made once, then pin it.",
                )
        layer = self.index.layer(node.job_id)
        signatures = [present.signature for present in made.values() if present is not None]
        if known is not None and set(signatures) <= {known}:
            return PlannedJob(state="clean", signature=known, layer=layer)
        held = signatures[0] if signatures else None
        return PlannedJob(
            state="clean",
            reasons=[Reason(kind="pinned", subject=node.job_id)],
            signature=held,
            layer=layer,
            pinned=True,
        )

    def _dirty_makers(self, node: GraphNode, jobs: Mapping[str, PlannedJob]) -> list[str]:
        """The jobs whose outputs this one reads and that are not clean, each once, in the order of reading."""
        makers: dict[str, None] = {}
        for artefact in artefacts_awaited(node):
            maker = None if self.held.edited(artefact) else self.index.maker(artefact)
            if maker is not None and jobs[maker].state != "clean":
                makers[maker] = None
        return list(makers)

    def _is_persons(self, artefact: str) -> bool:
        """Whether a person's version stands for an artefact; `BlobMissingError` where it is damaged."""
        if not self.held.edited(artefact):
            return False
        if self.shown[artefact].blob in self.damaged:
            raise BlobMissingError(
                f"{self.shown[artefact].edited_by}'s version of {artefact} is missing or damaged; no run can make it.",
                hint=f"Give it again with `renku-store edit '{artefact}' @FILE`, or go back with `--undo`.",
            )
        return True

    def _edited(self, node: GraphNode, known: str | None, waits: Sequence[str]) -> PlannedJob:
        """A job whose outputs are all people's versions: it does not run, and says so where it would have."""
        if node.job_id in self.chosen.forced:
            self.warnings.append(f"{node.job_id} is not made anew: what it makes would lie under a person's version.")
        for output in node.produces:
            self._is_persons(output.id)
            made = self.held.made(output.id, known)
            if made is not None and (known is None or made.signature != known):
                changed = [in_words(reason) for reason in self.differences.of(node, sure=False)]
                changed += [f"{maker} is made anew" for maker in waits]
                if changed:
                    stays = f"{output.id} stays {self.shown[output.id].edited_by}'s version"
                    self.warnings.append(f"{stays}, though: {'; '.join(changed)}.")
        made_with = [self.shown[output.id].signature for output in node.produces]
        reasons = [
            Reason(kind="edited", subject=output.id, detail=f"by {self.shown[output.id].edited_by}")
            for output in node.produces
        ]
        layer = self.index.layer(node.job_id)
        return PlannedJob(state="clean", reasons=reasons, signature=made_with[0], layer=layer, edited=True)

    def _warn_of_sources(self, jobs: Mapping[str, PlannedJob]) -> None:
        """Say of which producers the files have changed, and not the version, since they made what stays."""
        changed: dict[str, int] = {}
        for job_id, planned in jobs.items():
            node = self.index.node(job_id)
            if planned.state == "clean" and not planned.edited and source_changed(node, self.held, planned.signature):
                changed[node.producer] = changed.get(node.producer, 0) + 1
        for producer, count in changed.items():
            jobs_stay = "1 job stays" if count == 1 else f"{count:,} jobs stay"
            self.warnings.append(
                f"The files of {producer} have changed, its version has not: {jobs_stay} as made before."
                f" Raise `version` to make them anew, or `renku-store accept {producer}` to keep them."
            )

    def _take_choice(self, node: GraphNode, planned: PlannedJob) -> None:
        """Let what comes after a job read the take chosen for it, if the choice holds."""
        for output in node.produces:
            take = self.held.chosen(output.id)
            if take is None or planned.signature is None:
                continue
            if take.signature == planned.signature:
                self.shown[output.id] = take
            else:
                self.lapsed.add(output.id)
                self.warnings.append(f"What was chosen for {output.id} holds no longer: its inputs have changed since.")

    def _reasons(self, node: GraphNode, known: str | None) -> list[Reason]:
        """Why a job is dirty by itself, whatever is upstream of it."""
        reasons: list[Reason] = []
        changed = False
        for output in node.produces:
            if self._is_persons(output.id):
                continue
            present = self.held.made(output.id, known)
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


def _moved(job: PlannedJob, layer: int) -> PlannedJob:
    """The same job where it stands in another graph."""
    return job if job.layer == layer else job.model_copy(update={"layer": layer})


def _layers(jobs: Mapping[str, PlannedJob]) -> list[list[str]]:
    """The jobs that are to be run, by depth."""
    to_run = {key: job.layer for key, job in jobs.items() if job.state != "clean" and not job.left_out}
    layers: list[list[str]] = [[] for _ in range(1 + max(to_run.values(), default=-1))]
    for key, layer in to_run.items():
        layers[layer].append(key)
    return layers
