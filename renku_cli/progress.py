"""What a run shows while it goes: a live view on a terminal, a line per finished job in a pipe.

Nothing here may harm the run: when nobody reads the stream any more, the view falls silent and the run goes on.
"""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import islice
from typing import Final, TextIO

from rich.console import Group
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table

from renku_cli.output import console, state, styled
from renku_cli.tally import Finished, Tally, attempt_line
from renku_cli.text import cost, duration
from renku_store import RunProgress

SHOWN_ACTIVE: Final = 12
"""Running and waiting jobs that the view lists; of more it says how many."""


class LiveView:
    """The view on a terminal: what ended last, what runs, who waits, a bar. It is drawn by a thread of its own.

    It never gets lower, so that what stands below stays where it is.
    """

    def __init__(self, tally: Tally | None = None) -> None:
        self._lock = threading.Lock()
        self._tally = tally or Tally()
        self._tallest = 0

    def __call__(self, event: RunProgress) -> None:
        """Take an event of the run."""
        with self._lock:
            self._tally.take(event)

    def __rich__(self) -> Group:
        with self._lock:
            return self._drawn(self._tally)

    def _drawn(self, tally: Tally) -> Group:
        jobs = Table.grid(padding=(0, 2))
        for ended in tally.recent:
            price = cost(ended.cost) if ended.cost else ""
            jobs.add_row(state(ended.status), styled(ended.job), duration(ended.seconds), price)
        now = tally.clock()
        under_way = [*tally.working, *tally.waits]
        for job in islice(under_way, SHOWN_ACTIVE):
            wait = tally.waits.get(job)
            since = wait.since if wait else tally.active[job]
            told = styled(wait.text(), "dim") if wait else ""
            jobs.add_row(state("waiting" if wait else "running"), styled(job), duration(max(0.0, now - since)), told)
        if len(under_way) > SHOWN_ACTIVE:
            jobs.add_row("", styled(f"and {len(under_way) - SHOWN_ACTIVE} more"), "", "")
        self._tallest = max(self._tallest, jobs.row_count)
        for _ in range(self._tallest - jobs.row_count):
            jobs.add_row("", "", "", "")
        whole = Table.grid()
        whole.add_row(styled(tally.flow(), "dim"))
        whole.add_row(ProgressBar(total=max(1, tally.total), completed=min(tally.done, tally.total), width=40))
        whole.add_row(styled(tally.summary()))
        return Group(jobs, whole)


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
    shown = LiveView()
    with Live(shown, console=console(out), refresh_per_second=8, transient=True, redirect_stdout=False):
        yield shown
