"""Checking a movie: every invariant by its number, beside whoever works on it, without changing anything.

    1   every blob's bytes have the hash that names them: all that are stored, or a sample
    2   names below `blobs/` are well formed and in the right folder. That names appear whole is for tests
    3   what pending edits, unfinished runs and intents name is there. That it was there first is for tests
    4   append-only triggers stand, look-ups lead to the newest rows, rows are what their archives say, compacted runs
        are archived
    5   revisions are there from the first on, whole, with pages, archives, marks and stubs; tags name some of them
    6   each names the hash of the one before; the index says the same, and names the same blobs
    7   the pointer can be read and names a revision by its hash. That it never goes back is for tests
    8   a live row has an object, stored as it says
    9   what is needed has a live row. That it was touched first is for tests
    10  claims belong to leases, tokens were given out, the reuse index is what events tell. That calls are single is
        for tests
    11  nothing keeps others from going on: impossible runs, unreadable plans, an unreadable database; what a process
        that died has left and others finish by the way (half deletions, lost intents, an old pointer) is a note

What looks wrong is looked at again before it counts, as others go on meanwhile. Memory does not depend on the sizes of
blobs or the length of the history; 32 bytes are held for each blob that something names.
"""

from __future__ import annotations

import math
import secrets
from collections.abc import Callable

from renku_store.errors import InvalidValueError
from renku_store.fsck.archives import check_archives
from renku_store.fsck.blobs import check_blobs
from renku_store.fsck.derived import check_derived
from renku_store.fsck.examination import Examination
from renku_store.fsck.hashing import Extent, Hashing
from renku_store.fsck.index import check_database, check_leftovers, check_rows, read_pending
from renku_store.fsck.reports import CheckProgress, CheckReport
from renku_store.fsck.revisions import check_revisions, check_tags
from renku_store.fsck.suspects import report_suspects
from renku_store.movie import Movie

_SEEDS = 2**32


def check_movie(
    movie: Movie,
    *,
    sample: float = 1.0,
    seed: int | None = None,
    max_age_seconds: float | None = None,
    budget_seconds: float | None = None,
    on_progress: Callable[[CheckProgress], None] | None = None,
) -> CheckReport:
    """Check a movie that `Store.examine` (or `Store.movie`) has opened; nothing but `verifications` is written.

    All of the structure is checked. Of the blobs, the bytes are read of the part `sample` (0 to 1) that `seed` draws,
    of none that was verified within `max_age_seconds`, and until `budget_seconds` are over: those never verified
    first, then the least recently verified. A check without `sample` and `budget_seconds` holds the indexes of the
    database against its tables, too. When each blob was verified is noted there, where it can be written.

    Raises `InvalidValueError` for a part, age or time that is none; `StoreUnavailableError` where the storage cannot
    be listed.
    """
    _refuse_nonsense(sample, max_age_seconds, budget_seconds)
    seed = secrets.randbelow(_SEEDS) if seed is None else seed
    exam = Examination(movie, on_progress or _tell_nobody)
    if sample < 1:
        part = f"{100 * sample:.4g}%"
        exam.findings.note(f"The bytes of {part} of the blobs were drawn to be read, with the seed {seed}.")
    examine(exam, Extent(sample, seed, max_age_seconds, budget_seconds))
    return exam.findings.report()


def examine(exam: Examination, extent: Extent) -> None:
    """Carry out a check; what it finds and learns is in `exam`."""
    check_database(exam, thorough=extent.sample >= 1 and extent.budget_seconds is None)
    hashing = Hashing(exam, extent)
    check_revisions(exam)
    check_tags(exam)
    check_archives(exam)
    check_rows(exam)
    check_derived(exam)
    read_pending(exam)
    suspects = check_blobs(exam, hashing)
    report_suspects(exam, suspects)
    check_leftovers(exam)


def _refuse_nonsense(sample: float, max_age_seconds: float | None, budget_seconds: float | None) -> None:
    if not 0 <= sample <= 1:
        raise InvalidValueError(f"{sample} is not a part of the blobs.", hint="Give a number from 0 to 1.")
    for seconds in (max_age_seconds, budget_seconds):
        if seconds is not None and not (math.isfinite(seconds) and seconds >= 0):
            raise InvalidValueError(f"{seconds} is not a time.", hint="Give seconds, from 0.")


def _tell_nobody(_progress: CheckProgress) -> None:
    return
