"""The jobs in the plans of the first manifest-centric layout, as the graph of a revision."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from typing import Any, Final

from renku_store.blueprint import parse_graph
from renku_store.errors import GraphError
from renku_store.migration.folder import OldFolder
from renku_store.migration.graphs import NOBODY, Made, callee, graph_document, outputs_of
from renku_store.migration.old_json import is_canonical
from renku_store.migration.reading import Findings, read_object, revision_within, safe_id, text_of
from renku_store.records._base import Json

_FOLDER: Final = "runs"


class PlannedJobs:
    """Every job that a plan lists, with the number of the plan's revision."""

    def __init__(self, jobs: list[tuple[int, dict[str, Any]]]) -> None:
        self._jobs = sorted(jobs, key=lambda entry: -entry[0])

    @classmethod
    def read(cls, folder: OldFolder, findings: Findings) -> PlannedJobs:
        """The jobs in the plans of a folder."""
        jobs: list[tuple[int, dict[str, Any]]] = []
        for name in folder.names(_FOLDER):
            number = revision_within(name)
            if number is not None and name.endswith(".json"):
                plan = read_object(folder, f"{_FOLDER}/{name}", findings)
                jobs += [(number, job) for job in _listed(plan)]
        return PlannedJobs(jobs)

    def graph(self, number: int, made: Mapping[str, Made], inputs: Collection[str], timeline: str | None) -> Json:
        """The graph of what a revision has `made`: each job as the newest plan up to then has it.

        A plan lists dirty jobs alone, so that older ones tell of the others; artefacts of none get jobs by their
        producer.
        """
        nodes: list[Json] = []
        taken: set[str] = set()
        names: set[str] = set()
        for revision, job in self._jobs:
            outputs = [name for name in _ids(job.get("produces")) if name in made]
            job_id = safe_id(text_of(job, "jobId") or "")
            if revision > number or not outputs or taken & {*outputs} or job_id in names:
                continue
            taken |= {*outputs}
            names.add(job_id)
            nodes.append(_node(job, job_id, outputs, made, inputs))
        rest = {key: entry for key, entry in made.items() if key not in taken}
        return _sound({"nodes": nodes}, rest, inputs, timeline) or graph_document({}, made, inputs, {}, timeline)


def _sound(graph: dict[str, Json], rest: Mapping[str, Made], inputs: Collection[str], timeline: str | None) -> Json:
    """The graph with jobs for the rest; None where that is none."""
    others = graph_document({}, rest, inputs, {}, None)
    nodes = graph["nodes"]
    if isinstance(others, dict) and isinstance(nodes, list) and isinstance(others["nodes"], list):
        nodes += others["nodes"]
    whole: dict[str, Json] = {**graph, **({"timeline": timeline} if timeline else {})}
    try:
        parse_graph(whole, inputs)
    except GraphError:
        return None
    return whole if nodes else None


def _node(
    job: Mapping[str, Any], job_id: str, outputs: list[str], made: Mapping[str, Made], inputs: Collection[str]
) -> Json:
    entries: list[Json] = []
    for name in dict.fromkeys(_ids(job.get("inputs"))):
        kind = "artefact" if name in made else "input" if name in inputs else None
        if kind is not None and name not in outputs:
            entries.append({"name": name, "ref": {"kind": kind, "id": name}})
    context = job.get("context")
    provider, model = callee(text_of(job, "provider") or NOBODY, text_of(job, "providerModel") or NOBODY, {})
    return {
        "jobId": job_id,
        "producer": safe_id(text_of(job, "producer") or job_id),
        "provider": provider,
        "providerModel": model,
        "rateKey": text_of(job, "rateKey") or "",
        "context": context if isinstance(context, dict) and is_canonical(context) else {},
        "inputs": entries,
        "produces": outputs_of(outputs, made),
    }


def _listed(plan: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    layers = plan.get("layers")
    for layer in layers if isinstance(layers, list) else ():
        for job in layer if isinstance(layer, list) else ():
            if isinstance(job, dict) and text_of(job, "jobId"):
                yield job


def _ids(value: object) -> list[str]:
    return [safe_id(name) for name in value if isinstance(name, str) and name] if isinstance(value, list) else []
