"""Names in a blueprint: what they may look like, and the nearest right one to a wrong one."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable
from itertools import islice
from typing import Final

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
