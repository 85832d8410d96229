"""One call of a producer: what it is asked, what stands beside the request, and what it answers.

A producer sees what is signed and nothing else: `Job.request` is all of it. `job_id`, `signature` and everything in
`JobContext` are there for logs, limits and a place to work in; a result that depends on them is the producer's fault.
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Iterator, Mapping
from contextlib import AbstractAsyncContextManager, AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any, Protocol, TypeAlias

from renku_store import bounds
from renku_store.errors import InvalidValueError, ProducerError, StoreError
from renku_store.metadata.limits import SharedLimits
from renku_store.records._base import Json
from renku_store.records.events import JobFailure
from renku_store.records.ids import check_id


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


class Waiting(Protocol):
    """A block in which a call waits: for what (`limit`, `rate`, `back-off`), and under which key, as events tell it."""

    def __call__(self, reason: str = ..., key: str | None = ...) -> AbstractContextManager[None]:
        """The time of the call stands still within the block."""
        ...


class Again(Protocol):
    """Makes the folder of a call what it was when it began, and its time; or empties that of one part."""

    async def __call__(self, part: Path | None = None) -> None:
        """Nothing of the attempt before is there."""
        ...


class Idle(Protocol):
    """A block in which a call waits and its slot is free for others."""

    def __call__(self, reason: str = ..., key: str | None = ...) -> AbstractAsyncContextManager[None]:
        """At the end of the block a slot is waited for again."""
        ...


async def _nothing(part: Path | None = None) -> None:
    del part


@contextmanager
def _waiting(reason: str = "", key: str | None = None) -> Iterator[None]:
    del reason, key
    yield


def _idle(reason: str = "", key: str | None = None) -> AbstractAsyncContextManager[None]:
    del reason, key
    return nullcontext()


@dataclass(frozen=True, slots=True)
class RememberedCall:
    """A call that a provider works on: its name for it, and what the handler wanted to find again."""

    request_id: str
    data: Json = None


class CallMemory:
    """The call in flight of one job. This one is gone with the process; the runner's outlives it.

    `consulted` says whether the handler has come to the point at which it remembers, `begun` whether there has ever
    been a call.
    """

    def __init__(self, call: RememberedCall | None = None) -> None:
        self.call = call
        self.consulted = False
        self.begun = call is not None

    @property
    def request_id(self) -> str | None:
        """The provider's name for the call in flight."""
        return None if self.call is None else self.call.request_id

    def recall(self) -> RememberedCall | None:
        """The call in flight, for the handler."""
        self.consulted = True
        return self.call

    async def remember(self, request_id: str, data: Json = None) -> None:
        """Note the call in flight, in place of an earlier one."""
        self.consulted = self.begun = True
        self.call = RememberedCall(request_id, data)

    async def forget(self) -> None:
        """Let there be no call in flight."""
        self.call = None


@dataclass(frozen=True, slots=True)
class Part:
    """A part of a long job: the numbers from `start` up to, not including, `stop`, and the file that was made of them.

    The file lies in the job's directory and is to be read only.
    """

    start: int
    stop: int
    path: Path


@dataclass(frozen=True, slots=True)
class Division:
    """What is divided: the numbers from 0 up to, not including, `total`, in parts of `at_least` so many."""

    total: int
    at_least: int = 1
    name: str = "all"

    def __post_init__(self) -> None:
        if self.total < 0 or self.at_least < 1:
            raise InvalidValueError(
                f"{self.total} in parts of {self.at_least} cannot be divided.", hint="Use 1 or more."
            )
        check_id("division", self.name)


MakePart: TypeAlias = Callable[[int, int], Awaitable[bytes | Path]]
"""Makes one part, the numbers from a first one up to, not including, another: bytes, or a file that is handed over."""


class PartMaker:
    """Has the parts of a job made. This one makes all of it at once; the runner's divides, stores and finds again."""

    async def made(self, directory: Path, division: Division, make: MakePart) -> list[Part]:
        """Every part, in order."""
        if not division.total:
            return []
        content = await make(0, division.total)
        if isinstance(content, bytes):
            path = directory / f"part-{division.name}"
            path.write_bytes(content)
            content = path
        return [Part(0, division.total, content)]


def _no_secret(name: str) -> str:
    raise ProducerError(
        f"The secret {name} was asked for, and nobody here keeps secrets.", hint="Call through a `ProducerRegistry`."
    )


@dataclass(frozen=True, slots=True)
class JobContext:
    """What stands beside the request. `attempt` counts from 1; `failures` are those of the attempts before.

    For wrappers: within `waiting(reason, key)` the time of the call does not count; within `idle(reason, key)` its slot
    is free for others, too; a run that is to end ends the call there. After a wait that is not idle, `await confirm()`
    ends a call that somebody else has begun meanwhile, unless a call is remembered. `again()` makes the folder, and the
    time that is left, what they were when the call began; while parts of the job are made it leaves both alone.
    `rate_key` and `uses`, named resources and how much of each the call takes, say under which limits it stands,
    `priority` who goes first there; `shared` are the limits of all processes.

    `secret(name)` is a value that must not appear anywhere; what it gives is struck out of whatever a handler says.

    `directory` is absolute, the job's own and removed afterwards. When the call begins it holds only the files that
    `Job.inputs` names, under `directory/"inputs"`, at paths that follow from input names, positions and MIME types
    alone.
    """

    job_id: str
    run: str
    attempt: int
    directory: Path
    logger: logging.Logger
    failures: list[JobFailure] = field(default_factory=list)
    idle: Idle = _idle
    again: Again = _nothing
    waiting: Waiting = _waiting
    secret: Callable[[str], str] = _no_secret
    memory: CallMemory = field(default_factory=CallMemory)
    parts: PartMaker = field(default_factory=PartMaker)
    rate_key: str = ""
    priority: float = 0.0
    uses: Mapping[str, int] = field(default_factory=dict[str, int])
    shared: SharedLimits | None = None
    confirm: Callable[[], Awaitable[None]] = _nothing

    @property
    def remembered(self) -> RememberedCall | None:
        """The call in flight for this very request, begun by an earlier attempt or by whoever died: ask for its result.

        Its result may have been paid for. A forced job finds only what its own run has begun.
        """
        return self.memory.recall()

    async def remember(self, request_id: str, data: Json = None) -> None:
        """Note what the provider calls this call, before its result is waited for; durable on return.

        `data` is what else is needed to fetch the result, JSON of at most `bounds.CALL_DATA_MAX_BYTES`. A later call of
        this in the same job takes its place. It is forgotten with the result, with `forget`, and when the handler
        raises a `ProducerError` that is not retryable: whatever may pass must be raised as retryable.
        Raises `ProducerError` for what cannot be noted.
        """
        await self.memory.remember(request_id, data)

    async def forget(self) -> None:
        """Say that the provider knows nothing of the remembered call, and that another one is made.

        As `confirm`, it ends a call that somebody else has begun, or fetched, meanwhile.
        """
        await self.memory.forget()
        await self.confirm()

    async def partition(self, total: int, make: MakePart, *, at_least: int = 1, name: str = "all") -> list[Part]:
        """Have the numbers from 0 up to, not including, `total` made in parts; gives all parts, in order.

        `make(start, stop)` makes one part, several at once where slots of the run are idle, and must depend on nothing
        but the request and its numbers. Every part is stored as soon as it is made: another attempt, or whoever takes
        the job up after a crash, makes only the rest. Parts have `at_least` so many numbers, and less than twice as
        many, where there are as many together. A job that divides two things gives each of them a `name`.
        Raises `InvalidValueError`, and what the first `make` that fails raises.
        """
        return await self.parts.made(self.directory, Division(total, at_least, name), make)

    def for_part(self, start: int, stop: int, *, name: str = "all") -> JobContext:
        """The context for calls that make one part, within a `make`: with a folder of the part's own to work in.

        A wrapper that tries such a call again, as `with_retry`, empties that folder, and touches no other part.
        """
        folder = self.directory / "making" / f"{name}-{start}-{stop}"
        folder.mkdir(parents=True, exist_ok=True)
        return replace(self, directory=folder, again=partial(self.again, part=folder))


class FolderOnDemand(Protocol):
    """The folder of a call, which is made when somebody asks for it."""

    @property
    def path(self) -> Path:
        """Where it is; it is there now."""
        ...


class CallContext(JobContext):
    """A context whose `directory` is made when it is first asked for: most handlers need none.

    It is given as a `FolderOnDemand`, or as a path like any other.
    """

    __slots__ = ("_folder",)
    _folder: Path | FolderOnDemand

    @property
    def directory(self) -> Path:
        """The folder."""
        return self._folder if isinstance(self._folder, Path) else self._folder.path

    @directory.setter
    def directory(self, given: Path | FolderOnDemand) -> None:  # pyright: ignore[reportIncompatibleVariableOverride]
        object.__setattr__(self, "_folder", given)

    def unmade(self) -> Path | FolderOnDemand:
        """What the folder was given as."""
        return self._folder


def changed(context: JobContext, **changes: Any) -> JobContext:
    """The context with other values; as `dataclasses.replace`, which would make a folder that nobody has asked for."""
    if isinstance(context, CallContext):
        changes.setdefault("directory", context.unmade())
    return replace(context, **changes)


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
    """An error of a call as events keep it, whatever its producer has put into it."""
    # One of a producer's own may be made without ours being made, and then it has no message.
    said = getattr(error, "message", None) if isinstance(error, StoreError) else None
    told = f"{type(error).__name__}: {as_text(error)}" if said is None else as_text(said)
    diagnostics = getattr(error, "diagnostics", None)
    return JobFailure(
        kind=error.kind if isinstance(error, StoreError) else ProducerError.__name__,
        message=told,
        retryable=getattr(error, "retryable", False) is True,
        diagnostics=None if diagnostics is None else as_text(diagnostics),
        cost=_paid(error),
    )


def as_text(said: object) -> str:
    """The end of what somebody else's code says, whatever that is, as text that can be stored."""
    try:
        text = str(said)
    except Exception as error:  # noqa: BLE001 (the code of a producer, at a job's boundary)
        text = f"({type(said).__name__}, of which {type(error).__name__} keeps the text)"
    return text[-bounds.DIAGNOSTICS_MAX_BYTES :].encode(errors="replace").decode()


def _paid(error: Exception) -> float | None:
    """What a failed call took nevertheless, in US dollars, where its error says so in a number that can be one."""
    cost = getattr(error, "cost", None)
    if isinstance(cost, bool) or not isinstance(cost, int | float) or not 0 < cost <= bounds.COST_MAX_DOLLARS:
        return None
    return float(cost)
