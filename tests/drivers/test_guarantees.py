"""That the suite runs as a whole for every kind of root, and that the table of what each declares is right."""

from __future__ import annotations

import ast
import inspect
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import pytest
from msgspec.structs import fields

from renku_store.drivers.base import Driver, Guarantees
from renku_store.drivers.local import LocalDriver
from renku_store.drivers.memory.driver import MemoryDriver
from renku_store.drivers.memory.objects import Objects
from renku_store.drivers.objects.opening import open_fsspec
from renku_store.drivers.opening import open_driver
from renku_store.testing import driver_suite
from renku_store.testing.driver_suite import DriverSuite
from tests.drivers import test_fsspec, test_local, test_memory, test_s3, test_s3fs

NOWHERE = "renku/films?endpoint=http://127.0.0.1:1&region=us-east-1"
"""What a driver declares it declares without asking anybody."""

Make = Callable[[Path], Driver]
KINDS: dict[str, tuple[Make, set[str]]] = {
    "a folder": (lambda folder: LocalDriver(folder), {"TestLocalDriver", "TestLocalDriverAtANonUtf8Path"}),
    "`memory://`": (lambda _: MemoryDriver(Objects("table")), {"TestMemoryDriver", "TestAFolderOfAMemoryDriver"}),
    "`s3://` (obstore)": (lambda _: open_driver(f"s3://{NOWHERE}"), {"TestObstoreOnSeaweedFS", "TestObstoreOnMoto"}),
    "`s3+fsspec://` (s3fs)": (
        lambda _: open_driver(f"s3+fsspec://{NOWHERE}"),
        {"TestS3fsOnSeaweedFS", "TestS3fsOnMoto"},
    ),
    "fsspec, which creates exclusively": (
        lambda folder: open_fsspec("bucket://films", {"cache": folder}),
        {"TestExclusive"},
    ),
    "fsspec, which does not: refused": (
        lambda folder: open_fsspec(f"plain://{folder}/root", {"cache": folder / "cache"}),
        {"TestPlain"},
    ),
}
"""The rows of the table: how such a driver is made, and the test classes that run the suite for it."""
MODULES: tuple[ModuleType, ...] = (test_fsspec, test_local, test_memory, test_s3, test_s3fs)
CLAIMS = sorted(name for name in dir(DriverSuite) if name.startswith("test_"))

FOLDER = Path(inspect.getfile(driver_suite)).parent

_registered = test_fsspec._registered


@pytest.fixture
def table(checkout: Path) -> dict[str, list[str]]:
    """The cells of each row, by the first."""
    lines = (checkout / "docs/reference/roots.md").read_text().splitlines()
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines if line.startswith("| ")]
    head = next(number for number, row in enumerate(rows) if row[:2] == ["root", "suite run on"])
    declared = [field.name for field in fields(Guarantees)]
    assert rows[head][2:-1] == [f"`{name}`" for name in declared]
    return {row[0]: row[2:] for row in rows[head + 1 :] if len(row) == len(rows[head])}


def suites() -> dict[str, type[DriverSuite]]:
    """The classes that run the suite, by name: those that pytest collects."""
    found = {name: value for module in MODULES for name, value in vars(module).items() if _runs_the_suite(value)}
    assert {value for value in found.values() if value.__module__.startswith("tests.")} == set(found.values())
    return found


def _runs_the_suite(value: object) -> bool:
    return isinstance(value, type) and issubclass(value, DriverSuite) and value is not DriverSuite


def test_every_kind_is_in_the_table_and_every_suite_belongs_to_one(table: dict[str, list[str]]) -> None:
    """Nobody runs the suite for a kind that is not told of, and no kind is told of without it."""
    assert list(table) == list(KINDS)
    assert set(suites()) == set().union(*(names for _, names in KINDS.values()))
    assert all(name.startswith("Test") for name in suites())


def test_every_claim_that_is_written_is_in_the_suite() -> None:
    """None is left out by a base class that is forgotten, or by two of one name."""
    written = [
        node.name
        for path in FOLDER.glob("*.py")
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.FunctionDef) and node.name.startswith("test_")
    ]
    assert sorted(written) == CLAIMS
    assert len(CLAIMS) > 30


@pytest.mark.parametrize("kind", KINDS)
def test_the_table_says_what_each_kind_declares(table: dict[str, list[str]], tmp_path: Path, kind: str) -> None:
    """Guarantee by guarantee."""
    declared = KINDS[kind][0](tmp_path).guarantees
    said = [{"yes": True, "no": False}[cell] for cell in table[kind][:-1]]
    assert said == [getattr(declared, field.name) for field in fields(Guarantees)]


@pytest.mark.parametrize("kind", KINDS)
def test_every_claim_is_made_of_each_kind_but_for_those_the_table_names(table: dict[str, list[str]], kind: str) -> None:
    """Inherited as it is, by a class without marks; nothing else is left out or put in its place."""
    otherwise = [f"test_{name.strip().strip('`')}" for name in table[kind][-1].split(",") if name.strip()]
    for name in KINDS[kind][1]:
        suite = suites()[name]
        assert [claim for claim in CLAIMS if getattr(suite, claim) is not getattr(DriverSuite, claim)] == otherwise
        assert not hasattr(suite, "pytestmark")
        assert getattr(suite, "__test__", True)


def test_no_claim_can_be_skipped() -> None:
    """The suite has no way to say so, neither in a test nor by a mark."""
    names = {
        getattr(node, "attr", getattr(node, "id", ""))
        for path in FOLDER.glob("*.py")
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Attribute | ast.Name)
    }
    assert "fixture" in names
    assert not names & {"skip", "skipif", "importorskip", "xfail", "SkipTest"}
