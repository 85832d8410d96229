"""What is loaded or worked out late is the same as if it had been there from the start."""

from __future__ import annotations

import subprocess
import sys

import pytest

from renku_store import rebuild
from renku_store.late import late_names
from renku_store.rebuild import database

_TOGETHER = """
import sys, threading
from renku_store.records.manifest import Manifest, Pointer
from renku_store.records.plan import ExecutionPlan

together = threading.Barrier(16)
failures, found = [], []

def first(number):
    together.wait()
    try:
        pointer = Pointer(revision="rev-0001", manifest="m", hash="0" * 64, updated_at="now")
        document = b'{"revision":"r","manifest":"m","hash":"%s","updatedAt":"n"}' % (b"1" * 64)
        found.append(Pointer.read(document))
        assert pointer.to_json()["updatedAt"] == "now"
        try:
            Manifest.from_json({})
        except ValueError as error:
            assert "required field" in str(error), error
        try:
            ExecutionPlan.from_json([])
        except ValueError:
            pass
    except BaseException as error:
        failures.append(repr(error))

threads = [threading.Thread(target=first, args=(number,)) for number in range(16)]
[thread.start() for thread in threads]
[thread.join() for thread in threads]
assert not failures, failures
assert len(found) == 16 and {one.hash for one in found} == {"1" * 64}
"""


def test_threads_that_use_a_record_first_at_once_get_it_whole() -> None:
    """Sixteen of them, in a fresh process in which no class of records has been built."""
    sooner = "import sys; sys.setswitchinterval(1e-6)\n"
    done = subprocess.run([sys.executable, "-c", sooner + _TOGETHER], capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stderr


_HELD = """
import threading
from typing import Annotated
from renku_store.records._base import Record, read_as, made_of

inside, go_on = threading.Event(), threading.Event()
found = []

def held():
    inside.set()
    go_on.wait(60)

class Inner(Record):
    value: Annotated[str, held()]

class Outer(Record):
    name: str
    inner: Inner

def read():
    found.append(READ)

first, second = threading.Thread(target=read), threading.Thread(target=read)
first.start()
assert inside.wait(60)
second.start()
second.join(0.3)  # as long as it is given to read by what is not whole; where it waits, as it must, nothing rests on it
go_on.set()
first.join(), second.join()
assert found == [Outer(name="n", inner=Inner(value="v"))] * 2, found
"""


@pytest.mark.parametrize(
    "read",
    [
        """read_as(Outer, b'{"name": "n", "inner": {"value": "v"}}')""",
        """made_of(Outer, {"name": "n", "inner": {"value": "v"}})""",
    ],
)
def test_nobody_reads_by_a_record_that_is_not_known_whole(read: str) -> None:
    """One thread stands still while it finds out what a class holds: another that reads one then waits for it."""
    code = "from __future__ import annotations\n" + _HELD.replace("READ", read)
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stderr


def test_a_process_forked_while_a_thread_learns_a_record_learns_it_itself() -> None:
    """The fork waits until it is whole: a child could neither go on with it nor ever get the lock."""
    code = (
        "from __future__ import annotations\nimport os\n"
        + _HELD.replace("READ", """read_as(Outer, b'{"name": "n", "inner": {"value": "v"}}')""").partition("first, ")[0]
        + (
            "thread = threading.Thread(target=read)\n"
            "thread.start()\n"
            "assert inside.wait(60)\n"
            "threading.Timer(0.1, go_on.set).start()\n"
            "child = os.fork()\n"
            "if not child:\n"
            "    read()\n"
            "    os._exit(0 if found and found[-1].inner.value == 'v' else 1)\n"
            "assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0\n"
        )
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stderr


def test_late_names_are_those_of_their_modules() -> None:
    """Asked for through the room, they are the very objects."""
    assert rebuild.rebuild_database is database.rebuild_database
    assert rebuild.RebuildReport is database.RebuildReport


def test_a_name_that_a_room_does_not_give_is_no_attribute() -> None:
    """The error is that of any module."""
    given = late_names("renku_store.rebuild", {"database": "RebuildReport"})
    assert given("RebuildReport") is database.RebuildReport
    with pytest.raises(AttributeError, match="has no attribute 'nothing'"):
        given("nothing")
    with pytest.raises(AttributeError):
        _ = rebuild.nothing  # type: ignore[attr-defined]


def test_a_late_library_is_loaded_when_something_of_it_is_asked_for() -> None:
    """Not before, and then it is the very library; what it has not is an error as ever."""
    code = (
        "import sys; from renku_store.late import late_module; late = late_module('wave')\n"
        "assert 'wave' not in sys.modules\n"
        "assert late.Wave_read is sys.modules['wave'].Wave_read\n"
        "assert not hasattr(late, 'nothing')"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=600)
