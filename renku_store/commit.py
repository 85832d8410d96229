"""How a revision is published: the write order lives here and nowhere else.

    blobs, events, archive, intent, manifest, pointer, bookkeeping

Keeps invariants 3 (an archive names durable events), 5 and 6 (create if absent, on the hash of the one before), 7
(pointer forward, repaired), 9 (every blob live and touched before the intent) and 11 (everything behind the manifest
can be repaired from the objects, and is, when the movie is opened for writing).
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Final

from renku_store import bounds
from renku_store.archives import ArchiveStore
from renku_store.blobs import BlobStore
from renku_store.clock import Clock, timestamp
from renku_store.drivers.base import Driver
from renku_store.errors import (
    BlobMissingError,
    DamageError,
    LeaseLostError,
    ManifestConflictError,
    RevisionExistsError,
)
from renku_store.events import EventLog
from renku_store.hashing import hash_bytes
from renku_store.indexing import Indexer, names_run
from renku_store.manifests import ManifestStore, encode_manifest, named_blobs
from renku_store.metadata.base import Intent, MetadataStore, Reader, Writer
from renku_store.records._base import Json
from renku_store.records.events import ArtefactEvent, RunEvent
from renku_store.records.ids import revision_name, revision_number
from renku_store.records.manifest import ArchiveRef, Manifest
from renku_store.records.run import LeaseToken

PUBLISH_LOCK: Final = "publish"
"""Shared by those who create a manifest, from the look at their intent on; held alone to withdraw an intent."""
_ALL: Final = 2**62


@dataclass(frozen=True, slots=True)
class PublishedRevision:
    """A revision that is published: its name, the hash of its manifest, and the run that published it."""

    revision: str
    hash: str
    run: str


class Committer:
    """Publishes revisions of one movie and finishes what a crash left."""

    def __init__(
        self,
        driver: Driver,
        metadata: MetadataStore,
        blobs: BlobStore,
        events: EventLog,
        manifests: ManifestStore,
        archives: ArchiveStore,
        clock: Clock,
    ) -> None:
        self._driver = driver
        self._metadata = metadata
        self._blobs = blobs
        self._events = events
        self._manifests = manifests
        self._archives = archives
        self._clock = clock
        self._index = Indexer(metadata, blobs, manifests, archives, events.new_id)

    def archive(self, run: str, edits_through: int, *, token: LeaseToken | None = None) -> ArchiveRef:
        """Archive a run: its own events, and the movie-wide edits up to `edits_through` that no revision has taken.

        Raises `LeaseLostError` if `token` is no longer the run's, `RevisionExistsError` for a run that has published:
        its archive is named by a manifest.
        """
        taken = [event for event in self._events.pending() if (event.seq or 0) <= edits_through]
        own = self._events.stream(run=run)
        data = self._archives.encode(run, (event for part in (taken, own) for event in part))
        self._withdraw(run, token)
        # Under the write lock, so that nobody takes the run over, and publishes, between the look and the replacing.
        with self._metadata.write() as transaction:
            self._check_run(transaction, run, token, None)
            self._check_unnamed(transaction, run)
            if _intent_of(run, transaction):
                raise LeaseLostError(f"The run {run} is being published.", hint="`renku-store status` shows by whom.")
            return self._archives.save(run, data)

    def _check_unnamed(self, transaction: Writer, run: str) -> None:
        """Refuse to replace an archive that a manifest names, be it damaged or of a revision that is not booked."""
        if not self._archives.exists(run):
            return
        booked = {row.number: row.run for row in transaction.revisions.list(limit=_ALL)}
        for number in range(1, self._manifests.newest() + 1):
            named = booked[number] == run if number in booked else names_run(self._manifests.raw(number) or b"", run)
            if named:
                raise _published_already(run, revision_name(number))

    def keep_late(self, events: Sequence[ArtefactEvent]) -> str:
        """Archive results that came after their run was another's, which may have archived it by then; gives the id.

        The archive is that of a run of its own, abandoned from the start, so that the results can be found again from
        the objects alone.
        """
        run, now = self._events.new_id(), timestamp(self._clock.now())
        late: list[Json] = [*sorted({event.run for event in events if event.run})]
        step = RunEvent(id=self._events.new_id(), run=run, kind="abandoned", data={"late": late}, created_at=now)
        with self._metadata.write() as transaction:
            transaction.runs.create(run, base_revision=None, edits_through=0, created_at=now)
            transaction.runs.update(run, status="abandoned", ended_at=now)
            transaction.events.append([step])
        self._archives.write(run, [*events, step])
        return run

    def _withdraw(self, run: str, token: LeaseToken | None) -> None:
        """Drop what a run had meant to publish: that names the archive which is about to be replaced.

        Whoever is about to create that manifest, and was held up, has done so before this looks, or sees that it is
        withdrawn.
        """
        with self._metadata.read() as reader:
            if _intent_of(run, reader) is None:
                return
        with (
            self._driver.lock(PUBLISH_LOCK, wait_seconds=bounds.BUSY_MAX_SECONDS),
            self._metadata.write() as transaction,
        ):
            self._check_run(transaction, run, token, None)
            intent = _intent_of(run, transaction)
            if intent is not None and self._manifests.raw(intent.number) == intent.manifest:
                raise _published_already(run, revision_name(intent.number))
            transaction.revisions.drop_intent(run)

    def publish(self, manifest: Manifest, *, token: LeaseToken | None = None) -> PublishedRevision:
        """Publish a manifest whose blobs and archive are durable, as the revision after its base.

        Raises `LeaseLostError` if `token` is no longer the run's, `RevisionExistsError` if the run has published
        another revision, `BlobMissingError` for a blob that is not there, and `ManifestConflictError` with both hashes
        if the revision exists with other bytes, the base is another one, or the archive is not the one that is named.
        """
        number = revision_number(manifest.revision)
        self._check_base(manifest, number)
        encoded = encode_manifest(manifest)
        self._blobs.put_many(list(encoded.pages.values()))
        with self._metadata.write() as transaction:
            self._check_run(transaction, manifest.run, token, manifest.revision)
            self._check_archive(manifest)
            self._blobs.revive(transaction, named_blobs(manifest, encoded.pages))
            intent = Intent(run=manifest.run, number=number, hash=encoded.hash, manifest=encoded.data)
            transaction.revisions.put_intent(intent)
        return self._carry_out(intent)

    def finish(self, run: str) -> PublishedRevision | None:
        """Publish exactly what a run had meant to publish when it died; None if it had not come that far."""
        with self._metadata.read() as reader:
            intent = _intent_of(run, reader)
        return self._carry_out(intent) if intent else None

    def repair(self) -> None:
        """Bring pointer and index up to the newest manifest, drop intents that have ended (invariants 7, 11)."""
        newest = self._manifests.newest()
        with self._metadata.read() as reader:
            intents = reader.revisions.intents()
        self._index.restore_lost(newest)
        self._index.catch_up(newest)
        self._index.keep_newest()
        self._point(newest)
        for intent in intents:
            if intent.number <= newest:
                self._drop_intent(intent.run)

    def _check_base(self, manifest: Manifest, number: int) -> None:
        base = self._manifests.raw(number - 1) if number > 1 else None
        actual = hash_bytes(base) if base is not None else None
        if actual != manifest.base_hash or (number > 1 and base is None):
            raise ManifestConflictError(
                f"{manifest.revision} was built on {manifest.base_hash}, but {revision_name(number - 1)} is {actual}.",
                expected=manifest.base_hash,
                actual=actual,
                hint="Plan again on the current revision.",
            )

    def _check_archive(self, manifest: Manifest) -> None:
        """Refuse to name an archive that is not there: from the intent on, no collection takes it away."""
        if manifest.archive is None:
            return
        actual = None
        with suppress(BlobMissingError):
            actual = self._archives.digest(manifest.run)
        if actual != manifest.archive.hash:
            raise ManifestConflictError(
                f"{manifest.archive.name} is {actual}, but {manifest.revision} names {manifest.archive.hash}.",
                expected=manifest.archive.hash,
                actual=actual,
                hint="Run again: it archives anew, and nothing is made twice.",
            )

    def _carry_out(self, intent: Intent) -> PublishedRevision:
        self._create(intent)
        self._advance(intent.number, intent.hash)
        # Whoever published the base may have died before it was booked.
        self._index.catch_up(intent.number - 1)
        self._index.book(*self._manifests.load(intent.number, intent.hash))
        return PublishedRevision(revision_name(intent.number), intent.hash, intent.run)

    def _create(self, intent: Intent) -> None:
        """The commit: create the manifest if it is absent, as long as it is meant."""
        with self._driver.lock(PUBLISH_LOCK, shared=True, wait_seconds=bounds.BUSY_MAX_SECONDS):
            with self._metadata.read() as reader:
                meant = _intent_of(intent.run, reader) == intent
            if meant and self._manifests.create(intent.number, intent.manifest):
                return
        present = self._manifests.raw(intent.number)
        if present == intent.manifest:
            return
        if present is None:
            raise LeaseLostError(
                f"What the run {intent.run} was about to publish was withdrawn.",
                hint="Somebody gave it up meanwhile: `renku-store status`. What it made stays reusable.",
            )
        self._drop_intent(intent.run)
        actual = hash_bytes(present)
        raise ManifestConflictError(
            f"{revision_name(intent.number)} was published by someone else as {actual}; ours is {intent.hash}.",
            expected=intent.hash,
            actual=actual,
            hint="Run again: it plans on the new revision, and nothing is made twice.",
        )

    def _point(self, number: int) -> None:
        """Let the pointer name the newest revision that is booked: then its bytes were seen to be right."""
        with self._metadata.read() as reader:
            row, newest = reader.revisions.get(number), reader.revisions.newest()
        if newest is not None and newest.number > number:
            return  # its manifest is lost: what the pointer says of it is right, and it never goes back
        data = self._manifests.raw(number) if row else None
        if row is not None and data is not None and hash_bytes(data) == row.hash:
            self._advance(number, row.hash)

    def _advance(self, number: int, digest: str) -> None:
        """Move the pointer on; a folder in its place keeps nobody from working, and is a problem of `fsck`."""
        with suppress(DamageError):
            self._manifests.advance(number, digest, timestamp(self._clock.now()))

    def _drop_intent(self, run: str) -> None:
        with self._metadata.write() as transaction:
            transaction.revisions.drop_intent(run)

    def _check_run(self, transaction: Writer, run: str, token: LeaseToken | None, revision: str | None) -> None:
        """Refuse a run that others hold by now, or that has published another revision than this."""
        if token is not None and not transaction.runs.holds(token):
            raise LeaseLostError(f"The run {token.run} was taken over.", hint="`renku-store status` shows by whom.")
        record = transaction.runs.get(run)
        if record is not None and record.revision is not None and record.revision != revision:
            raise _published_already(run, record.revision)


def _intent_of(run: str, reader: Reader) -> Intent | None:
    return next((intent for intent in reader.revisions.intents() if intent.run == run), None)


def _published_already(run: str, revision: str) -> RevisionExistsError:
    return RevisionExistsError(
        f"The run {run} has published {revision} already.", hint="What comes after it is another run's."
    )
