"""Ctrl-C at three levels: wait for running jobs, cancel them, exit. SIGTERM and SIGHUP count as Ctrl-C.

Each level loses nothing that is stored, and `run` goes on from there. The last one works even where the event loop is
stuck: it is the only one that does not wait for it.
"""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from types import FrameType
from typing import Final

from renku_cli.failures import INTERRUPTED
from renku_cli.output import note
from renku_cli.text import count
from renku_store import RunProgress, kill_programs

SIGNALS: Final = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
"""The last one says that the terminal is gone. Who has the run ignore it (`nohup`) is obeyed."""
SHOWN_JOBS: Final = 5
"""Jobs that a message names; of more it says how many."""

_SHOW_CURSOR: Final = b"\x1b[?25h"


class Interruption:
    """What a person has asked for by now: `drain` is set at the first signal, `stop` at the second."""

    def __init__(self) -> None:
        self.drain = asyncio.Event()
        self.stop = asyncio.Event()
        self._heard: list[signal.Signals] = []

    @contextmanager
    def listening(self) -> Iterator[None]:
        """Take the signals for the length of a block; in the event loop's thread."""
        loop = asyncio.get_running_loop()
        hangs_up = signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN
        self._heard = [number for number in SIGNALS if hangs_up or number != signal.SIGHUP]
        for number in self._heard:
            loop.add_signal_handler(number, self._advance)
        try:
            yield
        finally:
            for number in self._heard:
                loop.remove_signal_handler(number)

    def _advance(self) -> None:
        if not self.drain.is_set():
            self.drain.set()
            note("Stopping: nothing more is begun. Ctrl-C again cancels what runs.")
            return
        self.stop.set()
        for number in self._heard:  # without the loop, which may be stuck; and before anybody is told of it
            signal.signal(number, _exit)
        note("Cancelling: running jobs are ended, what is finished is kept. Ctrl-C again exits at once.")


def waiting_for(event: RunProgress) -> str:
    """What a `run-stopping` event says: why, where nobody asked for it, and which jobs are still waited for."""
    calls = event.data.get("calls")
    jobs = [str(job) for job in calls] if isinstance(calls, list) else []
    why = "A job has failed: nothing more is begun. " if event.status == "failed" else ""
    if not jobs:
        return f"{why}No {'other ' if why else ''}job is running: the run ends."
    more = f" and {count(len(jobs) - SHOWN_JOBS, 'more job')}" if len(jobs) > SHOWN_JOBS else ""
    return f"{why}Waiting for {', '.join(jobs[:SHOWN_JOBS])}{more} to finish."


def _exit(number: int, frame: FrameType | None) -> None:
    del number, frame
    with suppress(OSError):
        if sys.stderr.isatty():
            os.write(sys.stderr.fileno(), _SHOW_CURSOR)
        os.write(sys.stderr.fileno(), b"\nExiting at once; `renku-store run` goes on from what is stored.\n")
    kill_programs()
    os._exit(INTERRUPTED)
