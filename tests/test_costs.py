"""What calls will cost: prices against what jobs read, and what a plan adds up to."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from renku_store import Choices, CostRange, CostRule, ExecutionPlan, Planner, budget_warnings, hash_bytes
from renku_store.costs import UNKNOWN, dollars, price, with_prices
from renku_store.hashing import graph_bytes, signature
from renku_store.records._base import Json, RecordError
from renku_store.records.graph import Awaited, GraphEdge, GraphInput, GraphNode, GraphOutput, ProducerGraph, Reference
from renku_store.records.manifest import ArtefactValue, Manifest, ManifestArtefact
from renku_store.selection import MISSING, Selection

ZERO_HASH = "0" * 64


def an_input(name: str, *path: str | int) -> Reference:
    return Reference(kind="input", id=name, path=[*path])


def an_artefact(name: str, *path: str | int) -> Reference:
    return Reference(kind="artefact", id=name, path=[*path])


def node(cost: Any = None, reads: Reference | list[Reference | None] | None = None, **more: Any) -> GraphNode:
    """A job that reads one thing, as `text`."""
    entry: list[GraphInput] = []
    if isinstance(reads, list):
        entry = [GraphInput(name="text", refs=reads)]
    elif reads is not None:
        entry = [GraphInput(name="text", ref=reads)]
    job_id = more.pop("job_id", "a")
    return GraphNode(
        job_id=job_id,
        producer=more.pop("producer", job_id),
        inputs=entry,
        produces=[GraphOutput(id=f"{job_id}.out", name="out", mime_type="text/plain")],
        provider="x",
        provider_model="y",
        cost=None if cost is None else CostRule.from_json(cost),
        **more,
    )


def text_artefact(text: str, *, inline: bool = True, mime_type: str = "text/plain") -> ArtefactValue:
    data = text.encode()
    digest = hash_bytes(data)
    kept: dict[str, Any] = {"inline": text} if inline else {"blob": digest}
    return ArtefactValue(hash=digest, size=len(data), mime_type=mime_type, **kept)


def asked(
    rule: Any,
    reads: Reference | list[Reference | None] | None = None,
    *,
    inputs: Mapping[str, Any] | None = None,
    artefacts: Mapping[str, ArtefactValue] | None = None,
    document: Json = None,
    not_made: bool = False,
    **more: Any,
) -> tuple[float, float] | None:
    found = price(
        node(rule, reads, **more),
        Selection(inputs or {}, artefacts or {}, lambda _: MISSING if document is None else document),
        lambda _: not_made,
    )
    return None if found is None else (found.low, found.high)


CHARACTERS = {"perCharacter": 0.01, "of": "text"}
SECONDS = {"perSecond": 0.5, "of": "text"}
ITEMS = {"perItem": 0.1, "of": "text"}


def test_a_fixed_price_is_itself_and_no_price_is_none() -> None:
    """A number is both bounds; without a rule nobody can say."""
    assert asked(0.04) == (0.04, 0.04)
    assert asked({"low": 0.1, "high": 0.3}) == (0.1, 0.3)
    assert asked(None) is None


@given(text=st.text(max_size=50))
def test_characters_of_an_input_are_those_of_its_text(text: str) -> None:
    """Unicode code points, not bytes."""
    cost = pytest.approx(len(text) * 0.01)
    assert asked(CHARACTERS, an_input("t"), inputs={"t": text}) == (cost, cost)


@pytest.mark.parametrize(("value", "written"), [(["ab", 1], '["ab",1]'), ({"a": "b"}, '{"a":"b"}'), (12, "12")])
def test_characters_of_another_value_are_those_of_its_json(value: Any, written: str) -> None:
    """Without spaces: canonical JSON, which is also what is hashed."""
    cost = pytest.approx(len(written) * 0.01)
    assert asked(CHARACTERS, an_input("t"), inputs={"t": value}) == (cost, cost)


@given(text=st.text(min_size=1, max_size=50))
def test_a_text_that_is_a_blob_has_between_a_quarter_and_all_of_its_bytes_as_characters(text: str) -> None:
    """Nothing is read for that; the range holds the truth, which an inline text tells exactly."""
    wide = asked(CHARACTERS, an_artefact("t"), artefacts={"t": text_artefact(text, inline=False)})
    exact = asked(CHARACTERS, an_artefact("t"), artefacts={"t": text_artefact(text)})
    assert wide is not None
    assert exact is not None
    assert wide[0] <= exact[0] + 1e-9
    assert exact[1] <= wide[1] + 1e-9
    assert exact[0] == exact[1] == pytest.approx(len(text) * 0.01)


def test_items_are_those_of_a_list_or_the_places_of_a_fan_in_that_have_a_job() -> None:
    """How many places there are is known before any of them is made."""
    assert asked(ITEMS, an_input("t"), inputs={"t": [1, 2, 3]}) == (pytest.approx(0.3),) * 2
    fan_in = [an_artefact("b.out"), None, an_artefact("c.out")]
    assert asked(ITEMS, fan_in, not_made=True) == (0.2, 0.2)
    assert asked(ITEMS, an_input("t"), inputs={"t": "no list"}) is None


def test_seconds_are_a_number_of_the_config_or_of_an_input() -> None:
    """The numbers of a fan-in add up; what is no number is not counted."""
    assert asked({"perSecond": 0.5, "of": "length"}, config={"length": 4}) == (2.0, 2.0)
    fan_in: list[Reference | None] = [an_input("a"), an_input("b")]
    assert asked(SECONDS, fan_in, inputs={"a": 1.5, "b": 2}) == (1.75, 1.75)
    for wrong in ("4", True, -1, None, [4]):
        assert asked(SECONDS, an_input("t"), inputs={"t": wrong}) is None


def test_what_cannot_be_counted_yet_is_within_the_bounds_that_are_given() -> None:
    """And unknown where there are none; a missing input has nothing to be charged for."""
    bounded = {**CHARACTERS, "low": 0.2, "high": 0.9}
    present = {"t": text_artefact("abc")}
    assert asked(bounded, an_artefact("t"), artefacts=present) == (0.03, 0.03)
    assert asked(bounded, an_artefact("t"), artefacts=present, not_made=True) == (0.2, 0.9)
    assert asked(bounded, an_artefact("t")) == (0.2, 0.9)
    assert asked({**CHARACTERS, "high": 0.9}, an_artefact("t")) == (0.0, 0.9)
    assert asked(CHARACTERS, an_artefact("t"), artefacts=present, not_made=True) is None
    assert asked(CHARACTERS, an_artefact("t"), artefacts={"t": text_artefact("a", mime_type="audio/wav")}) is not None
    assert asked(CHARACTERS, an_input("t")) == (0.0, 0.0)


def test_what_is_inside_a_json_artefact_is_counted_as_a_value() -> None:
    """Not the document around it."""
    present = {"s.out": text_artefact('{"a":"four"}', mime_type="application/json")}
    assert asked(CHARACTERS, an_artefact("s.out", "a"), artefacts=present, document={"a": "four"}) == (0.04, 0.04)
    assert asked(CHARACTERS, an_artefact("s.out", "b"), artefacts=present, document={"a": "four"}) is None


@pytest.mark.parametrize(
    "wrong",
    [
        -1, True, "1", float("nan"), float("inf"), {}, {"low": 1}, {"high": 1}, {"low": 2, "high": 1},
        {"low": "1", "high": 2},
        {"perCharacter": 1}, {"of": "text"}, {"low": 1, "high": 2, "of": "text"},
        {"perCharacter": 1, "perItem": 1, "of": "text"}, {"perSecond": -1, "of": "text"},
    ],
)  # fmt: skip
def test_a_rule_that_means_nothing_is_refused(wrong: Any) -> None:
    """A price is a finite number of dollars from 0, one for one unit, or two bounds in order."""
    with pytest.raises(RecordError):
        CostRule.from_json(wrong)


# Plans


def planned(
    *nodes: GraphNode,
    inputs: Mapping[str, Json] | None = None,
    manifest: Manifest | None = None,
    reusable: Collection[str] = (),
    past: Mapping[str, CostRange] | None = None,
    **more: Any,
) -> ExecutionPlan:
    makers = {output.id: entry.job_id for entry in nodes for output in entry.produces}
    edges = [
        GraphEdge.from_json({"from": makers[ref.id], "to": entry.job_id})
        for entry in nodes
        for read in entry.inputs
        for ref in (read.refs or [read.ref])
        if ref is not None and ref.kind == "artefact"
    ]
    return Planner.compute_plan(
        graph=ProducerGraph(nodes=[*nodes], edges=edges),
        manifest=manifest,
        inputs=inputs or {},
        reusable=reusable,
        past_costs=past,
        **more,
    )


def amounts(plan: ExecutionPlan, job: str) -> tuple[float, float, int]:
    cost = plan.jobs[job].cost
    assert cost is not None
    return cost.low, cost.high, cost.unknown


def test_a_plan_adds_up_what_its_jobs_cost_and_counts_those_that_nobody_can_price() -> None:
    """The sum of the ranges; unknown calls are in neither bound."""
    plan = planned(node(0.04), node({"low": 0.1, "high": 0.3}, job_id="b"), node(job_id="c"))
    assert plan.cost == CostRange(low=0.14, high=0.34, unknown=1)
    assert plan.jobs["c"].cost == UNKNOWN


def test_past_costs_stand_for_a_price_that_nobody_has_declared() -> None:
    """A declared one goes before them; so they do where a declared one cannot be counted."""
    past = {"a": CostRange(low=0.1, high=0.2), "b": CostRange(low=1, high=2)}
    plan = planned(node(), node(0.5, job_id="b"), past=past)
    assert (amounts(plan, "a"), amounts(plan, "b")) == ((0.1, 0.2, 0), (0.5, 0.5, 0))
    uncounted = planned(node(CHARACTERS, an_artefact("b.out")), node(0.5, job_id="b"), past=past)
    assert amounts(uncounted, "a") == (0.0, 0.2, 0)


def test_a_job_that_a_result_answers_costs_nothing() -> None:
    """It is told so; a forced one is made all the same."""
    job = node(0.5)
    known = signature(job, {})
    plan = planned(job, reusable={known})
    assert (plan.jobs["a"].reuse, amounts(plan, "a")) == (True, (0.0, 0.0, 0))
    forced = planned(job, reusable={known}, choices=Choices(regen=["a"]))
    assert (forced.jobs["a"].reuse, amounts(forced, "a")) == (None, (0.5, 0.5, 0))


def test_of_two_jobs_that_ask_the_same_one_is_paid() -> None:
    """The second takes the result of the first."""
    plan = planned(node(0.5, producer="p"), node(0.5, job_id="b", producer="p"))
    assert (plan.jobs["a"].reuse, plan.jobs["b"].reuse, plan.cost.high) == (None, True, 0.5)


def test_a_job_that_is_decided_at_dispatch_may_cost_nothing_where_something_could_answer_it() -> None:
    """With no result of its producer and nothing in a revision it will surely be called."""
    made, after = node(0.1), node(0.5, an_artefact("a.out"), job_id="b")
    assert amounts(planned(made, after), "b") == (0.5, 0.5, 0)
    assert amounts(planned(made, after, past={"b": CostRange(low=1, high=1)}), "b") == (0.0, 0.5, 0)


def test_clean_jobs_and_those_left_out_have_no_cost() -> None:
    """Nothing of them is paid."""
    job = node(0.5)
    entry = ManifestArtefact(**text_artefact("x").values(), produced_by="a", job="a", signature=signature(job, {}))
    base = Manifest(
        format=1, movie="m", revision="rev-0001", run="r", created_at="now", content_hash=ZERO_HASH,
        artefacts={"a.out": entry},
    )  # fmt: skip
    plan = planned(job, node(0.7, job_id="b"), manifest=base, choices=Choices(targets=["a"]))
    assert (plan.jobs["a"].state, plan.jobs["a"].cost) == ("clean", None)
    assert (plan.jobs["b"].left_out, plan.jobs["b"].cost, plan.cost) == (True, None, CostRange())


@given(
    lows=st.lists(st.tuples(st.integers(0, 100), st.integers(0, 100), st.booleans()), max_size=6),
)
def test_the_total_is_the_sum_of_its_parts(lows: list[tuple[int, int, bool]]) -> None:
    """In cents exactly, whatever binary fractions make of them."""
    jobs = [
        node(None if unknown else {"low": low / 100, "high": (low + more) / 100}, job_id=f"j{place}")
        for place, (low, more, unknown) in enumerate(lows)
    ]
    plan = planned(*jobs)
    known = [(low, more) for low, more, unknown in lows if not unknown]
    assert plan.cost.low == sum(low for low, _ in known) / 100
    assert plan.cost.high == sum(low + more for low, more in known) / 100
    assert plan.cost.unknown == len(lows) - len(known)


def _base(*artefacts: str) -> Manifest:
    """A revision with these artefacts of `say`, by their jobs."""
    entries = {
        f"{job}.out": ManifestArtefact(**text_artefact("x").values(), produced_by="say", job=job, signature=ZERO_HASH)
        for job in artefacts
    }
    return Manifest(
        format=1, movie="m", revision="rev-0001", run="r", created_at="now", content_hash=ZERO_HASH, artefacts=entries
    )  # fmt: skip


def _waiting(cost: Any, job_id: str = "say[*]") -> GraphNode:
    return node(cost, job_id=job_id, producer="say", awaits=Awaited(artefacts=["script.out"]))


def test_a_placeholder_costs_what_as_many_jobs_as_there_were_would() -> None:
    """At most; each of them may be answered by a result, or be gone."""
    script, price = node(0.1, job_id="script"), {"low": 0.1, "high": 0.5}
    base = _base("say[0]", "say[1]", "say[2]")
    plan = planned(script, _waiting(price), manifest=base)
    assert (plan.jobs["say[*]"].jobs_before, plan.jobs["say[*]"].cost) == (3, CostRange(high=1.5))
    assert plan.cost == CostRange(low=0.1, high=1.6)
    unknown = planned(script, _waiting(None), manifest=base)
    assert unknown.cost == CostRange(low=0.1, high=0.1, unknown=3)
    past = planned(script, _waiting(None), manifest=base, past={"say": CostRange(low=0.2, high=0.3)})
    assert past.jobs["say[*]"].cost == CostRange(high=0.9)


def test_a_placeholder_for_nobody_knows_how_many_jobs_counts_one_and_says_so() -> None:
    """Where a loop may be of any length; one job that may be there or not is one."""
    script = node(0.1, job_id="script")
    plan = planned(script, _waiting(0.5))
    assert plan.jobs["say[*]"].cost == CostRange(high=0.5, open_loops=1)
    assert plan.cost == CostRange(low=0.1, high=0.6, open_loops=1)
    assert budget_warnings(plan, 5) == ["Nobody knows yet how many jobs say[*] will be: one job of each is counted."]
    single = planned(script, _waiting(0.5, job_id="say"))
    assert single.jobs["say"].cost == CostRange(high=0.5)


def test_jobs_before_are_counted_for_each_form_of_a_placeholder() -> None:
    """Whichever of its labels are open."""
    base = _base("say[0][en]", "say[0][de]", "say[1][en]")
    nodes = [_waiting(1, job_id=job) for job in ("say[*][en]", "say[*][de]", "say[*][fr]", "say[*][*]", "say[0][*]")]
    plan = planned(node(job_id="script"), *nodes, manifest=base)
    before = {job: entry.jobs_before for job, entry in plan.jobs.items() if job != "script"}
    assert before == {"say[*][en]": 2, "say[*][de]": 1, "say[*][fr]": None, "say[*][*]": 3, "say[0][*]": 2}


def test_what_is_decided_already_keeps_its_cost_and_answers_others() -> None:
    """A plan that has grown: of two jobs that ask the same, the new one is not paid."""
    one, same = node(0.5, producer="p"), node(0.5, job_id="b", producer="p")
    first = planned(one)
    decided = {"a": first.jobs["a"].replace(cost=CostRange(low=0.4, high=0.4))}
    plan = planned(one, same, decided_jobs=decided)
    assert (plan.jobs["a"], plan.jobs["b"].reuse) == (decided["a"], True)
    assert plan.cost == CostRange(low=0.4, high=0.4)


def test_a_price_changes_neither_the_graph_nor_a_signature() -> None:
    """Another price makes no job dirty and is no reason for a revision."""
    dear, cheap, none = (ProducerGraph(nodes=[node(cost)]) for cost in (0.5, {"low": 0, "high": 1}, None))
    assert graph_bytes(dear) == graph_bytes(cheap) == graph_bytes(none)
    assert signature(dear.nodes[0], {}) == signature(none.nodes[0], {})
    assert ExecutionPlan.read(planned(node(0.5)).to_bytes()).graph == dear


def test_a_price_of_the_graph_goes_before_that_of_a_registry() -> None:
    """Only nodes without one are given one."""
    graph = ProducerGraph(nodes=[node(0.5), node(job_id="b")])
    rule = CostRule(low=2, high=2)
    assert [entry.cost for entry in with_prices(graph, lambda _: rule).nodes] == [CostRule(low=0.5, high=0.5), rule]
    assert with_prices(graph, lambda _: None) is graph


def test_a_budget_that_may_not_do_is_warned_of() -> None:
    """Because the plan may cost more, and because nobody knows what a part of it costs."""
    plan = planned(node(0.5), node(job_id="b"), node(job_id="c"))
    unknown, high = budget_warnings(plan, 0.4)
    assert unknown.startswith("Nobody can say what b and 1 more will cost")
    assert "up to $0.50, more than the budget of $0.40" in high
    assert budget_warnings(plan, None) == []
    assert budget_warnings(planned(node(0.5)), 0.5) == []


@pytest.mark.parametrize(("amount", "shown"), [(0, "$0.00"), (2.5, "$2.50"), (0.000016, "$0.000016"), (12, "$12.00")])
def test_an_amount_is_shown_as_exactly_as_it_needs(amount: float, shown: str) -> None:
    """At least cents, at most millionths."""
    assert dollars(amount) == shown
