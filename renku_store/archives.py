"""The events of a run as one object: `events/<run>.jsonl.zst`, a header line and then one event a line.

Keeps invariant 4's condition: what is archived names every event by its id, and is durable before the manifest that
names it.
"""

from __future__ import annotations

import io
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any, Final

import orjson

from renku_store import bounds
from renku_store.drivers.base import Driver, ObjectStat
from renku_store.errors import BlobCorruptError, UnsupportedFormatError
from renku_store.hashing import hash_bytes
from renku_store.late import late_module
from renku_store.records._base import RecordError
from renku_store.records.events import Event, read_event
from renku_store.records.ids import check_run_id
from renku_store.records.manifest import ArchiveRef

if TYPE_CHECKING:
    import zstandard
else:
    zstandard = late_module("zstandard")

_ARCHIVE_NAME = re.compile(r"([0-9a-f-]{36})\.jsonl\.zst")
_HINT: Final = "Restore it from a copy; manifests and blobs do not depend on it."
_SLICE_BYTES: Final = 1_024
"""What is unpacked at a time: zstd makes at most 32 MB of it, and of events far less."""


def archive_path(run: str) -> str:
    """The path of a run's archive relative to its movie."""
    return f"events/{check_run_id(run)}.jsonl.zst"


class ArchiveStore:
    """The event archives of one movie."""

    def __init__(self, driver: Driver, movie: str) -> None:
        self._driver = driver
        self._movie = movie
        self._fetched: Callable[[str], bytes] | None = None

    def fetched(self, read: Callable[[str], bytes]) -> ArchiveStore:
        """The same archives for one who has fetched some ahead: `read` gives the bytes of one by its path."""
        other = ArchiveStore(self._driver, self._movie)
        other._fetched = read
        return other

    def write(self, run: str, events: Iterable[Event]) -> ArchiveRef:
        """Archive a run's events, durably; a run that is resumed replaces its archive by one that holds more."""
        return self.save(run, self.encode(run, events))

    def encode(self, run: str, events: Iterable[Event]) -> bytes:
        """The bytes of an archive: one zstd frame with a checksum of its content."""
        buffer = io.BytesIO()
        compressor = zstandard.ZstdCompressor(level=bounds.COMPRESSION_LEVEL, write_checksum=True)
        with compressor.stream_writer(buffer, closefd=False) as stream:
            header = {"type": "archive", "format": bounds.FORMAT_VERSION, "movie": self._movie, "run": run}
            stream.write(orjson.dumps(header) + b"\n")
            for event in events:
                stream.write(orjson.dumps(event.to_json()) + b"\n")
        return buffer.getvalue()

    def save(self, run: str, data: bytes) -> ArchiveRef:
        """Give the bytes of an archive their name, durably."""
        self._driver.replace(archive_path(run), data)
        return ArchiveRef(name=archive_path(run), hash=hash_bytes(data))

    def runs(self) -> list[str]:
        """The runs that have an archive, oldest first."""
        names = (_ARCHIVE_NAME.fullmatch(name) for name in self._driver.children("events/"))
        return sorted(match[1] for match in names if match)

    def present(self) -> dict[str, ObjectStat]:
        """By run its archive, as a listing tells of it."""
        found = {entry.name.removeprefix("events/"): entry for entry in self._driver.list("events/")}
        return {match[1]: entry for name, entry in found.items() if (match := _ARCHIVE_NAME.fullmatch(name))}

    def read(self, run: str, expected: str | None = None) -> Iterator[Event]:
        """The events of a run's archive, verified against the hash that a manifest says, where one does.

        Raises `BlobMissingError` or `BlobCorruptError` where they cannot be had, `UnsupportedFormatError` where a newer
        version wrote them.
        """
        name = archive_path(run)
        try:
            for line in self._verified(run, expected):
                yield read_event(line)
        except RecordError as error:
            raise _unreadable(name) from error

    def in_order(self, run: str, expected: str, wanted: Callable[[Mapping[str, Any]], bool]) -> Iterator[Event]:
        """Those events of a run's archive that are wanted, in the order of their ids, without their numbers.

        `wanted` is asked with the JSON form. The lines of those events are held in memory, and one event at a time.
        Numbers are left out because another database may have given them. Raises what `read` raises.
        """
        name = archive_path(run)
        found: list[tuple[str, bytes]] = []
        try:
            for line in self._verified(run, expected):
                document = orjson.loads(line)
                if wanted(document):
                    found.append((document["id"], line))
            found.sort()
            for _, line in found:
                yield read_event(line).replace(seq=None)
        except (RecordError, orjson.JSONDecodeError, KeyError, AttributeError, TypeError) as error:
            raise _unreadable(name) from error

    def exists(self, run: str) -> bool:
        """Whether a run has an archive, of whatever content."""
        return self._driver.stat(archive_path(run)) is not None

    def digest(self, run: str) -> str:
        """The hash of a run's archive as it is stored; `BlobMissingError` where there is none."""
        return hash_bytes(self._driver.read(archive_path(run)))

    def settle(self, run: str) -> None:
        """Make the name of an archive durable, whose writer may have died before it did."""
        self._driver.settle([archive_path(run)])

    def _verified(self, run: str, expected: str | None) -> Iterator[bytes]:
        """The lines of an archive after its header, which is checked, as is the hash of the whole."""
        name = archive_path(run)
        data = (self._fetched or self._driver.read)(name)
        if expected is not None and hash_bytes(data) != expected:
            raise BlobCorruptError(
                f"The archive {name} is damaged.",
                hint=_HINT,
            )
        try:
            lines = _lines(data)
            _check_header(name, run, next(lines, b""))
            yield from lines
        except (zstandard.ZstdError, orjson.JSONDecodeError) as error:
            raise _unreadable(name) from error


def _lines(data: bytes) -> Iterator[bytes]:
    """The lines of a whole frame, without holding all of them; `ZstdError` for one that was cut off or altered."""
    decompressor = zstandard.ZstdDecompressor(max_window_size=bounds.COMPRESSION_WINDOW_MAX_BYTES).decompressobj()
    rest = b""
    for start in range(0, len(data), _SLICE_BYTES):
        *lines, rest = (rest + decompressor.decompress(data[start : start + _SLICE_BYTES])).split(b"\n")
        yield from lines
        if decompressor.eof:
            break
    if rest or not decompressor.eof:
        raise zstandard.ZstdError("the archive was cut off")


def _check_header(name: str, run: str, line: bytes) -> None:
    header = orjson.loads(line)
    if not isinstance(header, dict) or header.get("type") != "archive" or header.get("run") != run:
        raise _unreadable(name)
    if header.get("format") != bounds.FORMAT_VERSION:
        raise UnsupportedFormatError(
            f"The archive {name} has format {header.get('format')!a}; this version reads {bounds.FORMAT_VERSION}.",
            hint="Install a newer renku-store.",
        )


def _unreadable(name: str) -> BlobCorruptError:
    return BlobCorruptError(f"The archive {name} cannot be read.", hint=_HINT)
