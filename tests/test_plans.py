"""Plans as objects: saved under their run, replaced when it is resumed, named when damaged."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from renku_store import (
    BlobCorruptError,
    ExecutionPlan,
    InvalidIdError,
    Movie,
    NotFoundError,
    open_store,
    plan_movie,
    set_inputs,
)
from renku_store.drivers.local import LocalDriver
from renku_store.hashing import canonical_document
from renku_store.many import bytes_of_graph
from renku_store.plans import PlanStore, plan_path
from renku_store.records.graph import CostRule

RUN = "01890a5d-ac96-774b-bcce-b302099a8057"
OTHER = "01890a5d-ac96-774b-bcce-b302099a8058"
BLUEPRINT = """
inputs: {a: {required: true}}
producers:
  p: {run: test/p, inputs: {a: a}, outputs: {out: {mimeType: text/plain}}, config: {x: null, y: 0.5}}
"""


@pytest.fixture
def plans(tmp_path: Path) -> PlanStore:
    return PlanStore(LocalDriver(tmp_path), lambda: OTHER)


@pytest.fixture
def plan(tmp_path: Path) -> ExecutionPlan:
    with open_store(tmp_path / "root") as store:
        movie: Movie = store.create_movie("film")
        set_inputs(movie, {"@blueprint": BLUEPRINT, "a": {"null": None, "small": 1e-7}})
        return plan_movie(movie).replace(run=RUN, movie="film")


def test_a_plan_comes_back_as_it_was_and_can_be_saved_again(
    plans: PlanStore, plan: ExecutionPlan, tmp_path: Path
) -> None:
    """Nulls included; the file is canonical JSON."""
    assert plans.save(plan) == plan
    path = plan_path(RUN)
    assert path == f"runs/{RUN}-plan.json"
    data = (tmp_path / path).read_bytes()
    loaded = plans.load(RUN)
    assert loaded.inputs == plan.inputs
    assert loaded.graph.nodes == plan.graph.nodes
    plans.save(loaded)
    assert (tmp_path / path).read_bytes() == data == canonical_document(plan.to_json())


def test_a_plan_is_the_same_with_its_graph_written_before(
    plans: PlanStore, plan: ExecutionPlan, tmp_path: Path
) -> None:
    """Who has the bytes of the graph gives them; the file is the one that is written without."""
    priced = plan.replace(
        graph=plan.graph.replace(nodes=[node.replace(cost=CostRule(low=1.0, high=2.5)) for node in plan.graph.nodes])
    )
    for each in (plan, priced):
        plans.save(each)
        data = (tmp_path / plan_path(RUN)).read_bytes()
        plans.save(each, graph=bytes_of_graph(each.graph, recorded=False))
        assert (tmp_path / plan_path(RUN)).read_bytes() == data


def test_a_resumed_run_replaces_its_plan(plans: PlanStore, plan: ExecutionPlan) -> None:
    """The newest is what the run does."""
    plans.save(plan)
    plans.save(plan.replace(base_revision="rev-0007"))
    assert plans.load(RUN).base_revision == "rev-0007"


def test_a_plan_of_no_run_is_saved_as_that_of_a_new_one(plans: PlanStore, plan: ExecutionPlan) -> None:
    """What comes back names the run, by which it is found again."""
    saved = plans.save(plan.replace(run=None))
    assert saved.run == OTHER
    assert plans.load(OTHER).jobs == plan.jobs


def test_a_run_without_a_plan_is_the_callers_mistake(plans: PlanStore) -> None:
    """Named, with what to do."""
    with pytest.raises(NotFoundError, match=RUN):
        plans.load(RUN)
    for wrong in ("../x", "run", ""):
        with pytest.raises(InvalidIdError):
            plans.load(wrong)


@pytest.mark.parametrize("data", [b"", b"[]", b"{}", b"\xff", b'{"jobs": 1}'])
def test_a_damaged_plan_is_named(plans: PlanStore, tmp_path: Path, data: bytes) -> None:
    """It is made anew by the next run."""
    LocalDriver(tmp_path).replace(plan_path(RUN), data)
    with pytest.raises(BlobCorruptError, match=RUN):
        plans.load(RUN)


def test_a_plan_tolerates_fields_of_a_later_writer(plans: PlanStore, plan: ExecutionPlan, tmp_path: Path) -> None:
    """They are ignored."""
    plans.save(plan)
    path = tmp_path / plan_path(RUN)
    path.write_bytes(json.dumps({**json.loads(path.read_bytes()), "later": [1]}).encode())
    assert plans.load(RUN).jobs == plan.jobs
