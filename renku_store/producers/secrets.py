"""Secrets: looked up by name when a handler asks, and struck out of everything that it says.

A value that was given out appears in no failure, no diagnostics, no request id, no log line and no remembered call, and
an output that holds it is refused. What programs inherit is struck out of texts, too: the values of environment
variables whose names end as those of secrets do.
"""

from __future__ import annotations

import asyncio
import base64
import json
import logging
import os
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Final
from urllib.parse import quote

from renku_store import bounds
from renku_store.calls import (
    CallMemory,
    Division,
    Job,
    JobContext,
    MakePart,
    Part,
    PartMaker,
    Produced,
    RememberedCall,
    as_text,
    changed,
)
from renku_store.errors import ProducerError, StoreError
from renku_store.finishing import in_thread_to_the_end
from renku_store.records._base import Json

SecretResolver = Callable[[str], str | None]
"""Finds the value of a secret by its name; None where there is none."""

_TELLING_ENDS: Final = ("_KEY", "_TOKEN", "_SECRET", "_PASSWORD")
_READ_BYTES: Final = 65_536


def from_environment(name: str) -> str | None:
    """The value of an environment variable; None where it is not set."""
    # The default of public parameters: where that is `os.environ.get`, `help` shows every variable with its value.
    return os.environ.get(name)


class Secrets:
    """The secrets of a process; from the environment unless `resolve` says otherwise."""

    def __init__(self, resolve: SecretResolver = from_environment) -> None:
        self._resolve = resolve
        self._given: dict[str, str] = {}

    @property
    def are_out(self) -> bool:
        """Whether any was given out."""
        return bool(self._given)

    def get(self, name: str) -> str:
        """Return the value of a secret; raises `ProducerError` where it has none."""
        value = self._resolve(name)
        if not value:
            raise ProducerError(f"The secret {name} is not set.", hint=f"Set the environment variable {name}.")
        self._given[value] = name
        return value

    def strike(self, text: str) -> str:
        """Return a text without any known secret."""
        for form, name in sorted(self._forms(self._known()), key=lambda pair: -len(pair[0])):
            text = text.replace(form, f"[{name}]")
        return text

    def found_in(self, output: bytes | str | Path) -> str | None:
        """The name of a secret that was given out and stands in an output, unless that is a very large file."""
        forms = [(form.encode(errors="surrogateescape"), name) for form, name in self._forms(self._given.copy())]
        if not forms or (isinstance(output, Path) and output.stat().st_size > bounds.SECRET_SCAN_MAX_BYTES):
            return None
        overlap = max(len(form) for form, _ in forms) - 1
        before = b""
        for chunk in _chunks(output):
            held = before + chunk
            for form, name in forms:
                if form in held:
                    return name
            before = held[-overlap:]
        return None

    def _known(self) -> dict[str, str]:
        inherited = {value: name for name, value in os.environ.copy().items() if name.upper().endswith(_TELLING_ENDS)}
        return inherited | self._given.copy()

    def _forms(self, known: dict[str, str]) -> Iterator[tuple[str, str]]:
        """Each secret as it is, and as it stands in JSON, in a URL and in a header of basic authentication."""
        for value, name in known.items():
            if len(value) >= bounds.SECRET_MIN_CHARS:
                yield from ((form, name) for form in _coats(value))


class Discretion:
    """What stands between a handler and everybody else: it is given secrets, and nothing of them goes out."""

    def __init__(self, secrets: Secrets) -> None:
        self._secrets = secrets

    def context(self, context: JobContext) -> JobContext:
        """A context that gives secrets, and whose log and memory take none."""
        return changed(
            context,
            secret=self._secrets.get,
            logger=self.logger(context.logger),
            memory=_DiscreetMemory(context.memory, self._secrets),
            parts=_DiscreetParts(context.parts, self._secrets),
        )

    def logger(self, logger: logging.Logger) -> logging.Logger:
        """A logger that hands everything to another, without secrets."""
        discreet = logging.Logger(f"{logger.name}.producers")  # noqa: LOG001 (known to nobody, gone with its call)
        discreet.parent = logger
        discreet.addFilter(self._cleaned)
        return discreet

    def error(self, error: Exception) -> Exception:
        """An error without secrets: the same one, unless it cannot be cleaned."""
        strike = self._secrets.strike
        if isinstance(error, StoreError):
            error.message, error.hint = strike(as_text(error.message)), strike(as_text(error.hint))
            error.args = (error.message,)
            if isinstance(error, ProducerError) and error.diagnostics is not None:
                error.diagnostics = strike(as_text(error.diagnostics))
            return error
        said = as_text(error)
        if strike(said) == said:
            return error
        passing = isinstance(error, ConnectionError | TimeoutError)
        return ProducerError(f"{type(error).__name__}: {strike(said)}", retryable=passing)

    async def answer(self, job: Job, produced: Produced) -> Produced:
        """An answer without secrets; raises `ProducerError` where an output holds one."""
        cancelled = False
        for output, content in produced.outputs.items():
            name, meanwhile = await _searched(self._secrets, content)
            cancelled = cancelled or meanwhile
            if name is not None:
                raise ProducerError(
                    f"{job.producer}: The output {output!r} holds the secret {name}.",
                    hint="Nothing of it was stored. Look at what the producer puts into its outputs.",
                    cost=produced.cost,
                )
        _cancel_later(cancelled)
        return replace(
            produced,
            request_id=self._secrets.strike(produced.request_id) if produced.request_id else produced.request_id,
            diagnostics=self._secrets.strike(produced.diagnostics) if produced.diagnostics else produced.diagnostics,
        )

    def _cleaned(self, record: logging.LogRecord) -> bool:
        record.msg, record.args = self._secrets.strike(record.getMessage()), None
        if record.exc_info:
            record.exc_text = self._secrets.strike(logging.Formatter().formatException(record.exc_info))
            record.exc_info = None
        return True


class _DiscreetMemory(CallMemory):
    """A memory that hands on what holds no secret."""

    def __init__(self, inner: CallMemory, secrets: Secrets) -> None:
        super().__init__()
        self._inner = inner
        self._secrets = secrets

    def recall(self) -> RememberedCall | None:
        """The call in flight, for the handler."""
        return self._inner.recall()

    async def remember(self, request_id: str, data: Json = None) -> None:
        """Note the call in flight; raises `ProducerError` where a secret stands in what is noted."""
        if name := self._secrets.found_in(f"{request_id}\n{json.dumps(data, ensure_ascii=False, default=str)}"):
            raise ProducerError(f"What is to be remembered of a call holds the secret {name}.", hint="Leave it out.")
        await self._inner.remember(request_id, data)

    async def forget(self) -> None:
        """Let there be no call in flight."""
        await self._inner.forget()


class _DiscreetParts(PartMaker):
    """Has parts made, of which none holds a secret."""

    def __init__(self, inner: PartMaker, secrets: Secrets) -> None:
        self._inner = inner
        self._secrets = secrets

    async def made(self, directory: Path, division: Division, make: MakePart) -> list[Part]:
        """Every part, in order; raises `ProducerError` where one holds a secret."""

        async def made_and_searched(start: int, stop: int) -> bytes | Path:
            content = await make(start, stop)
            name, cancelled = await _searched(self._secrets, content)
            if name is not None:
                raise ProducerError(
                    f"The part {start}-{stop} holds the secret {name}.", hint="Nothing of it was stored."
                )
            _cancel_later(cancelled)
            return content

        return await self._inner.made(directory, division, made_and_searched)


async def _searched(secrets: Secrets, content: bytes | str | Path) -> tuple[str | None, bool]:
    """The secret that stands in what was paid for, and whether somebody has lost patience meanwhile."""
    if not secrets.are_out:
        return None, False
    return await in_thread_to_the_end(partial(secrets.found_in, content))


def _cancel_later(cancelled: bool) -> None:
    """Let a cancellation that came meanwhile take effect at the next wait: that for the result to be stored."""
    task = asyncio.current_task()
    if cancelled and task is not None:
        task.cancel()


def _coats(value: str) -> set[str]:
    encoded = base64.b64encode(value.encode(errors="surrogateescape")).decode()
    in_json = (json.dumps(value, ensure_ascii=ascii_only)[1:-1] for ascii_only in (True, False))
    return {value, *in_json, quote(value, safe="", errors="replace"), encoded, encoded.rstrip("=")}


def _chunks(output: bytes | str | Path) -> Iterator[bytes]:
    if isinstance(output, Path):
        with output.open("rb") as file:
            while chunk := file.read(_READ_BYTES):
                yield chunk
    else:
        yield output.encode() if isinstance(output, str) else output
