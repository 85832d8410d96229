"""A process forks while no connection to a database is in use, so that its child can close what it inherits.

A fork waits for the transactions of other threads, `bounds.FORK_WAIT_SECONDS` at most. What could not be waited for, or
is a transaction of the thread that forks, is stuck in the child: there, its database cannot be opened again.
"""

from __future__ import annotations

import os
import threading
import time
from dataclasses import dataclass
from typing import Final

import apsw

from renku_store import bounds
from renku_store.metadata.sqlite.uses import HERE, Use


@dataclass(frozen=True)
class _Moment:
    """A fork that is about to be: whose locks its thread has got, and whose it has not."""

    held: list[Use]
    stuck: list[Use]

    def release(self) -> None:
        for use in self.held:
            use.lock.release()
        HERE.gate.release()
        _FORKING.release()


_SOON_SECONDS: Final = 0.05
"""Most transactions end in this time: while it waits no longer, a fork keeps the connections that it has already."""

_FORKING: Final = threading.RLock()
_moments: Final[list[_Moment]] = []


def before() -> None:
    """Take every connection, and keep openings out; by the thread that forks, before it does."""
    _FORKING.acquire()
    HERE.fork_waits = True
    held: list[Use] = []
    try:
        stuck = _wait(held, time.monotonic() + bounds.FORK_WAIT_SECONDS)
    except BaseException:  # of a signal's handler: the process forks all the same, but its child has nothing to close
        _give_back(held)
        HERE.fork_waits = False
        _FORKING.release()
        raise
    HERE.fork_waits = False
    _moments.append(_Moment(held, [*stuck, *filter(_is_within, held)]))


def _wait(held: list[Use], deadline: float) -> list[Use]:
    """Take all locks and the gate; gives the connections whose locks were not to be had in time."""
    stuck: list[Use] = []
    while (busy := _take(held, stuck)) is not None:
        if busy.lock.acquire(timeout=max(0.0, min(_SOON_SECONDS, deadline - time.monotonic()))):
            held.append(busy)
            continue
        _give_back(held)  # whoever has that one may need one of these
        if busy.lock.acquire(timeout=max(0.0, deadline - time.monotonic())):
            held.append(busy)
        else:
            stuck.append(busy)
    return stuck


def _take(held: list[Use], stuck: list[Use]) -> Use | None:
    """Take the locks of all connections, and then the gate, through which new ones come; else, who has one of them."""
    HERE.gate.acquire()
    for use in tuple(HERE.uses):
        if use not in held and use not in stuck:
            if not use.lock.acquire(blocking=False):
                HERE.gate.release()
                return use
            held.append(use)
    return None


def _give_back(held: list[Use]) -> None:
    while held:
        held.pop().lock.release()


def _is_within(use: Use) -> bool:
    """Whether the thread that forks is itself within a transaction, or about to open the connection."""
    try:
        return use.connection is None or use.connection.in_transaction
    except apsw.ConnectionClosedError:
        return False


def after_in_parent() -> None:
    """Give them back."""
    if _moments:
        _moments.pop().release()


def after_in_child() -> None:
    """Note what is inherited, and what is stuck; nothing is open here."""
    moment = _moments.pop() if _moments else None
    for use in tuple(HERE.uses):
        if use.path is not None:
            if moment is None or use in moment.stuck:
                HERE.stuck.append(use)
            else:
                HERE.inherit(use)
    HERE.uses.clear()
    HERE.readers = 0
    while HERE.descriptors:  # this process has no locks yet that closing them could drop
        os.close(HERE.descriptors.pop()[2])
    if moment is None:
        HERE.gate = threading.RLock()  # another thread may have had it
    else:
        moment.release()
