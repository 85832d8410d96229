"""Locks among the threads of one process, each of which knows its holders."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager

from renku_store.clock import SystemClock, timestamp
from renku_store.errors import StoreUnavailableError


class MemoryLocks:
    """Locks by name, shared or exclusive; whoever asks twice waits for itself, as with files."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._holders: dict[str, list[str]] = {}
        self._exclusive: set[str] = set()

    @contextmanager
    def held(self, name: str, *, shared: bool, seconds: float) -> Iterator[None]:
        """Hold a lock for the length of a block; `StoreUnavailableError` names its holder after the wait."""
        holder = f"process {os.getpid()} ({threading.current_thread().name}) since {timestamp(SystemClock().now())}"
        with self._changed:
            if not self._changed.wait_for(lambda: self._is_free(name, shared=shared), seconds):
                raise StoreUnavailableError(
                    f"The lock {name} is held by {', '.join(self._holders[name])}; waited {seconds:g} seconds.",
                    hint="Wait for it to end, or end it.",
                    reason="busy",
                )
            self._holders.setdefault(name, []).append(holder)
            if not shared:
                self._exclusive.add(name)
        try:
            yield
        finally:
            with self._changed:
                self._exclusive.discard(name)
                self._holders[name].remove(holder)
                if not self._holders[name]:
                    del self._holders[name]
                self._changed.notify_all()

    def _is_free(self, name: str, *, shared: bool) -> bool:
        return name not in self._exclusive if shared else name not in self._holders
