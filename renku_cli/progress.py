"""What a run shows while it goes: a live view on a terminal, a line per finished job in a pipe.

Nothing here may harm the run: when nobody reads the stream any more, the view falls silent and the run goes on.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TextIO

from renku_cli.table import load
from renku_cli.tally import Finished, attempt_line
from renku_store import RunProgress


class PlainView:
    """The view in a pipe: a line per finished job, and one per attempt that failed."""

    def __init__(self, stream: TextIO | None = None) -> None:
        self._stream = stream
        self._readers = True

    def __call__(self, event: RunProgress) -> None:
        """Take an event of the run."""
        if event.event == "job-finished":
            self._write(Finished.of(event).line())
        elif event.event == "job-attempt-failed":
            self._write(attempt_line(event))

    def _write(self, line: str) -> None:
        if not self._readers:
            return
        stream = self._stream or sys.stderr
        try:
            stream.write(line + "\n")
            stream.flush()
        except OSError:
            self._readers = False


@contextmanager
def view(stream: TextIO | None = None) -> Iterator[Callable[[RunProgress], None]]:
    """The view that fits a stream (standard error unless given), shown for the length of a block."""
    out = stream or sys.stderr
    if not out.isatty():
        yield PlainView(stream)
        return
    with load("live_view:live_view")(out) as shown:
        yield shown
