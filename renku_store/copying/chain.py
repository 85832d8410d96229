"""The revisions of a movie that is copied, and whether those of the target are the first of them (invariant 6)."""

from __future__ import annotations

from dataclasses import dataclass

from renku_store.errors import BlobMissingError, ManifestConflictError
from renku_store.manifests import ManifestStore
from renku_store.records.ids import revision_name, revision_number
from renku_store.records.manifest import Manifest, ManifestStub


@dataclass(frozen=True, slots=True)
class Link:
    """What stands for a revision: the `hash` of its manifest, and what that must be (None: nothing sound tells)."""

    hash: str | None
    expected: str | None


class Chain:
    """The revisions of a movie up to the newest, from the objects alone, as they were when they were first read.

    Immutable objects of the source are read while others publish there: what is newer waits for the next copy.
    `newest` is at least the one that `current.json` names: where its manifest is lost, it is a lost revision.
    `newest_there` is the newest that has a manifest. Those between have none, and nothing is kept of them: a pointer
    that is damaged may name any number.
    """

    def __init__(self, manifests: ManifestStore) -> None:
        self._manifests = manifests.remembering()
        pointer = manifests.pointer()
        self.newest_there = manifests.newest()
        self.newest = max(self.newest_there, revision_number(pointer.revision) if pointer else 0)
        self._named = pointer.hash if pointer else None
        self._links: list[Link] = []
        expected = manifests.expected(self.newest_there) if self.newest_there else None
        for number in range(self.newest_there, 0, -1):
            found = manifests.link(number)
            sound = found is not None and expected in {None, found[0]}
            self._links.append(Link(found[0] if found and sound else None, expected))
            expected = found[1] if found and sound else None
        self._links.reverse()

    def hash(self, number: int) -> str | None:
        """The hash of a revision; None where its manifest is damaged or missing."""
        return self._link(number).hash

    def entry(self, number: int) -> tuple[Manifest | ManifestStub, bytes]:
        """What stands for a revision now, verified, and its exact bytes; raises `DamageError`."""
        link = self._link(number)
        data = self._manifests.raw(number)
        if data is None:
            raise BlobMissingError(
                f"The manifest of {revision_name(number)} is missing.", hint="`renku-store fsck` says what helps."
            )
        found, _ = self._manifests.entry(number, link.hash if link.expected is not None else None)
        if isinstance(found, ManifestStub) and (again := self._manifests.raw(number)) is not None:
            data = again  # it may have expired since
        return found, data

    def runs(self, first: int) -> set[str]:
        """The runs that published a revision from `first` on, as the manifests say, sound or not."""
        said = (self._manifests.glance(number).get("run") for number in range(first, self.newest_there + 1))
        return {run for run in said if isinstance(run, str)}

    def _link(self, number: int) -> Link:
        if number > self.newest_there:
            return Link(None, self._named if number == self.newest else None)
        return self._links[number - 1]


def check_prefix(movie: str, source: Chain, target: ManifestStore) -> int:
    """The newest revision of the target, 0 for none; `ManifestConflictError` unless it is one of the source's first.

    Raises `BlobCorruptError` for a stub of the target that cannot be read.
    """
    newest = target.newest()
    last = next((n for n in range(min(newest, source.newest), 0, -1) if source.hash(n) and target.link(n)), 0)
    if last and _hash(target, last) != source.hash(last):
        first = next(n for n in range(1, last + 1) if source.hash(n) and _hash(target, n) != source.hash(n))
        raise _conflict(movie, first, source.hash(first), _hash(target, first))
    if newest > source.newest:
        raise _conflict(movie, source.newest + 1, None, _hash(target, source.newest + 1))
    return newest


def expired_revisions(manifests: ManifestStore) -> set[int]:
    """The numbers of the revisions that are stubs."""
    return {number for number in manifests.marked() if manifests.glance(number).get("expired") is True}


def _hash(manifests: ManifestStore, number: int) -> str | None:
    link = manifests.link(number)
    return None if link is None else link[0]


def _conflict(movie: str, number: int, ours: str | None, theirs: str | None) -> ManifestConflictError:
    revision = revision_name(number)
    what = "another" if ours is not None else "a later revision,"
    return ManifestConflictError(
        f"The target has {what} {revision} of {movie}: {theirs}, where the source has {ours or 'none'}.",
        expected=ours,
        actual=theirs,
        hint="Nothing was changed there. Copy to another root, or the other way if the target has gone on.",
    )
