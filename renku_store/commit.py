"""How a revision is published: the write order lives here and nowhere else.

    blobs, events, archive, intent, manifest, pointer, bookkeeping

Where each machine has an index of its own, others hear of it before the intent: what the manifest needs is announced,
and sweeps that may not have heard are waited for; then each blob is seen, and from then on nobody removes one.

Keeps invariants 3 (an archive names durable events), 5 and 6 (create if absent, on the hash of the one before), 7
(pointer forward; repaired on open, whatever kept it from being moved behind the manifest), 9 (every blob that becomes
reachable is live and touched before the intent) and 11 (everything behind the manifest can be repaired from the
objects, and is, when the movie is opened for writing; so no failure behind it says that nothing was published).

Of invariant 5, under the write lock of an index that all share: what the newest revision names is reachable already,
and a root of every collection as long as that one is the newest, or the intent stands. So of those blobs only the rows
are asked whether they are live, and objects are looked at that are new, or whose row is not. Should another revision
come before ours, ours is never created. Where there is any doubt about the base, every object is looked at (ADR 0038).
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from contextlib import nullcontext, suppress
from typing import TYPE_CHECKING, TypeVar

from msgspec import Struct

from renku_store import bounds
from renku_store.announcing import Announcer
from renku_store.archives import ArchiveStore
from renku_store.archiving import PUBLISH_LOCK, check_run, intent_of
from renku_store.blobs import BlobStore
from renku_store.clock import Clock, timestamp
from renku_store.drivers.base import Driver
from renku_store.encoding import EncodedManifest, PageCuts, check_encoded, encode_manifest, named_blobs, newly_named
from renku_store.errors import (
    BlobCorruptError,
    BlobMissingError,
    DamageError,
    LeaseLostError,
    ManifestConflictError,
    RevisionExistsError,
    StoreError,
    StoreUnavailableError,
    UnsafeDriverError,
)
from renku_store.events import EventLog
from renku_store.hashing import hash_bytes
from renku_store.indexing import Indexer
from renku_store.late import late_module
from renku_store.manifests import ManifestStore
from renku_store.metadata.base import Intent, MetadataStore, Reader
from renku_store.records.ids import revision_name, revision_number
from renku_store.records.manifest import Manifest, ManifestStub
from renku_store.records.run import LeaseToken

if TYPE_CHECKING:
    import logging
else:
    logging = late_module("logging")

T = TypeVar("T")


class PublishedRevision(Struct, frozen=True):
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
        announcer: Announcer,
    ) -> None:
        self._driver = driver
        self._metadata = metadata
        self._blobs = blobs
        self._events = events
        self._manifests = manifests
        self._archives = archives
        self._clock = clock
        self._announcer = announcer
        self._cuts = PageCuts()
        self._index = Indexer(driver, metadata, blobs, manifests, archives, events.new_id, apart=announcer.needed)

    def base_of(self, manifest: Manifest) -> Manifest | None:
        """The revision before, where an index that all share can tell what that holds; else None."""
        return None if self._announcer.needed else self._manifests.base_of(manifest)

    def publish(self, manifest: Manifest, *, token: LeaseToken | None = None) -> PublishedRevision:
        """Publish a manifest whose blobs and archive are durable, as the revision after its base.

        Raises `LeaseLostError` if `token` is no longer the run's, `RevisionExistsError` if the run has published
        another revision, `BlobMissingError` for a blob that is not there, and `ManifestConflictError` with both hashes
        if the revision exists with other bytes, the base is another one, or the archive is not the one that is named.
        """
        self._check_base(manifest, revision_number(manifest.revision))
        try:
            return self._carry_out(self._meant(manifest, token))
        except (BlobMissingError, ManifestConflictError, RevisionExistsError):
            if token is None:  # nobody goes on with it
                self._announcer.withdraw([manifest.run])
            raise

    def _meant(self, manifest: Manifest, token: LeaseToken | None) -> Intent:
        """`_intent`, on what the base holds; where some of that is gone, with everything made and looked at anew."""
        base = self.base_of(manifest)
        if base is not None:
            encoded = encode_manifest(manifest, self._manifests.pages_of(base), self._cuts)
            with suppress(BlobMissingError, BlobCorruptError):
                return self._intent(manifest, encoded, token, base)
        return self._intent(manifest, encode_manifest(manifest), token, None)

    def _intent(
        self, manifest: Manifest, encoded: EncodedManifest, token: LeaseToken | None, base: Manifest | None
    ) -> Intent:
        """Record what is about to be published, once all that it needs is there, and stays."""
        check_encoded(manifest.revision, encoded)
        named = named_blobs(manifest, encoded.page_hashes) if self._announcer.needed else set[str]()
        self._announce(manifest.run, named)
        self._blobs.put_many(list(encoded.pages.values()))
        return self._with_blobs(named, lambda: self._record(manifest, encoded, token, base, named))

    def _with_blobs(self, named: Collection[str], action: Callable[[], T]) -> T:
        """Do what needs blobs; again, where another machine had collected some that this one could put once more."""
        try:
            return action()
        except BlobMissingError:
            if not self._blobs.put_again(named):
                raise
            return action()

    def _record(
        self,
        manifest: Manifest,
        encoded: EncodedManifest,
        token: LeaseToken | None,
        base: Manifest | None,
        named: Collection[str],
    ) -> Intent:
        """Record what is about to be published, with every blob seen that may not be there, in the same transaction."""
        seen = self._blobs.look(named)
        with self._metadata.write() as transaction:
            check_run(transaction, manifest.run, token, manifest.revision)
            self._check_archive(manifest)
            to_see = _to_see(transaction, manifest, encoded.page_hashes, base)
            # The base's pages, too: they are few, and a revision without one of them is lost as a whole.
            self._blobs.revive(
                transaction, to_see, seen, kept=[page for page in encoded.page_hashes if page not in to_see]
            )
            number = revision_number(manifest.revision)
            intent = Intent(run=manifest.run, number=number, hash=encoded.hash, manifest=encoded.data)
            transaction.revisions.put_intent(intent)
        return intent

    def adopt(self, published: Manifest | ManifestStub, data: bytes, fresh: Collection[str]) -> None:
        """Let what another root has published be the next revision here, byte for byte; the index is left to `repair`.

        Its archive is there, unless it is the stub of an expired one. `fresh` are those of its blobs that the revision
        before does not name: what that one needs stays until this one is there. Raises what `publish` raises.
        """
        number, run = revision_number(published.revision), published.run
        intent = Intent(run=run, number=number, hash=hash_bytes(data), manifest=data)
        self._check_base(published, number)
        if isinstance(published, ManifestStub):
            if not self._manifests.create(number, data):  # it needs nothing, so that no intent has to tell of it
                self._check_ours(intent, self._manifests.raw(number) or b"")
            return
        try:
            self._announce(run, fresh)
            seen = self._blobs.look(fresh)
            with self._metadata.write() as transaction:
                self._check_archive(published)
                self._blobs.revive(transaction, fresh, seen)
                transaction.revisions.put_intent(intent)
        except StoreError:
            self._take_back(run)
            raise
        try:
            self._create(intent)
        except (ManifestConflictError, LeaseLostError):  # where the storage gave no answer, it may yet be created
            self._take_back(run)
            raise
        self._announcer.withdraw([run])
        self._drop_intent(run)

    def _take_back(self, run: str) -> None:
        """Withdraw what was announced and came to nothing, as far as it can be: what stays ends by its age."""
        with suppress(StoreError):
            self._announcer.withdraw([run])

    def finish(self, run: str) -> PublishedRevision | None:
        """Publish exactly what a run had meant to publish when it died; None if it had not come that far.

        None, too, where it has been dead for so long that another machine has removed what it needs.
        """
        with self._metadata.read() as reader:
            intent = intent_of(run, reader)
        return self._carry_out(intent) if intent and self._still_there(intent) else None

    def _announce(self, run: str, blobs: Collection[str]) -> None:
        """Tell other machines what is about to be published; on return no sweep goes on that has not heard of it."""
        self._announcer.announce(run, blobs)
        self._announcer.wait_for_sweeps(blobs)

    def _still_there(self, intent: Intent) -> bool:
        """Whether the blobs of a manifest that is not published are there, and stay; else the intent is dropped."""
        if not self._announcer.needed or self._manifests.exists(intent.number):
            return True
        try:
            manifest = self._manifests.decode(revision_name(intent.number), intent.manifest)
            named = named_blobs(manifest, (page.hash for page in manifest.pages or ()))
            self._announce(intent.run, named)
            self._check_archive(manifest)
            self._with_blobs(named, lambda: self._revive(named))
        except (DamageError, ManifestConflictError):
            self._drop_intent(intent.run)
            return False
        return True

    def _revive(self, named: Collection[str]) -> None:
        seen = self._blobs.look(named)
        with self._metadata.write() as transaction:
            self._blobs.revive(transaction, named, seen)

    def repair(self, *, lenient: bool = False) -> None:
        """Bring pointer and index up to the newest manifest, drop intents that have ended (invariants 7, 11).

        `lenient`: a pointer that cannot be written is left to whoever can, as with credentials that may only read:
        nobody needs it who finds the newest manifest by its number. Where each machine has an index of its own, it also
        takes in what others have done since, published or not.
        """
        newest = self._manifests.newest()
        with self._metadata.read() as reader:
            intents = reader.revisions.intents()
        self._index.restore_lost(newest)
        self._index.catch_up(newest)
        self._index.keep_newest()
        with suppress(StoreUnavailableError, UnsafeDriverError) if lenient else nullcontext():
            self._point(newest)
        for intent in intents:
            if intent.number <= newest:
                self._drop_intent(intent.run)
        if self._announcer.needed:
            self._index.catch_up_elsewhere()
            self._tidy()

    def take_in(self, runs: Collection[str]) -> None:
        """Let the index have the archives of runs that were copied here from another root, and have not published."""
        self._index.take_in_runs(runs)

    def catch_up(self) -> None:
        """`repair` where other machines may have published since; nothing where all share an index."""
        if self._announcer.needed:
            self.repair(lenient=True)

    def withdraw(self, run: str) -> None:
        """Tell other machines that a run has come to its end, and is archived."""
        self._announcer.withdraw([run])

    def _tidy(self) -> None:
        """Withdraw what has ended, as far as it can be: nobody is kept from reading who may not write, or from working.

        Whoever opens the movie next tries again.
        """
        with suppress(StoreUnavailableError, UnsafeDriverError):
            self._withdraw_ended()

    def _withdraw_ended(self) -> None:
        """Take back the intents of runs that have published, and of edits that a revision has taken; renew others."""
        ids = self._announcer.ids()
        self._events.announce_again(ids)
        if not ids:
            return
        with self._metadata.read() as reader:
            known = reader.checks.events_by_id(ids).keys()
            published = {one for one in ids if (record := reader.runs.get(one)) and record.status == "published"}
        # After what is known: an edit that is appended meanwhile is not taken for one that a revision took.
        pending = {event.id for event in self._events.pending()}
        self._announcer.withdraw((known - pending) | published)

    def _check_base(self, manifest: Manifest | ManifestStub, number: int) -> None:
        base = self._manifests.link(number - 1) if number > 1 else None
        actual = base[0] if base is not None else None
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
        """Commit, and do what comes behind; where that cannot be done now, whoever opens the movie next does it.

        An error there would say of a revision that it was not published, and be answered by publishing it again.
        """
        self._create(intent)
        published = PublishedRevision(revision_name(intent.number), intent.hash, intent.run)
        try:
            self._advance(intent.number, intent.hash)
            # Whoever published the base may have died before it was booked.
            self._index.catch_up(intent.number - 1)
            self._index.book(*self._manifests.load(intent.number, intent.hash))
        except StoreUnavailableError as error:
            logging.getLogger("renku_store").warning(
                "%s is published; current.json, or the index, follows when the movie is opened again: %s",
                published.revision,
                error,
            )
        else:
            self._tidy()
        return published

    def _create(self, intent: Intent) -> None:
        """The commit: create the manifest if it is absent, as long as it is meant."""
        with self._driver.lock(PUBLISH_LOCK, shared=True, wait_seconds=bounds.BUSY_MAX_SECONDS):
            with self._metadata.read() as reader:
                meant = intent_of(intent.run, reader) == intent
            self._announcer.check_said(intent.run)
            if meant and self._manifests.create(intent.number, intent.manifest):
                return
        present = self._manifests.raw(intent.number)
        if present is None:
            raise LeaseLostError(
                f"What the run {intent.run} was about to publish was withdrawn.",
                hint="Somebody gave it up meanwhile: `renku-store status`. What it made stays reusable.",
            )
        self._check_ours(intent, present)

    def _check_ours(self, intent: Intent, present: bytes) -> None:
        if present != intent.manifest:
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


def _to_see(reader: Reader, manifest: Manifest, pages: Collection[str], base: Manifest | None) -> set[str]:
    """The blobs of a manifest whose objects have to be looked at before it is meant; see the head of this module."""
    newest = reader.revisions.newest()
    if base is None or newest is None or newest.expired or newest.hash != manifest.base_hash:
        return named_blobs(manifest, pages)
    fresh, doubtful = newly_named(manifest, pages, base), reader.revisions.doubtful()
    return fresh | (named_blobs(manifest, pages).intersection(doubtful) if doubtful else set())
