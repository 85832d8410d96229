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
    "renku_store.drivers.memory.driver",
    "renku_store.blobs.intake",
    "renku_store.blobs.carrying",
    "renku_store.metadata.sqlite.compacting",
    "renku_store.metadata.sqlite.examining",
    # libraries that an import at the head of a module brings back unnoticed: see `renku_store.late`
    *("concurrent.futures", "ctypes", "hashlib", "logging", "random", "rfc8785", "secrets", "shutil", "socket"),
    *("subprocess", "tempfile", "traceback", "click.shell_completion"),
}
_NO_LOOK_AT_HISTORY_NEEDS = {
    *("yaml", "zstandard", "renku_store.blueprint", "renku_store.planner", "renku_store.outlook"),
    *("renku_store.records.sheet", "renku_store.conclusion"),
}
_NOTHING_TO_DO_NEEDS_NO = {
    *("renku_store.producers", "renku_store.regenerate", "renku_store.running.runner", "renku_store.export"),
    "renku_cli.limiting",
}
_REPORT = """
import sys
bare = {*sys.modules}
from renku_cli.main import run
code = run(sys.argv[1:])
sys.stdout.flush()
loaded = sorted({*sys.modules} - bare)
import json
print("\\n" + json.dumps([code, loaded]))
"""


def _start(*arguments: str) -> set[str]:
    """The modules that a call has loaded."""
    done = subprocess.run([sys.executable, "-c", _REPORT, *arguments], capture_output=True, text=True, check=True)
    code, modules = json.loads(done.stdout.splitlines()[-1])
    assert code == 0
    return set(modules)


def _own(modules: set[str]) -> int:
    return sum(module.partition(".")[0] in {"renku_store", "renku_cli"} for module in modules)


@pytest.mark.parametrize("arguments", [["log"], ["inspect"], ["status"]])
@pytest.mark.parametrize("form", [[], ["--json"]])
def test_looking_at_what_there_is_loads_neither_blueprints_nor_plans(
    call: Call, movie: str, place: Path, arguments: list[str], form: list[str]
) -> None:
    """Nor what a terminal, a config file, a run or a blob needs, nor what only writes."""
    assert call("run").code == 0
    modules = _start(*arguments, *form)
    assert not modules & (_NEVER | _NO_LOOK_AT_HISTORY_NEEDS | _NOTHING_TO_DO_NEEDS_NO)
    assert _own(modules) <= 112


@pytest.mark.parametrize("arguments", [["run"], ["run", "--json"], ["plan"], ["plan", "--json"]])
def test_who_finds_nothing_to_do_loads_nothing_that_does_it(
    call: Call, movie: str, place: Path, arguments: list[str]
) -> None:
    """No event loop, no handlers of producers, nothing that runs jobs or writes."""
    assert call("run").code == 0
    modules = _start(*arguments)
    assert not modules & (_NEVER | _NOTHING_TO_DO_NEEDS_NO)
    assert _own(modules) <= 167


def test_what_begins_the_program_loads_it_as_it_loads_a_command() -> None:
    """`python -m renku_cli` and the installed program look for no garbage among what is imported: two dozen looks."""
    code = (
        "import gc; runs = []; gc.callbacks.append(lambda phase, _: runs.append(phase))\n"
        "from renku_cli.__main__ import main; import sys; sys.argv = ['renku-store', '--version']; runs.clear()\n"
        "assert main() == 0; assert runs.count('start') < 4, runs"
    )
    subprocess.run([sys.executable, "-c", code], check=True, stdout=subprocess.DEVNULL)


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["plan"], "error: Interrupted.\n"),
        (["plan", "--json"], '{"error": {"kind": "Interrupted", "message": "Interrupted.", "hint": ""}}\n'),
    ],
)
@pytest.mark.parametrize("module", ["click", "renku_cli.grammar", "renku_cli.commands.planning", "renku_store.planner"])
@pytest.mark.parametrize("swallowed", [False, True])
def test_ctrl_c_while_the_program_is_loaded_is_told_as_at_any_other_time(
    movie: str, module: str, swallowed: bool, arguments: list[str], told: str
) -> None:
    """One line and 130, no traceback, wherever in its imports the program is, be it where nothing can be raised."""
    code = (
        "import signal, sys\n"
        "class Going:\n"
        "    def __del__(self): signal.raise_signal(signal.SIGINT)\n"
        "class Interrupting:\n"
        "    def find_spec(self, name, path=None, target=None):\n"
        f"        if name == {module!r}: Going() if {swallowed} else signal.raise_signal(signal.SIGINT)\n"
        "from renku_cli.__main__ import main\n"
        f"sys.argv = ['renku-store', *{arguments!r}]; sys.meta_path.insert(0, Interrupting()); sys.exit(main())"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (130, "", told)
