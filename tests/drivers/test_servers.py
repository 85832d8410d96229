"""The servers that tests start."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path

from tests import children

_KILLED = """
    import os, sys
    from pathlib import Path
    from tests.drivers.servers import moto_server, started

    os.environ.pop("PYTHONWARNINGS")
    print(started(moto_server, Path(sys.argv[1])).process.pid, flush=True)
    os.kill(os.getpid(), 9)
"""


def is_running(process: int) -> bool:
    """Whether a process is there and no zombie."""
    try:
        state = Path(f"/proc/{process}/stat").read_text(encoding="ascii", errors="replace").rpartition(")")[2].split()
    except FileNotFoundError:
        return False
    return state[0] not in "ZX"


def test_a_server_goes_with_the_tests_that_are_killed(tmp_path: Path) -> None:
    """Nobody is left to stop it."""
    ended = children.finish(children.start(_KILLED, tmp_path))
    assert ended.code == -signal.SIGKILL
    server = int(ended.out)
    deadline = time.monotonic() + 600
    while is_running(server) and time.monotonic() < deadline:
        time.sleep(0.01)
    try:
        assert not is_running(server)
    finally:
        if is_running(server):
            os.kill(server, signal.SIGKILL)
