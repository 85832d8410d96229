"""A blueprint as it is held: every reference bound to what it names, every key's line known."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

import msgspec
from msgspec import Struct

from renku_store.blueprint.expressions import Expression
from renku_store.blueprint.places import Place
from renku_store.blueprint.references import Every, Key, LoopVariable, Position
from renku_store.records._base import Json
from renku_store.records.graph import CostRule

InputType = Literal["list", "string", "number", "integer", "boolean", "object", "any"]
ValueStep = Key | Position | LoopVariable
JobIndex = str | LoopVariable | Every
"""Which job of a loop: by its label (the position or key as text), by the loop's present place, or all."""


class InputUse(Struct, frozen=True):
    """A reference to an input or into its value."""

    id: str
    steps: tuple[ValueStep, ...]
    text: str

    @property
    def varies(self) -> bool:
        """Whether it depends on loops."""
        return any(isinstance(step, LoopVariable) for step in self.steps)


class ArtefactUse(Struct, frozen=True):
    """A reference to outputs of a producer's jobs, or into them; one index for each loop of that producer."""

    producer: str
    indices: tuple[JobIndex, ...]
    output: str
    steps: tuple[ValueStep, ...]
    text: str

    @property
    def varies(self) -> bool:
        """Whether it depends on loops."""
        return any(isinstance(step, LoopVariable) for step in (*self.indices, *self.steps))

    @property
    def is_fan_in(self) -> bool:
        """Whether it gives a list."""
        return any(isinstance(index, Every) for index in self.indices)


class InputSpec(Struct, frozen=True):
    """A declared input; `default` counts only with `has_default`, for null is a default too."""

    id: str
    type: InputType = "any"
    required: bool = False
    default: Json = None
    has_default: bool = False
    description: str = ""


class LoopSpec(Struct, frozen=True):
    """A loop over a list in an input or an artefact; `outer` are the loops that it runs inside of, outermost first."""

    name: str
    over: InputUse | ArtefactUse
    key: str | None
    outer: tuple[str, ...]


class OutputSpec(Struct, frozen=True):
    """What each job of a producer makes under `name`."""

    name: str
    mime_type: str


class RunSpec(Struct, frozen=True):
    """What a producer's `run` names."""

    provider: str
    model: str
    version: str


class ProducerSpec(Struct, frozen=True):
    """A producer: how its jobs are named, when they are there, what they read and make.

    `when_reads` has the artefacts that `when` reads, by the text of the reference.
    """

    name: str
    run: RunSpec
    outputs: tuple[OutputSpec, ...]
    loops: tuple[str, ...] = ()
    when: Expression | None = None
    when_reads: Mapping[str, ArtefactUse] = msgspec.field(default_factory=dict)
    inputs: Mapping[str, InputUse | ArtefactUse] = msgspec.field(default_factory=dict)
    config: Mapping[str, Json] = msgspec.field(default_factory=dict)
    context: Mapping[str, Json] = msgspec.field(default_factory=dict)
    rate_key: str = ""
    timeout_seconds: float | None = None
    max_output_bytes: int | None = None
    uses: Mapping[str, int] = msgspec.field(default_factory=dict)
    cost: CostRule | None = None
    sources: tuple[str, ...] | None = None
    description: str = ""


@dataclass(frozen=True, slots=True)
class Blueprint:
    """A parsed blueprint. `places` has the line of each key by its path: `("producers", "narration", "when")`."""

    name: str
    inputs: Mapping[str, InputSpec]
    loops: Mapping[str, LoopSpec]
    producers: Mapping[str, ProducerSpec]
    overrides: Mapping[str, Mapping[str, Json]]
    timeline: ArtefactUse | None
    file: str | None
    places: Mapping[tuple[str, ...], Place] = field(repr=False, compare=False)

    def place(self, *path: str) -> Place:
        """The line of a key, or of the nearest one above it."""
        while path and path not in self.places:
            path = path[:-1]
        return self.places.get(path, Place(self.file, 1))
