"""Scenarios under many schedules: each from a seed, each replayable, the first that breaks something told in full."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Final

from renku_store.testing.interleaving.machine import Machine, Snapshot
from renku_store.testing.interleaving.promises import watch

_TOLD_STEPS: Final = 400
"""Of a long schedule, the steps at its end that are printed."""


@dataclass(frozen=True, slots=True)
class Scenario:
    """What several processes do at once.

    `prepare` brings the movie to where every schedule begins; it runs once, alone. `start` adds the actors to
    `machine.scheduler`, and gives what is to be asked at the end, when everybody has ended. Up to `kills` times one of
    `mortals` is killed at a random step, and up to `jumps_max` times the time of day makes one of `jumps` (seconds).
    `horizon` is about how many steps a schedule has: kills, jumps and changes of priority fall within it.
    """

    name: str
    prepare: Callable[[Machine], None]
    start: Callable[[Machine], Callable[[], None]]
    horizon: int
    mortals: Sequence[str] = ()
    kills: int = 0
    jumps: Sequence[float] = ()
    jumps_max: int = 2


@dataclass(slots=True)
class Exploration:
    """What was seen: `schedules`, their `steps`, how many different ones, and the kills that struck someone."""

    schedules: int = 0
    steps: int = 0
    kills: int = 0
    distinct: int = 0


class ScheduleError(AssertionError):
    """A schedule broke a promise: which `scenario` and `seed`, and the `trace` of (actor, step, about) up to there."""

    def __init__(self, scenario: str, seed: int, trace: Sequence[tuple[str, str, str]], error: BaseException) -> None:
        steps = [f"{place:5d}  {actor:<12} {what} {about}" for place, (actor, what, about) in enumerate(trace)]
        told = "\n".join(steps[-_TOLD_STEPS:])
        super().__init__(
            f"{scenario}, seed {seed}: {type(error).__name__}: {error}\n{told}\n"
            f"Again: RENKU_SCHEDULE_SEED={seed} pytest -k {scenario}"
        )
        self.scenario = scenario
        self.seed = seed
        self.trace = list(trace)


def prepared(machine: Machine, scenario: Scenario) -> Snapshot:
    """The state at which every schedule of a scenario begins."""
    machine.begin(0, 1)
    scenario.prepare(machine)
    return machine.snapshot()


def replay(machine: Machine, scenario: Scenario, seed: int, snapshot: Snapshot) -> list[tuple[str, str, str]]:
    """Run the schedule of a seed; its trace, or `ScheduleError` if it breaks something."""
    machine.begin(seed, scenario.horizon, snapshot)
    scheduler = machine.scheduler
    try:
        watch(machine)
        at_the_end = scenario.start(machine)
        _disturb(machine, scenario)
        scheduler.run()
        at_the_end()
    except Exception as error:
        raise ScheduleError(scenario.name, seed, scheduler.trace, error) from error
    finally:
        machine.end()
    return scheduler.trace


def explore(
    machine: Machine, scenario: Scenario, seeds: Sequence[int], snapshot: Snapshot | None = None
) -> Exploration:
    """Run a scenario under the schedules of these seeds, from `snapshot` (None: as the scenario prepares it).

    Raises `ScheduleError` for the first that breaks something.
    """
    snapshot = snapshot or prepared(machine, scenario)
    seen: set[int] = set()
    found = Exploration()
    for seed in seeds:
        trace = replay(machine, scenario, seed, snapshot)
        seen.add(hash(tuple(trace)))
        found.schedules += 1
        found.steps += len(trace)
        found.kills += sum(what == "KILLED" for _, what, _ in trace)
    found.distinct = len(seen)
    return found


def _disturb(machine: Machine, scenario: Scenario) -> None:
    random, scheduler = machine.random, machine.scheduler
    if scenario.kills and random.random() < 0.5:
        for _ in range(random.randint(1, scenario.kills)):
            scheduler.disturb(partial(scheduler.kill, random.choice(scenario.mortals)))
    if scenario.jumps and random.random() < 0.5:
        for _ in range(random.randint(1, scenario.jumps_max)):
            scheduler.disturb(partial(machine.jump, random.choice(scenario.jumps)))
