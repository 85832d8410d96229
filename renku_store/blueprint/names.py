"""What may be said in a blueprint: names, the nearest right one to a wrong one, and the bounds of calls.

The bounds are those of a graph that is given, too.
"""

from __future__ import annotations

import difflib
import math
import re
from collections.abc import Iterable
from itertools import islice
from typing import Final, TypeGuard

from renku_store import bounds

RESERVED: Final = frozenset({"not", "and", "or", "in", "true", "false", "null"})
"""Words of expressions: nothing can be called so, for it could not be read."""
_IDENTIFIER: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_-]*")
_SEARCHED_MAX: Final = 20_000
_LISTED_MAX: Final = 8
_AS_GOOD: Final = 0.1
"""Names this much less alike than the best one are not worth naming."""


def is_identifier(name: str) -> bool:
    """Whether inputs, loops, producers, outputs may be called so."""
    return _IDENTIFIER.fullmatch(name) is not None


def nearest(wrong: str, known: Iterable[str]) -> str:
    """A hint that names the known names closest to a wrong one, or lists the known ones where none is close.

    Of many ids only those that begin alike are compared, so that the hint costs little in a graph of any size.
    """
    names = list(islice(known, _SEARCHED_MAX))
    head = _IDENTIFIER.match(wrong)
    alike = [name for name in names if head and name.startswith(head[0])] or names
    folded = {name.casefold(): name for name in reversed(alike)}
    near = difflib.get_close_matches(wrong.casefold(), folded, n=3, cutoff=0.5)
    if near:
        alike_by = [difflib.SequenceMatcher(None, name, wrong.casefold()).ratio() for name in near]
        best = [folded[name] for name, ratio in zip(near, alike_by, strict=True) if ratio > alike_by[0] - _AS_GOOD]
        return f"Did you mean {', '.join(best)}?"
    if not names:
        return "There are none."
    more = ", ..." if len(names) > _LISTED_MAX else ""
    return f"Known: {', '.join(names[:_LISTED_MAX])}{more}."


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
