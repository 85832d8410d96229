"""What decides which jobs there are where it is made during the run: lists that loops run over, artefacts in `when`.

What is read into, for that or as an input, is declared as JSON.

Its makers come before those jobs, as what a job reads does; so they belong to the cycles that are refused.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from renku_store.blueprint.cycles import in_order
from renku_store.blueprint.document import ArtefactUse, LoopSpec, ProducerSpec
from renku_store.blueprint.fields import Fields
from renku_store.blueprint.places import Place
from renku_store.media_types import is_json

Loops = Mapping[str, LoopSpec]


def deciding(spec: ProducerSpec, loops: Loops) -> Iterator[ArtefactUse]:
    """The artefacts that decide which jobs a producer has."""
    for name in spec.loops:
        over = loops[name].over
        if isinstance(over, ArtefactUse):
            yield over
    yield from spec.when_reads.values()


def deciding_order(producers: Mapping[str, ProducerSpec], loops: Loops) -> list[str]:
    """The producers, each after those whose artefacts decide which jobs it has."""
    return in_order({name: [use.producer for use in deciding(spec, loops)] for name, spec in producers.items()})[0]


def check_made_lists(
    loops: Loops, producers: Mapping[str, ProducerSpec], sections: Mapping[str, Fields], written: Fields
) -> None:
    """Refuse reading into what is not JSON, and producers that wait for each other in a cycle."""
    for name, loop in loops.items():
        if isinstance(loop.over, ArtefactUse):
            _check_json(loop.over, producers, f"loop {name} runs over", written.mapping(name, name).place("over"))
    for name, spec in producers.items():
        for use in spec.when_reads.values():
            _check_json(use, producers, f"`when` of {name} reads", sections[name].place("when"))
        for entry, use in _read(spec).items():
            if use.steps:
                place = sections[name].mapping("inputs", name).place(entry)
                _check_json(use, producers, f"{name} reads", place)
    _check_cycles(loops, producers, sections)


def _check_json(use: ArtefactUse, producers: Mapping[str, ProducerSpec], what: str, place: Place) -> None:
    mime_type = next(output.mime_type for output in producers[use.producer].outputs if output.name == use.output)
    if not is_json(mime_type):
        raise place.error(
            f"{what} {use.text}, but {use.output} of {use.producer} is {mime_type}.",
            "Only JSON can be read into: mimeType: application/json.",
        )


def _check_cycles(loops: Loops, producers: Mapping[str, ProducerSpec], sections: Mapping[str, Fields]) -> None:
    waits = {
        name: [use.producer for use in [*_read(spec).values(), *deciding(spec, loops)]]
        for name, spec in producers.items()
    }
    _, cycle = in_order(waits)
    if cycle:
        raise _guilty(producers[cycle[1]], cycle[0], sections[cycle[1]]).error(
            f"Producers read each other in a cycle: {' -> '.join(cycle)}.",
            "One of them must not read what comes after it.",
        )


def _guilty(spec: ProducerSpec, read: str, section: Fields) -> Place:
    """Where a producer comes to wait for another one."""
    for name, use in _read(spec).items():
        if use.producer == read:
            return section.mapping("inputs", spec.name).place(name)
    return section.place("when" if any(use.producer == read for use in spec.when_reads.values()) else "for")


def _read(spec: ProducerSpec) -> dict[str, ArtefactUse]:
    return {name: use for name, use in spec.inputs.items() if isinstance(use, ArtefactUse)}
