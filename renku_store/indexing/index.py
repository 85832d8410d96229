"""What the index says of published revisions and ended runs: all of it from the objects.

Keeps invariant 11: a revision whose publisher died before the bookkeeping, and a whole index that was lost, come back
by the very code that books a revision when it is published. Of invariant 8: rows are made of blobs seen just now.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import suppress
from itertools import islice
from typing import Final, TypeVar

from renku_store.archives import ArchiveStore, archive_path
from renku_store.blobs import BlobStore
from renku_store.errors import DamageError, NotFoundError
from renku_store.hashing import hash_bytes
from renku_store.indexing.elsewhere import Told, blobs_of, take_in, take_in_events, told_by
from renku_store.manifests import ManifestStore, named_blobs
from renku_store.metadata.base import MetadataStore, RevisionRow, Writer
from renku_store.metadata.derived import KeptManifest
from renku_store.records.events import Event, RunEvent
from renku_store.records.ids import revision_name, revision_number
from renku_store.records.manifest import Manifest, ManifestArtefact, ManifestInput, ManifestStub

T = TypeVar("T")

Tell = Callable[[str, int], None]
"""Called with a kind of thing (`blobs`, `events`, `revisions`) and how many of them have been indexed by now."""

_GROUP: Final = 1_000
"""Events or blobs that are held at a time."""
_ENDS: Final = frozenset({"failed", "interrupted", "abandoned", "unchanged"})
"""The last steps of runs that have come to an end without a revision, for now or for good."""


class Indexer:
    """Books revisions of one movie, and fills an empty index. `new_id` gives ids of events.

    `apart`: other machines have indexes of their own; then what this one does not know may be theirs.
    """

    def __init__(
        self,
        metadata: MetadataStore,
        blobs: BlobStore,
        manifests: ManifestStore,
        archives: ArchiveStore,
        new_id: Callable[[], str],
        *,
        apart: bool = False,
    ) -> None:
        self._metadata = metadata
        self._apart = apart
        self._blobs = blobs
        self._manifests = manifests
        self._archives = archives
        self._new_id = new_id
        self.unreadable: set[str] = set()
        """The archives (paths) of which something was wanted that could not be read."""

    # One revision

    def book(self, manifest: Manifest, digest: str) -> None:
        """Index a published revision, in a transaction; again is no harm."""
        base = self._base(manifest)
        told = _Told(None)
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

    def catch_up(self, newest: int) -> None:
        """Book, in rising order, every revision up to `newest` that comes after those in the index.

        A damaged one is left out: it harms neither the others nor the opening of the movie.
        """
        with self._metadata.read() as reader:
            booked = reader.revisions.newest()
        for number in range((booked.number if booked else 0) + 1, newest + 1):
            # Its creator may have died before its name was durable; a row would promise what a power cut can take back.
            self._manifests.settle(number)
            entry, digest = _sound(self._manifests, number)
            if isinstance(entry, Manifest):
                self.book(entry, digest)
            elif entry is not None:
                with self._metadata.write() as writer:
                    self._book_expired(writer, entry, _Told(None))
            else:
                self._end_named(number)

    def _book(self, writer: Writer, manifest: Manifest, digest: str, base: Manifest | None, told: _Told) -> None:
        number = revision_number(manifest.revision)
        booked = writer.revisions.get(number) is not None
        # Rows of a revision that is booked may have left by compaction: appended again, they would count as new.
        taken = [] if booked else self._append_archived(writer, manifest, told)
        if not booked:
            writer.events.append([self._published_event(manifest)])
        writer.revisions.book(
            _row(manifest, digest),
            blobs=named_blobs(manifest, (page.hash for page in manifest.pages or ())),
            inputs=_changed(base.inputs if base else {}, manifest.inputs),
            artefacts=_changed(base.artefacts if base else {}, manifest.artefacts),
            taken=taken,
        )
        _close_run(writer, manifest, elsewhere=self._apart)
        for intent in writer.revisions.intents():
            if intent.number <= number:
                writer.revisions.drop_intent(intent.run)

    def _book_expired(self, writer: Writer, stub: ManifestStub, told: _Told) -> None:
        """Index an expired revision: its place in the chain, and the edits that it took."""
        taken = self._append_archived(writer, stub, told)
        writer.revisions.book(_row(stub, stub.hash), blobs=(), inputs={}, artefacts={}, taken=taken)
        writer.revisions.expire(revision_number(stub.revision))
        _close_run(writer, stub, elsewhere=self._apart)

    def _base(self, manifest: Manifest) -> Manifest | None:
        """The revision before; None where there is none that can be read: then everything counts as changed."""
        number = revision_number(manifest.revision)
        with suppress(DamageError, NotFoundError):
            return self._manifests.load(number - 1, manifest.base_hash)[0] if number > 1 else None
        return None

    def _append_archived(self, writer: Writer, published: Manifest | ManifestStub, told: _Told) -> list[str]:
        """See that the index has a run's archived events; gives the ids of the movie-wide edits that it took.

        Of a damaged archive it gets what can be read. Those edits were taken, too: pending again, the next run would
        publish old values over what came after them.
        """
        taken: list[str] = []
        if published.archive is None:
            return taken
        try:
            for events in _groups(self._archives.read(published.run, published.archive.hash)):
                writer.events.append(events)
                told.add("events", len(events))
                told.blobs |= blobs_of(events) if self._apart else set()
                taken += [event.id for event in events if event.run is None]
        except DamageError:
            if isinstance(published, Manifest) or self._archives.exists(published.run):
                self.unreadable.add(published.archive.name)
            for events in self._readable(published.run):
                writer.events.append(events)
                taken += [event.id for event in events if event.run is None]
        return taken

    def _readable(self, run: str) -> Iterator[list[Event]]:
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

    # All of them

    def restore_lost(self, newest: int) -> None:
        """Fill the index if it has no revision although there is one, or an archive of a run that it does not know."""
        with self._metadata.read() as reader:
            booked = reader.revisions.newest()
        if booked is None and (newest or self._unknown_runs()):
            self.restore()

    def restore(self, tell: Tell | None = None) -> None:
        """Fill an index that has no revision, all or nothing: every blob, every archived event, every revision.

        They come back in the order of what happened: revisions in that of their chain, each with what it took, and
        between them the runs that ended without one, by the time of their end. A damaged revision is left out, and so
        is what cannot be read of a damaged archive: what is left is better than a movie that cannot be opened.
        """
        told = _Told(tell)
        manifests = self._manifests.remembering()
        newest = manifests.newest()
        archives = self._archives.present() if self._apart else {}
        unpublished = self._unknown_runs()
        if newest:
            self._manifests.settle(newest)
        with self._metadata.write() as writer:
            for rows in _groups(self._blobs.present()):
                writer.blobs.make_live(rows)
                told.add("blobs", len(rows))
            before: Manifest | None = None
            unreadable, left = list[int](), list[Told]()
            for number, run in self._in_order(newest, unpublished):
                entry, digest = _sound(manifests, number)
                if isinstance(entry, Manifest):
                    # Look-ups by revision go back to the last one that says something, be it the base or not.
                    self._book(writer, entry, digest, before, told)
                    before = entry
                elif entry is not None:
                    self._book_expired(writer, entry, told)
                elif run in unpublished:
                    left.append(self._restore_run(writer, run, told))
                    if run in archives:
                        writer.runs.saw_archive(run, archives[run].size, archives[run].modified)
                if number and entry is None:
                    unreadable.append(number)
                told.add("revisions", 0 if entry is None else 1)
            self._end_unreadable(writer, unreadable, left)
            self._keep_bytes(writer)

    def _unknown_runs(self) -> set[str]:
        """The runs that have an archive and no row."""
        with self._metadata.read() as reader:
            known = {record.run for record in reader.runs.list()}
        return {run for run in self._archives.runs() if run not in known}

    def _in_order(self, newest: int, unpublished: set[str]) -> Iterator[tuple[int, str]]:
        """Number and run of every revision, and 0 and run of each other archive, in the order of their ends."""
        chain: list[tuple[str, int, str]] = []
        for number in range(1, newest + 1):
            said = self._manifests.glance(number)
            # The chain counts more than the clocks of those who published.
            when = max(str(said.get("createdAt", "")), chain[-1][0] if chain else "")
            chain.append((when, number, str(said.get("run", ""))))
        others = unpublished - {run for _, _, run in chain}
        return ((number, run) for _, number, run in heapq.merge(chain, sorted((self._ended(r), 0, r) for r in others)))

    def _ended(self, run: str) -> str:
        """When the last event of a run happened, as far as its archive can be read."""
        last = ""
        for events in self._readable(run):
            last = max([event.created_at for event in events if event.run is not None], default=last)
        return last

    def _restore_run(self, writer: Writer, run: str, told: _Told) -> Told:
        """The events of a run that is not published, and its row, as they tell it."""
        steps: list[RunEvent] = []
        for events in self._readable(run):
            writer.events.append(events)
            told.add("events", len(events))
            steps += [event for event in events if isinstance(event, RunEvent)]
        left = told_by(run, steps)
        if writer.runs.get(run) is None:
            left.note(writer, elsewhere=self._apart)
        return left

    def catch_up_elsewhere(self) -> None:
        """Take in what other machines have done since: runs that ended without a revision, revisions that expired."""
        take_in(self._metadata, self._blobs, self._archives, self._readable, self._new_id)
        marked = list(self._manifests.marked())
        with self._metadata.read() as reader:
            rows = [row for number in marked if (row := reader.revisions.get(number)) and not row.expired]
        gone = [row.number for row in rows if self._manifests.glance(row.number).get("expired") is True]
        if gone:
            with self._metadata.write() as writer:
                for number in gone:
                    writer.revisions.expire(number)

    def take_in_runs(self, runs: Iterable[str]) -> None:
        """Take in the archives of runs that came from another root, unless they have published by now."""
        for run in runs:
            told = take_in_events(self._metadata, self._blobs, run, self._readable, self._new_id)
            with self._metadata.write() as writer:
                told.note(writer, elsewhere=self._apart)

    def _end_unreadable(self, writer: Writer, numbers: Iterable[int], left: Iterable[Told]) -> None:
        """End the runs whose revisions cannot be read: resumed, they would publish old values, and their archive again.

        Those are the runs that what is left of the manifests names, else all that may have published in their place.
        """
        for number in numbers:
            data = self._manifests.raw(number) or b""
            named = [one.run for one in left if names_run(data, one.run)]
            for run in named or [one.run for one in left if _may_have_published(one, number)]:
                self._end(writer, run)

    def _end_named(self, number: int) -> None:
        """End the unfinished run that an unreadable manifest names: its publisher died before it was booked."""
        data = self._manifests.raw(number) or b""
        with self._metadata.read() as reader:
            named = [record.run for record in reader.runs.list(unfinished=True) if names_run(data, record.run)]
        if named:
            with self._metadata.write() as writer:
                for run in named:
                    self._end(writer, run)

    def _end(self, writer: Writer, run: str) -> None:
        """Let a run be over, and its edits taken. It has no time of its end: what it left is never retired."""
        for events in self._readable(run):
            writer.revisions.take(event.id for event in events if event.run is None)
        if writer.runs.get(run) is not None:
            writer.runs.update(run, status="abandoned")


def _may_have_published(left: Told, number: int) -> bool:
    """Whether the archive can be that of a revision: made on the one before, and with no other end."""
    base = revision_name(number - 1) if number > 1 else None
    return left.last is None or (left.last not in _ENDS and left.base_revision == base)


class _Told:
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


def _sound(manifests: ManifestStore, number: int) -> tuple[Manifest | ManifestStub | None, str]:
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


def _changed(
    base: Mapping[str, ManifestInput | ManifestArtefact], present: Mapping[str, ManifestInput | ManifestArtefact]
) -> dict[str, str | None]:
    """The ids whose hash is another than in the base, with the new hash; None for those that are no more."""
    changed: dict[str, str | None] = dict.fromkeys(base.keys() - present.keys())
    changed.update(
        {key: value.hash for key, value in present.items() if key not in base or base[key].hash != value.hash}
    )
    return changed


def _groups(items: Iterable[T]) -> Iterator[list[T]]:
    """The items in lists, in order, of which one is held at a time."""
    remaining = iter(items)
    while group := list(islice(remaining, _GROUP)):
        yield group
