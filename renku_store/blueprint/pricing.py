"""`cost` of a producer, or of a node of a given graph: what a call is expected to take, in US dollars."""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable
from typing import Final

from renku_store.blueprint.fields import Fields
from renku_store.blueprint.names import nearest
from renku_store.blueprint.places import shown
from renku_store.errors import GraphError
from renku_store.records.graph import CostRule

COST_KEYS: Final = ("low", "high", "perCharacter", "perSecond", "perItem", "of")
_UNITS: Final = ("perCharacter", "perSecond", "perItem")
_FORMS: Final = "For example 0.04, {low: 0.01, high: 0.05}, or {perCharacter: 0.00002, of: text}."


def read_cost(fields: Fields) -> CostRule | None:
    """The `cost` of a producer, None where it has none; `of` must be one of its inputs or of the keys of its config."""
    if "cost" not in fields:
        return None
    value = fields.source("cost").value
    if isinstance(value, int | float) and not isinstance(value, bool):
        price = _dollars(fields, "cost", value)
        return CostRule(low=price, high=price)
    if not isinstance(value, dict):
        raise fields.wrong("cost", "a number of US dollars or a mapping", _FORMS)
    rule = fields.mapping("cost", f"cost of {fields.what}", COST_KEYS)
    prices = {key: _dollars(rule, key, rule.source(key).value) for key in rule if key != "of"}
    _check_keys(rule, fields)
    if prices.get("low", 0.0) > prices.get("high", math.inf):
        raise rule.place("low").error(f"low of {rule.what} is above its high.", "Exchange them.")
    of = rule.text("of") if "of" in rule else None
    return CostRule.from_json({**prices, "of": of})


def check_given_cost(job_id: str, cost: object, inputs: Iterable[str], config: object) -> None:
    """Refuse what a node of a given graph says of its `cost` in words that mean nothing; its record checks the rest.

    Raises `GraphError`.
    """
    if not isinstance(cost, dict):
        return
    for key in cost:
        if key not in COST_KEYS:
            raise GraphError(f"cost of the job {job_id} has no key {shown(key)}.", hint=nearest(str(key), COST_KEYS))
    of = cost.get("of")
    countable = [*inputs, *(config if isinstance(config, dict) else ())]
    if isinstance(of, str) and of not in countable:
        raise GraphError(
            f"cost of the job {job_id} counts {shown(of)}, which is neither an input nor a key of its config.",
            hint=nearest(of, countable),
        )


def _check_keys(rule: Fields, producer: Fields) -> None:
    """Refuse keys that do not go together, each at its line."""
    units = [key for key in _UNITS if key in rule]
    if len(units) > 1:
        raise rule.place(units[1]).error(f"{rule.what} has both {units[0]} and {units[1]}.", "Keep one of them.")
    if not units:
        if "of" in rule:
            raise rule.place("of").error(f"{rule.what} has an `of`, but no price per unit.", _per_unit())
        for key in ("low", "high"):
            if key not in rule:
                raise producer.place("cost").error(f"{rule.what} has no {key}.", _FORMS)
    elif "of" not in rule:
        raise rule.place(units[0]).error(
            f"{rule.what} has {units[0]}, but does not say of what.", f"Add `of:`. {_known(_countable(producer))}"
        )
    else:
        _check_of(rule, _countable(producer))


def _check_of(rule: Fields, countable: Collection[str]) -> None:
    of = rule.text("of")
    if of not in countable:
        raise rule.place("of").error(
            f"{rule.what} counts {shown(of)}, which is neither an input nor a key of its config.",
            nearest(of, countable),
        )


def _countable(producer: Fields) -> list[str]:
    inputs = producer.mapping("inputs", f"inputs of {producer.what}")
    config = producer.mapping("config", f"config of {producer.what}")
    return [*inputs, *config]


def _dollars(fields: Fields, key: str, value: object) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value) or value < 0:
        raise fields.wrong(key, "a number of US dollars from 0", "Write 0.04 for four cents.")
    return float(value)


def _known(names: Collection[str]) -> str:
    return f"It has {', '.join(names)}." if names else "It has neither inputs nor config."


def _per_unit() -> str:
    return f"Add one of {', '.join(_UNITS)}."
