"""Kills a process before and after each of its durable steps in turn, and hands over what it left.

For tests of drivers, of metadata stores, and of whatever is built on them:

    for crash in killed_at_each_point(template, target, operate):
        ...  # open crash.folder, look whether everything is there, repeat the operation to its end

The steps are those of `renku_store.durability`. What a kill cannot show is what a power cut takes back: for that there
is `renku_store.testing.power_cut`.
"""

from __future__ import annotations

import os
import shutil
import signal
import sys
import tempfile
import traceback
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import NoReturn

from renku_store.durability import Listener, Moment, listening

Acknowledge = Callable[[str], None]
"""To be called with what the operation has promised: it must be there whatever happens from then on."""
Operate = Callable[[Path, Acknowledge], None]
"""The operation, on the folder that it is given."""

_POINT, _PROMISE = "point ", "promise "


@dataclass(frozen=True, slots=True)
class Crash:
    """What is left in `folder` of an operation that was killed at a point, such as `before object link`.

    `number` counts the points from 1, `promised` is what it had acknowledged until then. `killed` is False for the last
    one, which met no further point and came to its end.
    """

    number: int
    point: str
    folder: Path
    promised: list[str]
    killed: bool


def killed_at_each_point(
    template: Path, target: Path, operate: Operate, *, first: int = 1, stride: int = 1, keep: bool = False
) -> Iterator[Crash]:
    """Let a child work on a copy of a folder, and kill it at its first point; then the next one, and so on.

    Copies live below `target`; each is removed when the next one is asked for, unless they are to be kept. With
    `first=2, stride=2` the child is killed after each step only, which is nearly as good as before the next one, too.
    The caller must have no other threads: it is forked. Raises `AssertionError` for an operation that fails by itself.
    """
    for number in count(first, stride):
        folder = target / f"{number}"
        shutil.copytree(template, folder)
        crash = _crash(number, folder, operate)
        yield crash
        if not keep:
            shutil.rmtree(folder)
        if not crash.killed:
            return


def in_child(work: Callable[[], object]) -> tuple[int, str]:
    """Run `work` in a forked child: its return code (1: it raised, -9: it was killed) and what it wrote to stderr.

    Nothing of what it did to memory, modules or descriptors comes back.
    """
    with tempfile.TemporaryFile() as errors:
        child = os.fork()
        if child == 0:
            os.dup2(errors.fileno(), 2)
            _work_and_exit(work)
        code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        errors.seek(0)
        return code, errors.read().decode(errors="replace")


def _crash(number: int, folder: Path, operate: Operate) -> Crash:
    with tempfile.TemporaryFile() as told:

        def tell(line: str) -> None:
            os.write(told.fileno(), f"{line}\n".encode())

        def work() -> None:
            with listening(_killer(number, tell)):
                operate(folder, lambda promise: tell(_PROMISE + promise))

        code, failure = in_child(work)
        told.seek(0)
        lines = told.read().decode().splitlines()
    assert code in {0, -signal.SIGKILL}, failure
    promised = [line.removeprefix(_PROMISE) for line in lines if line.startswith(_PROMISE)]
    point = next((line.removeprefix(_POINT) for line in lines if line.startswith(_POINT)), "")
    return Crash(number, point, folder, promised, killed=code != 0)


def _killer(number: int, tell: Callable[[str], None]) -> Listener:
    numbers = count(1)

    def listen(moment: Moment, name: str) -> None:
        if next(numbers) == number:
            tell(f"{_POINT}{moment} {name}")
            os.kill(os.getpid(), signal.SIGKILL)

    return listen


def _work_and_exit(work: Callable[[], object]) -> NoReturn:
    try:
        work()
    finally:
        # Also where it raised: a child must not go on with what its parent had begun.
        error = sys.exc_info()[1]
        if error is not None:
            traceback.print_exception(error)
            sys.stderr.flush()
        os._exit(0 if error is None else 1)
