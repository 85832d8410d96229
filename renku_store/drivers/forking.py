"""What a forked process has to make anew: a lock that a thread held at that moment is never released there.

A fork copies the memory of all threads and only the thread that asked for it. Whoever waits in the child for a lock,
or for a share, of one of the others waits for ever.
"""

from __future__ import annotations

import os
import weakref
from typing import Final, Protocol


class Renewable(Protocol):
    """Something that locks, or hands out what is to be given back."""

    def begin_anew(self) -> None:
        """Forget who holds what: nobody does, in this process."""
        ...


_living: Final[weakref.WeakSet[Renewable]] = weakref.WeakSet()


def anew_after_fork(each: Renewable) -> None:
    """Let something begin anew in every process that is forked from this one, for as long as it lives."""
    _living.add(each)


def _begin_anew() -> None:
    for each in tuple(_living):
        each.begin_anew()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_begin_anew)
