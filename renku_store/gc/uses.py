"""What used a blob last, as far as events, plans and the blob itself tell."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from typing import Any

from renku_store import bounds
from renku_store.encoding import read_page
from renku_store.errors import StoreError
from renku_store.gc.reports import CollectedBlob
from renku_store.movie import Movie
from renku_store.records._base import RecordError
from renku_store.records.events import ArtefactEvent, Event, InputEvent


def last_uses(movie: Movie, blobs: Mapping[str, int]) -> list[CollectedBlob]:
    """Of blobs given as hash and bytes on the disk: what each is, and which revision or run used it last.

    One pass over the events, whatever there is to be explained.
    """
    found: dict[str, CollectedBlob] = {}
    seq = 0
    while blobs:
        with movie.metadata.read() as reader:
            page = reader.blobs.uses(seq, bounds.EVENT_PAGE_ROWS)
        for use in page:
            if use.hash in blobs:
                found[use.hash] = CollectedBlob(
                    hash=use.hash,
                    bytes=blobs[use.hash],
                    kind=use.kind,
                    id=use.id,
                    run=use.run,
                    revision=use.revision,
                    cost=use.cost,
                )
        if len(page) < bounds.EVENT_PAGE_ROWS:
            break
        seq = page[-1].seq
    for explain in (_archived, _planned):
        unexplained = {digest: size for digest, size in blobs.items() if digest not in found}
        if unexplained:
            found.update(explain(movie, unexplained))
    return [found.get(digest) or _by_content(movie, digest, size) for digest, size in sorted(blobs.items())]


def _archived(movie: Movie, blobs: Mapping[str, int]) -> dict[str, CollectedBlob]:
    """Events whose rows have left by compaction are in the archives of their runs."""
    found: dict[str, CollectedBlob] = {}
    with movie.metadata.read() as reader:
        compacted = reader.upkeep.compacted()
        revisions = {record.run: record.revision for record in reader.runs.list()} if compacted else {}

    def wanted(event: Mapping[str, Any]) -> bool:
        return event.get("blob") in blobs or (event.get("value") or {}).get("blob") in blobs

    for run in compacted:
        with suppress(StoreError):  # the archive of an expired revision may be gone: then nothing tells
            for event in movie.archives.in_order(run.run, run.hash, wanted):
                use = _use(event)
                if use is not None:
                    revision = revisions.get(run.run)
                    found[use.hash] = use.replace(bytes=blobs[use.hash], revision=revision)
    return found


def _use(event: Event) -> CollectedBlob | None:
    """What an event says of the blob that it names; None where it names none."""
    if isinstance(event, InputEvent) and event.blob is not None:
        return CollectedBlob(hash=event.blob, bytes=0, kind="input", id=event.input, run=event.run)
    if isinstance(event, ArtefactEvent) and event.value is not None and event.value.blob is not None:
        digest = event.value.blob
        return CollectedBlob(hash=digest, bytes=0, kind="artefact", id=event.artefact, run=event.run, cost=event.cost)
    return None


def _planned(movie: Movie, blobs: Mapping[str, int]) -> dict[str, CollectedBlob]:
    """Graphs, and inputs that nobody set but a blueprint, are named by plans alone."""
    found: dict[str, CollectedBlob] = {}
    with movie.metadata.read() as reader:
        records = reader.runs.list()
    for record in records:
        with suppress(StoreError):  # an ended run whose plan is damaged or gone explains nothing
            plan = movie.plans.load(record.run)
            if plan.graph_hash in blobs:
                found[plan.graph_hash] = CollectedBlob(
                    hash=plan.graph_hash,
                    bytes=blobs[plan.graph_hash],
                    kind="graph",
                    run=record.run,
                    revision=record.revision,
                )
            for key, entry in plan.inputs.items():
                if entry.blob is not None and entry.blob in blobs:
                    found[entry.blob] = CollectedBlob(
                        hash=entry.blob,
                        bytes=blobs[entry.blob],
                        kind="input",
                        id=key,
                        run=record.run,
                        revision=record.revision,
                    )
    return found


def _by_content(movie: Movie, digest: str, size: int) -> CollectedBlob:
    with suppress(StoreError, RecordError):
        if size <= bounds.GC_PAGE_MAX_BYTES and read_page(movie.blobs.read(digest)):
            return CollectedBlob(hash=digest, bytes=size, kind="page")
    return CollectedBlob(hash=digest, bytes=size, kind="unknown")
