"""What a start costs: a shell should not wait for what a command does not use."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.cli.conftest import Call

_HEAVY = ("pydantic", "pydantic_core", "apsw", "fsspec", "rich", "yaml", "asyncio", "tomlkit", "orjson", "zstandard")


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
from renku_store.records._base import Record
built = sorted(kind.__name__ for kind in Record.__subclasses__() if kind.__pydantic_complete__)
sys.stdout.flush()
print("\\n" + json.dumps([code, sorted(sys.modules), built]))
"""


def _start(*arguments: str) -> tuple[set[str], set[str]]:
    """The modules that a call has loaded, and the classes of records whose checks it has worked out."""
    surroundings = {name: value for name, value in os.environ.items() if name != "PYDANTIC_DISABLE_PLUGINS"}
    done = subprocess.run(
        [sys.executable, "-c", _REPORT, *arguments], capture_output=True, text=True, check=True, env=surroundings
    )
    code, modules, built = json.loads(done.stdout.splitlines()[-1])
    assert code == 0
    return set(modules), set(built)


def _own(modules: set[str]) -> int:
    return sum(module.partition(".")[0] in {"renku_store", "renku_cli"} for module in modules)


@pytest.mark.parametrize("arguments", [["log"], ["log", "--json"], ["inspect"], ["inspect", "--json"]])
def test_looking_at_revisions_loads_neither_blueprints_nor_plans(
    call: Call, movie: str, place: Path, arguments: list[str]
) -> None:
    """Nor what a terminal, a config file or a run needs; of records only the pointer and the manifest are built."""
    assert call("run").code == 0
    modules, built = _start(*arguments)
    assert not modules & (_NEVER | _NO_LOOK_AT_HISTORY_NEEDS | _NOTHING_TO_DO_NEEDS_NO)
    assert _own(modules) <= 140
    assert built <= {"Pointer", "Manifest"}


@pytest.mark.parametrize("arguments", [["run"], ["run", "--json"], ["plan"], ["plan", "--json"]])
def test_who_finds_nothing_to_do_loads_nothing_that_does_it(
    call: Call, movie: str, place: Path, arguments: list[str]
) -> None:
    """No event loop, no handlers of producers, nothing that runs jobs."""
    assert call("run").code == 0
    modules, _ = _start(*arguments)
    assert not modules & (_NEVER | _NOTHING_TO_DO_NEEDS_NO)
    assert _own(modules) <= 190


def test_a_start_builds_no_record_that_is_not_used() -> None:
    """Importing every room builds none: a default at the head of a module would."""
    code = "import renku_store; [getattr(renku_store, name) for name in renku_store.__all__]; "
    code += "from renku_store.records._base import Record; "
    code += "print([kind.__name__ for kind in Record.__subclasses__() if kind.__pydantic_complete__])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["[]"]


def test_plugins_of_pydantic_are_there_for_those_who_are_called(call: Call, movie: str) -> None:
    """A program that a run starts finds the environment as it was: what holds plugins back is gone by then."""
    assert "PYDANTIC_DISABLE_PLUGINS" not in os.environ
    asking = "name: asking\ninputs: {lines: {type: list}}\nproducers: {ask: {run: command, "
    asking += "argv: [sh, -c, 'env > outputs/text'], outputs: {text: {mimeType: text/plain}}}}\n"
    Path("asking.yaml").write_text(asking)
    assert call("run", "--blueprint", "asking.yaml").code == 0
    assert "RENKU_JOB" in call("cat", "ask.text").out
    assert "PYDANTIC" not in call("cat", "ask.text").out
    assert "PYDANTIC_DISABLE_PLUGINS" not in os.environ
