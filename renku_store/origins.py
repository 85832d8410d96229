"""Which older revision the outputs of a job were made for, where later ones left them as they were; and its state then.

A pin, a target, a partial revision, and a person's version that is undone leave values that are older than the revision
which holds them: what has changed since cannot be told from that revision.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from operator import attrgetter
from typing import Final

from msgspec import Struct, field

from renku_store.errors import DamageError, NotFoundError
from renku_store.expansion import base_graph, read_documents
from renku_store.movie import Movie
from renku_store.reasons import Origin
from renku_store.records._base import Json
from renku_store.records.events import ArtefactEvent
from renku_store.records.graph import GraphNode
from renku_store.records.ids import revision_name
from renku_store.records.manifest import ArtefactValue, Manifest, ManifestArtefact
from renku_store.selection import MISSING, Missing, Selection, documents_needed

_REVISIONS_MAX: Final = 8
"""Revisions that are read to explain a plan; what is in others is told without naming what has changed since."""


def origins_of(movie: Movie, base: Manifest, decisions: Iterable[ArtefactEvent]) -> dict[str, Origin]:
    """By job, where the values come from that are older than the base revision; `decisions` are those since."""
    held = base.artefacts.values()
    if not any(map(attrgetter("outdated"), held)) and not any(map(attrgetter("edited_by"), held)):
        return {}
    undone = {event.artefact: event.status == "edit-undone" for event in decisions}
    older: dict[str, tuple[str, ManifestArtefact]] = {}
    for key, entry in base.artefacts.items():
        if not entry.outdated and not entry.edited_by:
            continue
        made = entry.as_made()
        if made is not None and made.job is not None and (entry.outdated or undone.get(key)):
            older.setdefault(made.job, (key, made))
    if not older:
        return {}
    with movie.metadata.read() as reader:
        changes = {job: reader.events.artefact_revisions(key) for job, (key, _) in older.items()}
    past = _Past(movie)
    found: dict[str, Origin] = {}
    for job, (key, made) in older.items():
        numbers = [number for number, digest in reversed(changes[job]) if digest == made.hash]
        seen = (past.origin(number, job, key, made) for number in numbers)
        origin = next((one for one in seen if one is not None), None)
        if origin is not None or numbers:
            found[job] = origin or Origin(revision_name(numbers[-1]))
    return found


class _Past(Struct):
    """Revisions as they were, read when they are first asked for."""

    movie: Movie
    known: dict[int, _Revision | None] = field(default_factory=dict)

    def origin(self, number: int, job: str, artefact: str, made: ManifestArtefact) -> Origin | None:
        """That revision, if this artefact was made for it."""
        if number not in self.known and len(self.known) < _REVISIONS_MAX:
            self.known[number] = _read(self.movie, revision_name(number))
        revision = self.known.get(number)
        if revision is None or job not in revision.nodes:
            return None
        held = revision.manifest.artefacts.get(artefact)
        if held is None or held.outdated or held.edited_by is not None or held.signature != made.signature:
            return None
        return Origin(revision.manifest.revision, (revision.nodes[job], revision.state))


class _Revision(Struct, frozen=True):
    manifest: Manifest
    nodes: Mapping[str, GraphNode]
    state: Selection


def _read(movie: Movie, name: str) -> _Revision | None:
    """A revision with what it was made from; None where that is gone."""
    try:
        manifest = movie.manifests.load(name)
        before = {key: movie.value(entry) for key, entry in manifest.inputs.items()}
    except (NotFoundError, DamageError):
        return None
    graph, values = base_graph(movie, manifest, before)
    if graph is None or values is None:
        return None
    documents = read_documents(movie, manifest.artefacts.items(), documents_needed(graph))

    def document(artefact: ArtefactValue) -> Json | Missing:
        return documents.get(artefact.hash, MISSING)

    nodes = {node.job_id: node for node in graph.nodes}
    return _Revision(manifest, nodes, Selection(values, manifest.artefacts, document))
