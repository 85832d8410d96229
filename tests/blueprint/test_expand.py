"""Blueprint and values to jobs: names, references, what is left out, and always the same bytes."""

from __future__ import annotations

import gc
import re
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from renku_store import bounds
from renku_store.blueprint import expand, parse_blueprint
from renku_store.errors import BlueprintError, InvalidValueError, NotFoundError
from renku_store.graph import GraphIndex
from renku_store.hashing import canonical_json
from renku_store.records.graph import GraphNode, ProducerGraph
from tests.blueprint.samples import FILM, film_inputs

_OUT = "outputs: {o: {mimeType: text/plain}}"
_JSON = _OUT.replace("text/plain", "application/json")


def _expand(text: str, inputs: dict[str, Any], config: Any = None) -> ProducerGraph:
    return expand(parse_blueprint(text, "film.yaml"), inputs, config)


def _film(**changes: Any) -> dict[str, GraphNode]:
    return {node.job_id: node for node in _expand(FILM, film_inputs() | changes).nodes}


def _read(node: GraphNode) -> dict[str, object]:
    """What a job reads, as a person writes it; fan-ins as lists, a place without a job as None."""
    return {
        entry.name: [ref and ref.text() for ref in entry.refs]
        if entry.refs is not None
        else entry.ref and entry.ref.text()
        for entry in node.inputs
    }


def _small(loop: str, *producers: str, overrides: str = "") -> str:
    """A blueprint over the list `items`, with a loop `item`; the producers begin on line 4."""
    lines = "".join(f"  {producer}\n" for producer in producers)
    return f"inputs: {{items: {{type: list}}, extra: {{}}}}\nloops: {{item: {loop}}}\nproducers:\n{lines}{overrides}"


def test_jobs_stand_in_the_order_of_the_blueprint_then_of_the_loops() -> None:
    """Ids are the producer's name and the loops' places; a job that `when` leaves out has none."""
    graph = _expand(FILM, film_inputs())
    assert [node.job_id for node in graph.nodes] == [
        "script",
        "narration[0]",
        "narration[1]",
        "picture[0][1]",
        "picture[1][0]",
        "collage[0]",
        "collage[1]",
        "movie",
    ]
    assert graph.timeline == "movie.timeline"


def test_references_are_filled_in() -> None:
    """Loops become places, a missing single job a missing input, a missing place of a fan-in null."""
    jobs = _film()
    assert _read(jobs["narration[1]"]) == {
        "text": "segments[1].text",
        "hint": "script.out.segments[1].hint",
        "voice": "voice",
    }
    assert _read(jobs["picture[0][1]"]) == {
        "prompt": "segments[0].images[1].prompt",
        "audio": "narration[0].audio",
    }
    assert _read(jobs["collage[0]"]) == {"images": [None, "picture[0][1].image"]}
    assert _read(jobs["collage[1]"]) == {"images": ["picture[1][0].image"], "first": "picture[1][0].image"}
    assert _read(jobs["movie"]) == {
        "audio": ["narration[0].audio", "narration[1].audio"],
        "images": [None, "picture[0][1].image", "picture[1][0].image"],
        "firsts": [None, "picture[1][0].image"],
        "second": "narration[1].audio",
    }


def test_an_optional_input_is_read_once_it_has_a_value() -> None:
    """`music` is missing above and here is not; null is a value too."""
    assert _read(_film(music="drums")["narration[0]"])["music"] == "music"
    assert _read(_film(music=None)["narration[0]"])["music"] == "music"


def test_a_node_has_all_that_its_producer_declares() -> None:
    """Run, config with overrides laid over it key by key, context with the loops' places, limits."""
    jobs = _film()
    narration = jobs["narration[1]"]
    assert (narration.provider, narration.provider_model, narration.version) == ("demo", "narrate", "2")
    assert narration.config == {"speed": 140, "voice": {"low": 2}, "pitch": None}
    assert jobs["narration[0]"].config == {"speed": 140, "voice": {"low": 2}, "pitch": {"low": 1}}
    assert narration.context == {"index": 1, "title": "plain", "deep": ["segment"]}
    assert (narration.rate_key, narration.timeout_seconds, narration.max_output_bytes) == ("speech", 90.0, 1000)
    script = jobs["script"]
    assert (script.provider, script.provider_model, script.version) == ("command", "argv", "1")
    assert script.config == {"argv": ["python3", "write.py"]}
    assert (script.rate_key, script.timeout_seconds, script.max_output_bytes) == ("command/argv", None, None)
    picture = jobs["picture[1][0]"]
    assert (picture.provider, picture.provider_model, picture.version) == ("python", "pictures.make", "3")
    assert [(output.id, output.name, output.mime_type) for output in jobs["movie"].produces] == [
        ("movie.timeline", "timeline", "application/json"),
        ("movie.video", "video", "video/mp4"),
    ]


def test_edges_are_what_jobs_read_sorted_and_each_once() -> None:
    """`movie` reads narration[1] twice and waits for it once."""
    edges = [(edge.from_, edge.to) for edge in _expand(FILM, film_inputs()).edges]
    assert edges == sorted(set(edges))
    assert [before for before, after in edges if after == "movie"] == [
        "narration[0]",
        "narration[1]",
        "picture[0][1]",
        "picture[1][0]",
    ]
    assert [before for before, after in edges if after == "narration[0]"] == ["script"]


def test_an_empty_list_makes_no_jobs_and_empty_fan_ins() -> None:
    """A loop over nothing is no mistake."""
    text = _small(
        "{over: items}", f"p: {{for: item, run: a/b, {_OUT}}}", f"q: {{run: a/b, inputs: {{x: 'p[*].o'}}, {_OUT}}}"
    )
    cases: list[dict[str, Any]] = [{"items": []}, {}]
    for inputs in cases:
        (node,) = _expand(text, inputs).nodes
        assert _read(node) == {"x": []}


def test_keys_name_jobs_and_follow_their_elements() -> None:
    """Inserting an element renames no other job; the list is still entered by place, an object and context by key."""
    text = _small(
        "{over: items, key: id}",
        f"p: {{for: item, run: a/b, context: {{k: item}}, inputs: {{x: 'items[item].t', y: 'extra[item]'}}, {_JSON}}}",
        f"q: {{run: a/b, inputs: {{a: 'p[end].o.list[0]', b: \"p['end'].o\", all: 'p[*].o'}}, {_JSON}}}",
        f"r: {{for: item, run: a/b, inputs: {{x: 'q.o[item]', y: 'p[item].o'}}, {_OUT}}}",
        overrides="overrides: {'p[end]': {config: {speed: 2}}}\n",
    )
    items: list[dict[str, Any]] = [{"id": "a-1", "t": "A"}, {"id": "end", "t": "E"}]
    jobs = {node.job_id: node for node in _expand(text, {"items": items, "extra": {"a-1": 1, "end": 2}}).nodes}
    assert list(jobs) == ["p[a-1]", "p[end]", "q", "r[a-1]", "r[end]"]
    assert _read(jobs["p[end]"]) == {"x": "items[1].t", "y": "extra.end"}
    assert jobs["p[end]"].context == {"k": "end"}
    assert jobs["p[end]"].config == {"speed": 2}
    assert _read(jobs["q"]) == {"a": "p[end].o.list[0]", "b": "p[end].o", "all": ["p[a-1].o", "p[end].o"]}
    assert _read(jobs["r[end]"]) == {"x": "q.o.end", "y": "p[end].o"}
    items.insert(1, {"id": 7, "t": "S"})
    more = {node.job_id: node for node in _expand(text, {"items": items, "extra": {"a-1": 1, "7": 0, "end": 2}}).nodes}
    assert list(more)[:3] == ["p[a-1]", "p[7]", "p[end]"]
    assert more["p[7]"].context == {"k": 7}
    assert _read(more["p[7]"]) == {"x": "items[1].t", "y": "extra.7"}
    assert more["p[end]"].config == {"speed": 2}


def test_when_sees_loops_and_missing_keys() -> None:
    """A loop is its place, or its key; what is not there is null."""
    producers = (
        f"p: {{for: item, when: 'item > 0', run: a/b, {_OUT}}}",
        f"q: {{for: item, when: 'items[item].a.b == null', run: a/b, {_OUT}}}",
        f"r: {{when: 'extra', run: a/b, {_OUT}}}",
        f"s: {{when: false, run: a/b, {_OUT}}}",
    )
    items = [{"id": "x"}, {"id": "y", "a": {"b": 1}}]
    graph = _expand(_small("{over: items}", *producers), {"items": items})
    assert [node.job_id for node in graph.nodes] == ["p[1]", "q[0]"]
    keyed = (f"p: {{for: item, when: \"item in ['y']\", run: a/b, {_OUT}}}",)
    graph = _expand(_small("{over: items, key: id}", *keyed), {"items": items})
    assert [node.job_id for node in graph.nodes] == ["p[y]"]


def test_what_some_elements_lack_is_missing_for_those() -> None:
    """A missing value is not null: the input is left out, where null is given it is not."""
    text = _small("{over: items}", f"p: {{for: item, run: a/b, inputs: {{x: 'items[item].t'}}, {_OUT}}}")
    jobs = _expand(text, {"items": [{"t": "A"}, {}, {"t": None}, "text"]}).nodes
    assert [_read(node) for node in jobs] == [{"x": "items[0].t"}, {}, {"x": "items[2].t"}, {}]


def test_a_loop_over_what_some_elements_lack_is_empty_there() -> None:
    """An element without images has no pictures, and is no mistake while another has them."""
    inputs = film_inputs()
    del inputs["segments"][1]["images"]
    jobs = {node.job_id: node for node in _expand(FILM, inputs).nodes}
    assert "picture[1][0]" not in jobs
    assert _read(jobs["collage[1]"]) == {"images": []}


def test_the_timeline_of_a_job_that_is_not_there_is_none() -> None:
    """`when` may leave the timeline out."""
    text = f"inputs: {{a: {{}}}}\nproducers: {{p: {{when: a, run: a/b, {_OUT}}}}}\ntimeline: p.o\n"
    assert _expand(text, {"a": True}).timeline == "p.o"
    assert _expand(text, {"a": False}).timeline is None


def test_the_config_of_the_movie_goes_over_the_overrides() -> None:
    """Producer, then job, first of the blueprint, then of `@config`; each replaces whole values."""
    blueprint = parse_blueprint(FILM)
    config: Any = {
        "narration[0]": {"config": {"voice": 0, "new": []}},
        "narration": {"config": {"speed": 1, "voice": 1}},
    }
    jobs = {node.job_id: node for node in expand(blueprint, film_inputs(), config).nodes}
    assert jobs["narration[0]"].config == {"speed": 1, "pitch": {"low": 1}, "voice": 0, "new": []}
    assert jobs["narration[1]"].config == {"speed": 1, "pitch": None, "voice": 1}
    # a place without a job may be overridden: whether it has one depends on inputs
    expand(blueprint, film_inputs(), {"picture[0][0]": {"config": {"a": 1}}})


@pytest.mark.parametrize(
    ("config", "message", "hint"),
    [
        ([], "@config must be a mapping, not a list.", "{config:"),
        ({"narration[2]": {"config": {}}}, "@config names narration[2]", "narration[1]"),
        ({"naration": {"config": {}}}, "@config names naration", "Did you mean narration?"),
        ({"movie[0]": {"config": {}}}, "@config names movie[0]", "Did you mean movie?"),
        ({"narration[]": {"config": {}}}, "@config names narration[]", ""),
        ({"movie": {"speed": 1}}, "@config has no `config` mapping for movie, or more.", "{config:"),
        ({"movie": {"config": {}, "x": 1}}, "@config has no `config` mapping for movie, or more.", "{config:"),
        ({"movie": {"config": 1}}, "@config has no `config` mapping for movie, or more.", "{config:"),
        ({"script": {"config": {"argv": []}}}, "@config: argv of script must be a list", ""),
    ],
)
def test_a_config_of_another_form_is_refused(config: object, message: str, hint: str) -> None:
    """It is a value that a person set, so it is an invalid value, not an invalid blueprint."""
    with pytest.raises(InvalidValueError) as caught:
        _expand(FILM, film_inputs(), config)
    assert message in caught.value.message
    assert hint in caught.value.hint


_READER = f"p: {{for: item, run: a/b, inputs: {{x: 'items[item].txt'}}, {_OUT}}}"
_MAKER = f"p: {{for: item, run: a/b, {_OUT}}}"


@pytest.mark.parametrize(
    ("text", "items", "line", "message", "hint"),
    [
        (_small("{over: items}", _READER), [{"text": 1}], 4, "reads items[item].txt, which is nowhere", "mean text?"),
        (_small("{over: items}", _READER), ["a"], 4, "which is nowhere in the input items", "the text 'a'"),
        (
            _small("{over: items}", _MAKER, f"q: {{run: a/b, inputs: {{x: 'items[3].t'}}, {_OUT}}}"),
            [{"t": 1}], 5, "q reads items[3].t, which is nowhere in the input items.", "positions 0 to 0",
        ),
        (
            _small("{over: items}", _MAKER, f"q: {{run: a/b, inputs: {{x: 'p[3].o'}}, {_OUT}}}"),
            [1, 2], 5, "q reads p[3].o, but there is no job p[3].", "p[0]",
        ),
        (
            _small("{over: items, key: id}", _MAKER, f"q: {{run: a/b, inputs: {{x: 'p[intr].o'}}, {_OUT}}}"),
            [{"id": "intro"}], 5, "q reads p[intr].o, but there is no job p[intr].", "Did you mean p[intro]?",
        ),
        (_small("{over: items}", _MAKER), {"a": 1}, 2, "loop item runs over items, which must be a list", ""),
        (_small("{over: items.list}", _MAKER), {"lst": []}, 2, "items.list, which is not there.", "mean lst?"),
        (_small("{over: items.list}", _MAKER), {"list": None}, 2, "items.list, which must be a list, not nothing", ""),
        (_small("{over: items, key: id}", _MAKER), [{"id": "a"}, {"i": 1}], 2, "items[1].id is not there.", "mean i?"),
        (_small("{over: items, key: id}", _MAKER), ["a"], 2, "items[0].id is not there.", ""),
        (_small("{over: items, key: id}", _MAKER), [{"id": True}], 2, "items[0].id is true.", ""),
        (_small("{over: items, key: id}", _MAKER), [{"id": 1.5}], 2, "items[0].id is the number 1.5.", ""),
        (
            _small("{over: items, key: id}", _MAKER),
            [{"id": "7"}, {"id": 8}, {"id": 7}], 2, "items[0].id and items[2].id are both 7.", "change one",
        ),
        (_small("{over: items, key: id}", _MAKER), [{"id": "a/b"}], 2, "cannot use the key items[0].id.", "slashes"),
        (_small("{over: items, key: id}", _MAKER), [{"id": "a[0]"}], 2, "cannot use the key 'a[0]'", "brackets"),
        (_small("{over: items, key: id}", _MAKER), [{"id": ""}], 2, "cannot use the key items[0].id.", ""),
        (_small("{over: items, key: id}", _MAKER), [{"id": "x" * 511}], 4, "longer than 512 bytes", "shorter"),
        (
            _small("{over: items}", _MAKER, overrides="overrides:\n  'p[2]': {config: {}}\n"),
            [1, 2], 6, "There is no job p[2] to override.", "p[1]",
        ),
    ],
)  # fmt: skip
def test_what_does_not_fit_the_values_is_refused_with_its_line(
    text: str, items: Any, line: int, message: str, hint: str
) -> None:
    """The line is where the blueprint reads what is not there."""
    with pytest.raises(BlueprintError) as caught:
        _expand(text, {"items": items})
    assert caught.value.message.startswith(f"film.yaml:{line}: ")
    assert message in caught.value.message
    assert hint in caught.value.hint


def test_a_written_label_that_no_turn_has_is_refused_in_a_fan_in() -> None:
    """`picture[9][*]` is a mistake; `picture[1][*]` of a segment without images is an empty list."""
    inputs = film_inputs()
    inputs["segments"][1]["images"] = []
    (movie,) = [
        n
        for n in _expand(FILM.replace('"picture[*][0].image"', '"picture[1][*].image"'), inputs).nodes
        if n.job_id == "movie"
    ]
    assert _read(movie)["firsts"] == []
    with pytest.raises(
        BlueprintError, match=re.escape("picture[9][*].image names 9, but the loop segment has no such")
    ):
        _expand(FILM.replace('"picture[*][0].image"', '"picture[9][*].image"'), inputs)


def test_the_turns_that_there_are_are_told_in_loop_order() -> None:
    """Whatever the process hashes names with, and also those of which the inner loop has nothing."""
    text = (
        "inputs: {rows: {}}\nloops: {r: {over: rows, key: id}, c: {over: 'rows[r].of'}}\nproducers:\n"
        f"  p: {{for: [r, c], run: a/b, {_OUT}}}\n"
        f"  q: {{run: a/b, inputs: {{x: 'p[77][*].o'}}, {_OUT}}}\n"
    )
    rows = [{"id": f"row{letter}", "of": [1] if letter != "m" else []} for letter in "zyxmwvut"]
    with pytest.raises(BlueprintError) as caught:
        _expand(text, {"rows": rows})
    assert caught.value.hint == f"Known: {', '.join(str(row['id']) for row in rows)}."


def test_undeclared_and_missing_inputs_are_refused() -> None:
    """Also without `effective_inputs` before."""
    with pytest.raises(NotFoundError, match="segments"):
        _expand(FILM, {})
    with pytest.raises(NotFoundError, match="voise"):
        _expand(FILM, film_inputs() | {"voise": 1})


@pytest.mark.parametrize("inner", [[0] * 2_000, []], ids=["many", "none"])
def test_too_many_jobs_are_refused_before_they_are_made(inner: list[int], monkeypatch: pytest.MonkeyPatch) -> None:
    """Four nested loops of two thousand, whether the innermost has anything or not."""
    monkeypatch.setattr(bounds, "JOBS_MAX", 20_000)
    loops = "loops: {a: {over: x}, b: {over: x}, c: {over: x}, d: {over: y}}\n"
    text = f"inputs: {{x: {{}}, y: {{}}}}\n{loops}producers:\n  p: {{for: [a, b, c, d], run: a/b, {_OUT}}}\n"
    with pytest.raises(BlueprintError, match=f"film.yaml:4: .* more than {bounds.JOBS_MAX} jobs"):
        _expand(text, {"x": [0] * 2_000, "y": inner})


def test_fan_ins_that_multiply_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each of four hundred jobs reads all of four hundred, and another part of each."""
    monkeypatch.setattr(bounds, "GRAPH_FAN_IN_MAX", 10_000)
    text = _small(
        "{over: items}",
        _MAKER.replace(_OUT, _JSON),
        f"q: {{for: item, run: a/b, inputs: {{a: 'items[item]', x: 'p[*].o.a[item]'}}, {_OUT}}}",
    )
    with pytest.raises(BlueprintError, match=f"film.yaml:5: .* more than {bounds.GRAPH_FAN_IN_MAX} artefacts"):
        _expand(text, {"items": list(range(400))})


def test_the_garbage_collector_is_as_it_was_afterwards() -> None:
    """It pauses while a graph is made, also one that cannot be made; and stays off for who had it off."""
    assert gc.isenabled()
    _expand(FILM, film_inputs())
    with pytest.raises(NotFoundError):
        _expand(FILM, {})
    assert gc.isenabled()
    gc.disable()
    try:
        _expand(FILM, film_inputs())
        assert not gc.isenabled()
    finally:
        gc.enable()


_values = st.recursive(
    st.none() | st.booleans() | st.integers(-5, 5) | st.sampled_from(["", "skip", "a cat", "é"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["text", "images", "prompt"]), inner),
    max_leaves=6,
)
_segments = st.lists(
    st.fixed_dictionaries(
        {
            "text": st.text(max_size=3),
            "images": st.lists(st.fixed_dictionaries({"prompt": st.sampled_from(["skip", "x"])})),
        },
        optional={"extra": _values},
    ),
    min_size=2,
    max_size=4,
)


def _shuffled(value: Any, turn: bool) -> Any:
    """The same JSON value with the keys of all objects in another order."""
    if isinstance(value, dict):
        pairs = [(key, _shuffled(item, turn)) for key, item in value.items()]
        return dict(reversed(pairs) if turn else pairs)
    return [_shuffled(item, turn) for item in value] if isinstance(value, list) else value


@given(_segments, st.sampled_from([None, {"narration": {"config": {"b": 1, "a": {"d": 1, "c": 2}}}}]))
def test_expansion_gives_the_same_bytes_whatever_the_order_of_keys(segments: list[Any], config: Any) -> None:
    """Deterministic, unique ids, one maker for each artefact, edges exactly what is read, no cycle."""
    if not any(segment["images"] for segment in segments):
        segments[0]["images"] = [{"prompt": "x"}]
    text = FILM.replace(', first: "picture[segment][0].image"', "").replace("[*][0]", "[0][*]")
    inputs = {"voice": "x", "segments": segments, "@blueprint": "kept"}
    graph = _expand(text, inputs, config)
    again = _expand(text, _shuffled(inputs, turn=True), _shuffled(config, turn=True))
    assert canonical_json(graph.to_json(), max_depth=bounds.DOCUMENT_MAX_DEPTH) == canonical_json(
        again.to_json(), max_depth=bounds.DOCUMENT_MAX_DEPTH
    )
    index = GraphIndex(graph)
    assert len(index) == len(graph.nodes)
    assert {(edge.from_, edge.to) for edge in graph.edges} == {
        (before, node.job_id) for node in graph.nodes for before in index.dependencies(node.job_id)
    }


@given(_values, _values)
def test_any_values_give_a_graph_or_an_error_of_ours(segments: Any, config: Any) -> None:
    """Whatever people set, nothing but a BadInputError comes out."""
    try:
        graph = _expand(FILM, {"segments": segments}, config)
    except (BlueprintError, InvalidValueError):
        return
    GraphIndex(graph)
