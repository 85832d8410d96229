"""What names stored bytes. Keeps invariant 1: the name is the BLAKE3 of the content before compression."""

from __future__ import annotations

from typing import Final, Literal, NamedTuple

from msgspec import Struct

Encoding = Literal["raw", "zstd"]
BlobState = Literal["live", "condemned", "deleting"]

SUFFIX: Final[dict[Encoding, str]] = {"raw": "", "zstd": ".zst"}


class BlobRef(Struct, frozen=True):
    """The name of stored bytes: `hash` (64 hex digits) and `size` in bytes, both of the content before compression."""

    hash: str
    size: int


class BlobRow(NamedTuple):
    """What the metadata store knows of a blob; `stored_size` is bytes on the driver, times are Unix milliseconds."""

    hash: str
    size: int
    stored_size: int
    encoding: Encoding
    state: BlobState
    touched_at: int


def blob_path(digest: str, encoding: Encoding = "raw") -> str:
    """The path of a blob relative to its movie: `blobs/7f/7f3c...`, or with `.zst`."""
    return f"blobs/{digest[:2]}/{digest}{SUFFIX[encoding]}"
