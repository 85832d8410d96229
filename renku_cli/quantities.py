"""What people type for spans of time and for sizes: `24h`, `500MB`."""

from __future__ import annotations

import re
from typing import Final

from renku_cli.misuse import Misuse

_SPAN: Final = re.compile(r"(\d{1,9}(?:\.\d{1,3})?)([smhd])")
_SECONDS: Final = {"s": 1.0, "m": 60.0, "h": 3_600.0, "d": 86_400.0}
_SIZE: Final = re.compile(r"(\d{1,15}(?:\.\d{1,3})?) ?(?:([kmgtp]?)(i?)b)?", re.IGNORECASE)
_POWERS: Final = {"": 0, "k": 1, "m": 2, "g": 3, "t": 4, "p": 5}

COUNT_MAX: Final = 1_000_000_000
"""More of anything that is counted on the command line is a typing error."""


def seconds_of(text: str) -> float:
    """A span of time such as `90s`, `30m`, `24h` or `7d` in seconds; `0` needs no unit."""
    match = _SPAN.fullmatch(text.strip())
    if match is None:
        if text.strip() == "0":
            return 0.0
        raise Misuse(f"{text!r} is not a span of time.", hint="Give a number and s, m, h or d, such as 24h.")
    return float(match[1]) * _SECONDS[match[2]]


def bytes_of(text: str) -> int:
    """A size such as `500MB` (decimal), `2GiB` (binary) or a plain number of bytes."""
    match = _SIZE.fullmatch(text.strip())
    unit = (match[2] or "").lower() if match else ""
    if match is None or (match[3] and not unit) or ("." in match[1] and not unit):
        raise Misuse(f"{text!r} is not a size.", hint="Give bytes, or a number and a unit, such as 500MB or 2GiB.")
    return round(float(match[1]) * (1024 if match[3] else 1000) ** _POWERS[unit]) if unit else int(match[1])
