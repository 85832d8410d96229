"""A program on a terminal of its own, at which a test types."""

from __future__ import annotations

import os
import pty
import select
import sys
import time
from collections.abc import Callable
from pathlib import Path

CTRL_C = b"\x03"
PROGRAM = str(Path(sys.executable).parent / "renku-store")
WAIT_SECONDS = 300


class Terminal:
    """A program on a terminal of its own, at which somebody types."""

    def __init__(self, *arguments: str, **environment: str) -> None:
        self.seen = ""
        self.pid, self._screen = pty.fork()
        if self.pid == 0:
            os.execve(PROGRAM, [PROGRAM, *arguments], {**os.environ, "TERM": "xterm", "COLUMNS": "200", **environment})

    def type(self, keys: bytes) -> None:
        """As a person does."""
        os.write(self._screen, keys)

    def look(self) -> str:
        """Everything that was shown until now."""
        while select.select([self._screen], [], [], 0.02)[0]:
            try:
                data = os.read(self._screen, 65_536)
            except OSError:  # nobody is left at the other end
                break
            if not data:
                break
            self.seen += data.decode(errors="replace")
        return self.seen

    def until_shown(self, text: str) -> None:
        """Wait until something was shown."""
        _until(lambda: text in self.look())

    def ended(self) -> int:
        """Wait for the end; the exit code."""
        status = [0]

        def gone() -> bool:
            self.look()
            pid, status[0] = os.waitpid(self.pid, os.WNOHANG)
            return pid != 0

        _until(gone)
        self.look()
        os.close(self._screen)
        return os.waitstatus_to_exitcode(status[0])


def _until(happened: Callable[[], bool]) -> None:
    end = time.monotonic() + WAIT_SECONDS
    while not happened():
        assert time.monotonic() < end, "it did not happen"
        time.sleep(0.01)
