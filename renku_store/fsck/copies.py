"""Another copy of the movie, from which lost objects come back: each is verified before it gets its name."""

from __future__ import annotations

from renku_store import bounds
from renku_store.blobs import BlobStore
from renku_store.drivers.base import Driver
from renku_store.errors import DamageError, StoreError
from renku_store.hashing import hash_bytes
from renku_store.movie import Movie


class Copy:
    """The same movie somewhere else, only read; None stands for no copy."""

    def __init__(self, driver: Driver | None) -> None:
        self._driver = driver

    def has_blob(self, digest: str) -> bool:
        """Whether the copy has a blob whole; reads all of it."""
        if self._driver is None:
            return False
        try:
            with BlobStore(self._driver, None).open(digest) as stream:
                while stream.read(bounds.CHUNK_BYTES):
                    pass
        except DamageError:
            return False
        return True

    def fetch_blob(self, movie: Movie, digest: str) -> bool:
        """Put a blob from the copy, where that has it whole; its place must be free."""
        if self._driver is None:
            return False
        try:
            with BlobStore(self._driver, None).open(digest) as stream:
                return movie.blobs.put(stream).hash == digest
        except DamageError:
            return False

    def read(self, name: str, digest: str) -> bytes | None:
        """The bytes of an object of the copy, if they have this hash."""
        if self._driver is None:
            return None
        try:
            data = self._driver.read(name)
        except StoreError:
            return None
        return data if hash_bytes(data) == digest else None
