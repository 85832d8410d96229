"""An event loop whose time passes only when everybody sleeps: hours of waiting in a moment, the same every time.

    run(main())    # asyncio.sleep(3600) in it takes no time at all

The loop's clock stands still while something can run, and jumps to the next timer when nothing can. Threads and sockets
are outside of it: a program that waits for them waits for real.
"""

from __future__ import annotations

import asyncio
import selectors
from collections.abc import Coroutine
from typing import Any, TypeVar

T = TypeVar("T")


class _Jumping(selectors.DefaultSelector):
    """A selector that, asked to wait for a timer, moves the clock instead."""

    def __init__(self) -> None:
        super().__init__()
        self.seconds = 0.0

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        """What is ready now; a wait for a timer takes the loop's time, none of ours."""
        ready = super().select(0 if timeout is not None else None)
        if not ready and timeout:
            self.seconds += timeout
        return ready


class LoopOfOwnTime(asyncio.SelectorEventLoop):
    """An event loop whose `time()` begins at 0 and jumps from timer to timer."""

    def __init__(self) -> None:
        self._jumping = _Jumping()
        super().__init__(self._jumping)

    def time(self) -> float:
        """Seconds since the loop began, as far as its timers have taken it."""
        return self._jumping.seconds


def run(main: Coroutine[Any, Any, T]) -> T:
    """`asyncio.run` in a loop of its own time."""
    with asyncio.Runner(loop_factory=LoopOfOwnTime) as runner:
        return runner.run(main)
