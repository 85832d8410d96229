"""One movie, opened: its stores side by side, and the service over its revisions."""

from __future__ import annotations

import difflib
import re
from collections.abc import Callable, Iterator
from typing import BinaryIO, Self

from msgspec import Struct

from renku_store.announcing import Announcer
from renku_store.archives import ArchiveStore
from renku_store.archiving import RunArchiver
from renku_store.blobs import BlobStore
from renku_store.clock import Clock, timestamp
from renku_store.commit import Committer, PublishedRevision
from renku_store.drivers.base import Driver
from renku_store.encoding import contradiction, stored_json
from renku_store.errors import (
    BlobMissingError,
    InvalidIdError,
    InvalidValueError,
    ManifestConflictError,
    NotFoundError,
    RevisionExistsError,
    StoreError,
)
from renku_store.events import EventLog
from renku_store.hashing import exact_numbers
from renku_store.leases import RunLeases
from renku_store.manifests import ManifestStore
from renku_store.metadata.base import MetadataStore
from renku_store.plans import PlanStore
from renku_store.projection import edits_reflected, fold_artefacts, fold_inputs, next_manifest
from renku_store.records._base import Json
from renku_store.records.blob import BlobRef
from renku_store.records.ids import check_id, revision_name, revision_number
from renku_store.records.manifest import (
    ArtefactValue,
    Expiry,
    Manifest,
    ManifestArtefact,
    ManifestInput,
    ManifestStub,
)
from renku_store.records.run import LeaseToken, RunRecord
from renku_store.tags import TagStore, check_tag_name

_SHORT_REVISION = re.compile(r"(?:rev-)?0*([1-9]\d{0,11})")


class ManifestService:
    """The revisions of a movie: load any, build the next, publish it."""

    def __init__(
        self,
        movie: str,
        metadata: MetadataStore,
        events: EventLog,
        manifests: ManifestStore,
        archiver: RunArchiver,
        committer: Committer,
        clock: Clock,
        tags: TagStore,
    ) -> None:
        self._movie = movie
        self._metadata = metadata
        self._events = events
        self._manifests = manifests
        self._archiver = archiver
        self._committer = committer
        self._clock = clock
        self._tags = tags

    def current(self) -> tuple[Manifest, str] | None:
        """The newest revision and its hash, or None before the first.

        Raises `BlobMissingError` where the manifest of a later one is known to have been there.
        """
        number = self._manifests.newest()
        self._check_none_lost(number)
        return self._load(number) if number else None

    def load_current(self) -> tuple[Manifest, str]:
        """The newest revision and the hash of its manifest; `NotFoundError` before the first."""
        current = self.current()
        if current is None:
            raise NotFoundError(f"The movie {self._movie} has no revision yet.", hint="`renku-store run` makes one.")
        return current

    def load(self, revision: str) -> Manifest:
        """A revision, by any name that `resolve` takes, verified; `NotFoundError` where it is none or has expired."""
        return self.load_with_hash(revision)[0]

    def load_with_hash(self, revision: str) -> tuple[Manifest, str]:
        """A revision and the hash of its manifest."""
        return self._load(revision_number(self.resolve(revision)))

    def entry(self, revision: str) -> tuple[Manifest | ManifestStub, str]:
        """A revision, or the stub of one that has expired, verified, and the hash of its manifest."""
        number = revision_number(self.resolve(revision))
        return self._manifests.entry(number, self._expected(number))

    def resolve(self, name: str) -> str:
        """The revision meant by `latest`, `rev-0003`, `rev-3`, `3` or a tag; `NotFoundError` if there is none.

        It may be in the trash, or expired for good.
        """
        number = self.number(name)
        if not self._manifests.exists(number):
            raise _missing(number)
        return revision_name(number)

    def number(self, name: str) -> int:
        """What `resolve` says, as a number, and without a look at its manifest: that may be missing."""
        newest = self._manifests.newest()
        if name == "latest":
            self._check_none_lost(newest)
            if not newest:
                self.load_current()
            return newest
        match = _SHORT_REVISION.fullmatch(name)
        number = self._tagged(name) if match is None else int(match[1])
        if number > newest:
            known = f"The newest is {revision_name(newest)}." if newest else "There is none yet: `renku-store run`."
            raise NotFoundError(f"The movie {self._movie} has no revision {revision_name(number)}.", hint=known)
        return number

    def _tagged(self, name: str) -> int:
        """The revision that a tag names; `InvalidIdError` where there is no such tag."""
        try:
            tag = self._tags.get(check_tag_name(name))
        except InvalidIdError:
            tag = None
        if tag is None:
            near = difflib.get_close_matches(name[:128], self._tags.names(), n=3, cutoff=0.5)
            hint = f"Did you mean the tag {' or '.join(near)}?" if near else "Use rev-0001 and so on, latest, or a tag."
            raise InvalidIdError(f"{name[:64]!a} is not a revision.", hint=hint)
        return revision_number(tag.revision)

    def revisions(self) -> Iterator[tuple[Manifest, str]]:
        """Every revision that has not expired, with its hash, newest first; each is verified against the one after."""
        for entry, digest in self.history():
            if isinstance(entry, Manifest):
                yield entry, digest

    def history(self) -> Iterator[tuple[Manifest | ManifestStub, str]]:
        """Every revision ever published, newest first, each verified against the one after it; stubs of expired ones.

        With each comes the hash of its manifest.
        """
        newest = number = self._manifests.newest()
        expected = self._expected(number) if number else None
        while number:
            if not self._manifests.exists(number):
                raise _missing(number)
            entry, digest = self._manifests.entry(number, expected)
            yield entry, digest
            number, expected = number - 1, entry.base_hash
        self._check_none_lost(newest)

    def expiry(self, revision: str) -> Expiry | None:
        """When and why a revision went to the trash, or None; it can be read until its manifest is a stub."""
        return self._manifests.expiry(revision_number(revision))

    def build_from_events(self, target_revision: str, *, run: str | None = None) -> Manifest:
        """Fold what happened since the base of `target_revision` over that base, without publishing it.

        These are the movie-wide edits and artefact events that no revision has taken, and the events of `run` if one
        is named: then only the edits that it had seen when it planned. Raises `NotFoundError` if the base does not
        exist, `RevisionExistsError` if the target already does.
        """
        number = revision_number(target_revision)
        if self._manifests.exists(number):
            raise RevisionExistsError(
                f"{target_revision} is published already.", hint="Build the one after the newest."
            )
        base, base_hash = self._load(number - 1) if number > 1 else (None, None)
        planned = self._record(run) if run else None
        pending = [e for e in self._events.pending() if planned is None or (e.seq or 0) <= planned.edits_through]
        own = list(self._events.stream(run=run)) if run else []
        events = [*pending, *own]
        return next_manifest(
            base,
            base_hash,
            movie=self._movie,
            revision=target_revision,
            run=run or self._events.new_id(),
            created_at=timestamp(self._clock.now()),
            graph=base.graph if base else None,
            timeline=base.timeline if base else None,
            inputs=fold_inputs(base.inputs if base else {}, (e for e in events if e.type == "input")),
            artefacts=fold_artefacts(base.artefacts if base else {}, (e for e in events if e.type == "artefact")),
        )

    def save_manifest(
        self, manifest: Manifest, *, previous_hash: str | None, token: LeaseToken | None = None
    ) -> PublishedRevision:
        """Publish a manifest as the revision after the one whose hash is `previous_hash` (None: as the first).

        Its events are archived first if it names no archive, and with them the pending edits that went into it; edits
        made since wait for the next one. Raises `ManifestConflictError` with both hashes if someone else published
        meanwhile, `LeaseLostError` if `token` is no longer its run's, `RevisionExistsError` if that run has published,
        `InvalidValueError` for a manifest that contradicts itself.
        """
        if manifest.base_hash != previous_hash:
            raise ManifestConflictError(
                f"{manifest.revision} names {manifest.base_hash} as its base, not {previous_hash}.",
                expected=previous_hash,
                actual=manifest.base_hash,
                hint="Build it on the current revision.",
            )
        self._check_sound(manifest, self._committer.base_of(manifest))
        if manifest.archive is None:
            archive = self._archiver.archive(manifest.run, self._edits_through(manifest), token=token)
            manifest = manifest.replace(archive=archive)
        return self._committer.publish(manifest, token=token)

    def _check_sound(self, manifest: Manifest, base: Manifest | None) -> None:
        """Refuse what could be published but not be read again; what its base holds has been looked at."""
        number = revision_number(manifest.revision)
        wrong = contradiction(manifest, base.artefacts if base else None)
        if manifest.movie != self._movie:
            wrong = "movie"
        elif manifest.base_revision != (revision_name(number - 1) if number > 1 else None):
            wrong = "baseRevision"
        if wrong is not None:
            raise InvalidValueError(
                f"The {wrong} of {manifest.revision} is not what it must be.",
                hint="Build it with `build_from_events` or `RunResult.build_manifest`.",
            )

    def _edits_through(self, manifest: Manifest) -> int:
        """The last movie-wide edit that a manifest took: as its run's plan says or, without a run, as it shows."""
        record = self._record(manifest.run)
        if record is not None:
            return record.edits_through
        return edits_reflected(self._events.pending(), manifest, self._events.stream(run=manifest.run))

    def _check_none_lost(self, newest: int) -> None:
        """Raise `BlobMissingError` if the index knows a later revision than the newest that has a manifest.

        Its number must never be given out again (invariant 5).
        """
        with self._metadata.read() as reader:
            booked = reader.revisions.newest()
        # It may have been published since we looked for the newest: only one that is not there now is lost.
        if booked is not None and booked.number > newest and not self._manifests.exists(booked.number):
            raise _missing(booked.number)

    def _record(self, run: str) -> RunRecord | None:
        with self._metadata.read() as reader:
            return reader.runs.get(run)

    def _load(self, number: int) -> tuple[Manifest, str]:
        return self._manifests.load(number, self._expected(number))

    def _expected(self, number: int) -> str | None:
        """What the hash of a manifest must be, from whoever knows: the index, the pointer, or the revision after it."""
        with self._metadata.read() as reader:
            row = reader.revisions.get(number)
        return self._manifests.expected(number) if row is None else row.hash


def _missing(number: int) -> BlobMissingError:
    return BlobMissingError(
        f"The manifest of {revision_name(number)} is missing.",
        hint="`renku-store fsck` says what brings it back; the other revisions can be read as before.",
    )


class Movie(Struct, frozen=True):
    """One movie, opened. `read_only` movies have neither a write side nor pending edits.

    `problem`: why the database of a movie that is examined cannot be read; an empty one stands in for it.
    """

    id: str
    root: str
    driver: Driver
    metadata: MetadataStore
    blobs: BlobStore
    events: EventLog
    manifests: ManifestService
    plans: PlanStore
    archives: ArchiveStore
    leases: RunLeases
    archiver: RunArchiver
    committer: Committer
    tags: TagStore
    announcer: Announcer
    clock: Clock
    read_only: bool
    closing: Callable[[], None]
    problem: StoreError | None = None

    def artefact(self, artefact_id: str, revision: str = "latest") -> ManifestArtefact:
        """An artefact as a revision holds it; `NotFoundError` with the nearest names where it does not.

        Raises `InvalidIdError` for what cannot be the id of an artefact.
        """
        check_id("artefact", artefact_id)
        manifest = self.manifests.load(revision)
        if artefact_id not in manifest.artefacts:
            near = difflib.get_close_matches(artefact_id, manifest.artefacts, n=3, cutoff=0.5)
            hint = (
                f"Did you mean {', '.join(near)}?" if near else f"`renku-store inspect {manifest.revision}` lists them."
            )
            raise NotFoundError(f"{manifest.revision} has no artefact {artefact_id}.", hint=hint)
        return manifest.artefacts[artefact_id]

    def read(self, artefact: ArtefactValue) -> bytes:
        """The exact bytes of an artefact, verified."""
        return artefact.inline.encode() if artefact.inline is not None else self.blobs.read(_ref(artefact))

    def open(self, artefact: ArtefactValue) -> BinaryIO:
        """A verified stream of an artefact that is a blob; use `read` for inline ones."""
        return self.blobs.open(_ref(artefact))

    def value(self, entry: ManifestInput) -> Json:
        """The JSON value of an input."""
        if entry.blob is None:
            return exact_numbers(entry.value)
        return stored_json(self.blobs.read(entry.blob), entry.blob)

    def close(self) -> None:
        """Let go of the movie; it cannot be used afterwards."""
        self.closing()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def _ref(artefact: ArtefactValue) -> BlobRef:
    """The blob of an artefact with the size that was promised: a frame that states another one is not unpacked."""
    return BlobRef(artefact.blob or artefact.hash, artefact.size)
