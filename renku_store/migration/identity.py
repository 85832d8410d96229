"""By what a migrated revision is known in the movie itself, so that a migration can be repeated, and taken up again.

The run that publishes an old revision has an id that follows from the old movie and the revision. No side file tells
what was migrated: the manifests do.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from datetime import datetime
from typing import Final

from renku_store.clock import uuid7
from renku_store.hashing import canonical_json, hash_bytes
from renku_store.manifests import ManifestStore
from renku_store.migration.described import OldAttempt, OldMovie, OldRevision
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


def run_after(movie: OldMovie, before: int, edits: Sequence[str], attempts: Sequence[OldAttempt]) -> str:
    """The id of the run that stands for what happened after the newest revision, after `before` of such runs.

    It follows from the ids of the edits (`edits_of`) and from the attempts that come over with it.
    """
    said: list[Json] = [*edits, *(f"{tried.created_at} {tried.artefact}" for tried in attempts)]
    when = max((tried.created_at for tried in attempts), default=NO_TIME)
    return _id(when, [_PURPOSE, movie.layout, movie.id, AFTER, before, said])


def edits_of(movie: OldMovie) -> list[str]:
    """The ids that the lines of all inputs have, as edits that no revision has taken: one for each, oldest first.

    Each follows from its own line: further lines change none of them.
    """
    alike: Counter[tuple[object, ...]] = Counter()
    ids: list[str] = []
    for given in [*(one for revision in movie.revisions for one in revision.history), *movie.later_inputs]:
        rev, label, when = given.line or (0, given.legacy_hash, given.created_at)
        line = (given.id, rev, label, when)
        ids.append(_id(when or NO_TIME, [_PURPOSE, movie.layout, movie.id, "edit", *line, alike[line]]))
        alike[line] += 1
    return ids


def is_numbered_edit_of(runs: Iterable[str], places: int) -> Callable[[str], bool]:
    """Whether an id is that of an edit which the first versions brought over: of these runs, with a place below this.

    They numbered the lines that were newer than every revision at the time.
    """
    known = {_id(NO_TIME, [_PURPOSE, run, place])[_TIME_PART:] for run in runs for place in range(places)}
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
