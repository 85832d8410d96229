"""YAML as blueprints read it: the core schema of YAML 1.2, bounded whatever the text is."""

from __future__ import annotations

import tracemalloc

import pytest

from renku_store import bounds
from renku_store.blueprint import load_yaml_mapping, parse_blueprint
from renku_store.errors import BlueprintError


@pytest.mark.parametrize(
    ("written", "value"),
    [
        ("NO", "NO"),
        ("yes", "yes"),
        ("on", "on"),
        ("true", True),
        ("False", False),
        ("tRUE", "tRUE"),
        ("~", None),
        ("", None),
        ("null", None),
        ("12", 12),
        ("-012", -12),
        ("0o17", 15),
        ("017", 17),
        ("0x1F", 31),
        ("0b11", "0b11"),
        ("1_000", "1_000"),
        ("12:30:00", "12:30:00"),
        ("190:20", "190:20"),
        ("2024-01-01", "2024-01-01"),
        ("1.50", 1.5),
        (".5", 0.5),
        ("1e3", 1000.0),
        ("1.2.3", "1.2.3"),
        ("=", "="),
        ('"12"', "12"),
        ("'null'", "null"),
        ("!!str 12", "12"),
        ("! 12", "12"),
        ("!!float 12", 12),
        ("[1, [NO]]", [1, ["NO"]]),
        ("{a: {b: 1}}", {"a": {"b": 1}}),
    ],
)
def test_scalars_mean_what_the_core_schema_says(written: str, value: object) -> None:
    """Nothing is a date, a base-60 number or a Norwegian false."""
    found = load_yaml_mapping(f"key: {written}\n")["key"]
    assert found == value
    assert type(found) is type(value)


@pytest.mark.parametrize(
    ("text", "line", "message"),
    [
        ("a: 1\na: 2\n", 2, "The key 'a' is there twice."),
        ("b:\n  - {x: 1, x: 1}\n", 2, "The key 'x' is there twice."),
        ("1: x\n", 1, "The key 1 is not text."),
        ("a: 1\ntrue: x\n", 2, "The key true is not text."),
        ("~: x\n", 1, "The key ~ is not text."),
        ("? [a]\n: x\n", 1, "A key is a list or a mapping."),
        ("a: &k v\n*k : x\n", 2, "A key is an alias."),
        ("a: &x {y: 1}\nb:\n  <<: *x\n", 3, "Merge keys (<<) are not supported."),
        ("a: 1\n\tb: 2\n", 2, "The text is not YAML:"),
        ("a: [1\nb: 2\n", 2, "The text is not YAML:"),
        ("a: b: c\n", 1, "The text is not YAML:"),
        ("a: *nothing\n", 1, "The alias *nothing stands for nothing"),
        ("a: &x\n  - *x\n", 2, "The alias *x stands for nothing, or for what it is a part of."),
        ("a: 1\n---\nb: 2\n", 2, "The text has more than one document."),
        ("a: .nan\n", 1, ".nan is not a JSON value."),
        ("a: -.inf\n", 1, "-.inf is not a JSON value."),
        ("a: 1e999\n", 1, "is too large."),
        ("a: 9007199254740992\n", 1, "is beyond 2^53 - 1."),
        (f"a: {'9' * 10_000}\n", 1, "is beyond 2^53 - 1."),
        ("a: !!python/object:os.system x\n", 1, "2002:python/object:os.system' is not supported."),
        ("a: !!int x\n", 1, "'x' is not what its tag says."),
        ("a: !!set {x: null}\n", 1, "is not supported."),
        ("a: 1\nb: \x00\n", 2, "The character U+0000 is not allowed in YAML."),
        ("a: \ud800\n", 1, "The character U+D800 is not allowed in YAML."),
        ("", 1, "The text is empty."),
        ("# nothing\n", 1, "The text is empty."),
        ("- a\n", 1, "The file is not a mapping"),
        ("hello\n", 1, "The file is not a mapping"),
    ],
)
def test_what_yaml_may_not_be_is_refused_with_its_line(text: str, line: int, message: str) -> None:
    """File and line stand in front of the sentence and on the error."""
    with pytest.raises(BlueprintError) as caught:
        load_yaml_mapping(text, "inputs.yaml")
    assert (caught.value.file, caught.value.line) == ("inputs.yaml", line)
    assert caught.value.message.startswith(f"inputs.yaml:{line}: ")
    assert message in caught.value.message
    assert caught.value.hint


def test_a_tab_gets_the_hint_to_use_spaces() -> None:
    """The commonest mistake says how it is mended."""
    with pytest.raises(BlueprintError) as caught:
        load_yaml_mapping("a:\n\tb: 1\n")
    assert "spaces" in caught.value.hint


def test_an_empty_text_gets_the_hint_what_it_should_be() -> None:
    """A file of inputs is no blueprint, and is not asked for producers."""
    with pytest.raises(BlueprintError) as inputs:
        load_yaml_mapping("")
    assert inputs.value.hint == "Write `name: value`, one a line."
    with pytest.raises(BlueprintError) as blueprint:
        parse_blueprint("", "film.yaml")
    assert "producers" in blueprint.value.hint


def test_small_aliases_stand_for_their_values() -> None:
    """Anchors save typing and are no risk."""
    text = "a: &voice {speed: 1}\nb: *voice\nc: [*voice, *voice]\n"
    assert load_yaml_mapping(text) == {"a": {"speed": 1}, "b": {"speed": 1}, "c": [{"speed": 1}] * 2}


def test_json_is_read_too() -> None:
    """A file of inputs may be JSON."""
    assert load_yaml_mapping('{"a": [1, 2.5, "x\\n\\u00e9"],\n "b": {"c": null}}') == {
        "a": [1, 2.5, "x\né"],
        "b": {"c": None},
    }


def _billion_laughs() -> str:
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]" for n in range(1, 30)]
    return "\n".join(lines) + "\n"


def _deep_aliases() -> str:
    return "\n".join(["a0: &a0 [x]", *[f"a{n}: &a{n} [*a{n - 1}]" for n in range(1, 1_200)]]) + "\n"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (_billion_laughs(), f"stands for more than {bounds.YAML_MAX_NODES} values"),
        (_deep_aliases(), f"nest deeper than {bounds.VALUE_MAX_DEPTH}"),
        ("a: " + "[" * 10_000 + "]" * 10_000, f"nest deeper than {bounds.VALUE_MAX_DEPTH}"),
        ("a: " + "{a: " * 10_000 + "1" + "}" * 10_000, f"nest deeper than {bounds.VALUE_MAX_DEPTH}"),
        ("- " * 10_000 + "x", f"nest deeper than {bounds.VALUE_MAX_DEPTH}"),
        ("\n".join(" " * n + "a:" for n in range(2_000)), f"nest deeper than {bounds.VALUE_MAX_DEPTH}"),
        ("a: '" + "x" * bounds.BLUEPRINT_MAX_BYTES + "'", f"more than {bounds.BLUEPRINT_MAX_BYTES} bytes"),
        ("a: '" + "é" * (bounds.BLUEPRINT_MAX_BYTES // 2) + "'", f"more than {bounds.BLUEPRINT_MAX_BYTES} bytes"),
    ],
    ids=["billion laughs", "deep aliases", "deep lists", "deep mappings", "deep blocks", "deep lines", "long", "bytes"],
)
def test_a_text_made_to_explode_is_refused(text: str, message: str) -> None:
    """It costs neither the stack nor the memory that it asks for."""
    tracemalloc.start()
    try:
        with pytest.raises(BlueprintError, match=message):
            parse_blueprint(text, "evil.yaml")
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 64 * 1_048_576
