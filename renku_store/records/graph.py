"""The expanded graph: jobs, what they read and make, and which waits for which."""

from __future__ import annotations

from typing import Literal

from pydantic import ConfigDict, Field, StrictInt, StrictStr

from renku_store.records._base import Json, Record, exactly_one

PathStep = StrictStr | StrictInt


class Reference(Record):
    """Points at an input or an artefact (`id`), or into its JSON value: `path` is keys and positions from the top."""

    kind: Literal["input", "artefact"]
    id: str
    path: list[PathStep] = []

    def text(self) -> str:
        """As a person writes it: `segments[2].text`."""
        return self.id + "".join(f"[{step}]" if isinstance(step, int) else f".{step}" for step in self.path)


class GraphInput(Record):
    """What a job reads under `name`: one reference (`ref`), or a fan-in (`refs`; null is a place without a job)."""

    model_config = ConfigDict(json_schema_extra=exactly_one("ref", "refs"))

    name: str
    ref: Reference | None = None
    refs: list[Reference | None] | None = None


class GraphOutput(Record):
    """What a job makes: the artefact's `id`, the producer's own `name` for it, and its MIME type."""

    id: str
    name: str
    mime_type: str


class GraphNode(Record):
    """One job. Signed are `producer`, `version`, `provider`, `provider_model`, `config`, `context`, inputs and outputs.

    `timeout_seconds` and `max_output_bytes` bound the call and are not signed; nor is `rate_key`, the name under which
    calls share a limit.
    """

    job_id: str
    producer: str
    inputs: list[GraphInput] = []
    produces: list[GraphOutput]
    provider: str
    provider_model: str
    version: str = "1"
    rate_key: str = ""
    config: dict[str, Json] = {}
    context: dict[str, Json] = {}
    timeout_seconds: float | None = None
    max_output_bytes: int | None = None


class GraphEdge(Record):
    """`to` waits for `from`; both are job ids."""

    from_: str = Field(alias="from")
    to: str


class ProducerGraph(Record):
    """All jobs of a movie; `timeline` is the id of the artefact that is the timeline, if one is."""

    nodes: list[GraphNode]
    edges: list[GraphEdge] = []
    timeline: str | None = None
