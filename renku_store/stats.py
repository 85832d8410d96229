"""How much a movie takes, what each revision added, and what all of it cost. Writes nothing.

Sums over the index, in memory that grows with the number of revisions only; no manifest and no event is read. What a
read-only root without an index holds is found from its manifests and objects.
"""

from __future__ import annotations

from math import fsum
from typing import Final

from renku_store import bounds
from renku_store.metadata.base import Reader, RevisionRow
from renku_store.metadata.upkeep import ArtefactTotals, BlobTotals, Growth
from renku_store.movie import Movie
from renku_store.records._base import Record
from renku_store.records.ids import revision_name
from renku_store.records.manifest import Manifest, ManifestStub
from renku_store.trash import marks

_NOTHING: Final = BlobTotals(0, 0, 0)


class RevisionGrowth(Record):
    """What one revision added: bytes of blobs that no earlier one names, as they are and on the disk.

    `made` counts producer calls, `reused` jobs that an earlier result answered. `cost` of the calls and `saved`, what
    the reused results had taken, are in US dollars. What only expired revisions named may be gone, and is not counted
    then.
    """

    revision: str
    created_at: str
    new_bytes: int
    new_stored_bytes: int
    made: int
    reused: int
    cost: float
    saved: float
    expired: bool


class SpentCosts(Record):
    """US dollars: `spent` on all calls that the movie knows of, `published` by runs that published, and the rest.

    `saved` is what published runs would have spent beyond that, had they not reused earlier results.
    """

    spent: float
    published: float
    unpublished: float
    saved: float


class MovieStats(Record):
    """A movie in numbers; sizes are bytes.

    `artefacts` are those of the newest revision, `logical_bytes` those of all artefacts of all kept revisions.
    `unique_bytes` counts each of the `blobs` once, `stored_bytes` as it lies on the disk; `unnamed_bytes` of the latter
    belong to `unnamed_blobs` that no kept revision names: edits, unfinished runs, and what a collection would remove.
    `dedup_ratio` is logical to that of artefacts with each content once (1 or more), `compression_ratio` unique to
    stored. `trash` counts revisions that have expired and can be brought back, `expired` those that cannot.
    """

    movie: str
    revisions: int
    expired: int
    trash: int
    artefacts: int
    blobs: int
    logical_bytes: int
    unique_bytes: int
    stored_bytes: int
    unnamed_blobs: int
    unnamed_bytes: int
    dedup_ratio: float
    compression_ratio: float
    archive_bytes: int
    database_bytes: int
    growth: list[RevisionGrowth]
    cost: SpentCosts


def movie_stats(movie: Movie) -> MovieStats:
    """Bytes, ratios, growth by revision (oldest first) and cost of a movie.

    Raises `DamageError` where there is no index and a manifest cannot be read.
    """
    with movie.metadata.read() as reader:
        if reader.revisions.newest() is None:
            return _counted(movie, *_of_objects(movie))
        rows = _revisions(reader)
        artefacts = reader.upkeep.artefact_totals()
        growth = {entry.number: entry for entry in reader.upkeep.growth()}
        blobs, unnamed = reader.upkeep.blob_totals()
        spent = reader.upkeep.spent()
    return _counted(movie, rows, growth, artefacts, blobs, unnamed, spent)


def _revisions(reader: Reader) -> list[RevisionRow]:
    """Every booked revision, oldest first."""
    rows: list[RevisionRow] = []
    while page := reader.revisions.list(before=rows[-1].number if rows else None, limit=bounds.EVENT_PAGE_ROWS):
        rows += page
    return rows[::-1]


def _of_objects(
    movie: Movie,
) -> tuple[list[RevisionRow], dict[int, Growth], ArtefactTotals, BlobTotals, BlobTotals, float]:
    """The same where there is no index: revisions as their manifests say, blobs as they lie there."""
    rows: list[RevisionRow] = []
    newest: int | None = None
    logical, sizes = 0, dict[str, int]()
    for entry, digest in movie.manifests.history():
        rows.append(_row(entry, digest))
        if isinstance(entry, Manifest):
            newest = len(entry.artefacts) if newest is None else newest
            logical += sum(artefact.size for artefact in entry.artefacts.values())
            sizes |= {artefact.hash: artefact.size for artefact in entry.artefacts.values()}
    with movie.metadata.read() as reader:
        blobs, unnamed = reader.upkeep.blob_totals()
        spent = reader.upkeep.spent()
    if movie.read_only:
        objects = [found.size for found in movie.driver.list("blobs/")]
        blobs, unnamed = BlobTotals(len(objects), sum(objects), sum(objects)), _NOTHING
    return rows[::-1], {}, ArtefactTotals(newest or 0, logical, sum(sizes.values())), blobs, unnamed, spent


def _row(entry: Manifest | ManifestStub, digest: str) -> RevisionRow:
    return RevisionRow(
        number=int(entry.revision.removeprefix("rev-")),
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


def _counted(
    movie: Movie,
    rows: list[RevisionRow],
    growth: dict[int, Growth],
    artefacts: ArtefactTotals,
    blobs: BlobTotals,
    unnamed: BlobTotals,
    spent: float,
) -> MovieStats:
    expired = {row.number for row in rows if row.expired}
    published = fsum(row.cost for row in rows)
    # A call whose result was collected and whose event was compacted is known by what its revision took only.
    spent = max(float(spent), published)
    return MovieStats(
        movie=movie.id,
        revisions=len(rows) - len(expired),
        expired=len(expired),
        trash=sum(mark.number not in expired for mark in marks(movie.driver)),
        artefacts=artefacts.count,
        blobs=blobs.count,
        logical_bytes=artefacts.bytes,
        unique_bytes=blobs.bytes,
        stored_bytes=blobs.stored_bytes,
        unnamed_blobs=unnamed.count,
        unnamed_bytes=unnamed.stored_bytes,
        dedup_ratio=_ratio(artefacts.bytes, artefacts.distinct_bytes),
        compression_ratio=_ratio(blobs.bytes, blobs.stored_bytes),
        archive_bytes=sum(found.size for found in movie.driver.list("events/")),
        database_bytes=movie.metadata.disk_bytes(),
        growth=[_growth(row, growth.get(row.number, Growth(row.number, 0, 0))) for row in rows],
        cost=SpentCosts(
            spent=round(spent, 6),
            published=round(published, 6),
            unpublished=round(max(0.0, spent - published), 6),
            saved=round(fsum(row.saved for row in rows), 6),
        ),
    )


def _growth(row: RevisionRow, new: Growth) -> RevisionGrowth:
    return RevisionGrowth(
        revision=revision_name(row.number),
        created_at=row.created_at,
        new_bytes=new.bytes,
        new_stored_bytes=new.stored_bytes,
        made=row.made,
        reused=row.reused,
        cost=row.cost,
        saved=row.saved,
        expired=row.expired,
    )


def _ratio(before: int, after: int) -> float:
    return round(before / after, 3) if after else 1.0
