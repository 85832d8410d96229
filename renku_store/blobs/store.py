"""The store of bytes: put under the hash of their content, read back verified.

Keeps invariants 1, 2, 8 and 9: `intake` on the way in, `reading` on the way out.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

from msgspec import Struct

from renku_store import bounds
from renku_store.announcing import Announcer
from renku_store.blobs.presence import Presence, Seen, see, see_all
from renku_store.blobs.reading import FRAME_HEADER_MAX_BYTES, check, check_file, corrupt, frame_size, unpack
from renku_store.blobs.through import ReadThrough
from renku_store.clock import SystemClock
from renku_store.drivers.base import Driver, shares_index
from renku_store.drivers.caching.cache import ObjectCache
from renku_store.drivers.posix import shown, unavailable
from renku_store.errors import BlobCorruptError, BlobMissingError, DamageError, InvalidValueError, StoreUnavailableError
from renku_store.late import late_module
from renku_store.metadata.base import MetadataStore, Writer
from renku_store.records.blob import BlobRef, BlobRow, Encoding, blob_path
from renku_store.records.ids import check_hash

if TYPE_CHECKING:
    from renku_store.blobs import apart, carrying, keeping, listing, verifying
    from renku_store.blobs.intake import Row
    from renku_store.blobs.taking import Source
else:  # who only reads has no use for them
    apart, carrying, keeping, listing, verifying = (
        late_module(f"renku_store.blobs.{name}") for name in ("apart", "carrying", "keeping", "listing", "verifying")
    )

_GONE_HINT = "The next run makes it anew, if a job can; or restore the file from a copy."


class BlobStat(Struct, frozen=True):
    """A stored blob: `size` in bytes of its content, `stored_size` of the object at `path`, relative to the movie."""

    hash: str
    size: int | None
    stored_size: int
    encoding: Encoding
    path: str


class BlobStore:
    """Blobs of one movie. Safe to use from many threads and processes.

    `metadata` None: a read-only root without a database; then nothing can be put. `wait_seconds`: how long a put waits
    for a collection that deletes the same blob. `announcer` tells other machines, where they share no index. Content
    that was put or read is kept in `cache`, and read from there. Every method raises `StoreUnavailableError` where the
    storage fails.
    """

    def __init__(
        self,
        driver: Driver,
        metadata: MetadataStore | None,
        *,
        wait_seconds: float = bounds.BUSY_MAX_SECONDS,
        announcer: Announcer | None = None,
        cache: ObjectCache | None = None,
    ) -> None:
        self._driver = driver
        self._through = ReadThrough(driver, cache)
        self._metadata = metadata
        self._announcer = announcer or Announcer(driver, SystemClock())
        self._wait_seconds = wait_seconds

    # Writing

    def put(self, data: bytes | bytearray | memoryview | BinaryIO) -> BlobRef:
        """Store bytes, or the rest of a binary stream, in constant memory; durable on return.

        Content that is there already, but damaged, is written anew where its size shows that, and in any case up to
        `PUT_VERIFY_MAX_BYTES`; so it is with `put_file`.
        """
        if isinstance(data, str | os.PathLike):
            raise InvalidValueError("`put` takes bytes or a stream.", hint="Encode text; `put_file` takes a path.")
        return self._put_one(data)

    def put_file(self, path: str | os.PathLike[str]) -> BlobRef:
        """Store the content of a file; durable on return. `NotFoundError` where there is none."""
        return self._put_one(os.fspath(path))

    def put_many(self, items: Iterable[Source], *, verify: bool = False) -> list[BlobRef]:
        """Store bytes, streams and files (by path), in order, sharing syncs and transactions; durable on return.

        `verify`: look at the bytes of what is there already, as `put` does; without it only at sizes. After an error
        some of the items may be stored, each of them whole.
        """
        limit = bounds.PUT_VERIFY_MAX_BYTES if verify else 0
        return self._put_all(items, limit)

    def _put_one(self, source: Source) -> BlobRef:
        limit = bounds.PUT_VERIFY_MAX_BYTES
        return self._put_all((source,), limit)[0]

    def _put_all(self, sources: Iterable[Source], limit: int) -> list[BlobRef]:
        metadata = self._writable()
        return apart.put_all(
            self._driver,
            metadata,
            self._announcer,
            sources,
            self._wait_seconds,
            verify_max_bytes=limit,
            keep=self._through.keep_source if self._through.keeps else None,
        )

    def put_again(self, hashes: Iterable[str]) -> bool:
        """Put those of these blobs that another machine has removed, from what this one keeps; whether all are there.

        Only where machines share no index.
        """
        if not (self._announcer.needed and self._through.keeps):
            return False
        wanted: dict[str, int | None] = {check_hash(digest): None for digest in hashes}
        seen = see_all(self._driver, wanted, self._known(wanted))
        lost = [digest for digest in wanted if digest not in seen or seen[digest].damaged]
        return all(self._through.hand_over(digest, self.put) for digest in lost)

    def carry(self, source: Driver, hashes: Iterable[str], on_blob: Callable[[int], None]) -> dict[str, DamageError]:
        """Store blobs of another movie, given by its driver, as they are there, each verified; durable on return.

        `on_blob` hears of the bytes of each. Gives those that cannot be had from there, with the reason.
        """
        wanted = map(check_hash, hashes)
        with apart.taking(self._driver, self._writable(), self._announcer, self._wait_seconds) as (intake, batch):
            return carrying.carry_all(intake, batch, source, wanted, on_blob)

    def keep_young(self, hashes: Iterable[str]) -> None:
        """Before a transaction that revives blobs: where rows are no promises, let the objects be young.

        Those that are not there are left to `revive`.
        """
        if not self._announcer.needed:
            return
        wanted: dict[str, int | None] = {check_hash(digest): None for digest in hashes}
        keeping.kept_young(self._driver, self._announcer, see_all(self._driver, wanted, self._known(wanted)))

    def notice(self, hashes: Iterable[str]) -> None:
        """Give rows to those of these blobs that have none, and are there: what other machines have put."""
        wanted = {check_hash(digest) for digest in hashes}
        known = self._known(wanted)
        found = see_all(self._driver, dict.fromkeys(wanted - known.keys()), {})
        whole = {digest: seen for digest, seen in found.items() if not seen.damaged}
        rows: list[Row] = [
            (d, seen.size, seen.stored_size, seen.encoding) for d, seen in whole.items() if seen.size is not None
        ]
        if rows:
            with self._writable().write() as writer:
                writer.blobs.make_live(rows)

    def look(self, hashes: Iterable[str]) -> dict[str, Presence]:
        """Before a write transaction that revives blobs: see them, where their storage is far away; else nothing.

        What keeps an object there is what was announced, or its age, and not the write lock: so nobody has to wait for
        that while so many are asked for.
        """
        if shares_index(self._driver):
            return {}
        wanted: dict[str, int | None] = {check_hash(digest): None for digest in hashes}
        return see_all(self._driver, wanted, self._known(wanted))

    def revive(self, writer: Writer, hashes: Iterable[str], seen: Seen | None = None, kept: Sequence[str] = ()) -> None:
        """Inside a write transaction: see each object, make its row live, and touched but for `kept` (invariant 9).

        `seen` are those that `look` has seen since they were protected. `BlobMissingError` names the first object that
        is not there (or is being deleted), `BlobCorruptError` one of a wrong size.
        """
        wanted = sorted({check_hash(digest) for digest in (*hashes, *kept)})
        rows = writer.blobs.get(wanted)
        touched: list[str] = []
        revived: list[Row] = []
        seen = {**see_all(self._driver, {d: None for d in wanted if d not in (seen or ())}, rows), **(seen or {})}
        for digest in wanted:
            row = rows.get(digest)
            found = seen.get(digest)
            if found is None or (row is not None and row.state == "deleting"):
                raise _missing(digest)
            if found.damaged or found.size is None:
                raise corrupt(digest, f"its object takes {found.stored_size} bytes, which cannot be right")
            if row is not None and row.state == "live" and row.encoding == found.encoding:
                touched.append(digest)
            else:
                revived.append((digest, found.size, found.stored_size, found.encoding))
        self._driver.settle(blob_path(digest) for digest, *_ in revived if digest not in rows)
        writer.blobs.make_live(revived)
        writer.blobs.touch({*touched}.difference(kept))

    # Reading

    def read(self, blob: BlobRef | str) -> bytes:
        """The content, verified; `BlobMissingError` or `BlobCorruptError` otherwise.

        Of a blob that is stored both plain and packed, a sound object serves where the other one is damaged; so it is
        with `open` and `copy_to`.
        """
        digest, size = _named(blob)
        if self._through.keeps:
            kept = self._through.kept(digest, size)
            if kept is not None:
                return kept
            if self._through.streams(size):
                with self.open(blob) as stream:
                    return stream.read()
        try:
            raw = self._driver.read(blob_path(digest), None if size is None else size + 1)
        except BlobMissingError:
            return self._read_packed(digest, size)
        try:
            content = check(digest, raw, size)
        except BlobCorruptError as error:
            try:
                return self._read_packed(digest, size)
            except (BlobMissingError, BlobCorruptError):
                raise error from None
        if self._through.keeps:
            self._through.keep(digest, "raw", content)
        return content

    def open(self, blob: BlobRef | str) -> BinaryIO:
        """A read-only stream of the content in constant memory, not seekable.

        `BlobCorruptError` is raised before the last byte is handed over, `BlobMissingError` at once.
        """
        digest, size = _named(blob)
        kept = self._through.open_kept(digest, size)
        if kept is not None:
            return kept
        raw = self._driver.stat(blob_path(digest))
        if raw is not None and not (self._is_packed(digest) and self._is_damaged(digest, raw.size, size)):
            if size is not None and raw.size != size:
                raise corrupt(digest, f"its object has {raw.size} bytes where {size} are recorded")
            with suppress(BlobMissingError):
                return self._through.open_raw(digest, raw.size)
        size = size if size is not None else self._recorded_size(digest)
        try:
            header = self._driver.read(blob_path(digest, "zstd"), FRAME_HEADER_MAX_BYTES)
            stated = frame_size(digest, header, size)
            return self._through.open_packed(digest, stated)
        except BlobMissingError as error:
            raise _missing(digest) from error

    def copy_to(self, blob: BlobRef | str, target: Path) -> None:
        """Write the content into a new file, verified, in constant memory, by reflink where the file system can.

        The file is not synced. After an error it is gone. `InvalidValueError` where the target exists.
        """
        try:
            with target.open("xb", buffering=0) as file:
                try:
                    self._copy(blob, target, file)
                except BaseException:
                    target.unlink()
                    raise
        except FileExistsError as error:
            raise InvalidValueError(
                f"{shown(target)} exists already.", hint="Name a file that does not exist."
            ) from error
        except OSError as error:
            raise unavailable(error, "write", target) from error

    def _copy(self, blob: BlobRef | str, target: Path, file: BinaryIO) -> None:
        digest, size = _named(blob)
        raw = None if self._through.keeps else self._driver.stat(blob_path(digest))
        alone = raw is not None and raw.size > 0 and not self._is_packed(digest)
        if alone and self._driver.clone_to(blob_path(digest), target):
            check_file(digest, target, size)
            return
        with self.open(blob) as source:
            while chunk := source.read(bounds.CHUNK_BYTES):
                view = memoryview(chunk)
                while view:
                    view = view[file.write(view) :]

    def stat(self, blob: BlobRef | str) -> BlobStat:
        """How a blob is stored; `BlobMissingError` where it is not. Reads no content."""
        digest, size = _named(blob)
        found = see(self._driver, digest, size if size is not None else self._recorded_size(digest))
        if found is None:
            raise _missing(digest)
        return BlobStat(digest, found.size, found.stored_size, found.encoding, blob_path(digest, found.encoding))

    def has(self, blob: BlobRef | str) -> bool:
        """Whether the object is there, of the size that is right by the index, and not being deleted: as `revive` sees.

        Of a compressed object that the index does not know the frame has to be whole. Reads no content.
        """
        digest, size = _named(blob)
        return self._seems_sound(digest, size, self._known((digest,)).get(digest))

    def quarantine(self, blob: BlobRef | str) -> bool:
        """Move the wrong ones of a blob's objects to `quarantine/`, so that they can be made anew under their names.

        False where right bytes are there, or are left. An object that cannot be read is not called wrong.
        """
        digest = _named(blob)[0]
        metadata = self._writable()
        wrong = verifying.wrong_objects(self._driver, digest, verifying.damage)
        if not wrong and verifying.stored(self._driver, digest):
            return False
        with metadata.write() as writer:
            moved = verifying.move_wrong(self._driver, wrong, writer.now_ms())
            left = bool(verifying.stored(self._driver, digest))
            if moved or not left:
                writer.blobs.forget([digest])
                writer.checks.forget_verified([digest])
            if moved and left:
                with suppress(BlobCorruptError, BlobMissingError):
                    self.revive(writer, [digest])
            return not left

    def digests(self) -> Iterator[str]:
        """The hash of every stored blob, in no order; one that is stored both plain and packed comes twice."""
        return (found.name.rpartition("/")[2].removesuffix(".zst") for found in self._driver.list("blobs/"))

    def present(self) -> Iterator[Row]:
        """What `make_live` takes of every stored blob whose size can be right, in no order; reads no content."""
        return listing.present(self._driver)

    def damaged(self, blobs: Mapping[str, int]) -> set[str]:
        """Of blobs given as hash and size in bytes, those whose object is missing or, by a look at sizes, wrong."""
        found: set[str] = set()
        digests = iter(blobs)
        while page := list(islice(digests, bounds.EVENT_PAGE_ROWS)):
            known = self._known(page)
            seen = see_all(self._driver, {check_hash(digest): blobs[digest] for digest in page}, known)
            deleting = {digest for digest, row in known.items() if row.state == "deleting"}
            found |= {d for d in page if d not in seen or seen[d].damaged or d in deleting}
        return found

    def _seems_sound(self, digest: str, size: int | None, row: BlobRow | None) -> bool:
        if row is not None and row.state == "deleting":
            return False
        found = see(self._driver, digest, size, row)
        return found is not None and not found.damaged

    def _known(self, digests: Collection[str]) -> dict[str, BlobRow]:
        if self._metadata is None:
            return {}
        with self._metadata.read() as reader:
            return reader.blobs.get(digests)

    def _read_packed(self, digest: str, size: int | None) -> bytes:
        try:
            packed = self._driver.read(blob_path(digest, "zstd"))
        except BlobMissingError:
            raise _missing(digest) from None
        content = unpack(digest, packed, size if size is not None else self._recorded_size(digest))
        self._through.keep(digest, "zstd", packed)
        return content

    def _is_packed(self, digest: str) -> bool:
        return self._driver.stat(blob_path(digest, "zstd")) is not None

    def _is_damaged(self, digest: str, stored_size: int, size: int | None) -> bool:
        """Whether the plain object is; reads all of it, for it is asked only where there is another one."""
        if size is not None and stored_size != size:
            return True
        try:
            return verifying.damage(self._driver, digest, "raw") is not None
        except BlobMissingError:
            return True

    def _recorded_size(self, digest: str) -> int | None:
        if self._metadata is None:
            return None
        with self._metadata.read() as reader:
            row = reader.blobs.get((digest,)).get(digest)
        return None if row is None else row.size

    def _writable(self) -> MetadataStore:
        if self._metadata is None or self._driver.read_only:
            raise StoreUnavailableError(
                "No blob can be put: the movie was opened for reading only.",
                hint="Choose a root that can be written to.",
            )
        return self._metadata


def _named(blob: BlobRef | str) -> tuple[str, int | None]:
    if isinstance(blob, BlobRef):
        return check_hash(blob.hash), blob.size
    return check_hash(blob), None


def _missing(digest: str) -> BlobMissingError:
    return BlobMissingError(f"The blob {digest} is not there.", hint=_GONE_HINT)
