"""Eight processes at random work on one movie, killed and stopped at random: invariants 1 to 11, all at once."""

from __future__ import annotations

import os
import random
from pathlib import Path
from typing import Any

import pytest

from renku_store.testing.soak import soak
from renku_store.testing.soak.journal import Journal, judge, lines

SECONDS = float(os.environ.get("RENKU_SOAK_SECONDS", "60"))


def soaked(folder: Path, seconds: float) -> None:
    seed = int(os.environ.get("RENKU_SOAK_SEED", "0")) or random.randrange(1, 2**32)
    report = soak(folder, seconds=seconds, seed=seed)
    print(report.summary())  # noqa: T201 (what the time was spent on; pytest shows it with -rP)
    assert report.violations == [], f"{report.summary()}\n" + "\n".join(report.violations)
    assert report.kills >= seconds / 6
    assert report.revisions >= seconds / 6
    assert report.calls > report.revisions
    done = {name for name, outcomes in report.operations.items() if outcomes["done"]}
    assert done >= {"run", "run with inputs", "set", "set and run", "publish by hand", "gc", "fsck", "read", "abandon"}


def test_processes_that_are_killed_at_random_lose_nothing_and_repeat_no_call(tmp_path: Path) -> None:
    """Runs, edits, collections and readers at once; `RENKU_SOAK_SECONDS` and `RENKU_SOAK_SEED` say how long and how."""
    soaked(tmp_path, SECONDS)


@pytest.mark.long
def test_ten_minutes_of_it(tmp_path: Path) -> None:
    """The same, for longer, with a seed of its own."""
    soaked(tmp_path, 10 * SECONDS)


# A soak that saw nothing would always pass: what its journal makes of calls

WRITTEN = [
    ("killed", [("call", 1), ("killing", 1), ("call", 2)]),
    ("killed", [("call", 1), ("produced", 1), ("killing", 1), ("call", 2)]),
    ("failed", [("call", 1), ("failed", 1), ("call", 1)]),
    ("cancelled", [("call", 1), ("cancelled", 1), ("call", 2)]),
    ("lease ran out", [("short", 1), ("call", 1), ("call", 2)]),
    ("lease ran out", [("call", 1), ("stopping", 1), ("call", 2)]),
    ("collected", [("call", 1), ("large", 1), ("stored", 1), ("collecting", 3), ("condemned", 3), ("call", 2)]),
    ("collected", [("call", 1), ("large", 1), ("stored", 1), ("collecting", 3), ("killing", 3), ("call", 2)]),
    ("came late", [("short", 2), ("call", 1), ("produced", 1), ("stored", 1), ("call", 2), ("produced", 2)]),
    (None, [("short", 2), ("call", 1), ("produced", 1), ("stored", 1), ("call", 2), ("produced", 2), ("stored", 2)]),
    ("forced", [("call", 1), ("produced", 1), ("stored", 1), ("forced", 2)]),
    (None, [("call", 1), ("forced", 2)]),
    (None, [("call", 1), ("call", 2)]),
    (None, [("call", 1), ("killing", 3), ("call", 2)]),
    (None, [("call", 1), ("produced", 1), ("call", 2)]),
    (None, [("call", 1), ("produced", 1), ("stored", 1), ("killing", 1), ("call", 2)]),
    (None, [("call", 1), ("produced", 1), ("stored", 1), ("collecting", 3), ("condemned", 3), ("call", 2)]),
    (None, [("call", 1), ("large", 1), ("stored", 1), ("collecting", 3), ("nothing", 3), ("call", 2)]),
    (None, [("collecting", 3), ("condemned", 3), ("collected", 3), ("call", 1), ("large", 1), ("call", 2)]),
    (None, [("call", 1), ("killing", 1), ("call", 2), ("stored", 2), ("call", 3)]),
]  # fmt: skip
MEANT: dict[str, dict[str, Any]] = {
    "forced": {"kind": "call", "forced": True},
    "short": {"kind": "started", "short_lease": True},
    "large": {"kind": "produced", "blobs": ["blob"]},
    "condemned": {"blobs": ["blob", "other"]},
    "nothing": {"kind": "condemned", "blobs": ["other"]},
}


@pytest.mark.parametrize(("excuse", "steps"), WRITTEN)
def test_a_call_that_is_made_again_needs_an_excuse(excuse: str | None, steps: list[tuple[str, int]]) -> None:
    """Its first caller killed before the result was stored, its failure, or its result condemned; nothing else."""
    journal = [
        {"kind": name, "pid": pid, "signature": "signature", "job": "a1", **MEANT.get(name, {})} for name, pid in steps
    ]
    found = judge(journal)
    assert found.count == sum(name in {"call", "forced"} for name, _ in steps)
    if excuse is None:
        assert len(found.repeated) == 1
    else:
        assert (dict(found.excused), found.repeated) == ({excuse: 1}, [])


def test_a_line_that_a_kill_cut_harms_no_other(tmp_path: Path) -> None:
    """What was written before it and after it is read."""
    journal = Journal(tmp_path / "journal")
    journal.write("call", signature="a")
    with journal.path.open("ab") as file:
        file.write(b'\n{"kind":"call","pid":')
    journal.write("killing", pid=7)
    journal.close()
    assert [(line["kind"], line["pid"]) for line in lines(journal.path)] == [("call", os.getpid()), ("killing", 7)]
