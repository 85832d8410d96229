"""Emptying the trash: manifests of revisions that have been in it for long enough become stubs, before roots are read.

Keeps invariants 5 (the name stays taken) and 6 (the stub says the hashes that the chain needs). Under the lock
`retention`, so that nobody tags a revision, or brings one back, at that moment. A crash leaves a manifest or a stub,
each whole; the next collection goes on.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Final

from renku_store import bounds
from renku_store.encoding import encode_stub, manifest_path
from renku_store.errors import BlobCorruptError, BlobMissingError
from renku_store.manifests import ManifestStore
from renku_store.metadata.base import RevisionRow
from renku_store.movie import Movie
from renku_store.records.ids import revision_name
from renku_store.records.manifest import Manifest
from renku_store.tags import RETENTION_LOCK
from renku_store.trash import Mark, marks, no_page

_GROUP: Final = 200
"""Manifests that are replaced while nobody else can tag or bring back: some seconds on a slow disk."""


@dataclass(frozen=True, slots=True)
class TrashTime:
    """How long the trash lasts, and what the time is: by the database's clock, and by that of the files (Unix).

    Remarks on times in the future go to `notes`. `apart`: machines share no index, and only the storage's clock counts.
    """

    seconds: float
    now_ms: int
    files_now: float
    notes: list[str]
    apart: bool = False

    def age(self, mark: Mark) -> float:
        """For how long, in seconds, a revision has been in the trash for sure: by the later of two times."""
        if self.apart:
            return self.files_now - mark.modified
        said = self.now_ms / 1000 - datetime.fromisoformat(mark.expiry.expired_at).timestamp()
        return min(said, self.files_now - mark.modified)


def due(movie: Movie, time: TrashTime) -> list[int]:
    """The revisions whose time in the trash is over, oldest first: neither the newest nor a tagged one.

    Raises `BlobCorruptError` for a tag that cannot be read: it might name any of them.
    """
    return [mark.number for mark, _ in _due(movie, ManifestStore(movie.driver, no_page), time)]


def empty_trash(movie: Movie, time: TrashTime) -> int:
    """Put stubs in the places of the manifests whose time in the trash is over; gives how many.

    Raises `DamageError` for one that is not what its mark, the index and the chain say: nothing is collected then.
    """
    manifests = ManifestStore(movie.driver, no_page)
    count = 0
    while True:
        with movie.driver.lock(RETENTION_LOCK, wait_seconds=bounds.BUSY_MAX_SECONDS):
            group = _due(movie, manifests, time)[:_GROUP]
            # Other machines do not see the lock: who tags a revision, or brings one back, waits for this to end.
            with movie.announcer.sweeping(revision_name(mark.number) for mark, _ in group) as check:
                group = _still_due(movie, manifests, time, group)
                count += sum(_make_stub(movie, manifests, mark, row, check) for mark, row in group)
            # A dead collector may have stopped in between: then this is all that is left to do for some.
            with movie.metadata.write() as writer:
                for mark, _ in group:
                    writer.revisions.expire(mark.number)
        if len(group) < _GROUP:
            return count


def _still_due(
    movie: Movie, manifests: ManifestStore, time: TrashTime, group: list[tuple[Mark, RevisionRow | None]]
) -> list[tuple[Mark, RevisionRow | None]]:
    """Of these those that no other machine has tagged or brought back since."""
    if not group or not movie.announcer.needed:
        return group
    due_now = {mark.number for mark, _ in _due(movie, manifests, replace(time, notes=[]))}
    return [(mark, row) for mark, row in group if mark.number in due_now]


def _due(movie: Movie, manifests: ManifestStore, time: TrashTime) -> list[tuple[Mark, RevisionRow | None]]:
    tagged = movie.tags.by_revision()
    found = marks(movie.driver)
    newest = manifests.newest()
    with movie.metadata.read() as reader:
        rows = {mark.number: reader.revisions.get(mark.number) for mark in found}
        # What was expired after the clock was set back would else look older than it is.
        set_back = 0.0 if time.apart else max(0.0, time.now_ms / 1000 - reader.now_ms() / 1000)
    ripe: list[tuple[Mark, RevisionRow | None]] = []
    future = 0
    for mark in found:
        row = rows[mark.number]
        gone = row.expired if row is not None else manifests.glance(mark.number).get("expired") is True
        if gone or mark.number >= newest or revision_name(mark.number) in tagged:
            continue
        age = time.age(mark) - set_back
        if age < -bounds.GC_FUTURE_SECONDS:
            future += 1
        elif max(age, 0.0) >= time.seconds:
            ripe.append((mark, row))
    if future:
        time.notes.append(f"{future} of the marks of expired revisions are dated in the future: they count as young.")
    return ripe


def _make_stub(
    movie: Movie, manifests: ManifestStore, mark: Mark, row: RevisionRow | None, check: Callable[[], None]
) -> bool:
    """Replace one manifest, after a last `check`; False where it is a stub already."""
    revision = revision_name(mark.number)
    if not manifests.exists(mark.number):
        raise BlobMissingError(
            f"The manifest of {revision}, which is in the trash, is not there.",
            hint=f"`renku-store fsck` says what brings it back; `renku-store prune --expire {revision}` lets it go.",
        )
    entry, digest = manifests.entry(mark.number, row.hash if row else manifests.expected(mark.number))
    if digest != mark.expiry.hash:
        raise BlobCorruptError(
            f"The mark of the expired {revision} names {mark.expiry.hash}, but its manifest is {digest}.",
            hint="Remove the mark if the revision is to stay, and prune again.",
        )
    if not isinstance(entry, Manifest):
        return False
    check()
    movie.driver.replace(manifest_path(revision), encode_stub(entry, digest))
    return True
