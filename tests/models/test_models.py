"""The model of collection against writers, checked by spin in every order of every step; and that it can fail."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest

MODEL = Path(__file__).with_name("collection.pml")
MISTAKES = [
    "NO_SECOND_LOOK",
    "NO_SECOND_MANIFESTS",
    "NO_TOUCH",
    "NO_STATE",
    "NO_WAIT",
    "NO_COLLECT_LOCK",
    "NO_FIRST_LOOK",
    "NO_SEEING",
    "TRUSTING",
]
_FOUND = re.compile(r"errors: (\d+)\s+(\d+) states, stored")


def _spin(checkout: Path) -> str:
    """The program: of the system, or that which `make .venv/.with-spin` has unpacked."""
    found = shutil.which("spin") or shutil.which(checkout / ".venv" / "spin" / "usr" / "bin" / "spin")
    assert found is not None, "There is no spin: run `make .venv/.with-spin`, or install it (Debian: spin)."
    return found


def checked(checkout: Path, folder: Path, *flags: str) -> tuple[int, int]:
    """Errors and states that an exhaustive search of the model with these flags has found."""

    def run(*command: str) -> str:
        done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False, timeout=600)
        return done.stdout + done.stderr

    said = run(_spin(checkout), *(f"-D{flag}" for flag in flags), "-a", str(MODEL))
    assert (folder / "pan.c").exists(), said
    # Safety only, all of it: no compression of states, no bound that is reached.
    said = run(shutil.which("cc") or "gcc", "-O2", "-w", "-DSAFETY", "-DMEMLIM=2000", "-o", "pan", "pan.c")
    assert (folder / "pan").exists(), said
    said = run("./pan", "-m100000")
    assert "max search depth too small" not in said
    assert "out of memory" not in said
    result = _FOUND.search(said)
    assert result is not None, said
    return int(result[1]), int(result[2])


@pytest.mark.long
def test_collection_beside_writers_keeps_what_somebody_needs(checkout: Path, tmp_path: Path) -> None:
    """Two collectors and two writers, each of which may die anywhere: more than a million states, and none is wrong."""
    errors, states = checked(checkout, tmp_path)
    assert errors == 0
    assert states > 1_000_000


@pytest.mark.long
@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_wrong_protocol_is_refuted(checkout: Path, tmp_path: Path, mistake: str) -> None:
    """Each mistake that the model can be given leads to a state that may not be."""
    assert checked(checkout, tmp_path, mistake)[0] > 0


def test_every_mistake_of_the_model_is_tried() -> None:
    """Those that its head names are those that it knows, and those that are tried above."""
    text = MODEL.read_text()
    assert set(re.findall(r"^#ifn?def (\w+)", text, re.MULTILINE)) == set(MISTAKES)
    assert set(re.findall(r"^ +-D(\w+) ", text, re.MULTILINE)) == set(MISTAKES)
