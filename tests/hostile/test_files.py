"""Files that a person names: YAML that is none, that says a thing twice or explodes, and text in other encodings."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from renku_store import open_store, set_inputs
from renku_store.errors import BadInputError
from tests.cli.conftest import Call
from tests.hostile.conftest import BLUEPRINT, Ledger

LAUGHS = "a: &a [x, x, x, x, x, x, x, x, x]\n" + "".join(
    f"{name}: &{name} [{', '.join(['*' + before] * 9)}]\n" for before, name in zip("abcdefgh", "bcdefghi", strict=True)
)
TEXTS: dict[str, str] = {
    "empty": "",
    "a comment": "# nothing",
    "a list": "- a\n- b\n",
    "a word": "film",
    "a number": "1",
    "null": "null",
    "two documents": "a: 1\n---\nb: 2\n",
    "a key twice": BLUEPRINT + "name: again\n",
    "a key twice, deep": BLUEPRINT.replace("greeting: greeting}", "greeting: greeting, greeting: greeting}"),
    "an explosion": LAUGHS,
    "an explosion of mappings": LAUGHS.replace("[*", "{? [*").replace("]\n", "] : 1}\n"),
    "an anchor in itself": "a: &a [*a]\n",
    "an unknown alias": "a: *b\n",
    "a merge": "base: &b {name: x}\n<<: *b\n",
    "a tag": "name: !!python/object/apply:os.system [touch pwned]\n",
    "deep": "a: " + "[" * 50_000,
    "deep mappings": "{a: " * 5_000,
    "a tab": "name:\n\tfilm: 1\n",
    "cut short": BLUEPRINT[:300],
    "a quote not closed": 'name: "film\n',
    "a control character": "name: \x07film\n",
    "a number as key": "1: 2\n",
    "a list as key": "? [a, b]\n: 1\n",
}
BYTES: dict[str, bytes] = {
    "Latin-1": BLUEPRINT.replace("hello", "gr\u00fc\u00dfe").encode("latin-1"),
    "UTF-16": BLUEPRINT.encode("utf-16"),
    "UTF-32": BLUEPRINT.encode("utf-32"),
    "binary": bytes(range(256)) * 40,
    "zeros": bytes(5000),
    "half a character": BLUEPRINT.encode() + b"\xc3",
    "a surrogate": BLUEPRINT.encode() + b"# \xed\xa0\x80",
}


def refused(call: Call, *command: str) -> str:
    called = call(*command)
    assert called.code == 2, (command, called.err[:500])
    assert "Traceback" not in called.err
    assert len(called.err) < 1000
    assert called.err.count("\n") == 2 or "hint:" not in called.err
    return called.err


@pytest.mark.parametrize("kind", [*TEXTS, *BYTES])
def test_a_file_that_is_no_blueprint_is_refused_wherever_it_is_given(
    call: Call, place: Path, shown: Path, ledger: Ledger, kind: str
) -> None:
    """With the file's name, in `init`, `plan`, `run` and `set`; the movie is as it was."""
    path = place / "bad.yaml"
    path.write_bytes(BYTES.get(kind) or TEXTS[kind].encode())
    assert "bad.yaml" in refused(call, "init", "new", "--blueprint", "bad.yaml")
    assert "bad.yaml" in refused(call, "run", "--blueprint", "bad.yaml")
    refused(call, "run", "--dry-run", "--graph", "bad.yaml")
    refused(call, "set", "@blueprint", "@bad.yaml")
    if kind not in {"empty", "a comment"}:
        assert "bad.yaml" in refused(call, "set", "--file", "bad.yaml")
        assert "bad.yaml" in refused(call, "run", "--inputs", "bad.yaml")
    assert [movie["id"] for movie in call("movies", "--json").json] == ["film"]
    assert call("status", "--json").json["pending"] == []
    assert not ledger.calls
    assert not (place / "pwned").exists()


@pytest.mark.parametrize("kind", TEXTS)
def test_a_text_that_is_no_blueprint_is_refused_by_the_library(place: Path, shown: Path, kind: str) -> None:
    """With a line where there is one."""
    with open_store(place / "builds") as store, pytest.raises(BadInputError) as error:
        set_inputs(store.movie("film"), {"@blueprint": TEXTS[kind]})
    assert error.value.message
    if kind in {"a key twice", "a key twice, deep", "a tag", "a tab", "a quote not closed"}:
        assert getattr(error.value, "line", None)


@pytest.mark.parametrize("mark", [b"\xef\xbb\xbf", b""])
@pytest.mark.parametrize("ends", [b"\n", b"\r\n"])
def test_marks_and_line_ends_of_other_systems_make_no_difference(
    call: Call, place: Path, shown: Path, mark: bytes, ends: bytes
) -> None:
    """A byte order mark is no part of the text, and the plan of the same blueprint is clean."""
    (place / "film.yaml").write_bytes(mark + BLUEPRINT.encode().replace(b"\n", ends))
    assert call("init", "new", "--blueprint", "film.yaml").code == 0
    assert call("set", "@blueprint", "@film.yaml", "--movie", "film").code == 0
    assert call("plan", "--json", "--movie", "film").json["layers"] == []


@pytest.mark.parametrize(
    ("value", "in_yaml"),
    [
        ("NaN", ".nan"),
        ("[Infinity]", "[-.inf]"),
        ("9007199254740993", "9007199254740993"),
        ("1e999", "1e999"),
        ("[" * 200 + "]" * 200, "[" * 200 + "]" * 200),
        ("[" * 100_000, "[" * 100_000),
        ('{"a":1,"a":2}', "{a: 1, a: 2}"),
        ('"\\ud800"', '"\\ud800"'),
    ],
)
def test_a_value_without_canonical_json_is_refused(
    call: Call, place: Path, film: Path, value: str, in_yaml: str
) -> None:
    """On the command line, in a file, and for one run."""
    (place / "inputs.yaml").write_text(f"lines: [{in_yaml}]")
    refused(call, "set", "lines", f"[{value}]")
    refused(call, "set", "--file", "inputs.yaml")
    refused(call, "run", "--inputs", "inputs.yaml")
    called = call("set", "lines[0]", value)
    assert called.code in {0, 2}
    for event in call("status", "--json").json["pending"]:
        assert isinstance(json.dumps(event), str)
    assert call("status", "--json").json["runs"] == []
