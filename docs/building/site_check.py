"""What is wrong with a built site: links and anchors that lead nowhere, and anything that is fetched from elsewhere."""

from __future__ import annotations

from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path
from typing import Final
from urllib.parse import unquote, urlsplit

_LOADED: Final = {"script": "src", "img": "src", "link": "href", "iframe": "src", "source": "src"}
_NEVER_LOADED: Final = {"canonical", "next", "prev", "alternate"}


class _Page(HTMLParser):
    """The ids of a page, where it leads, and what it loads."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.ids: set[str] = set()
        self.links: list[str] = []
        self.loaded: list[str] = []
        self.feed(path.read_text(encoding="utf-8"))

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Note what a tag says."""
        told = {name: value or "" for name, value in attrs}
        self.ids |= {told[name] for name in ("id", "name") if name in told}
        if tag == "a" and "href" in told:
            self.links.append(told["href"])
        elif tag in _LOADED and told.get(_LOADED[tag]) and told.get("rel") not in _NEVER_LOADED:
            self.loaded.append(told[_LOADED[tag]])


def problems(site: Path) -> Iterator[str]:
    """Each problem of a site as a sentence."""
    pages = {path: _Page(path) for path in sorted(site.rglob("*.html"))}
    for path, page in pages.items():
        if path.name == "404.html":  # its links begin at the root of the server
            continue
        name = path.relative_to(site)
        for link in page.loaded:
            if urlsplit(link).netloc:
                yield f"{name} loads {link} from elsewhere."
        for link in [*page.links, *page.loaded]:
            if not urlsplit(link).scheme and not urlsplit(link).netloc and not _leads(site, path, link, pages):
                yield f"{name} links to {link}, which is not there."


def _leads(site: Path, origin: Path, link: str, pages: dict[Path, _Page]) -> bool:
    parts = urlsplit(link)
    path = unquote(parts.path)
    found = (site / path.lstrip("/") if path.startswith("/") else origin.parent / path).resolve() if path else origin
    if found.is_dir():
        found /= "index.html"
    if not found.is_file():
        return False
    anchor = unquote(parts.fragment)
    return not anchor or found.suffix != ".html" or anchor in pages[found].ids
