"""Putting where each machine has an index of its own: rows are hints, and an object's age is what protects it.

Keeps invariants 1, 2 and 9, the last for the grace time less some hours. What is there already:

    object     what is done
    young      its row is written
    old        it is made young, and seen again after every sweep that may have looked at it before
    fresh      young since a moment ago: seen again after every sweep that may have looked before that moment
    damaged    it moves to quarantine, and is written anew

A small content of which this index has no row is most likely new: it is sent without a look first, under the condition
that its name is free. Where it is not, that is done which would have been done before.

What was written is seen again in the same way, after every sweep that may have looked before: a collector may have
looked at an older object of that name. That look is what the promise rests on, never the one before.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable, Iterator, Mapping

from renku_store import bounds
from renku_store.announcing import Announcer
from renku_store.blobs.intake import Intake, Row, removed_meanwhile
from renku_store.blobs.keeping import kept_young
from renku_store.blobs.presence import see_all
from renku_store.blobs.taking import Source, ahead
from renku_store.drivers.base import Batch, Driver, EarlyBatch
from renku_store.metadata.base import MetadataStore
from renku_store.records.blob import BlobRef, BlobRow, blob_path


class IntakeApart(Intake):
    """Takes contents as `Intake` does, on a storage whose other writers do not see this index."""

    def __init__(
        self, driver: Driver, metadata: MetadataStore, batch: Batch, verify_max_bytes: int, announcer: Announcer
    ) -> None:
        super().__init__(driver, metadata, batch, 0.0, verify_max_bytes)
        self._announcer = announcer
        self._unseen: dict[str, bytes] = {}

    def _settle(self, sizes: Mapping[str, int]) -> set[str]:
        with self._metadata.read() as reader:
            rows = reader.blobs.get(sizes)
        unseen = {digest for digest in sizes if digest not in rows and self._goes_unseen(digest)}
        return unseen | self._look({digest: sizes[digest] for digest in sizes if digest not in unseen}, rows)

    def _goes_unseen(self, digest: str) -> bool:
        """Whether a content is sent without a look whether it is there; it is then held until that is known."""
        content = self._held.get(digest)
        if not isinstance(content, bytes) or len(content) > bounds.PUT_UNSEEN_MAX_BYTES:
            return False
        self._unseen[digest] = content
        return True

    def _look(self, sizes: Mapping[str, int], rows: Mapping[str, BlobRow]) -> set[str]:
        """Let those be live that are there, whole, for the grace time less some hours; gives the others."""
        found = see_all(self._driver, sizes, rows) if sizes else {}
        if not found:
            return {*sizes}
        sound = {digest: seen for digest, seen in found.items() if not seen.damaged and self._right(digest, seen)}
        present = kept_young(self._driver, self._announcer, sound)
        live: list[Row] = [(d, sizes[d], seen.stored_size, seen.encoding) for d, seen in present.items()]
        with self._metadata.write() as writer:
            for digest in found.keys() - sound.keys():
                self._set_aside(writer, digest, found[digest])
            writer.blobs.make_live(live)
        return sizes.keys() - present.keys()

    def _make_room(self) -> None:
        if isinstance(self._batch, EarlyBatch):
            self._batch.begin()  # objects without rows are what others see of any put; their age protects them
        else:
            super()._make_room()

    def _commit(self) -> None:
        """Objects, then a look at each, then rows."""
        there = self._write()
        if there:
            with self._metadata.read() as reader:
                rows = reader.blobs.get(there)
            for digest in self._look({digest: len(content) for digest, content in there.items()}, rows):
                self._stage(digest, there[digest])
            self._write()

    def _write(self) -> dict[str, bytes]:
        """Write what is staged, and make live what is seen there after that; gives what was there already, unseen."""
        if not self._new:
            self._begin_batch()
            return {}
        existing = self._batch.commit()
        self._announcer.wait_for_sweeps(self._new)
        unseen = {digest: self._unseen.pop(digest) for digest in self._new if digest in self._unseen}
        there = {d: content for d, content in unseen.items() if blob_path(d, self._new[d][3]) in existing}
        rows = {digest: BlobRow(*row, "live", 0) for digest, row in self._new.items() if digest not in there}
        self._see_again(rows)
        self._begin_batch()
        return there

    def _see_again(self, rows: Mapping[str, BlobRow]) -> None:
        """Make live what was written, now that no sweep goes on that had looked before: if all of it is there."""
        if not rows:
            return
        found = see_all(self._driver, {digest: row.size for digest, row in rows.items()}, rows)
        sound = {digest: seen for digest, seen in found.items() if not seen.damaged}
        kept = kept_young(self._driver, self._announcer, sound, waited=True)
        for digest in rows:
            if digest not in kept:
                raise removed_meanwhile(digest)
        with self._metadata.write() as writer:
            writer.blobs.make_live((d, rows[d].size, seen.stored_size, seen.encoding) for d, seen in kept.items())


def put_all(
    driver: Driver,
    metadata: MetadataStore,
    announcer: Announcer,
    sources: Iterable[Source],
    wait_seconds: float = bounds.BUSY_MAX_SECONDS,
    *,
    verify_max_bytes: int = 0,
    keep: Callable[[BlobRef, Source], None] | None = None,
) -> list[BlobRef]:
    """Put every content, in order, sharing syncs and transactions; durable on return.

    `keep` is told of each, once it was taken.
    """
    with taking(driver, metadata, announcer, wait_seconds, verify_max_bytes=verify_max_bytes) as (intake, _):
        if keep is None:
            return [*map(intake.take, ahead(sources))]
        references: list[BlobRef] = []
        for source in sources:
            references.append(intake.take(source))
            keep(references[-1], source)
        return references


@contextlib.contextmanager
def taking(
    driver: Driver,
    metadata: MetadataStore,
    announcer: Announcer,
    wait_seconds: float = bounds.BUSY_MAX_SECONDS,
    *,
    verify_max_bytes: int = 0,
) -> Iterator[tuple[Intake, Batch]]:
    """An intake, and the batch in which it stages; all it has taken is durable once the context has ended well."""
    with driver.batch() as batch:
        if announcer.needed:
            intake: Intake = IntakeApart(driver, metadata, batch, verify_max_bytes, announcer)
        else:
            intake = Intake(driver, metadata, batch, wait_seconds, verify_max_bytes)
        yield intake, batch
        intake.finish()
