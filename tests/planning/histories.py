"""Random worlds, and random histories of what people do to them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Final, Literal, get_args

from hypothesis import strategies as st

from renku_store import Choices
from renku_store.records._base import Json
from tests.planning.worlds import Behaviour, JobSpec, Place, Read, World

INPUTS: Final = ("a", "b", "doc")
_BEHAVIOURS: Final[Sequence[Behaviour]] = get_args(Behaviour)
_INSIDE: Final[Sequence[tuple[str | int, ...]]] = (("x",), ("y", 0), ("y", 1, "z"), ("y", 7), ("nothing",))
_SMALL: Final = st.integers(0, 2)
_VALUES: Final[dict[str, st.SearchStrategy[Json]]] = {
    "a": _SMALL,
    "b": _SMALL,
    "doc": st.fixed_dictionaries(
        {}, optional={"x": _SMALL, "y": st.tuples(_SMALL, st.fixed_dictionaries({"z": _SMALL})).map(list)}
    ),
}


@dataclass(frozen=True)
class Step:
    """A person changes the world to this, perhaps something breaks, and then it is run."""

    world: World
    choices: Choices | None = None
    broken: frozenset[str] = frozenset()
    allow_partial: bool = False
    concurrency: int = 2
    stop_after: int | None = None
    lose: int | None = None
    before: Literal["nothing", "abandon", "rebuild"] = "nothing"


@st.composite
def jobs(draw: st.DrawFn, number: int, before: Sequence[JobSpec]) -> JobSpec:
    """A job that reads inputs and what jobs before it make; its producer may be that of another job."""
    spec = JobSpec(
        name=f"j{number}",
        producer=draw(st.sampled_from([f"p{number}", f"p{number}", "shared"])),
        behaviour=draw(st.sampled_from(_BEHAVIOURS)),
        long=draw(st.booleans()),
    )
    return replace(spec, reads=draw(_reads(before)), after=draw(_waits(before)))


def _waits(before: Sequence[JobSpec]) -> st.SearchStrategy[tuple[str, ...]]:
    names = [job.name for job in before]
    return st.just(()) if not names else st.one_of(st.just(()), st.just(()), st.sampled_from(names).map(lambda n: (n,)))


@st.composite
def _reads(draw: st.DrawFn, before: Sequence[JobSpec]) -> tuple[Read, ...]:
    reads = []
    for number in range(draw(st.integers(0, 3))):
        fan_in = draw(st.integers(0, 3)) == 0
        places = draw(st.lists(_places(before), max_size=3)) if fan_in else [draw(_places(before).filter(bool))]
        reads.append(Read(f"r{number}", tuple(places), fan_in))
    return tuple(reads)


def _places(before: Sequence[JobSpec]) -> st.SearchStrategy[Place | None]:
    of_inputs = st.builds(
        Place, st.just("input"), st.sampled_from(INPUTS), st.one_of(st.just(()), st.sampled_from(_INSIDE))
    )
    if not before:
        return st.one_of(of_inputs, st.none())
    made = [job.artefact(name) for job in before for name in job.outputs]
    whole = st.builds(Place, st.just("artefact"), st.sampled_from(made))
    inside = st.builds(
        Place, st.just("artefact"), st.sampled_from([f"{job.name}.out" for job in before]), st.sampled_from(_INSIDE)
    )
    return st.one_of(whole, inside, whole, inside, of_inputs, st.none())


@st.composite
def worlds(draw: st.DrawFn, most: int = 7) -> World:
    """Two jobs or more, each reading from those before."""
    made: list[JobSpec] = []
    for number in range(draw(st.integers(2, most))):
        made.append(draw(jobs(number, made)))
    return World(tuple(made), {key: draw(values) for key, values in _VALUES.items()})


@st.composite
def histories(draw: st.DrawFn, most_jobs: int = 7, most_steps: int = 6, *, edits_only: bool = False) -> list[Step]:
    """A first run, and what people do after it: edits, reverts, and, if they may, failures, choices and damage."""
    world = draw(worlds(most_jobs))
    steps = [Step(world) if edits_only else Step(world, broken=draw(_broken(world)))]
    past = [world]
    for _ in range(draw(st.integers(1, most_steps))):
        kind = draw(st.sampled_from(["edit", "edit", "edit", "job", "job", "revert", "nothing"]))
        match kind:
            case "edit":
                key = draw(st.sampled_from(INPUTS))
                world = replace(world, inputs={**world.inputs, key: draw(_VALUES[key])})
            case "job":
                world = draw(_other_jobs(world))
            case "revert":
                world = draw(st.sampled_from(past))
        past.append(world)
        steps.append(Step(world) if edits_only else draw(_steps(world)))
    return steps


def _steps(world: World) -> st.SearchStrategy[Step]:
    seldom = st.one_of(st.none(), st.none(), st.none(), st.integers(0, 9))
    return st.builds(
        Step,
        st.just(world),
        choices=_choices(world),
        broken=_broken(world),
        allow_partial=st.booleans(),
        concurrency=st.integers(1, 3),
        stop_after=seldom.map(lambda number: number and min(number, 4)),
        lose=seldom,
        before=st.sampled_from(["nothing", "nothing", "nothing", "abandon", "rebuild"]),
    )


@st.composite
def _other_jobs(draw: st.DrawFn, world: World) -> World:
    """The same with one job changed, added or taken away."""
    specs = list(world.jobs)
    place = draw(st.integers(0, len(specs) - 1))
    spec = specs[place]
    match draw(st.sampled_from(["salt", "version", "reads", "behaviour", "add", "remove"])):
        case "salt":
            specs[place] = replace(spec, salt=draw(_SMALL))
        case "version":
            specs[place] = replace(spec, version=draw(st.sampled_from(["1", "2"])))
        case "reads":
            specs[place] = replace(spec, reads=draw(_reads(specs[:place])))
        case "behaviour":
            specs[place] = replace(spec, behaviour=draw(st.sampled_from(_BEHAVIOURS)))
        case "add":
            number = 1 + max(int(job.name[1:]) for job in specs)
            specs.append(draw(jobs(number, specs)))
        case _:
            if len(specs) > 2:
                specs.pop()  # the last one: nobody reads it
    return replace(world, jobs=tuple(specs))


def _broken(world: World) -> st.SearchStrategy[frozenset[str]]:
    some = st.frozensets(st.sampled_from([job.producer for job in world.jobs]), max_size=2)
    return st.one_of(st.just(frozenset()), st.just(frozenset()), some)


@st.composite
def _choices(draw: st.DrawFn, world: World) -> Choices | None:
    if draw(st.integers(0, 2)):
        return None
    names = st.sampled_from([name for job in world.jobs for name in (job.name, job.producer, job.artefact("out"))])
    few = st.lists(names, max_size=2, unique=True)
    none: st.SearchStrategy[list[str]] = st.just([])
    return Choices(
        targets=draw(st.one_of(none, few)),
        regen=draw(st.one_of(none, few)),
        pin=draw(st.one_of(none, few)),
        up_to_layer=draw(st.one_of(st.none(), st.none(), st.integers(0, 2))),
    )
