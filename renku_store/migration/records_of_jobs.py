"""The job records of a revision folder: what each took, and which attempt at an artefact it is about."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Final

from renku_store.errors import InvalidValueError
from renku_store.hashing import canonical_json
from renku_store.migration.folder import OldFolder
from renku_store.migration.reading import (
    NO_TIME,
    Findings,
    error_text,
    has_succeeded,
    number_of,
    read_lines,
    read_object,
    revision_said,
    revision_within,
    safe_id,
    seconds_between,
    text_of,
    time_of,
)
from renku_store.records._base import Json

_FOLDER = "dag/jobs"
_COST: Final = ("cost", "costUsd", "cost_usd")


@dataclass(frozen=True, slots=True)
class OldJob:
    """A job record; `revision` is the one that it names itself, or its file does. `ended` is when, as far as told."""

    id: str
    producer: str | None
    succeeded: bool | None
    outputs: tuple[str, ...]
    cost: float | None
    seconds: float | None
    error: str | None
    ended: str
    revision: int | None
    record: Mapping[str, Json]


def read_jobs(folder: OldFolder, findings: Findings) -> list[OldJob]:
    """Every job record below `dag/jobs`, oldest first: a file each, lists of them, or lines."""
    found: list[OldJob] = []
    for path in folder.below(_FOLDER):
        name = path.removeprefix(f"{_FOLDER}/")
        for place, record in _records(folder, path, findings):
            job = _job(record if _keeps(record, place, findings) else _plain(record), name)
            _note_cost(record, job, findings)
            found.append(job)
    return sorted(found, key=lambda job: (job.ended, job.id))


def _records(folder: OldFolder, path: str, findings: Findings) -> Iterator[tuple[str, dict[str, Any]]]:
    """The records in a file, each with its place."""
    if path.endswith(".jsonl"):
        yield from read_lines(folder, path, findings)
    elif path.endswith(".json"):
        document = read_object(folder, path, findings)
        listed = document.get("jobs")
        records = listed if isinstance(listed, list) else [document] if document else []
        yield from ((path, record) for record in records if isinstance(record, dict))


def _keeps(record: dict[str, Any], place: str, findings: Findings) -> bool:
    """Whether a record is one that can be kept, as every record is; noted where it is not."""
    try:
        canonical_json(record)
    except InvalidValueError as error:
        findings.add("refused", place, error.message)
        return False
    return True


def _plain(record: Mapping[str, Any]) -> dict[str, Any]:
    """What is known of a record that cannot be kept: what it took still counts."""
    kept = {key: value for key, value in record.items() if isinstance(value, str | int | float | None)}
    outputs = record.get("outputs")
    plain: dict[str, Any] = {}
    for key, value in {**kept, "outputs": outputs}.items():
        with suppress(InvalidValueError):
            canonical_json({key: value})
            plain[key] = value
    return plain


def _note_cost(record: Mapping[str, Any], job: OldJob, findings: Findings) -> None:
    """Say of a cost that is none that it is not in the sums."""
    said = next((value for key in _COST if (value := record.get(key)) is not None), None)
    if said is not None and job.cost is None:
        shown = ascii(said)[:40] if isinstance(said, str | int | float) else f"a {type(said).__name__}"
        findings.notes.append(f"The cost of the job {job.id} is no amount, and is left out: {shown}.")


def _job(record: Mapping[str, Any], name: str) -> OldJob:
    started, ended = time_of(record, "started_at", "startedAt"), time_of(record, "completed_at", "completedAt")
    producer = text_of(record, "producer", "produced_by")
    revision = revision_said(record.get("rev"))
    if revision is None:
        revision = revision_said(record.get("revision"))
    outputs = record.get("outputs")
    return OldJob(
        text_of(record, "jobId", "job_id", "id") or name,
        safe_id(producer) if producer else None,
        has_succeeded(record.get("status")),
        tuple(_output_ids(outputs if isinstance(outputs, list) else [])),
        number_of(record, *_COST),
        seconds_between(started, ended),
        error_text(record.get("error")),
        ended or started or NO_TIME,
        revision if revision is not None else revision_within(name),
        record,
    )


def _output_ids(outputs: Iterable[Any]) -> Iterable[str]:
    for output in outputs:
        name = text_of(output, "id", "artefact", "artifact") if isinstance(output, dict) else output
        if isinstance(name, str) and name:
            yield safe_id(name)


def by_revision(jobs: Iterable[OldJob], revisions: Sequence[tuple[int, str]]) -> dict[int | None, list[OldJob]]:
    """The jobs of each revision, which come as numbers with times; None: those after the newest one.

    A job that names none, and no file of which does, belongs to the first that was made after it had ended.
    """
    found: dict[int | None, list[OldJob]] = {}
    for job in jobs:
        if job.revision is not None:
            number = next((number for number, _ in revisions if number >= job.revision), None)
        else:
            number = next((number for number, made in revisions if made >= job.ended), None)
        found.setdefault(number, []).append(job)
    return found
