"""Loops and `when` to jobs: which there are, which there would be, and what they are called.

The number of a producer's jobs is known, and bounded, before any of them is made; time and memory are linear in jobs.
What is not known yet, because it is decided by artefacts that are not made, has placeholders.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from renku_store import bounds
from renku_store.blueprint.decisions import deciding_order
from renku_store.blueprint.document import Blueprint, ProducerSpec
from renku_store.blueprint.expressions import evaluate, references
from renku_store.blueprint.family import Family, Labels, job_name
from renku_store.blueprint.places import shown
from renku_store.blueprint.references import ReferenceText
from renku_store.blueprint.selecting import Found, Turn, Turns, select
from renku_store.blueprint.turning import Documents, Known, Loops
from renku_store.records._base import Json
from renku_store.records.graph import Awaited

_UTF8_MAX_BYTES: Final = 4


def make_families(blueprint: Blueprint, inputs: Mapping[str, Json], documents: Documents) -> dict[str, Family]:
    """The jobs of each producer, in the blueprint's order; raises `BlueprintError`."""
    families: dict[str, Family] = {}
    loops = Loops(blueprint, inputs, documents, families)
    maker = _Maker(blueprint, inputs, loops)
    for name in deciding_order(blueprint.producers, blueprint.loops):
        spec = blueprint.producers[name]
        loops.prepare(spec)
        families[name] = maker.make(spec)
    loops.check_lost()
    return {name: families[name] for name in blueprint.producers}


class _Maker:
    """Makes families, one after the other."""

    def __init__(self, blueprint: Blueprint, inputs: Mapping[str, Json], loops: Loops) -> None:
        self._blueprint = blueprint
        self._inputs = inputs
        self._loops = loops

    def make(self, spec: ProducerSpec) -> Family:
        """The family of a producer whose deciding producers have theirs."""
        if spec.when is None and not self._loops.is_made(spec):
            places, labels, ends = self._loops.places(spec)
            family = Family(spec, places=places, labels=labels, job_ids=[f"{spec.name}{end}" for end in ends])
            self._check_lengths(spec, family.job_ids)
            return family
        family = Family(spec, is_made=self._loops.is_made(spec), labels=[{} for _ in spec.loops], known_jobs={})
        for turns in self._loops.walk(spec, family.labels):
            own = tuple([turn.label for turn in turns])
            job_id = job_name(spec.name, own)
            self._check_lengths(spec, [job_id])
            self._add(family, job_id, own, turns)
        return family

    def _check_lengths(self, spec: ProducerSpec, job_ids: list[str]) -> None:
        """Refuse jobs whose artefacts would have ids that are too long."""
        longest = bounds.ID_MAX_BYTES - len(".") - max(len(output.name) for output in spec.outputs)
        if max(map(len, job_ids), default=0) <= longest // _UTF8_MAX_BYTES:
            return
        for job_id in job_ids:
            if len(job_id.encode()) > longest:
                raise self._blueprint.place("producers", spec.name).error(
                    f"The artefact ids of the job {shown(job_id)} are longer than {bounds.ID_MAX_BYTES} bytes.",
                    "Use shorter names or keys.",
                )

    def _add(self, family: Family, job_id: str, labels: Labels, places: tuple[Turn, ...]) -> None:
        open_turns = [turn.awaits for turn in places if turn.awaits is not None]
        decided = self._when(family.spec, family.turns(places), unknown=bool(open_turns))
        if decided is False:
            family.jobs[labels] = None
            return
        family.jobs[labels] = job_id
        family.job_ids.append(job_id)
        family.places.append(places)
        awaits = [*open_turns, decided] if isinstance(decided, Awaited) else open_turns
        if awaits:
            family.awaited[job_id] = _together(awaits)
        if family.is_made:
            lists = [turn.source for turn in places if turn.source is not None]
            family.deciders[job_id] = tuple(dict.fromkeys([*lists, *self._decisive(family, places)]))

    def _decisive(self, family: Family, places: tuple[Turn, ...]) -> list[str]:
        """The artefacts that `when` has read."""
        found = [self._read(family.spec, text, family.turns(places)) for text in family.spec.when_reads]
        return [each.artefact for each in found if isinstance(each, Known)]

    def _read(self, spec: ProducerSpec, text: str, turns: Turns) -> Known | Awaited | None:
        place = self._blueprint.place("producers", spec.name, "when")
        return self._loops.document(spec.when_reads[text], turns, place)

    def _when(self, spec: ProducerSpec, turns: Turns, *, unknown: bool) -> bool | Awaited:
        """Whether a job is there in these turns, or what decides it."""
        if spec.when is None:
            return True
        awaits = [read for text in spec.when_reads if isinstance(read := self._read(spec, text, turns), Awaited)]
        if unknown:
            read_by = references(spec.when)
            loops = (
                name for reference in read_by for name in (reference.root, *reference.variables()) if name in turns
            )
            awaits += [awaited for name in loops if (awaited := turns[name].awaits) is not None]
        if awaits:
            return _together(awaits)

        def look_up(reference: ReferenceText) -> Json:
            if reference.root in turns:
                return turns[reference.root].value
            if reference.text in spec.when_reads:
                read = self._read(spec, reference.text, turns)
                steps = spec.when_reads[reference.text].steps
                selected = select(read.document, steps, turns) if isinstance(read, Known) else None
            else:
                selected = select(self._inputs.get(reference.root), reference.steps, turns)
            return selected.value if isinstance(selected, Found) else None

        return bool(evaluate(spec.when, look_up))


def _together(awaits: list[Awaited]) -> Awaited:
    """Everything that has to be known, and the first thing that is wrong with it."""
    artefacts = dict.fromkeys(artefact for awaited in awaits for artefact in awaited.artefacts)
    problem = next((awaited.problem for awaited in awaits if awaited.problem is not None), None)
    return Awaited(artefacts=list(artefacts), problem=problem)
