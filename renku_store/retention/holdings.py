"""What the revisions hold: bytes on the disk, and what it cost to make them, by which revisions need them."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import groupby

from renku_store import bounds
from renku_store.metadata.base import BlobSpan
from renku_store.movie import Movie
from renku_store.retention.budget import Holding


def holdings_of(movie: Movie, newest: int, *, costs: bool) -> list[Holding]:
    """The blobs of all booked revisions up to `newest`, those with the same holders as one.

    Without `costs` none is looked for. Memory grows with the number of blobs that events name only where they are.
    """
    spent = _costs(movie) if costs else {}
    sizes: dict[int, tuple[int, float]] = {}
    for digest, spans in groupby(_spans(movie), key=lambda span: span.hash):
        holders = size = 0
        for span in spans:
            last = newest if span.last is None else span.last
            holders |= (1 << last + 1) - (1 << span.first)
            size = span.stored_size
        held, cost = sizes.get(holders, (0, 0.0))
        sizes[holders] = held + size, cost + spent.get(digest, 0.0)
    return [Holding(holders, size, cost) for holders, (size, cost) in sizes.items()]


def _spans(movie: Movie) -> Iterator[BlobSpan]:
    after = ("", 0)
    while True:
        with movie.metadata.read() as reader:
            page = reader.revisions.blob_spans(after, bounds.EVENT_PAGE_ROWS)
        yield from page
        if len(page) < bounds.EVENT_PAGE_ROWS:
            return
        after = page[-1].hash, page[-1].first


def _costs(movie: Movie) -> dict[str, float]:
    """What the call took that made each blob, in US dollars; of what a person gave, nothing."""
    found: dict[str, float] = {}
    seq = 0
    while True:
        with movie.metadata.read() as reader:
            page = reader.blobs.uses(seq, bounds.EVENT_PAGE_ROWS)
        found.update({use.hash: use.cost for use in page if use.cost})
        if len(page) < bounds.EVENT_PAGE_ROWS:
            return found
        seq = page[-1].seq
