"""The events of a run as one object: `events/<run>.jsonl.zst`, a header line and then one event a line.

Keeps invariant 4's condition: what is archived names every event by its id, and is durable before the manifest that
names it.
"""

from __future__ import annotations

import io
import re
from collections.abc import Iterable, Iterator

import orjson
import zstandard
from pydantic import TypeAdapter, ValidationError

from renku_store import bounds
from renku_store.drivers.base import Driver
from renku_store.errors import BlobCorruptError
from renku_store.hashing import hash_bytes
from renku_store.records.events import Event
from renku_store.records.ids import check_run_id
from renku_store.records.manifest import ArchiveRef

_ARCHIVE_NAME = re.compile(r"([0-9a-f-]{36})\.jsonl\.zst")
_EVENT: TypeAdapter[Event] = TypeAdapter(Event)


def archive_path(run: str) -> str:
    """The path of a run's archive relative to its movie."""
    return f"events/{check_run_id(run)}.jsonl.zst"


class ArchiveStore:
    """The event archives of one movie."""

    def __init__(self, driver: Driver, movie: str) -> None:
        self._driver = driver
        self._movie = movie

    def write(self, run: str, events: Iterable[Event]) -> ArchiveRef:
        """Archive a run's events, durably; a run that is resumed replaces its archive by one that holds more."""
        buffer = io.BytesIO()
        with zstandard.ZstdCompressor(level=bounds.COMPRESSION_LEVEL).stream_writer(buffer, closefd=False) as stream:
            header = {"type": "archive", "format": bounds.FORMAT_VERSION, "movie": self._movie, "run": run}
            stream.write(orjson.dumps(header) + b"\n")
            for event in events:
                stream.write(orjson.dumps(event.to_json()) + b"\n")
        data = buffer.getvalue()
        self._driver.replace(archive_path(run), data)
        return ArchiveRef(name=archive_path(run), hash=hash_bytes(data))

    def runs(self) -> list[str]:
        """The runs that have an archive, oldest first."""
        names = (_ARCHIVE_NAME.fullmatch(name) for name in self._driver.children("events/"))
        return sorted(match[1] for match in names if match)

    def read(self, run: str, expected: str | None = None) -> Iterator[Event]:
        """The events of a run's archive, verified against the hash that a manifest says, where one does.

        Raises `BlobMissingError` or `BlobCorruptError` where they cannot be had.
        """
        name = archive_path(run)
        data = self._driver.read(name)
        if expected is not None and hash_bytes(data) != expected:
            raise BlobCorruptError(f"The archive {name} is damaged.", hint="`renku-store fsck` tells what is affected.")
        try:
            with zstandard.ZstdDecompressor().stream_reader(io.BytesIO(data)) as stream:
                lines = io.TextIOWrapper(stream, encoding="utf-8", newline="\n")
                next(lines)
                for line in lines:
                    yield _EVENT.validate_json(line)
        except (zstandard.ZstdError, ValidationError, StopIteration) as error:
            raise BlobCorruptError(f"The archive {name} cannot be read.", hint="`renku-store fsck`.") from error
