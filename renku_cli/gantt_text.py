"""A Gantt chart as text: a line per job, as wide as the terminal. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Final

from rich.cells import cell_len, set_cell_size

from renku_cli.text import cost, count, duration, neutral
from renku_store import GanttBar, RunGantt

LABEL_CHARS: Final = 28
"""A job's id that takes more columns is cut."""
BAR_MIN_CHARS: Final = 16
"""A chart in a narrower place breaks its lines rather than lose its bars."""


@dataclass(frozen=True, slots=True)
class Scale:
    """The time of a chart: where it begins (Unix seconds), and how many seconds it shows, more than 0."""

    begin: float
    seconds: float

    @classmethod
    def of(cls, gantt: RunGantt) -> Scale:
        """From the first start to the last end of a bar."""
        begin = min((moment(bar.start) for bar in gantt.bars), default=0.0)
        end = max((moment(bar.end) for bar in gantt.bars), default=0.0)
        return cls(begin, max(end - begin, 0.001))

    def span(self, bar: GanttBar) -> tuple[float, float]:
        """Where a bar begins and ends, from 0 to 1."""
        return ((moment(bar.start) - self.begin) / self.seconds, (moment(bar.end) - self.begin) / self.seconds)


@dataclass(frozen=True, slots=True)
class Marks:
    """What a bar is drawn with, by what became of it."""

    made: str
    failed: str
    late: str
    reused: str


SOLID: Final = Marks(made="█", failed="▒", late="░", reused="◆")
ASCII: Final = Marks(made="#", failed="x", late="~", reused="o")


def chart_lines(gantt: RunGantt, width: int, marks: Marks) -> list[str]:
    """The chart, of lines at most `width` characters wide (more where the bars would get lost)."""
    scale = Scale.of(gantt)
    labels = [_fitted(neutral(bar.job)) for bar in gantt.bars]
    notes = [told(bar) for bar in gantt.bars]
    left, right = max(map(cell_len, labels), default=0), max(map(len, notes), default=0)
    room = max(BAR_MIN_CHARS, width - left - right - 4)
    lines = [f"{title(gantt)}: {duration(scale.seconds)}, {count(gantt.lanes, 'job')} at once at most"]
    for bar, label, note in zip(gantt.bars, labels, notes, strict=True):
        lines.append(f"{set_cell_size(label, left)}  {_drawn(bar, scale, room, marks)}  {note}".rstrip())
    if gantt.bars:
        end = duration(scale.seconds)
        lines.append(f"{'':<{left}}  0{end:>{room - 1}}")
        lines.append(f"{marks.made} made  {marks.reused} reused  {marks.failed} failed  {marks.late} too late")
    return lines


def _fitted(text: str) -> str:
    return text if cell_len(text) <= LABEL_CHARS else set_cell_size(text, LABEL_CHARS - 1) + "…"


def title(gantt: RunGantt) -> str:
    """What the chart shows: `rev-0003, run 0193...`."""
    named = f"{gantt.revision}, " if gantt.revision else ""
    ended = f" ({gantt.status})" if gantt.status and gantt.status != "published" else ""
    return f"{named}run {gantt.run}{ended}"


def told(bar: GanttBar) -> str:
    """A bar in words: how long, how many attempts, at what cost."""
    if bar.status == "reused":
        return "reused"
    parts = [duration(moment(bar.end) - moment(bar.start))]
    if bar.status != "made":
        parts.append({"failed": "failed", "late": "too late"}[bar.status])
    if bar.attempts > 1:
        parts.append(f"{bar.attempts} attempts")
    if bar.cost:
        parts.append(cost(bar.cost))
    return ", ".join(parts)


def moment(at: str) -> float:
    """A time of an event in Unix seconds."""
    return datetime.fromisoformat(at).timestamp()


def _drawn(bar: GanttBar, scale: Scale, room: int, marks: Marks) -> str:
    start, end = scale.span(bar)
    first = min(room - 1, int(start * room))
    last = min(room, max(first + 1, round(end * room)))
    mark: str = getattr(marks, bar.status)
    return (" " * first + mark * (1 if bar.status == "reused" else last - first)).ljust(room)
