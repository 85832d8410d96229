"""Reads `outputs.json`, what a program may say about its call: cost, request id, MIME types."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import orjson

from renku_store import bounds
from renku_store.answers import is_mime_type, wrong_cost, wrong_file, wrong_request_id
from renku_store.calls import Job
from renku_store.errors import ProducerError

_FACTS: Final = frozenset({"cost", "requestId", "outputs"})
"""What is said about the call; any other key is an output, as if it stood below `outputs`."""


@dataclass(frozen=True, slots=True)
class Reply:
    """What the file says; the defaults hold where it says nothing. `cost` is in US dollars."""

    cost: float = 0.0
    request_id: str | None = None
    mime_types: dict[str, str] = field(default_factory=dict)


def paid_anyway(path: Path) -> float:
    """The cost that a program which failed has left in the file, in US dollars; 0 where there is none that can be."""
    if wrong_file(path, "outputs.json", bounds.REPLY_MAX_BYTES):
        return 0.0
    try:
        document = orjson.loads(path.read_bytes())
    except orjson.JSONDecodeError:
        return 0.0
    cost = document.get("cost") if isinstance(document, dict) else None
    return 0.0 if cost is None or wrong_cost(cost) else float(cost)


class _Wrong(Exception):  # noqa: N818 (never leaves this module)
    """A sentence on what is wrong with the file."""


def read_reply(path: Path, job: Job, printed: str | None) -> Reply:
    """Read the file if it is there; raises `ProducerError` that names the first thing wrong with it."""
    if not path.exists() and not path.is_symlink():
        return Reply()
    try:
        return _reply(_document(path, job), job)
    except _Wrong as wrong:
        raise ProducerError(
            f"{job.producer}: outputs.json is not right: {wrong}",
            hint='It looks like {"cost": 0.02, "requestId": "...", "outputs": {NAME: {"mimeType": "..."}}}.',
            diagnostics=printed,
        ) from None


def _document(path: Path, job: Job) -> dict[str, Any]:
    if wrong := wrong_file(path, "outputs.json", bounds.REPLY_MAX_BYTES):
        raise _Wrong(wrong)
    try:
        document = orjson.loads(path.read_bytes())
    except orjson.JSONDecodeError as error:
        raise _Wrong(f"It is not JSON: {error}.") from None
    return _mapping(document, "It", {*_FACTS, *job.outputs})


def _reply(document: dict[str, Any], job: Job) -> Reply:
    cost = document.get("cost", 0.0)
    if wrong := wrong_cost(cost):
        raise _Wrong(wrong)
    request_id = document.get("requestId")
    if request_id is not None and wrong_request_id(request_id):
        raise _Wrong(f"requestId is not a text of 1 to {bounds.ID_MAX_BYTES} characters.")
    plain = {name: about for name, about in document.items() if name not in _FACTS}
    outputs = {**plain, **_mapping(document.get("outputs", {}), "outputs", set(job.outputs))}
    return Reply(float(cost), request_id, dict(_mime_types(outputs)))


def _mime_types(outputs: dict[str, Any]) -> list[tuple[str, str]]:
    found: list[tuple[str, str]] = []
    for name, about in outputs.items():
        mime_type = _mapping(about, f"outputs.{name}", {"mimeType"}).get("mimeType")
        if mime_type is None:
            continue
        if not isinstance(mime_type, str) or not is_mime_type(mime_type):
            raise _Wrong(f"outputs.{name}.mimeType is not a MIME type.")
        found.append((name, mime_type))
    return found


def _mapping(value: object, what: str, allowed: set[str]) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise _Wrong(f"{what} is not an object.")
    if unknown := sorted(value.keys() - allowed):
        raise _Wrong(f"{what} has an unknown key {unknown[0]!r}; known are {', '.join(sorted(allowed))}.")
    return value
