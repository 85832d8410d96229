"""The pictures of growth: drawn of the kept results, the same bytes each time, told in words too."""

from __future__ import annotations

import json
import subprocess
import sys
import xml.etree.ElementTree as ET
from pathlib import Path

import pytest

_TOP = Path(__file__).resolve().parents[2]
_PICTURES = _TOP / "docs/pictures"
_SVG = "{http://www.w3.org/2000/svg}"
_NAMES = ("add", "look-up", "plan", "gc")


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder into which they were drawn anew."""
    folder = tmp_path_factory.mktemp("pictures")
    subprocess.run([sys.executable, str(_TOP / "docs/building/growth_pictures.py"), str(folder)], check=True)
    return folder


def test_the_pictures_are_those_of_the_kept_results(pictures: Path) -> None:
    """Whoever measures anew draws anew: `make picture`."""
    assert {path.name for path in pictures.iterdir()} == {f"growth-{name}.svg" for name in _NAMES}
    for path in pictures.iterdir():
        assert path.read_bytes() == (_PICTURES / path.name).read_bytes(), path.name


@pytest.mark.parametrize("name", _NAMES)
def test_a_picture_is_told_in_words_and_fetches_nothing(pictures: Path, name: str) -> None:
    """A title and a description that are its accessible name, colours for light and dark, no address but SVG's own."""
    text = (pictures / f"growth-{name}.svg").read_text(encoding="utf-8")
    root = ET.fromstring(text)
    named = {part.get("id"): part.text for part in root if part.tag in {f"{_SVG}title", f"{_SVG}desc"}}
    assert (root.get("role"), root.get("aria-labelledby")) == ("img", "title desc")
    assert named["title"]
    assert "Renku Store: " in (named["desc"] or "")
    assert "prefers-color-scheme:dark" in text
    assert text.count("http") == 1


def test_a_picture_has_a_mark_for_each_size_that_was_measured(pictures: Path) -> None:
    """Ours are circles, in the order of their sizes from left to right, inside the picture."""
    (*_, newest) = sorted((_TOP / "benchmarks/growth/results").glob("*.json"))
    results = json.loads(newest.read_text(encoding="utf-8"))["results"]
    for name in ("add", "look-up"):
        root = ET.parse(pictures / f"growth-{name}.svg").getroot()
        places = [float(part.get("cx", "")) for part in root.iter(f"{_SVG}circle")]
        assert len(places) == sum(result["of"] == name for result in results) >= 3
        assert places == sorted(set(places))
        assert 0 < places[0] < places[-1] < float(root.get("width", ""))


def test_the_pictures_stand_on_a_page() -> None:
    """The page of their benchmark shows each."""
    text = (_TOP / "benchmarks/growth/README.md").read_text(encoding="utf-8")
    for name in _NAMES:
        assert f"](../../docs/pictures/growth-{name}.svg)" in text
