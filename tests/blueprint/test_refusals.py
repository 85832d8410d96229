"""Every mistake that a blueprint can have on its own: file, line, sentence and hint."""

from __future__ import annotations

import pytest

from renku_store import bounds
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
    "not a mapping": ("- a\n", 1, "the blueprint must be a mapping, not a list.", ""),
    "a text": ("hello\n", 1, "the blueprint must be a mapping, not the text 'hello'.", ""),
    "unknown top key": (_PRODUCER + "input: {}\n", 2, "the blueprint has no key 'input'.", "Did you mean inputs"),
    "no producers": ("name: x\n", 1, "the blueprint has no producers.", "Add `producers:`"),
    "empty producers": ("name: x\nproducers: {}\n", 2, "the blueprint has no producers.", ""),
    "null producers": ("name: x\nproducers:\n", 2, "producers must be a mapping, not nothing (null).", ""),
    "name of a wrong type": (
        "name: 3\n" + _PRODUCER,
        1,
        "name of the blueprint must be text, not the number 3.",
        "quotes",
    ),
    # inputs
    "unknown key of an input": (
        "inputs:\n  a: {typ: string}\n" + _PRODUCER,
        2,
        "input a has no key 'typ'.",
        "Did you mean type?",
    ),
    "unknown type": (
        "inputs:\n  a:\n    type: strng\n" + _PRODUCER,
        3,
        "type of input a is 'strng'.",
        "Did you mean string?",
    ),
    "default of a wrong type": (
        "inputs:\n  a:\n    type: string\n    default: 3\n" + _PRODUCER,
        4,
        "default of input a must be text, not the number 3.",
        "quotes",
    ),
    "default that is true for a number": (
        "inputs: {a: {type: number, default: true}}\n" + _PRODUCER,
        1,
        "must be a number, not true",
        "",
    ),
    "required that is text": (
        "inputs: {a: {required: yes}}\n" + _PRODUCER,
        1,
        "required of input a must be true or false, not the text 'yes'.",
        "",
    ),
    "reserved name": ("inputs: {'@config': {}}\n" + _PRODUCER, 1, "The input name '@config' is reserved.", ""),
    "name that is a word of when": (
        "inputs: {not: {}}\n" + _PRODUCER,
        1,
        "The input name 'not' is not allowed.",
        "word",
    ),
    "name with a dot": ("inputs: {a.b: {}}\n" + _PRODUCER, 1, "The input name 'a.b' is not allowed.", "letter"),
    "name with a slash": ("inputs: {a/b: {}}\n" + _PRODUCER, 1, "The input id 'a/b' is not allowed.", "slashes"),
    "name with dots": ("inputs: {'..': {}}\n" + _PRODUCER, 1, "The input id '..' is not allowed.", ""),
    "name too long": (f"inputs: {{{'a' * 600}: {{}}}}\n" + _PRODUCER, 1, "is longer than 512 bytes", "Shorten"),
    "empty name": ("inputs: {'': {}}\n" + _PRODUCER, 1, "An input id may not be empty.", ""),
    "producer with a bracket": (
        "producers:\n  'p[0]': {run: a/b}\n",
        2,
        "The producer name 'p[0]' is not allowed.",
        "letter",
    ),
    # one set of names
    "loop like an input": (
        "inputs: {a: {type: list}}\nloops:\n  a: {over: a}\n" + _PRODUCER,
        3,
        "A loop is called a, like an input.",
        "an input has that name on line 1",
    ),
    "producer like an input": (
        "inputs: {p: {}}\n" + _PRODUCER,
        2,
        "A producer is called p, like an input.",
        "on line 1",
    ),
    "producer like a loop": (
        "inputs: {a: {}}\nloops: {p: {over: a}}\n" + _PRODUCER,
        3,
        "A producer is called p, like a loop.",
        "line 2",
    ),
    # loops
    "loop over nothing known": (
        "inputs: {segments: {}}\nloops:\n  segment:\n    over: segmnts\n" + _PRODUCER,
        4,
        "loop segment reads segmnts, but there is no input or producer segmnts.",
        "Did you mean segments?",
    ),
    "loop over an artefact that is not JSON": (
        "loops:\n  s:\n    key: id\n    over: p.o.list\n" + _PRODUCER,
        4,
        "loop s runs over p.o.list, but o of p is text/plain.",
        "mimeType: application/json",
    ),
    "loop over a fan-in": ("inputs: {a: {}}\nloops: {s: {over: 'a[*]'}}\n" + _PRODUCER, 2, "[*] gathers", "whole"),
    "loop without over": ("loops:\n  s: {key: id}\n" + _PRODUCER, 2, "loop s has no over.", "Add `over:`."),
    "loops in a cycle": (
        "inputs: {a: {}}\nloops:\n  x: {over: 'a[y].b'}\n  y: {over: 'a[x].b'}\n" + _PRODUCER,
        3,
        "The loops run inside each other in a cycle: x -> y -> x.",
        "",
    ),
    "loop inside itself": ("inputs: {a: {}}\nloops:\n  x: {over: 'a[x].b'}\n" + _PRODUCER, 3, "cycle: x -> x.", ""),
    "loop inside an unknown loop": (
        "inputs: {a: {}}\nloops:\n  x: {over: 'a[yy].b'}\n" + _PRODUCER,
        3,
        "there is no loop yy",
        "['yy']",
    ),
    # producers
    "unknown key of a producer": (
        _film(p=f"run: a/b, {_OUT}, timeOut: 3"),
        4,
        "p has no key 'timeOut'.",
        "Did you mean timeout",
    ),
    "no run": (_film(p=_OUT), 4, "p has no run.", "Add `run:`."),
    "no outputs": (_film(p="run: a/b"), 4, "p has no outputs.", "mimeType"),
    "empty outputs": (_film(p="run: a/b, outputs: {}"), 4, "p has no outputs.", "mimeType"),
    "output without a type": (_film(p="run: a/b, outputs: {o: {}}"), 4, "output o of p has no mimeType.", ""),
    "output with a wrong type": (
        _film(p="run: a/b, outputs: {o: {mimeType: wav}}"),
        4,
        "is 'wav', which is not a MIME type.",
        "audio/wav",
    ),
    "run without a model": (
        _film(p=f"run: demo, {_OUT}"),
        4,
        "run of p is 'demo', which is not understood.",
        "provider/model",
    ),
    "run of an unknown form": (_film(p=f"run: 'a b/c', {_OUT}"), 4, "which is not understood.", "python:module"),
    "python without a function": (
        _film(p=f"run: python:mod, {_OUT}"),
        4,
        "'mod', which is not a function",
        "python:module",
    ),
    "command without argv": (_film(p=f"run: command, {_OUT}"), 4, "p has no argv.", "Add `argv:`."),
    "command with an empty argv": (
        _film(p=f"run: command, argv: [], {_OUT}"),
        4,
        "argv of p must be a list of texts",
        "python3",
    ),
    "argv that is text": (_film(p=f"run: command, argv: ls, {_OUT}"), 4, "argv of p must be a list of texts, not", ""),
    "argv with a number": (_film(p=f"run: command, argv: [a, 1], {_OUT}"), 4, "it has the number 1", "quotes"),
    "argv without command": (
        _film(p=f"run: a/b, argv: [a], {_OUT}"),
        4,
        "p has argv, but does not run a command.",
        "command",
    ),
    "argv in config": (
        _film(p=f"run: command, argv: [a], config: {{argv: [b]}}, {_OUT}"),
        4,
        "config of p has argv.",
        "beside",
    ),
    "two versions": (_film(p=f"run: a/b@1, version: 2, {_OUT}"), 4, "p has two versions: 1 in run, and 2.", "Remove"),
    "version that is a fraction": (
        _film(p=f"run: a/b, version: 1.10, {_OUT}"),
        4,
        "must be text or a whole number",
        "quotes",
    ),
    "timeout without a unit": (_film(p=f"run: a/b, timeout: soon, {_OUT}"), 4, "timeout of p must be seconds", ""),
    "timeout of nothing": (_film(p=f"run: a/b, timeout: 0, {_OUT}"), 4, "must be more than 0", ""),
    "timeout of years": (_film(p=f"run: a/b, timeout: 9999h, {_OUT}"), 4, "at most 2592000 seconds", ""),
    "timeout that is true": (_film(p=f"run: a/b, timeout: true, {_OUT}"), 4, "timeout of p must be seconds", ""),
    "none of a resource": (_film(p=f"run: a/b, uses: {{gpu: 0}}, {_OUT}"), 4, "a whole number above 0", "uses: {gpu"),
    "uses that is a list": (_film(p=f"run: a/b, uses: [gpu], {_OUT}"), 4, "must be a mapping", ""),
    "maxBytes below one": (_film(p=f"run: a/b, maxBytes: 0, {_OUT}"), 4, "must be a whole number of bytes above 0", ""),
    "config that is a list": (
        _film(p=f"run: a/b, config: [1], {_OUT}"),
        4,
        "config of p must be a mapping, not a list.",
        "",
    ),
    "context of a foreign loop": (
        _film(p=f"run: a/b, context: {{i: segment}}, {_OUT}"),
        4,
        "context i of p names the loop segment",
        "`for`",
    ),
    # for
    "for an unknown loop": (
        _film(p=f"for: segmnt, run: a/b, {_OUT}"),
        4,
        "p runs for 'segmnt'",
        "Did you mean segment?",
    ),
    "for a loop twice": (_film(p=f"for: [segment, segment], run: a/b, {_OUT}"), 4, "p runs for segment twice.", "once"),
    "for an inner loop alone": (
        f"inputs: {{a: {{}}}}\nloops: {{x: {{over: a}}, y: {{over: 'a[x].b'}}}}\nproducers:\n  p: {{for: y, {_RUN}}}\n",
        4,
        "p runs for y, which runs inside x.",
        "Write for: [x, y].",
    ),
    "for that is a number": (_film(p=f"for: 3, run: a/b, {_OUT}"), 4, "for of p must be a list of texts, not", ""),
}


@pytest.mark.parametrize(("text", "line", "message", "hint"), _CASES.values(), ids=_CASES)
def test_a_mistake_is_refused_with_its_line_and_a_way_out(text: str, line: int, message: str, hint: str) -> None:
    """The message begins with file and line; the hint names the nearest right thing."""
    with pytest.raises(BlueprintError) as caught:
        parse_blueprint(text, "film.yaml")
    assert (caught.value.file, caught.value.line) == ("film.yaml", line)
    assert caught.value.message.startswith(f"film.yaml:{line}: ")
    assert message in caught.value.message
    assert hint in caught.value.hint
    assert caught.value.hint


def test_without_a_file_the_line_is_still_said() -> None:
    """A blueprint that comes from the store has no file."""
    with pytest.raises(BlueprintError, match=r"^blueprint:2: ") as caught:
        parse_blueprint("name: x\nnme: y\n")
    assert caught.value.file is None


def test_more_nested_loops_than_allowed_are_refused() -> None:
    """A chain of loops is walked by recursion, so it has an end."""
    names = [f"l{n}" for n in range(bounds.LOOPS_NESTED_MAX + 1)]
    loops = [f"  {name}: {{over: '{'a' if not n else f'a[{names[n - 1]}].b'}'}}" for n, name in enumerate(names)]
    text = "inputs: {a: {}}\nloops:\n" + "\n".join(loops) + "\n" + _PRODUCER
    with pytest.raises(BlueprintError, match=f"runs inside {bounds.LOOPS_NESTED_MAX} others"):
        parse_blueprint(text)
