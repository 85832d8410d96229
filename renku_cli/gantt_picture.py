"""A Gantt chart as a picture: its geometry, an SVG of it, and a PNG where Pillow is installed."""

from __future__ import annotations

import io
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final
from xml.sax.saxutils import escape, quoteattr

from renku_cli.gantt_text import LABEL_CHARS, Scale, title, told
from renku_cli.text import duration, neutral, short
from renku_store import GanttBar, InvalidValueError, RunGantt

_ROW: Final = 22
_MARGIN: Final = 16
_HEAD: Final = 56
_LABELS: Final = 230
_BARS: Final = 760
_NOTES: Final = 210
_TICKS: Final = 4
_FILL: Final = {"made": "#3b82c4", "reused": "#2e9e6b", "failed": "#cc4b37", "late": "#9a9a9a"}
"""By what became of a job: readable on white and on black alike."""
_PNG_MAX_ROWS: Final = 2_900
"""A picture that is higher than 64,000 pixels is opened by hardly any program."""


@dataclass(frozen=True, slots=True)
class Box:
    """A bar on the picture, in pixels; `label` and `note` stand left and right of the bars."""

    bar: GanttBar
    x: float
    y: float
    width: float
    label: str
    note: str


@dataclass(frozen=True, slots=True)
class Picture:
    """A chart laid out: its size in pixels, boxes, and tick marks (x, text)."""

    width: int
    height: int
    title: str
    boxes: list[Box]
    ticks: list[tuple[float, str]]


def laid_out(gantt: RunGantt) -> Picture:
    """Where everything of a chart lies."""
    scale = Scale.of(gantt)
    left = _MARGIN + _LABELS
    boxes: list[Box] = []
    for row, bar in enumerate(gantt.bars):
        start, end = scale.span(bar)
        label = short(neutral(bar.job), LABEL_CHARS)
        boxes.append(
            Box(bar, left + start * _BARS, _HEAD + row * _ROW, max(3.0, (end - start) * _BARS), label, told(bar))
        )
    ticks = [(left + _BARS * n / _TICKS, duration(scale.seconds * n / _TICKS)) for n in range(_TICKS + 1)]
    width = 2 * _MARGIN + _LABELS + _BARS + _NOTES
    return Picture(width, _HEAD + len(boxes) * _ROW + _MARGIN, title(gantt), boxes, ticks if boxes else [])


def svg(gantt: RunGantt) -> str:
    """The chart as an SVG document, with colours for light and dark places and a tooltip per bar."""
    return "\n".join(_svg_lines(laid_out(gantt))) + "\n"


def _svg_lines(picture: Picture) -> Iterator[str]:
    yield '<?xml version="1.0" encoding="UTF-8"?>'
    yield (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {picture.width} {picture.height}" '
        f'width="{picture.width}" height="{picture.height}" font-family="sans-serif" font-size="12" role="img">'
    )
    yield f"<title>{_text(picture.title)}</title>"
    yield (
        "<style>.paper{fill:#fff}.ink{fill:#222}.faint{fill:#777}.rule{stroke:#ddd}"
        "@media(prefers-color-scheme:dark){.paper{fill:#181818}.ink{fill:#eee}.faint{fill:#aaa}.rule{stroke:#444}}</style>"
    )
    yield f'<rect class="paper" width="{picture.width}" height="{picture.height}"/>'
    yield f'<text class="ink" x="{_MARGIN}" y="22" font-weight="bold">{_text(picture.title)}</text>'
    for x, text in picture.ticks:
        yield f'<line class="rule" x1="{x:.1f}" y1="{_HEAD - 8}" x2="{x:.1f}" y2="{picture.height - _MARGIN}"/>'
        yield f'<text class="faint" x="{x:.1f}" y="{_HEAD - 12}" text-anchor="middle">{_text(text)}</text>'
    for box in picture.boxes:
        yield from _svg_box(box)
    yield "</svg>"


def _svg_box(box: Box) -> Iterator[str]:
    base = box.y + _ROW - 8
    hint = f"{neutral(box.bar.job)}: {box.note}, lane {box.bar.lane + 1}, {box.bar.start} to {box.bar.end}"
    yield f"<g data-status={quoteattr(box.bar.status)}>"
    yield f"<title>{_text(hint)}</title>"
    yield f'<text class="ink" x="{_MARGIN}" y="{base:.1f}">{_text(box.label)}</text>'
    place = f'x="{box.x:.1f}" y="{box.y + 3:.1f}" width="{box.width:.1f}" height="{_ROW - 8}"'
    yield f'<rect {place} rx="2" fill="{_FILL[box.bar.status]}"/>'
    x = _MARGIN + _LABELS + _BARS + 12
    yield f'<text class="faint" x="{x}" y="{base:.1f}">{_text(box.note)}</text>'
    yield "</g>"


def _text(text: str) -> str:
    """Text as XML takes it; `neutral` has left no character that XML forbids, but for two that Unicode does not use."""
    return escape(text.replace("\ufffe", "?").replace("\uffff", "?"))


def png(gantt: RunGantt) -> bytes:
    """The chart as a PNG, on white. Raises `InvalidValueError` where Pillow is missing, or for more jobs than fit."""
    if len(gantt.bars) > _PNG_MAX_ROWS:
        raise InvalidValueError(
            f"{len(gantt.bars):,} jobs are too many for a PNG.", hint="Write an SVG or a text: --output run.svg."
        )
    try:
        from PIL import Image, ImageDraw, ImageFont  # noqa: PLC0415 (an extra that most do without)
    except ImportError as error:
        raise InvalidValueError(
            "A PNG needs Pillow, which is not installed.",
            hint="`pip install 'renku-store[demo]'`, or write an SVG: --output run.svg.",
        ) from error
    picture = laid_out(gantt)
    image = Image.new("RGB", (picture.width, picture.height), "#ffffff")
    _paint(ImageDraw.Draw(image), picture, ImageFont.load_default(12))
    written = io.BytesIO()
    image.save(written, "PNG", optimize=True)
    return written.getvalue()


def _paint(draw: Any, picture: Picture, font: Any) -> None:
    draw.text((_MARGIN, 10), picture.title, fill="#222222", font=font)
    for x, text in picture.ticks:
        draw.line((x, _HEAD - 8, x, picture.height - _MARGIN), fill="#dddddd")
        draw.text((x, _HEAD - 24), text, fill="#777777", font=font, anchor="ma")
    for box in picture.boxes:
        draw.text((_MARGIN, box.y + 2), box.label, fill="#222222", font=font)
        corners = (box.x, box.y + 3, box.x + box.width, box.y + _ROW - 5)
        draw.rounded_rectangle(corners, 2, fill=_FILL[box.bar.status])
        draw.text((_MARGIN + _LABELS + _BARS + 12, box.y + 2), box.note, fill="#777777", font=font)
