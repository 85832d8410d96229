"""What the names in a blueprint stand for: references as written become uses of inputs and artefacts."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NoReturn

from msgspec import Struct

from renku_store.blueprint.document import ArtefactUse, InputUse, JobIndex, ValueStep
from renku_store.blueprint.expressions import Expression, references
from renku_store.blueprint.names import nearest
from renku_store.blueprint.places import Place
from renku_store.blueprint.references import EVERY, Every, Key, LoopVariable, Position, ReferenceText, Step


class Shape(Struct, frozen=True):
    """What a reference must know of a producer: its loops and the names of its outputs."""

    loops: tuple[str, ...]
    outputs: tuple[str, ...]


class Reader(Struct, frozen=True):
    """Who reads: its name for messages, and the loops that it runs in."""

    name: str
    loops: tuple[str, ...]
    place: Place


class Scope(Struct, frozen=True):
    """All names of a blueprint; of each loop, the key that names its jobs, or None."""

    inputs: Mapping[str, object]
    loops: Mapping[str, str | None]
    producers: Mapping[str, Shape]

    def bind(self, reference: ReferenceText, reader: Reader) -> InputUse | ArtefactUse:
        """What a reference means; raises `BlueprintError` with the nearest right name."""
        if reference.root in self.producers:
            return self._bind_artefact(reference, reader)
        if reference.root in self.inputs:
            steps = self._value_steps(reference, reference.steps, reader)
            return InputUse(reference.root, steps, reference.text)
        if reference.root in self.loops:
            raise reader.place.error(
                f"{reader.name} reads {reference.text}, which is a loop.",
                f"Its place or key is given by `context: {{NAME: {reference.root}}}`; "
                f"its element by the list, as in items[{reference.root}].",
            )
        raise reader.place.error(
            f"{reader.name} reads {reference.text}, but there is no input or producer {reference.root}.",
            nearest(reference.root, [*self.inputs, *self.producers]),
        )

    def bind_condition(self, condition: Expression, reader: Reader) -> dict[str, ArtefactUse]:
        """The artefacts that a `when` reads, by the text of the reference; refuses one that reads what is not there."""
        uses: dict[str, ArtefactUse] = {}
        for reference in references(condition):
            if reference.root in self.producers:
                uses[reference.text] = self._bind_decisive(reference, reader)
            elif reference.root in self.loops:
                self._check_variable(reference.root, reference, reader)
                if reference.steps:
                    raise reader.place.error(
                        f"`when` of {reader.name} reads {reference.text}, but a loop is a number or a key.",
                        f"Its element is read from the list, as in items[{reference.root}].",
                    )
            elif reference.root in self.inputs:
                self._value_steps(reference, reference.steps, reader)
            else:
                raise reader.place.error(
                    f"`when` of {reader.name} reads {reference.text}, but there is no input {reference.root}.",
                    nearest(reference.root, [*self.inputs, *reader.loops, *self.producers]),
                )
        return uses

    def _bind_decisive(self, reference: ReferenceText, reader: Reader) -> ArtefactUse:
        use = self._bind_artefact(reference, reader)
        if use.is_fan_in:
            raise reader.place.error(
                f"`when` of {reader.name} reads {reference.text}, a list of artefacts.",
                "It can read into one artefact, as in script.out.segments[segment].video.",
            )
        return use

    def _bind_artefact(self, reference: ReferenceText, reader: Reader) -> ArtefactUse:
        shape = self.producers[reference.root]
        count = 0
        while count < len(reference.steps) and _is_bracket(reference.steps[count]):
            count += 1
        indices = self._job_indices(reference, reference.steps[:count], reader)
        if count == len(reference.steps):
            raise reader.place.error(
                f"{reader.name} reads {reference.text}, but not which output.",
                " or ".join(f"{reference.text}.{output}" for output in shape.outputs),
            )
        step = reference.steps[count]
        output = step.text if isinstance(step, Key) else ""
        if output not in shape.outputs:
            raise reader.place.error(
                f"{reader.name} reads {reference.text}, but {reference.root} has no output {output}.",
                nearest(output, shape.outputs),
            )
        rest = self._value_steps(reference, reference.steps[count + 1 :], reader)
        return ArtefactUse(reference.root, indices, output, rest, reference.text)

    def _job_indices(self, reference: ReferenceText, steps: tuple[Step, ...], reader: Reader) -> tuple[JobIndex, ...]:
        loops = self.producers[reference.root].loops
        if steps and isinstance(steps[-1], Every) and len(steps) < len(loops):
            steps = (*steps, *[EVERY] * (len(loops) - len(steps)))
        if len(steps) != len(loops):
            self._refuse_count(reference, loops, reader)
        return tuple(self._job_index(step, loop, reference, reader) for step, loop in zip(steps, loops, strict=True))

    def _job_index(self, step: Step, loop: str, reference: ReferenceText, reader: Reader) -> JobIndex:
        match step:
            case Position(number):
                return str(number)
            case Key(text):
                return text
            case Every():
                return EVERY
            case LoopVariable(name):
                if name not in self.loops and self.loops[loop] is not None:
                    return name
                self._check_variable(name, reference, reader)
                return step

    def _refuse_count(self, reference: ReferenceText, loops: tuple[str, ...], reader: Reader) -> NoReturn:
        root = reference.root
        if not loops:
            raise reader.place.error(
                f"{reader.name} reads {reference.text}, but {root} runs once, not in a loop.", f"Write {root}.OUTPUT."
            )
        indices = "".join(f"[{loop}]" for loop in loops)
        raise reader.place.error(
            f"{reader.name} reads {reference.text}, but {root} runs for {' and '.join(loops)}.",
            f"Write {root}{indices}.OUTPUT for one job, {root}[*].OUTPUT for all.",
        )

    def _value_steps(self, reference: ReferenceText, steps: tuple[Step, ...], reader: Reader) -> tuple[ValueStep, ...]:
        checked: list[ValueStep] = []
        for step in steps:
            if isinstance(step, Every):
                raise reader.place.error(
                    f"{reader.name} reads {reference.text}, but [*] gathers the outputs of jobs only.",
                    "Read the list as a whole, without [*].",
                )
            if isinstance(step, LoopVariable):
                self._check_variable(step.name, reference, reader)
            checked.append(step)
        return tuple(checked)

    def _check_variable(self, name: str, reference: ReferenceText, reader: Reader) -> None:
        if name in reader.loops:
            return
        if name in self.loops:
            raise reader.place.error(
                f"{reader.name} reads {reference.text}, but does not run for {name}.", f"Add {name} to its `for`."
            )
        raise reader.place.error(
            f"{reader.name} reads {reference.text}, but there is no loop {name}.",
            f"{nearest(name, self.loops)} A key is written .{name} or ['{name}'].",
        )


def _is_bracket(step: Step) -> bool:
    return step.quoted if isinstance(step, Key) else True
