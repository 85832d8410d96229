"""What may be said of a call, in a blueprint and in a graph that is given: times, sizes, weights, types, files."""

from __future__ import annotations

import math
import re
from typing import Final, TypeGuard

from renku_store import bounds

TIMEOUT_WANTED: Final = f"more than 0 and at most {bounds.JOB_TIMEOUT_MAX_SECONDS:.0f} seconds"
BYTES_WANTED: Final = "a whole number of bytes above 0"
WEIGHT_WANTED: Final = "a whole number above 0"

_MIME_TYPE: Final = re.compile(
    r"[a-z0-9][a-z0-9!#$&^_.+-]*/[a-z0-9][a-z0-9!#$&^_.+-]*(; ?[a-z0-9-]+=[\w.-]+)*", re.ASCII
)
_FUNCTION: Final = re.compile(r"[^\W\d]\w*(\.[^\W\d]\w*)+")


def is_name(text: str) -> bool:
    """Whether a provider or a model may be called so: what can be printed, without blanks at its ends."""
    return bool(text) and text.isprintable() and text == text.strip()


def is_timeout(seconds: float) -> bool:
    """Whether a call may be given this time."""
    return 0 < seconds <= bounds.JOB_TIMEOUT_MAX_SECONDS


def is_size(value: object) -> TypeGuard[int]:
    """Whether an output may be bounded by this many bytes."""
    return isinstance(value, int) and not isinstance(value, bool) and 0 < value <= bounds.INTEGER_MAX


def is_weight(value: object) -> TypeGuard[int]:
    """Whether a call may take this much of a resource."""
    return isinstance(value, int) and not isinstance(value, bool) and 0 < value <= bounds.CONCURRENCY_MAX


def is_price(value: object) -> TypeGuard[int | float]:
    """Whether a call or a unit may cost this many US dollars."""
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value) and value >= 0


def is_declared_type(text: str) -> bool:
    """Whether the text is a MIME type as one is declared: in small letters, parameters without quotes."""
    return _MIME_TYPE.fullmatch(text) is not None


def is_source(name: str) -> bool:
    """Whether a program file may be called so."""
    return bool(name) and "\0" not in name


def is_function(name: str) -> bool:
    """Whether the text names a function in a module."""
    return _FUNCTION.fullmatch(name) is not None


def argv_fault(value: object) -> str | None:
    """What is wrong with the `argv` of a command, or None."""
    if not isinstance(value, list) or not value or not all(isinstance(item, str) for item in value):
        return "must be a list of texts that starts with the program"
    if not value[0] or any("\0" in item for item in value if isinstance(item, str)):
        return "has an empty program or a NUL character"
    return None
