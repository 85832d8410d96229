"""The pages of the site and its navigation: what is reached from README.md, laid out as the checkout is.

So every link stays as it is. Pages are copied with three changes: diagrams are drawn, options of fenced blocks (they
are for the tests) go, and a link to a folder leads to a list of its files. Other files that pages link to are copied
as they are.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Final
from urllib.parse import unquote

TOP: Final = Path(__file__).resolve().parents[2]
_START: Final = "README.md"
_FENCE: Final = re.compile(r"^```(?P<language>[a-z]+)(?P<options>[^\n]*)\n(?P<text>.*?)^```$", re.MULTILINE | re.DOTALL)
_LINK: Final = re.compile(r"(?<=\]\()([^)\s]+)(?=\))")
_CODE: Final = re.compile(r"`[^`\n]+`")

_SECTION: Final = re.compile(r"^## ([^:\n]+).*?\n(.*?)(?=^## |\Z)", re.MULTILINE | re.DOTALL)
_ITEM: Final = re.compile(r"\[([^\]]+)\]\(([^)#\s]+)\)")

Draw = Callable[[str], str]
"""A Mermaid text to an SVG text."""


class BrokenLinkError(Exception):
    """A link in a page leads nowhere."""


def outside(link: str) -> bool:
    """Whether a link leads to another place than this checkout."""
    return "://" in link or link.startswith("mailto:")


def links(text: str) -> Iterator[str]:
    """The links and images of a page that lead to files of the checkout, without their anchors."""
    prose = _CODE.sub("", _FENCE.sub("", text))
    for link in _LINK.findall(prose):
        path = link.partition("#")[0]
        if path and not outside(link):
            yield path


def write_pages(target: Path, draw: Draw) -> list[str]:
    """Write every page and file that can be reached from README.md below `target`; returns their paths, sorted.

    Raises `BrokenLinkError` where a link names no file of the checkout.
    """
    waiting, seen = [_START], {_START}
    while waiting:
        path = waiting.pop()
        for linked in _write(path, target, draw):
            if linked not in seen:
                seen.add(linked)
                waiting.append(linked)
    return sorted(seen)


def _write(path: str, target: Path, draw: Draw) -> list[str]:
    """Write one file; returns what it links to."""
    place = target / path
    place.parent.mkdir(parents=True, exist_ok=True)
    if not path.endswith(".md"):
        place.write_bytes((TOP / path).read_bytes())
        return []
    source = TOP / path
    text = source.read_text(encoding="utf-8") if source.exists() else _list_of(source.parent)
    linked = [_resolved(path, link) for link in links(text)]
    place.write_text(_for_the_site(text, place, draw), encoding="utf-8")
    return linked


def _resolved(page: str, link: str) -> str:
    found = (TOP / page).parent.joinpath(unquote(link)).resolve()
    if not found.exists() or not found.is_relative_to(TOP):
        raise BrokenLinkError(f"{page} links to {link}, which is not there.")
    if found.is_dir():
        found /= "README.md"
    return found.relative_to(TOP).as_posix()


def _list_of(folder: Path) -> str:
    """A page for a folder that has none of its own."""
    names = sorted(path.name for path in folder.iterdir() if path.is_file())
    return f"# {folder.relative_to(TOP)}\n\n" + "".join(f"- [{name}]({name})\n" for name in names)


def _for_the_site(text: str, place: Path, draw: Draw) -> str:
    drawn = 0

    def fence(match: re.Match[str]) -> str:
        nonlocal drawn
        if match["language"] != "mermaid":
            return f"```{match['language']}\n{match['text']}```"
        drawn += 1
        picture = place.with_name(f"{place.stem}-{drawn}.svg")
        picture.write_text(draw(match["text"]), encoding="utf-8")
        return f"![Diagram {drawn} of this page]({picture.name})"

    return _with_folders(_FENCE.sub(fence, _without_escaped_pipes(text)))


def _without_escaped_pipes(text: str) -> str:
    """In tables GitHub wants `|` in code escaped, and the site's Markdown does not."""
    rows = (
        _CODE.sub(lambda code: code[0].replace("\\|", "|"), line) if line.startswith("|") else line
        for line in text.splitlines(keepends=True)
    )
    return "".join(rows)


def _with_folders(text: str) -> str:
    return _LINK.sub(
        lambda link: f"{link[0]}README.md" if link[0].endswith("/") and not outside(link[0]) else link[0], text
    )


def navigation(index: str) -> list[Any]:
    """The navigation that the index of the documentation makes: its sections, in each the pages that it links to."""
    sections: list[Any] = [{"Renku Store": "README.md"}, {"Overview": "docs/index.md"}]
    told = {"docs/index.md"}
    for title, text in _SECTION.findall(index):
        pages: list[dict[str, str]] = []
        for name, link in _ITEM.findall(text):
            path = (TOP / "docs" / link).resolve().relative_to(TOP).as_posix()
            if not outside(link) and path.endswith(".md") and path not in told:
                told.add(path)
                pages.append({name: path})
        sections.append({title: pages})
    return sections
