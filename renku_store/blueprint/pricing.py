"""`cost` of a producer, or of a node of a given graph: what a call is expected to take, in US dollars."""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable, Mapping
from typing import Final, NamedTuple

from renku_store.blueprint.fields import Fields
from renku_store.blueprint.names import is_price, nearest
from renku_store.blueprint.places import describe, shown
from renku_store.errors import GraphError
from renku_store.records.graph import CostRule

COST_KEYS: Final = ("low", "high", "perCharacter", "perSecond", "perItem", "of")
_UNITS: Final = ("perCharacter", "perSecond", "perItem")
_PRICE_WANTED: Final = "a number of US dollars from 0"
_PRICE_HINT: Final = "Write 0.04 for four cents."
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
    of = rule.text("of") if "of" in rule else None
    fault = _fault(rule.what, prices, of, _countable(fields))
    if fault is not None:
        raise rule.place(fault.key).error(fault.message, fault.hint)
    return CostRule.from_json({**prices, "of": of})


def given_cost(job_id: str, cost: object, inputs: Iterable[str], config: object) -> CostRule | None:
    """The `cost` of a node of a given graph, checked as that of a producer. Raises `GraphError`."""
    if cost is None:
        return None
    what = f"cost of the job {job_id}"
    if not isinstance(cost, dict):
        price = _given_dollars(what, cost)
        return CostRule(low=price, high=price)
    for key in cost:
        if key not in COST_KEYS:
            raise GraphError(f"{what} has no key {shown(key)}.", hint=nearest(str(key), COST_KEYS))
    said = {key: value for key, value in cost.items() if value is not None}
    of = said.pop("of", None)
    if of is not None and not isinstance(of, str):
        raise GraphError(f"of of {what} must be text, not {describe(of)}.", hint=_FORMS)
    prices = {key: _given_dollars(f"{key} of {what}", value) for key, value in said.items()}
    fault = _fault(what, prices, of, [*inputs, *(config if isinstance(config, dict) else ())])
    if fault is not None:
        raise GraphError(fault.message, hint=fault.hint)
    return CostRule.from_json({**prices, "of": of})


class _Fault(NamedTuple):
    """Why keys do not go together, and at which of them it shows."""

    key: str
    message: str
    hint: str


def _fault(what: str, prices: Mapping[str, float], of: str | None, countable: Collection[str]) -> _Fault | None:
    units = [key for key in _UNITS if key in prices]
    if len(units) > 1:
        return _Fault(units[1], f"{what} has both {units[0]} and {units[1]}.", "Keep one of them.")
    if not units:
        if of is not None:
            return _Fault("of", f"{what} has an `of`, but no price per unit.", _per_unit())
        for key in ("low", "high"):
            if key not in prices:
                return _Fault(key, f"{what} has no {key}.", _FORMS)
    elif of is None:
        return _Fault(units[0], f"{what} has {units[0]}, but does not say of what.", f"Add `of:`. {_known(countable)}")
    elif of not in countable:
        message = f"{what} counts {shown(of)}, which is neither an input nor a key of its config."
        return _Fault("of", message, nearest(of, countable))
    if prices.get("low", 0.0) > prices.get("high", math.inf):
        return _Fault("low", f"low of {what} is above its high.", "Exchange them.")
    return None


def _countable(producer: Fields) -> list[str]:
    inputs = producer.mapping("inputs", f"inputs of {producer.what}")
    config = producer.mapping("config", f"config of {producer.what}")
    return [*inputs, *config]


def _dollars(fields: Fields, key: str, value: object) -> float:
    if not is_price(value):
        raise fields.wrong(key, _PRICE_WANTED, _PRICE_HINT)
    return float(value)


def _given_dollars(what: str, value: object) -> float:
    if not is_price(value):
        raise GraphError(f"{what} must be {_PRICE_WANTED}, not {describe(value)}.", hint=_PRICE_HINT)
    return float(value)


def _known(names: Collection[str]) -> str:
    return f"It has {', '.join(names)}." if names else "It has neither inputs nor config."


def _per_unit() -> str:
    return f"Add one of {', '.join(_UNITS)}."
