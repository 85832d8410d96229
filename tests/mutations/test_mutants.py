"""The lines that the invariants rest on are tested: without any of them, a test fails."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

from tests.mutations.mutant import Mutant
from tests.mutations.mutants import MUTANTS
from tests.mutations.run import Bench

NAMED = pytest.mark.parametrize("mutant", MUTANTS, ids=[mutant.name.replace(" ", "-") for mutant in MUTANTS])


@NAMED
def test_a_mutant_still_applies(mutant: Mutant, checkout: Path) -> None:
    """Its line is there, once; the change is one that Python can read; the tests that must fail exist."""
    source = (checkout / mutant.file).read_text(encoding="utf-8")
    changed = mutant.applied(source)
    assert changed != source
    if mutant.file.endswith(".py"):
        ast.parse(changed)
    for test in mutant.tests:
        path, _, name = test.partition("::")
        tree = ast.parse((checkout / path).read_text(encoding="utf-8"))
        assert name in {node.name for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)}
    assert set(mutant.invariants) <= set(range(1, 12))


def test_every_mutant_has_a_name_of_its_own_and_a_test() -> None:
    """And each of the invariants but the last, which all of tests/crash is about, has a mutant."""
    assert len({mutant.name for mutant in MUTANTS}) == len(MUTANTS) >= 16
    assert all(mutant.tests for mutant in MUTANTS)
    assert {number for mutant in MUTANTS for number in mutant.invariants} == set(range(1, 12))


def test_a_mutant_that_no_longer_applies_is_an_error() -> None:
    """Whether what it changes has gone or has come twice."""
    mutant = Mutant("m", (1,), "f", "old", "new", ("t",))
    assert mutant.applied("an old line") == "an new line"
    for source in ("a new line", "old and old"):
        with pytest.raises(ValueError, match="times in f"):
            mutant.applied(source)


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory, checkout: Path) -> Bench:
    """A copy of the checkout, in which the tests pass as long as nothing is changed."""
    bench = Bench(checkout, tmp_path_factory.mktemp("mutants").resolve())
    assert bench.failing(test for mutant in MUTANTS for test in mutant.tests) == []
    return bench


@pytest.mark.long
@NAMED
def test_a_test_fails_for_every_mutant(mutant: Mutant, bench: Bench) -> None:
    """A mutant that survives is a line that nobody would miss."""
    assert bench.survivors(mutant) == ()


@pytest.mark.long
def test_a_mutant_that_harms_nothing_survives(bench: Bench) -> None:
    """The check can fail: a change of nothing is found by no test."""
    harmless = Mutant(
        "harmless",
        (1,),
        "renku_store/blobs/reading.py",
        "def check(",
        "_HARMLESS = 0\n\n\ndef check(",
        ("tests/test_blobs_damage.py::test_an_altered_object_is_never_read",),
    )
    assert bench.survivors(harmless) == harmless.tests
