"""The schema files are found in each way of installing the package."""

from __future__ import annotations

import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from renku_store.errors import StoreUnavailableError
from renku_store.schema_files import read_schema_files

_REPORT = """
import sys
sys.path.insert(0, sys.argv[1])
import renku_store.schema_files as found
from renku_store.metadata.sqlite import open_sqlite
from pathlib import Path
assert found.__file__.startswith(sys.argv[1]), found.__file__
for folder in ("sql/sqlite", "sql/limits"):
    for name, text in found.read_schema_files(folder, ".sql").items():
        print(folder, name, len(text))
open_sqlite(Path(":memory:")).close()
"""


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory, checkout: Path) -> Path:
    """A wheel of this checkout, built without a network."""
    folder = tmp_path_factory.mktemp("wheel")
    source = folder / "source"
    source.mkdir()
    for name in ("renku_store", "renku_cli", "schema"):
        shutil.copytree(checkout / name, source / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("pyproject.toml", "hatch_build.py", "README.md", "LICENSE", "NOTICE"):
        shutil.copy(checkout / name, source / name)
    build = "import sys; from hatchling.build import build_wheel; print(build_wheel(sys.argv[1]))"
    done = subprocess.run(
        [sys.executable, "-c", build, str(folder)], cwd=source, capture_output=True, text=True, check=True, timeout=120
    )
    return folder / done.stdout.strip().splitlines()[-1]


def _found_from(place: Path, working: Path) -> list[str]:
    """What a fresh interpreter finds with the package in `place`, far from the checkout."""
    command = [sys.executable, "-W", "error", "-c", _REPORT, str(place)]
    done = subprocess.run(command, cwd=working, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout.split("\n")[:-1]


@pytest.fixture(scope="module")
def expected(checkout: Path) -> list[str]:
    return [
        f"{folder} {file.name} {len(file.read_text())}"
        for folder in ("sql/sqlite", "sql/limits")
        for file in sorted((checkout / "schema" / folder).glob("*.sql"))
    ]


def test_an_editable_install_reads_them_from_the_checkout(expected: list[str]) -> None:
    """Beside the package, in the order of their numbers."""
    found = read_schema_files("sql/sqlite", ".sql")
    shipped = [line for line in expected if line.startswith("sql/sqlite ")]
    assert [f"sql/sqlite {name} {len(text)}" for name, text in found.items()] == shipped
    assert next(iter(found)) == "0001_initial.sql"


def test_an_installed_wheel_carries_them(wheel: Path, tmp_path: Path, expected: list[str]) -> None:
    """Unpacked as an installer does, with no checkout beside it."""
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(tmp_path / "site-packages")
    assert not (tmp_path / "site-packages" / "schema").exists()
    assert _found_from(tmp_path / "site-packages", tmp_path) == expected


def test_they_are_read_from_within_a_zip(wheel: Path, tmp_path: Path, expected: list[str]) -> None:
    """Python can import from the wheel as it is, a zip file."""
    assert _found_from(wheel, tmp_path) == expected


def test_an_installation_without_them_says_so() -> None:
    """The error names what is missing."""
    with pytest.raises(StoreUnavailableError, match="schema files of sql/oracle"):
        read_schema_files("sql/oracle", ".sql")
