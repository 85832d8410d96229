"""A film of many jobs against an unreliable provider, its process killed at random: each result is made once."""

from __future__ import annotations

import os
import random
from pathlib import Path

import pytest

from renku_store import open_store
from renku_store.testing.invariants import check_invariants
from tests.crash.chaos import (
    Chaos,
    check_direct_calls,
    check_each_result_once,
    check_polled_calls,
    newest_manifest,
    run_calmly,
    run_in_chaos,
)
from tests.crash.chaos_film import MOVIE


def _chaos(folder: Path, jobs: int, kills: int) -> Chaos:
    seed = int(os.environ.get("RENKU_CHAOS_SEED", "0")) or random.randrange(1, 2**32)
    chaos = run_in_chaos(folder / "chaos", jobs, seed=seed, kills=kills)
    print(_summary(chaos, seed))  # noqa: T201 (what it saw; pytest shows it with -rP)
    return chaos


def _summary(chaos: Chaos, seed: int) -> str:
    made = {kind: (len(chaos.count(kind)), chaos.count(kind).total()) for kind in ("begun", "fetched", "answered")}
    return f"seed {seed}: {chaos.begun} processes, {len(chaos.killed)} killed; requests and calls {made}"


def _check(chaos: Chaos, calm: Chaos, kills: int) -> None:
    assert len(chaos.killed) == kills
    check_each_result_once(chaos)
    check_polled_calls(chaos)
    check_direct_calls(chaos)
    assert newest_manifest(chaos) == newest_manifest(calm)
    with open_store(chaos.root) as store:
        check_invariants(store.movie(MOVIE))


def test_a_killed_run_makes_each_result_once_and_ends_as_an_undisturbed_one(tmp_path: Path) -> None:
    """Sixty jobs, eight kills, every kind of failure; `RENKU_CHAOS_SEED` repeats one."""
    _check(_chaos(tmp_path, 60, 8), run_calmly(tmp_path / "calm", 60), 8)


@pytest.mark.long
def test_three_hundred_jobs_and_forty_kills(tmp_path: Path) -> None:
    """The same, at the size that a film has."""
    _check(_chaos(tmp_path, 300, 40), run_calmly(tmp_path / "calm", 300), 40)
