"""Two changes of one base: what both come to, or where they contradict. Pure.

A run that finds another revision published since it planned keeps its own edits where the other left things alone.
Where both changed the same input to different values nobody can say which is meant: that is a conflict, told with both.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from renku_store.records.manifest import ManifestArtefact
from renku_store.records.plan import ExecutionPlan


@dataclass(frozen=True, slots=True)
class Overlap:
    """An id that both sides changed: the hash that they have and the one that we have, None where it is gone."""

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


def _people(artefacts: Mapping[str, ManifestArtefact]) -> dict[str, str]:
    return {key: artefact.hash for key, artefact in artefacts.items() if artefact.edited_by is not None}
