"""Applies each mutant to a copy of the source and runs its tests there: `python -m tests.mutations.run [NAME...]`.

A NAME is a part of a mutant's name. Exit code 1 where a mutant survived, or where the tests fail without one.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable
from pathlib import Path

from tests.mutations.mutant import Mutant, apply
from tests.mutations.mutants import MUTANTS

COPIED = ("renku_store", "renku_cli", "schema", "tests", "docs", "pyproject.toml", "README.md")
_FAILED = re.compile(r"^(?:FAILED|ERROR) (\S+)", re.MULTILINE)
_TIMEOUT_SECONDS = 900


class Bench:
    """A copy of the checkout below `folder`, in which one mutant at a time is tried."""

    def __init__(self, checkout: Path, folder: Path) -> None:
        self._folder = folder
        ignored = shutil.ignore_patterns("__pycache__", ".*_cache")
        for name in COPIED:
            source = checkout / name
            if source.is_dir():
                shutil.copytree(source, folder / name, ignore=ignored)
            else:
                shutil.copy2(source, folder / name)
        imported = self._python("-c", "import renku_store; print(renku_store.__file__)").stdout.strip()
        if Path(imported) != folder / "renku_store/__init__.py":
            raise AssertionError(f"The tests of the copy would import {imported}.")

    def survivors(self, mutant: Mutant) -> tuple[str, ...]:
        """The tests that should fail with a mutant and do not; none for one that was found out."""
        path = self._folder / mutant.file
        before = path.read_bytes()
        apply(mutant, self._folder)
        try:
            failed = self.failing(mutant.tests)
        finally:
            path.write_bytes(before)
        return tuple(test for test in mutant.tests if not any(_is_of(name, test) for name in failed))

    def failing(self, tests: Iterable[str]) -> list[str]:
        """Run tests in the copy as it is; the ids of those that failed. An error of collection is an `AssertionError`.

        The editable installation stands behind the copy in the path of every process that a test begins.
        """
        ended = self._python(
            "-m", "pytest", "-q", "-n", "0", "-p", "no:cacheprovider", "--tb=no", "-rfE",
            "-m", "long or not long", *dict.fromkeys(tests), check=False,
        )  # fmt: skip
        errors = re.search(r"\d+ errors?\b", ended.stdout)
        if ended.returncode not in {0, 1} or errors is not None:
            raise AssertionError(f"pytest ended with {ended.returncode}:\n{ended.stdout}\n{ended.stderr}")
        return _FAILED.findall(ended.stdout)

    def _python(self, *arguments: str, check: bool = True) -> subprocess.CompletedProcess[str]:
        environment = {**os.environ, "PYTHONPATH": str(self._folder), "PYTHONDONTWRITEBYTECODE": "1"}
        environment.pop("PYTEST_ADDOPTS", None)
        for name in [name for name in environment if name.startswith("PYTEST_XDIST")]:
            del environment[name]
        return subprocess.run(
            [sys.executable, *arguments], cwd=self._folder, env=environment, capture_output=True, text=True,
            timeout=_TIMEOUT_SECONDS, check=check,
        )  # fmt: skip


def _is_of(name: str, test: str) -> bool:
    """Whether a test's id is that of `test`, or of one of its cases."""
    return name == test or name.startswith((f"{test}[", f"{test}::"))


def main(names: list[str]) -> int:
    """Try mutants, all or those that are named, and tell of each."""
    chosen = [mutant for mutant in MUTANTS if not names or any(name in mutant.name for name in names)]
    bad = 0
    with tempfile.TemporaryDirectory(prefix="renku-mutants-") as folder:
        bench = Bench(Path(__file__).resolve().parents[2], Path(folder).resolve())
        failing = bench.failing(test for mutant in chosen for test in mutant.tests)
        for test in failing:
            print(f"fails without a mutant: {test}")  # noqa: T201
        for mutant in chosen:
            begun = time.monotonic()
            survived = bench.survivors(mutant)
            bad += bool(survived)
            numbers = ", ".join(map(str, mutant.invariants))
            told = (
                f"{'SURVIVED' if survived else 'found   '} {time.monotonic() - begun:5.1f} s  {mutant.name} ({numbers})"
            )
            print(told, *survived, flush=True)  # noqa: T201
    print(f"{len(chosen)} mutants, {len(chosen) - bad} found, {bad} survived")  # noqa: T201
    return 1 if bad or failing else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
