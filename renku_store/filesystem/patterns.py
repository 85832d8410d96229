"""What a pattern with brackets means, where names have brackets. Pure.

Ids such as `narration[2].audio` hold what glob takes for a set of characters. So brackets stand for themselves, unless
the pattern is escaped as `glob.escape` does it (`[[]`), or nothing is found that way.
"""

from __future__ import annotations

import glob
import re
from collections.abc import Iterator
from fnmatch import fnmatchcase

_ESCAPED = re.compile(r"\[([*?[])\]")


def unescaped(pattern: str) -> str | None:
    """The text of which a pattern is what `glob.escape` makes; None where it is no such pattern."""
    text = _ESCAPED.sub(r"\1", pattern)
    return text if text != pattern and glob.escape(text) == pattern else None


def readings(pattern: str) -> Iterator[str]:
    """What a pattern can mean, as usual patterns: the first that finds anything is what was meant."""
    if "[" in pattern and "[[]" not in pattern:
        yield pattern.replace("[", "[[]")
    yield pattern


def revision_pattern(path: str) -> tuple[str, str, str, str] | None:
    """The parts of a path whose movie is a pattern and names a revision: root, movie, revision, and what follows.

    None where there is no such part; it is the last but one, or the last.
    """
    parts = path.split("/")
    for place in (len(parts) - 2, len(parts) - 1):
        movie, at, revision = parts[place].partition("@") if place >= 0 else ("", "", "")
        if at and revision and glob.has_magic(parts[place]) and not glob.has_magic("/".join(parts[:place])):
            return "/".join(parts[:place]), movie, revision, "/".join(parts[place + 1 :])
    return None


def matches(name: str, pattern: str) -> bool:
    """Whether the name of a movie or revision, which has no brackets, is one of a pattern's."""
    return fnmatchcase(name, pattern)
