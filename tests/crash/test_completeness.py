"""Every durable system call lies within a named step, so that killing at the steps is killing everywhere it matters.

Seen by strace: a listener leaves a mark in the trace before and after each step, by a look at a path that is not there.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from renku_store.durability import STEPS
from tests import children
from tests.crash.operations import OPERATIONS

PREPARE = """
    import sys
    from pathlib import Path
    from tests.crash.operations import OPERATIONS, small_bounds
    Path(sys.argv[1]).mkdir()
    with small_bounds():
        for number, operation in enumerate(OPERATIONS.values()):
            operation.prepare(Path(sys.argv[1]) / str(number))
"""
WORK = """
    import contextlib, errno, os, shutil, sys
    from pathlib import Path
    from renku_store.drivers import posix
    from renku_store.durability import listening
    from tests.crash.operations import OPERATIONS, small_bounds

    def mark(moment, name):
        with contextlib.suppress(FileNotFoundError):
            os.stat(f"/crash-point/{moment}/{name}")

    def forget(_promise):
        pass

    def refused(source, target):
        raise OSError(errno.EOPNOTSUPP, os.strerror(errno.EOPNOTSUPP))

    with small_bounds(), listening(mark):
        for number, operation in enumerate(OPERATIONS.values()):
            operation.operate(Path(sys.argv[1]) / str(number), forget)
        os.link, linked = refused, os.link
        OPERATIONS["publish"].operate(Path(sys.argv[1]) / "without links", forget)
        os.link, posix.rename_new = linked, refused
        OPERATIONS["publish"].operate(Path(sys.argv[1]) / "without renames", forget)
"""
DURABLE = "fsync,fdatasync,syncfs,sync_file_range,msync,link,linkat,symlink,symlinkat,rename,renameat,renameat2,unlink"
DURABLE += ",unlinkat,rmdir,mkdir,mkdirat,truncate,ftruncate,fallocate,write,writev,pwrite64,pwritev,copy_file_range"
EXCEPTIONS = {
    r"(openat|write|ftruncate|fallocate)\(.*/film/tmp/": "temporary files, which promise nothing",
    r"(unlinkat|rmdir)\(.*/film/tmp/scratch": "leftovers in the folder of jobs",
    r"(openat|mkdir)\(.*/film/tmp/scratch": "the folder of jobs",
    r"unlink(at)?\(.*/film/tmp/progress-": "what a run says of itself while it goes, for those who watch",
    r"\w+\(.*/film/locks/": "lock files, which hold nothing that lasts",
    r"\w+\(.*\.db-shm": "SQLite's shared memory, which it makes anew",
}
"""Calls outside of any step that may be there, and why."""
MARK = re.compile(r'(?:newfstatat|stat|statx)\(.*"/crash-point/(before|after)/([^"]+)"')
LASTING = re.compile(r"(?!openat\(|newfstatat\()|openat\(.*O_CREAT")


def outside(trace: list[str], root: Path, silenced: str = "") -> Iterator[str]:
    """The calls below `root` that are durable and within no step; `silenced` is a step taken for missing."""
    within: dict[str, list[str]] = {}
    for line in trace:
        thread, _, call = line.partition(" ")
        call = call.strip()
        found = MARK.match(call)
        if found is not None and found[2] != silenced:
            steps = within.setdefault(thread, [])
            if found[1] == "before":
                steps.append(found[2])
            else:
                assert steps.pop() == found[2]
        elif (
            found is None
            and str(root) in call
            and not within.get(thread)
            and LASTING.match(call)
            and not re.search(r"= -1 E|^<\.\.\.", call)
            and not any(re.match(exception, call) for exception in EXCEPTIONS)
        ):
            yield call


@pytest.fixture(scope="module")
def traced(tmp_path_factory: pytest.TempPathFactory) -> tuple[list[str], Path]:
    """A trace of all operations, each on a root of its own, and the folder of the roots."""
    place = tmp_path_factory.mktemp("traced")
    ended = children.run(PREPARE, place / "roots")
    assert ended.code == 0, ended.err
    for name in ("without links", "without renames"):
        ended = children.run(
            "import shutil, sys; shutil.copytree(sys.argv[1], sys.argv[2])",
            place / "roots" / str(list(OPERATIONS).index("publish")),
            place / "roots" / name,
        )
        assert ended.code == 0, ended.err
    log = place / "log"
    calls = f"trace={DURABLE},openat,newfstatat"
    prefix = ["strace", "-f", "-qq", "-y", "-s", "0", "-e", calls, "-e", "signal=none", "-o", str(log)]
    ended = children.run(WORK, place / "roots", prefix=prefix)
    assert ended.code == 0, ended.err
    return log.read_text(errors="replace").splitlines(), place / "roots"


def test_no_durable_call_lies_outside_of_the_steps(traced: tuple[list[str], Path]) -> None:
    """Syncs, names, folders, the database's files: all between a `before` and its `after`."""
    trace, root = traced
    assert sum(call in line for line in trace for call in ("fsync(", "link(", "rename(", "mkdir(")) > 100
    assert list(outside(trace, root)) == []


@pytest.mark.parametrize("name", STEPS)
def test_a_step_that_is_not_named_is_found(traced: tuple[list[str], Path], name: str) -> None:
    """Were any one step missing in the code, the test above would fail: all are needed, and reached."""
    assert list(outside(*traced, silenced=name))


def test_the_table_of_steps_names_those_of_the_code_and_no_others(checkout: Path) -> None:
    """A step cannot be added, removed or renamed without its entry."""
    source = [path.read_text() for path in (checkout / "renku_store").rglob("*.py") if "testing" not in path.parts]
    named = {
        name for text in source for call in re.findall(r"\bstep\((.*?)\)", text) for name in re.findall('"(.+?)"', call)
    }
    assert named == set(STEPS)
    assert all(meaning for meaning in STEPS.values())
