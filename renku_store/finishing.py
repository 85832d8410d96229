"""Work that is brought to its end whoever loses patience: what has been paid for is stored, what is open is closed."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any, TypeVar

T = TypeVar("T")


async def to_the_end(work: Coroutine[Any, Any, T]) -> tuple[T, bool]:
    """Run `work` to its end even if the caller is cancelled meanwhile; says whether it was."""
    task = asyncio.ensure_future(work)
    cancelled = False
    while True:
        try:
            return await asyncio.shield(task), cancelled
        except asyncio.CancelledError:
            if task.cancelled():
                raise
            cancelled = True


def settle(asked: asyncio.Future[T] | None, result: T | Exception | None) -> None:
    """Let those who wait for something know what it came to; where it came to nothing they are told so: cancelled."""
    if asked is None or asked.done():
        return
    if result is None:
        asked.cancel()
    elif isinstance(result, Exception):
        asked.set_exception(result)
        asked.exception()  # those who wait get it; they may have left
    else:
        asked.set_result(result)
