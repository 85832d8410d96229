"""Two changes of one base: what both come to, or where they contradict. Pure.

A run that finds another revision published since it planned keeps its own edits where the other left things alone.
Where both changed the same input to different values nobody can say which is meant: that is a conflict, told with both.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass


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
