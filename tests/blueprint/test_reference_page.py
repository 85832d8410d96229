"""The reference page says what is so: its examples work, its tables list what there is."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any, get_args

import pytest

from renku_store import bounds
from renku_store.blueprint import effective_inputs, expand, parse_blueprint, parse_graph
from renku_store.blueprint.document import InputType
from renku_store.blueprint.names import RESERVED
from renku_store.blueprint.producer_fields import PRODUCER_KEYS
from renku_store.errors import BlueprintError
from renku_store.graph import GraphIndex

_PAGE = (Path(__file__).resolve().parents[2] / "docs" / "reference" / "blueprint.md").read_text("utf-8")
_BLOCKS = re.findall(r"```yaml\n(.*?)```", _PAGE, re.DOTALL)
_VALUES: dict[str, Any] = {
    "segments": [
        {"id": "intro", "text": "Rain.", "title": "Rain", "images": [{"title": "a"}, {"title": "b"}]},
        {"id": "middle", "text": "Sea.", "title": "Sea", "images": [], "video": "sea.mp4"},
        {"id": "end", "text": "Sun.", "title": "Sun", "images": [{"title": "c"}], "skip": True},
    ]
}


def _section(title: str) -> str:
    return _PAGE.split(f"\n## {title}\n")[1].split("\n## ")[0]


def _first_cells(text: str) -> list[str]:
    """The names in the first column of the tables of a section."""
    return [name for row in re.findall(r"^\| (`.*?`) \|", text, re.MULTILINE) for name in re.findall(r"`(.*?)`", row)]


@pytest.mark.parametrize("text", _BLOCKS, ids=range(len(_BLOCKS)))
def test_every_example_expands(text: str) -> None:
    """With three segments, one of them with a video, each gives a graph that has an order."""
    blueprint = parse_blueprint(text, "blueprint.md")
    given = {key: value for key, value in _VALUES.items() if key in blueprint.inputs}
    graph = expand(blueprint, effective_inputs(blueprint, given))
    assert len(GraphIndex(graph)) == len(graph.nodes) > 0


def test_the_first_example_gives_the_jobs_that_the_page_names() -> None:
    """The sentence below it lists them."""
    graph = expand(parse_blueprint(_BLOCKS[0]), _VALUES)
    named = re.search(r"the jobs are (.*?)\. Job", _PAGE, re.DOTALL)
    assert named
    assert [node.job_id for node in graph.nodes] == re.findall(r"`(.*?)`", named[1])
    images = {entry.name: entry.refs for entry in graph.nodes[-1].inputs}["images"]
    assert images is not None
    assert [reference is None for reference in images] == [False, True, False]


def test_the_second_example_gives_the_jobs_that_the_page_names() -> None:
    """Jobs with keys."""
    graph = expand(parse_blueprint(_BLOCKS[1]), _VALUES)
    named = re.search(r"two images are (.*?)\. Inserting", _PAGE, re.DOTALL)
    assert named
    jobs = [node.job_id for node in graph.nodes if "[intro]" in node.job_id]
    assert jobs == re.findall(r"`(.*?)`", named[1])


def test_the_example_of_a_graph_is_one() -> None:
    """The JSON of the page is taken as it stands."""
    (text,) = re.findall(r"```json\n(.*?)```", _PAGE, re.DOTALL)
    graph = parse_graph(json.loads(text), ["segments", "voice"])
    assert GraphIndex(graph).order == ["narration[0]", "movie"]


def test_the_tables_list_every_key_and_no_other() -> None:
    """Top level, inputs, loops, producers."""
    with pytest.raises(BlueprintError) as caught:
        parse_blueprint("zzzzzzzz: 1\n")
    assert _first_cells(_section("The file")) == caught.value.hint.removeprefix("Known: ").removesuffix(".").split(", ")
    assert _first_cells(_section("Inputs")) == ["type", "required", "default", "description"]
    assert _first_cells(_section("Loops")) == ["over", "key"]
    assert _first_cells(_section("Producers"))[: len(PRODUCER_KEYS)] == list(PRODUCER_KEYS)
    assert _first_cells(_section("Producers"))[len(PRODUCER_KEYS)] == "run"


def test_types_reserved_words_and_limits_are_those_of_the_code() -> None:
    """Numbers on the page are not left behind."""
    types = re.search(r"^\| `type` \| (.*?) \|", _PAGE, re.MULTILINE)
    assert types
    assert re.findall(r"`(\w+)`", types[1]) == list(get_args(InputType))
    words = re.search(r"((?:`\w+`(?:, | and )?)+) cannot be names", _PAGE.replace("\n", " "))
    assert words
    assert set(re.findall(r"`(\w+)`", words[1])) == RESERVED
    assert f"{bounds.BLUEPRINT_MAX_BYTES // 1_048_576} MiB" in _section("The file")
    assert f"{bounds.YAML_MAX_NODES:,} values" in _section("The file")
    assert f"most {bounds.VALUE_MAX_DEPTH} deep" in _section("The file").replace("\n", " ")
    assert f"most {bounds.LOOPS_NESTED_MAX} deep" in _section("Loops")
    assert f"most {bounds.JOBS_MAX:,} jobs" in _section("Loops")
    assert f"{bounds.JOB_TIMEOUT_MAX_SECONDS / 86_400:.0f} days" in _section("Producers")
    assert f"{bounds.GRAPH_FAN_IN_MAX:,} places" in _section("References")
    assert f"{bounds.EXPRESSION_MAX_CHARS:,} characters" in _section("Expressions")
    assert f"{bounds.EXPRESSION_MAX_DEPTH} deep" in _section("Expressions")


def test_the_error_that_the_page_shows_is_the_one_that_comes() -> None:
    """Sentence and hint, word by word."""
    shown = re.search(r"^    (film\.yaml:.*)\n    (.*)$", _PAGE, re.MULTILINE)
    assert shown
    with pytest.raises(BlueprintError) as caught:
        parse_blueprint(_BLOCKS[0].replace("voice: voice}", "voice: voise}"), "film.yaml")
    assert caught.value.message == shown[1]
    assert caught.value.hint == shown[2]
