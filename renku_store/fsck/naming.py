"""Which blobs something names, 32 bytes each, in 256 parts as the folders below `blobs/` are."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from renku_store.records.manifest import ManifestArtefact


class Named:
    """A set of hashes that can be gone through folder by folder."""

    def __init__(self) -> None:
        self._folders: dict[str, set[bytes]] = {}
        self._parts: set[bytes] = set()

    def add(self, digests: Iterable[str]) -> None:
        """Add hashes."""
        for digest in digests:
            self._folders.setdefault(digest[:2], set()).add(bytes.fromhex(digest))

    def add_part(self, part: str, digests: Iterable[bytes]) -> None:
        """Add what a part of a manifest names: a page by its hash, which is the same in every revision, or the rest."""
        self._parts.add(bytes.fromhex(part))
        self.add(digest.hex() for digest in digests)

    def has_part(self, part: str) -> bool:
        """Whether what a page names was added."""
        return bytes.fromhex(part) in self._parts

    def __contains__(self, digest: str) -> bool:
        return bytes.fromhex(digest) in self._folders.get(digest[:2], ())

    def within(self, folder: str) -> Iterator[str]:
        """Those whose first two digits are `folder`."""
        return (digest.hex() for digest in self._folders.get(folder, ()))


def named_in(artefacts: Iterable[ManifestArtefact]) -> Iterator[str]:
    """The blobs that artefacts are, and those that lie under people's versions."""
    for artefact in artefacts:
        for value in (artefact, artefact.made):
            if value is not None and value.blob is not None:
                yield value.blob


def packed(digests: Iterable[str]) -> frozenset[bytes]:
    """Hashes in 32 bytes each."""
    return frozenset(map(bytes.fromhex, digests))
