"""What an exported folder knows of itself: which files exports have put there, and how they left them."""

from __future__ import annotations

import stat
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

import orjson

from renku_store.export.names import INDEX, is_plain_name

Known: TypeAlias = Mapping[str, Any]
"""A file as it was left: `hash`, `size` in bytes, `modifiedNs`; empty for one that was not there.

While an export goes on, `begun` holds the same of what is about to have that name: either may be found there then.
"""


@dataclass(frozen=True, slots=True)
class Index:
    """`.renku-export.json`; `view_of`: the identity of the movie whose view the folder is, None for a plain export."""

    movie: str | None
    revision: str | None
    view_of: str | None
    files: dict[str, Known]

    def shows(self, revision: str, view_of: str | None) -> bool:
        """Whether it was written for this revision and this purpose, to the end."""
        ended = all(known and "begun" not in known for known in self.files.values())
        return self.revision == revision and self.view_of == view_of and ended

    def encode(self) -> bytes:
        """Its bytes."""
        document: dict[str, Any] = {"movie": self.movie, "revision": self.revision, "files": self.files}
        if self.view_of is not None:
            document["viewOf"] = self.view_of
        return orjson.dumps(document, option=orjson.OPT_INDENT_2 | orjson.OPT_SORT_KEYS)


def read_index(folder: Path) -> Index:
    """The index of a folder; one without files where there is none, or none that can be trusted."""
    path = folder / INDEX
    try:
        if not stat.S_ISREG(path.lstat().st_mode):
            return Index(None, None, None, {})
        document = orjson.loads(path.read_bytes())
        files: dict[str, Known] = {
            name: dict(known) for name, known in document["files"].items() if is_plain_name(name)
        }
        revision, view_of = (_text(document.get(key)) for key in ("revision", "viewOf"))
        return Index(_text(document.get("movie")), revision, view_of, files)
    except (FileNotFoundError, orjson.JSONDecodeError, KeyError, TypeError, ValueError, AttributeError):
        return Index(None, None, None, {})


def look(path: Path) -> dict[str, int]:
    """What shows later whether a file was touched: its size and time."""
    found = path.lstat()
    return {"size": found.st_size, "modifiedNs": found.st_mtime_ns}


def is_untouched(path: Path, known: Known) -> bool:
    """Whether a file is as an export left it: regular, of that size and that time."""
    try:
        found = path.lstat()
    except FileNotFoundError:
        return False
    return stat.S_ISREG(found.st_mode) and look(path) == {key: known.get(key) for key in ("size", "modifiedNs")}


def settled(folder: Path, files: Mapping[str, Known]) -> dict[str, Known]:
    """What is known of the files that are there, should an export have been killed while it had begun to write them.

    One that it did not come to, and that was not there before, is nobody's or somebody else's.
    """
    found: dict[str, Known] = {}
    for name, known in files.items():
        begun = known.get("begun")
        before = {key: value for key, value in known.items() if key != "begun"}
        if isinstance(begun, dict) and is_untouched(folder / name, begun):
            found[name] = begun
        elif before or begun is None:
            found[name] = before
    return found


def is_linked(path: Path) -> bool:
    """Whether a file has other names: it may be one of the store's own then, or somebody else's, too."""
    return path.lstat().st_nlink > 1


def _text(value: object) -> str | None:
    return value if isinstance(value, str) else None
