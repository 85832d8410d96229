"""What differs between two revisions, by content. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from renku_store.records.manifest import Manifest


@dataclass(frozen=True, slots=True)
class Changes:
    """Ids, sorted: those only in the later revision, only in the earlier one, and in both with another hash."""

    added: list[str]
    removed: list[str]
    changed: list[str]


@dataclass(frozen=True, slots=True)
class RevisionDiff:
    """How the later of two revisions differs from the earlier."""

    inputs: Changes
    artefacts: Changes


def diff_revisions(before: Manifest, after: Manifest) -> RevisionDiff:
    """Compare two revisions by the content hashes of their inputs and artefacts.

    Manifests leave out inputs that nobody set: one that had its default in the earlier revision counts as added.
    """
    return RevisionDiff(
        inputs=_changes({k: v.hash for k, v in before.inputs.items()}, {k: v.hash for k, v in after.inputs.items()}),
        artefacts=_changes(
            {k: v.hash for k, v in before.artefacts.items()}, {k: v.hash for k, v in after.artefacts.items()}
        ),
    )


def _changes(before: Mapping[str, str], after: Mapping[str, str]) -> Changes:
    return Changes(
        added=sorted(after.keys() - before.keys()),
        removed=sorted(before.keys() - after.keys()),
        changed=sorted(key for key in before.keys() & after.keys() if before[key] != after[key]),
    )
