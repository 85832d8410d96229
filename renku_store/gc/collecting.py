"""What a collection is asked for, and by whom it is carried out: one of a machine at a time."""

from __future__ import annotations

import math
from collections.abc import Callable

from renku_store import bounds
from renku_store.blobs.removal import COLLECT_LOCK
from renku_store.errors import BadInputError, InvalidValueError
from renku_store.gc.apart import CollectionApart
from renku_store.gc.collection import SharedCollection, Times
from renku_store.gc.reports import CollectionProgress, CollectionReport
from renku_store.movie import Movie


def collect(
    movie: Movie,
    *,
    grace_seconds: float = bounds.GC_GRACE_SECONDS,
    trash_seconds: float = bounds.TRASH_SECONDS,
    keep_runs_seconds: float = bounds.RUN_KEEP_SECONDS,
    dry_run: bool = False,
    force: bool = False,
    on_progress: Callable[[CollectionProgress], None] | None = None,
) -> CollectionReport:
    """Remove the blobs that nothing needs and that nobody has touched within the grace time, and old temporary files.

    Needed is what revisions, unfinished runs and edits that no revision has taken name; a revision that has been in the
    trash for `trash_seconds` needs nothing any more. Of runs that ended `keep_runs_seconds` ago the plans go, and all
    else that nothing needs. `dry_run` writes nothing and says of each blob what used it last. Any error while that is
    found out ends the collection before it removes anything: `DamageError` for a manifest, page, archive or tag that
    cannot be read.

    Raises `BadInputError` where more than half of the stored bytes would go, or the trash is to be emptied at once, and
    `force` is not given, `InvalidValueError` for a time that is none, `StoreUnavailableError` while another process
    collects.
    """
    for name, seconds in (("grace", grace_seconds), ("trash", trash_seconds), ("run", keep_runs_seconds)):
        if not math.isfinite(seconds) or seconds < 0:
            raise InvalidValueError(f"{seconds} is not a {name} time.", hint="Give seconds, from 0.")
    if trash_seconds == 0 and not (force or dry_run):
        raise BadInputError(
            "A trash time of 0 takes every expired revision away for good.", hint="--force does it all the same."
        )
    times = Times(grace_seconds, trash_seconds, keep_runs_seconds)
    kind = CollectionApart if movie.announcer.needed else SharedCollection
    collection = kind(movie, times, on_progress or _tell_nobody)
    if dry_run:
        return collection.look()
    with movie.driver.lock(COLLECT_LOCK, wait_seconds=bounds.GC_WAIT_SECONDS):
        return collection.carry_out(force=force)


def _tell_nobody(_progress: CollectionProgress) -> None:
    return
