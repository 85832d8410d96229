"""One program and all that it starts: begun, listened to, bounded in time, and gone when the call is over.

The program leads a process group of its own. However the call ends (exit, timeout, cancellation, an objection), the
whole group is ended before control returns. A process that leaves the group on purpose is beyond reach.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
from collections.abc import Callable, Coroutine, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Self

from renku_store import bounds
from renku_store.errors import ProducerError

_READ_BYTES: Final = 65_536
_LAST_READS_MAX: Final = 32
"""A pipe holds 1 MiB at most: what comes beyond that is from a process that left the group, and would never end."""

_DEATH_LOOK_SECONDS: Final = 0.002
_DEATH_LOOKS_MAX: Final = 50
"""Death takes a moment, in which a file may still change. It is not waited for longer: where nobody reaps orphans (some
containers), dead members stay in the group for ever."""


_leaders: Final[set[int]] = set()
"""Of the groups that this process has begun and not ended yet."""


def kill_programs() -> None:
    """End every program that a job of this process has begun, at once and for good; for a process that is to exit."""
    for leader in tuple(_leaders):
        _signal_group(leader, signal.SIGKILL)


@dataclass(frozen=True, slots=True)
class Ended:
    """How a program ended: its exit code, or minus the signal that killed it, and the end of what it printed."""

    code: int
    printed: str


async def run_program(
    argv: Sequence[str],
    *,
    directory: Path,
    environment: Mapping[str, str],
    timeout_seconds: float,
    objection: Callable[[], str | None] = lambda: None,
) -> Ended:
    """Run a program without a shell, in `directory`, until it ends; `argv[0]` is an absolute path.

    Standard output and standard error are one stream, of which the last `bounds.DIAGNOSTICS_MAX_BYTES` are kept;
    standard input is empty. `objection` is asked every `bounds.OUTPUT_POLL_SECONDS`; its first sentence ends the
    program. Raises `ProducerError` for that, for a timeout, and where the program cannot be started; cancellation ends
    the program too.
    """
    with _Listener() as listener:
        process = await _started(argv, directory, environment, listener)
        try:
            async with asyncio.timeout(timeout_seconds):
                stopped = await _watch(process, objection)
        except TimeoutError:
            stopped = f"{argv[0]} did not end within {timeout_seconds:g} seconds and was stopped."
        finally:
            await _end_group(process)
        printed = listener.text()
    if stopped is not None:
        raise ProducerError(stopped, diagnostics=printed)
    return Ended(await process.wait(), printed)


async def _started(
    argv: Sequence[str], directory: Path, environment: Mapping[str, str], listener: _Listener
) -> asyncio.subprocess.Process:
    """Start it; a cancellation meanwhile ends the whole group, where asyncio would end the leader alone."""
    starting = asyncio.ensure_future(_start(argv, directory, environment, listener))
    try:
        return await asyncio.shield(starting)
    except asyncio.CancelledError:
        await _uninterrupted(_end_started(starting))
        raise


async def _end_started(starting: asyncio.Future[asyncio.subprocess.Process]) -> None:
    with contextlib.suppress(ProducerError):
        await _end_group(await starting)


async def _start(
    argv: Sequence[str], directory: Path, environment: Mapping[str, str], listener: _Listener
) -> asyncio.subprocess.Process:
    try:
        process = await asyncio.create_subprocess_exec(
            *argv,
            cwd=directory,
            env=dict(environment),
            stdin=asyncio.subprocess.DEVNULL,
            stdout=listener.write_end,
            stderr=asyncio.subprocess.STDOUT,
            start_new_session=True,
        )
    except OSError as error:
        raise ProducerError(
            f"{argv[0]} cannot be started: {error.strerror}.",
            hint="Is it executable, and does a script begin with #! and its interpreter?",
        ) from error
    else:
        _leaders.add(process.pid)
        return process
    finally:
        listener.close_write_end()


async def _watch(process: asyncio.subprocess.Process, objection: Callable[[], str | None]) -> str | None:
    ended = asyncio.ensure_future(process.wait())
    try:
        while True:
            done, _ = await asyncio.wait({ended}, timeout=bounds.OUTPUT_POLL_SECONDS)
            if done:
                return None
            if sentence := objection():
                return sentence
    finally:
        ended.cancel()


async def _end_group(process: asyncio.subprocess.Process) -> None:
    """End what is left of the group: politely while its leader lives, then for good, even if cancelled meanwhile."""
    try:
        if process.returncode is None:
            _signal_group(process.pid, signal.SIGTERM)
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(process.wait(), bounds.CANCEL_GRACE_SECONDS)
    finally:
        _signal_group(process.pid, signal.SIGKILL)
        await _uninterrupted(_death(process))
        _leaders.discard(process.pid)


async def _death(process: asyncio.subprocess.Process) -> None:
    await process.wait()
    for _ in range(_DEATH_LOOKS_MAX):
        if not _signal_group(process.pid, 0):
            break
        await asyncio.sleep(_DEATH_LOOK_SECONDS)


async def _uninterrupted(moment: Coroutine[Any, Any, None]) -> None:
    """Wait for something that takes a moment; a cancellation meanwhile takes effect after it, not instead of it."""
    task = asyncio.ensure_future(moment)
    cancelled: asyncio.CancelledError | None = None
    while not task.done():
        try:
            await asyncio.wait({task})
        except asyncio.CancelledError as error:
            cancelled = error
    if cancelled is not None:
        raise cancelled


def _signal_group(leader: int, number: int) -> bool:
    """Send a signal to the group, or none for 0; answer whether anybody is there to receive it."""
    # While a member of the group lives, the kernel gives the leader's number to nobody else, and then it counts upwards
    # through all others first: no stranger is hit.
    try:
        os.killpg(leader, number)
    except (ProcessLookupError, PermissionError):
        return False
    return True


class _Listener:
    """The reading end of a program's output, and the last bytes that came through it.

    A pipe of our own, because asyncio's `wait` may wait for the end of its own pipes, which a grandchild can keep open.
    """

    def __init__(self) -> None:
        self._read_end, self.write_end = os.pipe()
        self._write_end_is_open = True
        self._kept = bytearray()
        self._is_cut = False
        os.set_blocking(self._read_end, False)

    def __enter__(self) -> Self:
        self._loop = asyncio.get_running_loop()
        self._loop.add_reader(self._read_end, self._read)
        return self

    def __exit__(self, *_: object) -> None:
        self._loop.remove_reader(self._read_end)
        os.close(self._read_end)
        self.close_write_end()

    def close_write_end(self) -> None:
        """Leave the writing end to the program alone."""
        if self._write_end_is_open:
            os.close(self.write_end)
            self._write_end_is_open = False

    def text(self) -> str:
        """Return the end of what was printed so far, as text; bytes that are not UTF-8 are replaced."""
        for _ in range(_LAST_READS_MAX):
            if not self._read():
                break
        return ("[...]" if self._is_cut else "") + self._kept.decode(errors="replace")

    def _read(self) -> bool:
        try:
            data = os.read(self._read_end, _READ_BYTES)
        except BlockingIOError:
            return False
        if not data:
            self._loop.remove_reader(self._read_end)
            return False
        self._kept += data
        if len(self._kept) > bounds.DIAGNOSTICS_MAX_BYTES:
            del self._kept[: -bounds.DIAGNOSTICS_MAX_BYTES]
            self._is_cut = True
        return True
