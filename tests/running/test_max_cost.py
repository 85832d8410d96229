"""A run with a budget: it ends before the call that could exceed it, keeps what it has, and goes on with more."""

from __future__ import annotations

import asyncio
import logging
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from renku_store import (
    InvalidValueError,
    Job,
    JobContext,
    Movie,
    Produced,
    ProducerError,
    ProducerRegistry,
    RetryPolicy,
    RunReport,
    Store,
    movie_stats,
    movie_status,
    open_store,
    plan_movie,
    run_movie,
    set_inputs,
    with_retry,
)
from renku_store.records.events import ArtefactEvent, RunEvent
from tests.running.conftest import BLUEPRINT, SEGMENTS, Studio

PRICED = BLUEPRINT.replace("run: test/say\n", "run: test/say\n    cost: 1\n").replace(
    "run: test/draw\n", "run: test/draw\n    cost: {low: 1, high: 2}\n"
)
"""Three narrations at a dollar, three drawings at up to two; nobody says what the others cost."""


@pytest.fixture
def movie(store: Store) -> Movie:
    movie = store.create_movie("small")
    set_inputs(movie, {"@blueprint": PRICED, "segments": SEGMENTS})
    return movie


class Till(Studio):
    """A provider that takes what it says, or another price."""

    def __init__(self) -> None:
        super().__init__()
        self.prices = {"say": 1.0, "draw": 2.0}
        self.taken = 0.0

    async def __call__(self, job: Job, context: JobContext) -> Produced:
        produced = await super().__call__(job, context)
        cost = self.prices.get(job.producer, 0.0)
        self.taken += cost
        return replace(produced, cost=cost)


@pytest.fixture
def till() -> Till:
    return Till()


def run(movie: Movie, produce: Any, **more: Any) -> RunReport:
    return asyncio.run(run_movie(movie, produce=produce, **more))


def statuses(report: RunReport, status: str) -> set[str]:
    return {job for job, result in report.jobs.items() if result.status == status}


@pytest.mark.parametrize("concurrency", [1, 3, 50])
@pytest.mark.parametrize("budget", [0, 0.99, 1, 2, 4.5, 8.99, 9])
def test_a_run_never_takes_more_than_its_budget(movie: Movie, till: Till, budget: float, concurrency: int) -> None:
    """Whatever its concurrency; and it ends early only where one more call could have been too much."""
    report = run(movie, till, max_cost=budget, concurrency=concurrency)
    assert report.cost == till.taken <= budget
    assert (report.status == "published") == (budget >= 9)
    if budget < 9:
        assert report.cost > budget - 2
        assert (report.status, report.revision) == ("failed", None)


def test_the_job_that_did_not_fit_says_why_and_the_others_that_were_not_called_are_told(
    movie: Movie, till: Till
) -> None:
    """Nothing failed; the run's last event names those jobs."""
    report = run(movie, till, max_cost=2.5, concurrency=1)
    left = statuses(report, "over budget")
    told = {job: result.error for job, result in report.jobs.items() if result.error is not None}
    ((job, error),) = told.items()
    assert job in left
    assert error.kind == "BudgetExceededError"
    assert error.message.startswith(f"{job} would cost up to $")
    assert "of its budget of $2.50." in error.message
    assert left | statuses(report, "made") == report.jobs.keys()
    assert not statuses(report, "failed") | statuses(report, "cancelled")
    last = [event for event in movie.events.stream(run=report.run) if isinstance(event, RunEvent)][-1]
    assert (last.kind, set(last.data["overBudget"])) == ("failed", left)  # type: ignore[arg-type]


def test_a_run_goes_on_with_a_larger_budget_which_counts_what_it_has_spent_before(movie: Movie, till: Till) -> None:
    """The same budget again buys nothing; a larger one the rest; nothing is paid twice."""
    first = run(movie, till, max_cost=5, concurrency=1)
    again = run(movie, till, max_cost=5, concurrency=1)
    assert (again.run, again.status, again.cost, again.made) == (first.run, "failed", 0.0, 0)
    assert (again.reused, till.taken) == (first.made, first.cost)
    last = run(movie, till, max_cost=9)
    assert (last.run, last.status) == (first.run, "published")
    assert till.taken == 9
    assert set(till.calls.values()) == {1}
    assert movie.manifests.load_current()[0].metrics.cost == 9


def test_what_has_a_result_already_goes_on_when_the_budget_is_used_up(movie: Movie, till: Till) -> None:
    """All narrations are answered by traces, and so is what follows from them."""
    run(movie, till)
    set_inputs(movie, {"segments": [{**entry, "text": entry["text"] + "!"} for entry in SEGMENTS]})
    run(movie, till)
    changed = [{**SEGMENTS[0], "title": "New"}, *SEGMENTS[1:]]
    set_inputs(movie, {"segments": changed})
    report = run(movie, till, max_cost=0)
    assert statuses(report, "over budget") == {"draw[0]", "film"}
    assert {"say[0]", "say[1]", "say[2]", "length[0]"} <= statuses(report, "reused")
    assert report.saved == 3.0


def test_calls_that_are_under_way_finish_when_the_budget_ends_the_run(movie: Movie, till: Till) -> None:
    """They are paid for: their results are kept."""
    till.pause_seconds = 0.05
    report = run(movie, till, max_cost=3, concurrency=3)
    assert till.running == 0
    assert len(statuses(report, "made")) == sum(till.calls.values())
    assert statuses(report, "over budget")


def test_a_call_of_unknown_cost_counts_as_nothing_and_its_caller_is_warned(
    movie: Movie, till: Till, caplog: pytest.LogCaptureFixture
) -> None:
    """Once it is paid it counts: no further call is made when that was too much."""
    set_inputs(movie, {"@blueprint": BLUEPRINT})
    till.prices = {"say": 1.0, "draw": 1.0}
    with caplog.at_level(logging.WARNING, logger="renku_store"):
        report = run(movie, till, max_cost=1.5, concurrency=1)
    assert "Nobody can say what say[0] and 9 more will cost" in caplog.text
    assert (till.taken, report.status) == (2.0, "failed")
    (error,) = (result.error for result in report.jobs.values() if result.error)
    assert "is not called any more: the run has spent $2.00 of its budget of $1.50." in error.message


def test_costs_of_the_past_bound_calls_that_nobody_has_priced(movie: Movie, till: Till) -> None:
    """The dearest call of a producer so far is what the next one may cost."""
    set_inputs(movie, {"@blueprint": BLUEPRINT})
    run(movie, till)
    set_inputs(movie, {"segments": [{"text": "four", "title": "Fourth"}]})
    plan = plan_movie(movie)
    assert (plan.cost.high, plan.cost.unknown) == (3.0, 0)
    report = run(movie, till, max_cost=2.9, concurrency=1)
    assert (report.status, report.cost) in {("failed", 1.0), ("failed", 2.0)}


def test_a_registry_can_tell_prices_that_the_blueprint_does_not(movie: Movie, till: Till) -> None:
    """A blueprint's own price goes before it."""
    registry = ProducerRegistry()
    for name, cost in {"say": 5.0, "draw": 5.0, "length": 0.25, "film": {"perItem": 0.5, "of": "audio"}}.items():
        registry.register(f"test/{name}@1", till, cost=cost)
    assert plan_movie(movie, prices=registry.price).cost.to_json() == {"low": 8.25, "high": 11.25, "unknown": 0}
    report = run(movie, registry, prices=registry.price, max_cost=0.9)
    assert report.status == "failed"
    assert run(movie, registry, prices=registry.price, max_cost=12).status == "published"
    with pytest.raises(InvalidValueError, match="The cost of test/say@1 is not understood"):
        registry.register("test/say@1", till, cost={"perItem": 1})


def test_what_a_failed_call_took_counts_wherever_costs_are_counted(movie: Movie, till: Till) -> None:
    """In the job, the run, the movie, the budget of the next try, and in the revision at last."""

    async def broken(job: Job, context: JobContext) -> Produced:
        if job.job_id == "draw[1]":
            till.taken += 1.5
            raise ProducerError("it was drawn badly", cost=1.5)
        return await till(job, context)

    report = run(movie, broken)
    assert report.jobs["draw[1]"].cost == 1.5
    assert report.cost == till.taken == 8.5
    assert movie_stats(movie).cost.spent == 8.5
    events = [event for event in movie.events.stream(run=report.run) if isinstance(event, ArtefactEvent)]
    assert [event.cost for event in events if event.status == "failed"] == [1.5]
    assert run(movie, till, max_cost=10.4).status == "failed"
    assert run(movie, till, max_cost=10.5).status == "published"
    assert movie.manifests.load_current()[0].metrics.cost == till.taken == 10.5


def test_attempts_that_failed_are_part_of_what_a_job_took(movie: Movie, till: Till) -> None:
    """And none is made that the budget has no room for."""

    async def shaky(job: Job, context: JobContext) -> Produced:
        if job.producer == "draw" and context.attempt < 3:
            raise ProducerError("again", retryable=True, cost=1.0)
        return await till(job, context)

    set_inputs(movie, {"segments": SEGMENTS[:1]})
    produce = with_retry(shaky, RetryPolicy(base_seconds=0))
    report = run(movie, produce, max_cost=3.5, concurrency=1)
    assert (report.status, report.jobs["draw[0]"].status) == ("failed", "over budget")
    assert 0 < report.jobs["draw[0]"].cost <= report.cost <= 3.5
    last = run(movie, produce, max_cost=20)
    assert (last.status, last.jobs["draw[0]"].cost, last.jobs["draw[0]"].attempts) == ("published", 4.0, 3)


def test_a_wrong_answer_is_paid_for(movie: Movie, till: Till) -> None:
    """A producer that answers with something else than it was asked for has taken its money."""

    async def wrong(job: Job, context: JobContext) -> Produced:
        produced = await till(job, context)
        return Produced({}, cost=produced.cost) if job.job_id == "say[0]" else produced

    report = run(movie, wrong)
    assert (report.jobs["say[0]"].status, report.jobs["say[0]"].cost) == ("failed", 1.0)


def test_a_partial_revision_can_be_published_when_the_budget_is_used_up(movie: Movie, till: Till) -> None:
    """With `allow_partial`, as after a failure."""
    run(movie, till)
    set_inputs(movie, {"segments": [{**SEGMENTS[0], "text": "new", "title": "New"}, *SEGMENTS[1:]]})
    report = run(movie, till, max_cost=1, concurrency=1, allow_partial=True)
    assert (report.status, report.revision) in {("partial", "rev-0002"), ("failed", None)}
    assert statuses(report, "over budget") >= {"draw[0]", "film"} or report.cost == 0


def test_another_price_alone_makes_nothing_dirty(movie: Movie, till: Till) -> None:
    """The text of the blueprint is an input, as ever; the graph is the same, and no job runs."""
    run(movie, till)
    graph = movie.manifests.load_current()[0].graph
    set_inputs(movie, {"@blueprint": PRICED.replace("cost: 1\n", "cost: 99\n")})
    plan = plan_movie(movie)
    assert (plan.dirty, plan.graph_hash) == ([], graph)
    registry = ProducerRegistry()
    registry.register("test/film@1", till, cost=77)
    set_inputs(movie, {"@blueprint": PRICED})
    assert run(movie, till, prices=registry.price).status == "unchanged"


def test_saved_money_is_told_by_run_revision_and_movie_also_from_the_objects_alone(
    movie: Movie, till: Till, tmp_path: Path
) -> None:
    """What the reused results had taken; reverting an input pays nothing and saves all that."""
    run(movie, till)
    set_inputs(movie, {"segments": SEGMENTS[:1]})
    run(movie, till)
    set_inputs(movie, {"segments": SEGMENTS})
    plan = plan_movie(movie)
    assert {plan.jobs[job].reuse for job in plan.dirty if plan.jobs[job].signature} == {True}
    report = run(movie, till)
    assert (report.cost, report.saved) == (0.0, 6.0)
    assert {job: result.saved for job, result in report.jobs.items() if result.saved}["draw[2]"] == 2.0
    metrics = movie.manifests.load_current()[0].metrics
    assert (metrics.cost, metrics.saved) == (0.0, 6.0)
    assert "saved" not in movie.manifests.load("rev-0001").to_json()["metrics"]
    before = movie_stats(movie)
    assert (before.cost.spent, before.cost.saved) == (9.0, 6.0)
    assert [entry.saved for entry in before.growth] == [0.0, 0.0, 6.0]
    database = Path(movie.root) / movie.id / "metadata.db"
    root = Path(movie.root)
    movie.close()
    for file in database.parent.glob("metadata.db*"):
        file.unlink()
    with open_store(root) as store:
        after = movie_stats(store.movie("small"))
    assert (after.cost, [entry.saved for entry in after.growth]) == (before.cost, [0.0, 0.0, 6.0])


def test_a_result_whose_bytes_are_gone_is_not_promised(movie: Movie, till: Till) -> None:
    """The plan looks for the files, and changes nothing; the run makes it anew."""
    run(movie, till)
    blob = movie.manifests.load_current()[0].artefacts["draw[2].image"].blob
    assert blob is not None
    set_inputs(movie, {"segments": SEGMENTS[:2]})
    run(movie, till)
    set_inputs(movie, {"segments": SEGMENTS})
    assert plan_movie(movie).jobs["draw[2]"].reuse is True
    (file,) = Path(movie.root).glob(f"{movie.id}/blobs/*/{blob}*")
    file.unlink()
    for _ in range(2):
        job = plan_movie(movie).jobs["draw[2]"]
        assert (job.reuse, job.cost and job.cost.high) == (None, 2.0)


def test_jobs_left_over_by_a_budget_survive_the_loss_of_the_database(movie: Movie, till: Till) -> None:
    """What was spent counts against the budget of the next try, read from the archive of the run."""
    first = run(movie, till, max_cost=4, concurrency=1)
    root = Path(movie.root)
    movie.close()
    for file in (root / "small").glob("metadata.db*"):
        file.unlink()
    with open_store(root) as store:
        again = store.movie("small")
        assert [record.run for record in movie_status(again).runs] == [first.run]
        report = run(again, till, max_cost=4)
        assert (report.run, report.cost, report.status) == (first.run, 0.0, "failed")
        assert run(again, till, max_cost=9).status == "published"
    assert till.taken == 9


@pytest.mark.parametrize("wrong", [-1, float("nan"), float("inf"), 1e300, 1_000_000_001, 10**40])
def test_a_budget_that_is_none_is_refused_before_anything_is_begun(movie: Movie, till: Till, wrong: float) -> None:
    """No run, no call."""
    with pytest.raises(InvalidValueError):
        run(movie, till, max_cost=wrong)
    assert not movie_status(movie).runs
    assert not till.calls


def test_the_largest_budget_is_one(movie: Movie, till: Till) -> None:
    """A thousand million dollars are enough for every call."""
    assert run(movie, till, max_cost=1_000_000_000).status == "published"


DYNAMIC = """
name: growing
inputs:
  topic: {type: string, default: sea}
loops:
  segment: {over: script.out}
producers:
  script:
    run: test/script
    cost: 1
    inputs: {topic: topic}
    outputs: {out: {mimeType: application/json}}
  say:
    for: [segment]
    run: test/say
    inputs: {text: "script.out[segment]"}
    outputs: {audio: {mimeType: audio/wav}}
"""


def test_jobs_that_a_run_finds_on_its_way_have_the_prices_of_their_producer(store: Store) -> None:
    """The plan cannot say how many there will be; the budget holds for them all the same."""
    movie = store.create_movie("growing")
    set_inputs(movie, {"@blueprint": DYNAMIC})
    calls: list[str] = []

    async def make(job: Job, context: JobContext) -> Produced:
        calls.append(job.job_id)
        out = {"out": '["a", "b", "c"]'} if job.producer == "script" else {"audio": job.job_id}
        return Produced(out, cost=1.0)

    registry = ProducerRegistry()
    registry.register("test/script@1", make)
    registry.register("test/say@1", make, cost={"perCharacter": 1, "of": "text"})
    plan = plan_movie(movie, prices=registry.price)
    assert plan.cost.to_json() == {"low": 1.0, "high": 1.0, "unknown": 1, "openLoops": 1}
    report = run(movie, registry, prices=registry.price, max_cost=2.5, concurrency=5)
    assert (report.status, report.cost, len(calls)) == ("failed", 2.0, 2)
    assert len(statuses(report, "over budget")) == 2
    last = run(movie, registry, prices=registry.price, max_cost=4)
    assert (last.status, len(calls)) == ("published", 4)


CUT_SHORT = """
inputs: {}
producers:
  slow: {run: test/slow, outputs: {text: {mimeType: text/plain}}}
  bad: {run: test/bad, outputs: {text: {mimeType: text/plain}}}
"""


def test_what_attempts_took_counts_though_their_call_is_left_in_its_back_off(store: Store) -> None:
    """Each run pays for one attempt and leaves the call; the third finds that the budget is spent."""
    movie = store.create_movie("cut")
    set_inputs(movie, {"@blueprint": CUT_SHORT})
    called: list[str] = []

    async def produce(job: Job, context: JobContext) -> Produced:
        called.append(job.job_id)
        if job.job_id == "slow":
            paid.set()
            raise ProducerError("Not now.", retryable=True, cost=2.0)
        await paid.wait()
        raise ProducerError("Never.")

    tried = with_retry(produce, RetryPolicy(base_seconds=60.0), chance=lambda: 1.0)
    for spent in (2.0, 4.0):
        paid = asyncio.Event()
        report = run(movie, tried, max_cost=3.0, keep_going=False)
        slow = report.jobs["slow"]
        assert (report.cost, slow.status, slow.attempts, slow.cost) == (2.0, "cancelled", 1, 2.0)
        costs = [event.cost for event in movie.events.stream_artefacts() if event.artefact == "slow.text"]
        assert sum(cost or 0.0 for cost in costs) == spent
    report = run(movie, tried, max_cost=3.0, keep_going=False)
    assert (report.jobs["slow"].status, called.count("slow")) == ("over budget", 2)
