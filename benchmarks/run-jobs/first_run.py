"""One first run of a peer, in the peers' own environment: `first_run.py PEER FOLDER JOBS`. Prints its seconds.

From the call into the peer to its return; the start of Python and the import of the peer are not counted.
"""

from __future__ import annotations

import io
import logging
import sys
import time
from collections.abc import Iterator
from contextlib import redirect_stdout
from pathlib import Path


def doit(folder: Path, jobs: int) -> float:
    """So many tasks that return a text; their results are kept in its database (SQLite)."""
    from doit.cmd_base import ModuleTaskLoader  # noqa: PLC0415 (each peer by itself)
    from doit.doit_cmd import DoitMain  # noqa: PLC0415
    from doit.tools import run_once  # noqa: PLC0415

    ran = []

    def action(number: int) -> dict[str, str]:
        ran.append(number)
        return {"out": str(number)}

    def task_nothing() -> Iterator[dict[str, object]]:
        for number in range(jobs):
            yield {"name": str(number), "actions": [(action, [number])], "uptodate": [run_once]}

    config = {"dep_file": str(folder / "doit.db"), "backend": "sqlite3", "verbosity": 0, "reporter": "zero"}
    loader = ModuleTaskLoader({"task_nothing": task_nothing, "DOIT_CONFIG": config})
    started = time.perf_counter()
    with redirect_stdout(io.StringIO()):
        assert DoitMain(loader).run(["run"]) == 0
    assert len(ran) == jobs
    return time.perf_counter() - started


def redun(folder: Path, jobs: int) -> float:
    """So many tasks that return a text; calls and results are kept in its database (SQLite)."""
    from redun import Scheduler, task  # noqa: PLC0415
    from redun.config import Config  # noqa: PLC0415

    @task(namespace="bench")
    def nothing(number: int) -> str:
        return str(number)

    @task(namespace="bench")
    def everything() -> list[str]:
        return [nothing(number) for number in range(jobs)]

    logging.getLogger("redun").setLevel(logging.ERROR)
    scheduler = Scheduler(config=Config({"backend": {"db_uri": f"sqlite:///{folder / 'redun.db'}"}}))
    scheduler.load()
    started = time.perf_counter()
    assert len(scheduler.run(everything())) == jobs
    return time.perf_counter() - started


def dagster(folder: Path, jobs: int) -> float:
    """So many ops that return a text, in one process; events and results are kept below the folder (SQLite, files)."""
    from dagster import DagsterInstance, job, op  # noqa: PLC0415

    @op
    def nothing() -> str:
        return "out"

    @job
    def everything() -> None:
        for number in range(jobs):
            nothing.alias(f"nothing_{number}")()

    with DagsterInstance.local_temp(str(folder)) as instance:
        started = time.perf_counter()
        assert everything.execute_in_process(instance=instance).success
        return time.perf_counter() - started


PEERS = {"doit": doit, "redun": redun, "dagster": dagster}


if __name__ == "__main__":
    print(PEERS[sys.argv[1]](Path(sys.argv[2]), int(sys.argv[3])))
