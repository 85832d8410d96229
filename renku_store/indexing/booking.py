"""Booking one revision in the index: its row, its place in the chain, and the events of the run that published it.

Keeps invariant 11: a revision whose publisher died before the bookkeeping is booked later by this very code. Of
invariant 8: rows are made of blobs seen just now.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import suppress
from itertools import islice
from typing import Final, TypeVar

from renku_store.archives import ArchiveStore, archive_path
from renku_store.blobs import BlobStore
from renku_store.drivers.base import Driver
from renku_store.encoding import blobs_moved, named_blobs, parted
from renku_store.errors import DamageError, NotFoundError
from renku_store.hashing import hash_bytes
from renku_store.indexing.elsewhere import blobs_of
from renku_store.manifests import ManifestStore
from renku_store.metadata.base import MetadataStore, RevisionRow, Writer
from renku_store.metadata.derived import KeptManifest
from renku_store.records.events import Event, RunEvent
from renku_store.records.ids import revision_number
from renku_store.records.manifest import Manifest, ManifestArtefact, ManifestInput, ManifestStub

T = TypeVar("T")

Tell = Callable[[str, int], None]
"""Called with a kind of thing (`blobs`, `events`, `revisions`) and how many of them have been indexed by now."""

_GROUP: Final = 1_000
"""Events or blobs that are held at a time."""


class Booker:
    """Books revisions of one movie. `new_id` gives ids of events.

    `apart`: other machines have indexes of their own; then what this one does not know may be theirs.
    """

    def __init__(
        self,
        driver: Driver,
        metadata: MetadataStore,
        blobs: BlobStore,
        manifests: ManifestStore,
        archives: ArchiveStore,
        new_id: Callable[[], str],
        *,
        apart: bool = False,
    ) -> None:
        self._driver = driver
        self._metadata = metadata
        self._apart = apart
        self._blobs = blobs
        self._manifests = manifests
        self._archives = archives
        self._new_id = new_id
        self.unreadable: set[str] = set()
        """The archives (paths) of which something was wanted that could not be read."""

    def book(self, manifest: Manifest, digest: str) -> None:
        """Index a published revision, in a transaction; again is no harm."""
        base = self._manifests.base_of(manifest)
        told = Telling(None)
        with self._metadata.write() as writer:
            self._book(writer, manifest, digest, base, told)
            self._keep_bytes(writer)
        if self._apart:
            self._blobs.notice(told.blobs | named_blobs(manifest, (page.hash for page in manifest.pages or ())))

    def keep_newest(self) -> None:
        """See that the index has the exact bytes of the newest revision that it knows: a lost manifest comes back."""
        with self._metadata.read() as reader:
            booked, kept = reader.revisions.newest(), reader.checks.newest_manifest()
        if booked is None:
            return
        right = kept is not None and (kept.number, kept.hash, hash_bytes(kept.data)) == (
            booked.number,
            booked.hash,
            booked.hash,
        )
        if not right:
            with self._metadata.write() as writer:
                self._keep_bytes(writer)

    def _keep_bytes(self, writer: Writer) -> None:
        booked = writer.revisions.newest()
        data = self._manifests.raw(booked.number) if booked is not None else None
        if booked is not None and data is not None and hash_bytes(data) == booked.hash:
            writer.checks.keep_newest_manifest(KeptManifest(booked.number, booked.hash, data))

    def _book(
        self,
        writer: Writer,
        manifest: Manifest,
        digest: str,
        base: Manifest | None,
        told: Telling,
        manifests: ManifestStore | None = None,
    ) -> None:
        """Index a published revision in a transaction; `manifests` are those that gave it and its base, if others."""
        number = revision_number(manifest.revision)
        booked = writer.revisions.get(number) is not None
        # Rows of a revision that is booked may have left by compaction: appended again, they would count as new.
        taken = [] if booked else self._append_archived(writer, manifest, told)
        if not booked:
            writer.events.add([self._published_event(manifest)])
        came, went = (manifests or self._manifests).parted(manifest, base)
        if base is not None and _follows(writer, manifest, base):
            blobs, left = blobs_moved(manifest, base, came, went)
        else:
            blobs, left = named_blobs(manifest, (page.hash for page in manifest.pages or ())), None
        writer.revisions.book(
            _row(manifest, digest),
            blobs=blobs,
            left=left,
            inputs=_changed(*parted(manifest.inputs, base.inputs if base else {})),
            artefacts=_changed(came, went),
            taken=taken,
        )
        _close_run(writer, manifest, elsewhere=self._apart)
        for intent in writer.revisions.intents():
            if intent.number <= number:
                writer.revisions.drop_intent(intent.run)

    def _book_expired(self, writer: Writer, stub: ManifestStub, told: Telling) -> None:
        """Index an expired revision: its place in the chain, and the edits that it took."""
        taken = self._append_archived(writer, stub, told)
        writer.revisions.book(_row(stub, stub.hash), blobs=(), inputs={}, artefacts={}, taken=taken)
        writer.revisions.expire(revision_number(stub.revision))
        _close_run(writer, stub, elsewhere=self._apart)

    def _append_archived(self, writer: Writer, published: Manifest | ManifestStub, told: Telling) -> list[str]:
        """See that the index has a run's archived events; gives the ids of the movie-wide edits that it took.

        Of a damaged archive it gets what can be read. Those edits were taken, too: pending again, the next run would
        publish old values over what came after them.
        """
        taken: list[str] = []
        if published.archive is None:
            return taken
        try:
            for events in groups(self._archives.read(published.run, published.archive.hash)):
                writer.events.add(events)
                told.add("events", len(events))
                told.blobs |= blobs_of(events) if self._apart else set()
                taken += [event.id for event in events if event.run is None]
        except DamageError:
            if isinstance(published, Manifest) or self._archives.exists(published.run):
                self.unreadable.add(published.archive.name)
            for events in self.readable(published.run):
                writer.events.add(events)
                taken += [event.id for event in events if event.run is None]
        return taken

    def readable(self, run: str) -> Iterator[list[Event]]:
        """The events of an archive, in groups, up to where it is damaged."""
        remaining, group = self._archives.read(run), list[Event]()
        try:
            for event in remaining:
                group.append(event)
                if len(group) == _GROUP:
                    yield group
                    group = []
        except DamageError:
            if self._archives.exists(run):
                self.unreadable.add(archive_path(run))
        if group:
            yield group

    def _published_event(self, manifest: Manifest) -> RunEvent:
        return RunEvent(
            id=self._new_id(),
            run=manifest.run,
            kind="published",
            data={"revision": manifest.revision},
            created_at=manifest.created_at,
        )

    def _end(self, writer: Writer, run: str) -> None:
        """Let a run be over, and its edits taken. It has no time of its end: what it left is never retired."""
        for events in self.readable(run):
            writer.revisions.take(event.id for event in events if event.run is None)
        if writer.runs.get(run) is not None:
            writer.runs.update(run, status="abandoned")


class Telling:
    """How much has been indexed by now, and whom to tell."""

    def __init__(self, tell: Tell | None) -> None:
        self._tell = tell
        self._counts: dict[str, int] = {}
        self.blobs: set[str] = set()
        """What the events named that one machine has of another's run."""

    def add(self, kind: str, count: int) -> None:
        """So many more of a kind."""
        self._counts[kind] = self._counts.get(kind, 0) + count
        if self._tell is not None:
            self._tell(kind, self._counts[kind])


def names_run(data: bytes, run: str) -> bool:
    """Whether the bytes of a manifest, damaged or not, name a run as the one that published it."""
    return f'"{archive_path(run)}"'.encode() in data or f'"run":"{run}"'.encode() in data


def sound(manifests: ManifestStore, number: int) -> tuple[Manifest | ManifestStub | None, str]:
    """What stands for a revision, and its hash; None where it is damaged, or where there is none."""
    if number:
        with suppress(DamageError, NotFoundError):
            return manifests.entry(number, manifests.expected(number))
    return None, ""


def _close_run(writer: Writer, published: Manifest | ManifestStub, *, elsewhere: bool) -> None:
    if writer.runs.get(published.run) is None:
        base, created = published.base_revision, published.created_at
        writer.runs.create(published.run, base_revision=base, edits_through=0, created_at=created, elsewhere=elsewhere)
    writer.runs.update(published.run, status="published", revision=published.revision, ended_at=published.created_at)


def _row(published: Manifest | ManifestStub, digest: str) -> RevisionRow:
    return RevisionRow(
        number=revision_number(published.revision),
        hash=digest,
        base_hash=published.base_hash,
        run=published.run,
        created_at=published.created_at,
        made=published.metrics.made,
        reused=published.metrics.reused,
        cost=published.metrics.cost,
        saved=published.metrics.saved or 0.0,
    )


def _follows(writer: Writer, manifest: Manifest, base: Manifest) -> bool:
    """Whether the index has the base of a revision as the newest: then its spans of blobs are those of the base."""
    newest = writer.revisions.newest()
    return newest is not None and newest.hash == manifest.base_hash and base.revision == manifest.base_revision


def _changed(
    came: Mapping[str, ManifestInput | ManifestArtefact], went: Mapping[str, ManifestInput | ManifestArtefact]
) -> dict[str, str | None]:
    """The ids whose hash is another than in the base, with the new hash; None for those that are no more."""
    changed: dict[str, str | None] = {key: None for key in went if key not in came}
    changed.update({key: now.hash for key, now in came.items() if key not in went or went[key].hash != now.hash})
    return changed


def groups(items: Iterable[T]) -> Iterator[list[T]]:
    """The items in lists, in order, of which one is held at a time."""
    remaining = iter(items)
    while group := list(islice(remaining, _GROUP)):
        yield group
