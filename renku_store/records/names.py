"""The ids and names in a graph: files are called by them, so that none may lead out of a folder."""

from __future__ import annotations

from collections.abc import Iterable

from renku_store.errors import GraphError, InvalidIdError
from renku_store.records.graph import GraphNode
from renku_store.records.ids import check_id, shown_id


def check_names(nodes: Iterable[GraphNode]) -> None:
    """Check ids of jobs and artefacts, names of inputs and outputs. Raises `GraphError` that names the job."""
    read: dict[str, str] = {}
    made: dict[str, str] = {}
    for node in nodes:
        job_id = node.job_id
        check_name("job", job_id, job_id)
        for entry in node.inputs:
            read[entry.name] = job_id
        for output in node.produces:
            made[output.name] = job_id
            check_name("artefact", output.id, job_id)
    for thing, names in (("input", read), ("output", made)):  # many jobs have the same ones
        for name, job_id in names.items():
            check_name(thing, name, job_id)


def check_name(thing: str, value: str, job_id: str) -> None:
    """As `check_id`, of something in a job. Raises `GraphError` that names the job."""
    try:
        check_id(thing, value)
    except InvalidIdError as error:
        raise GraphError(f"The job {shown_id(job_id)}: {error.message}", hint=error.hint or "Give it one.") from None
