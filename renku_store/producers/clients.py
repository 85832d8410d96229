"""Clients of providers, made once for each key and shared by all calls of an event loop."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Awaitable, Callable, Hashable
from typing import Generic, TypeVar

C = TypeVar("C")


async def _leave(client: object) -> None:
    del client


class ClientCache(Generic[C]):
    """Clients by key, such as address and credentials; `close_client` ends one.

    Each event loop has its own, since what belongs to one can be neither used nor closed in another; loops in several
    threads may ask at once.
    """

    def __init__(self, close_client: Callable[[C], Awaitable[None]] = _leave) -> None:
        self._close_client = close_client
        self._by_loop: dict[asyncio.AbstractEventLoop, dict[Hashable, C]] = {}
        self._lock = threading.RLock()  # may be entered anew: a client that is collected as garbage may ask

    def get(self, key: Hashable, make: Callable[[], C]) -> C:
        """Return the client for a key, made by `make` when it is first asked for in this event loop."""
        clients = self._of_loop()
        if key not in clients:
            clients[key] = make()
        return clients[key]

    async def close(self) -> None:
        """Close every client of this event loop, and raise what the first of them raises; the next one is made anew."""
        with self._lock:
            clients = self._by_loop.pop(asyncio.get_running_loop(), {})
        ended = await asyncio.gather(*map(self._close_client, clients.values()), return_exceptions=True)
        for error in ended:
            if isinstance(error, BaseException):
                raise error

    def _of_loop(self) -> dict[Hashable, C]:
        loop = asyncio.get_running_loop()
        with self._lock:
            if loop not in self._by_loop:
                self._by_loop = {other: held for other, held in self._by_loop.items() if not other.is_closed()}
                self._by_loop[loop] = {}
            return self._by_loop[loop]
