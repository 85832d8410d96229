"""A metadata store that is made when it is first asked: for readers who may never ask."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager

from renku_store.errors import StoreUnavailableError
from renku_store.metadata.base import MetadataStore, Reader, Writer


class DeferredMetadata:
    """For reading only; `make` is called once, whatever thread asks first, and what it made is closed with this."""

    def __init__(self, make: Callable[[], MetadataStore]) -> None:
        self._make = make
        self._made: MetadataStore | None = None
        self._making = threading.Lock()

    @property
    def epoch(self) -> int:
        """That of the store that is made."""
        return self._store().epoch

    @property
    def is_within(self) -> bool:
        """Whether this thread is within a transaction of the store that is made."""
        return self._store().is_within

    def last_id(self) -> str:
        """That of the store that is made."""
        return self._store().last_id()

    @contextmanager
    def read(self) -> Iterator[Reader]:
        """A moment to read."""
        with self._store().read() as reader:
            yield reader

    def write(self) -> AbstractContextManager[Writer]:
        """Nothing can be written: `StoreUnavailableError`."""
        raise _read_only()

    def disk_bytes(self) -> int:
        """What is made takes memory, and no disk."""
        return 0

    def reclaim(self, *, rewrite: bool) -> None:  # noqa: ARG002 (the protocol has it)
        """Nothing can be given back: `StoreUnavailableError`."""
        raise _read_only()

    def close(self) -> None:
        """Let go of what was made, if it was."""
        with self._making:
            if self._made is not None:
                self._made.close()

    def _store(self) -> MetadataStore:
        with self._making:
            if self._made is None:
                self._made = self._make()
            return self._made


def _read_only() -> StoreUnavailableError:
    return StoreUnavailableError("The movie was opened for reading only.", hint="Open the root for writing.")
