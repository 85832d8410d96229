"""What calls will cost, from declared prices and from what jobs read. Pure: the same arguments give the same ranges.

A range is in US dollars. Where nobody has declared a price, the range of what calls of that producer took in the past
stands for it; where there is no past either, the cost is unknown, and told as such instead of being guessed.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping
from itertools import compress
from operator import attrgetter
from typing import Final, TypeAlias

from msgspec import Struct, field

from renku_store.hashing import canonical_json
from renku_store.media_types import is_text
from renku_store.records._base import Json
from renku_store.records.graph import CostRule, GraphNode, ProducerGraph, Reference
from renku_store.records.manifest import ArtefactValue
from renku_store.records.plan import CostRange, ExecutionPlan, PlannedJob
from renku_store.records.sheet import jobs_by_artefact, nodes_by_id
from renku_store.selection import Missing, Selection, references

Prices: TypeAlias = Callable[[GraphNode], CostRule | None]
"""Who knows what a call costs where the graph does not say: a registry's `price`."""

UNKNOWN: Final = CostRange(unknown=1)
"""The cost of one call that nobody can price."""

_NOTHING: Final = CostRange()
_UTF8_MAX_BYTES: Final = 4
_told_of: Final = attrgetter("state", "cost", "reuse")
_PLAIN: Final = ("clean", None, None)

_Units: TypeAlias = tuple[float, float]
"""How many units there are, at least and at most."""


def dollars(amount: float) -> str:
    """An amount for people, exact to a millionth: `$2.50`, `$0.000016`."""
    whole, _, rest = f"{amount:.6f}".partition(".")
    return f"${whole}.{rest.rstrip('0').ljust(2, '0')}"


def budget_warnings(plan: ExecutionPlan, max_cost: float | None) -> list[str]:
    """What somebody should know before a plan is run with this budget, in sentences."""
    if max_cost is None:
        return []
    warnings: list[str] = []
    if plan.cost.unknown:
        unpriced = [job for job in plan.dirty if (cost := plan.jobs[job].cost) is not None and cost.unknown]
        more = f" and {len(unpriced) - 1} more" if len(unpriced) > 1 else ""
        warnings.append(
            f"Nobody can say what {unpriced[0]}{more} will cost: before they are paid they count as nothing "
            "in the budget. Give their producers a `cost`."
        )
    if plan.cost.open_loops:
        loops = [job for job in plan.dirty if (cost := plan.jobs[job].cost) is not None and cost.open_loops]
        more = f" and {len(loops) - 1} more" if len(loops) > 1 else ""
        warnings.append(f"Nobody knows yet how many jobs {loops[0]}{more} will be: one job of each is counted.")
    spent = plan.spent or 0.0
    if round(spent + plan.cost.high, 9) > max_cost:
        what = f"What is left to be made, after {dollars(spent)} spent by the run," if spent else "All of it"
        warnings.append(
            f"{what} may cost up to {dollars(plan.cost.high)}, more than the budget of {dollars(max_cost)}"
            f"{' leaves' if spent else ''}: the run may end before everything is made."
        )
    return warnings


def with_prices(graph: ProducerGraph, prices: Prices) -> ProducerGraph:
    """The graph with a price at each node that has none of its own and that `prices` knows."""
    nodes = [_priced(node, prices) for node in graph.nodes]
    return graph if nodes == graph.nodes else graph.replace(nodes=nodes)


def with_prices_of(graph: ProducerGraph, before: ProducerGraph) -> ProducerGraph:
    """A graph that has grown out of another one in a run, with the prices that were frozen when the run planned."""
    known = {node.producer: node.cost for node in before.nodes}
    return with_prices(graph, lambda node: known.get(node.producer))


def _priced(node: GraphNode, prices: Prices) -> GraphNode:
    rule = prices(node) if node.cost is None else None
    return node if rule is None else node.replace(cost=rule)


def price(node: GraphNode, selection: Selection, not_made: Callable[[str], bool] = lambda _: False) -> CostRange | None:
    """What one call of a node costs by the price that it declares; None where it declares none, or none that holds.

    `not_made` tells of an artefact whether it is still to be made: what reads it cannot be counted yet.
    """
    rule = node.cost
    if rule is None:
        return None
    if rule.of is None:
        return _bounds(rule)
    units = _counted(node, rule, selection, not_made)
    if units is None:
        return _bounds(rule)
    each = next(p for p in (rule.per_character, rule.per_second, rule.per_item) if p is not None)
    return CostRange(low=round(units[0] * each, 9), high=round(units[1] * each, 9))


def _bounds(rule: CostRule) -> CostRange | None:
    """What holds whatever a call reads."""
    return None if rule.high is None else CostRange(low=float(rule.low or 0), high=float(rule.high))


# How many units of what it reads a call is charged for


def _counted(node: GraphNode, rule: CostRule, selection: Selection, not_made: Callable[[str], bool]) -> _Units | None:
    entry = next((entry for entry in node.inputs if entry.name == rule.of), None)
    if entry is None:
        return _of_value(node.config[rule.of], rule) if rule.of in node.config else None
    if rule.per_item is not None and entry.refs is not None:
        return _exactly(len(references(entry)))
    return _sum(_of_reference(reference, rule, selection, not_made) for reference in references(entry))


def _sum(counts: Iterable[_Units | None]) -> _Units | None:
    least = most = 0.0
    for count in counts:
        if count is None:
            return None
        least, most = least + count[0], most + count[1]
    return least, most


def _of_reference(
    reference: Reference, rule: CostRule, selection: Selection, not_made: Callable[[str], bool]
) -> _Units | None:
    if reference.kind == "artefact":
        artefact = selection.artefact(reference.id)
        if artefact is None or not_made(reference.id):
            return None
        if not reference.path:
            return _of_text(artefact) if rule.per_character is not None else None
    value = selection.value(reference)
    if isinstance(value, Missing):
        return None if reference.kind == "artefact" else _exactly(0)
    return _of_value(value, rule)


def _of_value(value: Json, rule: CostRule) -> _Units | None:
    if rule.per_character is not None:
        return _exactly(len(value if isinstance(value, str) else canonical_json(value).decode()))
    if rule.per_item is not None:
        return _exactly(len(value)) if isinstance(value, list) else None
    if isinstance(value, bool) or not isinstance(value, int | float) or value < 0:
        return None
    return _exactly(value)


def _of_text(artefact: ArtefactValue) -> _Units | None:
    """The characters of a whole text: of one that is a blob as many as its bytes can hold, at least and at most."""
    if artefact.inline is not None:
        return _exactly(len(artefact.inline))
    if not is_text(artefact.mime_type):
        return None
    return -(-artefact.size // _UTF8_MAX_BYTES), artefact.size


def _exactly(count: float) -> _Units:
    return count, count


# A whole plan


def price_plan(
    plan: ExecutionPlan,
    selection: Selection,
    *,
    reusable: Collection[str] = frozenset(),
    past: Mapping[str, CostRange] | None = None,
    priced: Collection[str] = frozenset(),
    taken: Collection[str] = frozenset(),
) -> ExecutionPlan:
    """The plan with the cost of every job that it runs, and of all of them.

    - `reusable`: signatures that a result answers which is there; those jobs take nothing.
    - `past`: what calls of a producer took so far, for those that have results.
    - `priced`: jobs whose cost was worked out before, and stays.
    - `taken`: jobs that results answer which are there, and which `selection` holds; they take nothing either.

    `low` counts a job whose signature is decided at dispatch only where no earlier result can answer it. `high` counts
    as many calls of a placeholder as there were jobs in its place before; where there were none, one, and an open loop.
    """
    if not plan.dirty:
        return plan
    forecast = _Forecast(plan, selection, set(reusable), past or {}, priced, taken)
    told = {job_id: forecast.job(job_id, plan.jobs[job_id]) for job_id in _not_plain(plan.jobs, taken)}
    total = CostRange.total(job.cost for job in told.values() if job.cost is not None)
    return plan.replace(jobs={**plan.jobs, **told}, cost=total)


def _not_plain(jobs: Mapping[str, PlannedJob], taken: Collection[str]) -> list[str]:
    """The jobs that are not simply clean, in order: a plan of a million has few of them."""
    found = [*compress(jobs, map(_PLAIN.__ne__, map(_told_of, jobs.values())))]
    if not taken:
        return found
    wanted = {*found, *taken}
    return [job_id for job_id in jobs if job_id in wanted]


class _Forecast(Struct):
    """The pricing of one plan; `answered` grows by the signatures of the jobs that are made."""

    plan: ExecutionPlan
    selection: Selection
    answered: set[str]
    past: Mapping[str, CostRange]
    priced: Collection[str]
    taken: Collection[str]
    nodes: Mapping[str, GraphNode] = field(default_factory=dict)
    makers: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.nodes = nodes_by_id(self.plan.graph)
        self.makers = jobs_by_artefact(self.plan.graph)

    def job(self, job_id: str, job: PlannedJob) -> PlannedJob:
        """One job with its cost."""
        if job_id in self.priced:
            if job.state != "clean" and job.signature is not None:
                self.answered.add(job.signature)
            return job
        if job_id in self.taken:
            return _told(job, reuse=True, cost=_NOTHING)
        if job.state == "clean" or job.left_out:
            return _told(job, reuse=None, cost=None)
        forced = any(reason.kind == "forced" for reason in job.reasons)
        if job.signature is not None and not forced:
            if job.signature in self.answered:
                return _told(job, reuse=True, cost=_NOTHING)
            self.answered.add(job.signature)
        cost = self._call(self.nodes[job_id], job)
        if job.signature is None and not forced and self._may_be_answered(self.nodes[job_id], job):
            cost = cost.replace(low=0.0)
        return _told(job, reuse=None, cost=cost)

    def _call(self, node: GraphNode, job: PlannedJob) -> CostRange:
        if job.state == "deferred":  # how many it will read is not known either
            declared = _bounds(node.cost) if node.cost is not None else None
        else:
            declared = price(node, self.selection, self._is_not_made)
        cost = declared or self.past.get(node.producer) or UNKNOWN
        if not node.stands_for_many:
            return cost
        if job.jobs_before:
            return cost.replace(low=0.0).times(job.jobs_before)
        return cost.replace(low=0.0, open_loops=1)

    def _is_not_made(self, artefact: str) -> bool:
        maker = self.makers.get(artefact)
        return maker is not None and maker not in self.taken and self.plan.jobs[maker].state != "clean"

    def _may_be_answered(self, node: GraphNode, job: PlannedJob) -> bool:
        lost = any(reason.kind in {"output missing", "blob missing or damaged"} for reason in job.reasons)
        return not lost or node.producer in self.past


def _told(job: PlannedJob, *, reuse: bool | None, cost: CostRange | None) -> PlannedJob:
    if job.reuse == reuse and job.cost == cost:
        return job
    return job.replace(reuse=reuse, cost=cost)
