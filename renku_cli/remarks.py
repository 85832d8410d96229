"""Remarks on standard error while something takes its time: the first after a moment, then one now and again."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Final, TypeVar

from renku_cli.output import note

P = TypeVar("P")

_QUIET_SECONDS: Final = 2.0
"""What is done by then says nothing; whoever waits for longer sees how far it is."""


def now_and_again(tell: Callable[[P], str]) -> Callable[[P], None]:
    """What to call with each step of some work; `tell` puts the steps that are told into words."""
    last = time.monotonic()

    def told(progress: P) -> None:
        nonlocal last
        if time.monotonic() - last >= _QUIET_SECONDS:
            last = time.monotonic()
            note(tell(progress))

    return told
