"""Runs seen from other processes of this machine: a run appends its events to a file, and others read along.

The file is `tmp/progress-<run>.jsonl` of the movie: not synced, gone when the run has ended, and swept with what else
lies in `tmp/` where the run was killed. It is for people who look on; nothing depends on it, and where it cannot be
written the run goes on without.
"""

from __future__ import annotations

import asyncio
import json
import logging
import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from types import TracebackType
from typing import BinaryIO, Final, Self

from renku_store.errors import NotFoundError, StoreError
from renku_store.movie import Movie
from renku_store.records.run import RunProgress

POLL_SECONDS: Final = 0.2
"""How often a follower looks for more: quick for an eye, nothing for a machine."""
_LOOKS_AT_RUN: Final = 5
"""Polls between two looks at whether the run is alive, which cost a look-up each."""


def progress_path(movie: Movie, run: str) -> Path:
    """Where a run's events are appended; `StoreError` where there is no such place."""
    return movie.driver.scratch().parent / f"progress-{run}.jsonl"


@contextmanager
def followable(
    movie: Movie, run: str, on_event: Callable[[RunProgress], None] | None, logger: logging.Logger | None = None
) -> Iterator[Callable[[RunProgress], None]]:
    """Let others follow a run for the length of a block, which sends its events to what this gives."""
    with _ProgressFile(movie, run, logger or logging.getLogger("renku_store")) as file:

        def tell(event: RunProgress) -> None:
            file.write(event)
            if on_event is not None:
                on_event(event)

        yield tell


def follow_run(
    movie: Movie,
    run: str,
    *,
    poll_seconds: float = POLL_SECONDS,
    sleep: Callable[[float], None] = time.sleep,
) -> Iterator[RunProgress]:
    """The events of a run that goes on in another process of this machine, from its beginning to its end.

    A run that is killed ends without `run-finished`. Raises `NotFoundError` where no such run goes on, or where it
    cannot be followed from here.
    """
    with _opened(movie, run, poll_seconds, sleep) as file:
        rest = b""
        alive = True
        for look in range(1 << 62):
            *lines, rest = (rest + file.read()).split(b"\n")
            yield from _events(lines)
            if not alive:
                return
            # What was written before the run ended is read once more, after its end was seen.
            gone = os.fstat(file.fileno()).st_nlink == 0
            alive = not gone and (look % _LOOKS_AT_RUN != 0 or _is_alive(movie, run))
            if alive and not lines:
                sleep(poll_seconds)


class _ProgressFile:
    """The events of a run, a line each."""

    def __init__(self, movie: Movie, run: str, logger: logging.Logger) -> None:
        self._movie = movie
        self._run = run
        self._logger = logger
        self._path: Path | None = None
        self._file: BinaryIO | None = None
        self._lines: list[bytes] = []

    def __enter__(self) -> Self:
        try:
            self._path = progress_path(self._movie, self._run)
            # A new file each time: who follows an earlier process of this run sees that its file is gone.
            self._path.unlink(missing_ok=True)
            self._file = self._path.open("ab", buffering=0)
        except (OSError, StoreError) as error:
            self._give_up(error)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._flush()
        if self._file is not None and self._path is not None:
            with suppress(OSError):
                self._file.close()
            with suppress(OSError):
                self._path.unlink(missing_ok=True)

    def write(self, event: RunProgress) -> None:
        """Append an event; the first one that cannot be written is the last that is tried.

        Those of one turn of an event loop are written together, at its end.
        """
        if self._file is None:
            return
        self._lines.append(_line(event))
        try:
            loop = asyncio.get_running_loop()
        except RuntimeError:
            self._flush()
            return
        if len(self._lines) == 1:
            loop.call_soon(self._flush)

    def _flush(self) -> None:
        lines, self._lines = self._lines, []
        if self._file is None or not lines:
            return
        try:
            self._file.write(b"".join(lines))
        except OSError as error:
            with suppress(OSError):
                self._file.close()
            self._file = None
            self._give_up(error)

    def _give_up(self, error: Exception) -> None:
        self._logger.warning("The run cannot be followed from other terminals: %s", error)


def _line(event: RunProgress) -> bytes:
    try:
        return event.to_bytes() + b"\n"
    except UnicodeEncodeError:  # halves of surrogate pairs, from bytes that are not UTF-8
        return json.dumps(event.to_json()).encode() + b"\n"


@contextmanager
def _opened(movie: Movie, run: str, poll_seconds: float, sleep: Callable[[float], None]) -> Iterator[BinaryIO]:
    while True:
        try:
            file = progress_path(movie, run).open("rb")
            break
        except (OSError, StoreError) as error:
            if not isinstance(error, FileNotFoundError) or not _is_alive(movie, run):
                raise NotFoundError(
                    f"The run {run} cannot be followed from here.", hint="`renku-store status` lists the runs."
                ) from error
        sleep(poll_seconds)
    with file:
        yield file


def _events(lines: list[bytes]) -> Iterator[RunProgress]:
    for line in lines:
        with suppress(ValueError):  # the disk may have been full in the middle of one
            yield RunProgress.read(line)


def _is_alive(movie: Movie, run: str) -> bool:
    try:
        return movie.leases.record(run).alive
    except NotFoundError:
        return False
