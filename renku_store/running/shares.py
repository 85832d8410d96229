"""How many calls go on at once, as a setting says it."""

from __future__ import annotations

import os
import re

from renku_store import bounds
from renku_store.errors import InvalidValueError

_PERCENT = re.compile(r"(\d{1,4}(?:\.\d+)?)\s*%")


def processors() -> int:
    """The processors that this process may use, at least 1."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def resolve_concurrency(setting: int | str, *, cpus: int | None = None) -> int:
    """The number of calls at once that a setting means: `8`, `"50%"` of the processors, or `"auto"`.

    Percentages round half up and are at least 1; `auto` is half of the processors, from 1 to 8. `cpus` defaults to
    those that this process may use. Raises `InvalidValueError` for anything else.
    """
    count = processors() if cpus is None else cpus
    text = "" if isinstance(setting, bool) else str(setting).strip().lower()
    if text == "auto":
        return max(1, min(bounds.CONCURRENCY_AUTO_MAX, count // 2))
    if match := _PERCENT.fullmatch(text):
        return min(bounds.CONCURRENCY_MAX, max(1, int(count * float(match[1]) / 100 + 0.5)))
    if text.isascii() and text.isdigit() and 1 <= int(text) <= bounds.CONCURRENCY_MAX:
        return int(text)
    raise InvalidValueError(
        f"The concurrency {setting!r} is not allowed.",
        hint=f"Use a number from 1 to {bounds.CONCURRENCY_MAX}, a percentage of the processors such as 50%, or auto.",
    )
