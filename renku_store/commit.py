"""How a revision is published: the write order lives here and nowhere else.

    blobs, events, archive, intent, manifest, pointer, bookkeeping

Keeps invariants 3 (an archive names durable events), 5 and 6 (create if absent, on the hash of the one before), 7
(pointer forward, repaired), 9 (every blob live and touched before the intent) and 11 (everything behind the manifest
can be repaired from the objects, and is, when the movie is opened for writing).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass

from renku_store.archives import ArchiveStore
from renku_store.blobs import BlobStore
from renku_store.clock import Clock, timestamp
from renku_store.errors import DamageError, LeaseLostError, ManifestConflictError
from renku_store.events import EventLog
from renku_store.hashing import hash_bytes
from renku_store.manifests import ManifestStore, encode_manifest, named_blobs
from renku_store.metadata.base import Intent, MetadataStore, RevisionRow, Writer
from renku_store.records.events import Event, RunEvent, RunEventKind
from renku_store.records.ids import revision_name, revision_number
from renku_store.records.manifest import ArchiveRef, Manifest
from renku_store.records.run import LeaseToken


@dataclass(frozen=True, slots=True)
class PublishedRevision:
    """A revision that is published: its name and the hash of its manifest."""

    revision: str
    hash: str


class Committer:
    """Publishes revisions of one movie and finishes what a crash left."""

    def __init__(
        self,
        metadata: MetadataStore,
        blobs: BlobStore,
        events: EventLog,
        manifests: ManifestStore,
        archives: ArchiveStore,
        clock: Clock,
    ) -> None:
        self._metadata = metadata
        self._blobs = blobs
        self._events = events
        self._manifests = manifests
        self._archives = archives
        self._clock = clock

    def archive(self, run: str, edits_through: int) -> ArchiveRef:
        """Archive a run: its own events, and the movie-wide edits up to `edits_through` that no revision has taken."""
        taken = [event for event in self._pending() if (event.seq or 0) <= edits_through]
        own = self._events.stream(run=run)
        return self._archives.write(run, (event for part in (taken, own) for event in part))

    def publish(self, manifest: Manifest, *, token: LeaseToken | None = None) -> PublishedRevision:
        """Publish a manifest whose blobs and archive are durable, as the revision after its base.

        Raises `LeaseLostError` if `token` is no longer the run's, `BlobMissingError` for a blob that is not there, and
        `ManifestConflictError` with both hashes if the revision exists with other bytes or the base is another one.
        """
        number = revision_number(manifest.revision)
        self._check_base(manifest, number)
        encoded = encode_manifest(manifest)
        self._blobs.put_many(list(encoded.pages.values()))
        with self._metadata.write() as transaction:
            if token is not None and not transaction.runs.holds(token):
                raise LeaseLostError(f"The run {token.run} was taken over.", hint="`renku-store status` shows by whom.")
            self._blobs.revive(transaction, named_blobs(manifest, encoded.pages))
            intent = Intent(run=manifest.run, number=number, hash=encoded.hash, manifest=encoded.data)
            transaction.revisions.put_intent(intent)
        return self._carry_out(intent)

    def finish(self, run: str) -> PublishedRevision | None:
        """Publish exactly what a run had meant to publish when it died; None if it had not come that far."""
        with self._metadata.read() as reader:
            intent = next((intent for intent in reader.revisions.intents() if intent.run == run), None)
        return self._carry_out(intent) if intent else None

    def repair(self) -> None:
        """Bring pointer and index up to the newest manifest, drop intents that have ended (invariants 7, 11)."""
        newest = self._manifests.newest()
        with self._metadata.read() as reader:
            booked = reader.revisions.newest()
            intents = reader.revisions.intents()
        if booked is None:
            self._restore()
        for number in range((booked.number if booked else 0) + 1, newest + 1):
            self._book(*self._manifests.load(number, None))
        if newest:
            self._point(newest)
        for intent in intents:
            if intent.number <= newest:
                self._drop_intent(intent.run)

    def _restore(self) -> None:
        """Fill an empty index with every blob there is and every archived event; booking then says what is published."""
        runs = self._archives.runs()
        if not runs:
            return
        digests = list(self._blobs.digests())
        with self._metadata.write() as transaction:
            for digest in digests:
                with suppress(DamageError):  # a missing row promises nothing (invariant 8)
                    self._blobs.revive(transaction, [digest])
            for run in runs:
                events = list(self._archives.read(run))
                transaction.events.append(events)
                self._restore_run(transaction, run, [event for event in events if isinstance(event, RunEvent)])

    def _restore_run(self, transaction: Writer, run: str, steps: list[RunEvent]) -> None:
        """The row of a run, as its own events tell; a later booking says `published`."""
        if transaction.runs.get(run) is not None or not steps:
            return
        base = steps[-1].data.get("base")
        ended = steps[-1].kind in {"abandoned", "unchanged"}
        transaction.runs.create(
            run, base_revision=base if isinstance(base, str) else None, edits_through=0, created_at=steps[0].created_at
        )
        transaction.runs.update(
            run, status="abandoned" if ended else "failed", ended_at=steps[-1].created_at if ended else None
        )

    def _check_base(self, manifest: Manifest, number: int) -> None:
        base = self._manifests.raw(number - 1) if number > 1 else None
        actual = hash_bytes(base) if base is not None else None
        if actual != manifest.base_hash:
            raise ManifestConflictError(
                f"{manifest.revision} was built on {manifest.base_hash}, but {revision_name(number - 1)} is {actual}.",
                expected=manifest.base_hash,
                actual=actual,
                hint="Plan again on the current revision.",
            )

    def _carry_out(self, intent: Intent) -> PublishedRevision:
        revision = revision_name(intent.number)
        if not self._manifests.create(intent.number, intent.manifest):
            present = self._manifests.raw(intent.number) or b""
            if present != intent.manifest:
                self._drop_intent(intent.run)
                actual = hash_bytes(present)
                raise ManifestConflictError(
                    f"{revision} was published by someone else as {actual}; ours is {intent.hash}.",
                    expected=intent.hash,
                    actual=actual,
                    hint="Run again: it plans on the new revision, and nothing is made twice.",
                )
        self._manifests.advance(intent.number, intent.hash, timestamp(self._clock.now()))
        self._book(*self._manifests.load(intent.number, intent.hash))
        return PublishedRevision(revision, intent.hash)

    def _point(self, number: int) -> None:
        data = self._manifests.raw(number)
        if data is not None:
            self._manifests.advance(number, hash_bytes(data), timestamp(self._clock.now()))

    def _drop_intent(self, run: str) -> None:
        with self._metadata.write() as transaction:
            transaction.revisions.drop_intent(run)

    def _book(self, manifest: Manifest, digest: str) -> None:
        """Index a published revision; everything comes from the objects, so that a repair does the very same."""
        number = revision_number(manifest.revision)
        base = self._manifests.load(number - 1, manifest.base_hash)[0] if number > 1 else None
        events = list(self._archives.read(manifest.run, manifest.archive.hash)) if manifest.archive else []
        row = RevisionRow(
            number=number,
            hash=digest,
            base_hash=manifest.base_hash,
            run=manifest.run,
            created_at=manifest.created_at,
            made=manifest.metrics.made,
            reused=manifest.metrics.reused,
            cost=manifest.metrics.cost,
        )
        encoded = encode_manifest(manifest)
        with self._metadata.write() as transaction:
            transaction.events.append(events)
            if transaction.runs.get(manifest.run) is None:
                transaction.runs.create(
                    manifest.run, base_revision=manifest.base_revision, edits_through=0, created_at=manifest.created_at
                )
            if transaction.revisions.get(number) is None:
                transaction.events.append([self._run_event(manifest.run, "published", {"revision": manifest.revision})])
            transaction.revisions.book(
                row,
                blobs=named_blobs(manifest, encoded.pages),
                inputs=_changed(base.inputs if base else {}, manifest.inputs),
                artefacts=_changed(base.artefacts if base else {}, manifest.artefacts),
                taken=[event.id for event in events if event.run is None],
            )
            transaction.runs.update(
                manifest.run, status="published", revision=manifest.revision, ended_at=manifest.created_at
            )
            transaction.revisions.drop_intent(manifest.run)

    def _run_event(self, run: str, kind: RunEventKind, data: dict[str, str]) -> RunEvent:
        now = timestamp(self._clock.now())
        return RunEvent(id=self._events.new_id(), run=run, kind=kind, data=dict(data), created_at=now)

    def _pending(self) -> list[Event]:
        with self._metadata.read() as reader:
            return [*reader.events.pending_inputs(), *reader.events.pending_artefacts()]


def _changed(base: Mapping[str, object], present: Mapping[str, object]) -> dict[str, str]:
    """The ids whose hash is another than in the base, with the new hash."""
    before = {key: getattr(value, "hash", None) for key, value in base.items()}
    after: Iterable[tuple[str, str]] = ((key, getattr(value, "hash", "")) for key, value in present.items())
    return {key: digest for key, digest in after if before.get(key) != digest}
