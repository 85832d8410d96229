"""Events and other records for tests, each with an id and hashes of its own."""

from __future__ import annotations

import hashlib
import itertools
import os
from typing import Any

from renku_store.clock import uuid7
from renku_store.hashing import hash_value
from renku_store.metadata.base import RevisionRow
from renku_store.records.events import ArtefactEvent, InputEvent, JobFailure, RunEvent
from renku_store.records.manifest import ArtefactValue
from renku_store.records.run import Holder

NOW = "2026-03-04T05:06:07.890Z"
HOLDER = Holder("host", 1, "", "renku-store run")
_milliseconds = itertools.count(1_700_000_000_000)


def new_id() -> str:
    return uuid7(next(_milliseconds), os.urandom(10))


def digest(name: object) -> str:
    """Some digest, the same for the same name."""
    return hashlib.sha256(repr(name).encode()).hexdigest()


def value(content: object, *, blob: bool = False) -> ArtefactValue:
    name = digest(content)
    if blob:
        return ArtefactValue(hash=name, size=5_000, mime_type="audio/wav", blob=name)
    return ArtefactValue(hash=name, size=len(str(content)), mime_type="text/plain", inline=str(content))


def input_event(input_id: str, content: Any, *, run: str | None = None, event_id: str | None = None) -> InputEvent:
    return InputEvent(
        id=event_id or new_id(), run=run, input=input_id, hash=hash_value(content), value=content, created_at=NOW
    )


def made(artefact: str, content: object, **fields: Any) -> ArtefactEvent:
    """A producer's result, of a call of its own unless `result` says otherwise."""
    given: dict[str, Any] = {
        "id": new_id(),
        "run": "run-1",
        "status": "succeeded",
        "output": artefact.rpartition(".")[2],
        "job": artefact.rpartition(".")[0] or artefact,
        "producer": "narration",
        "signature": digest(("signature", content)),
        "result": new_id(),
        "value": value(content),
        "cost": 0.25,
        "attempts": 1,
        "duration_seconds": 1.5,
        "created_at": NOW,
    }
    return ArtefactEvent(artefact=artefact, **{**given, **fields})


def failed(artefact: str, signature: str, *, run: str | None = "run-1") -> ArtefactEvent:
    failure = JobFailure(kind="ProducerError", message="It said no.", retryable=True, diagnostics="né")
    return made(artefact, None, run=run, status="failed", signature=signature, value=None, failure=failure)


def run_event(run: str, kind: Any = "planned", **data: Any) -> RunEvent:
    return RunEvent(id=new_id(), run=run, kind=kind, data=data, created_at=NOW)


def revision(number: int, *, run: str = "run-1", content: object = None) -> RevisionRow:
    base = digest(("revision", number - 1)) if number > 1 else None
    return RevisionRow(number, digest(content or ("revision", number)), base, run, NOW, made=2, reused=1, cost=0.5)
