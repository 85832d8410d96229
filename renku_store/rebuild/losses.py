"""What was there before a rebuild, as far as anything says so, and is not found by it: to be named, or put back.

Witnesses of a revision are the old database, the pointer, and the manifest after it. Keeps invariant 5: what is put
back are the exact bytes that were published, proven by their hash, under a name that is free.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from typing import TypeVar

from renku_store.archives import ArchiveStore, archive_path
from renku_store.drivers.base import Driver
from renku_store.encoding import manifest_path
from renku_store.errors import DamageError, NotFoundError
from renku_store.hashing import hash_bytes
from renku_store.manifests import ManifestStore
from renku_store.metadata.base import MetadataStore, Reader
from renku_store.records.ids import revision_name, revision_number

T = TypeVar("T")


class Known:
    """What the old database (None: there is none that can be opened) and the pointer know; `newest` is a number."""

    def __init__(self, driver: Driver, old: MetadataStore | None) -> None:
        self._driver = driver
        self._manifests = ManifestStore(driver, lambda _: b"{}")
        self._old = old
        booked = self._ask(lambda reader: reader.revisions.newest())
        pointer = self._manifests.pointer()
        self.newest = max(booked.number if booked else 0, revision_number(pointer.revision) if pointer else 0)

    def put_back(self) -> str | None:
        """Write the newest manifest anew if it is lost or damaged, and the old database has its bytes; gives which.

        The new database would not have them: from then on only a copy could bring the revision back.
        """
        kept = self._ask(lambda reader: reader.checks.newest_manifest())
        booked = self._ask(lambda reader: reader.revisions.newest())
        if kept is None or booked is None or hash_bytes(kept.data) != booked.hash or kept.number != booked.number:
            return None
        revision, present = revision_name(kept.number), self._manifests.raw(kept.number)
        if present == kept.data:
            return None
        with suppress(DamageError, NotFoundError):
            self._manifests.entry(kept.number, booked.hash)
            return None  # sound, or expired: its stub is what there is to be
        if present is not None:  # its name is never free: the damaged bytes are kept beside
            self._driver.create(f"quarantine/{revision}.json-{hash_bytes(present)[:16]}", present)
            self._driver.replace(manifest_path(revision), kept.data)
        elif not self._manifests.create(kept.number, kept.data):
            return None
        return revision

    def lost_archives(self, archives: ArchiveStore) -> set[str]:
        """The archives that alone hold rows which have left the old database, and are missing or damaged."""
        lost: set[str] = set()
        for run, digest in (self._ask(lambda reader: reader.checks.compacted_runs()) or {}).items():
            try:
                right = archives.digest(run) == digest
            except DamageError:
                right = False
            if not right:
                lost.add(archive_path(run))
        return lost

    def _ask(self, question: Callable[[Reader], T]) -> T | None:
        """What the old database answers; None where there is none, or it cannot tell."""
        if self._old is None:
            return None
        try:
            with self._old.read() as reader:
                return question(reader)
        except (DamageError, ValueError):
            return None
