"""Putting: content becomes an object under its hash and a live row, or a touch of those that are there.

Keeps invariants 1, 2, 8 and 9. The order: objects first, synced and named by the batch, then their rows in one
transaction. Of what is there already a sound object is seen, then its row is touched under the write lock if it still
is live: a collector marks a row under that lock before it deletes the object. All else is seen inside a transaction:

    row        object    what is done
    live       sound     touch the row
    condemned  sound     revive the row
    none       sound     sync the folder of its name, then insert the row (a writer died between object and row)
    deleting   any       wait for the collector to end, or take the mark back if it is dead; then look again
    any        damaged   move it to quarantine, forget the row, write anew
    any        none      write anew

Damage shows in the size of an object and in where its frame ends. Of one that seems sound, up to `verify_max_bytes` are
read and hashed; where that is not 0, the frame of a larger one is looked through whatever its row says.

Between object and row the lock `arrive` is shared: who holds it alone knows that an object without a row is nobody's.
"""

from __future__ import annotations

import contextlib
import itertools
import math
import os
import time
from collections.abc import Collection, Mapping
from typing import Final

from msgspec import Struct

from renku_store import bounds
from renku_store.blobs.packing import Packer
from renku_store.blobs.presence import Presence, look_through, see
from renku_store.blobs.reading import check, unpack
from renku_store.blobs.removal import ARRIVE_LOCK, COLLECT_LOCK, take_marks_back
from renku_store.blobs.taking import Source, Staged, take_file, take_stream
from renku_store.drivers.base import Batch, Driver, is_near
from renku_store.errors import DamageError, NotFoundError, StoreUnavailableError
from renku_store.hashing import hash_bytes
from renku_store.metadata.base import MetadataStore, Writer
from renku_store.records.blob import SUFFIX, BlobRef, BlobRow, Encoding, blob_path

Row = tuple[str, int, int, Encoding]
_PATHS: Final = (str, os.PathLike)


class Unread(Struct, frozen=True):
    """A file of `size` bytes whose content was hashed, and let go of, as its blob is here."""

    path: str | os.PathLike[str]
    size: int


class Intake:
    """Takes contents one after another; `finish` makes those durable that are not yet.

    Contents are held in memory or staged until a window of them can be looked up at once; new ones are staged until
    their batch is full. An error leaves nothing half-written: what earlier batches made durable stays, the rest goes.
    """

    def __init__(
        self, driver: Driver, metadata: MetadataStore, batch: Batch, wait_seconds: float, verify_max_bytes: int
    ) -> None:
        self._driver = driver
        self._metadata = metadata
        self._batch = batch
        self._wait_seconds = wait_seconds
        self._verify_max_bytes = verify_max_bytes
        self._near = is_near(driver)
        self._batch_max_files = bounds.BATCH_MAX_FILES if self._near else bounds.BATCH_FAR_MAX_FILES
        self._window_max_files = min(self._batch_max_files, bounds.BATCH_MAX_ROWS)
        self._packer = Packer()
        self._held: dict[str, bytes | Staged | Unread] = {}
        self._held_bytes = 0
        self._held_staged_bytes = 0
        self._new: dict[str, Row] = {}
        self._new_bytes = 0
        self._staged_since = math.inf
        self._large_sizes: set[int] | None = None

    def take(self, source: Source) -> BlobRef:
        """Take one content; it is durable once `finish` has returned."""
        content = source if type(source) is bytes else self._content(source)
        if isinstance(content, BlobRef):
            return content
        if isinstance(content, Staged):
            return self._take_staged(content)
        size = len(content)
        reference = BlobRef(hash_bytes(content), size)
        digest = reference.hash
        if digest in self._held or digest in self._new:
            return reference
        if size >= bounds.UNREAD_MIN_BYTES and isinstance(source, _PATHS) and self._is_seen(reference):
            self._held[digest] = Unread(source, size)
        else:
            self._held[digest] = content
            self._held_bytes += size
        self._look_up_enough()
        return reference

    def _take_staged(self, content: Staged) -> BlobRef:
        if content.hash in self._held or content.hash in self._new:
            self._batch.discard(content.file)
        else:
            self._held[content.hash] = content
            self._held_staged_bytes += content.size
            self._staged_since = min(self._staged_since, time.monotonic())
            self._look_up_enough()
        return BlobRef(content.hash, content.size)

    def _look_up_enough(self) -> None:
        """Look what is held up once it is enough for that."""
        if (
            len(self._held) >= self._window_max_files
            or self._held_bytes >= 2 * bounds.BLOB_HOLD_MAX_BYTES
            or self._held_staged_bytes >= bounds.BATCH_MAX_BYTES
            or self._batch.full
        ):
            self._look_up()
        if self._staged_since < math.inf and time.monotonic() - self._staged_since > bounds.BATCH_MAX_SECONDS:
            self.finish()

    def finish(self) -> None:
        """Make durable what was taken: objects, then rows."""
        self._look_up()
        self._commit()

    def _content(self, source: Source) -> bytes | Staged | BlobRef:
        if isinstance(source, _PATHS):
            return take_file(self._batch, source, self._may_be_there, self._is_there)
        if isinstance(source, bytes | Staged):
            return source
        if isinstance(source, bytearray | memoryview):
            with memoryview(source) as view:
                return take_stream(self._batch, view)
        return take_stream(self._batch, source)

    def _may_be_there(self, size: int) -> bool:
        """Whether a file is worth being hashed before it is copied: there is a large blob of as many bytes."""
        if size < bounds.HASH_FIRST_MIN_BYTES:
            return False
        if self._large_sizes is None:
            with self._metadata.read() as reader:
                self._large_sizes = reader.blobs.sizes_from(bounds.HASH_FIRST_MIN_BYTES)
        return size in self._large_sizes

    def _is_there(self, reference: BlobRef) -> bool:
        """Settle one blob at once, whose content is not held; False where it has to be written."""
        digest = reference.hash
        return digest in self._held or digest in self._new or not self._settle({digest: reference.size})

    def _is_seen(self, reference: BlobRef) -> bool:
        """Whether a blob is here, so that its bytes can be let go of until its row is touched with others."""
        if not self._near:
            return False
        with self._metadata.read() as reader:
            row = reader.blobs.get((reference.hash,)).get(reference.hash)
        if row is None or row.state != "live":
            return False
        found = see(self._driver, reference.hash, reference.size, row)
        return found is not None and not found.damaged

    def _read_again(self, digest: str, unread: Unread) -> bytes:
        """The content of a file whose blob was here a moment ago, and is not any more."""
        try:
            content = take_file(self._batch, unread.path, lambda _: False, lambda _: False)
        except NotFoundError:
            content = b""
        if isinstance(content, bytes) and hash_bytes(content) == digest:
            return content
        if isinstance(content, Staged):
            self._batch.discard(content.file)
        raise removed_meanwhile(digest)

    def _look_up(self) -> None:
        """Settle what is there already, stage what is not."""
        missing = self._settle({d: len(c) if type(c) is bytes else _size(c) for d, c in self._held.items()})
        for digest, content in self._held.items():
            if digest in missing:
                if isinstance(content, Unread):
                    content = self._read_again(digest, content)  # noqa: PLW2901 (only of the few that vanish)
                if self._batch.full and isinstance(content, bytes):  # what is staged takes its room already
                    self._make_room()
                self._stage(digest, content)
                if len(self._new) >= self._batch_max_files or self._new_bytes >= bounds.BATCH_MAX_BYTES:
                    self._commit()
            elif isinstance(content, Staged):
                self._batch.discard(content.file)
        self._held = {}
        self._held_bytes = self._held_staged_bytes = 0
        if self._batch.full:
            self._make_room()

    def _make_room(self) -> None:
        """Let the batch give back memory before more is staged."""
        self._commit()

    def _settle(self, sizes: Mapping[str, int]) -> set[str]:
        """Make live and touched those whose object is there; returns the others, once no collector is deleting them."""
        with self._metadata.read() as reader:
            # Most have the row that is expected, or none at all: no record is made for these.
            others = reader.blobs.unlike(sizes, "raw")
        missing = {digest for digest, row in others.items() if row is None}
        strays = self._strays(missing, sizes)
        self._driver.settle(blob_path(digest) for digest in strays)
        missing.difference_update(strays)
        known = {digest: size for digest, size in sizes.items() if digest not in missing}
        for digest in self._touch_live(known, others):
            del known[digest]
        deadline = time.monotonic() + self._wait_seconds
        while known:
            deleting = self._settle_known(known, missing)
            known = {digest: known[digest] for digest in deleting}
            if known and not self._unmark_for_the_dead(deleting):
                _pause(deleting, deadline)
        return missing

    def _strays(self, digests: Collection[str], sizes: Mapping[str, int]) -> list[str]:
        """Those of these, which have no row, that have an object."""
        names = [blob_path(digest, encoding) for encoding in SUFFIX for digest in digests]
        found = {name.rpartition("/")[2].removesuffix(SUFFIX["zstd"]) for name in self._driver.among(names)}
        return [d for d in found if see(self._driver, d, sizes[d]) is not None]

    def _touch_live(self, sizes: Mapping[str, int], others: Mapping[str, BlobRow | None]) -> Collection[str]:
        """Touch those whose object is seen, whole, and whose row is still live then; gives them, or none.

        `others` are those that have no live row of a plain object. Objects are looked at before the write lock is
        taken, for nobody else shall wait meanwhile.
        """
        packed = {d: row for d, row in others.items() if row and row.state == "live" and row.size == sizes[d]}
        names = {blob_path(digest): digest for digest in sizes if digest not in others}
        names |= {blob_path(digest, row.encoding): digest for digest, row in packed.items()}
        expected = {**sizes, **{digest: row.stored_size for digest, row in packed.items()}}
        found = self._driver.stat_many(names)
        # Sorted as the table is: neighbours share its pages.
        seen = sorted(names[name] for name, status in found.items() if status.size == expected[names[name]])
        if self._verify_max_bytes:
            seen = [d for d in seen if self._right(d, packed.get(d) or Presence("raw", sizes[d], sizes[d]))]
        if not seen:
            return ()
        with self._metadata.write() as writer:
            count = writer.blobs.touch(seen)
        return seen if count == len(seen) else ()

    def _settle_known(self, sizes: dict[str, int], missing: set[str]) -> set[str]:
        """One transaction of `_settle`: adds to `missing` what has to be written; returns what is being deleted."""
        deleting: set[str] = set()
        revived: list[Row] = []
        touched: list[str] = []
        with self._metadata.write() as writer:
            rows = writer.blobs.get(sizes)
            for digest, size in sizes.items():
                row = rows.get(digest)
                if row is not None and row.state == "deleting":
                    deleting.add(digest)
                    continue
                found = see(self._driver, digest, size, row)
                if found is None or found.damaged or not self._right(digest, found):
                    self._set_aside(writer, digest, found)
                    missing.add(digest)
                elif row is not None and row.state == "live" and row.encoding == found.encoding:
                    touched.append(digest)
                else:
                    revived.append((digest, size, found.stored_size, found.encoding))
            writer.blobs.make_live(revived)
            writer.blobs.touch(touched)
        return deleting

    def _right(self, digest: str, found: Presence | BlobRow) -> bool:
        """Whether an object that seems sound is, as far as it is worth a look at its bytes."""
        size = found.size
        if size is None or size > self._verify_max_bytes:
            unseen = self._verify_max_bytes and found.encoding == "zstd"
            return not unseen or look_through(self._driver, digest, found.stored_size, size) is not None
        try:
            data = self._driver.read(blob_path(digest, found.encoding))
            if found.encoding == "raw":
                check(digest, data, size)
            else:
                unpack(digest, data, size)
        except DamageError:
            return False
        return True

    def _unmark_for_the_dead(self, digests: Collection[str]) -> bool:
        """Take back what a collector had set to `deleting` if nobody collects any more (invariant 11)."""
        with contextlib.ExitStack() as stack:
            try:
                stack.enter_context(self._driver.lock(COLLECT_LOCK, wait_seconds=0))
            except StoreUnavailableError:
                return False
            take_marks_back(self._driver, self._metadata, digests)
        return True

    def _set_aside(self, writer: Writer, digest: str, found: Presence | None) -> None:
        """Repair by content: a damaged object leaves its name free, and no row promises it (invariant 8)."""
        writer.blobs.forget([digest])
        if found is not None:
            name = f"{digest}{SUFFIX[found.encoding]}-{os.urandom(5).hex()}"
            self._driver.move(blob_path(digest, found.encoding), f"quarantine/{name}")

    def _stage(self, digest: str, content: bytes | Staged) -> None:
        encoding: Encoding = "raw"
        if isinstance(content, bytes):
            size = len(content)
            encoding, stored = self._packer.add(self._batch, digest, content)
        else:
            staged, size = content.file, content.size
            stored = size
            if content.packed is not None:
                encoding, stored = "zstd", content.packed
            elif not content.cloned and not content.carried:
                staged, encoding, stored = self._packer.pack_staged(self._batch, staged, size)
            self._batch.name(staged, blob_path(digest, encoding))
        self._new[digest] = (digest, size, stored, encoding)
        self._new_bytes += stored
        if self._staged_since == math.inf:
            self._staged_since = time.monotonic()

    def _commit(self) -> None:
        """Objects, then rows: one batch, few transactions."""
        if not self._new:
            self._begin_batch()
            return
        with self._driver.lock(ARRIVE_LOCK, shared=True, wait_seconds=self._wait_seconds):
            existing = self._batch.commit()
            new = iter(sorted(self._new.values()))  # as the table is: neighbours share its pages, and their folder
            while rows := [*itertools.islice(new, bounds.BATCH_MAX_ROWS)]:
                with self._metadata.write() as writer:
                    writer.blobs.make_live(self._checked(writer, rows, existing))
        self._begin_batch()

    def _begin_batch(self) -> None:
        self._new = {}
        self._new_bytes = 0
        self._staged_since = math.inf

    def _checked(self, writer: Writer, new: list[Row], existing: Collection[str]) -> list[Row]:
        """See that the objects are there that were written, or existed under their names by then; gives their rows.

        One that existed, another's, may be another frame of the same content.
        """
        rows = writer.blobs.get([digest for digest, *_ in new])
        names = [blob_path(digest, encoding) for digest, _, _, encoding in new]
        # Another machine's collection, which knows no lock of this one, or somebody's own hands, may take one away.
        there = self._driver.among(names)
        if not rows and not existing and len(there) == len(new):
            return new
        checked: list[Row] = []
        for written, name in zip(new, names, strict=True):
            digest, size, stored, encoding = written
            row = rows.get(digest)
            if row is None and name not in existing:
                # A listing of a network file system may lack a name of a moment ago.
                sound = name in there or self._driver.stat(name) is not None
            else:
                found = see(self._driver, digest, size)
                sound = found is not None and not found.damaged and (row is None or row.state != "deleting")
                stored, encoding = (found.stored_size, found.encoding) if found is not None else (stored, encoding)
            if not sound:
                raise removed_meanwhile(digest)
            checked.append((digest, size, stored, encoding))
        return checked


def removed_meanwhile(digest: str) -> StoreUnavailableError:
    """What a writer is told whose object a collector has removed before anybody could rest on it."""
    return StoreUnavailableError(
        f"The blob {digest} was removed while it was being written.", hint="Try again.", reason="busy"
    )


def _size(content: bytes | Staged | Unread) -> int:
    return len(content) if isinstance(content, bytes) else content.size


def _pause(deleting: Collection[str], deadline: float) -> None:
    if time.monotonic() >= deadline:
        raise StoreUnavailableError(
            f"The blob {min(deleting)} is being deleted by a collection that does not end.",
            hint="Let gc finish, or run it again if it was killed.",
            reason="busy",
        )
    time.sleep(bounds.CLAIM_POLL_SECONDS)
