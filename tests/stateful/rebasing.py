"""Whole runs against each other: each publishes its own inputs, on whatever the others have published meanwhile."""

from __future__ import annotations

import asyncio

from renku_store import InputConflictError, Job, JobContext, LeaseLostError, Produced, RunReport, run_movie, set_inputs
from renku_store.testing.interleaving import Machine, Scenario
from tests.stateful.protocols import LEASE_JUMPS, Ends, settled

BLUEPRINT = """
inputs: {a: {type: integer}, b: {type: integer}, c: {type: integer}}
producers:
  say: {run: test/say, inputs: {c: c}, outputs: {out: {mimeType: text/plain}}}
"""


async def produce(job: Job, context: JobContext) -> Produced:
    """The one call that the movie needs; it is made before the schedules begin."""
    return Produced({"out": "said"})


def one_run(machine: Machine) -> None:
    """A movie of one revision, made by a run."""
    movie = machine.open("author")
    set_inputs(movie, {"@blueprint": BLUEPRINT, "a": 0, "b": 0, "c": 0})
    asyncio.run(run_movie(movie, produce=produce))
    machine.timeline.pass_by(60.0)


def run_with_own_inputs(machine: Machine) -> Ends:
    """Two or three runs with private inputs: others, or the same one with other values."""
    reports: dict[str, RunReport] = {}
    conflicts: list[str] = []
    lost: list[str] = []
    names = machine.random.choice([("a", "b"), ("a", "b", "a"), ("a", "a")])

    def runner(number: int, name: str) -> None:
        actor = f"run{number}"
        movie = machine.open(actor)

        def work() -> None:
            loop = asyncio.new_event_loop()
            try:
                run = run_movie(movie, produce=produce, inputs={name: number + 1})
                reports[actor] = loop.run_until_complete(run)
            except InputConflictError as error:
                conflicts.append(actor)
                assert number + 1 in error.values[name]  # noqa: PT017 (there may be none)
            except LeaseLostError:
                lost.append(actor)
            finally:
                loop.close()

        machine.scheduler.spawn(actor, work)

    for number, name in enumerate(names):
        runner(number, name)

    def end() -> None:
        movie = settled(machine)
        newest = movie.manifests.load_current()[0]
        published = {int(actor.removeprefix("run")): report for actor, report in reports.items()}
        for number, report in published.items():
            assert report.revision is not None
            assert movie.manifests.load(report.revision).inputs[names[number]].value == number + 1
        assert len({report.revision for report in reports.values()}) == len(reports), "two share a revision"
        for name in set(names):
            wanted = {number + 1 for number in published if names[number] == name}
            assert not wanted or movie.value(newest.inputs[name]) != 0, f"the edit of {name} is lost"
        alive = len(names) - sum(what == "KILLED" for _, what, _ in machine.scheduler.trace)
        assert len(reports) + len(conflicts) + len(lost) >= alive
        assert not conflicts or len(set(names)) < len(names), "a conflict though everybody set another input"
        assert not lost or machine.timeline.jumped, "a lease was lost in no time"

    return end


REBASE = Scenario(
    "rebase", one_run, run_with_own_inputs, horizon=250, mortals=("run0", "run1"), kills=1, jumps=LEASE_JUMPS
)
