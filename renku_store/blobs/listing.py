"""Every stored blob, as an index is made of them anew: from listings, and the first bytes of what is compressed.

Of invariant 8: a row is made of an object that a listing has just named.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Final

from renku_store import bounds
from renku_store.blobs.intake import Row
from renku_store.blobs.presence import see
from renku_store.blobs.reading import FRAME_HEADER_MAX_BYTES, frame_size
from renku_store.drivers.base import Driver, ObjectStat, shares_index
from renku_store.errors import BlobCorruptError
from renku_store.records.blob import SUFFIX, blob_path

_BLOB: Final = re.compile(rf"blobs/([0-9a-f]{{2}})/(\1[0-9a-f]{{62}})({re.escape(SUFFIX['zstd'])})?")


def present(driver: Driver) -> Iterator[Row]:
    """What `make_live` takes of every stored blob whose size can be right, in no order; reads no content.

    Where machines share no index one that is stored in both ways may come twice, and the end of a compressed object is
    not looked for: such a storage names whole objects only, and a row there is no promise.
    """
    return _here(driver) if shares_index(driver) else _away(driver)


def _here(driver: Driver) -> Iterator[Row]:
    for folder in sorted(driver.children("blobs/")):
        raw: dict[str, int] = {}
        packed: set[str] = set()
        for entry in driver.list(f"blobs/{folder}") if folder.endswith("/") else ():
            match = _BLOB.fullmatch(entry.name)
            if match is None:
                continue
            if match[3] is None:
                raw[match[2]] = entry.size
            else:
                packed.add(match[2])
        # In the order of the index's keys: its pages are then written one after the other.
        for digest in sorted(raw.keys() | packed):
            if digest not in packed:
                yield digest, raw[digest], raw[digest], "raw"
                continue
            seen = see(driver, digest, None)
            if seen is not None and seen.size is not None and not seen.damaged:
                yield digest, seen.size, seen.stored_size, seen.encoding


def _away(driver: Driver) -> Iterator[Row]:
    packed: dict[str, tuple[str, int]] = {}
    for entry in driver.list("blobs/"):
        digest = _digest(entry)
        if digest is None:
            continue
        if entry.name == blob_path(digest):
            yield digest, entry.size, entry.size, "raw"
            continue
        packed[entry.name] = digest, entry.size
        if len(packed) >= bounds.INDEX_FETCH_MAX_OBJECTS:
            yield from _sizes(driver, packed)
            packed = {}
    yield from _sizes(driver, packed)


def _sizes(driver: Driver, packed: dict[str, tuple[str, int]]) -> Iterator[Row]:
    """Rows of compressed objects, given as name to hash and stored size: their content's size is in the header."""
    for name, header in driver.read_many(packed, FRAME_HEADER_MAX_BYTES).items():
        digest, stored = packed[name]
        try:
            yield digest, frame_size(digest, header, None), stored, "zstd"
        except BlobCorruptError:
            continue


def _digest(entry: ObjectStat) -> str | None:
    """The hash of the blob that an object is of; None for a foreign file."""
    match = _BLOB.fullmatch(entry.name)
    return match[2] if match else None
