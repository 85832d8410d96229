"""What a plan says is left to be paid: results that are there are followed from job to job."""

from __future__ import annotations

import asyncio
from itertools import count

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from renku_store import (
    Choices,
    CostRange,
    Job,
    JobContext,
    Movie,
    Produced,
    RunReport,
    budget_warnings,
    edit_artefact,
    open_store,
    plan_movie,
    run_movie,
    set_inputs,
)
from tests.running.conftest import BLUEPRINT, SEGMENTS, Studio

PRICED = BLUEPRINT.replace("    outputs:", "    cost: 0.25\n    outputs:")


class Inventive(Studio):
    """A studio that never makes the same thing twice."""

    def __init__(self) -> None:
        super().__init__()
        self._number = count(1)

    async def __call__(self, job: Job, context: JobContext) -> Produced:
        produced = await super().__call__(job, context)
        number = next(self._number)
        new = {
            name: f"{number}" if name in {"seconds", "timeline"} else f"{text!r} {number}"
            for name, text in produced.outputs.items()
        }
        return Produced(new, cost=0.25)


@pytest.fixture
def inventive() -> Inventive:
    return Inventive()


@pytest.fixture
def made(movie: Movie, inventive: Inventive) -> Movie:
    """The movie with prices and its first revision; the calls so far are forgotten."""
    set_inputs(movie, {"@blueprint": PRICED})
    run(movie, inventive)
    inventive.calls.clear()
    return movie


def run(movie: Movie, studio: Studio, **more: object) -> RunReport:
    return asyncio.run(run_movie(movie, produce=studio, concurrency=1, **more))  # type: ignore[arg-type]


def answered(movie: Movie) -> list[str]:
    return [job for job, planned in plan_movie(movie).jobs.items() if planned.reuse]


def test_a_forced_job_that_its_run_has_made_is_not_to_be_paid_again(made: Movie, inventive: Inventive) -> None:
    """Nor is what the run has made of it; the plan says what has been spent, and the run then pays what it says."""
    inventive.broken = {"film"}
    failed = run(made, inventive, choices=Choices(regen=["say[0]", "draw"]))
    assert (failed.status, dict(inventive.calls)) == (
        "failed",
        {"say[0]": 1, "length[0]": 1, "draw[0]": 1, "draw[1]": 1, "draw[2]": 1, "film": 1},
    )
    plan = plan_movie(made)
    assert sorted(plan.dirty) == ["draw[0]", "draw[1]", "draw[2]", "film", "length[0]", "say[0]"]
    assert [job for job in plan.dirty if not plan.jobs[job].reuse] == ["film"]
    assert (plan.cost.high, plan.spent) == (0.25, 1.25)
    assert any(f"{failed.run} would be taken up again; it has spent $1.25 so far." in told for told in plan.warnings)
    inventive.broken = set()
    assert run(made, inventive).cost == 0.25


def test_only_the_run_itself_takes_over_what_it_was_forced_to_make(made: Movie, inventive: Inventive) -> None:
    """Another run that is asked for another take pays for one."""
    inventive.broken = {"film"}
    run(made, inventive, choices=Choices(regen=["draw[0]"]))
    plan = plan_movie(made, choices=Choices(regen=["draw[0]", "draw[1]"]))
    assert (plan.jobs["draw[0]"].reuse, plan.jobs["draw[0]"].cost and plan.jobs["draw[0]"].cost.low) == (None, 0.25)
    assert plan.spent is None


def test_a_budget_is_held_against_what_the_run_has_spent_and_what_is_left(made: Movie, inventive: Inventive) -> None:
    """It is warned of where what is left of it may not do, and only there."""
    inventive.broken = {"draw[2]"}
    run(made, inventive, choices=Choices(regen=["draw"]))
    plan = plan_movie(made)
    assert (plan.spent, plan.cost.high) == (0.5, 0.5)
    assert budget_warnings(plan, 1.0) == []
    assert budget_warnings(plan.replace(spent=0.1, cost=CostRange(low=0, high=0.2)), 0.3) == []
    [warning] = budget_warnings(plan, 0.9)
    assert "after $0.50 spent by the run" in warning
    assert "up to $0.50, more than the budget of $0.90 leaves" in warning


def test_results_are_followed_through_jobs_that_would_read_them(made: Movie, inventive: Inventive) -> None:
    """Back to earlier texts: what was made from them is there, down to the film."""
    before = made.manifests.load("latest").artefacts["film.video"].hash
    texts = [{**segment, "text": f"other {place}"} for place, segment in enumerate(SEGMENTS)]
    set_inputs(made, {"segments": texts})  # type: ignore[dict-item]
    run(made, inventive)
    set_inputs(made, {"segments": SEGMENTS})  # type: ignore[dict-item]
    plan = plan_movie(made)
    assert len(plan.dirty) == 7
    assert all(plan.jobs[job].reuse for job in plan.dirty)
    assert plan.cost.to_json() == {"low": 0.0, "high": 0.0, "unknown": 0}
    report = run(made, inventive)
    assert (report.made, report.reused, made.artefact("film.video").hash) == (0, 7, before)


def test_a_persons_version_is_followed_too(made: Movie, inventive: Inventive) -> None:
    """What reads it is answered where it was made of that version before."""
    edit_artefact(made, "length[0].seconds", b"77")
    inventive.broken = {"film"}
    run(made, inventive)
    set_inputs(made, {"voice": "de"})
    plan = plan_movie(made)
    assert plan.jobs["length[0]"].edited
    assert [job for job in plan.dirty if plan.jobs[job].reuse] == []


def test_a_result_whose_bytes_are_gone_stops_the_following(made: Movie, inventive: Inventive) -> None:
    """It is to be made anew, and what comes after it is not known."""
    inventive.broken = {"film"}
    long = [{**segment, "text": f"word {place} " * 600} for place, segment in enumerate(SEGMENTS)]
    set_inputs(made, {"segments": long})  # type: ignore[dict-item]
    run(made, inventive)
    assert sorted(answered(made)) == [*(f"length[{n}]" for n in range(3)), *(f"say[{n}]" for n in range(3))]
    made.driver.delete(made.blobs.stat(_blob(made, "say[1].audio")).path)
    assert sorted(answered(made)) == ["length[0]", "length[2]", "say[0]", "say[2]"]


def _blob(movie: Movie, artefact: str) -> str:
    event = movie.events.latest_artefact(artefact)
    assert event is not None
    assert event.value is not None
    return event.value.blob or ""


@settings(max_examples=15, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    broken=st.sets(st.sampled_from(["say[0]", "draw[1]", "length[2]", "film"]), min_size=1),
    regen=st.sets(st.sampled_from(["say", "say[1]", "draw[0]", "length", "film"])),
    voice=st.sampled_from(["en", "de"]),
)
def test_what_is_taken_up_again_pays_what_its_plan_says(
    tmp_path_factory: pytest.TempPathFactory, broken: set[str], regen: set[str], voice: str
) -> None:
    """Whatever failed: never more than `high`, never less than `low`, and nothing for what is answered."""
    with open_store(tmp_path_factory.mktemp("builds")) as store:
        movie, studio = store.create_movie("small"), Inventive()
        set_inputs(movie, {"@blueprint": PRICED, "segments": SEGMENTS})  # type: ignore[dict-item]
        run(movie, studio)
        studio.broken = broken
        set_inputs(movie, {"voice": voice})
        run(movie, studio, choices=Choices(regen=sorted(regen)))
        studio.broken = set()
        studio.calls.clear()
        plan = plan_movie(movie)
        report = run(movie, studio)
        assert plan.cost.low <= report.cost <= plan.cost.high
        assert not [job for job in studio.calls if plan.jobs[job].reuse]
