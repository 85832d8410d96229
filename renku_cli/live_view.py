"""What a run shows on a terminal while it goes: a view that is drawn anew in its place. Imported late."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import islice
from typing import Final, TextIO

from rich.console import Group
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from renku_cli.output import state, styled
from renku_cli.tally import Tally
from renku_cli.terminal import console, rich_text
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
            jobs.add_row(_state(ended.status), _styled(ended.job), duration(ended.seconds), price)
        now = tally.clock()
        under_way = [*tally.working, *tally.waits]
        for job in islice(under_way, SHOWN_ACTIVE):
            wait = tally.waits.get(job)
            since = wait.since if wait else tally.active[job]
            told = _styled(wait.text(), "dim") if wait else ""
            jobs.add_row(_state("waiting" if wait else "running"), _styled(job), duration(max(0.0, now - since)), told)
        if len(under_way) > SHOWN_ACTIVE:
            jobs.add_row("", _styled(f"and {len(under_way) - SHOWN_ACTIVE} more"), "", "")
        self._tallest = max(self._tallest, jobs.row_count)
        for _ in range(self._tallest - jobs.row_count):
            jobs.add_row("", "", "", "")
        whole = Table.grid()
        whole.add_row(_styled(tally.flow(), "dim"))
        whole.add_row(ProgressBar(total=max(1, tally.total), completed=min(tally.done, tally.total), width=40))
        whole.add_row(_styled(tally.summary()))
        return Group(jobs, whole)


@contextmanager
def live_view(stream: TextIO) -> Iterator[LiveView]:
    """The view on a terminal, shown for the length of a block."""
    shown = LiveView()
    with Live(shown, console=console(stream), refresh_per_second=8, transient=True, redirect_stdout=False):
        yield shown


def _state(word: str) -> Text:
    return rich_text(state(word))


def _styled(text: str, style: str = "") -> Text:
    return rich_text(styled(text, style))
