"""Small worlds of jobs: what each reads and makes, as plain values, and how a producer of them behaves.

A producer is a function of its request, and of nothing else. Some forget part of what they are given, so that a change
often ends where it began.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Literal

from renku_store import FileItem, Item, Job, JobContext, Produced, ProducerError, ValueItem
from renku_store.records._base import Json

Behaviour = Literal["all", "first", "parity", "constant"]
Outputs = dict[str, str]
"""Output name -> text."""


@dataclass(frozen=True)
class Place:
    """One thing that is read: an input, an artefact, or a part of either."""

    kind: Literal["input", "artefact"]
    id: str
    path: tuple[str | int, ...] = ()


@dataclass(frozen=True)
class Read:
    """What a job reads under a name; a fan-in has any number of places, some of them empty."""

    name: str
    places: tuple[Place | None, ...]
    fan_in: bool = False


@dataclass(frozen=True)
class JobSpec:
    """One job. `after` are jobs that it waits for without reading anything of them; `long` adds a large output."""

    name: str
    producer: str
    behaviour: Behaviour
    reads: tuple[Read, ...] = ()
    after: tuple[str, ...] = ()
    salt: int = 0
    version: str = "1"
    long: bool = False

    @property
    def outputs(self) -> dict[str, str]:
        """Output name -> MIME type."""
        return {"out": "application/json", **({"log": "text/plain"} if self.long else {})}

    @property
    def config(self) -> dict[str, Json]:
        """What the producer is told beyond its inputs."""
        return {"does": self.behaviour, "salt": self.salt}

    def artefact(self, output: str) -> str:
        """The id of an output."""
        return f"{self.name}.{output}"


@dataclass(frozen=True)
class World:
    """Everything that a person decides: the jobs, and the values of the inputs."""

    jobs: tuple[JobSpec, ...]
    inputs: dict[str, Json]

    def graph(self) -> Json:
        """The jobs as a graph document."""
        nodes: list[Json] = [_node(job) for job in self.jobs]
        edges: list[Json] = [{"from": before, "to": job.name} for job in self.jobs for before in job.after]
        return {"nodes": nodes, "edges": edges}


def _node(job: JobSpec) -> Json:
    return {
        "jobId": job.name,
        "producer": job.producer,
        "version": job.version,
        "provider": "test",
        "providerModel": "m",
        "config": job.config,
        "inputs": [_entry(read) for read in job.reads],
        "produces": [
            {"id": job.artefact(name), "name": name, "mimeType": mime_type} for name, mime_type in job.outputs.items()
        ],
    }


def _entry(read: Read) -> Json:
    places: list[Json] = [
        None if place is None else {"kind": place.kind, "id": place.id, "path": list(place.path)}
        for place in read.places
    ]
    return {"name": read.name, "refs": places} if read.fan_in else {"name": read.name, "ref": places[0]}


def request_text(producer: str, version: str, config: dict[str, Json], inputs: dict[str, Any], outputs: Any) -> str:
    """A request as text: equal texts are equal requests."""
    return json.dumps([producer, version, config, inputs, outputs], sort_keys=True)


def answer(request: str) -> Outputs:
    """What the producers of these worlds make of a request."""
    producer, _, config, inputs, outputs = json.loads(request)
    read = {
        "all": request,
        "first": json.dumps(inputs[min(inputs)] if inputs else None, sort_keys=True),
        "parity": str(_number(request) % 2),
        "constant": producer,
    }[config["does"]]
    number = _number(read)
    made = {"out": json.dumps({"x": number % 3, "y": [number % 2, {"z": number % 5}], "of": number % 10_000})}
    if "log" in outputs:
        made["log"] = f"{producer} {_number(request)} " * 150
    return made


def _number(text: str) -> int:
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:6], "big")


def _seen(item: Item | None) -> Any:
    match item:
        case None:
            return None
        case ValueItem(value):
            return {"value": value}
        case FileItem(path, mime_type):
            return {"file": path.read_text(), "type": mime_type}
        case _:
            return [_seen(place) for place in item]


@dataclass
class Provider:
    """Answers requests, counts them, and fails where it is told to."""

    broken: frozenset[str] = frozenset()
    asked: Counter[str] = field(default_factory=Counter)
    jobs: list[str] = field(default_factory=list)
    answered: set[str] = field(default_factory=set)
    by: set[tuple[str, str]] = field(default_factory=set)
    after_answer: Callable[[], None] = lambda: None

    async def __call__(self, job: Job, context: JobContext) -> Produced:
        inputs = {name: _seen(item) for name, item in job.inputs.items()}
        outputs = {name: output.mime_type for name, output in job.outputs.items()}
        request = request_text(job.producer, job.version, dict(job.config), inputs, outputs)
        self.asked[request] += 1
        self.jobs.append(job.job_id)
        await asyncio.sleep(0)
        if job.producer in self.broken:
            raise ProducerError(f"{job.producer} is broken")
        self.answered.add(request)
        self.by.add((job.job_id, request))
        self.after_answer()
        return Produced(answer(request), cost=0.01)
