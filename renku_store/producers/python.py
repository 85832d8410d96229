"""`run: python:module.function`: a function as a producer.

The function is called with a `ProducerRequest` and answers with one of:

    bytes, str or Path           where exactly one output is asked for
    {NAME: bytes | str | Path}   where there are several
    Produced                     to tell a cost, a request id or other MIME types as well

Text is stored as UTF-8. A path must lie in `request.directory` and is handed over. A plain function runs in a thread, a
coroutine function on the event loop, which it must not block. A function may raise `ProducerError(..., retryable=True)`
or `RateLimitedError`; whatever else it raises is a failure that is not tried again.

When the time is up or the job is cancelled, a coroutine is cancelled, but a thread cannot be stopped: its result is
dropped and it goes on until it returns. What may hang belongs into a `command`.
"""

from __future__ import annotations

import asyncio
import contextvars
import difflib
import importlib
import inspect
import threading
import traceback
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar, cast

from renku_store import bounds
from renku_store.answers import check_answer
from renku_store.calls import Item, Job, JobContext, OutputSpec, Produced
from renku_store.errors import JobError, ProducerError
from renku_store.records._base import Json

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class ProducerRequest:
    """All that is signed, as an object: inputs are items with `.value`, or `.path` and `.mime_type`, or lists of such.

    `directory` is an absolute path to a folder of the call's own, for files that it makes. Its name means nothing.
    """

    producer: str
    version: str
    provider: str
    model: str
    config: Mapping[str, Json]
    context: Mapping[str, Json]
    inputs: Mapping[str, Item]
    outputs: Mapping[str, OutputSpec]
    directory: Path


async def call_function(job: Job, context: JobContext) -> Produced:
    """Call the function that the job's model names; raises `ProducerError`, or what the function raises of its kind."""
    request = ProducerRequest(
        producer=job.producer,
        version=job.version,
        provider=job.provider,
        model=job.model,
        config=job.config,
        context=job.context,
        inputs=job.inputs,
        outputs=job.outputs,
        directory=context.directory,
    )
    seconds = bounds.JOB_TIMEOUT_SECONDS if job.timeout_seconds is None else job.timeout_seconds
    deadline = asyncio.timeout(seconds)
    try:
        async with deadline:
            function = await _in_thread(lambda: find_function(job.model))
            result = await _call(job.model, function, request)
    except TimeoutError:
        if not deadline.expired():
            raise
        raise ProducerError(
            f"python:{job.model} did not return within {seconds:g} seconds.", hint="`timeout` gives it longer."
        ) from None
    return check_answer(job, lambda: context.directory, _produced(job, result))


def find_function(name: str) -> Callable[[ProducerRequest], object]:
    """Import `module.function`; raises `ProducerError` with the nearest name where it is not there."""
    module_name, _, function_name = name.rpartition(".")
    if not module_name or not all(part.isidentifier() for part in name.split(".")):
        raise ProducerError(
            f"python:{name} does not name a module and a function.", hint="Write python:module.function."
        )
    module = _guarded(f"The import of {module_name}", lambda: _import(module_name))
    function = getattr(module, function_name, None)
    if not callable(function):
        near = difflib.get_close_matches(
            function_name, [key for key in dir(module) if callable(getattr(module, key))], n=1
        )
        raise ProducerError(
            f"The module {module_name} has no function {function_name!r}.",
            hint=f"Did you mean python:{module_name}.{near[0]}?" if near else "",
        )
    return cast("Callable[[ProducerRequest], object]", function)


def _import(module_name: str) -> Any:
    try:
        return importlib.import_module(module_name)
    except ModuleNotFoundError as error:
        if error.name is None or not f"{module_name}.".startswith(f"{error.name}."):
            raise
        raise ProducerError(
            f"The module {error.name} was not found.",
            hint="Install it, or name its folder in PYTHONPATH (PYTHONPATH=. for the working directory).",
        ) from error


async def _call(name: str, function: Callable[[ProducerRequest], object], request: ProducerRequest) -> object:
    if inspect.iscoroutinefunction(function) or inspect.iscoroutinefunction(getattr(function, "__call__", None)):  # noqa: B004
        result = function(request)
    else:
        result = await _in_thread(lambda: _guarded(f"python:{name}", lambda: function(request)))
    if not inspect.isawaitable(result):
        return result
    try:
        return await result
    except JobError:
        raise
    except (Exception, SystemExit) as error:
        raise _failure(f"python:{name}", error) from error


def _guarded(what: str, call: Callable[[], T]) -> T:
    try:
        return call()
    except JobError:
        raise
    except BaseException as error:  # in a thread of its own: no interruption of this program comes here
        raise _failure(what, error) from error


def _failure(what: str, error: BaseException) -> ProducerError:
    # The first frame is this module's own call; what the function's author needs begins behind it.
    own = error.__traceback__
    trace = "".join(traceback.format_exception(type(error), error, own.tb_next if own and own.tb_next else own))
    said = "".join(traceback.format_exception_only(type(error), error)).strip().splitlines()[-1]
    return ProducerError(f"{what} raised {said[:300]}", diagnostics=trace[-bounds.DIAGNOSTICS_MAX_BYTES :])


async def _in_thread(call: Callable[[], T]) -> T:
    """Await a call in a daemon thread of its own: one that hangs takes no worker from others and holds up no exit."""
    loop = asyncio.get_running_loop()
    future: asyncio.Future[T] = loop.create_future()
    copied = contextvars.copy_context()

    def settle(set_outcome: Callable[[Any], None], outcome: object) -> None:
        if not future.done():
            set_outcome(outcome)

    def work() -> None:
        try:
            outcome: object = copied.run(call)
            set_outcome: Callable[[Any], None] = future.set_result
        except JobError as error:
            outcome, set_outcome = error, future.set_exception
        except BaseException as error:  # noqa: BLE001 (whoever waits has to hear of it, or waits for ever)
            outcome, set_outcome = _failure("The call", error), future.set_exception
        if not loop.is_closed():
            loop.call_soon_threadsafe(settle, set_outcome, outcome)

    threading.Thread(target=work, name="producer", daemon=True).start()
    return await future


def _produced(job: Job, result: object) -> Produced:
    if isinstance(result, Produced):
        return result
    if isinstance(result, bytes | str | Path):
        if len(job.outputs) != 1:
            raise ProducerError(
                f"python:{job.model} returned one result, but {len(job.outputs)} outputs are asked for.",
                hint=f"Return a dict with {', '.join(job.outputs)}.",
            )
        return Produced({next(iter(job.outputs)): result})
    if isinstance(result, Mapping):
        return Produced(cast("Mapping[str, bytes | str | Path]", result))
    raise ProducerError(
        f"python:{job.model} returned a value of type {type(result).__name__}.",
        hint="Return bytes, str, a path, a dict of outputs, or Produced.",
    )
