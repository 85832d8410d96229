"""References of jobs: uses of inputs and artefacts, with the loops' places filled in, become references of the graph.

A job that `when` leaves out is a null place in a fan-in and a missing input elsewhere. What is found for no job of a
producer at all is a mistake in the blueprint; what is found for some is missing for the others, and so is a job that a
list in an artefact does not ask for. A placeholder reads what the jobs may read for which it stands, as far as known.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from itertools import takewhile
from typing import Final

from msgspec import Struct, field

from renku_store import bounds
from renku_store.blueprint.document import ArtefactUse, Blueprint, InputUse
from renku_store.blueprint.family import Family, agree, job_name
from renku_store.blueprint.names import nearest
from renku_store.blueprint.places import Place
from renku_store.blueprint.references import Every, Key, LoopVariable
from renku_store.blueprint.selecting import Lost, Turns, fixed_path, known_steps, select
from renku_store.records._base import Json
from renku_store.records.columns import Column, Each, FromInput, FromJobs, Made, Same, of_artefact, of_input
from renku_store.records.graph import EVERY_LABEL, GraphInput, Reference

_Labels = tuple[str | None, ...]

# Their ids and paths are made of names and values that have been checked.
_WHOLE: Final[list[str | int]] = []


class _Luck(Struct):
    """Whether an input of a producer was found for any of its jobs, and if not, what was missed first."""

    found: bool = False
    missed: tuple[str, str] | None = None


class Resolver(Struct):
    """Makes the inputs of jobs, one producer after the other."""

    blueprint: Blueprint
    inputs: Mapping[str, Json]
    families: Mapping[str, Family]
    _groups: dict[tuple[str, tuple[bool, ...]], dict[tuple[str, ...], list[str | None]]] = field(default_factory=dict)
    _open: dict[tuple[str, tuple[bool, ...]], list[tuple[str, ...]]] = field(default_factory=dict)
    _known_positions: dict[str, dict[str, int]] = field(default_factory=dict)
    _fan_ins: dict[tuple[object, ...], list[Reference | None]] = field(default_factory=dict)
    _luck: dict[tuple[str, str], _Luck] = field(default_factory=dict)
    _loop_positions: dict[tuple[int, int], Sequence[int]] = field(default_factory=dict)
    _own_lists: dict[tuple[object, ...], frozenset[int]] = field(default_factory=dict)
    _count: int = 0

    def columns_of(self, family: Family) -> list[Column]:
        """What the jobs of a producer read; missing inputs are left out. Raises `BlueprintError`."""
        uses = family.spec.inputs.items() if family.job_ids else ()
        columns = (self._column(family, name, use) for name, use in uses)
        return [column for column in columns if column is not None]

    def _column(self, family: Family, name: str, use: InputUse | ArtefactUse) -> Column | None:
        if not use.varies:
            entry = self._entry(family, name, use, family.turns(family.places[0]))
            return None if entry is None else Same(entry)
        if not family.awaited and (column := self._simple(family, name, use)) is not None:
            self._luck.setdefault((family.spec.name, name), _Luck()).found = True
            return column
        return Each(name, [self._entry(family, name, use, family.turns(places)) for places in family.places])

    def _simple(self, family: Family, name: str, use: InputUse | ArtefactUse) -> Column | None:
        """The column of an input that each job has, in the same form; None where there is none."""
        if isinstance(use, ArtefactUse):
            return self._from_jobs(family, name, use)
        if use.id not in self.inputs:
            return None
        steps = [step for step in use.steps if isinstance(step, LoopVariable)]
        if len(steps) > 1:
            return None
        before, after = use.steps[: use.steps.index(steps[0])], use.steps[use.steps.index(steps[0]) + 1 :]
        around = select(self.inputs[use.id], before, {})
        if isinstance(around, Lost) or not isinstance(around.value, list):
            return None
        if not all(isinstance(step, Key) for step in after):
            return None
        ends = [step.text for step in after if isinstance(step, Key)]
        positions = self._turned(family, family.spec.loops.index(steps[0].name))
        if max(positions) >= len(around.value) or not _have(map(around.value.__getitem__, {*positions}), ends):
            return None
        return FromInput(name, use.id, around.path, positions, ends)

    def _turned(self, family: Family, loop: int) -> Sequence[int]:
        """Which turn of a loop each job is in; shared by the producers that share their places."""
        known = id(family.places), loop
        if known not in self._loop_positions:
            found = [places[loop].position for places in family.places]
            plain = range(len(found))
            self._loop_positions[known] = plain if found == [*plain] else found
        return self._loop_positions[known]

    def _from_jobs(self, family: Family, name: str, use: ArtefactUse) -> Column | None:
        maker = self.families[use.producer]
        if use.is_fan_in or use.steps:
            return None
        loops = tuple(getattr(index, "name", None) for index in use.indices)
        if family.spec.loops == maker.spec.loops == loops and family.in_step(maker):
            start = self._start(use.producer)
            return FromJobs(name, Made(maker.job_ids, use.output), range(start, start + len(maker.job_ids)))
        found = [maker.jobs.get(self._place(use, family.turns(places))) for places in family.places]
        jobs = [job for job in found if job is not None]
        if len(jobs) < len(found):
            return None
        makers = self._positions(use.producer)
        return FromJobs(name, [f"{job}.{use.output}" for job in jobs], [makers[job] for job in jobs])

    def _place(self, use: ArtefactUse, turns: Turns) -> tuple[str, ...]:
        return tuple([EVERY_LABEL if label is None else label for label in _labels(use, turns)])

    def _positions(self, producer: str) -> Mapping[str, int]:
        """The positions in the graph of a producer's jobs."""
        if producer not in self._known_positions:
            jobs = self.families[producer].job_ids
            self._known_positions[producer] = {job: place for place, job in enumerate(jobs, self._start(producer))}
        return self._known_positions[producer]

    def _start(self, producer: str) -> int:
        """The position of a producer's first job."""
        before = takewhile(lambda name: name != producer, self.families)
        return sum(len(self.families[name].job_ids) for name in before)

    def _entry(self, family: Family, name: str, use: InputUse | ArtefactUse, turns: Turns) -> GraphInput | None:
        if isinstance(use, ArtefactUse) and use.is_fan_in:
            place = self.blueprint.place("producers", family.spec.name, "inputs", name)
            return GraphInput(name=name, refs=self._fan_in(use, turns, place))
        luck = self._luck.get((family.spec.name, name))
        if luck is None:
            luck = self._luck[family.spec.name, name] = _Luck()
        if isinstance(use, InputUse):
            reference = self._input(use, turns, luck)
            return None if reference is None else GraphInput(name=name, ref=reference)
        found = self._artefacts(use, turns, luck)
        if len(found) == 1:
            return GraphInput(name=name, ref=found[0])
        return GraphInput(name=name, refs=[*found]) if found else None

    def check_found(self) -> None:
        """Refuse inputs that were found for no job: misspelt keys and positions beyond the end."""
        for (producer, name), luck in self._luck.items():
            if luck.missed and not luck.found:
                message, hint = luck.missed
                place = self.blueprint.place("producers", producer, "inputs", name)
                raise place.error(f"{producer} reads {message}", hint)

    def artefact(self, use: ArtefactUse, reader: str, place: Place) -> str | None:
        """The id of one artefact that is named without loops; None where `when` leaves its job out."""
        luck = _Luck()
        found = self._artefacts(use, {}, luck)
        if luck.missed:
            raise place.error(f"{reader} names {luck.missed[0]}", luck.missed[1])
        return found[0].id if found else None

    def _input(self, use: InputUse, turns: Turns, luck: _Luck) -> Reference | None:
        if use.id not in self.inputs:
            return None
        selected = select(self.inputs[use.id], known_steps(use.steps, turns), turns)
        if isinstance(selected, Lost):
            hint = f"{selected.hint()} A value that may be missing everywhere is given as null."
            luck.missed = luck.missed or (f"{use.text}, which is nowhere in the input {use.id}.", hint)
            return None
        luck.found = True
        return of_input(use.id, selected.path)

    def _artefacts(self, use: ArtefactUse, turns: Turns, luck: _Luck) -> list[Reference]:
        """The artefact that is meant; several only where a placeholder may come to mean any of them."""
        family = self.families[use.producer]
        labels = self._place(use, turns)
        if labels in family.jobs:
            luck.found = True
            job = family.jobs[labels]
            return [] if job is None else [self._reference(job, use, turns)]
        may_be = family.agreeing(labels)
        if may_be or family.is_made:  # nobody knew how long the list would be
            luck.found = True
            return [self._reference(job, use, turns) for job in may_be]
        wrong = job_name(use.producer, labels)
        luck.missed = luck.missed or (f"{use.text}, but there is no job {wrong}.", nearest(wrong, family.names()))
        return []

    def _reference(self, job: str, use: ArtefactUse, turns: Turns) -> Reference:
        if not use.steps:
            return of_artefact(f"{job}.{use.output}", _WHOLE)
        return of_artefact(f"{job}.{use.output}", fixed_path(use.steps, turns, self._lists(use)))

    def _lists(self, use: ArtefactUse) -> frozenset[int]:
        """The places in the steps of a use where a loop stands that runs over what the steps before select."""
        known = (use.producer, use.output, use.steps)
        if known not in self._own_lists:
            overs = ((place, step.name) for place, step in enumerate(use.steps) if isinstance(step, LoopVariable))
            self._own_lists[known] = frozenset(place for place, name in overs if self._runs_over(name, use, place))
        return self._own_lists[known]

    def _runs_over(self, loop: str, use: ArtefactUse, place: int) -> bool:
        over = self.blueprint.loops[loop].over
        return isinstance(over, ArtefactUse) and (over.producer, over.output, over.steps) == (
            use.producer,
            use.output,
            use.steps[:place],
        )

    def _fan_in(self, use: ArtefactUse, turns: Turns, place: Place) -> list[Reference | None]:
        labels = _labels(use, turns)
        path = fixed_path(use.steps, turns, self._lists(use))
        group = self._group(use.producer, labels)
        self._add(len(group), place)
        known = (use.producer, use.output, labels, tuple(path))
        if known not in self._fan_ins:
            self._check_labels(use, labels, place)
            self._fan_ins[known] = [None if job is None else of_artefact(f"{job}.{use.output}", path) for job in group]
        return self._fan_ins[known]

    def _check_labels(self, use: ArtefactUse, labels: _Labels, place: Place) -> None:
        """Refuse a written label that no turn of its loop has, such as the 9 of picture[9][*]."""
        family = self.families[use.producer]
        if family.is_made:
            return
        for index, label, loop, present in zip(use.indices, labels, family.spec.loops, family.labels, strict=True):
            if family.jobs and isinstance(index, str) and label not in present:
                raise place.error(
                    f"{use.text} names {index}, but the loop {loop} has no such turn.", nearest(index, present)
                )

    def _group(self, producer: str, labels: _Labels) -> list[str | None]:
        """The jobs with these labels, in loop order; all groups of one kind are made in one pass over the jobs.

        Those that may come to have them once their own labels are known come last.
        """
        fixed = tuple(label is not None for label in labels)
        if (producer, fixed) not in self._groups:
            groups: dict[tuple[str, ...], list[str | None]] = {}
            for own, job in self.families[producer].jobs.items():
                key = tuple(label for label, is_fixed in zip(own, fixed, strict=True) if is_fixed)
                groups.setdefault(key, []).append(job)
            self._groups[producer, fixed] = groups
            self._open[producer, fixed] = [key for key in groups if EVERY_LABEL in key]
        groups = self._groups[producer, fixed]
        wanted = tuple(label for label in labels if label is not None)
        unsure = groups if EVERY_LABEL in wanted else self._open[producer, fixed]
        may_be = [job for key in unsure if key != wanted and agree(key, wanted) for job in groups[key]]
        return [*groups.get(wanted, []), *may_be] if may_be else groups.get(wanted, [])

    def _add(self, count: int, place: Place) -> None:
        self._count += count
        if self._count > bounds.GRAPH_FAN_IN_MAX:
            raise place.error(
                f"The jobs read more than {bounds.GRAPH_FAN_IN_MAX} artefacts through fan-ins.",
                "Do not read all jobs of a large loop from each job of another.",
            )


def _have(values: Iterable[Json], keys: Iterable[str]) -> bool:
    """Whether a path of keys leads into each of these values."""
    for key in keys:
        found: list[Json] = []
        for value in values:
            if not isinstance(value, dict) or key not in value:
                return False
            found.append(value[key])
        values = found
    return True


def _labels(use: ArtefactUse, turns: Turns) -> _Labels:
    return tuple(
        [
            turns[index.name].label if isinstance(index, LoopVariable) else None if isinstance(index, Every) else index
            for index in use.indices
        ]
    )
