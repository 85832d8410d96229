"""One call of a producer: what it is asked, what stands beside the request, and what it answers.

A producer sees what is signed and nothing else: `Job.request` is all of it. `job_id`, `signature` and everything in
`JobContext` are there for logs, limits and a place to work in; a result that depends on them is the producer's fault.
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Mapping
from contextlib import AbstractAsyncContextManager, AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeAlias

from renku_store import bounds
from renku_store.errors import ProducerError, StoreError
from renku_store.records._base import Json
from renku_store.records.events import JobFailure


@dataclass(frozen=True, slots=True)
class ValueItem:
    """A JSON value: of an input, or from inside a JSON artefact."""

    value: Json


@dataclass(frozen=True, slots=True)
class FileItem:
    """A whole artefact as a file, to be read only: its absolute path, inside the job's directory, and its MIME type."""

    path: Path
    mime_type: str


Item: TypeAlias = ValueItem | FileItem | list[ValueItem | FileItem | None]
"""What an input name stands for; a list is a fan-in in loop order, where None is a place without a job."""


@dataclass(frozen=True, slots=True)
class OutputSpec:
    """What is asked for under an output name: the declared MIME type."""

    mime_type: str


@dataclass(frozen=True, slots=True)
class Job:
    """One call. An input without a value is absent from `inputs`, which is not the same as null.

    `timeout_seconds` (None: the bound of the project) and `max_output_bytes`, for each output, bound the call.
    """

    job_id: str
    producer: str
    version: str
    provider: str
    model: str
    config: Mapping[str, Json]
    context: Mapping[str, Json]
    inputs: Mapping[str, Item]
    outputs: Mapping[str, OutputSpec]
    signature: str
    timeout_seconds: float | None = None
    max_output_bytes: int = bounds.OUTPUT_MAX_BYTES

    def request(self, directory: Path) -> dict[str, Json]:
        """Return the contract's `request.json`: all that is signed, file paths relative to the job's `directory`."""
        return {
            "producer": self.producer,
            "version": self.version,
            "provider": self.provider,
            "model": self.model,
            "config": dict(self.config),
            "context": dict(self.context),
            "inputs": {name: _item(item, directory) for name, item in self.inputs.items()},
            "outputs": {name: {"mimeType": output.mime_type} for name, output in self.outputs.items()},
        }


def _item(item: Item | None, directory: Path) -> Json:
    match item:
        case None:
            return None
        case ValueItem(value):
            return {"value": value}
        case FileItem(path, mime_type):
            return {"path": path.relative_to(directory).as_posix(), "mimeType": mime_type}
        case _:
            return [_item(place, directory) for place in item]


async def _nothing() -> None:
    return


@dataclass(frozen=True, slots=True)
class JobContext:
    """What stands beside the request. `attempt` counts from 1; `failures` are those of the attempts before.

    For wrappers: within `waiting()` the time of the call does not count; within `idle()` its slot is free for others,
    too; and `again()` makes the folder, and the time that is left, what they were when the call began.

    `directory` is absolute, the job's own and removed afterwards. When the call begins it holds only the files that
    `Job.inputs` names, under `directory/"inputs"`, at paths that follow from input name, position and MIME type alone.
    """

    job_id: str
    run: str
    attempt: int
    directory: Path
    logger: logging.Logger
    failures: list[JobFailure] = field(default_factory=list)
    idle: Callable[[], AbstractAsyncContextManager[None]] = nullcontext
    again: Callable[[], Awaitable[None]] = _nothing
    waiting: Callable[[], AbstractContextManager[None]] = nullcontext


@dataclass(frozen=True, slots=True)
class Produced:
    """What a producer answers: bytes, text (stored as UTF-8) or a file for each output name.

    A file lies in the job's directory and is handed over: it may be moved away, and nobody writes it any more.
    `mime_types` overrides the declared types. `cost` is in US dollars, `request_id` the provider's name for the call,
    `diagnostics` the end of what was printed, at most `bounds.DIAGNOSTICS_MAX_BYTES`.
    """

    outputs: Mapping[str, bytes | str | Path]
    mime_types: Mapping[str, str] = field(default_factory=dict)
    cost: float = 0.0
    request_id: str | None = None
    diagnostics: str | None = None


Produce: TypeAlias = Callable[[Job, JobContext], Awaitable[Produced]]
"""What the runner calls. Raises `ProducerError` (retryable or not) or `RateLimitedError`."""


def failure_of(error: Exception) -> JobFailure:
    """An error of a call as events keep it."""
    return JobFailure(
        kind=error.kind if isinstance(error, StoreError) else ProducerError.__name__,
        message=error.message if isinstance(error, StoreError) else f"{type(error).__name__}: {error}",
        retryable=bool(getattr(error, "retryable", False)),
        diagnostics=getattr(error, "diagnostics", None),
    )
