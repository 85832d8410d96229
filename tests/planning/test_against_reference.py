"""The planner and the runner against a reference that compares values, on random graphs and random histories."""

from __future__ import annotations

import asyncio
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings

from renku_store import (
    BadInputError,
    Choices,
    ExecutionPlan,
    Movie,
    RunReport,
    Store,
    abandon,
    movie_status,
    open_store,
    plan_movie,
    run_movie,
    set_inputs,
)
from tests.planning.causes import check_causes, check_edits
from tests.planning.histories import Step, histories
from tests.planning.reference import Forecast, Held, Reference, RefusedError, Unfinished
from tests.planning.worlds import JobSpec, Provider, World, answer
from tests.ramdisk import fast_folder


class Trial:
    """A movie that goes through a history, and the reference beside it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.store: Store = open_store(folder)
        self.store.create_movie("m")
        self.reference = Reference()

    @property
    def movie(self) -> Movie:
        """The movie, as it is open now."""
        return self.store.movie("m")

    def close(self) -> None:
        """Close the movie."""
        self.store.close()

    def step(self, step: Step) -> None:
        """Do what a step says, and compare."""
        self._before(step)
        set_inputs(self.movie, {"@blueprint": step.world.graph(), **step.world.inputs})
        unfinished = self.reference.takes_up(step.world, step.choices)
        choices = unfinished.choices if unfinished else step.choices
        try:
            forecast = self.reference.forecast(step.world, choices, step.broken, unfinished.own if unfinished else ())
        except RefusedError:
            with pytest.raises(BadInputError):
                plan_movie(self.movie, choices=step.choices)
            with pytest.raises(BadInputError):
                self._run(step, Provider())
            return
        plan = plan_movie(self.movie, choices=step.choices)
        self._compare_plan(plan, forecast, step)
        provider = Provider(step.broken)
        report = self._run(step, provider)
        self._compare_calls(report, provider, forecast, plan)
        self._compare_outcome(report, forecast, step, resumed=unfinished is not None)
        self._remember(report, provider, forecast, step, unfinished, choices)

    def _before(self, step: Step) -> None:
        match step.before:
            case "abandon":
                for record in movie_status(self.movie).runs:
                    abandon(self.movie, record.run)
                self.reference.unfinished.clear()
            case "rebuild":
                self.store.close()
                for path in (self.folder / "m").glob("metadata.db*"):
                    path.unlink()
                self.store = open_store(self.folder)
            case "nothing":
                pass
        if step.lose is not None:
            self._lose(step.lose)

    def _lose(self, number: int) -> None:
        """Remove the file of a published artefact."""
        large = sorted(key for key, held in self.reference.held.items() if len(held.text) > 2_048)
        if not large:
            return
        lost = self.reference.held[large[number % len(large)]]
        if lost.text not in self.reference.lost:
            entry = self.movie.manifests.load("latest").artefacts[large[number % len(large)]]
            assert entry.blob is not None
            self.movie.driver.delete(self.movie.blobs.stat(entry.blob).path)
            self.reference.lost.add(lost.text)

    def _run(self, step: Step, provider: Provider) -> RunReport:
        async def go() -> RunReport:
            stop = asyncio.Event()

            def answered() -> None:
                if step.stop_after is not None and len(provider.by) >= step.stop_after:
                    stop.set()

            provider.after_answer = answered
            return await run_movie(
                self.movie,
                produce=provider,
                choices=step.choices,
                concurrency=step.concurrency,
                allow_partial=step.allow_partial,
                stop=stop,
            )

        return asyncio.run(go())

    def _compare_plan(self, plan: ExecutionPlan, forecast: Forecast, step: Step) -> None:
        """Dirty is what the reference calls stale; what is left out is the same; reasons lead to causes."""
        assert {job for job, entry in plan.jobs.items() if entry.state == "dirty"} == forecast.stale
        assert {job for job, entry in plan.jobs.items() if entry.left_out} == forecast.left_out
        assert set(plan.dirty) == forecast.stale - forecast.left_out
        for job, status in forecast.statuses.items():
            if status in {"made", "reused", "failed"}:
                assert (plan.jobs[job].signature is not None) == (job in forecast.known)
        check_causes(plan, step.world, self.reference)

    def _compare_calls(self, report: RunReport, provider: Provider, forecast: Forecast, plan: ExecutionPlan) -> None:
        """Called is what must be, as often as it must be, and no job that was planned as clean."""
        for request, calls in provider.asked.items():
            fewest, most = forecast.calls.get(request, (0, 0))
            assert calls <= most, f"called without need: {request}"
            assert report.status == "interrupted" or fewest <= calls, f"not called often enough: {request}"
        if report.status != "interrupted":
            assert provider.asked.keys() == forecast.calls.keys()
        assert not [job for job in provider.jobs if plan.jobs[job].state == "clean" or plan.jobs[job].left_out]

    def _compare_outcome(self, report: RunReport, forecast: Forecast, step: Step, *, resumed: bool) -> None:
        if report.status == "interrupted":
            assert step.stop_after is not None
            return
        shared = {"made", "reused"}
        for job, status in forecast.statuses.items():
            told = report.jobs[job].status
            assert told == status or {told, status} <= shared, f"{job}: {told} where {status} was right"
        differs = self.reference.differs(step.world, forecast.held)
        if not resumed and not forecast.stale - forecast.left_out:
            left_out = bool(forecast.left_out)
            differs = not left_out and self.reference.differs(step.world, self.reference.kept(step.world))
        if forecast.failed:
            assert report.status == ("partial" if step.allow_partial and differs else "failed")
        else:
            assert report.status == ("published" if differs else "unchanged")

    def _remember(
        self,
        report: RunReport,
        provider: Provider,
        forecast: Forecast,
        step: Step,
        unfinished: Unfinished | None,
        choices: object,
    ) -> None:
        reference = self.reference
        reference.answered |= provider.answered
        reference.lost -= {text for request in provider.answered for text in answer(request).values()}
        if report.status in {"failed", "interrupted"}:
            if unfinished is None:
                unfinished = Unfinished(choices)  # type: ignore[arg-type]
                reference.unfinished.append(unfinished)
            unfinished.own |= provider.by
            return
        if unfinished is not None:
            reference.unfinished.remove(unfinished)
        if report.status in {"published", "partial"}:
            reference.held = forecast.held if report.run else reference.kept(step.world)
            reference.published = step.world
            self._compare_revision(reference.held)

    def _compare_revision(self, held: dict[str, Held]) -> None:
        """The revision holds what the reference says, byte by byte."""
        artefacts = self.movie.manifests.load("latest").artefacts
        assert {key: bool(entry.outdated) for key, entry in artefacts.items()} == {
            key: one.outdated for key, one in held.items()
        }
        for key, entry in artefacts.items():
            if held[key].text not in self.reference.lost:
                assert self.movie.read(entry).decode() == held[key].text


def follow(steps: list[Step]) -> None:
    """Take a movie through a history."""
    with fast_folder() as folder, closing(Trial(folder)) as trial:
        for step in steps:
            trial.step(step)


@settings(max_examples=80, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large])
@given(histories())
def test_what_is_called_is_what_changed_in_value(steps: list[Step]) -> None:
    """Whatever was edited, reverted, forced, pinned, lost or broken before."""
    follow(steps)


PAIR = World((JobSpec("j0", "p0", "all", long=True), JobSpec("j1", "p1", "all")), {"a": 0, "b": 0, "doc": {}})


@pytest.mark.parametrize(
    "step",
    [Step(PAIR, broken=frozenset({"p0"}), allow_partial=True, lose=0), Step(PAIR, Choices(targets=["j1"]), lose=0)],
    ids=["that fails", "that is left out"],
)
def test_a_damaged_artefact_of_a_job_is_not_in_the_next_revision(step: Step) -> None:
    """A revision names nothing that is not there; the run after it makes it anew."""
    follow([Step(PAIR), step, Step(replace(PAIR, inputs={**PAIR.inputs, "a": 1}), step.choices), Step(PAIR)])


@settings(max_examples=30, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large])
@given(histories(most_steps=4, edits_only=True))
def test_going_back_calls_nothing(steps: list[Step]) -> None:
    """Every state that a movie was in once can be had again for nothing; on the way there, every cause is an edit."""
    with fast_folder() as folder, closing(Trial(folder)) as trial:
        for step in steps:
            before = trial.reference.published
            set_inputs(trial.movie, {"@blueprint": step.world.graph(), **step.world.inputs})
            check_edits(plan_movie(trial.movie), step.world, before)
            trial.step(step)
        for step in reversed(steps[:-1]):
            forecast = trial.reference.forecast(step.world, None, ())
            assert not forecast.calls
            trial.step(step)


@pytest.mark.long
@settings(max_examples=4_000, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large])
@given(histories())
def test_what_is_called_is_what_changed_in_value_in_thousands_of_histories(steps: list[Step]) -> None:
    """The same, for longer."""
    follow(steps)


@pytest.mark.long
@settings(max_examples=1_000, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large])
@given(histories(most_jobs=12, most_steps=10))
def test_what_is_called_is_what_changed_in_value_in_larger_worlds(steps: list[Step]) -> None:
    """The same with more jobs and longer histories."""
    follow(steps)
