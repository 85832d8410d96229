"""Whose turn it is: the lock that everybody shares who has a movie open, and the epochs of its databases.

Of invariant 10: a lease of before a rebuild is none afterwards, because the epoch grows with every new database. It is
the present time, but more than that of the old database, and more than the last one, which is noted in `locks/epoch`
before its database is used: so it grows where the clock was set back, and where the old database cannot tell.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Final

from renku_store.clock import Clock
from renku_store.drivers.base import Driver
from renku_store.drivers.local import on_this_machine
from renku_store.errors import BlobMissingError, StoreUnavailableError

OPEN_LOCK: Final = "open"
"""The lock that everybody shares who has the movie open; whoever makes its database holds it alone."""
_EPOCH: Final = "locks/epoch"


@contextmanager
def alone(driver: Driver, movie: str, wait_seconds: float) -> Iterator[None]:
    """Have the movie to oneself. Raises `StoreUnavailableError` where somebody has it open for longer than the wait."""
    with ExitStack() as stack:
        try:
            stack.enter_context(driver.lock(OPEN_LOCK, wait_seconds=wait_seconds))
        except StoreUnavailableError as error:
            if error.reason != "busy":
                raise
            raise StoreUnavailableError(
                f"Somebody has the movie {movie} open. {error.message}",
                hint="End what works on it; `renku-store status` shows runs, `lslocks` the processes that hold locks.",
                reason="busy",
            ) from error
        yield


def next_epoch(driver: Driver, clock: Clock, known: int = 0) -> int:
    """The epoch for a new database, greater than `known` and than every one before it; noted durably."""
    here = on_this_machine(driver)
    try:
        noted = int(here.read(_EPOCH))
    except (BlobMissingError, ValueError):
        noted = 0
    epoch = max(int(clock.now().timestamp() * 1000), noted + 1, known + 1)
    here.replace(_EPOCH, b"%d\n" % epoch)
    return epoch
