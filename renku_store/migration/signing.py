"""The jobs of a migrated revision, and the signatures that its inputs and artefacts give them.

A migrated artefact counts as made from what its revision holds, as the older layout saw it: so the next plan of an
unchanged movie is empty. Only where a later attempt had failed on other inputs there is no signature.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import orjson

from renku_store.errors import BadInputError
from renku_store.expansion import source_of
from renku_store.hashing import graph_bytes, parse_json, signature
from renku_store.media_types import is_json
from renku_store.migration.described import HeldContent, OldArtefact
from renku_store.records._base import Json
from renku_store.records.graph import GraphNode, ProducerGraph
from renku_store.records.inputs import BLUEPRINT
from renku_store.records.manifest import ArtefactValue
from renku_store.selection import MISSING, Missing, Selection


@dataclass(frozen=True, slots=True)
class Jobs:
    """The jobs of a revision: `data` is what the blob of the graph holds, `makers` has the job of each artefact."""

    data: bytes
    graph: ProducerGraph
    makers: Mapping[str, GraphNode] = field(default_factory=dict[str, GraphNode])


def jobs_of(movie: str, document: Json, inputs: Mapping[str, Json]) -> Jobs | None:
    """The jobs that a graph document says, as a plan of the movie will see them; None where it says none."""
    if document is None:
        return None
    try:
        graph = source_of(movie, {**inputs, BLUEPRINT: document}).expand({}).graph
    except BadInputError:
        return None
    makers = {output.id: node for node in graph.nodes for output in node.produces}
    return Jobs(graph_bytes(graph), graph, makers)


def signatures(
    jobs: Jobs, inputs: Mapping[str, Json], artefacts: Mapping[str, ArtefactValue], old: Mapping[str, OldArtefact]
) -> dict[str, str]:
    """The signature of each job, by its id."""
    documents: dict[str, Json] = {}

    def document(artefact: ArtefactValue) -> Json | Missing:
        return documents.get(artefact.hash, MISSING)

    for key, value in artefacts.items():
        content = old[key].content
        if is_json(value.mime_type) and isinstance(content, HeldContent):
            try:
                documents[value.hash] = parse_json(content.data)
            except orjson.JSONDecodeError:
                continue
    selection = Selection(inputs, artefacts, document)
    return {node.job_id: signature(node, selection.signed_inputs(node)) for node in jobs.graph.nodes}
