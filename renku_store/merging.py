"""Two changes of one base: what both come to, or where they contradict. Pure.

A run that finds another revision published since it planned keeps its own edits where the other left things alone.
Where both changed the same input to different values nobody can say which is meant: that is a conflict, told with both.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass

from renku_store.graph import GraphIndex
from renku_store.records.manifest import ManifestArtefact
from renku_store.records.plan import Choices, ExecutionPlan


@dataclass(frozen=True, slots=True)
class Overlap:
    """An id that both sides changed: the hash that they have and the one that we have, None where there is none."""

    theirs: str | None
    ours: str | None


def overlaps(base: Mapping[str, str], theirs: Mapping[str, str], ours: Mapping[str, str]) -> dict[str, Overlap]:
    """The ids that both sides changed against `base`, differently, sorted.

    Every argument maps ids to content hashes; an id that is missing is not there.
    """
    found: dict[str, Overlap] = {}
    for key in sorted(base.keys() | theirs.keys() | ours.keys()):
        before, other, own = base.get(key), theirs.get(key), ours.get(key)
        if before != other and before != own and other != own:
            found[key] = Overlap(other, own)
    return found


def contested_versions(
    base: Mapping[str, ManifestArtefact],
    ours: ExecutionPlan,
    theirs: Mapping[str, ManifestArtefact],
    merged: ExecutionPlan,
) -> dict[str, Overlap]:
    """The artefacts of which both sides have another person's version than the base, with the hashes of both.

    `ours` planned on `base`; `merged` is the plan on `theirs`, with what is still pending. A version that the others
    have taken, or seen and replaced, is not contested.
    """
    now, there = _people(merged.edits), _people(theirs)
    found = overlaps(_people(base), there, _people(ours.edits))
    return {key: overlap for key, overlap in found.items() if now.get(key) != there.get(key)}


def retaken(base: Mapping[str, ManifestArtefact], theirs: Mapping[str, ManifestArtefact]) -> set[str]:
    """The artefacts that are another take for the same inputs there: somebody chose it, or asked for a new one."""
    return {
        key
        for key, there in theirs.items()
        if (before := base.get(key)) is not None
        and before.hash != there.hash
        and before.signature == there.signature is not None
        and before.edited_by is there.edited_by is None
    }


def contested_takes(
    base: Mapping[str, ManifestArtefact],
    ours: ExecutionPlan,
    theirs: Mapping[str, ManifestArtefact],
    merged: ExecutionPlan,
    chosen: Collection[str],
    made: Mapping[str, str],
) -> dict[str, Overlap]:
    """The artefacts whose take one side has decided on, and the other side otherwise, with the hashes of both.

    Plans as in `contested_versions`. `chosen` are those of the `retaken` that somebody chose there, `made` the hashes
    of what our run has made so far. Contested is a choice there of what we make anew, a new take there of what we have
    chosen, and whatever has changed there of what we keep as it is. Of two choices, or two new takes, the later counts,
    as does what we decided on in the knowledge of theirs.
    """
    choices = merged.choices or Choices()
    moved, index = retaken(base, theirs), GraphIndex(merged.graph)
    found: dict[str, Overlap] = {}
    for key, job in _outputs(index, choices.regen):
        if key in moved and key in chosen and merged.jobs[job].signature == theirs[key].signature:
            known = ours.edits.get(key)
            if known is None or known.hash != theirs[key].hash:
                found[key] = Overlap(theirs[key].hash, made.get(key))
    for key in moved.difference(chosen):
        edit = merged.edits.get(key)
        if edit is not None and edit == ours.edits.get(key) and edit.signature == theirs[key].signature:
            found[key] = Overlap(theirs[key].hash, edit.hash)
    for key, _ in _outputs(index, choices.pin):
        before, there = base.get(key), theirs.get(key)
        if before is not None and there is not None and before.edited_by is there.edited_by is None:
            found[key] = Overlap(there.hash, before.hash)
    return {key: found[key] for key in sorted(found) if found[key].theirs != found[key].ours}


def _outputs(index: GraphIndex, names: Iterable[str]) -> Iterator[tuple[str, str]]:
    """The artefacts that a person means by some names, with their jobs."""
    for job in dict.fromkeys(job for name in names for job in index.jobs_named(name)):
        yield from ((output.id, job) for output in index.node(job).produces)


def _people(artefacts: Mapping[str, ManifestArtefact]) -> dict[str, str]:
    return {key: artefact.hash for key, artefact in artefacts.items() if artefact.edited_by is not None}
