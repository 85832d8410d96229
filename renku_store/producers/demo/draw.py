"""`python -m renku_store.producers.demo.draw`: a program of the contract that draws a slide with Pillow.

Inputs `title` and, if given, `scene` (a name in `scenery.SCENES`; else `sea`). Output `image`: PNG, 1280 x 720, RGB.
The font is the one that Pillow brings, so that every machine draws the same. It knows the letters of ASCII: others lose
their accents, and what it does not know at all becomes a box.
"""

from __future__ import annotations

import difflib
import sys
import unicodedata
from typing import Final

from PIL import Image, ImageDraw, ImageFilter, ImageFont

from renku_store.producers.demo.requests import DemoError, Request
from renku_store.producers.demo.scenery import HEIGHT, SCENES, WIDTH, Canvas

_OVERSAMPLING: Final = 2
_MARGIN: Final = 84
_TITLE_TOP: Final = 72
_TITLE_SIZES: Final = (88, 76, 64, 52, 42)
_TITLE_MAX_LINES: Final = 2
_WHITE: Final = (255, 255, 255)


def draw_slide(title: str, scene: str) -> Image.Image:
    """Return the slide; raises `DemoError` for a scene that cannot be drawn."""
    if scene not in SCENES:
        near = difflib.get_close_matches(scene, SCENES, n=1)
        raise DemoError(
            f"There is no scene {scene!r}; {f'the nearest is {near[0]!r}' if near else 'known: ' + ', '.join(SCENES)}."
        )
    canvas = Canvas(_OVERSAMPLING)
    SCENES[scene](canvas)
    image = canvas.image.reduce(_OVERSAMPLING)
    letters = unicodedata.normalize("NFKD", " ".join(title.split()))
    _write_title(image, "".join(letter for letter in letters if not unicodedata.combining(letter)))
    return image


def _write_title(image: Image.Image, title: str) -> None:
    lines, font = _fit(title)
    text = "\n".join(lines)
    at = (_MARGIN, _TITLE_TOP + 34)
    shadow = Image.new("L", (WIDTH, HEIGHT))
    ImageDraw.Draw(shadow).multiline_text((at[0], at[1] + 3), text, fill=150, font=font, spacing=14)
    image.paste((8, 20, 40), mask=shadow.filter(ImageFilter.GaussianBlur(7)))
    brush = ImageDraw.Draw(image)
    brush.rounded_rectangle((_MARGIN + 4, _TITLE_TOP, _MARGIN + 96, _TITLE_TOP + 8), radius=4, fill=_WHITE)
    brush.multiline_text(at, text, fill=_WHITE, font=font, spacing=14)


def _fit(title: str) -> tuple[list[str], ImageFont.FreeTypeFont]:
    """The largest size in which the title fits; in the smallest, what does not fit is left off."""
    lines, font = _wrapped(title, _TITLE_SIZES[0])
    for size in _TITLE_SIZES[1:]:
        if len(lines) <= _TITLE_MAX_LINES:
            break
        lines, font = _wrapped(title, size)
    if len(lines) > _TITLE_MAX_LINES:
        lines = [*lines[: _TITLE_MAX_LINES - 1], lines[_TITLE_MAX_LINES - 1] + "…"]
    return lines, font


def _wrapped(title: str, size: int) -> tuple[list[str], ImageFont.FreeTypeFont]:
    font = ImageFont.load_default(size)
    if not isinstance(font, ImageFont.FreeTypeFont):
        raise DemoError("This Pillow was built without FreeType, which the titles of slides need.")
    lines: list[str] = []
    for word in title.split():
        longer = f"{lines[-1]} {word}" if lines else word
        if lines and font.getlength(longer) <= WIDTH - 2 * _MARGIN:
            lines[-1] = longer
        else:
            lines.append(word)
    return lines, font


def draw(request: Request) -> None:
    """Write `outputs/image`."""
    image = draw_slide(request.text("title"), request.text("scene", "sea"))
    image.save(request.folder / "outputs" / "image", format="PNG")


if __name__ == "__main__":
    try:
        draw(Request.read())
    except DemoError as error:
        sys.exit(str(error))
