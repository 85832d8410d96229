"""What the calls of a run are doing: which are under way, and which of those wait for something instead of working."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Protocol

from renku_store import bounds
from renku_store.records._base import Json
from renku_store.records.run import RunProgress


class Tell(Protocol):
    """How a run says what its jobs are doing."""

    def __call__(self, event: str, job: str | None = None, *, data: Mapping[str, Json] | None = None) -> None:
        """Send a typed event."""
        ...


def _nobody(job: str) -> None:
    del job


class Activity:
    """The calls under way, by job. Belongs to one event loop.

    `on_wait` is told the job of each call that begins to wait (back-off, a limit, a rate): a run that is to end does
    not stay for those. `on_failure` is told of each call that has failed for good, before its slot is another's.
    """

    def __init__(self) -> None:
        self._waits: dict[str, int] = {}
        self._idle = 0
        self.on_wait: Callable[[str], None] = _nobody
        self.on_failure: Callable[[str], None] = _nobody

    @property
    def calls(self) -> list[str]:
        """The jobs whose calls are at work, in the order in which they began."""
        return [job for job, waits in self._waits.items() if not waits]

    @property
    def idle(self) -> int:
        """How many calls wait, their slots being others'."""
        return self._idle

    def works(self, job: str) -> bool:
        """Whether a call of this job is at work: not before its turn, and not waiting."""
        return self._waits.get(job) == 0

    def begin(self, job: str) -> None:
        """Count a call as under way, until it is said to `end`."""
        self._waits[job] = 0

    def end(self, job: str) -> None:
        """Count a call no more."""
        self._idle -= self._waits.pop(job) > 0

    @contextmanager
    def waiting(self, job: str) -> Iterator[None]:
        """Count the call of a job as waiting for the length of a block; blocks may lie in each other."""
        self._change(job, 1)
        try:
            self.on_wait(job)
            yield
        finally:
            self._change(job, -1)

    def _change(self, job: str, more: int) -> None:
        before = self._waits.get(job, 0)
        if more < 0 and not before:  # its call has ended meanwhile
            return
        self._waits[job] = before + more
        self._idle += (before + more > 0) - (before > 0)


class Listener:
    """Whoever listens to a run, where a fault of the listener's own must not cost what the run pays for.

    Of the first fault the logger is told; the listener is called on with what comes.
    """

    def __init__(self, on_event: Callable[[RunProgress], None], logger: logging.Logger) -> None:
        self._on_event = on_event
        self._logger = logger
        self._failed = False

    def __call__(self, event: RunProgress) -> None:
        """Hand an event on."""
        try:
            self._on_event(event)
        except Exception as error:  # the code of another, at the boundary of a run that has paid for results
            if not self._failed:
                told = "on_event raised %s: %s; the run goes on, and further faults of it are not told."
                self._logger.warning(told, type(error).__name__, error, exc_info=error)
            self._failed = True


@contextmanager
def told_if_long(tell: Tell, job: str, reason: str, key: str | None) -> Iterator[None]:
    """Tell that a job waits, and for what, and when it goes on; a wait too short to be seen is not told."""
    told = False

    def say() -> None:
        nonlocal told
        told = True
        tell("job-waiting", job, data={"for": reason} if key is None else {"for": reason, "key": key})

    timer = asyncio.get_running_loop().call_later(bounds.WAIT_TOLD_SECONDS, say)
    try:
        yield
    finally:
        timer.cancel()
    if told:
        tell("job-resumed", job)
