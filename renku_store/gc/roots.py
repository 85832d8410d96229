"""What must stay: every blob that a manifest, an intent, an event or a plan can still ask for.

Live state is read before the manifests: what is published in between is then seen twice, and never not at all. So are
intents of other machines, where each has an index of its own, and before those the archives of their runs. Any
error ends the reading, and with it the collection: a root that cannot be read might name anything.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable

import orjson

from renku_store import bounds
from renku_store.encoding import named_blobs
from renku_store.errors import BlobCorruptError, BlobMissingError, NotFoundError
from renku_store.hashing import hash_bytes
from renku_store.manifests import ManifestStore
from renku_store.metadata.base import Reader
from renku_store.movie import Movie
from renku_store.records.events import ArtefactEvent, InputEvent
from renku_store.records.ids import revision_name, revision_number
from renku_store.records.manifest import Manifest

_ENDED = frozenset({"published", "abandoned"})
_LOST_HINT = "`renku-store fsck` says what brings it back; nothing is collected before."


def _named_in_page(data: bytes) -> list[str]:
    """What `named_blobs` finds in a page, whose bytes have the hash that its manifest names."""
    page = orjson.loads(data)
    if type(page) is not dict:
        raise TypeError
    held = [*page.values()]
    held += [artefact["made"] for artefact in held if artefact.get("made") is not None]
    blobs = [artefact["blob"] for artefact in held if artefact.get("blob") is not None]
    if any(len(blob) != 64 for blob in blobs):
        raise ValueError
    return blobs


class Roots:
    """The hashes that must stay, 32 bytes each in memory.

    `without` are revisions that are looked upon as expired already: what only they name need not stay. `now` is the
    time by which intents of other machines live or are dead, Unix seconds by the storage's clock.
    """

    def __init__(
        self,
        movie: Movie,
        on_manifest: Callable[[int], None],
        *,
        without: Collection[int] = frozenset(),
        now: float = 0.0,
    ) -> None:
        self._now = now
        self._movie = movie
        self._on_manifest = on_manifest
        self._without = without
        self._manifests = ManifestStore(movie.driver, self._page)
        self._marked: set[bytes] = set()
        self._pages: set[str] = set()
        self._seq = 0
        self._seen = -1
        self._newest = 0

    def __contains__(self, digest: str) -> bool:
        return bytes.fromhex(digest) in self._marked

    def read(self) -> None:
        """Read all roots. Raises `DamageError` and whatever else keeps one of them from being read."""
        self._read_announced()
        with self._movie.metadata.read() as reader:
            last = max(reader.events.last_seq())
        while self._read_events():
            pass
        self._seq = max(self._seq, last)
        self._read_unfinished_runs()
        with self._movie.metadata.read() as reader:
            self._read_choices(reader)
            self._read_intents(reader)
        self._read_manifests()

    def catch_up(self, reader: Reader) -> None:
        """Add what has become a root since, as of the transaction that the caller is in."""
        last = max(reader.events.last_seq())
        while page := reader.blobs.uncovered(self._seq, bounds.EVENT_PAGE_ROWS):
            self._mark(digest for _, digest in page)
            self._seq = page[-1][0]
        self._seq = max(self._seq, last)
        self._read_choices(reader)
        self._read_intents(reader)
        self._read_announced()
        self._read_manifests()

    def _read_announced(self) -> None:
        """What other machines have said that they need, and publish from then on."""
        for announced in self._movie.announcer.living(self._now):
            self._mark(announced.blobs)

    def _mark(self, digests: Iterable[str]) -> None:
        self._marked.update(map(bytes.fromhex, digests))

    def _read_events(self) -> bool:
        with self._movie.metadata.read() as reader:
            page = reader.blobs.uncovered(self._seq, bounds.EVENT_PAGE_ROWS)
        self._mark(digest for _, digest in page)
        self._seq = page[-1][0] if page else self._seq
        return len(page) == bounds.EVENT_PAGE_ROWS

    def _read_unfinished_runs(self) -> None:
        """What their plans name, and what their archives say: an index made anew may lack some of their events."""
        with self._movie.metadata.read() as reader:
            status = {record.run: record.status for record in reader.runs.list()}
        for run in (run for run, state in status.items() if state not in _ENDED):
            try:
                plan = self._movie.plans.load(run)
            except NotFoundError:
                continue
            self._mark([plan.graph_hash, *(entry.blob for entry in plan.inputs.values() if entry.blob)])
        for run in self._movie.archives.runs():
            if status.get(run) not in _ENDED:
                for event in self._movie.archives.read(run):
                    if isinstance(event, InputEvent) and event.blob:
                        self._mark([event.blob])
                    if isinstance(event, ArtefactEvent) and event.value and event.value.blob:
                        self._mark([event.value.blob])

    def _read_choices(self, reader: Reader) -> None:
        """What people have chosen; a choice is an event, so that without a new event there is none to be read."""
        last = max(reader.events.last_seq())
        if last > self._seen:
            self._mark(reader.blobs.chosen())
        self._seen = last

    def _read_intents(self, reader: Reader) -> None:
        for intent in reader.revisions.intents():
            self._mark_manifest(self._manifests.decode(revision_name(intent.number), intent.manifest))

    def _read_manifests(self) -> None:
        """Every manifest that has appeared since the last look, newest first, each verified by the one after it."""
        newest = self._newest_present()
        if newest == self._newest:
            return
        with self._movie.metadata.read() as reader:
            row = reader.revisions.get(newest)
        expected = row.hash if row else self._manifests.expected(newest)
        for number in range(newest, self._newest, -1):
            # Where nothing says what to expect, a manifest is held against itself, for which it has to be whole.
            whole = ManifestStore(self._movie.driver, self._movie.blobs.read) if expected is None else self._manifests
            entry, _ = whole.entry(number, expected)
            if isinstance(entry, Manifest) and number not in self._without:
                self._mark_manifest(entry)
                self._check_archive(entry)
            expected = entry.base_hash
            self._on_manifest(newest - number + 1)
        self._newest = newest

    def _newest_present(self) -> int:
        """The number of the newest manifest; `BlobMissingError` where one up to the newest known is not there."""
        pointer = self._manifests.pointer()
        with self._movie.metadata.read() as reader:
            booked = reader.revisions.newest()
        present = set(self._manifests.numbers())
        known = [booked.number if booked else 0, revision_number(pointer.revision) if pointer else 0]
        newest = max(self._newest, *known, *present)
        missing = set(range(1, newest + 1)) - present
        if missing:
            raise BlobMissingError(f"The manifest of {revision_name(min(missing))} is not there.", hint=_LOST_HINT)
        return newest

    def _mark_manifest(self, manifest: Manifest) -> None:
        self._mark(named_blobs(manifest, (page.hash for page in manifest.pages or ())))

    def _page(self, digest: str) -> bytes:
        """Mark what a page names, once; whoever decodes the manifest is given an empty page in its place.

        Of a million artefacts no records are made. A page that is none is given as it is, to be refused by name.
        """
        if digest not in self._pages:
            data = self._movie.blobs.read(digest)
            try:
                self._mark(_named_in_page(data))
            except (AttributeError, TypeError, ValueError):
                return data
            self._pages.add(digest)
        return b"{}"

    def _check_archive(self, manifest: Manifest) -> None:
        archive = manifest.archive
        if archive is not None and hash_bytes(self._movie.driver.read(archive.name)) != archive.hash:
            raise BlobCorruptError(f"The archive {archive.name} is damaged.", hint=_LOST_HINT)
