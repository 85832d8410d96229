"""One producer of a blueprint, read from its keys."""

from __future__ import annotations

import math
import re
from typing import Final

from renku_store import bounds
from renku_store.blueprint.document import ArtefactUse, InputUse, OutputSpec, ProducerSpec, RunSpec
from renku_store.blueprint.expressions import Expression, Literal, parse_expression
from renku_store.blueprint.fields import Fields
from renku_store.blueprint.names import (
    BYTES_WANTED,
    TIMEOUT_WANTED,
    WEIGHT_WANTED,
    argv_fault,
    is_declared_type,
    is_function,
    is_size,
    is_source,
    is_timeout,
    is_weight,
    nearest,
)
from renku_store.blueprint.places import describe, shown
from renku_store.blueprint.pricing import read_cost
from renku_store.blueprint.references import parse_reference
from renku_store.blueprint.scope import Reader, Scope, Shape
from renku_store.records._base import Json

PRODUCER_KEYS: Final = (
    "for", "when", "run", "argv", "version", "config", "context", "inputs", "outputs", "rateKey", "timeout", "maxBytes",
    "uses", "cost", "sources", "description",
)  # fmt: skip
_RUN: Final = re.compile(
    r"(?P<provider>[A-Za-z0-9][\w.-]*)/(?P<model>[A-Za-z0-9][\w./:-]*)(?:@(?P<version>[\w.-]+))?", re.ASCII
)
_DURATION: Final = re.compile(r"([0-9]+(?:\.[0-9]+)?)(s|m|h)")
_SECONDS: Final = {"s": 1.0, "m": 60.0, "h": 3600.0}
_FORMS: Final = "Write provider/model@version, command (with argv), or python:module.function."


def read_shape(fields: Fields, loops: dict[str, tuple[str, ...]]) -> Shape:
    """Loops and output names of a producer; `loops` gives the outer loops of each loop."""
    chosen = _read_for(fields, loops)
    outputs = fields.mapping("outputs", f"outputs of {fields.what}")
    outputs.check_names("output")
    if not list(outputs):
        raise fields.place("outputs").error(
            f"{fields.what} has no outputs.",
            "Add `outputs: {NAME: {mimeType: TYPE}}`: jobs are known by what they make.",
        )
    return Shape(chosen, tuple(outputs))


def read_producer(name: str, fields: Fields, scope: Scope) -> ProducerSpec:
    """The producer, its references bound."""
    loops = scope.producers[name].loops
    when, when_reads = _read_when(fields, scope, loops)
    return ProducerSpec(
        name=name,
        run=_read_run(fields),
        outputs=_read_outputs(fields),
        loops=loops,
        when=when,
        when_reads=when_reads,
        inputs=_read_inputs(fields, scope, loops),
        config=_read_config(fields),
        context=_read_context(fields, scope, loops),
        rate_key=fields.text("rateKey", ""),
        timeout_seconds=_read_timeout(fields),
        max_output_bytes=_read_max_bytes(fields),
        uses=_read_uses(fields),
        cost=read_cost(fields),
        sources=_read_sources(fields),
        description=fields.text("description", ""),
    )


def _read_for(fields: Fields, loops: dict[str, tuple[str, ...]]) -> tuple[str, ...]:
    if "for" not in fields:
        return ()
    chosen = [fields.text("for")] if isinstance(fields.source("for").value, str) else fields.texts("for")
    place = fields.place("for")
    for position, loop in enumerate(chosen):
        if loop not in loops:
            raise place.error(f"{fields.what} runs for {shown(loop)}, but there is no such loop.", nearest(loop, loops))
        if loop in chosen[:position]:
            raise place.error(f"{fields.what} runs for {loop} twice.", "Name each loop once.")
        missing = [outer for outer in loops[loop] if outer not in chosen[:position]]
        if missing:
            raise place.error(
                f"{fields.what} runs for {loop}, which runs inside {missing[0]}.",
                f"Write for: [{', '.join([*loops[loop], loop])}].",
            )
    if len(chosen) > bounds.LOOPS_NESTED_MAX:
        raise place.error(f"{fields.what} runs in more than {bounds.LOOPS_NESTED_MAX} loops.", "Flatten the data.")
    return tuple(chosen)


def _read_run(fields: Fields) -> RunSpec:
    run = fields.text("run")
    version = _read_version(fields)
    if run != "command" and "argv" in fields:
        raise fields.place("argv").error(f"{fields.what} has argv, but does not run a command.", "Write run: command.")
    if run == "command":
        return RunSpec("command", "argv", version or "1")
    if run.startswith("python:"):
        function = run.removeprefix("python:")
        if not is_function(function):
            raise fields.place("run").error(
                f"run of {fields.what} names {shown(function)}, which is not a function in a module.",
                "Write python:module.function.",
            )
        return RunSpec("python", function, version or "1")
    match = _RUN.fullmatch(run)
    if match is None:
        raise fields.place("run").error(f"run of {fields.what} is {shown(run)}, which is not understood.", _FORMS)
    if version and match["version"]:
        raise fields.place("version").error(
            f"{fields.what} has two versions: {match['version']} in run, and {version}.", "Remove one."
        )
    return RunSpec(match["provider"], match["model"], match["version"] or version or "1")


def _read_version(fields: Fields) -> str | None:
    if "version" not in fields:
        return None
    value = fields.source("version").value
    if isinstance(value, bool) or not isinstance(value, str | int):
        raise fields.wrong("version", "text or a whole number", "Put it in quotes: 1.10 would be the number 1.1.")
    if not str(value).strip():
        raise fields.wrong("version", "text that is not empty", "For example version: 2; without one it is 1.")
    return str(value)


def _read_outputs(fields: Fields) -> tuple[OutputSpec, ...]:
    outputs = fields.mapping("outputs", f"outputs of {fields.what}")
    specs: list[OutputSpec] = []
    for name in outputs:
        output = outputs.mapping(name, f"output {name} of {fields.what}", ("mimeType",))
        mime_type = output.text("mimeType")
        if not is_declared_type(mime_type):
            raise output.place("mimeType").error(
                f"mimeType of {output.what} is {shown(mime_type)}, which is not a MIME type.", "For example audio/wav."
            )
        specs.append(OutputSpec(name, mime_type))
    return tuple(specs)


def _read_when(
    fields: Fields, scope: Scope, loops: tuple[str, ...]
) -> tuple[Expression | None, dict[str, ArtefactUse]]:
    if "when" not in fields:
        return None, {}
    value = fields.source("when").value
    if isinstance(value, bool):
        return Literal(value), {}
    place = fields.place("when")
    condition = parse_expression(fields.text("when"), place)
    return condition, scope.bind_condition(condition, Reader(fields.what, loops, place))


def _read_inputs(fields: Fields, scope: Scope, loops: tuple[str, ...]) -> dict[str, InputUse | ArtefactUse]:
    inputs = fields.mapping("inputs", f"inputs of {fields.what}")
    inputs.check_names("input")
    uses: dict[str, InputUse | ArtefactUse] = {}
    for name in inputs:
        value = inputs.source(name).value
        place = inputs.place(name)
        if not isinstance(value, str):
            raise place.error(
                f"Input {name} of {fields.what} must be a reference, not {describe(value)}.",
                "References look like segments[segment].text; "
                f"a literal goes under `config: {{{name}: ...}}` or `context`.",
            )
        uses[name] = scope.bind(parse_reference(value, place), Reader(fields.what, loops, place))
    return uses


def _read_config(fields: Fields) -> dict[str, Json]:
    config = fields.values("config")
    if fields.text("run") != "command":
        return config
    if "argv" in config:
        raise fields.place("config").error(
            f"config of {fields.what} has argv.", "Write argv beside run, not in config."
        )
    argv: list[Json] = [*fields.texts("argv")]
    problem = argv_fault(argv)
    if problem:
        raise fields.place("argv").error(f"argv of {fields.what} {problem}.", 'For example ["python3", "make.py"].')
    return {**config, "argv": argv}


def _read_context(fields: Fields, scope: Scope, loops: tuple[str, ...]) -> dict[str, Json]:
    context = fields.values("context")
    place = fields.place("context")
    for name, value in context.items():
        if isinstance(value, str) and value in scope.loops and value not in loops:
            raise place.error(
                f"context {name} of {fields.what} names the loop {value}, but {fields.what} does not run for it.",
                f"Add {value} to its `for`; a text that only looks like it goes into config.",
            )
    return context


def _read_timeout(fields: Fields) -> float | None:
    if "timeout" not in fields:
        return None
    value = fields.source("timeout").value
    match = _DURATION.fullmatch(value) if isinstance(value, str) else None
    seconds = float(match[1]) * _SECONDS[match[2]] if match else value
    if isinstance(seconds, bool) or not isinstance(seconds, int | float) or not math.isfinite(seconds):
        raise fields.wrong("timeout", "seconds, or a text such as 90s, 5m or 1h", "For example timeout: 10m.")
    if not is_timeout(seconds):
        raise fields.wrong("timeout", TIMEOUT_WANTED, "For example timeout: 10m.")
    return float(seconds)


def _read_sources(fields: Fields) -> tuple[str, ...] | None:
    """The program files of a producer; none at all is a choice, too."""
    if "sources" not in fields:
        return None
    names = tuple(fields.texts("sources"))
    for name in names:
        if not is_source(name):
            raise fields.wrong("sources", "a list of files", "For example sources: [narrate.py].")
    return names


def _read_uses(fields: Fields) -> dict[str, int]:
    resources = fields.mapping("uses", f"uses of {fields.what}")
    weights: dict[str, int] = {}
    for name in resources:
        weight = resources.source(name).value
        if not is_weight(weight):
            raise resources.wrong(name, WEIGHT_WANTED, "For example uses: {gpu: 1}.")
        weights[name] = weight
    return weights


def _read_max_bytes(fields: Fields) -> int | None:
    if "maxBytes" not in fields:
        return None
    value = fields.source("maxBytes").value
    if not is_size(value):
        raise fields.wrong("maxBytes", BYTES_WANTED, "For example maxBytes: 1000000000.")
    return value
