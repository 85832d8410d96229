"""Blobs on their way from one movie's objects to another's: stored as they were, each verified before it has a name.

Keeps invariant 1 across stores. Small objects are read and verified by threads, some ahead of the one that stages them,
so that a far storage is not waited for blob by blob; large ones pass through a staged file, in constant memory.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from contextlib import closing
from itertools import islice
from typing import TYPE_CHECKING, BinaryIO, Final

from blake3 import blake3
from msgspec import Struct

from renku_store import bounds
from renku_store.blobs.intake import Intake
from renku_store.blobs.reading import FRAME_HEADER_MAX_BYTES, check, corrupt, frame_size, unpack
from renku_store.blobs.taking import Staged
from renku_store.blobs.verifying import ENCODINGS, read_frame
from renku_store.drivers.base import Batch, Driver, shares_index
from renku_store.errors import BlobCorruptError, BlobMissingError, DamageError
from renku_store.late import late_module
from renku_store.records.blob import Encoding, blob_path

if TYPE_CHECKING:
    from concurrent import futures

    import zstandard
else:
    futures = late_module("concurrent.futures")
    zstandard = late_module("zstandard")

_THREADS_AWAY: Final = 16
"""Objects that are asked for at a time from a storage that is not of this machine; each takes up to 8 MiB or so."""
_THREADS_HERE: Final = 2


class _Fetched(Struct, frozen=True):
    """An object as it is stored, its content of `size` bytes verified; `data` None: it is too large to be held."""

    encoding: Encoding
    size: int
    data: bytes | None


def carry_all(
    intake: Intake, batch: Batch, source: Driver, digests: Iterable[str], on_blob: Callable[[int], None]
) -> dict[str, DamageError]:
    """Let an intake take blobs from another movie's objects; gives those that cannot be had, with the reason."""
    lost: dict[str, DamageError] = {}
    for digest, future in _ahead(source, digests):
        try:
            fetched = future.result()
            staged = _stage_large(source, digest, batch) if fetched.data is None else _stage(digest, fetched, batch)
        except DamageError as error:
            lost[digest] = error
            continue
        intake.take(staged)
        on_blob(staged.size if staged.packed is None else staged.packed)
    return lost


def _ahead(source: Driver, digests: Iterable[str]) -> Iterator[tuple[str, futures.Future[_Fetched]]]:
    """Every blob with the answer to come, in order, so many asked for at a time."""
    threads = _THREADS_HERE if shares_index(source) else _THREADS_AWAY
    remaining = iter(digests)
    with futures.ThreadPoolExecutor(threads, thread_name_prefix="blob-carry") as pool:
        asked = deque((digest, pool.submit(_fetch, source, digest)) for digest in islice(remaining, threads))
        try:
            while asked:
                yield asked.popleft()
                asked.extend((digest, pool.submit(_fetch, source, digest)) for digest in islice(remaining, 1))
        finally:
            pool.shutdown(wait=True, cancel_futures=True)


def _fetch(source: Driver, digest: str) -> _Fetched:
    """Read an object of a blob, a sound one if there is any; of a large one it is only said that it is there."""
    wrong: BlobCorruptError | None = None
    for encoding in ENCODINGS:
        try:
            data = source.read(blob_path(digest, encoding), bounds.BLOB_HOLD_MAX_BYTES + 1)
            return _verified(digest, encoding, data)
        except BlobMissingError:
            continue
        except BlobCorruptError as error:
            wrong = error
    raise wrong or _missing(digest)


def _verified(digest: str, encoding: Encoding, data: bytes) -> _Fetched:
    if len(data) > bounds.BLOB_HOLD_MAX_BYTES:
        return _Fetched(encoding, 0, None)
    if encoding == "raw":
        return _Fetched(encoding, len(check(digest, data, None)), data)
    size = frame_size(digest, data, None)
    if size > bounds.BLOB_HOLD_MAX_BYTES:
        return _Fetched(encoding, size, None)
    return _Fetched(encoding, len(unpack(digest, data, size)), data)


def _stage(digest: str, fetched: _Fetched, batch: Batch) -> Staged:
    staged = batch.stage()
    staged.write(fetched.data or b"")
    packed = None if fetched.encoding == "raw" else len(fetched.data or b"")
    return Staged(staged, digest, fetched.size, carried=True, packed=packed)


def _stage_large(source: Driver, digest: str, batch: Batch) -> Staged:
    """Stage an object front to back, by reflink where the file system can, and verify what was staged."""
    wrong: BlobCorruptError | None = None
    for encoding in ENCODINGS:
        staged = batch.stage()
        name = blob_path(digest, encoding)
        try:
            path = source.local_path(name)
            if path is None or not staged.clone_from(path):
                batch.discard(staged)
                staged = batch.stage()
                with source.open(name) as stream:
                    while chunk := stream.read(bounds.CHUNK_BYTES):
                        staged.write(chunk)
            with closing(staged.read_back()) as copy:
                size, stored = _checked(digest, encoding, copy)
            return Staged(staged, digest, size, carried=True, packed=None if encoding == "raw" else stored)
        except BlobMissingError:
            batch.discard(staged)
        except BlobCorruptError as error:
            batch.discard(staged)
            wrong = error
    raise wrong or _missing(digest)


def _checked(digest: str, encoding: Encoding, copy: BinaryIO) -> tuple[int, int]:
    """The bytes of the content, and those that are stored; `BlobCorruptError` where the content is not what it is."""
    if encoding == "raw":
        hasher, count = blake3(), 0
        while chunk := copy.read(bounds.CHUNK_BYTES):
            hasher.update(chunk)
            count += len(chunk)
        if hasher.hexdigest() != digest:
            raise corrupt(digest, "its bytes have another hash")
        return count, count
    size = frame_size(digest, copy.read(FRAME_HEADER_MAX_BYTES), None)
    stored = copy.seek(0, 2)
    copy.seek(0)
    try:
        read_frame(digest, copy, size)
    except zstandard.ZstdError as error:
        raise corrupt(digest, f"its frame cannot be read ({error})") from error
    return size, stored


def _missing(digest: str) -> BlobMissingError:
    return BlobMissingError(f"The blob {digest} is not there.", hint="Restore it from another copy.")
