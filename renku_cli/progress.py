"""What a run shows on standard error while it goes: a live view on a terminal, a line per finished job in a pipe.

Nothing here may harm the run: when nobody reads standard error any more, the view falls silent and the run goes on.
"""

from __future__ import annotations

import sys
import threading
import time
from collections import Counter, deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import islice
from typing import Final

from rich.console import Group
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table

from renku_cli.estimate import Estimate
from renku_cli.output import console, state, styled
from renku_cli.text import cost, count, duration, neutral, short
from renku_store import RunProgress

SHOWN_ACTIVE: Final = 12
"""Running jobs that the view lists; of more it says how many."""
SHOWN_RECENT: Final = 5
"""Finished jobs that the view keeps in sight."""
SHOWN_MESSAGE: Final = 200
"""Characters of an error that a line shows."""


@dataclass(frozen=True, slots=True)
class Finished:
    """A finished job: `seconds` and `cost` (US dollars) of its calls, `error` the sentence of what went wrong."""

    job: str
    status: str
    seconds: float
    cost: float
    error: str

    @classmethod
    def of(cls, event: RunProgress) -> Finished:
        """What a `job-finished` event says."""
        error = event.data.get("error")
        message = error.get("message") if isinstance(error, dict) else None
        return cls(
            job=event.job or "",
            status=event.status or "",
            seconds=_number(event.data.get("seconds")),
            cost=_number(event.data.get("cost")),
            error=message if isinstance(message, str) else "",
        )

    @property
    def called(self) -> bool:
        """Whether its producer was called."""
        return self.status in {"made", "failed"}

    def line(self) -> str:
        """The job on one line: `made  narration[2]  1.3 s  $0.0200`; time, cost and error where there are any."""
        parts = [self.status, neutral(self.job)]
        if self.called:
            parts.append(duration(self.seconds))
        if self.cost:
            parts.append(cost(self.cost))
        if self.error:
            parts.append(neutral(short(self.error, SHOWN_MESSAGE)))
        return "  ".join(parts)


@dataclass(slots=True)
class Tally:
    """How far a run has come. `monotonic` gives seconds."""

    monotonic: Callable[[], float] = time.monotonic
    began: float = 0.0
    total: int = 0
    active: dict[str, float] = field(default_factory=dict[str, float])
    recent: deque[Finished] = field(default_factory=lambda: deque[Finished](maxlen=SHOWN_RECENT))
    ended: Counter[str] = field(default_factory=Counter[str])
    cost: float = 0.0
    estimate: Estimate = field(default_factory=lambda: Estimate(()))

    def take(self, event: RunProgress) -> None:
        """Count an event."""
        if event.event == "run-started":
            jobs = event.data.get("jobs")
            known = list(jobs) if isinstance(jobs, dict) else []
            self.began, self.total, self.estimate = self.monotonic(), len(known), Estimate(known)
        elif event.event == "job-started":
            self.active[event.job or ""] = self.monotonic()
        elif event.event == "job-finished":
            finished = Finished.of(event)
            self.active.pop(finished.job, None)
            self.ended[finished.status] += 1
            self.cost += finished.cost
            self.estimate.finished(finished.job, finished.seconds, called=finished.called)
            self.recent.append(finished)

    @property
    def elapsed(self) -> float:
        """Seconds since the run began."""
        return self.monotonic() - self.began if self.began else 0.0

    @property
    def done(self) -> int:
        """Finished jobs, however they ended."""
        return self.ended.total()

    def summary(self) -> str:
        """One line: how far, how they ended, what it cost, how long, how long still."""
        total = max(self.total, self.done)
        parts = [f"{self.done:,} of {count(total, 'job')}"]
        parts += [f"{number:,} {status}" for status, number in sorted(self.ended.items())]
        parts += [cost(self.cost), duration(self.elapsed)]
        left = self.estimate.seconds_left(self.elapsed) if self.done < total else None
        return ", ".join(parts) + (f"; about {duration(left)} left" if left is not None else "")


def _number(value: object) -> float:
    return float(value) if isinstance(value, int | float) else 0.0


class LiveView:
    """The view on a terminal: a bar, what runs, what ended last. It is drawn by a thread of its own."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._tally = Tally()

    def __call__(self, event: RunProgress) -> None:
        """Take an event of the run."""
        with self._lock:
            self._tally.take(event)

    def __rich__(self) -> Group:
        with self._lock:
            return self._drawn(self._tally)

    def _drawn(self, tally: Tally) -> Group:
        jobs = Table.grid(padding=(0, 2))
        now = tally.monotonic()
        for ended in tally.recent:
            jobs.add_row(
                state(ended.status), styled(ended.job), duration(ended.seconds), cost(ended.cost) if ended.cost else ""
            )
        for job, began in islice(tally.active.items(), SHOWN_ACTIVE):
            jobs.add_row(state("running"), styled(job), duration(now - began), "")
        if len(tally.active) > SHOWN_ACTIVE:
            jobs.add_row("", styled(f"and {len(tally.active) - SHOWN_ACTIVE} more"), "", "")
        bar = ProgressBar(total=max(1, tally.total), completed=min(tally.done, tally.total), width=40)
        whole = Table.grid()
        whole.add_row(bar)
        whole.add_row(styled(tally.summary()))
        return Group(jobs, whole)


class PlainView:
    """The view in a pipe: a line per finished job."""

    def __init__(self) -> None:
        self._readers = True

    def __call__(self, event: RunProgress) -> None:
        """Take an event of the run."""
        if event.event != "job-finished" or not self._readers:
            return
        try:
            sys.stderr.write(Finished.of(event).line() + "\n")
            sys.stderr.flush()
        except OSError:
            self._readers = False


@contextmanager
def view() -> Iterator[Callable[[RunProgress], None]]:
    """The view that fits standard error, shown for the length of a block."""
    if not sys.stderr.isatty():
        yield PlainView()
        return
    shown = LiveView()
    with Live(shown, console=console(sys.stderr), refresh_per_second=8, transient=True, redirect_stdout=False):
        yield shown
