"""What a process of a soak does beside runs: collection, retention, and reading everything."""

from __future__ import annotations

import random
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final

from renku_store import bounds
from renku_store.compaction import compact
from renku_store.differences import diff_revisions
from renku_store.errors import (
    BlobMissingError,
    DamageError,
    ManifestConflictError,
    NotFoundError,
    StoreError,
    StoreUnavailableError,
)
from renku_store.export import export_revision
from renku_store.fsck import check_movie
from renku_store.gc import CollectionProgress, collect
from renku_store.hashing import hash_bytes
from renku_store.movie import Movie
from renku_store.outlook import plan_movie
from renku_store.records.ids import revision_name
from renku_store.records.manifest import ArtefactValue, Manifest, ManifestStub
from renku_store.restoration import rollback
from renku_store.retention import RetentionPolicy, prune, restore_expired, tag_revision, untag
from renku_store.runs import movie_status
from renku_store.store import open_store
from renku_store.testing.soak.journal import Journal
from renku_store.trash import marks

TRASH_SECONDS: Final = 15.0
"""Longer than any run of a soak: a run whose base goes for good while it reads that would fail, as it should."""
_GRACES: Final = (0.0, 0.5, 2.0)
_TAGS: Final = ("first-cut", "final-cut")


class Upkeep:
    """The operations; each is given the movie, opened."""

    def __init__(self, folder: Path, rng: random.Random, journal: Journal) -> None:
        self._folder = folder
        self._rng = rng
        self._journal = journal

    def collect(self, movie: Movie) -> None:
        """Collect with next to no grace time."""

        def told(progress: CollectionProgress) -> None:
            if progress.step == "surveyed":
                self._journal.write("collecting")
            elif progress.step == "condemned":
                self._journal.write("condemned", blobs=_not_live(movie))

        collect(
            movie,
            grace_seconds=self._rng.choice(_GRACES),
            trash_seconds=TRASH_SECONDS,
            force=True,
            on_progress=told,
        )
        self._journal.write("collected")

    def prune(self, movie: Movie) -> None:
        """Let all but the last revisions go to the trash."""
        prune(movie, RetentionPolicy(keep_last=self._rng.randint(3, 40)))

    def restore(self, movie: Movie) -> None:
        """Bring one of those back that are in the trash."""
        trash = [mark.number for mark in marks(movie.driver)]
        if trash:
            restore_expired(movie, [revision_name(self._rng.choice(trash))])

    def tag(self, movie: Movie) -> None:
        """Give a name to some revision, whoever has it."""
        newest = movie.manifests.current()
        if newest is not None:
            number = self._rng.randint(1, int(newest[0].revision.removeprefix("rev-")))
            tag_revision(movie, revision_name(number), self._rng.choice(_TAGS), move=True)

    def untag(self, movie: Movie) -> None:
        """Take a name away."""
        untag(movie, self._rng.choice(_TAGS))

    def roll_back(self, movie: Movie) -> None:
        """Make some revision the newest one again."""
        revisions = [manifest.revision for manifest, _ in movie.manifests.revisions()]
        if revisions:
            published = rollback(movie, self._rng.choice(revisions))
            if published is not None:
                self._journal.write("published", revision=published.revision, hash=published.hash)

    def compact(self, movie: Movie) -> None:
        """Drop the rows that archives hold."""
        report = compact(movie)
        if report.problems:
            raise AssertionError(f"Compaction found problems: {report.problems}")

    def check(self, movie: Movie) -> None:
        """Check everything, beside those who write: no false alarm."""
        with open_store(movie.root) as store:
            report = check_movie(store.examine(movie.id), sample=0.2)
        if report.problems:
            raise AssertionError(f"fsck found problems: {report.problems}")

    def read(self, movie: Movie) -> None:
        """What `status`, `log`, `inspect`, `plan`, `diff`, `cat` and `export` read."""
        movie_status(movie)
        plan_movie(movie)
        revisions = [manifest for manifest, _ in movie.manifests.revisions()]
        if not revisions:
            return
        manifest = self._rng.choice(revisions)
        diff_revisions(manifest, revisions[0])
        try:
            for artefact in manifest.artefacts.values():
                check_bytes(movie, artefact)
            with TemporaryDirectory(dir=self._folder) as target:
                export_revision(movie, manifest.revision, Path(target, "export"))
        except (DamageError, NotFoundError):
            if not has_expired(movie, manifest):
                raise


def has_expired(movie: Movie, manifest: Manifest) -> bool:
    """Whether a revision has gone for good by now."""
    for entry, _ in movie.manifests.history():
        if entry.revision == manifest.revision:
            return isinstance(entry, ManifestStub)
    return False


def check_bytes(movie: Movie, artefact: ArtefactValue) -> None:
    """Read an artefact whole and as a stream; both give the bytes of its hash."""
    data = movie.read(artefact)
    if hash_bytes(data) != artefact.hash:
        raise AssertionError(f"Bytes of {hash_bytes(data)} were read as {artefact.hash}")
    if artefact.blob is not None:
        with movie.open(artefact) as stream:
            if stream.read() != data:
                raise AssertionError(f"The stream of {artefact.hash} gives other bytes")


def _not_live(movie: Movie) -> list[str]:
    found: list[str] = []
    after = ""
    while True:
        with movie.metadata.read() as reader:
            rows = reader.blobs.page(after, bounds.EVENT_PAGE_ROWS)
        found += [row.hash for row in rows if row.state != "live"]
        if len(rows) < bounds.EVENT_PAGE_ROWS:
            return found
        after = rows[-1].hash


Keeping = tuple[float, Callable[[Upkeep, Movie], None], tuple[type[StoreError], ...]]

UPKEEP: Final[dict[str, Keeping]] = {
    "gc": (14, Upkeep.collect, (StoreUnavailableError,)),
    "prune": (4, Upkeep.prune, ()),
    "prune --undo": (2, Upkeep.restore, (NotFoundError,)),
    "tag": (3, Upkeep.tag, (NotFoundError,)),
    "untag": (2, Upkeep.untag, (NotFoundError,)),
    "rollback": (3, Upkeep.roll_back, (NotFoundError, BlobMissingError, ManifestConflictError)),
    "compact": (4, Upkeep.compact, ()),
    "fsck": (6, Upkeep.check, ()),
    "read": (14, Upkeep.read, ()),
}
"""Operation to how often it is chosen, what it does, and the errors with which it may end beside others."""
