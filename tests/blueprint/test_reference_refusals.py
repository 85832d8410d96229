"""Every mistake in what a blueprint refers to: references, conditions, cycles, overrides, timeline."""

from __future__ import annotations

import pytest

from renku_store.blueprint import parse_blueprint
from renku_store.errors import BlueprintError

_PRODUCER = "producers: {p: {run: a/b, outputs: {o: {mimeType: text/plain}}}}\n"
_OUT = "outputs: {o: {mimeType: text/plain}}"
_RUN = f"run: a/b, {_OUT}"


def _film(**producers: str) -> str:
    """Make a blueprint of lists and loops with these producers, each on a line of its own from line 4."""
    inputs = "inputs: {segments: {type: list}, voice: {}}\n"
    loops = "loops: {segment: {over: segments}, named: {over: segments, key: id}}\n"
    return inputs + loops + "producers:\n" + "".join(f"  {name}: {{{fields}}}\n" for name, fields in producers.items())


_NARRATION = f"for: segment, run: a/b, {_OUT}"

_CASES: dict[str, tuple[str, int, str, str]] = {
    # references
    "into what is not JSON": (
        _film(n=_NARRATION, p=f"run: a/b, inputs: {{whole: 'n[0].o', x: 'n[*].o.text'}}, {_OUT}"),
        5,
        "p reads n[*].o.text, but o of n is text/plain.",
        "Only JSON can be read into: mimeType: application/json.",
    ),
    "reference to nothing": (
        _film(p=f"run: a/b, inputs: {{x: voise}}, {_OUT}"),
        4,
        "p reads voise, but there is no input or producer voise.",
        "voice",
    ),
    "literal instead of a reference": (
        _film(p=f"run: a/b, inputs: {{x: 120}}, {_OUT}"),
        4,
        "must be a reference, not the number 120.",
        "`config: {x: ...}`",
    ),
    "value instead of a reference": (
        _film(p=f"run: a/b, inputs: {{x: {{value: 1}}}}, {_OUT}"),
        4,
        "must be a reference, not a mapping.",
        "`config: {x: ...}`",
    ),
    "sentence instead of a reference": (
        _film(p=f"run: a/b, inputs: {{x: Hello world}}, {_OUT}"),
        4,
        "a reference ends before 'world'",
        "config or context",
    ),
    "reference that breaks off": (
        _film(p=f"run: a/b, inputs: {{x: 'voice['}}, {_OUT}"),
        4,
        "a number, a loop, '*'",
        "",
    ),
    "loop as a reference": (
        _film(p=f"for: segment, run: a/b, inputs: {{x: segment}}, {_OUT}"),
        4,
        "p reads segment, which is a loop.",
        "context",
    ),
    "unknown loop in brackets": (
        _film(p=f"for: segment, run: a/b, inputs: {{x: 'segments[segmnt].text'}}, {_OUT}"),
        4,
        "there is no loop segmnt.",
        "Did you mean segment?",
    ),
    "foreign loop in brackets": (
        _film(p=f"run: a/b, inputs: {{x: 'segments[segment].text'}}, {_OUT}"),
        4,
        "but does not run for segment.",
        "`for`",
    ),
    "fan-in of an input": (
        _film(p=f"run: a/b, inputs: {{x: 'segments[*].text'}}, {_OUT}"),
        4,
        "[*] gathers the outputs of jobs only",
        "whole",
    ),
    "unknown output": (
        _film(n=_NARRATION, p=f"run: a/b, inputs: {{x: 'n[*].oo'}}, {_OUT}"),
        5,
        "n has no output oo.",
        "Did you mean o?",
    ),
    "no output": (
        _film(n=_NARRATION, p=f"run: a/b, inputs: {{x: 'n[*]'}}, {_OUT}"),
        5,
        "but not which output.",
        "n[*].o",
    ),
    "no index": (
        _film(n=_NARRATION, p=f"run: a/b, inputs: {{x: n.o}}, {_OUT}"),
        5,
        "but n runs for segment.",
        "n[*].OUTPUT for all",
    ),
    "too many indices": (
        _film(n=_NARRATION, p=f"run: a/b, inputs: {{x: 'n[0][*].o'}}, {_OUT}"),
        5,
        "but n runs for segment.",
        "n[segment]",
    ),
    "index of what runs once": (
        _film(n=f"run: a/b, {_OUT}", p=f"run: a/b, inputs: {{x: 'n[0].o'}}, {_OUT}"),
        5,
        "but n runs once",
        "n.OUTPUT",
    ),
    "unknown name as an index of numbers": (
        _film(n=_NARRATION, p=f"run: a/b, inputs: {{x: 'n[intro].o'}}, {_OUT}"),
        5,
        "there is no loop intro",
        "",
    ),
    # when
    "when of an artefact that is not JSON": (
        _film(n=_NARRATION, p=f"run: a/b, when: 'n[0].o == 1', {_OUT}"),
        5,
        "`when` of p reads n[0].o, but o of n is text/plain.",
        "mimeType: application/json",
    ),
    "when of a list of artefacts": (
        _film(n=_NARRATION, p=f"run: a/b, when: 'n[*].o == 1', {_OUT}"),
        5,
        "`when` of p reads n[*].o, a list of artefacts.",
        "one artefact",
    ),
    "when of nothing": (
        _film(p=f"run: a/b, when: voise, {_OUT}"),
        4,
        "there is no input voise.",
        "Did you mean voice?",
    ),
    "when of a foreign loop": (
        _film(p=f"run: a/b, when: segment == 1, {_OUT}"),
        4,
        "does not run for segment",
        "`for`",
    ),
    "when into a loop": (
        _film(p=f"for: segment, run: a/b, when: segment.text, {_OUT}"),
        4,
        "a loop is a number or a key",
        "items[segment]",
    ),
    "when with a fan-in": (_film(p=f"run: a/b, when: 'segments[*].x', {_OUT}"), 4, "[*] gathers", ""),
    "when that is broken": (_film(p=f"run: a/b, when: 'voice ==', {_OUT}"), 4, "a value is wanted, not the end", ""),
    "when that is a number": (_film(p=f"run: a/b, when: 3, {_OUT}"), 4, "when of p must be text", "quotes"),
    # cycles
    "cycle of producers": (
        _film(
            a=f"run: a/b, inputs: {{x: c.o}}, {_OUT}",
            b=f"run: a/b, inputs: {{v: voice, x: a.o}}, {_OUT}",
            c=f"run: a/b, inputs: {{x: b.o}}, {_OUT}",
        ),
        5,
        "Producers read each other in a cycle: a -> b -> c -> a.",
        "after it",
    ),
    "producer that reads itself": (
        _film(a=f"for: segment, run: a/b, inputs: {{x: 'a[*].o'}}, {_OUT}"),
        4,
        "in a cycle: a -> a.",
        "",
    ),
    # overrides and timeline
    "override of nothing": (
        _PRODUCER + "overrides:\n  q: {config: {}}\n",
        3,
        "There is no producer q to override.",
        "Known: p.",
    ),
    "override without config": (_PRODUCER + "overrides:\n  p: {}\n", 3, "override of p has no config.", ""),
    "override of something else": (
        _PRODUCER + "overrides:\n  p: {confg: {}}\n",
        3,
        "override of p has no key 'confg'.",
        "Did you mean config?",
    ),
    "override with a wrong argv": (
        f"producers: {{p: {{run: command, argv: [a], {_OUT}}}}}\noverrides: {{p: {{config: {{argv: b}}}}}}\n",
        2,
        "argv of override of p must be a list of texts",
        "",
    ),
    "timeline of nothing": (_PRODUCER + "timeline: q.o\n", 2, "timeline reads q.o", "Known: p."),
    "timeline that is a path": (
        _PRODUCER + "timeline: p.o.x\n",
        2,
        "which is not one whole artefact",
        "movie.timeline",
    ),
    "timeline that is an input": (
        "inputs: {a: {}}\n" + _PRODUCER + "timeline: a\n",
        3,
        "which is not one whole artefact",
        "",
    ),
    "timeline that is a fan-in": (_film(n=_NARRATION) + "timeline: n[*].o\n", 5, "which is not one whole artefact", ""),
}


@pytest.mark.parametrize(("text", "line", "message", "hint"), _CASES.values(), ids=_CASES)
def test_a_reference_to_nothing_is_refused_with_its_line_and_the_nearest_name(
    text: str, line: int, message: str, hint: str
) -> None:
    """The line is that of the key that holds the reference."""
    with pytest.raises(BlueprintError) as caught:
        parse_blueprint(text, "film.yaml")
    assert (caught.value.file, caught.value.line) == ("film.yaml", line)
    assert message in caught.value.message
    assert hint in caught.value.hint
    assert caught.value.hint
