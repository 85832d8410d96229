"""Text to a blueprint: everything that can be checked without the values of inputs is checked here.

Inputs, loops and producers share one set of names, so that a reference can be read without knowing where it stands.
Producers that read each other in a cycle are refused here, which leaves no cycle to the jobs.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final, get_args

from renku_store import bounds
from renku_store.blueprint.cycles import in_order
from renku_store.blueprint.decisions import check_made_lists
from renku_store.blueprint.document import (
    ArtefactUse,
    Blueprint,
    InputSpec,
    InputType,
    InputUse,
    LoopSpec,
    ProducerSpec,
)
from renku_store.blueprint.fields import Fields
from renku_store.blueprint.names import argv_fault, nearest
from renku_store.blueprint.places import Place, describe, shown
from renku_store.blueprint.producer_fields import PRODUCER_KEYS, read_producer, read_shape
from renku_store.blueprint.references import LoopVariable, ReferenceText, parse_reference
from renku_store.blueprint.scope import Reader, Scope
from renku_store.blueprint.source import Source, read_yaml
from renku_store.blueprint.values import type_problem
from renku_store.records._base import Json

_TOP_KEYS: Final = ("name", "inputs", "loops", "producers", "overrides", "timeline")
_INPUT_KEYS: Final = ("type", "required", "default", "description")
_TYPES: Final[Mapping[str, InputType]] = {name: name for name in get_args(InputType)}
_PLACES_DEPTH: Final = 5


def parse_blueprint(text: str, file: str | None = None) -> Blueprint:
    """The blueprint that a YAML text is; raises `BlueprintError` with file, line and the nearest right name."""
    root = read_yaml(text, file)
    top = Fields(root, "the blueprint", _TOP_KEYS, Place(file, 1))
    inputs = _read_inputs(top)
    written = _read_loop_references(top)
    outer = _outer_loops(top, written)
    declared = top.mapping("producers", "producers")
    declared.check_names("producer")
    if not list(declared):
        raise top.place("producers").error("the blueprint has no producers.", "Add `producers:` with at least one.")
    _check_distinct(top, declared)
    sections = {name: declared.mapping(name, name, PRODUCER_KEYS) for name in declared}
    keys = {name: key for name, (_, key) in written.items()}
    scope = Scope(inputs, keys, {name: read_shape(section, outer) for name, section in sections.items()})
    loops = _bind_loops(top, written, outer, scope)
    producers = {name: read_producer(name, section, scope) for name, section in sections.items()}
    check_made_lists(loops, producers, sections, top.mapping("loops", "loops"))
    return Blueprint(
        name=top.text("name", ""),
        inputs=inputs,
        loops=loops,
        producers=producers,
        overrides=_read_overrides(top, producers),
        timeline=_read_timeline(top, scope),
        file=file,
        places=_places(root),
    )


def _read_inputs(top: Fields) -> dict[str, InputSpec]:
    section = top.mapping("inputs", "inputs")
    section.check_names("input")
    return {name: _read_input(name, section.mapping(name, f"input {name}", _INPUT_KEYS)) for name in section}


def _read_input(name: str, fields: Fields) -> InputSpec:
    written = fields.text("type", "any")
    if written not in _TYPES:
        raise fields.place("type").error(f"type of {fields.what} is {shown(written)}.", nearest(written, _TYPES))
    kind = _TYPES[written]
    has_default = "default" in fields
    default = fields.source("default").plain() if has_default else None
    problem = type_problem(kind, default) if has_default else None
    if problem:
        raise fields.place("default").error(
            f"default of {fields.what} must be {problem}, not {describe(default)}.",
            "Put it in quotes."
            if kind == "string" and isinstance(default, int | float)
            else "Change the default, or the type.",
        )
    return InputSpec(name, kind, fields.boolean("required"), default, has_default, fields.text("description", ""))


def _read_loop_references(top: Fields) -> dict[str, tuple[ReferenceText, str | None]]:
    section = top.mapping("loops", "loops")
    section.check_names("loop")
    written: dict[str, tuple[ReferenceText, str | None]] = {}
    for name in section:
        fields = section.mapping(name, f"loop {name}", ("over", "key"))
        key = fields.text("key") if "key" in fields else None
        written[name] = (parse_reference(fields.text("over"), fields.place("over")), key)
    return written


def _outer_loops(top: Fields, written: Mapping[str, tuple[ReferenceText, str | None]]) -> dict[str, tuple[str, ...]]:
    """The loops that each loop runs inside of, outermost first."""
    section = top.mapping("loops", "loops")
    direct = {name: [loop for loop in over.variables() if loop in written] for name, (over, _) in written.items()}
    order, cycle = in_order(direct)
    if cycle:
        place = section.mapping(cycle[0], cycle[0]).place("over")
        raise place.error(
            f"The loops run inside each other in a cycle: {' -> '.join(cycle)}.",
            "A loop may run over what an outer one is at; one of them must run over a list of its own.",
        )
    outer: dict[str, tuple[str, ...]] = {}
    for name in order:
        around = (loop for direct_loop in direct[name] for loop in (*outer[direct_loop], direct_loop))
        outer[name] = tuple(dict.fromkeys(around))
        if len(outer[name]) >= bounds.LOOPS_NESTED_MAX:
            raise section.place(name).error(
                f"loop {name} runs inside {bounds.LOOPS_NESTED_MAX} others or more.", "Flatten the data."
            )
    return {name: outer[name] for name in written}


def _bind_loops(
    top: Fields,
    written: Mapping[str, tuple[ReferenceText, str | None]],
    outer: Mapping[str, tuple[str, ...]],
    scope: Scope,
) -> dict[str, LoopSpec]:
    section = top.mapping("loops", "loops")
    loops: dict[str, LoopSpec] = {}
    for name, (over, key) in written.items():
        place = section.mapping(name, name).place("over")
        use = scope.bind(over, Reader(f"loop {name}", outer[name], place))
        if isinstance(use, ArtefactUse) and use.is_fan_in:
            raise place.error(
                f"loop {name} runs over {over.text}, a list of artefacts.",
                "A loop runs over one list in one JSON artefact, as in script.out.segments.",
            )
        loops[name] = LoopSpec(name, use, key, outer[name])
    return loops


def _check_distinct(top: Fields, producers: Fields) -> None:
    inputs, loops = top.mapping("inputs", "inputs"), top.mapping("loops", "loops")
    for later, what in ((loops, "A loop"), (producers, "A producer")):
        for name in later:
            for earlier, other in ((inputs, "an input"), (loops, "a loop")):
                if earlier is not later and name in earlier and later.what != earlier.what:
                    raise later.place(name).error(
                        f"{what} is called {name}, like {other}.",
                        f"Rename one: {other} has that name on line {earlier.place(name).line}.",
                    )


def _read_overrides(top: Fields, producers: Mapping[str, ProducerSpec]) -> dict[str, dict[str, Json]]:
    section = top.mapping("overrides", "overrides")
    overrides: dict[str, dict[str, Json]] = {}
    for target in section:
        fields = section.mapping(target, f"override of {target}", ("config",))
        fields.source("config")
        producer = target.partition("[")[0]
        if producer not in producers:
            raise section.place(target).error(
                f"There is no producer {producer} to override.", nearest(producer, producers)
            )
        config = fields.values("config")
        problem = (
            argv_fault(config["argv"]) if "argv" in config and producers[producer].run.provider == "command" else None
        )
        if problem:
            raise fields.place("config").error(f"argv of {fields.what} {problem}.", 'For example ["sh", "make.sh"].')
        overrides[target] = config
    return overrides


def _read_timeline(top: Fields, scope: Scope) -> ArtefactUse | None:
    if "timeline" not in top:
        return None
    place = top.place("timeline")
    reference = parse_reference(top.text("timeline"), place)
    use = scope.bind(reference, Reader("timeline", (), place))
    if isinstance(use, InputUse) or use.is_fan_in or use.steps or any(isinstance(i, LoopVariable) for i in use.indices):
        raise place.error(
            f"timeline is {reference.text}, which is not one whole artefact.",
            "Write PRODUCER.OUTPUT, as in movie.timeline.",
        )
    return use


def _places(root: Source) -> dict[tuple[str, ...], Place]:
    places: dict[tuple[str, ...], Place] = {}
    todo: list[tuple[tuple[str, ...], Source]] = [((), root)]
    while todo:
        path, source = todo.pop()
        if isinstance(source.value, dict) and len(path) < _PLACES_DEPTH:
            for key, value in source.value.items():
                places[*path, key] = source.keys[key]
                todo.append(((*path, key), value))
    return places
