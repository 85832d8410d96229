"""Which blobs something names, 32 bytes each, in 256 parts as the folders below `blobs/` are."""

from __future__ import annotations

from collections.abc import Iterable, Iterator


class Named:
    """A set of hashes that can be gone through folder by folder."""

    def __init__(self) -> None:
        self._parts: dict[str, set[bytes]] = {}

    def add(self, digests: Iterable[str]) -> None:
        """Add hashes."""
        for digest in digests:
            self._parts.setdefault(digest[:2], set()).add(bytes.fromhex(digest))

    def __contains__(self, digest: str) -> bool:
        return bytes.fromhex(digest) in self._parts.get(digest[:2], ())

    def within(self, folder: str) -> Iterator[str]:
        """Those whose first two digits are `folder`."""
        return (digest.hex() for digest in self._parts.get(folder, ()))
