"""What would run, and why. Pure: graph, manifest, inputs and edits in, a plan with reasons out.

A job is clean when the manifest holds all its outputs with the signature that its inputs give now, and their blobs
are usable. Otherwise it is dirty, with reasons that lead, job by job, down to what was edited. Where a job depends on
outputs that are not made yet, its signature is decided at dispatch.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from functools import partial

from renku_store import bounds
from renku_store.costs import price_plan
from renku_store.encoding import encode_manifest
from renku_store.graph import GraphIndex
from renku_store.hashing import canonical_json, exact_numbers, hash_bytes, parse_json
from renku_store.many import hash_of_graph
from renku_store.projection import jobs_before
from renku_store.reasons import Origin
from renku_store.records._base import Json
from renku_store.records.events import ArtefactEvent, Event, InputEvent
from renku_store.records.graph import ProducerGraph
from renku_store.records.ids import revision_name, revision_number
from renku_store.records.manifest import Manifest, ManifestArtefact, ManifestInput
from renku_store.records.plan import Choices, CostRange, ExecutionPlan, PlannedJob
from renku_store.verdicts import Document, Premises, Verdicts, contents, made_from
from renku_store.versions import decided, homeless


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
        document: Document | None = None,
        former: Callable[[ProducerGraph, str], Premises] | None = None,
        damaged: Collection[str] = (),
        failed: Collection[str] = (),
        edits_through: int = 0,
        choices: Choices | None = None,
        decided_before: Mapping[str, ManifestArtefact] | None = None,
        reusable: Collection[str] = (),
        past_costs: Mapping[str, CostRange] | None = None,
        decided_jobs: Mapping[str, PlannedJob] | None = None,
        entries: Mapping[str, ManifestInput] | None = None,
    ) -> ExecutionPlan:
        """The plan for the revision after `manifest` (None: for the first one).

        - `inputs`: id -> value as it is to be used, with the `defaults` (ids that nobody set and manifests leave out).
        - `pending_edits`: values that replace those, and what people decided on artefacts since; the last wins.
        - `manifest_hash`: that of the file, for who has it; else of what this program writes for a whole `manifest`.
        - `base_graph`, `base_inputs`: what `manifest` was made from, defaults included, for reasons that name changes.
        - `origins`: by job, the older revision that its outputs were made for, where `manifest` left them as they were.
        - `documents`: parsed content by hash of the JSON artefacts that jobs read into (and of edits that are blobs).
        - `document`, `former`: what reads these, and, told this graph and its hash, what `manifest` was made from.
        - `damaged`: hashes of blobs that cannot be used; `failed`: signatures whose last attempt failed.
        - `choices`: what a person wants of this run beyond that.
        - `decided_before`: what people decided on, as an earlier plan has it (`edits`), instead of what is pending.
        - `reusable` and `past_costs`: as in `price_plan`, for what it will cost.
        - `entries`: what is held for some `inputs`; `decided_jobs`: what an earlier plan of the run says; it stays.

        Linear in the graph. Raises `GraphError` for a cycle, a duplicate, a reference to nothing, `NotFoundError` and
        `InvalidValueError` for choices, `BlobMissingError` for a person's version that is damaged.
        """
        edits, known = list(pending_edits), documents or {}
        edited = {e.input: known[e.blob] if e.blob else e.value for e in edits if isinstance(e, InputEvent)}
        values, index = {**inputs, **edited}, GraphIndex(graph := _own(graph))
        decisions = _decisions(manifest, edits, decided_before, index, damaged)
        digest, held = hash_of_graph(graph), manifest.artefacts if manifest else {}
        premises = made_from(base_graph, base_inputs) if former is None else partial(former, graph, digest)
        state = Verdicts.of(index, held, decisions, values, document or contents(known), premises, origins, choices)
        state.damaged, state.failed, state.decided = set(damaged), set(failed), decided_jobs or {}
        state.before = jobs_before(index.placeholders, held)
        plan = _written(state, digest, manifest, _entries(values, entries or {}, edited))
        frozen = {
            "manifest_base_hash": manifest_hash or (encode_manifest(manifest).hash if manifest else None),
            "edits_through": max([edits_through, *(edit.seq or 0 for edit in edits)]),
            "defaults": sorted(set(defaults) - edited.keys()),
            "choices": choices,
            "warnings": [*plan.warnings, *_waiting(manifest, edits, decided_before, index)],
        }
        return price_plan(plan.replace(**frozen), state.now, reusable=reusable, past=past_costs, priced=state.decided)


def _own(graph: ProducerGraph) -> ProducerGraph:
    """The same with values that nobody else holds: what is signed now is what is called later."""
    if graph.columns is not None:
        return graph  # made here, of values that were read here
    return graph.replace(
        nodes=[
            node.replace(config=exact_numbers(node.config), context=exact_numbers(node.context))
            if node.config or node.context
            else node
            for node in graph.nodes
        ]
    )


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


def _entries(
    values: Mapping[str, Json], known: Mapping[str, ManifestInput], edited: Collection[str]
) -> dict[str, ManifestInput]:
    """The inputs as the plan holds them; a migrated one without what an older layout called it."""
    kept = {key: entry for key, entry in known.items() if key not in edited and entry.legacy_hash is None}
    return {key: kept.get(key) or input_entry(value) for key, value in values.items()}


def _written(
    state: Verdicts, graph_hash: str, manifest: Manifest | None, inputs: dict[str, ManifestInput]
) -> ExecutionPlan:
    """The jobs of a plan, and what they stand on."""
    jobs = state.chosen.restrict(state.index, state.jobs(), state.decided)
    return ExecutionPlan(
        format=bounds.FORMAT_VERSION,
        movie=manifest.movie if manifest else None,
        revision=revision_name(revision_number(manifest.revision) + 1 if manifest else 1),
        base_revision=manifest.revision if manifest else None,
        layers=_layers(jobs),
        jobs=jobs,
        graph=state.index.graph,
        graph_hash=graph_hash,
        inputs=inputs,
        edits={key: entry for key, entry in state.decisions.items() if key not in state.lapsed},
        warnings=[*state.warnings, *state.chosen.told(jobs)],
    )


def input_entry(value: Json) -> ManifestInput:
    """An input as manifests and plans hold it: inline up to 2,048 bytes of canonical JSON, else a blob of that JSON."""
    data = canonical_json(value)
    digest = hash_bytes(data)
    if len(data) <= bounds.INLINE_MAX_BYTES:
        held = parse_json(data) if isinstance(value, list | dict) else value  # its owner may change it
        return ManifestInput(hash=digest, value=held)
    return ManifestInput(hash=digest, blob=digest)


def _layers(jobs: Mapping[str, PlannedJob]) -> list[list[str]]:
    """The jobs that are to be run, by depth."""
    to_run = {key: job.layer for key, job in jobs.items() if job.state != "clean" and not job.left_out}
    layers: list[list[str]] = [[] for _ in range(1 + max(to_run.values(), default=-1))]
    for key, layer in to_run.items():
        layers[layer].append(key)
    return layers
