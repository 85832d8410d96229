"""What the index says of published revisions and ended runs: all of it from the objects.

Keeps invariant 11: a revision whose publisher died before the bookkeeping, and a whole index that was lost, come back
by the very code that books a revision when it is published. Of invariant 8: rows are made of blobs seen just now.
What is read of a storage far away is fetched ahead, many at a time, before the database is locked.
"""

from __future__ import annotations

import heapq
from collections.abc import Collection, Iterable, Iterator, Mapping
from contextlib import suppress
from typing import Any, Final

import orjson

from renku_store import bounds
from renku_store.archives import archive_path
from renku_store.blobs.reading import check, unpack
from renku_store.drivers.base import ObjectStat
from renku_store.encoding import manifest_path, named_blobs
from renku_store.errors import BlobCorruptError, InvalidIdError
from renku_store.indexing.booking import Booker, Tell, Telling, groups, names_run, sound
from renku_store.indexing.elsewhere import Told, blobs_of, changed_archives, take_in, take_in_events, told_by
from renku_store.indexing.fetching import Fetched
from renku_store.manifests import POINTER
from renku_store.metadata.base import Writer
from renku_store.records.blob import SUFFIX, BlobRow, Encoding, blob_path
from renku_store.records.events import RunEvent
from renku_store.records.ids import check_hash, check_run_id, revision_name
from renku_store.records.manifest import Manifest

_ENDS: Final = frozenset({"failed", "interrupted", "abandoned", "unchanged"})
"""The last steps of runs that have come to an end without a revision, for now or for good."""


class Indexer(Booker):
    """Books revisions of one movie, and fills an empty index."""

    artefacts: int = 0
    """How many the newest revision has, once all of them were restored; 0 where it cannot be read."""

    def catch_up(self, newest: int) -> None:
        """Book, in rising order, every revision up to `newest` that comes after those in the index.

        A damaged one is left out: it harms neither the others nor the opening of the movie.
        """
        with self._metadata.read() as reader:
            booked = reader.revisions.newest()
        first = (booked.number if booked else 0) + 1
        for start in range(first, newest + 1, bounds.INDEX_FETCH_REVISIONS):
            numbers = range(start, min(start + bounds.INDEX_FETCH_REVISIONS, newest + 1))
            with Fetched(self._driver) as fetched:
                self._fetch_revisions(fetched, numbers, newest)
                ahead = self._from(fetched)
                if self._apart and len(numbers) > 1:
                    ahead.notice_all(numbers)
                ahead.book_each(numbers)

    def notice_all(self, numbers: Iterable[int]) -> None:
        """Give rows to the blobs of revisions and of their runs, asking for all at once and not for each revision's."""
        named: set[str] = set()
        for number in numbers:
            entry, _ = sound(self._manifests, number)
            if isinstance(entry, Manifest):
                named |= named_blobs(entry, (page.hash for page in entry.pages or ()))
                for events in self.readable(entry.run):
                    named |= blobs_of(events)
        self._blobs.notice(named)

    def book_each(self, numbers: Iterable[int]) -> None:
        """Book these revisions, in rising order, from what has been fetched."""
        for number in numbers:
            # Its creator may have died before its name was durable; a row would promise what a power cut can take back.
            self._manifests.settle(number)
            entry, digest = sound(self._manifests, number)
            if isinstance(entry, Manifest):
                self.book(entry, digest)
            elif entry is not None:
                with self._metadata.write() as writer:
                    self._book_expired(writer, entry, Telling(None))
            else:
                self._end_named(number)

    # What is fetched ahead

    def _from(self, fetched: Fetched) -> Indexer:
        """The same for what has been fetched ahead."""

        def page(digest: str) -> bytes:
            for encoding in SUFFIX:
                name = blob_path(digest, encoding)
                with suppress(BlobCorruptError):
                    if name in fetched:
                        return _content(digest, encoding, fetched.read(name))
            return self._blobs.read(digest)

        other = Indexer(
            self._driver,
            self._metadata,
            self._blobs,
            self._manifests.fetched(fetched.read, page),
            self._archives.fetched(fetched.read),
            self._new_id,
            apart=self._apart,
        )
        other.unreadable = self.unreadable
        return other

    def _fetch_revisions(self, fetched: Fetched, numbers: range, newest: int) -> None:
        """Fetch manifests, those on either side by which they are verified, and the archives that they name."""
        if not self._apart:
            return
        around = range(max(numbers.start - 1, 1), min(numbers.stop, newest) + 1)
        names = {number: manifest_path(revision_name(number)) for number in around}
        fetched.fetch(dict.fromkeys([POINTER, *names.values()], bounds.INDEX_FETCH_GUESS_BYTES))
        runs = self._fetch_pages(fetched, names.values())
        archives = [archive_path(runs[names[number]]) for number in numbers if names[number] in runs]
        fetched.fetch(dict.fromkeys(archives, bounds.INDEX_FETCH_GUESS_BYTES))

    def _fetch_pages(self, fetched: Fetched, manifests: Iterable[str]) -> dict[str, str]:
        """Fetch the pages of manifests that were fetched, each once; gives by manifest the run that it archived."""
        pages: dict[str, None] = {}
        runs: dict[str, str] = {}
        for name in manifests:
            said = _parsed(fetched.read(name)) if name in fetched else {}
            for page in said.get("pages") or ():
                pages[page["hash"]] = None
            if said.get("archive") is not None:
                runs[name] = said["run"]
        with self._metadata.read() as reader:
            rows = reader.blobs.get(pages)
        asked = [blob_path(page, encoding) for page in pages for encoding in _encodings(rows.get(page))]
        fetched.fetch(dict.fromkeys(asked, bounds.INDEX_FETCH_GUESS_BYTES))
        return runs

    # All of them

    def restore_lost(self, newest: int) -> None:
        """Fill the index if it has no revision although there is one, or an archive of a run that it does not know."""
        with self._metadata.read() as reader:
            booked = reader.revisions.newest()
        if booked is None and (newest or self._unknown_runs()):
            self.restore()

    def restore(self, tell: Tell | None = None, pending: Collection[str] = ()) -> None:
        """Fill an index that has no revision, all or nothing: every blob, every archived event, every revision.

        They come back in the order of what happened: revisions in that of their chain, each with what it took, and
        between them the runs that ended without one, by the time of their end. A damaged revision is left out, and so
        is what cannot be read of a damaged archive: what is left is better than a movie that cannot be opened.

        An edit that is older than one of the same which a revision took is not pending, but for those that `pending`
        names: the index that was there before had them so.
        """
        told = Telling(tell)
        if not self._apart:
            self.restore_all(told, {}, pending)
            return
        # Rows of blobs promise nothing here, so that they need not come in one transaction with what names them.
        for rows in groups(self._blobs.present()):
            with self._metadata.write() as writer:
                writer.blobs.make_live(rows)
            told.add("blobs", len(rows))
        with Fetched(self._driver) as fetched:
            archives = self._archives.present()
            listed = {found.name: found.size for found in self._driver.list("manifests/")}
            fetched.fetch({**listed, POINTER: 0})
            self._fetch_pages(fetched, listed)
            fetched.fetch({found.name: found.size for found in archives.values()})
            ahead = self._from(fetched)
            ahead.restore_all(told, archives, pending)
            self.artefacts = ahead.artefacts

    def restore_all(self, told: Telling, archives: Mapping[str, ObjectStat], pending: Collection[str]) -> None:
        """All of it in one transaction; `archives` are those of other machines, as they were listed."""
        manifests = self._manifests.remembering()
        newest = manifests.newest()
        unpublished = self._unknown_runs()
        if newest:
            self._manifests.settle(newest)
        ordered = [*self._in_order(newest, unpublished)]
        with self._metadata.write() as writer:
            if self._apart and writer.revisions.newest() is not None:
                return  # another process has filled it meanwhile
            for rows in groups(self._blobs.present()) if not self._apart else ():
                writer.blobs.make_live(rows)
                told.add("blobs", len(rows))
            before: Manifest | None = None
            unreadable, left = list[int](), list[Told]()
            for number, run in ordered:
                entry, digest = sound(manifests, number)
                if number:
                    self.artefacts = len(entry.artefacts) if isinstance(entry, Manifest) else 0
                if isinstance(entry, Manifest):
                    # Look-ups by revision go back to the last one that says something, be it the base or not.
                    self._book(writer, entry, digest, before, told, manifests)
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
            writer.revisions.take(writer.events.overruled().difference(pending))
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
        for events in self.readable(run):
            last = max([event.created_at for event in events if event.run is not None], default=last)
        return last

    def _restore_run(self, writer: Writer, run: str, told: Telling) -> Told:
        """The events of a run that is not published, and its row, as they tell it."""
        steps: list[RunEvent] = []
        for events in self.readable(run):
            writer.events.add(events)
            told.add("events", len(events))
            steps += [event for event in events if isinstance(event, RunEvent)]
        left = told_by(run, steps)
        if writer.runs.get(run) is None:
            left.note(writer, elsewhere=self._apart)
        return left

    def catch_up_elsewhere(self) -> None:
        """Take in what other machines have done since: runs that ended without a revision, revisions that expired."""
        changed = changed_archives(self._metadata, self._archives)
        with Fetched(self._driver) as fetched:
            fetched.fetch({found.name: found.size for found in changed.values()})
            take_in(self._metadata, self._blobs, changed, self._from(fetched).readable, self._new_id)
        self._take_in_expired()

    def _take_in_expired(self) -> None:
        """Learn which revisions of the trash have gone for good: of each it is read once that it has not."""
        marked = self._manifests.marked_as_listed()
        with self._metadata.read() as reader:
            seen = reader.runs.seen_archives()
            rows = {number: row for number in marked if (row := reader.revisions.get(number)) and not row.expired}
        changed = {n: marked[n] for n in rows if seen.get(revision_name(n)) != (marked[n].size, marked[n].modified)}
        if not changed:
            return
        with Fetched(self._driver) as fetched:
            fetched.fetch({found.name: found.size for found in changed.values()})
            manifests = self._manifests.fetched(fetched.read, self._blobs.read)
            gone = {number for number in changed if manifests.glance(number).get("expired") is True}
        with self._metadata.write() as writer:
            for number, found in changed.items():
                if number in gone:
                    writer.revisions.expire(number)
                else:
                    writer.runs.saw_archive(revision_name(number), found.size, found.modified)

    def take_in_runs(self, runs: Iterable[str]) -> None:
        """Take in the archives of runs that came from another root, unless they have published by now."""
        for run in runs:
            told = take_in_events(self._metadata, self._blobs, run, self.readable, self._new_id)
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


def _may_have_published(left: Told, number: int) -> bool:
    """Whether the archive can be that of a revision: made on the one before, and with no other end."""
    base = revision_name(number - 1) if number > 1 else None
    return left.last is None or (left.last not in _ENDS and left.base_revision == base)


def _content(digest: str, encoding: Encoding, data: bytes) -> bytes:
    return check(digest, data, None) if encoding == "raw" else unpack(digest, data, None)


def _encodings(row: BlobRow | None) -> tuple[Encoding, ...]:
    """How a blob may be stored."""
    return ("raw", "zstd") if row is None else (row.encoding,)


def _parsed(data: bytes) -> dict[str, Any]:
    """What a manifest says, as far as that can be told before it is verified."""
    try:
        document = orjson.loads(data)
        pages = [{"hash": check_hash(page["hash"])} for page in document.get("pages") or ()]
        return {"pages": pages, "archive": document.get("archive"), "run": check_run_id(document["run"])}
    except (orjson.JSONDecodeError, KeyError, TypeError, AttributeError, InvalidIdError):
        return {}
