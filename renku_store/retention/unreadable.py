"""Letting go of a revision whose manifest cannot be read any more: a stub in its place, from what the index knows.

Keeps invariants 5 (the name stays taken) and 6 (the stub says the hashes that the chain needs). What the index can
write anew byte for byte goes to the trash like others. Of the rest there is nothing to bring back: it goes at once.
What is left of a manifest goes to `quarantine/`.
"""

from __future__ import annotations

from typing import Final

from renku_store import bounds
from renku_store.archives import archive_path
from renku_store.encoding import expiry_path, manifest_path
from renku_store.errors import BlobCorruptError, BlobMissingError
from renku_store.hashing import canonical_document, hash_bytes
from renku_store.manifests import ManifestStore
from renku_store.metadata.base import RevisionRow
from renku_store.movie import Movie
from renku_store.records.ids import revision_name
from renku_store.records.manifest import ArchiveRef, Expiry, ManifestStub, Metrics
from renku_store.trash import moment_of, no_page

UNREADABLE: Final = "its manifest could not be read"


def write_anew(movie: Movie, number: int, data: bytes) -> str:
    """Put the exact bytes of a manifest in the place of a damaged or missing one; says what was done."""
    path = manifest_path(revision_name(number))
    kept = _keep_damaged(movie, number)
    movie.driver.replace(path, data)
    return f"{path} was written anew, byte for byte, from the index{kept}."


def let_go(movie: Movie, number: int, row: RevisionRow | None) -> str:
    """Put a stub in the place of a damaged or missing manifest, under the lock `retention`; says what was done.

    Raises `BlobCorruptError` where the index does not know the revision either.
    """
    revision = revision_name(number)
    if row is None:
        raise BlobCorruptError(
            f"The manifest of {revision} cannot be read, and the index does not know it either.",
            hint="Restore it from a copy: nothing else tells which run published it.",
        )
    with movie.metadata.read() as reader:
        now_ms = reader.now_ms()
    kept = _keep_damaged(movie, number)
    mark = Expiry(revision=revision, hash=row.hash, expired_at=moment_of(now_ms), why=UNREADABLE)
    # Whoever is cut off here has left a mark beside a manifest that cannot be read: asked again, this goes on.
    movie.driver.replace(expiry_path(revision), canonical_document(mark.to_json()))
    movie.driver.replace(manifest_path(revision), canonical_document(_stub(movie, row).to_json()))
    with movie.metadata.write() as writer:
        writer.revisions.expire(number)
    return f"{revision} went for good and cannot be brought back: {UNREADABLE}{kept}."


def _keep_damaged(movie: Movie, number: int) -> str:
    """Keep what is left of a manifest; says so, as the end of a sentence."""
    damaged = ManifestStore(movie.driver, no_page).raw(number)
    if damaged is None:
        return ""
    with movie.metadata.read() as reader:
        now_ms = reader.now_ms()
    movie.driver.create(f"quarantine/{revision_name(number)}.json-{now_ms:x}", damaged)
    return "; what was left of it is in quarantine/"


def _stub(movie: Movie, row: RevisionRow) -> ManifestStub:
    archive: ArchiveRef | None = None
    name = archive_path(row.run)
    try:
        archive = ArchiveRef(name=name, hash=hash_bytes(movie.driver.read(name)))
    except BlobMissingError:
        archive = None
    return ManifestStub(
        format=bounds.FORMAT_VERSION,
        movie=movie.id,
        revision=revision_name(row.number),
        hash=row.hash,
        base_revision=revision_name(row.number - 1) if row.number > 1 else None,
        base_hash=row.base_hash,
        run=row.run,
        archive=archive,
        created_at=row.created_at,
        metrics=Metrics(made=row.made, reused=row.reused, cost=row.cost, saved=row.saved or None),
    )
