"""Content on the way in: from bytes, files and streams to bytes in memory or a staged file, hashed as it passes.

Keeps invariant 1: what is hashed is what was stored, never the source, which may change meanwhile.
"""

from __future__ import annotations

import io
import itertools
import os
import queue
import stat
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import closing
from pathlib import Path, PurePath
from types import TracebackType
from typing import TYPE_CHECKING, BinaryIO, Final, Self

from blake3 import blake3
from msgspec import Struct

from renku_store import bounds
from renku_store.drivers.base import Batch, StagedFile
from renku_store.drivers.posix import read_all, shown, unavailable
from renku_store.drivers.urls import checked_path
from renku_store.errors import InvalidValueError, NotFoundError
from renku_store.late import late_module
from renku_store.records.blob import BlobRef

if TYPE_CHECKING:
    from renku_store.drivers import bulk
else:  # who puts nothing does not load what puts
    bulk = late_module("renku_store.drivers.bulk")

_CHUNKS_AHEAD: Final = 4


class Staged(Struct, frozen=True):
    """Content too large to hold: staged raw, with its hash and size. `cloned`: it shares its blocks with its source.

    What comes from another store stays as it is stored there, `carried`; `packed` are then the bytes of its one frame.
    """

    file: StagedFile
    hash: str
    size: int
    cloned: bool = False
    carried: bool = False
    packed: int | None = None


Source = bytes | bytearray | memoryview | BinaryIO | str | os.PathLike[str] | Staged


class _Digester:
    """Hashes in a second thread, so that writing a large file does not wait for it (a quarter faster on two cores)."""

    def __init__(self) -> None:
        self._hasher = blake3()
        self._chunks: queue.Queue[bytes | None] = queue.Queue(_CHUNKS_AHEAD)
        self._thread = threading.Thread(target=self._run, name="blob-hash", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._chunks.put(None)
        self._thread.join()

    def feed(self, chunk: bytes) -> None:
        """Hash a chunk soon; waits when too many are ahead."""
        self._chunks.put(chunk)

    def digest(self) -> str:
        """The digest of all chunks, once the context has ended."""
        return self._hasher.hexdigest()

    def _run(self) -> None:
        while (chunk := self._chunks.get()) is not None:
            self._hasher.update(chunk)


def ahead(sources: Iterable[Source]) -> Iterable[Source]:
    """Sources in order, the small files among many paths as their content, which is read beside who takes them.

    Only of a list or a tuple: what another iterable gives may be there only until it is asked for the next.
    """
    if not isinstance(sources, list | tuple) or len(sources) < bounds.BULK_MIN_FILES or bulk.compiled() is None:
        return sources
    sources = [*sources]
    paths = [os.fspath(source) for source in sources if isinstance(source, str | PurePath)]
    if len(paths) < len(sources) or "\0" in "".join(paths):
        return sources
    read = bulk.read_ahead(paths)
    return (source if content is None else content for source, content in zip(sources, read, strict=True))


def take_file(
    batch: Batch,
    path: str | os.PathLike[str],
    may_be_there: Callable[[int], bool],
    is_there: Callable[[BlobRef], bool],
) -> bytes | Staged | BlobRef:
    """The content of a regular file: in memory if small, else staged, by reflink where the file system can.

    A reference where the content of a large file is stored already: asked by its size, and if that may be by its hash.
    `NotFoundError` where there is no such file, `InvalidValueError` for a folder, a device, or what no path can be.
    """
    try:
        # A FIFO without a writer would else block the caller for ever.
        descriptor = os.open(checked_path(os.fspath(path)), os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except (FileNotFoundError, NotADirectoryError) as error:
        raise NotFoundError(f"There is no file {shown(path)}.", hint="Check the path.") from error
    except OSError as error:
        raise unavailable(error, "read", path) from error
    try:
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode):
            raise _not_a_file(path)
        if status.st_size <= bounds.BLOB_HOLD_MAX_BYTES:
            data = read_all(descriptor, bounds.BLOB_HOLD_MAX_BYTES + 1, status.st_size)
            if len(data) <= bounds.BLOB_HOLD_MAX_BYTES:
                return data
            os.lseek(descriptor, 0, os.SEEK_SET)  # it has grown since
        with io.FileIO(descriptor, closefd=False) as source:
            return _take_large(batch, source, path, status.st_size, may_be_there, is_there)
    except OSError as error:
        raise unavailable(error, "read", path) from error
    finally:
        os.close(descriptor)


def _take_large(
    batch: Batch,
    source: BinaryIO,
    path: str | os.PathLike[str],
    size: int,
    may_be_there: Callable[[int], bool],
    is_there: Callable[[BlobRef], bool],
) -> bytes | Staged | BlobRef:
    if may_be_there(size):
        reference = _hashed(source)
        if is_there(reference):
            return reference
    return _clone(batch, Path(path)) or take_stream(batch, source)


def _hashed(source: BinaryIO) -> BlobRef:
    """What a file holds now, read to its end and wound back."""
    size = 0
    with _Digester() as digester:
        for chunk in _chunks(source):
            digester.feed(chunk)
            size += len(chunk)
    source.seek(0)
    return BlobRef(digester.digest(), size)


def _not_a_file(path: str | os.PathLike[str]) -> InvalidValueError:
    return InvalidValueError(f"{shown(path)} is not a regular file.", hint="Give a file, or an open stream.")


def _clone(batch: Batch, path: Path) -> Staged | None:
    staged = batch.stage()
    if not staged.clone_from(path):
        batch.discard(staged)
        return None
    with closing(staged.read_back()) as copy, _Digester() as digester:
        size = 0
        for chunk in _chunks(copy):
            digester.feed(chunk)
            size += len(chunk)
    return Staged(staged, digester.digest(), size, cloned=True)


def take_stream(batch: Batch, source: BinaryIO | memoryview) -> bytes | Staged:
    """The rest of a stream, or a copy of a buffer that may change: in memory if small, else staged."""
    chunks = _slices(source) if isinstance(source, memoryview) else _chunks(source)
    held: list[bytes] = []
    held_bytes = 0
    for chunk in chunks:
        held.append(chunk)
        held_bytes += len(chunk)
        if held_bytes > bounds.BLOB_HOLD_MAX_BYTES:
            return _stage(batch, held, chunks)
    return held[0] if len(held) == 1 else b"".join(held)


def _stage(batch: Batch, held: list[bytes], rest: Iterator[bytes]) -> Staged:
    staged = batch.stage()
    size = 0
    with _Digester() as digester:
        for chunk in itertools.chain(held, rest):
            digester.feed(chunk)
            staged.write(chunk)
            size += len(chunk)
    return Staged(staged, digester.digest(), size)


def _chunks(source: BinaryIO) -> Iterator[bytes]:
    while True:
        chunk = source.read(bounds.CHUNK_BYTES)
        kind = type(chunk).__name__
        if kind != "bytes":
            raise InvalidValueError(
                f"The stream gave {kind} instead of bytes.", hint="Open it in binary mode, blocking."
            )
        if not chunk:
            return
        yield chunk


def _slices(view: memoryview) -> Iterator[bytes]:
    flat = view.cast("B") if view.contiguous else memoryview(view.tobytes())
    for start in range(0, len(flat), bounds.CHUNK_BYTES):
        yield bytes(flat[start : start + bounds.CHUNK_BYTES])
