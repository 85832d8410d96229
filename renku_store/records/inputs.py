"""The inputs that every movie may have, whatever its blueprint declares."""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from typing import Final

from renku_store.errors import NotFoundError
from renku_store.records.ids import check_id

BLUEPRINT: Final = "@blueprint"
"""The text of a blueprint, or a graph as JSON."""
CONFIG: Final = "@config"
"""Config by producer or job, over what the blueprint says."""


def check_reserved(inputs: Iterable[str]) -> None:
    """Raise `NotFoundError` where there are ids that begin with `@` and are none of these: nothing would read them."""
    unknown = sorted(
        check_id("input", name) for name in inputs if name.startswith("@") and name not in (BLUEPRINT, CONFIG)
    )
    if not unknown:
        return
    near = difflib.get_close_matches(unknown[0], (BLUEPRINT, CONFIG), n=1)
    raise NotFoundError(
        f"There {'is no input' if len(unknown) == 1 else 'are no inputs'} {', '.join(unknown)}.",
        hint=f"Did you mean {near[0]}?" if near else f"Of names with an @ there are {BLUEPRINT} and {CONFIG} only.",
    )
