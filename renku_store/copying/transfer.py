"""Bringing blobs over: only those that the target lacks, by one listing of it; what a copy could not get is kept."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterator
from typing import Final

from renku_store.copying.reports import CopyProgress, MovieCopy, UncopiedObject
from renku_store.drivers.base import Driver
from renku_store.errors import BlobMissingError, DamageError
from renku_store.movie import Movie
from renku_store.records.blob import SUFFIX, blob_path
from renku_store.records.ids import revision_name

Tell = Callable[[CopyProgress], None]
_DIGEST: Final = re.compile(r"[0-9a-f]{64}")


class Transfer:
    """The blobs of one movie on their way from `source` to the movie `into` (None: they are only counted)."""

    def __init__(self, source: Driver, target: Driver, into: Movie | None, copied: MovieCopy, tell: Tell) -> None:
        self._source = source
        self._into = into
        self._copied = copied
        self._tell = tell
        self._present = {bytes.fromhex(digest) for digest in _digests(target)}
        self._settled: set[bytes] = set()
        self._brought: set[bytes] = set()
        self._lost: dict[str, tuple[str, list[str]]] = {}
        self._at, self._of = 0, 0

    def progress(self, at: int, of: int) -> None:
        """Say that so many revisions have been looked at."""
        self._at, self._of = at, of
        self._tell_progress()

    def fetch(self, digests: Collection[str]) -> dict[str, DamageError]:
        """Bring over those of these blobs that the target lacks; gives those that the source has lost."""
        wanted = {digest: bytes.fromhex(digest) for digest in digests}
        new = {digest: key for digest, key in wanted.items() if key not in self._settled}
        lacking = sorted(digest for digest, key in new.items() if key not in self._present)
        self._copied.skipped += len(new) - len(lacking)
        lost = self._carried(lacking) if lacking else {}
        self._settled.update(key for digest, key in new.items() if digest not in lost)
        return lost

    def fetch_again(self, digests: Collection[str]) -> None:
        """Bring over blobs whatever seems to be there: a collector has removed some, or their objects are damaged.

        Raises `DamageError` for one that the source has lost.
        """
        lost = self._carried(sorted(digests))
        if lost:
            raise lost[min(lost)]

    def rest_on(self, digests: Collection[str]) -> None:
        """Let blobs that the target has be live there and young, before something names them (invariant 9).

        Those that have come over just now are.
        """
        older = [digest for digest in digests if bytes.fromhex(digest) not in self._brought]
        if self._into is None or not older:
            return
        self._into.blobs.keep_young(older)
        seen = self._into.blobs.look(older)
        try:
            with self._into.metadata.write() as writer:
                self._into.blobs.revive(writer, older, seen)
        except DamageError:
            self.fetch_again(older)

    def _carried(self, digests: Collection[str]) -> dict[str, DamageError]:
        if self._into is None:
            return self._foreseen(digests)
        lost = self._into.blobs.carry(self._source, digests, self._took)
        self._brought.update(bytes.fromhex(digest) for digest in digests if digest not in lost)
        return lost

    def _foreseen(self, digests: Collection[str]) -> dict[str, DamageError]:
        """Count what would be copied, by the sizes of objects; damage inside them does not show."""
        left = {*digests}
        for encoding in SUFFIX:
            names = {blob_path(digest, encoding): digest for digest in left}
            for name, found in self._source.stat_many(names).items():
                left.discard(names[name])
                self._took(found.size)
        return {digest: BlobMissingError(f"The blob {digest} is not there.") for digest in left}

    def _took(self, size: int) -> None:
        self._copied.blobs += 1
        self._copied.bytes += size
        self._tell_progress()

    def _tell_progress(self) -> None:
        copied = self._copied
        self._tell(CopyProgress(copied.id, self._at, self._of, copied.blobs, copied.bytes))

    # What could not be had

    def note_lost(self, name: str, why: str, number: int | None = None) -> None:
        """Remember that the source has lost an object, and a revision that needs it."""
        revisions = self._lost.setdefault(name, (why, []))[1]
        if number is not None and revision_name(number) not in revisions:
            revisions.append(revision_name(number))

    def lost_of(self, digests: Collection[str]) -> set[str]:
        """Those of these blobs that are known to be lost."""
        return self._lost.keys() & {*digests}

    def uncopied(self) -> list[UncopiedObject]:
        """All that the source has lost."""
        return [UncopiedObject(name, why, revisions) for name, (why, revisions) in sorted(self._lost.items())]


def _digests(driver: Driver) -> Iterator[str]:
    """The hash of every blob of a movie, by one listing; foreign files are left out."""
    for found in driver.list("blobs/"):
        digest = found.name.rpartition("/")[2].removesuffix(SUFFIX["zstd"])
        if _DIGEST.fullmatch(digest):
            yield digest
