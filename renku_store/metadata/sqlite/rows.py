"""Events and traces as rows, and back. Hashes are 32 bytes in a row and 64 hex digits in a record."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final

import apsw
import orjson

from renku_store import bounds
from renku_store.late import late_module
from renku_store.records._base import to_bytes as records_to_bytes
from renku_store.records.events import ArtefactEvent, InputEvent, JobFailure, RunEvent, Trace, read_outputs
from renku_store.records.manifest import ArtefactValue

if TYPE_CHECKING:
    import rfc8785
else:
    rfc8785 = late_module("rfc8785")

Row = tuple[Any, ...]

_bytes: Final = bytes.fromhex
_NO_VALUE: Final[Row] = (None,) * 5

_LONG_NUMBER: Final = re.compile(r"[0-9]{16}")
"""Text without it is parsed by the faster reader."""

INPUT_COLUMNS: Final = "seq, id, run, input, hash, value, blob, edited_by, created_at"
ARTEFACT_COLUMNS: Final = (
    "seq, id, run, artefact, status, output, job, producer, signature, result, hash, size, mime_type, inline, blob,"
    " cost, attempts, request_id, duration_seconds, failure, edited_by, created_at, source"
)
RUN_COLUMNS: Final = "seq, id, run, kind, data, created_at"
TRACE_COLUMNS: Final = (
    "result, signature, run, job, producer, outputs, cost, request_id, kept, created_at, duration_seconds, source"
)


def all_rows(cursor: apsw.Cursor) -> Iterator[Row]:
    """The rows of a cursor, of which the caller knows the columns."""
    rows: Iterator[Any] = cursor
    yield from rows


def json_list(texts: Iterable[str]) -> str:
    """Texts as the one JSON list that a statement takes for any number of them."""
    return orjson.dumps(list(texts)).decode()


def json_map(texts: Mapping[str, str | None]) -> str:
    """Texts by text as the one JSON object that a statement takes for any number of them."""
    return orjson.dumps(dict(texts)).decode()


def to_bytes(digest: str | None) -> bytes | None:
    """A digest as a row holds it."""
    return None if digest is None else bytes.fromhex(digest)


def to_hex(digest: bytes | None) -> str | None:
    """A digest as a record holds it."""
    return None if digest is None else digest.hex()


def _parsed(text: str) -> Any:
    """The value of canonical JSON, in which whole numbers beyond 2^53 - 1 are floats."""
    if _LONG_NUMBER.search(text) is None:
        return orjson.loads(text)
    return json.loads(text, parse_int=_number)


def _number(digits: str) -> int | float:
    number = int(digits)
    return number if abs(number) <= bounds.INTEGER_MAX else float(digits)


def input_row(event: InputEvent, seq: int) -> Row:
    """The row of an input event; an inline value is canonical JSON."""
    value = rfc8785.dumps(event.value).decode() if event.blob is None else None
    return (
        seq, event.id, event.run, event.input, bytes.fromhex(event.hash), value, to_bytes(event.blob),
        event.edited_by, event.created_at,
    )  # fmt: skip


def input_event(row: Row) -> InputEvent:
    """The input event of a row."""
    seq, event_id, run, input_id, digest, value, blob, edited_by, created_at = row
    return InputEvent(
        seq=seq,
        id=event_id,
        run=run,
        input=input_id,
        hash=digest.hex(),
        value=None if value is None else _parsed(value),
        blob=to_hex(blob),
        edited_by=edited_by,
        created_at=created_at,
    )


def artefact_row(event: ArtefactEvent, seq: int) -> Row:
    """The row of an artefact event."""
    value, signature, failure, source = event.value, event.signature, event.failure, event.source
    stored = _NO_VALUE
    if value is not None:
        blob = None if value.blob is None else _bytes(value.blob)
        stored = (_bytes(value.hash), value.size, value.mime_type, value.inline, blob)
    return (
        seq, event.id, event.run, event.artefact, event.status, event.output, event.job, event.producer,
        None if signature is None else _bytes(signature), event.result, *stored, event.cost, event.attempts,
        event.request_id, event.duration_seconds, None if failure is None else failure.to_bytes().decode(),
        event.edited_by, event.created_at, None if source is None else _bytes(source),
    )  # fmt: skip


def artefact_event(row: Row) -> ArtefactEvent:
    """The artefact event of a row."""
    digest, failure = row[10], row[19]
    value = None
    if digest is not None:
        value = ArtefactValue(hash=digest.hex(), size=row[11], mime_type=row[12], inline=row[13], blob=to_hex(row[14]))
    return ArtefactEvent(
        seq=row[0],
        id=row[1],
        run=row[2],
        artefact=row[3],
        status=row[4],
        output=row[5],
        job=row[6],
        producer=row[7],
        signature=to_hex(row[8]),
        result=row[9],
        value=value,
        cost=row[15],
        attempts=row[16],
        request_id=row[17],
        duration_seconds=row[18],
        failure=None if failure is None else JobFailure.read(failure),
        edited_by=row[20],
        created_at=row[21],
        source=to_hex(row[22]),
    )


def run_row(event: RunEvent, seq: int) -> Row:
    """The row of a run event."""
    return seq, event.id, event.run, event.kind, orjson.dumps(event.data).decode(), event.created_at


def run_event(row: Row) -> RunEvent:
    """The run event of a row."""
    seq, event_id, run, kind, data, created_at = row
    return RunEvent(seq=seq, id=event_id, run=run, kind=kind, data=orjson.loads(data), created_at=created_at)


def trace_row(outputs: Sequence[ArtefactEvent]) -> Row:
    """The row of the trace that these outputs of one result make; each has a value.

    An output without a name goes by its artefact's.
    """
    first = outputs[0]
    cost, seconds, request_id = first.cost or 0.0, first.duration_seconds, first.request_id or None
    named = {first.output or first.artefact: first.value}
    if len(outputs) > 1:
        named = {event.output or event.artefact: event.value for event in outputs}
        cost = sum(event.cost or 0.0 for event in outputs)
        seconds = max((event.duration_seconds for event in outputs if event.duration_seconds is not None), default=None)
        request_id = next((event.request_id for event in outputs if event.request_id), None)
    return (
        first.result, to_bytes(first.signature), first.run, first.job, first.producer, records_to_bytes(named).decode(),
        cost, request_id, first.status == "kept", first.created_at, seconds, to_bytes(first.source),
    )  # fmt: skip


def trace(row: Sequence[Any]) -> Trace:
    """The trace of a row."""
    result, signature, run, job, producer, outputs, cost, request_id, kept, created_at, seconds, source = row
    return Trace(
        result=result,
        signature=signature.hex(),
        run=run,
        job=job,
        producer=producer,
        outputs=read_outputs(outputs),
        cost=cost,
        request_id=request_id,
        kept=bool(kept),
        created_at=created_at,
        duration_seconds=seconds,
        source=to_hex(source),
    )
