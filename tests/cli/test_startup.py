"""What a start costs: a shell should not wait for what a command does not use."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.cli.conftest import Call

_HEAVY = (
    "pydantic",
    "pydantic_core",
    "msgspec",
    "apsw",
    "fsspec",
    "rich",
    "yaml",
    "asyncio",
    "tomlkit",
    "orjson",
    "zstandard",
)


@pytest.mark.parametrize("arguments", [["--version"], ["--help"], ["-h"], ["unknown"], ["--help", "--json"]])
def test_help_and_version_import_nothing_heavy(arguments: list[str]) -> None:
    """Neither models nor database nor file systems nor tables are loaded to print a version."""
    code = (
        "import sys; from renku_cli.main import run; "
        f"run({arguments!r}); print([m for m in {_HEAVY!r} if m in sys.modules], file=sys.stderr)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stderr.splitlines()[-1] == "[]"


_NEVER = {
    "pydantic",
    "rich",
    "tomllib",
    "tomlkit",
    "asyncio",
    "fsspec",
    "renku_store.rebuild.database",
    "renku_store.drivers.guarding",
}
_NO_LOOK_AT_HISTORY_NEEDS = {"yaml", "renku_store.blueprint", "renku_store.planner", "renku_store.outlook"}
_NOTHING_TO_DO_NEEDS_NO = {
    *("renku_store.producers", "renku_store.regenerate", "renku_store.running.runner", "renku_store.export"),
    "renku_cli.limiting",
}
_REPORT = """
import json, sys
from renku_cli.main import run
code = run(sys.argv[1:])
sys.stdout.flush()
print("\\n" + json.dumps([code, sorted(sys.modules)]))
"""


def _start(*arguments: str) -> set[str]:
    """The modules that a call has loaded."""
    done = subprocess.run([sys.executable, "-c", _REPORT, *arguments], capture_output=True, text=True, check=True)
    code, modules = json.loads(done.stdout.splitlines()[-1])
    assert code == 0
    return set(modules)


def _own(modules: set[str]) -> int:
    return sum(module.partition(".")[0] in {"renku_store", "renku_cli"} for module in modules)


@pytest.mark.parametrize("arguments", [["log"], ["log", "--json"], ["inspect"], ["inspect", "--json"]])
def test_looking_at_revisions_loads_neither_blueprints_nor_plans(
    call: Call, movie: str, place: Path, arguments: list[str]
) -> None:
    """Nor what a terminal, a config file or a run needs."""
    assert call("run").code == 0
    modules = _start(*arguments)
    assert not modules & (_NEVER | _NO_LOOK_AT_HISTORY_NEEDS | _NOTHING_TO_DO_NEEDS_NO)
    assert _own(modules) <= 140


@pytest.mark.parametrize("arguments", [["run"], ["run", "--json"], ["plan"], ["plan", "--json"]])
def test_who_finds_nothing_to_do_loads_nothing_that_does_it(
    call: Call, movie: str, place: Path, arguments: list[str]
) -> None:
    """No event loop, no handlers of producers, nothing that runs jobs."""
    assert call("run").code == 0
    modules = _start(*arguments)
    assert not modules & (_NEVER | _NOTHING_TO_DO_NEEDS_NO)
    assert _own(modules) <= 190
