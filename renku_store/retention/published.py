"""What was published, from the index, and from the manifests where the index does not know it yet."""

from __future__ import annotations

from contextlib import suppress

from renku_store.errors import DamageError, NotFoundError
from renku_store.manifests import ManifestStore
from renku_store.metadata.base import RevisionRow
from renku_store.movie import Movie
from renku_store.records.ids import revision_number
from renku_store.records.manifest import Manifest, ManifestStub


def published(movie: Movie, manifests: ManifestStore, newest: int) -> dict[int, RevisionRow]:
    """The revisions up to `newest`, by number; those are left out that neither the index nor a sound manifest tells of.

    The index lacks a revision that is being published at the moment, damaged ones, and all of them on a read-only root
    without a database.
    """
    if not newest:
        return {}
    with movie.metadata.read() as reader:
        rows = {row.number: row for row in reader.revisions.list(before=newest + 1, limit=newest)}
    for number in set(range(1, newest + 1)) - rows.keys():
        with suppress(DamageError, NotFoundError):
            rows[number] = _row(*manifests.entry(number, manifests.expected(number)))
    return rows


def _row(entry: Manifest | ManifestStub, digest: str) -> RevisionRow:
    return RevisionRow(
        number=revision_number(entry.revision),
        hash=digest,
        base_hash=entry.base_hash,
        run=entry.run,
        created_at=entry.created_at,
        made=entry.metrics.made,
        reused=entry.metrics.reused,
        cost=entry.metrics.cost,
        saved=entry.metrics.saved or 0.0,
        expired=isinstance(entry, ManifestStub),
    )
