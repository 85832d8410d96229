"""Putting where each machine has an index of its own: rows are hints, and an object's age is what protects it.

Keeps invariants 1, 2 and 9, the last for the grace time less some hours. What is there already:

    object     what is done
    young      its row is written
    old        it is made young, and seen again after every sweep that may have looked at it before
    damaged    it moves to quarantine, and is written anew

What was written is seen again in the same way: a collector may have looked at an older object of that name.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable, Iterator, Mapping

from renku_store import bounds
from renku_store.announcing import Announcer
from renku_store.blobs.intake import Intake, Row, Source, removed_meanwhile
from renku_store.blobs.keeping import kept_young
from renku_store.blobs.presence import see_all
from renku_store.drivers.base import Batch, Driver, EarlyBatch
from renku_store.metadata.base import MetadataStore
from renku_store.records.blob import BlobRef, BlobRow


class IntakeApart(Intake):
    """Takes contents as `Intake` does, on a storage whose other writers do not see this index."""

    def __init__(
        self, driver: Driver, metadata: MetadataStore, batch: Batch, verify_max_bytes: int, announcer: Announcer
    ) -> None:
        super().__init__(driver, metadata, batch, 0.0, verify_max_bytes)
        self._announcer = announcer

    def _settle(self, sizes: Mapping[str, int]) -> set[str]:
        with self._metadata.read() as reader:
            rows = reader.blobs.get(sizes)
        found = see_all(self._driver, sizes, rows)
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
        if not self._new:
            self._begin_batch()
            return
        self._batch.commit()
        self._announcer.wait_for_sweeps(self._new)
        rows = {row[0]: BlobRow(*row, "live", 0) for row in self._new.values()}
        found = see_all(self._driver, {digest: row.size for digest, row in rows.items()}, rows)
        kept = kept_young(self._driver, self._announcer, {d: seen for d, seen in found.items() if not seen.damaged})
        for digest in self._new:
            if digest not in kept:
                raise removed_meanwhile(digest)
        with self._metadata.write() as writer:
            writer.blobs.make_live((d, rows[d].size, seen.stored_size, seen.encoding) for d, seen in kept.items())
        self._begin_batch()


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
        references: list[BlobRef] = []
        for source in sources:
            references.append(intake.take(source))
            if keep is not None:
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
