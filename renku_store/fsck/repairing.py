"""Mending what a check found, as far as objects, index and a copy allow; what was wrong goes to quarantine.

Keeps invariants 5 (a manifest's name is never free), 8 and 9 (rows are changed under the write lock, having seen the
object) and 11: killed anywhere, it is done again. What only a person can decide, such as giving a tag up, is left.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import Final

from renku_store import bounds
from renku_store.blobs.removal import COLLECT_LOCK, take_marks_back
from renku_store.blobs.verifying import UNREADABLE, fault, faults
from renku_store.clock import timestamp
from renku_store.drivers.base import Driver
from renku_store.encoding import expiry_path, manifest_path
from renku_store.errors import DamageError, InvalidIdError, NotFoundError, StoreUnavailableError
from renku_store.fsck.archives import late_events, reencoded
from renku_store.fsck.blobs import foreign
from renku_store.fsck.checking import examine
from renku_store.fsck.copies import Copy
from renku_store.fsck.examination import Examination
from renku_store.fsck.hashing import Extent
from renku_store.fsck.quarantine import keep_copy, mend_row, move_away, move_blob, replace
from renku_store.fsck.reports import CheckProgress, CheckReport, Problem
from renku_store.fsck.revisions import check_revisions, read_mark
from renku_store.hashing import canonical_document, graph_bytes, hash_bytes
from renku_store.manifests import POINTER
from renku_store.movie import Movie
from renku_store.records.blob import blob_path
from renku_store.records.ids import revision_number
from renku_store.records.manifest import Expiry
from renku_store.records.run import RunRecord
from renku_store.remaking import remade

_BLOB: Final = re.compile(r"blobs/../([0-9a-f]{64})(?:\.zst)?")
_MANIFEST: Final = re.compile(r"manifests/(rev-\d+)(\.expired)?\.json")
_ARCHIVE: Final = re.compile(r"events/([0-9a-f-]{36})\.jsonl\.zst")


def repair_movie(
    movie: Movie,
    found: CheckReport,
    *,
    source: Driver | None = None,
    on_progress: Callable[[CheckProgress], None] | None = None,
) -> CheckReport:
    """Mend what a check has `found` in a movie that is open for writing; then check again.

    Lost and damaged objects are fetched from `source`, another copy of the movie, where it has them. The report says
    what was `repaired` and, as its problems, what is left; of what was read it says what `found` did.

    Raises `StoreUnavailableError` for a movie that is read-only or while another process collects.
    """
    if movie.read_only or movie.driver.read_only:
        raise StoreUnavailableError(
            "Nothing can be repaired: the movie was opened for reading only.", hint="Choose a root that can be written."
        )
    tell = on_progress or _tell_nobody
    repair = _Repair(movie, Copy(source), tell)
    repair.carry_out(found.problems)
    again = Examination(movie, tell)
    again.suspect_pages.update(_digests(found.problems))
    examine(again, Extent(sample=0.0))
    left = again.findings.report()
    objects = {problem.object for problem in left.problems}
    for problem in found.problems:
        if problem.object not in objects and not any(problem.object in done for done in repair.done):
            repair.done.append(f"{problem.object}: put right")
    return left.replace(
        checked=found.checked,
        checked_bytes=found.checked_bytes,
        skipped=found.skipped,
        complete=found.complete,
        notes=list(dict.fromkeys([*found.notes, *left.notes])),
        repaired=repair.done,
    )


class _Repair:
    def __init__(self, movie: Movie, copy: Copy, tell: Callable[[CheckProgress], None]) -> None:
        self.done: list[str] = []
        self._movie = movie
        self._copy = copy
        self._tell = tell
        self._exam = Examination(movie, _tell_nobody)
        with movie.metadata.read() as reader:
            self._now_ms = reader.now_ms()

    def carry_out(self, problems: list[Problem]) -> None:
        """Mend in the order in which things build on each other: leftovers, bytes, manifests, archives, the rest."""
        self._end_leftovers(problems)
        digests = sorted(_digests(problems))
        for count, digest in enumerate(digests, 1):
            self._mend_blob(digest)
            self._tell(CheckProgress("repairs", count))
        if any(problem.invariant == 2 for problem in problems):
            self._move_foreign()
        check_revisions(self._exam)
        objects = [problem.object for problem in problems]
        for name in objects:
            if match := _MANIFEST.fullmatch(name):
                self._mend_mark(match[1]) if match[2] else self._mend_manifest(match[1])
        if self._exam.manifests().pointer_is_folder() and move_away(self._movie.driver, POINTER, self._now_ms):
            self.done.append(f"{POINTER}: the folder in its place was moved to quarantine")
        self._movie.committer.repair()
        self._exam = Examination(self._movie, _tell_nobody)
        check_revisions(self._exam)
        for name in objects:
            if match := _ARCHIVE.fullmatch(name):
                self._mend_archive(match[1], name)
            elif name.startswith("runs/") and move_away(self._movie.driver, name, self._now_ms):
                self.done.append(f"{name}: moved to quarantine; the next run plans anew")
        self._mend_graphs(digests)

    def _end_leftovers(self, problems: list[Problem]) -> None:
        if any(problem.invariant == 10 for problem in problems):
            with self._movie.metadata.write() as writer:
                if ended := writer.checks.end_stale():
                    self.done.append(f"claims and leases that nobody held: {ended} ended")
        with self._movie.metadata.read() as reader:
            deleting = reader.checks.deleting(bounds.FSCK_PROBLEMS_MAX)
        count = 0
        while deleting:
            # What is needed gets its row back below; a collection decides anew about the rest.
            with self._movie.driver.lock(COLLECT_LOCK, wait_seconds=bounds.GC_WAIT_SECONDS):
                count += take_marks_back(self._movie.driver, self._movie.metadata, deleting)
            with self._movie.metadata.read() as reader:
                deleting = reader.checks.deleting(bounds.FSCK_PROBLEMS_MAX)
        if count:
            self.done.append(f"deletions that a dead collection had begun: {count} taken back; gc decides anew")

    def _mend_blob(self, digest: str) -> None:
        moved = move_blob(self._movie, digest)
        if any(why.startswith(UNREADABLE) for why in faults(self._movie.driver, digest).values()):
            if not self._copy.has_blob(digest):
                self.done += [f"{path}: moved to quarantine" for path in moved]
                return
            moved += move_blob(self._movie, digest, fault)
        self.done += [f"{path}: moved to quarantine" for path in moved]
        done = mend_row(self._movie, digest)
        if not self._movie.blobs.has(digest):
            if self._copy.fetch_blob(self._movie, digest):
                done = "fetched from the copy"
        elif moved:
            done = None
        if done is not None:
            self.done.append(f"{blob_path(digest)}: {done}")

    def _move_foreign(self) -> None:
        for name in foreign(self._exam).names:
            if move_away(self._movie.driver, name, self._now_ms):
                self.done.append(f"{name}: moved to quarantine")

    def _mend_manifest(self, revision: str) -> None:
        path = manifest_path(revision)
        with self._movie.metadata.read() as reader:
            kept = reader.checks.newest_manifest()
        anew = [kept.data if kept is not None else None, self._remade(revision_number(revision))]
        for expected in self._expected(revision_number(revision)):
            data, whence = self._copy.read(path, expected), "fetched from the copy"
            for made in anew if data is None else ():
                # Whoever says so: the hash proves that these are the bytes.
                if made is not None and hash_bytes(made) == expected:
                    data, whence = made, "written anew, byte for byte, from the index"
            if data is not None:
                replace(self._movie.driver, path, data, self._now_ms)
                self.done.append(f"{path}: {whence}")
                self._exam = Examination(self._movie, _tell_nobody)
                check_revisions(self._exam)
                return

    def _remade(self, number: int) -> bytes | None:
        return remade(self._movie, number, self._exam.row) if self._exam.indexed else None

    def _expected(self, number: int) -> Iterator[str]:
        """What its hash may be, as whoever knows it says: the revision after it, the index, the pointer."""
        with self._movie.metadata.read() as reader:
            row, following = reader.revisions.get(number), reader.revisions.get(number + 1)
        said = self._exam.manifests().glance(number + 1).get("baseHash")
        known = [following.base_hash if following else None, row.hash if row else None]
        known += [said if isinstance(said, str) else None, self._exam.manifests().expected(number)]
        yield from dict.fromkeys(digest for digest in known if digest)

    def _mend_mark(self, revision: str) -> None:
        number, path = revision_number(revision), expiry_path(revision)
        published = self._exam.chain.get(number)
        mark, there = read_mark(self._exam, number)
        if published is None or (mark is not None and mark.hash == published.hash):
            return
        if published.state == "stub":
            why = "its mark was lost"
            now = timestamp(self._movie.clock.now())
            anew = Expiry(revision=revision, hash=published.hash, expired_at=now, why=why)
            replace(self._movie.driver, path, canonical_document(anew.to_json()), self._now_ms)
            self.done.append(f"{path}: written anew")
        elif there and move_away(self._movie.driver, path, self._now_ms):
            self.done.append(f"{path}: moved to quarantine; {revision} is kept")

    def _mend_archive(self, run: str, path: str) -> None:
        published = next((entry for entry in self._exam.chain.values() if entry.run == run), None)
        if published is not None and published.archive is not None:
            data = reencoded(self._exam, published)
            how = "made anew from the index"
            if data is None:
                data, how = self._copy.read(path, published.archive.hash), "fetched from the copy"
            if data is not None:
                replace(self._movie.driver, path, data, self._now_ms)
                self.done.append(f"{path}: {how}")
            return
        with self._movie.metadata.read() as reader:
            record = reader.runs.get(run)
            compacted = reader.checks.compacted_runs().get(run)
        if compacted is not None:
            data = self._copy.read(path, compacted)
            if data is not None:
                replace(self._movie.driver, path, data, self._now_ms)
                self.done.append(f"{path}: fetched from the copy")
        elif record is not None and record.revision is None:
            self._archive_anew(record, path)
        elif move_away(self._movie.driver, path, self._now_ms):
            self.done.append(f"{path}: moved to quarantine")

    def _archive_anew(self, record: RunRecord, path: str) -> None:
        """The archive of a run that has published nothing: its name is never free, or a kill would leave none."""
        events = late_events(self._exam, record.run)
        if events:
            replace(self._movie.driver, path, self._movie.archives.encode(record.run, events), self._now_ms)
        else:
            keep_copy(self._movie.driver, path, self._now_ms)
            self._movie.archiver.archive(record.run, record.edits_through)
        self.done += [f"{path}: moved to quarantine", f"{path}: made anew from the index"]

    def _mend_graphs(self, digests: list[str]) -> None:
        """A graph is in the plan of its run, too."""
        missing = {digest for digest in digests if not self._movie.blobs.has(digest)}
        runs = [published.run for published in self._exam.chain.values()] if missing else []
        for run in runs:
            with suppress(DamageError, NotFoundError, InvalidIdError):
                graph = graph_bytes(self._movie.plans.load(run).graph)
                if hash_bytes(graph) in missing:
                    digest = self._movie.blobs.put(graph).hash
                    missing.discard(digest)
                    self.done.append(f"{blob_path(digest)}: made anew from the plan of its run")


def _digests(problems: list[Problem]) -> set[str]:
    """The blobs that problems are about."""
    return {match[1] for problem in problems if (match := _BLOB.fullmatch(problem.object))}


def _tell_nobody(_progress: CheckProgress) -> None:
    return
