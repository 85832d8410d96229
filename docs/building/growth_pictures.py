"""Draws docs/pictures/growth-*.svg: how long things take as there is more of everything, from the kept results.

    python docs/building/growth_pictures.py [DIR]

Both axes are logarithmic, ten times as much as long on one as on the other: what grows in proportion is as steep as a
diagonal of the grid. The same results give the same bytes. A picture has a title and a description in words, follows
the reader's light or dark setting, and tells its lines apart by marks and labels, not by colours alone.
"""

from __future__ import annotations

import json
import math
import re
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final
from xml.sax.saxutils import escape

_TOP: Final = Path(__file__).resolve().parents[2]
PICTURES: Final = _TOP / "docs" / "pictures"
_DECADE: Final = 74
"""Units that ten times as much takes, on both axes."""
_LEFT: Final = 66
_ABOVE: Final = 44
_BELOW: Final = 46
_RIGHT: Final = 142
"""Room for the names of the lines."""
_COUNTS: Final = (1_000, 1_000_000)
"""Every picture spans these, measured or not, so that they can be laid side by side."""
_LABEL_APART: Final = 15
_STYLE: Final = (
    "svg{background:#fff;color:#1f2328}text{font:12px system-ui,sans-serif;fill:currentColor}"
    ".head{font-size:14px;font-weight:600}.grid{stroke:#d1d9e0;stroke-width:1}path{fill:none;stroke-width:2}"
    ".ours{stroke:#0550ae;fill:#0550ae}.limit{stroke:#59636e;fill:#59636e}.other{stroke:#a04100;fill:#a04100}"
    "path.limit{stroke-dasharray:6 4}path.other{stroke-dasharray:2 3}path.ours,path.limit,path.other{fill:none}"
    "text.ours,text.limit,text.other{stroke:none}"
    "@media(prefers-color-scheme:dark){svg{background:#0d1117;color:#e6edf3}.grid{stroke:#3d444d}"
    ".ours{stroke:#79c0ff;fill:#79c0ff}.limit{stroke:#9198a1;fill:#9198a1}.other{stroke:#ffa657;fill:#ffa657}}"
)
_UNITS: Final = ((1.0, "s"), (1e-3, "ms"), (1e-6, "us"))


@dataclass(frozen=True)
class Plot:
    """A picture: whose newest results, which of its tasks, by how much the seconds of one are of many."""

    name: str
    title: str
    question: str
    tasks: str
    of: str
    limit: str
    other: str = ""
    times: float = 1.0


@dataclass(frozen=True)
class Line:
    """Points of (how many, seconds), by the smallest first; `kind` is ours, limit or other."""

    kind: str
    label: str
    points: tuple[tuple[int, float], ...]


PLOTS: Final = (
    Plot("add", "Adding blobs of 512 bytes", "growth", r"add ([\d,]+) x .*", "blobs", "write, rename, sync"),
    Plot(
        "look-up",
        "Looking up the newest of an artefact",
        "growth",
        r"10,000 look-ups among ([\d,]+) events",
        "events",
        "one SELECT",
        "scan of JSON lines",
        times=1e-4,
    ),
    Plot("plan", "Planning, nothing changed", "plan", r"([\d,]+) jobs, nothing changed", "jobs", "read, hash, compare"),
    Plot("gc", "Finding what is alive", "gc", r"mark ([\d,]+) references", "references", "read, parse"),
)


def newest(question: str) -> Mapping[str, Any]:
    """The newest result file of a benchmark."""
    (*_, path) = sorted((_TOP / "benchmarks" / question / "results").glob("*.json"))
    found: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return found


def lines_of(plot: Plot, document: Mapping[str, Any]) -> list[Line]:
    """What a picture shows: medians of ours and the limit, and of what stands beside them."""
    seconds: dict[str, list[tuple[int, float]]] = {}
    for result in document["results"]:
        if not (found := re.fullmatch(plot.tasks, result["task"])):
            continue
        sides = {"ours": result["ours"], "limit": result["limit"]}
        if plot.other:
            (sides["other"],) = result["peers"].values()
        for kind, each in sides.items():
            seconds.setdefault(kind, []).append((int(found[1].replace(",", "")), each["median"] * plot.times))
    labels = {"ours": "Renku Store", "limit": plot.limit, "other": plot.other}
    return [Line(kind, labels[kind], tuple(sorted(points))) for kind, points in seconds.items()]


@dataclass(frozen=True)
class Axes:
    """Powers of ten that the picture spans, and where points of it are."""

    first: int
    last: int
    low: int
    high: int

    @property
    def size(self) -> tuple[int, int]:
        """Width and height of the picture."""
        across, upward = self.last - self.first, self.high - self.low
        return _LEFT + _RIGHT + _DECADE * across, _ABOVE + _BELOW + _DECADE * upward

    def place(self, count: float, taken: float) -> tuple[float, float]:
        """Where a point is."""
        x, y = math.log10(count) - self.first, self.high - math.log10(taken)
        return _LEFT + _DECADE * x, _ABOVE + _DECADE * y

    def drawn(self, of: str) -> Iterator[str]:
        """The grid, with its numbers."""
        width, height = self.size
        for power in range(self.first, self.last + 1):
            x = _LEFT + _DECADE * (power - self.first)
            yield f'<path class="grid" d="M{x} {_ABOVE}V{height - _BELOW}"/>'
            yield f'<text x="{x}" y="{height - _BELOW + 18}" text-anchor="middle">{10**power:,}</text>'
        for power in range(self.low, self.high + 1):
            y = _ABOVE + _DECADE * (self.high - power)
            yield f'<path class="grid" d="M{_LEFT} {y}H{width - _RIGHT}"/>'
            yield f'<text x="{_LEFT - 8}" y="{y + 4}" text-anchor="end">{told(10.0**power)}</text>'
        middle = _LEFT + _DECADE * (self.last - self.first) // 2
        yield f'<text x="{middle}" y="{height - 8}" text-anchor="middle">{of}</text>'


def drawn(plot: Plot, lines: list[Line]) -> str:
    """The picture as SVG."""
    every = [point for line in lines for point in line.points]
    axes = Axes(*_decades([*_COUNTS, *(count for count, _ in every)]), *_decades([taken for _, taken in every]))
    width, height = axes.size
    size = f'viewBox="0 0 {width} {height}" width="{width}" height="{height}"'
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" {size} role="img" aria-labelledby="title desc">',
        f'<title id="title">{escape(plot.title)}</title>',
        f'<desc id="desc">{escape(described(plot, lines))}</desc>',
        f"<style>{_STYLE}</style>",
        f'<text class="head" x="{_LEFT}" y="24">{escape(plot.title)}</text>',
        *axes.drawn(plot.of),
    ]
    ends = _apart({line.kind: axes.place(*line.points[-1])[1] for line in lines})
    for line in lines:
        places = [axes.place(*point) for point in line.points]
        path = "L".join(f"{x:.1f} {y:.1f}" for x, y in places)
        parts.append(f'<path class="{line.kind}" d="M{path}"/>')
        parts += [_mark(line.kind, x, y) for x, y in places]
        label = f'x="{places[-1][0] + 10:.1f}" y="{ends[line.kind] + 4:.1f}"'
        parts.append(f'<text class="{line.kind}" {label}>{escape(line.label)}</text>')
    return "\n".join([*parts, "</svg>", ""])


def described(plot: Plot, lines: list[Line]) -> str:
    """The picture in words, for those who do not see it: every point."""
    figures = "; ".join(
        f"{line.label}: {', '.join(f'{told(taken)} for {count:,}' for count, taken in line.points)}" for line in lines
    )
    return f"Seconds by number of {plot.of}, both on logarithmic axes. {figures}."


def told(seconds: float) -> str:
    """Three digits and a unit."""
    factor, unit = next(((each, name) for each, name in _UNITS if seconds >= each * 0.9995), _UNITS[-1])
    return f"{float(f'{seconds / factor:.3g}'):,g} {unit}"


def _decades(values: list[float]) -> tuple[int, int]:
    """Powers of ten around them."""
    return math.floor(math.log10(min(values)) + 1e-9), math.ceil(math.log10(max(values)) - 1e-9)


def _apart(heights: dict[str, float]) -> dict[str, float]:
    """The same, those too near moved down, so that no label covers another."""
    moved: dict[str, float] = {}
    above = -math.inf
    for kind, height in sorted(heights.items(), key=lambda each: each[1]):
        above = moved[kind] = max(height, above + _LABEL_APART)
    return moved


def _mark(kind: str, x: float, y: float) -> str:
    """A circle for ours, a square for the limit, a triangle for what stands beside."""
    if kind == "ours":
        return f'<circle class="{kind}" cx="{x:.1f}" cy="{y:.1f}" r="4"/>'
    if kind == "limit":
        return f'<rect class="{kind}" x="{x - 3.5:.1f}" y="{y - 3.5:.1f}" width="7" height="7"/>'
    return f'<polygon class="{kind}" points="{x:.1f},{y - 5:.1f} {x + 5:.1f},{y + 4:.1f} {x - 5:.1f},{y + 4:.1f}"/>'


def pictures() -> Iterator[tuple[str, str]]:
    """The name of each file, and what is in it."""
    for plot in PLOTS:
        yield f"growth-{plot.name}.svg", drawn(plot, lines_of(plot, newest(plot.question)))


def main() -> None:
    """Write them all."""
    folder = Path(sys.argv[1]) if len(sys.argv) > 1 else PICTURES
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in pictures():
        (folder / name).write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
