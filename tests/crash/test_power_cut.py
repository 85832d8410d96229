"""Whatever a power cut leaves of what was not synced, nothing promised is lost, and nothing has to be repaired by hand.

Invariants 2, 3, 5, 6, 7 and 11.
"""

from __future__ import annotations

from pathlib import Path
from random import Random
from typing import Final

import pytest
from hypothesis import given, note, settings
from hypothesis import strategies as st

from renku_store.testing.power_cut.choosing import cut, sweep
from renku_store.testing.power_cut.journal import Names
from tests.crash.power_cut_workloads import WORKLOADS
from tests.crash.power_cuts import check, cuts_after, gone_on_with, journal, killed_then_cut, names_made, try_all

SWEPT_EACH: Final = 15
"""Of the systematic states, `make check` takes each n-th; `make check-long` takes all."""


@pytest.mark.parametrize("workload", WORKLOADS)
def test_every_promise_is_kept_at_the_extremes_of_every_moment(workload: str) -> None:
    """Nothing lost, all lost, only names, only bytes, one change lost or kept alone."""
    assert try_all(sweep(journal(workload), every=SWEPT_EACH)) > 100


@pytest.mark.parametrize("workload", WORKLOADS)
@given(random=st.randoms(use_true_random=False))
def test_every_promise_is_kept_whatever_arrived_of_what_was_not_synced(workload: str, random: Random) -> None:
    """Any subset, torn writes, garbage at the end of files; hypothesis shrinks what it finds."""
    state = cut(journal(workload), random)
    note(state.explain())
    check(state)


@given(seed=st.integers(0, 2**32), random=st.randoms(use_true_random=False))
@settings(max_examples=30)
def test_a_second_cut_during_the_repair_after_the_first_harms_no_more(seed: int, random: Random) -> None:
    """The disk of one cut is opened, repaired and gone on with, and that is cut off as well."""
    first = cut(journal(sorted(WORKLOADS)[seed % len(WORKLOADS)]), Random(seed))
    state = cut(gone_on_with(first), random)
    note(f"{first.explain()}\nthen {state.explain()}")
    check(state)


def test_what_a_killed_process_left_unsynced_is_durable_once_the_next_one_shows_it(tmp_path: Path) -> None:
    """Names that it made and never synced: whoever builds upon them syncs them first."""
    counts = names_made(journal("publishing"))[::3]
    random = Random(1)
    tried = sum(
        try_all(cuts_after(count, after, random, 3)) for count, after in killed_then_cut(tmp_path, "publishing", counts)
    )
    assert tried > 4 * len(counts)


@pytest.mark.long
@pytest.mark.parametrize("workload", WORKLOADS)
def test_every_promise_is_kept_in_all_extremes(workload: str) -> None:
    """None is left out."""
    assert try_all(sweep(journal(workload)), with_fsck=True) > 1_500


@pytest.mark.long
@pytest.mark.parametrize("workload", WORKLOADS)
def test_every_promise_is_kept_in_ten_thousand_draws(workload: str) -> None:
    """The number of a draw is its seed."""
    assert try_all(cut(journal(workload), Random(seed)) for seed in range(10_000)) == 10_000


@pytest.mark.long
@pytest.mark.parametrize("workload", WORKLOADS)
def test_every_promise_is_kept_in_cuts_after_cuts(workload: str) -> None:
    """Repairs of many disks, each cut off in many ways."""
    for seed in range(200):
        after = gone_on_with(cut(journal(workload), Random(seed)))
        try_all(cut(after, Random(f"{seed} {number}")) for number in range(20))


@pytest.mark.long
@pytest.mark.parametrize("workload", WORKLOADS)
def test_every_promise_is_kept_in_cuts_after_kills(workload: str, tmp_path: Path) -> None:
    """Killed after each call that changes a name."""
    recorded = journal(workload)
    counts = [number + 1 for number, call in enumerate(recorded.calls) if isinstance(call, Names)]
    for count, after in killed_then_cut(tmp_path, workload, counts):
        try_all(cuts_after(count, after, Random(count), 20))
