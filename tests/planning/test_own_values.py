"""A plan holds values of its own: what is signed when it is made is what is called when it is run."""

from __future__ import annotations

from typing import Any

from renku_store import GraphInput, GraphNode, GraphOutput, Planner, ProducerGraph, Reference


def test_what_a_caller_does_with_his_values_later_changes_no_plan() -> None:
    """A result would else be kept under the signature of another value, and reused for that."""
    topic: dict[str, Any] = {"a": ["one"]}
    config: dict[str, Any] = {"voice": {"name": "alice"}}
    context: dict[str, Any] = {"scenes": ["sea"]}
    node = GraphNode(
        job_id="narration",
        producer="narration",
        inputs=[GraphInput(name="text", ref=Reference(kind="input", id="topic", path=["a"]))],
        produces=[GraphOutput(id="narration.audio", name="audio", mime_type="text/plain")],
        provider="demo",
        provider_model="narrate",
        config=config,
        context=context,
    )
    plan = Planner.compute_plan(graph=ProducerGraph(nodes=[node]), manifest=None, inputs={"topic": topic})
    before = plan.to_bytes()
    topic["a"][0] = "two"
    config["voice"]["name"] = "bob"
    context["scenes"].append("rain")
    assert plan.to_bytes() == before
