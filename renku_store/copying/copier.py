"""One movie copied, in the order of publishing: a kill anywhere leaves an older, whole movie in the target.

    format, then for each revision, oldest first:  blobs -> archive -> manifest
    then:  runs that have ended without one (blobs -> plan -> archive) -> tags -> marks -> pointer, index

Keeps invariants 5 (a manifest appears once all that it names is there), 6 (on the hash of the one before), 7 (the
pointer last, forward), 9 (`Committer.adopt`) and 11: what is there already is passed over, so repeating it goes on.
"""

from __future__ import annotations

from contextlib import suppress

from renku_store.archives import ArchiveStore, archive_path
from renku_store.blobs import BlobStore
from renku_store.copying.beside import copy_marks, copy_tags
from renku_store.copying.chain import Chain, check_prefix, expired_revisions
from renku_store.copying.reports import MovieCopy
from renku_store.copying.runs import RunArchive, read_archive, read_plan
from renku_store.copying.transfer import Tell, Transfer
from renku_store.drivers.base import Driver
from renku_store.encoding import manifest_path, named_blobs
from renku_store.errors import BlobMissingError, DamageError
from renku_store.manifests import ManifestStore
from renku_store.movie import Movie
from renku_store.plans import plan_path
from renku_store.records.ids import revision_name
from renku_store.records.manifest import Manifest, ManifestStub


class Copier:
    """Copies the movie at `source` to the one at `target`, opened as `into`; None: it only counts (`dry_run`)."""

    def __init__(self, source: Driver, target: Driver, into: Movie | None, copied: MovieCopy, tell: Tell) -> None:
        self._source = source
        self._target = target
        self._into = into
        self._copied = copied
        self._archives = ArchiveStore(source, copied.id)
        # Before the manifests: a run that publishes meanwhile has its archive in the next copy, too.
        self._found = self._archives.present()
        self._there = ArchiveStore(target, copied.id).present()
        self._chain = Chain(ManifestStore(source, BlobStore(source, None).read))
        self._newest = check_prefix(copied.id, self._chain, ManifestStore(target, BlobStore(target, None).read))
        self._transfer = Transfer(source, target, into, copied, tell)
        self._gone = expired_revisions(ManifestStore(target, BlobStore(target, None).read))
        self._published: set[str] = set()
        self._taken: list[str] = []
        self._is_expired = False

    def run(self) -> None:
        """Copy all that can be, the rest is reported. Raises `ManifestConflictError` if others publish there."""
        newest = self._copy_revisions()
        self._copy_runs()
        copy_tags(self._source, self._target, self._into, newest, self._copied, self._transfer)
        copy_marks(self._source, self._target, self._into, newest, self._copied)
        if self._into is not None:
            self._into.committer.repair()
            if not self._into.announcer.needed:
                self._into.committer.take_in(self._taken)
        self._copied.revision = revision_name(newest) if newest else None
        self._copied.uncopied = self._transfer.uncopied()

    # Revisions

    def _copy_revisions(self) -> int:
        """Copy every revision up to the first that cannot be; gives the newest that the target has then."""
        before: set[str] = set()
        number = 0
        while number < self._chain.newest:
            number += 1
            try:
                before = self._copy_revision(number, before)
            except DamageError as error:
                self._copied.problem = _stopped(self._copied.id, number, error)
                self._look_at_the_rest(number)
                return max(number - 1, self._newest)
            self._transfer.progress(number, self._chain.newest)
            if number == self._chain.newest and self._is_expired:
                # The newest never is: one that came since had let it go, and the copy must not end without it.
                self._chain = Chain(ManifestStore(self._source, BlobStore(self._source, None).read))
        return self._chain.newest

    def _copy_revision(self, number: int, before: set[str]) -> set[str]:
        """Copy what a revision needs, then its manifest; `before` is what the one before names. Gives what it names.

        Raises `DamageError` for one that the target lacks and cannot have; what an older one has lost is only noted.
        """
        try:
            entry, data = self._chain.entry(number)
        except DamageError as error:
            self._transfer.note_lost(manifest_path(revision_name(number)), error.message, number)
            if number > self._newest:
                raise
            self._copied.problem = self._copied.problem or error
            return set()
        self._published.add(entry.run)
        self._is_expired = False
        named = self._named(entry)
        if number in self._gone:
            return named  # the target has let it go: what only this one needs would be collected there again
        lost = self._transfer.fetch(named)
        if lost:
            entry, data = self._chain.entry(number)
            named = self._named(entry)
            if named:  # else it has expired meanwhile, and needs nothing any more
                self._note(lost, number)
        self._is_expired = isinstance(entry, ManifestStub)
        self._copy_archive_of(entry, number, named)
        if number > self._newest:
            self._publish(entry, data, named - before)
        return named

    @staticmethod
    def _named(entry: Manifest | ManifestStub) -> set[str]:
        if isinstance(entry, ManifestStub):
            return set()
        return named_blobs(entry, (page.hash for page in entry.pages or ()))

    def _note(self, lost: dict[str, DamageError], number: int) -> None:
        for digest, error in lost.items():
            self._transfer.note_lost(digest, error.message, number)
        first = lost[min(lost)]
        if number > self._newest:
            raise first
        self._copied.problem = self._copied.problem or first

    def _copy_archive_of(self, entry: Manifest | ManifestStub, number: int, named: set[str]) -> None:
        """Copy the archive of a revision, and what its events name: earlier takes may have gone by now."""
        if entry.archive is None or (number <= self._newest and entry.run in self._there):
            return
        try:
            archive = read_archive(self._source, self._archives, entry.run, entry.archive.hash)
        except DamageError as error:
            if isinstance(entry, ManifestStub) and isinstance(error, BlobMissingError):
                return
            self._transfer.note_lost(entry.archive.name, error.message, number)
            if isinstance(entry, Manifest) and number > self._newest:
                raise
            self._copied.problem = self._copied.problem or error
            return
        self._fetch_results(archive.blobs - named, needed=False)
        self._put_archive(archive)

    def _fetch_results(self, blobs: frozenset[str], *, needed: bool) -> None:
        """Copy blobs that events or a plan name; of runs that are over, some may have been collected."""
        lost = self._transfer.fetch(blobs)
        for digest, error in lost.items():
            if needed or not isinstance(error, BlobMissingError):
                self._transfer.note_lost(digest, error.message)
                self._copied.problem = self._copied.problem or error
        self._transfer.rest_on(blobs - lost.keys())

    def _put_archive(self, archive: RunArchive) -> bool:
        done = self._into is None or self._into.archiver.adopt(archive.run, archive.data, archive.events)
        self._copied.archives += done
        return done

    def _publish(self, entry: Manifest | ManifestStub, data: bytes, fresh: set[str]) -> None:
        if self._into is not None:
            try:
                self._into.committer.adopt(entry, data, fresh)
            except DamageError:
                self._transfer.fetch_again(fresh)
                self._into.committer.adopt(entry, data, fresh)
        self._copied.revisions += 1

    def _look_at_the_rest(self, first: int) -> None:
        """See which revisions need what is lost; their runs are nobody's in the target, and not copied."""
        for number in range(first, self._chain.newest_there + 1):
            with suppress(DamageError):
                entry, _ = self._chain.entry(number)
                self._published.add(entry.run)
                for digest in self._transfer.lost_of(self._named(entry)):
                    self._transfer.note_lost(digest, "", number)
        self._published |= self._chain.runs(first)

    # Runs that ended without a revision

    def _copy_runs(self) -> None:
        for run in sorted(self._found.keys() - self._published):
            try:
                self._copy_run(run)
            except DamageError as error:
                self._transfer.note_lost(archive_path(run), error.message)
                self._copied.problem = self._copied.problem or error

    def _copy_run(self, run: str) -> None:
        archive = read_archive(self._source, self._archives, run)
        there = self._there.get(run)
        if there is not None and there.size == len(archive.data):
            with suppress(BlobMissingError):
                if self._target.read(archive_path(run)) == archive.data:
                    if self._is_indexed(archive):
                        return
                    self._copied.notes.append(
                        f"The target has the archive of the run {run}, and knows the run from now on."
                    )
        self._fetch_results(archive.blobs, needed=not archive.over)
        plan = None if archive.over else read_plan(self._source, run)
        if plan is not None:
            self._fetch_results(plan.blobs, needed=True)
            if self._into is not None and not self._works_on(run):
                self._target.replace(plan_path(run), plan.data)
        if self._put_archive(archive):
            self._taken.append(run)
        else:
            self._copied.notes.append(f"The run {run} went on in the target: its archive there stays as it is.")

    def _is_indexed(self, archive: RunArchive) -> bool:
        """Whether the target's index has taken a run in whose archive is there; a copy may have died in between."""
        if self._into is None or self._into.announcer.needed:
            return True
        with self._into.metadata.read() as reader:
            record = reader.runs.get(archive.run)
            if record is None:
                return False
            if record.alive or record.status == "published" or reader.upkeep.compacted(archive.run):
                return True
            ended = record.status == "abandoned" or not archive.over
            return ended and not reader.checks.absent(archive.own)

    def _works_on(self, run: str) -> bool:
        """Whether the target knows the run: then its plan there is the one that counts."""
        assert self._into is not None
        with self._into.metadata.read() as reader:
            record = reader.runs.get(run)
        return record is not None and (record.alive or record.status == "published")


def _stopped(movie: str, number: int, error: DamageError) -> DamageError:
    """Why the copy of a movie ends before a revision."""
    again = type(error)(
        f"{revision_name(number)} of {movie} cannot be copied, nor what came after it: {error.message}",
        hint="What came before it is copied. `renku-store fsck` in the source says what helps; then copy again.",
    )
    again.__cause__ = error
    return again
