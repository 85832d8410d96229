"""The site: every page is reached and stands in the navigation, no link breaks, and what breaks is noticed."""

from __future__ import annotations

import html
import re
import runpy
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

_TOP = Path(__file__).resolve().parents[2]
_BUILDING = _TOP / "docs" / "building"


def _module(name: str) -> Any:
    return SimpleNamespace(**runpy.run_path(str(_BUILDING / f"{name}.py")))


@pytest.fixture(scope="module")
def site_pages() -> Any:
    """The module that lays out the pages."""
    return _module("site_pages")


def _listed(entries: list[Any]) -> list[str]:
    """The paths in a navigation, in order."""
    paths: list[str] = []
    for entry in entries:
        for value in entry.values():
            paths += _listed(value) if isinstance(value, list) else [value]
    return paths


def test_every_page_of_the_documentation_is_on_the_site(site_pages: Any, tmp_path: Path) -> None:
    """From README.md every page can be reached by links, and every link of the checkout stays true on the site."""
    written = site_pages.write_pages(tmp_path, lambda diagram: f"<svg>{len(diagram)}</svg>")
    pages = {page.relative_to(_TOP).as_posix() for page in (_TOP / "docs").rglob("*.md")}
    assert pages <= set(written)
    for path in written:
        assert (tmp_path / path).is_file()
        if path.endswith(".md"):
            for link in site_pages.links((tmp_path / path).read_text(encoding="utf-8")):
                assert (tmp_path / path).parent.joinpath(link).is_file(), f"{path}: {link}"


def test_every_page_stands_once_in_the_navigation(site_pages: Any) -> None:
    """The navigation comes from the index; decisions are in a list of their own."""
    listed = _listed(site_pages.navigation((_TOP / "docs/index.md").read_text(encoding="utf-8")))
    pages = {p.relative_to(_TOP).as_posix() for p in (_TOP / "docs").rglob("*.md") if p.parent.name != "adr"}
    assert len(listed) == len(set(listed))
    assert pages <= set(listed)
    assert {"docs/adr/README.md", "README.md", "CHANGELOG.md", "CONTRIBUTING.md", "SECURITY.md"} <= set(listed)
    assert all((_TOP / path).is_file() for path in listed)


def test_diagrams_are_drawn_and_options_for_tests_go(site_pages: Any, tmp_path: Path) -> None:
    """A reader of the site sees pictures, and fences that the site's Markdown understands."""
    site_pages.write_pages(tmp_path, lambda diagram: f"<svg>{diagram.split()[0]}</svg>")
    page = (tmp_path / "docs/explanation/publishing.md").read_text(encoding="utf-8")
    assert "```mermaid" not in page
    assert "](publishing-1.svg)" in page
    assert (tmp_path / "docs/explanation/publishing-1.svg").read_text() == "<svg>flowchart</svg>"
    fences = [line for line in (tmp_path / "docs/tutorial.md").read_text().splitlines() if line.startswith("```")]
    assert fences
    assert not [fence for fence in fences if " " in fence]


@pytest.mark.parametrize(
    ("page", "problem"),
    [
        ('<a href="b.html">b</a>', "a.html links to b.html, which is not there."),
        ('<a href="#there">b</a>', "a.html links to #there, which is not there."),
        ('<a href="c/index.html#not">b</a>', "a.html links to c/index.html#not, which is not there."),
        ('<img src="picture.svg">', "a.html links to picture.svg, which is not there."),
        ('<script src="https://example.com/x.js"></script>', "a.html loads https://example.com/x.js from elsewhere."),
        ('<h2 id="here">h</h2><a href="#here">b</a><a href="c/">c</a><a href="https://example.com">d</a>', None),
    ],
)
def test_a_link_that_leads_nowhere_on_the_site_is_noticed(page: str, problem: str | None, tmp_path: Path) -> None:
    """Pages, anchors, pictures; and nothing is fetched from other servers."""
    (tmp_path / "a.html").write_text(page)
    (tmp_path / "c").mkdir()
    (tmp_path / "c/index.html").write_text("<p>c</p>")
    assert list(_module("site_check").problems(tmp_path)) == ([problem] if problem else [])


def test_a_broken_link_ends_the_build(site_pages: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A page with a link to no file is refused by its name."""
    top = tmp_path / "checkout"
    top.mkdir()
    (top / "README.md").write_text("[gone](docs/gone.md#part) [elsewhere](https://example.com)\n")
    monkeypatch.setitem(site_pages.write_pages.__globals__, "TOP", top)
    with pytest.raises(site_pages.BrokenLinkError, match=r"README\.md links to docs/gone\.md, which is not there"):
        site_pages.write_pages(tmp_path / "pages", str)


def test_the_picture_shows_a_real_run_and_fetches_nothing() -> None:
    """README's picture has the commands and their outputs as text, and needs no font of another server."""
    svg = (_TOP / "docs/pictures/demo.svg").read_text(encoding="utf-8")
    words = " ".join(re.sub(r"<[^>]+>", " ", html.unescape(svg)).split())
    assert "docs/pictures/demo.svg" in (_TOP / "README.md").read_text(encoding="utf-8")
    for shown in ("renku-store set", "renku-store plan", "4 jobs to run, 16 clean", "published rev-0002: made 4"):
        assert shown in re.sub(r"(?<=published) {2,}", " ", words), shown
    assert "@font-face" not in svg
    assert set(re.findall(r"https?://[^\s\"'<]+", svg)) <= {"http://www.w3.org/2000/svg", "https://www.textualize.io"}


@pytest.mark.long
def test_the_site_is_built_without_a_problem(tmp_path: Path) -> None:
    """`make docs`: Zensical in strict mode, then every link and anchor of the HTML."""
    given = [sys.executable, str(_BUILDING / "site_build.py"), str(tmp_path / "site")]
    ended = subprocess.run(given, capture_output=True, text=True, timeout=300, check=False)
    assert ended.returncode == 0, ended.stderr
    assert "<svg" in (tmp_path / "site/docs/explanation/publishing-1.svg").read_text()
    assert (tmp_path / "site/docs/reference/python-api.html").is_file()
