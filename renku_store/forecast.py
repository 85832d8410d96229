"""What a plan will take: the prices that are declared, the calls of the past, and the results that answer already.

Looks, and writes nothing: a result that turns out to be damaged when a run takes it over is made anew then.
"""

from __future__ import annotations

from collections.abc import Mapping

import orjson

from renku_store import bounds
from renku_store.costs import Prices, price_plan, with_prices
from renku_store.errors import DamageError
from renku_store.foreseen import foresee
from renku_store.hashing import parse_json
from renku_store.media_types import is_json
from renku_store.movie import Movie
from renku_store.records._base import Json
from renku_store.records.manifest import ArtefactValue, Manifest
from renku_store.records.plan import CostRange, ExecutionPlan
from renku_store.selection import MISSING, Missing


def forecast(
    movie: Movie, plan: ExecutionPlan, base: Manifest | None, values: Mapping[str, Json], prices: Prices | None = None
) -> ExecutionPlan:
    """The plan with what it will take, job by job; `values` are those of the inputs that it uses.

    `prices` are asked for what the graph has no `cost` for; what they say stays with the plan.
    """
    if not plan.dirty:
        return plan
    if prices is not None:
        plan = plan.model_copy(update={"graph": with_prices(plan.graph, prices)})
    foreseen = foresee(movie, plan, base, values, _Documents(movie).read)
    return price_plan(plan, foreseen.selection, taken=foreseen.jobs, past=_past(movie, plan))


def _past(movie: Movie, plan: ExecutionPlan) -> dict[str, CostRange]:
    """What the calls of each producer that is to run took of late."""
    dirty = set(plan.dirty)
    producers = {node.producer for node in plan.graph.nodes if node.job_id in dirty}
    with movie.metadata.read() as reader:
        past = reader.upkeep.past_costs(producers, bounds.COST_HISTORY_RESULTS)
    return {producer: CostRange(low=low, high=high) for producer, (low, high) in past.items()}


class _Documents:
    """The parsed JSON of artefacts, read when a price asks for what is in them."""

    def __init__(self, movie: Movie) -> None:
        self._movie = movie
        self._known: dict[str, Json | Missing] = {}

    def read(self, artefact: ArtefactValue) -> Json | Missing:
        """The JSON of an artefact; `MISSING` where it is none, or cannot be read."""
        if artefact.hash not in self._known:
            self._known[artefact.hash] = self._parsed(artefact)
        return self._known[artefact.hash]

    def _parsed(self, artefact: ArtefactValue) -> Json | Missing:
        if not is_json(artefact.mime_type):
            return MISSING
        try:
            return parse_json(self._movie.read(artefact))
        except (DamageError, orjson.JSONDecodeError):
            return MISSING
