"""The stores of one movie, wired together; nothing is opened here."""

from __future__ import annotations

import os

from renku_store.announcing import Announcer
from renku_store.archives import ArchiveStore
from renku_store.archiving import RunArchiver
from renku_store.blobs import BlobStore
from renku_store.clock import Clock
from renku_store.commit import Committer
from renku_store.drivers.base import Driver
from renku_store.events import EventLog
from renku_store.leases import RunLeases
from renku_store.manifests import ManifestStore
from renku_store.metadata.base import MetadataStore
from renku_store.movie import ManifestService, Movie
from renku_store.plans import PlanStore
from renku_store.tags import TagStore


def assemble(
    movie: str,
    root: str,
    driver: Driver,
    clock: Clock,
    metadata: MetadataStore,
    thin: MetadataStore | None = None,
    cache: bool = True,
) -> Movie:
    """The stores of a movie around its database; `thin`, if given, serves those that need no index."""
    little = thin or metadata
    announcer = Announcer(driver, clock)
    blobs = BlobStore(driver, little, announcer=announcer, cache=driver.cache() if cache else None)
    archives = ArchiveStore(driver, movie)
    events = EventLog(
        metadata,
        blobs.put,
        blobs.read,
        blobs.revive,
        clock,
        os.urandom,
        read_archive=archives.in_order,
        announcer=announcer,
    )
    manifests = ManifestStore(driver, blobs.read).remembering()
    archiver = RunArchiver(driver, metadata, events, manifests, archives, clock)
    committer = Committer(driver, metadata, blobs, events, manifests, archives, clock, announcer)
    tags = TagStore(driver)
    return Movie(
        id=movie,
        root=root,
        driver=driver,
        metadata=metadata,
        blobs=blobs,
        events=events,
        manifests=ManifestService(movie, little, events, manifests, archiver, committer, clock, tags),
        plans=PlanStore(driver, events.new_id),
        archives=archives,
        leases=RunLeases(metadata, clock, announcer=announcer),
        archiver=archiver,
        committer=committer,
        tags=tags,
        announcer=announcer,
        clock=clock,
        read_only=driver.read_only,
        closing=metadata.close,
    )
