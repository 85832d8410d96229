"""The turns of each loop, made once for each place of the loops around it; as far as the lists are known.

A list in an artefact that is not known, or that decides nothing, has one turn that stands for all.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from msgspec import Struct

from renku_store import bounds
from renku_store.blueprint.document import ArtefactUse, Blueprint, InputUse, LoopSpec, ProducerSpec
from renku_store.blueprint.family import Family, job_name
from renku_store.blueprint.lists import ListProblem, Unusable, turns_over
from renku_store.blueprint.names import nearest
from renku_store.blueprint.places import Place
from renku_store.blueprint.references import Every, LoopVariable
from renku_store.blueprint.selecting import Lost, Turn, Turns, path_text, select
from renku_store.errors import BlueprintError
from renku_store.records._base import Json
from renku_store.records.graph import EVERY_LABEL, Awaited

Documents = Mapping[str, Json | Unusable]
"""The content of JSON artefacts by id, as far as it is known and final."""


class Known(Struct, frozen=True):
    """The content of an artefact that is known."""

    artefact: str
    document: Json


class Loops:
    """All loops of a blueprint. Producers whose artefacts decide about others must be among the `families` first."""

    def __init__(
        self, blueprint: Blueprint, inputs: Mapping[str, Json], documents: Documents, families: Mapping[str, Family]
    ) -> None:
        self._blueprint = blueprint
        self._inputs = inputs
        self._documents = documents
        self._families = families
        self._known: dict[tuple[str, ...], list[Turn]] = {}
        self._found: set[tuple[str, str | None]] = set()
        self._lost: dict[tuple[str, str | None], tuple[Lost, list[tuple[str, ...]]]] = {}
        self._jobs = 0
        self._made_jobs = 0
        self._too_many: dict[str, Awaited] = {}
        self._walked: dict[tuple[str, ...], tuple[list[tuple[Turn, ...]], list[dict[str, None]], list[str]]] = {}

    def is_made(self, spec: ProducerSpec) -> bool:
        """Whether artefacts decide which jobs a producer has."""
        return bool(spec.when_reads) or self._has_made_loops(spec)

    def _has_made_loops(self, spec: ProducerSpec) -> bool:
        return any(isinstance(self._blueprint.loops[loop].over, ArtefactUse) for loop in spec.loops)

    def prepare(self, spec: ProducerSpec) -> None:
        """Count a producer's jobs; raises `BlueprintError` beyond what is allowed.

        More than what lists in artefacts may ask for is their problem, not the blueprint's: then one place of the
        producer's loops stands for all.
        """
        before = self._jobs, self._made_jobs
        try:
            self._count(spec, {}, made=self._has_made_loops(spec))
        except _TooManyMadeError:
            self._jobs, self._made_jobs = before
            self._too_many[spec.name] = Awaited(
                artefacts=sorted(self._sources(spec)),
                problem=f"With {spec.name}, lists in artefacts ask for more than {bounds.JOBS_MADE_MAX:,} jobs.",
            )
            return
        for loop in spec.loops:
            self._close_lost(self._blueprint.loops[loop])

    def check_lost(self) -> None:
        """Refuse a loop whose list was nowhere: a missing list is a loop over nothing only where others have one."""
        for (name, source), (lost, _) in self._lost.items():
            if source is None and (name, None) not in self._found:
                over = self._blueprint.loops[name].over.text
                raise self._error(name, ListProblem(f"runs over {over}, which is not there.", lost.hint()))

    def walk(self, spec: ProducerSpec, labels: list[dict[str, None]]) -> Iterator[tuple[Turn, ...]]:
        """All places of a producer's loops, the last loop turning fastest; notes the labels it meets."""
        if spec.name in self._too_many:
            for present in labels:
                present[EVERY_LABEL] = None
            yield tuple(_all_turns(self._too_many[spec.name]) for _ in spec.loops)
            return
        yield from self._walk(spec, (), labels)

    def places(self, spec: ProducerSpec) -> tuple[list[tuple[Turn, ...]], list[dict[str, None]], list[str]]:
        """What `walk` gives of a producer that no artefacts decide about, the labels, and how the job ids end.

        Producers of the same loops are given the very same.
        """
        if spec.loops not in self._walked:
            labels: list[dict[str, None]] = [{} for _ in spec.loops]
            places = [*self.walk(spec, labels)]
            ends = [job_name("", tuple([turn.label for turn in turns])) for turns in places]
            self._walked[spec.loops] = places, labels, ends
        return self._walked[spec.loops]

    def document(self, use: ArtefactUse, turns: Turns, place: Place) -> Known | Awaited | None:
        """The content of an artefact, as far as it is known; None where `when` leaves its job out."""
        family = self._families[use.producer]
        labels = tuple(_label(index, turns) for index in use.indices)
        if labels in family.jobs:
            job = family.jobs[labels]
            return None if job is None else self._content(family, job, use)
        makers = family.agreeing(labels)
        if not makers:
            wrong = job_name(use.producer, labels)
            raise place.error(
                f"{use.text} decides which jobs there are, but there is no job {wrong}.", nearest(wrong, family.names())
            )
        return Awaited(artefacts=[f"{job}.{use.output}" for job in makers])

    def _content(self, family: Family, job: str, use: ArtefactUse) -> Known | Awaited:
        artefact = f"{job}.{use.output}"
        if job in family.awaited or artefact not in self._documents:
            return Awaited(artefacts=[artefact])
        document = self._documents[artefact]
        if isinstance(document, Unusable):
            return Awaited(artefacts=[artefact], problem=document.problem)
        return Known(artefact, document)

    def _walk(
        self, spec: ProducerSpec, places: tuple[Turn, ...], labels: list[dict[str, None]]
    ) -> Iterator[tuple[Turn, ...]]:
        if len(places) == len(spec.loops):
            yield places
            return
        loop = self._blueprint.loops[spec.loops[len(places)]]
        here = self._turns(loop, dict(zip(spec.loops, places, strict=False)))
        labels[len(places)].update(dict.fromkeys([turn.label for turn in here]))
        for turn in here:
            if len(places) + 1 == len(spec.loops):
                yield (*places, turn)
            else:
                yield from self._walk(spec, (*places, turn), labels)

    def _count(self, spec: ProducerSpec, outer: Turns, *, made: bool) -> None:
        """Turns of outer loops count too, so that loops over nothing inside of large loops end soon."""
        if len(outer) == len(spec.loops):
            self._add(1, spec, made=made)
            return
        loop = self._blueprint.loops[spec.loops[len(outer)]]
        here = self._turns(loop, outer)
        self._add(len(here), spec, made=made)
        if len(outer) + 1 < len(spec.loops):
            for turn in here:
                self._count(spec, {**outer, loop.name: turn}, made=made)

    def _add(self, count: int, spec: ProducerSpec, *, made: bool) -> None:
        self._jobs += count
        self._made_jobs += count if made else 0
        if self._made_jobs > bounds.JOBS_MADE_MAX:
            raise _TooManyMadeError
        if self._jobs > bounds.JOBS_MAX:
            raise self._blueprint.place("producers", spec.name, "for").error(
                f"With {spec.name} the blueprint has more than {bounds.JOBS_MAX} jobs.", "Look at its loops."
            )

    def _turns(self, loop: LoopSpec, turns: Turns) -> list[Turn]:
        known = (loop.name, *(turns[outer].label for outer in loop.outer))
        if known not in self._known:
            self._known[known] = self._make(loop, turns, known)
        return self._known[known]

    def _make(self, loop: LoopSpec, turns: Turns, known: tuple[str, ...]) -> list[Turn]:
        unknown = next((turns[outer].awaits for outer in loop.outer if turns[outer].awaits is not None), None)
        if isinstance(loop.over, InputUse):
            if unknown is not None:
                return [_all_turns(Awaited(artefacts=unknown.artefacts))]
            if loop.over.id not in self._inputs:
                return []
            return self._over(loop, loop.over.id, self._inputs[loop.over.id], turns, known, source=None)
        found = self.document(loop.over, turns, self._blueprint.place("loops", loop.name, "over"))
        if found is None:
            return []
        if isinstance(found, Known) and unknown is None:
            return self._over(loop, found.artefact, found.document, turns, known, source=found.artefact)
        more = found.artefacts if isinstance(found, Awaited) else [found.artefact]
        problem = found.problem if isinstance(found, Awaited) else None
        before = unknown.artefacts if unknown is not None else []
        return [_all_turns(Awaited(artefacts=list(dict.fromkeys([*before, *more])), problem=problem))]

    def _over(
        self, loop: LoopSpec, root: str, value: Json, turns: Turns, known: tuple[str, ...], *, source: str | None
    ) -> list[Turn]:
        selected = select(value, loop.over.steps, turns)
        if isinstance(selected, Lost):
            self._lost.setdefault((loop.name, source), (selected, []))[1].append(known)
            return []
        self._found.add((loop.name, source))
        try:
            return turns_over(loop, selected.value, path_text(root, selected.path), source)
        except ListProblem as problem:
            if source is None:
                raise self._error(loop.name, problem) from None
            return [self._unusable(loop, source, problem)]

    def _close_lost(self, loop: LoopSpec) -> None:
        """A list that an artefact has nowhere is its problem; one that it has in places is empty in the others."""
        for (name, source), (lost, places) in self._lost.items():
            if name == loop.name and source is not None and (name, source) not in self._found:
                problem = ListProblem(f"runs over {loop.over.text}, which is not in {source}.", lost.hint())
                for known in places:
                    self._known[known] = [self._unusable(loop, source, problem)]

    def _unusable(self, loop: LoopSpec, source: str, problem: ListProblem) -> Turn:
        told = f"The loop {loop.name} {problem.problem} {problem.hint}".strip()
        return _all_turns(Awaited(artefacts=[source], problem=told))

    def _sources(self, spec: ProducerSpec) -> set[str]:
        turns = (turn for known, found in self._known.items() if known[0] in spec.loops for turn in found[:1])
        return {turn.source for turn in turns if turn.source is not None}

    def _error(self, loop: str, problem: ListProblem) -> BlueprintError:
        return self._blueprint.place("loops", loop, "over").error(f"loop {loop} {problem.problem}", problem.hint)


class _TooManyMadeError(Exception):
    """Lists in artefacts ask for more jobs than they may."""


def _all_turns(awaits: Awaited) -> Turn:
    return Turn(0, None, EVERY_LABEL, awaits=awaits)


def _label(index: str | LoopVariable | Every, turns: Turns) -> str:
    match index:
        case LoopVariable(name):
            return turns[name].label
        case Every():
            return EVERY_LABEL
        case _:
            return index
