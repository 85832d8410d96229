"""Work that is brought to its end whoever loses patience: what has been paid for is stored, what is open is closed."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from contextvars import copy_context
from typing import Any, TypeVar

T = TypeVar("T")


async def to_the_end(work: Coroutine[Any, Any, T]) -> tuple[T, bool]:
    """Run `work` to its end even if the caller is cancelled meanwhile; says whether it was.

    Not if its event loop is shut down: that cancels every task, and so this one.
    """
    return await outlast(asyncio.ensure_future(work))


async def in_thread_to_the_end(work: Callable[[], T]) -> tuple[T, bool]:
    """Run `work` in a thread to its end even if the caller, or everything, is cancelled meanwhile; says whether it was.

    What waits for a thread yet is waited for, too, where the event loop is shut down: no task stands in between.
    """
    return await outlast(in_thread(work))


def in_thread(work: Callable[[], T]) -> asyncio.Future[T]:
    """Begin `work` in a thread, as `asyncio.to_thread` does, but not as a task."""
    return asyncio.get_running_loop().run_in_executor(None, copy_context().run, work)


async def outlast(future: asyncio.Future[T]) -> tuple[T, bool]:
    """Wait for a future that is not cancelled with the caller; says whether the caller was."""
    cancelled = False
    while True:
        try:
            return await asyncio.shield(future), cancelled
        except asyncio.CancelledError:
            if future.cancelled():
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
