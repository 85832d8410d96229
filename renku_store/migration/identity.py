"""By what a migrated revision is known in the movie itself, so that a migration can be repeated, and taken up again.

The run that publishes an old revision has an id that follows from the old movie and the revision. No side file tells
what was migrated: the manifests do.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from datetime import datetime
from typing import Final

from renku_store.clock import uuid7
from renku_store.hashing import canonical_json, hash_bytes
from renku_store.manifests import ManifestStore
from renku_store.migration.described import OldMovie, OldRevision
from renku_store.migration.reading import NO_TIME
from renku_store.records._base import Json
from renku_store.records.ids import revision_name

AFTER: Final = "later"
"""What stands for the name of a revision where something happened after the newest one."""
_PURPOSE: Final = "renku-store migrate"
_TIME_PART: Final = len("01234567-89ab-")
"""How much of an id says when: the rest says what."""


def run_of(movie: OldMovie, revision: OldRevision) -> str:
    """The id of the run that publishes an old revision."""
    return _id(revision.created_at, [_PURPOSE, movie.layout, movie.id, revision.name, revision.created_at])


def run_after(movie: OldMovie) -> str | None:
    """The id of the run that stands for what happened after the newest revision; None where nothing did."""
    edits, attempts = movie.later_inputs, movie.later_attempts
    if not edits and not attempts and not movie.later_jobs:
        return None
    said: list[Json] = [f"{given.created_at} {given.id} {given.legacy_hash}" for given in edits]
    said += [f"{tried.created_at} {tried.artefact}" for tried in attempts]
    times = [*(given.created_at for given in edits), *(tried.created_at for tried in attempts)]
    return _id(max(times, default=NO_TIME), [_PURPOSE, movie.layout, movie.id, AFTER, said, list(movie.later_jobs)])


def edit_of(run: str, place: int, when: str) -> str:
    """The id of the event of an edit that no revision of the old movie had taken."""
    return _id(when, [_PURPOSE, run, place])


def is_edit_of(runs: Iterable[str], places: int) -> Callable[[str], bool]:
    """Whether an id is one that `edit_of` gives for one of these runs, and a place below this number."""
    known = {edit_of(run, place, NO_TIME)[_TIME_PART:] for run in runs for place in range(places)}
    return lambda event: event[_TIME_PART:] in known


def _id(when: str, parts: list[Json]) -> str:
    milliseconds = int(datetime.fromisoformat(when).timestamp() * 1000)
    return uuid7(max(0, milliseconds), bytes.fromhex(hash_bytes(canonical_json(parts))[:20]))


def published_runs(manifests: ManifestStore) -> dict[str, str]:
    """By run the revision that it has published, from the manifests alone."""
    runs: dict[str, str] = {}
    for number in range(1, manifests.newest() + 1):
        run = manifests.glance(number).get("run")
        if isinstance(run, str):
            runs[run] = revision_name(number)
    return runs
