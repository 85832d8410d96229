"""Events folded over a base manifest give the next one. Pure: the same arguments give the same manifest."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence

from renku_store import bounds
from renku_store.hashing import content_hash
from renku_store.records.events import ArtefactEvent, Event, InputEvent
from renku_store.records.graph import EVERY_LABEL, GraphNode, labels_of
from renku_store.records.manifest import ArchiveRef, ArtefactValue, Manifest, ManifestArtefact, ManifestInput, Metrics
from renku_store.versions import after


def fold_inputs(base: Mapping[str, ManifestInput], events: Iterable[InputEvent]) -> dict[str, ManifestInput]:
    """The inputs after some events: the last value of each wins."""
    inputs = dict(base)
    for event in events:
        inputs[event.input] = ManifestInput(hash=event.hash, value=event.value, blob=event.blob)
    return inputs


def fold_artefacts(
    base: Mapping[str, ManifestArtefact], events: Iterable[ArtefactEvent]
) -> dict[str, ManifestArtefact]:
    """The artefacts after some events: the last that gave a value wins; failures and `kept` takes change nothing.

    A person's version stands until it is undone: what is made meanwhile is kept under it.
    """
    artefacts = dict(base)
    for event in events:
        present = after(artefacts.get(event.artefact), event)
        if present is not None:
            artefacts[event.artefact] = present
        else:
            artefacts.pop(event.artefact, None)
    return artefacts


def edits_reflected(pending: Sequence[Event], manifest: Manifest, own: Iterable[Event]) -> int:
    """The number (`seq`) up to which pending edits, oldest first, have gone into a manifest; 0 for none.

    Folded, they come to what the manifest holds; what its run's `own` events say of an id overrules them.
    """
    overruled = {_subject(event) for event in own} if pending else set()
    differing: set[tuple[str, str]] = set()
    through = 0
    for event in pending:
        subject = _subject(event)
        if subject not in overruled and (shows := _shows(manifest, event)) is not None:
            (differing.discard if shows else differing.add)(subject)
        if not differing:
            through = event.seq or 0
    return through


def _shows(manifest: Manifest, event: Event) -> bool | None:
    """Whether a manifest holds an input or artefact as an event left it; None for an event that changes nothing."""
    match event:
        case InputEvent():
            given = manifest.inputs.get(event.input)
            return given is not None and given.hash == event.hash
        case ArtefactEvent(status="edit-undone"):
            held = manifest.artefacts.get(event.artefact)
            return held is None or held.edited_by is None
        case ArtefactEvent(value=ArtefactValue() as value, status=status) if status != "kept":
            held = manifest.artefacts.get(event.artefact)
            if held is not None and (held.edited_by is None) == (status == "edited"):
                held = None if status == "edited" else held.as_made()
            return held is not None and held.hash == value.hash
        case _:
            return None


def _subject(event: Event) -> tuple[str, str]:
    match event:
        case InputEvent():
            return "input", event.input
        case ArtefactEvent():
            return "artefact", event.artefact
        case _:
            return "run", event.run


def stood_for(placeholders: Iterable[GraphNode], base: Mapping[str, ManifestArtefact]) -> list[str]:
    """The artefacts of a base that are those of jobs which placeholders stand for, sorted."""
    by_producer: dict[str, list[GraphNode]] = {}
    for node in placeholders:
        by_producer.setdefault(node.producer, []).append(node)
    return sorted(
        key
        for key, entry in base.items()
        if any(node.output_for(key) is not None for node in by_producer.get(entry.produced_by or "", ()))
    )


def jobs_before(placeholders: Iterable[GraphNode], base: Mapping[str, ManifestArtefact]) -> Counter[str]:
    """How many jobs of a base each placeholder stands for that stands for many, by its id; none where it is none."""
    open_labels: dict[str, set[tuple[bool, ...]]] = {}
    for node in placeholders:
        labels = labels_of(node.job_id, node.producer) or []
        if EVERY_LABEL in labels:
            open_labels.setdefault(node.producer, set()).add(tuple(label == EVERY_LABEL for label in labels))
    counts: Counter[str] = Counter()
    within = (entry for entry in base.values() if entry.produced_by in open_labels) if open_labels else ()
    for job_id, producer in {(entry.job, entry.produced_by) for entry in within}:
        labels = labels_of(job_id or "", producer or "") or []
        for opened in open_labels.get(producer or "", ()):
            if len(opened) == len(labels):
                shown = (EVERY_LABEL if is_open else label for is_open, label in zip(opened, labels, strict=True))
                counts[(producer or "") + "".join(f"[{label}]" for label in shown)] += 1
    return counts


def differs(
    base: Manifest | None,
    inputs: Mapping[str, ManifestInput],
    artefacts: Mapping[str, ManifestArtefact],
    graph: str | None,
) -> bool:
    """Whether there is anything to publish: other inputs, artefacts (who edited them included) or another graph."""
    if base is None:
        return True
    return (
        base.graph != graph
        or {key: value.hash for key, value in base.inputs.items()} != {key: value.hash for key, value in inputs.items()}
        or dict(base.artefacts) != dict(artefacts)
    )


def next_manifest(
    base: Manifest | None,
    base_hash: str | None,
    *,
    movie: str,
    revision: str,
    run: str,
    created_at: str,
    graph: str | None,
    timeline: str | None,
    inputs: Mapping[str, ManifestInput],
    artefacts: Mapping[str, ManifestArtefact],
    keep: Collection[str] | None = None,
    archive: ArchiveRef | None = None,
    metrics: Metrics | None = None,
) -> Manifest:
    """The manifest of `revision` on top of `base`; of the artefacts only those in `keep` (None: all) remain."""
    kept = dict(artefacts) if keep is None else {key: artefacts[key] for key in artefacts if key in keep}
    shown = timeline if timeline in kept else None
    made = Manifest(
        format=bounds.FORMAT_VERSION,
        movie=movie,
        revision=revision,
        base_revision=base.revision if base else None,
        base_hash=base_hash,
        run=run,
        archive=archive,
        created_at=created_at,
        content_hash=content_hash(inputs, kept, shown),
        graph=graph,
        inputs=dict(inputs),
        timeline=shown,
        metrics=metrics or Metrics(),
    )
    return made.replace(artefacts=kept)  # they are what they are: each was checked when it was made
