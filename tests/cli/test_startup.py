"""What a start costs: a shell should not wait for what a command does not use."""

from __future__ import annotations

import subprocess
import sys

import pytest

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
