"""Text for people: quantities in words, and stored text made harmless before it reaches a terminal."""

from __future__ import annotations

import json
import re
from functools import cache
from typing import Final

# C0 and C1 controls, line and paragraph separators, marks that reorder text, and halves of surrogate pairs (which is
# how Python holds bytes that are not UTF-8).
_HARMFUL: Final = "[\x00-\x1f\x7f-\x9f\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff\ufeff]"
_HARMFUL_IN_LINES: Final = _HARMFUL.replace("\x00-\x1f", "\x00-\x08\x0b-\x1f")
_UNITS: Final = ("kB", "MB", "GB", "TB", "PB")
SHOWN_CHARS: Final = 60
"""How much of a value a table shows: one that is longer is a matter for `--json` or `cat`."""


def neutral(text: str) -> str:
    r"""The text on one line, with everything that could steer a terminal written as an escape such as `\x1b`."""
    return _neutralised(text, _HARMFUL)


def neutral_lines(text: str) -> str:
    """The same for text of several lines: line ends and tabs stay."""
    return _neutralised(text.replace("\r\n", "\n"), _HARMFUL_IN_LINES)


def _neutralised(text: str, harmful: str) -> str:
    """The text with what is harmful written as escapes; none of that can be printed."""
    return text if text.isprintable() else _compiled(harmful).sub(_escape, text)


@cache
def _compiled(pattern: str) -> re.Pattern[str]:
    return re.compile(pattern)  # when it is needed: it takes as long as loading four modules


def _escape(match: re.Match[str]) -> str:
    code = ord(match[0])
    named = {9: r"\t", 10: r"\n", 13: r"\r"}.get(code)
    if named is not None:
        return named
    if 0xDC80 <= code <= 0xDCFF:
        return f"\\x{code - 0xDC00:02x}"
    return f"\\x{code:02x}" if code < 256 else f"\\u{code:04x}"


def short(text: str, chars: int = SHOWN_CHARS) -> str:
    """At most `chars` characters of the text; an ellipsis says that there is more."""
    return text if len(text) <= chars else text[: chars - 1] + "…"


def shown_value(value: object, chars: int = SHOWN_CHARS) -> str:
    """A JSON value on one line, shortened. A long text is cut before it is written as JSON, so size costs nothing."""
    if isinstance(value, str) and len(value) > chars:
        return short(json.dumps(value[:chars], ensure_ascii=False), chars)
    return short(json.dumps(value, ensure_ascii=False), chars)


def size(count: int) -> str:
    """Bytes in decimal units: `950 B`, `1.2 MB`."""
    if count < 1000:
        return f"{count} B"
    amount = float(count)
    for unit in _UNITS:
        amount /= 1000
        if amount < 999.95 or unit == _UNITS[-1]:
            return f"{amount:.1f} {unit}"
    raise AssertionError("unreachable")


def duration(seconds: float) -> str:
    """Seconds as `0.4 s`, `2 min 05 s` or `3 h 07 min`."""
    if seconds < 59.95:
        return f"{seconds:.1f} s"
    whole = round(seconds)
    minutes, rest = divmod(whole, 60)
    if minutes < 60:
        return f"{minutes} min {rest:02d} s"
    return f"{minutes // 60} h {minutes % 60:02d} min"


def rough(seconds: float) -> str:
    """A guessed time, no more exact than it deserves: `1 s`, `40 s`, `3 min`, `2 h`."""
    if seconds < 60:
        return f"{max(1, round(seconds))} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 120 else f"{round(seconds / 3600)} h"


def cost(dollars: float) -> str:
    """US dollars: cents as usual, more digits where a call costs less than one."""
    digits = 2 if dollars == 0 or dollars >= 1 else 4 if dollars >= 0.001 else 6
    return f"${dollars:.{digits}f}"


def count(number: int, thing: str, plural: str | None = None) -> str:
    """`1 job`, `2 jobs`."""
    return f"{number:,} {thing if number == 1 else plural or thing + 's'}"
