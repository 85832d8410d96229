"""Scenes of the water cycle, drawn from shapes: sky, sun, clouds, hills, water.

Everything is measured in units of a picture 1280 wide and 720 high, whatever its resolution, and nothing is left to
chance: the same scene is the same picture.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from types import MappingProxyType
from typing import Final, TypeAlias

from PIL import Image, ImageDraw

WIDTH: Final = 1280
HEIGHT: Final = 720

Colour: TypeAlias = tuple[int, int, int] | tuple[int, int, int, int]
Point: TypeAlias = tuple[float, float]


class Canvas:
    """A picture and a brush; `scale` is pixels per unit."""

    def __init__(self, scale: int) -> None:
        self.image = Image.new("RGB", (WIDTH * scale, HEIGHT * scale))
        self._scale = scale
        self._brush = ImageDraw.Draw(self.image, "RGBA")

    def sky(self, top: Colour, bottom: Colour) -> None:
        """Fill the picture with a gradient from top to bottom."""
        height = self.image.height
        column = Image.new("RGB", (1, height))
        for y in range(height):
            share = y / (height - 1)
            column.putpixel((0, y), tuple(round(a + (b - a) * share) for a, b in zip(top, bottom, strict=True)))
        self.image.paste(column.resize(self.image.size))

    def disc(self, centre: Point, radius: float, colour: Colour) -> None:
        """Fill a circle."""
        (x, y), s = centre, self._scale
        self._brush.ellipse([(x - radius) * s, (y - radius) * s, (x + radius) * s, (y + radius) * s], fill=colour)

    def polygon(self, points: list[Point], colour: Colour) -> None:
        """Fill the area within the points."""
        self._brush.polygon([(x * self._scale, y * self._scale) for x, y in points], fill=colour)

    def line(self, points: list[Point], width: float, colour: Colour) -> None:
        """Draw a line through the points."""
        path = [(x * self._scale, y * self._scale) for x, y in points]
        self._brush.line(path, fill=colour, width=round(width * self._scale), joint="curve")

    def land(self, level: float, height: float, length: float, phase: float, colour: Colour) -> None:
        """Fill all below a wavy line, hills or waves: `level` is its mean, `length` the way from crest to crest."""
        crest = [(x, level + height * _swell(x, length, phase)) for x in _across()]
        self.polygon([*crest, (WIDTH, HEIGHT), (0, HEIGHT)], colour)

    def sun(self, centre: Point, radius: float, colour: tuple[int, int, int]) -> None:
        """Draw a sun with a glow around it."""
        for ring in range(6, 0, -1):
            self.disc(centre, radius * (1 + 0.28 * ring), (*colour, 18))
        self.disc(centre, radius, colour)

    def cloud(self, centre: Point, size: float, colour: Colour, shade: Colour) -> None:
        """Draw a cloud on a flat base; `size` is half its width, `shade` the colour of its lower part."""
        x, y = centre
        puffs = ((-0.62, 0.02, 0.30), (-0.24, -0.20, 0.40), (0.22, -0.12, 0.36), (0.60, 0.04, 0.28))
        for tint, drop in ((shade, 0.10), (colour, 0.0)):
            for dx, dy, radius in puffs:
                self.disc((x + dx * size, y + (dy + drop) * size), radius * size, tint)
            base = [(x - 0.66 * size, y + (0.02 + drop) * size), (x + 0.64 * size, y + (0.02 + drop) * size)]
            self.polygon(
                [*base, (x + 0.64 * size, y + (0.31 + drop) * size), (x - 0.66 * size, y + (0.31 + drop) * size)], tint
            )

    def mountain(self, peak: Point, half: float, colour: Colour, snow: Colour) -> None:
        """Draw a mountain down to the lower edge, `half` its half width there, with snow on its top."""
        x, y = peak
        slope = half / (HEIGHT - y)
        self.polygon([peak, (x + half, HEIGHT), (x - half, HEIGHT)], colour)
        depth, edge = 78.0, (0.55, 0.15, -0.2, -0.6)
        teeth = [(x + slope * depth * share, y + depth * (0.72 + 0.28 * (i % 2))) for i, share in enumerate(edge)]
        self.polygon([peak, (x + slope * depth, y + depth), *teeth, (x - slope * depth, y + depth)], snow)

    def waves(self, level: float, colours: tuple[Colour, ...]) -> None:
        """Draw water from `level` down, one row of waves for each colour, the nearest last."""
        for row, colour in enumerate(colours):
            depth = (HEIGHT - level) * row / len(colours)
            self.land(level + depth, 5 + 4 * row, 210 + 70 * row, 1.7 * row, colour)


def _swell(x: float, length: float, phase: float) -> float:
    turn = 2 * math.pi * x / length + phase
    return 0.7 * math.sin(turn) + 0.3 * math.sin(2.3 * turn + 1.1)


def _across() -> Iterator[float]:
    yield from (float(x) for x in range(0, WIDTH + 1, 4))


def _scattered(count: int, width: float, height: float) -> list[Point]:
    """Points spread evenly over an area, by M. Roberts' R2: the additive recurrence of the plastic number."""
    return [(width * (place * 0.7548776662 % 1), height * (place * 0.5698402910 % 1)) for place in range(count)]


_FOAM: Final = (236, 246, 252)
_SEA: Final = ((58, 138, 178), (36, 112, 158), (22, 88, 136), (13, 66, 112))


def _sea(canvas: Canvas) -> None:
    canvas.sky((19, 43, 94), (244, 170, 124))
    canvas.sun((930, 440), 92, (255, 221, 156))
    canvas.waves(450, _SEA)
    for row, half in enumerate((70, 46, 62, 30, 40)):
        canvas.line([(930 - half, 478 + 34 * row), (930 + half, 478 + 34 * row)], 5, (255, 226, 170, 120))


def _vapour(canvas: Canvas) -> None:
    canvas.sky((232, 118, 70), (253, 221, 160))
    canvas.sun((1030, 250), 108, (255, 240, 190))
    for place in range(9):
        x, low = 120 + 118 * place, 500 - 26 * (place % 3)
        for behind, length, width in ((0, 172, 7), (34, 140, 5)):
            rise = [float(step) for step in range(0, length, 2)]
            left = [(x + behind + 11 * math.sin(step / 36 + place), low - step) for step in rise]
            right = [(edge + width, y) for edge, y in left]
            canvas.polygon([*left, *reversed(right)], (255, 255, 255, 150))
    canvas.waves(520, _SEA)


def _cloud(canvas: Canvas) -> None:
    canvas.sky((40, 110, 186), (176, 219, 244))
    canvas.cloud((230, 500), 150, (232, 242, 250, 255), (206, 224, 240, 255))
    canvas.cloud((1080, 385), 140, (238, 246, 252, 255), (210, 228, 243, 255))
    canvas.cloud((700, 480), 300, (255, 255, 255, 255), (219, 233, 245, 255))
    canvas.land(672, 16, 620, 0.4, (86, 152, 108))
    canvas.land(694, 12, 430, 2.0, (62, 128, 90))


def _rain(canvas: Canvas) -> None:
    canvas.sky((38, 50, 74), (120, 144, 166))
    for x, y in _scattered(150, 1360, 300):
        canvas.line([(x, y + 400), (x - 9, y + 430)], 3, (196, 222, 240, 150))
    for x, y, size, tone in ((300, 390, 240, 104), (1020, 370, 260, 92), (660, 405, 270, 122)):
        canvas.cloud((x, y), size, (tone, tone + 12, tone + 30), (tone - 22, tone - 10, tone + 8))
    canvas.land(640, 22, 700, 0.8, (58, 96, 84))
    canvas.land(680, 16, 480, 2.4, (42, 76, 70))


def _river(canvas: Canvas) -> None:
    canvas.sky((70, 150, 210), (214, 236, 246))
    canvas.sun((300, 380), 58, (255, 238, 180))
    for peak, half, tone in (((840, 318), 330, 112), ((1150, 282), 400, 98), ((1010, 236), 380, 86)):
        canvas.mountain(peak, half, (tone, tone + 16, tone + 40), _FOAM)
    canvas.land(520, 24, 760, 0.3, (124, 176, 96))
    canvas.land(590, 20, 560, 1.9, (96, 156, 84))
    steps = [step / 60 for step in range(61)]
    middle = [(905 - 560 * t + 120 * math.sin(5.2 * t) * t, 505 + 215 * t) for t in steps]
    bank = [8 + 118 * t * t for t in steps]
    left = [(x - width, y) for (x, y), width in zip(middle, bank, strict=True)]
    right = [(x + width, y) for (x, y), width in zip(middle, bank, strict=True)]
    canvas.polygon([*left, *reversed(right)], (52, 132, 186))
    canvas.line(
        [(x - width * 0.2, y) for (x, y), width in zip(middle, bank, strict=True)][14:], 4, (200, 230, 246, 150)
    )


def _ground(canvas: Canvas) -> None:
    canvas.sky((64, 140, 200), (206, 232, 244))
    canvas.land(344, 12, 640, 0.9, (98, 160, 84))
    layers = ((374, (122, 84, 58)), (446, (104, 72, 54)), (524, (150, 124, 92)), (600, (70, 66, 78)))
    for row, (level, colour) in enumerate(layers):
        canvas.land(level, 9, 520 + 90 * row, 1.3 * row, colour)
    canvas.polygon([*[(x, 548 + 7 * _swell(x, 600, 2.0)) for x in _across()], (WIDTH, 604), (0, 604)], (46, 126, 184))
    canvas.land(600, 9, 790, 3.9, (70, 66, 78))
    for place, (x, y) in enumerate(_scattered(90, WIDTH, 44)):
        canvas.disc((x, y + 552), 5 + place % 4, (150, 124, 92, 170))
    for place in range(10):
        x, y = 90 + 122 * place, 404 + 22 * (place % 4)
        canvas.line([(x, y), (x, y + 62)], 5, (126, 196, 232, 220))
        canvas.polygon([(x - 11, y + 58), (x + 11, y + 58), (x, y + 78)], (126, 196, 232, 220))


SCENES: Final[Mapping[str, Callable[[Canvas], None]]] = MappingProxyType(
    {"sea": _sea, "vapour": _vapour, "cloud": _cloud, "rain": _rain, "river": _river, "ground": _ground}
)
"""What can be drawn, by name."""
