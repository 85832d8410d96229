"""Clients of providers, made once for each key and shared by all calls of a process."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Hashable
from typing import Generic, TypeVar

C = TypeVar("C")


async def _leave(client: object) -> None:
    del client


class ClientCache(Generic[C]):
    """Clients by key, such as address and credentials; `close_client` ends one. Each event loop has its own."""

    def __init__(self, close_client: Callable[[C], Awaitable[None]] = _leave) -> None:
        self._close_client = close_client
        self._clients: dict[Hashable, C] = {}
        self._loop: asyncio.AbstractEventLoop | None = None

    def get(self, key: Hashable, make: Callable[[], C]) -> C:
        """Return the client for a key, made by `make` when it is first asked for."""
        loop = asyncio.get_running_loop()
        if loop is not self._loop:
            # What belongs to another loop, which may be over, can be neither used nor closed from here.
            self._clients, self._loop = {}, loop
        if key not in self._clients:
            self._clients[key] = make()
        return self._clients[key]

    async def close(self) -> None:
        """Close every client; the next one is made anew."""
        clients, self._clients = list(self._clients.values()), {}
        if self._loop is asyncio.get_running_loop():
            for client in clients:
                await self._close_client(client)
        self._loop = None
