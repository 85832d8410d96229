"""Slides, drawn for real."""

from __future__ import annotations

import io
import sys

import pytest
from PIL import Image

from renku_store.errors import ProducerError
from renku_store.producers.demo.scenery import SCENES
from tests.producers.calling import Desk, data_of


def slide(desk: Desk, **inputs: object) -> bytes:
    return data_of(desk.call("demo/slide@1", inputs=inputs, outputs=["image"]), "image")


@pytest.mark.parametrize("scene", SCENES)
def test_every_scene_makes_a_slide(desk: Desk, scene: str) -> None:
    """A slide is a PNG of 1280 x 720 with a picture on it, the same at each drawing."""
    made = slide(desk, title="The way of water", scene=scene)
    with Image.open(io.BytesIO(made)) as image:
        assert (image.format, image.size, image.mode) == ("PNG", (1280, 720), "RGB")
        assert len(image.getcolors(2**20) or []) > 500
    assert slide(desk, title="The way of water", scene=scene) == made


def test_scene_and_title_are_what_is_seen(desk: Desk) -> None:
    """Another scene or title is another picture; without a scene it is the sea."""
    sea = slide(desk, title="Water", scene="sea")
    assert slide(desk, title="Water") == sea
    assert len({sea, slide(desk, title="Water", scene="rain"), slide(desk, title="Rain", scene="sea")}) == 3


def test_the_title_stays_on_the_slide(desk: Desk) -> None:
    """However long, the title leaves the lower half and the right margin as they are without it."""
    bare, full = (
        Image.open(io.BytesIO(slide(desk, title=title, scene="rain"))).convert("RGB")
        for title in ("", "So much water " * 60)
    )
    for box in ((0, 360, 1280, 720), (1240, 0, 1280, 720)):
        assert full.crop(box).tobytes() == bare.crop(box).tobytes()
    assert full.tobytes() != bare.tobytes()


def test_letters_beyond_the_font_lose_their_accents(desk: Desk) -> None:
    """The font has no accents, so a title with them is drawn without."""
    assert slide(desk, title="Évaporation à Zürich") == slide(desk, title="Evaporation a Zurich")


def test_a_scene_that_cannot_be_drawn_is_named(desk: Desk) -> None:
    """A typing error is met with the nearest scene."""
    with pytest.raises(ProducerError) as caught:
        slide(desk, title="x", scene="rian")
    assert "no scene 'rian'; the nearest is 'rain'" in caught.value.hint


def test_without_the_extra_the_way_to_it_is_shown(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    """A missing Pillow is named, with the command that installs it."""
    monkeypatch.setitem(sys.modules, "PIL", None)
    with pytest.raises(ProducerError, match="PIL, which is not installed") as caught:
        slide(desk, title="x")
    assert caught.value.hint == "pip install 'renku-store[demo]'"
