"""Bringing revisions back from the trash: see and touch all their blobs, then take the mark away.

Keeps invariant 9: whatever becomes reachable for good is live and touched before. A crash in between leaves the
revision in the trash, where it is a root of collection all the same.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from renku_store import bounds
from renku_store.encoding import named_blobs
from renku_store.errors import NotFoundError, StoreError
from renku_store.manifests import ManifestStore
from renku_store.movie import Movie
from renku_store.records.ids import revision_name, revision_number
from renku_store.records.manifest import Manifest, ManifestStub
from renku_store.retention.reports import RestoreReport
from renku_store.retention.unreadable import UNREADABLE
from renku_store.tags import RETENTION_LOCK
from renku_store.trash import mark_of, marks, put_marks, remove_mark


def restore_expired(
    movie: Movie, revisions: Sequence[str] = (), *, on_restored: Callable[[str], None] | None = None
) -> RestoreReport:
    """Bring revisions back from the trash: those named, or all; `on_restored` hears of each.

    Raises `NotFoundError` for a named one that is not in the trash, or gone for good; `DamageError` for one that lost
    a blob, which stays in the trash: then the others are back nevertheless.
    """
    named = sorted({movie.manifests.number(text) for text in revisions})
    restored: list[str] = []
    failure: StoreError | None = None
    for number in [_in_trash(movie, number) for number in named] if revisions else _trashed(movie):
        try:
            # One at a time, so that nobody who wants to tag or prune waits for all of them.
            with movie.driver.lock(RETENTION_LOCK, wait_seconds=bounds.BUSY_MAX_SECONDS):
                bring_back(movie, number)
            restored.append(revision_name(number))
            if on_restored is not None:
                on_restored(restored[-1])
        except StoreError as error:
            failure = failure or error
    if failure is not None:
        raise failure
    return RestoreReport(restored=restored)


def bring_back(movie: Movie, number: int) -> None:
    """Bring one revision back, under the lock `retention`. Raises `DamageError` where it is not whole any more."""
    manifest = _entry(movie, number)
    if not isinstance(manifest, Manifest):
        raise _gone(movie, manifest)
    with movie.metadata.write() as writer:
        movie.blobs.revive(writer, named_blobs(manifest, (page.hash for page in manifest.pages or ())))
    mark = mark_of(movie.driver, number)
    remove_mark(movie.driver, number)
    try:
        check_not_swept(movie, number)
    except NotFoundError:
        # By the mark of a stub the indexes of all machines learn that the revision has gone.
        if mark is not None:
            put_marks(movie.driver, [mark.expiry])
        raise


def check_not_swept(movie: Movie, number: int) -> None:
    """See that no other machine was just making a stub of a revision that stays from now on; `NotFoundError` if so.

    Nothing to wait for where all share an index: there the lock `retention` keeps them apart.
    """
    if movie.announcer.needed:
        movie.announcer.wait_for_sweeps([revision_name(number)])
        entry = _entry(movie, number)
        if not isinstance(entry, Manifest):
            raise _gone(movie, entry)


def _trashed(movie: Movie) -> list[int]:
    with movie.metadata.read() as reader:
        expired = {row.number for row in reader.revisions.list(limit=2**31) if row.expired}
    manifests = ManifestStore(movie.driver, movie.blobs.read)
    numbers = [mark.number for mark in marks(movie.driver) if mark.number not in expired]
    return [number for number in numbers if manifests.glance(number).get("expired") is not True]


def _in_trash(movie: Movie, number: int) -> int:
    found = _entry(movie, number)
    if isinstance(found, ManifestStub):
        raise _gone(movie, found)
    if mark_of(movie.driver, number) is None:
        raise NotFoundError(
            f"{revision_name(number)} is not in the trash.", hint="`renku-store log` shows which revisions are."
        )
    return number


def _entry(movie: Movie, number: int) -> Manifest | ManifestStub:
    manifests = ManifestStore(movie.driver, movie.blobs.read)
    with movie.metadata.read() as reader:
        row = reader.revisions.get(number)
    return manifests.entry(number, row.hash if row else manifests.expected(number))[0]


def _gone(movie: Movie, stub: ManifestStub) -> NotFoundError:
    mark = mark_of(movie.driver, revision_number(stub.revision))
    why = "its time in the trash was over, and what only it had is gone"
    if mark is not None and mark.expiry.why == UNREADABLE:
        why = f"{UNREADABLE} when it was let go, so that it went for good at once"
    return NotFoundError(
        f"{stub.revision} cannot be brought back: {why}.",
        hint="`renku-store log` shows which revisions are still in the trash.",
    )
