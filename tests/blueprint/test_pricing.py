"""`cost` of a producer and of a given node: what is read, what is refused and where, and that it changes no graph."""

from __future__ import annotations

import json
from typing import Any

import pytest

from renku_store.blueprint import expand, parse_blueprint, parse_graph
from renku_store.errors import BlueprintError, GraphError
from renku_store.hashing import graph_bytes
from renku_store.records.graph import CostRule

_FILM = """\
inputs: {topic: {default: rain}}
producers:
  voice:
    run: a/b
    config: {seconds: 3}
    inputs: {text: topic}
    outputs: {audio: {mimeType: audio/wav}}
"""


def _film(cost: str) -> str:
    return _FILM + f"    cost: {cost}\n"


@pytest.mark.parametrize(
    ("written", "rule"),
    [
        ("0.04", {"low": 0.04, "high": 0.04}),
        ("0", {"low": 0, "high": 0}),
        ("2e-5", {"low": 0.00002, "high": 0.00002}),
        ("{low: 0.1, high: 2}", {"low": 0.1, "high": 2}),
        ("{perCharacter: 0.1, of: text}", {"perCharacter": 0.1, "of": "text"}),
        ("{perSecond: 1, of: seconds, high: 9}", {"perSecond": 1, "of": "seconds", "high": 9}),
        ("{perItem: 1, of: text, low: 1, high: 9}", {"perItem": 1, "of": "text", "low": 1, "high": 9}),
    ],
)
def test_every_form_of_a_price_is_read_and_changes_nothing_of_the_graph(written: str, rule: dict[str, Any]) -> None:
    """The node has it; the bytes that a revision records are those of the graph without it."""
    node = (graph := expand(parse_blueprint(_film(written)), {})).nodes[0]
    assert node.cost == CostRule.from_json(rule)
    assert graph_bytes(graph) == graph_bytes(expand(parse_blueprint(_FILM), {}))


_WRONG = {
    "a text": ("cheap", "cost of voice must be a number of US dollars or a mapping, not the text 'cheap'.", "0.04"),
    "nothing": ("", "not nothing (null).", "perCharacter"),
    "true": ("true", "not true.", ""),
    "a list": ("[1]", "not a list.", ""),
    "below 0": ("-1", "cost of voice must be a number of US dollars from 0, not the number -1.", ""),
    "a price below 0": ("{low: -1, high: 1}", "low of cost of voice must be a number of US dollars from 0", ""),
    "a price as text": ("{low: '1', high: 1}", "not the text '1'.", ""),
    "no bounds": ("{}", "cost of voice has no low.", "{low: 0.01, high: 0.05}"),
    "one bound": ("{low: 1}", "cost of voice has no high.", ""),
    "bounds exchanged": ("{low: 2, high: 1}", "low of cost of voice is above its high.", "Exchange"),
    "an unknown key": ("{perChar: 1, of: text}", "cost of voice has no key 'perChar'.", "Did you mean perCharacter"),
    "two units": ("{perItem: 1, perSecond: 1, of: text}", "cost of voice has both", "Keep one"),
    "no of": ("{perCharacter: 1}", "does not say of what.", "It has text, seconds."),
    "of alone": ("{of: text}", "has an `of`, but no price per unit.", "perCharacter"),
    "of something else": ("{perItem: 1, of: txt}", "counts 'txt', which is neither an input", "Did you mean text"),
    "of a number": ("{perItem: 1, of: 1}", "must be text, not the number 1.", "quotes"),
    "bounds with of": ("{low: 1, high: 2, of: text}", "has an `of`, but no price per unit.", ""),
}


@pytest.mark.parametrize(("written", "message", "hint"), _WRONG.values(), ids=_WRONG)
def test_a_price_that_means_nothing_is_refused_with_its_line(written: str, message: str, hint: str) -> None:
    """File, line, sentence, and a way out."""
    with pytest.raises(BlueprintError) as caught:
        parse_blueprint(_film(written), "film.yaml")
    assert caught.value.message.startswith("film.yaml:8: ")
    assert message in caught.value.message
    assert hint in caught.value.hint


def test_the_line_is_that_of_the_key_which_is_wrong() -> None:
    """In a mapping over several lines."""
    with pytest.raises(BlueprintError, match=r"^film.yaml:10: cost of voice counts 'txt'"):
        parse_blueprint(_FILM + "    cost:\n      perItem: 1\n      of: txt\n", "film.yaml")


def _given(**more: Any) -> dict[str, Any]:
    node = {"jobId": "a", "producer": "p", "inputs": ["t"], "produces": ["a.o"], "provider": "x", "providerModel": "y"}
    return {"nodes": [{**node, **more}]}


def test_a_given_graph_can_have_prices_and_is_the_same_without() -> None:
    """A number or a mapping, as in a blueprint."""
    priced = parse_graph(_given(cost=0.5), ["t"])
    assert priced.nodes[0].cost == CostRule(low=0.5, high=0.5)
    ranged = parse_graph(_given(cost={"perCharacter": 0.1, "of": "t"}), ["t"])
    assert ranged.nodes[0].cost == CostRule(per_character=0.1, of="t")
    assert graph_bytes(priced) == graph_bytes(ranged) == graph_bytes(parse_graph(_given(), ["t"]))
    assert b"cost" not in graph_bytes(priced)


@pytest.mark.parametrize(
    ("cost", "message"),
    [
        (-1, "cost of the job a must be a number of US dollars from 0, not the number -1."),
        ("1", "cost of the job a must be a number of US dollars from 0, not the text '1'."),
        ({"low": -1, "high": 1}, "low of cost of the job a must be a number of US dollars from 0, not the number -1."),
        ({"low": True, "high": 1}, "low of cost of the job a must be a number of US dollars from 0, not true."),
        ({"low": 2, "high": 1}, "low of cost of the job a is above its high."),
        ({"low": 1}, "cost of the job a has no high."),
        ({"perItem": 1}, "cost of the job a has perItem, but does not say of what."),
        ({"perItem": 1, "perSecond": 1, "of": "t"}, "cost of the job a has both perSecond and perItem."),
        ({"low": 1, "high": 1, "of": "t"}, "cost of the job a has an `of`, but no price per unit."),
        ({"perItem": 1, "of": 3}, "of of cost of the job a must be text, not the number 3."),
        ({"perChar": 1, "of": "t"}, "has no key 'perChar'"),
        ({"perItem": 1, "of": "s"}, "counts 's', which is neither an input nor a key of its config"),
    ],
)
def test_a_wrong_price_in_a_given_graph_is_refused_by_its_job(cost: Any, message: str) -> None:
    """There are no lines in JSON; the job is named."""
    with pytest.raises(GraphError) as caught:
        parse_graph(json.loads(json.dumps(_given(cost=cost))), ["t"])
    assert message in caught.value.message
    assert caught.value.hint
