"""Loops and `when` to jobs: which there are, which there would be, and what they are called.

The number of jobs is known, and bounded, before any is made; time and memory are linear in jobs.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from renku_store import bounds
from renku_store.blueprint.document import Blueprint, LoopSpec, ProducerSpec
from renku_store.blueprint.expressions import Expression, evaluate
from renku_store.blueprint.names import nearest
from renku_store.blueprint.places import describe, shown
from renku_store.blueprint.references import ReferenceText
from renku_store.blueprint.selecting import Found, Lost, Turn, Turns, path_text, select
from renku_store.errors import BlueprintError, InvalidIdError
from renku_store.records._base import Json
from renku_store.records.ids import check_id


@dataclass(slots=True)
class Family:
    """The jobs of one producer.

    `members` are those that are there, with their turns; `jobs` has every place of the loops, by labels, and None where
    `when` says no; `labels` has, for each loop, the labels that occur.
    """

    spec: ProducerSpec
    members: list[tuple[str, tuple[Turn, ...]]] = field(default_factory=list[tuple[str, tuple[Turn, ...]]])
    jobs: dict[tuple[str, ...], str | None] = field(default_factory=dict[tuple[str, ...], str | None])
    labels: list[set[str]] = field(default_factory=list[set[str]])

    def turns(self, places: tuple[Turn, ...]) -> Turns:
        """The turns by the names of their loops."""
        return dict(zip(self.spec.loops, places, strict=True))

    def names(self) -> Iterator[str]:
        """The job ids of all places, also of those where `when` says no."""
        return (job_name(self.spec.name, labels) for labels in self.jobs)


def job_name(producer: str, labels: tuple[str, ...]) -> str:
    """`picture[2][0]`."""
    return producer + "".join(f"[{label}]" for label in labels)


def make_families(blueprint: Blueprint, inputs: Mapping[str, Json]) -> dict[str, Family]:
    """The jobs of each producer, in the blueprint's order; raises `BlueprintError`."""
    loops = _Loops(blueprint, inputs)
    for spec in blueprint.producers.values():
        loops.count(spec)
    loops.check_lost()
    return {name: _family(spec, loops, blueprint, inputs) for name, spec in blueprint.producers.items()}


def _family(spec: ProducerSpec, loops: _Loops, blueprint: Blueprint, inputs: Mapping[str, Json]) -> Family:
    family = Family(spec, labels=[set() for _ in spec.loops])
    longest = max(len(output.name) for output in spec.outputs)
    for places in loops.walk(spec, (), family.labels):
        labels = tuple(turn.label for turn in places)
        job_id = job_name(spec.name, labels)
        if len(job_id.encode()) + len(".") + longest > bounds.ID_MAX_BYTES:
            raise blueprint.place("producers", spec.name).error(
                f"The artefact ids of the job {shown(job_id)} are longer than {bounds.ID_MAX_BYTES} bytes.",
                "Use shorter names or keys.",
            )
        is_there = spec.when is None or _holds(spec.when, inputs, family.turns(places))
        family.jobs[labels] = job_id if is_there else None
        if is_there:
            family.members.append((job_id, places))
    return family


def _holds(condition: Expression, inputs: Mapping[str, Json], turns: Turns) -> bool:
    """Whether a `when` holds in these turns."""

    def look_up(reference: ReferenceText) -> Json:
        if reference.root in turns:
            return turns[reference.root].value
        selected = select(inputs.get(reference.root), reference.steps, turns)
        return selected.value if isinstance(selected, Found) else None

    return bool(evaluate(condition, look_up))


class _Loops:
    """The turns of each loop, made once for each place of the loops around it."""

    def __init__(self, blueprint: Blueprint, inputs: Mapping[str, Json]) -> None:
        self._blueprint = blueprint
        self._inputs = inputs
        self._known: dict[tuple[str, ...], list[Turn]] = {}
        self._found: set[str] = set()
        self._lost: dict[str, Lost] = {}
        self._jobs = 0

    def count(self, spec: ProducerSpec, turns: Turns | None = None) -> None:
        """Add a producer's jobs to the number of jobs; raises `BlueprintError` beyond what is allowed.

        Turns of outer loops count too, so that loops over nothing inside of large loops end soon.
        """
        outer = turns or {}
        if len(outer) == len(spec.loops):
            self._add(1, spec)
            return
        loop = self._blueprint.loops[spec.loops[len(outer)]]
        here = self._turns(loop, outer)
        self._add(len(here), spec)
        if len(outer) + 1 < len(spec.loops):
            for turn in here:
                self.count(spec, {**outer, loop.name: turn})

    def check_lost(self) -> None:
        """Refuse a loop whose list was nowhere: a missing list is a loop over nothing only where others have one."""
        for name, lost in self._lost.items():
            if name not in self._found:
                over = self._blueprint.loops[name].over.text
                raise self._error(name, f"runs over {over}, which is not there.", lost.hint())

    def walk(self, spec: ProducerSpec, places: tuple[Turn, ...], labels: list[set[str]]) -> Iterator[tuple[Turn, ...]]:
        """All places of a producer's loops from these on, the last loop turning fastest; notes the labels it meets."""
        if len(places) == len(spec.loops):
            yield places
            return
        loop = self._blueprint.loops[spec.loops[len(places)]]
        for turn in self._turns(loop, dict(zip(spec.loops, places, strict=False))):
            labels[len(places)].add(turn.label)
            yield from self.walk(spec, (*places, turn), labels)

    def _add(self, count: int, spec: ProducerSpec) -> None:
        self._jobs += count
        if self._jobs > bounds.JOBS_MAX:
            raise self._blueprint.place("producers", spec.name, "for").error(
                f"With {spec.name} the blueprint has more than {bounds.JOBS_MAX} jobs.", "Look at its loops."
            )

    def _turns(self, loop: LoopSpec, turns: Turns) -> list[Turn]:
        known = (loop.name, *(turns[outer].label for outer in loop.outer))
        if known not in self._known:
            self._known[known] = self._make(loop, turns)
        return self._known[known]

    def _make(self, loop: LoopSpec, turns: Turns) -> list[Turn]:
        if loop.over.id not in self._inputs:
            return []
        selected = select(self._inputs[loop.over.id], loop.over.steps, turns)
        if isinstance(selected, Lost):
            self._lost.setdefault(loop.name, selected)
            return []
        self._found.add(loop.name)
        text = path_text(loop.over.id, selected.path)
        if not isinstance(selected.value, list):
            raise self._error(loop.name, f"runs over {text}, which must be a list, not {describe(selected.value)}.")
        if loop.key is None:
            return [Turn(position, None, str(position)) for position in range(len(selected.value))]
        return self._keyed(loop, loop.key, selected.value, text)

    def _keyed(self, loop: LoopSpec, name: str, elements: list[Json], text: str) -> list[Turn]:
        turns: dict[str, Turn] = {}
        for position, element in enumerate(elements):
            key = element.get(name) if isinstance(element, dict) else None
            if isinstance(key, bool) or not isinstance(key, str | int):
                found = "is not there" if key is None else f"is {describe(key)}"
                hint = nearest(name, element) if isinstance(element, dict) and name not in element else ""
                raise self._error(loop.name, f"needs a key, but {text}[{position}].{name} {found}.", hint)
            label = self._label(loop, key, f"{text}[{position}].{name}")
            if label in turns:
                first = turns[label].position
                raise self._error(
                    loop.name,
                    f"needs different keys, but {text}[{first}].{name} and {text}[{position}].{name} are both {label}.",
                    "Keys name jobs; change one of them.",
                )
            turns[label] = Turn(position, key, label)
        return list(turns.values())

    def _label(self, loop: LoopSpec, key: str | int, text: str) -> str:
        label = str(key)
        try:
            check_id("job", label)
        except InvalidIdError as error:
            raise self._error(loop.name, f"cannot use the key {text}. {error.message}", error.hint) from None
        if "[" in label or "]" in label:
            raise self._error(loop.name, f"cannot use the key {shown(label)}, {text}.", "Leave out the brackets.")
        return label

    def _error(self, loop: str, problem: str, hint: str = "") -> BlueprintError:
        return self._blueprint.place("loops", loop, "over").error(f"loop {loop} {problem}", hint)
