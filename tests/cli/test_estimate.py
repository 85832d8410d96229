"""The estimate of a run."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from renku_cli.estimate import Estimate


def test_nothing_is_estimated_before_a_call_ended() -> None:
    """Reused jobs say nothing about how long calls take."""
    estimate = Estimate(["a[0]", "a[1]"])
    assert estimate.seconds_left(1.0) is None
    estimate.finished("a[0]", 0.0, called=False)
    assert estimate.seconds_left(1.0) is None


def test_each_producer_has_a_mean_of_its_own() -> None:
    """Nine quick narrations say little about the slow clip that is left."""
    estimate = Estimate([*(f"narration[{n}]" for n in range(3)), "clip[0]", "clip[1]"])
    for number in range(3):
        estimate.finished(f"narration[{number}]", 1.0, called=True)
    estimate.finished("clip[0]", 10.0, called=True)
    assert estimate.seconds_left(13.0) == pytest.approx(10.0)


def test_parallel_work_shortens_the_estimate() -> None:
    """Four jobs of 10 s that took 20 s together went two at a time."""
    estimate = Estimate([f"a[{n}]" for n in range(8)])
    for number in range(4):
        estimate.finished(f"a[{number}]", 10.0, called=True)
    assert estimate.seconds_left(20.0) == pytest.approx(20.0)


def test_what_a_job_has_been_going_for_is_not_to_come() -> None:
    """The last one counts down; once it takes longer than any before, nobody knows."""
    estimate = Estimate(["a[0]", "a[1]"])
    estimate.finished("a[0]", 10.0, called=True)
    left = [estimate.seconds_left(10.0 + seconds, {"a[1]": seconds}) for seconds in (0.0, 4.0, 9.0, 10.0, 50.0)]
    assert left == [pytest.approx(10.0), pytest.approx(6.0), pytest.approx(1.0), None, None]


@given(st.lists(st.tuples(st.sampled_from("abc"), st.floats(0, 1e6)), min_size=1), st.floats(0.001, 1e6))
def test_nothing_is_left_when_all_is_done(jobs: list[tuple[str, float]], elapsed: float) -> None:
    """Whatever the times were, the end is the end; and it is never negative."""
    estimate = Estimate(f"{producer}[{n}]" for n, (producer, _) in enumerate(jobs))
    for number, (producer, seconds) in enumerate(jobs):
        left = estimate.seconds_left(elapsed)
        assert left is None or left >= 0
        estimate.finished(f"{producer}[{number}]", seconds, called=True)
    assert estimate.seconds_left(elapsed) == 0
