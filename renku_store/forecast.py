"""What a plan will take: the prices that are declared, the calls of the past, and the results that answer already.

Looks, and writes nothing: a result that turns out to be damaged when a run takes it over is made anew then.
"""

from __future__ import annotations

from collections.abc import Mapping

from renku_store import bounds
from renku_store.costs import Prices, price_plan, with_prices
from renku_store.expansion import JsonReader
from renku_store.foreseen import foresee
from renku_store.movie import Movie
from renku_store.records._base import Json
from renku_store.records.manifest import Manifest
from renku_store.records.plan import CostRange, ExecutionPlan
from renku_store.records.sheet import nodes_by_id


def forecast(
    movie: Movie, plan: ExecutionPlan, base: Manifest | None, values: Mapping[str, Json], prices: Prices | None = None
) -> ExecutionPlan:
    """The plan with what it will take, job by job; `values` are those of the inputs that it uses.

    `prices` are asked for what the graph has no `cost` for; what they say stays with the plan.
    """
    if not plan.dirty:
        return plan
    if prices is not None:
        plan = plan.replace(graph=with_prices(plan.graph, prices))
    foreseen = foresee(movie, plan, base, values, JsonReader(movie).read)
    return price_plan(plan, foreseen.selection, taken=foreseen.jobs, past=_past(movie, plan))


def _past(movie: Movie, plan: ExecutionPlan) -> dict[str, CostRange]:
    """What the calls of each producer that is to run took of late."""
    nodes = nodes_by_id(plan.graph)
    producers = {nodes[job].producer for job in plan.dirty}
    with movie.metadata.read() as reader:
        past = reader.upkeep.past_costs(producers, bounds.COST_HISTORY_RESULTS)
    return {producer: CostRange(low=low, high=high) for producer, (low, high) in past.items()}
