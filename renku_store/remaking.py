"""A lost manifest made anew from what the index and the revisions beside it say; its hash proves every byte.

The index knows the hash of each manifest, who published it and when, what each of its inputs and artefacts was, and
the events that they came from; the archive has what its run did. How an artefact is described that did not change, the
revisions beside say, or the run: as they may differ, more than one answer is tried. The one with the hash is right.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from itertools import product
from typing import Final, Literal, TypeVar

from renku_store import bounds
from renku_store.archives import archive_path
from renku_store.blobs import BlobStore
from renku_store.encoding import encode_manifest
from renku_store.errors import DamageError, StoreError
from renku_store.hashing import content_hash
from renku_store.manifests import ManifestStore
from renku_store.metadata.base import RevisionRow
from renku_store.metadata.derived import Held
from renku_store.movie import Movie
from renku_store.projection import fold_artefacts, fold_inputs
from renku_store.records.events import ArtefactEvent, Event, InputEvent
from renku_store.records.ids import revision_name
from renku_store.records.manifest import ArchiveRef, Manifest, ManifestArtefact, ManifestInput, Metrics

T = TypeVar("T", ManifestInput, ManifestArtefact)
RowOf = Callable[[int], RevisionRow | None]
Source = Literal["own", "event", "below", "above"]
_ORDERS: Final[tuple[tuple[tuple[Source, ...], tuple[Source, ...]], ...]] = (
    (("own", "event", "above"), ("own", "below", "above", "event")),
    (("own", "event", "above"), ("below", "above", "own", "event")),
    (("above", "own", "event"), ("above", "below", "own", "event")),
)
"""Who is asked, in turn, for what changed in the revision, and for what it has from the ones before."""


def remade(movie: Movie, number: int, row_of: RowOf) -> bytes | None:
    """The exact bytes of a lost manifest; None where they cannot be told. `row_of` gives rows by number."""
    row = row_of(number)
    if row is None:
        return None
    try:
        return _Remaking(movie, row, row_of).bytes()
    except (StoreError, ValueError):
        return None


@dataclass(frozen=True, slots=True)
class _Said:
    """What one source says of the artefacts and inputs of a revision."""

    inputs: Mapping[str, ManifestInput]
    artefacts: Mapping[str, ManifestArtefact]


class _Remaking:
    def __init__(self, movie: Movie, row: RevisionRow, row_of: RowOf) -> None:
        self._movie = movie
        # Complete, by the objects alone, whatever the index says of blobs.
        self._manifests = ManifestStore(movie.driver, BlobStore(movie.driver, None).read)
        self._row = row
        self._row_of = row_of
        with movie.metadata.read() as reader:
            self._inputs, self._artefacts = reader.checks.revision_state(row.number)
            held = [*self._inputs.values(), *self._artefacts.values()]
            events = reader.checks.events_at([entry.seq for entry in held if entry.seq is not None])
        self._said: dict[Source, _Said] = {"event": _each(events), "own": self._own()}
        self._beside: list[Manifest] = []
        sides: tuple[tuple[Source, int], ...] = (("above", row.number + 1), ("below", row.number - 1))
        for side, number in sides:
            manifest = self._neighbour(number)
            if manifest is not None:
                self._beside.append(manifest)
                self._said[side] = _Said(manifest.inputs, manifest.artefacts)

    def bytes(self) -> bytes | None:
        """Try every answer until one has the hash."""
        tried: list[tuple[dict[str, ManifestInput], dict[str, ManifestArtefact]]] = []
        for changed, unchanged in _ORDERS:
            inputs = self._pick(self._inputs, changed, unchanged, lambda said: said.inputs)
            artefacts = self._pick(self._artefacts, changed, unchanged, lambda said: said.artefacts)
            if inputs is None or artefacts is None or (inputs, artefacts) in tried:
                continue
            tried.append((inputs, artefacts))
            for graph, timeline, archive in product(self._graphs(), self._timelines(artefacts), self._archives()):
                encoded = encode_manifest(self._manifest(inputs, artefacts, graph, timeline, archive))
                if encoded.hash == self._row.hash:
                    return encoded.data
        return None

    def _own(self) -> _Said:
        """What the archive of its run says: its own events, and the edits that it took."""
        events: list[Event] = []
        with suppress(StoreError):
            events = list(self._movie.archives.read(self._row.run))
        return _Said(
            fold_inputs({}, (event for event in events if isinstance(event, InputEvent))),
            fold_artefacts({}, (event for event in events if isinstance(event, ArtefactEvent))),
        )

    def _neighbour(self, number: int) -> Manifest | None:
        with suppress(StoreError):
            row = self._row_of(number)
            return self._manifests.load(number, row.hash)[0] if row is not None else None
        return None

    def _pick(
        self,
        held: Mapping[str, Held],
        changed: tuple[Source, ...],
        unchanged: tuple[Source, ...],
        part: Callable[[_Said], Mapping[str, T]],
    ) -> dict[str, T] | None:
        """The entries of a revision by id, each from the first source with its hash; None if one is nowhere."""
        found: dict[str, T] = {}
        for key, entry in held.items():
            for source in changed if entry.since == self._row.number else unchanged:
                said = part(self._said[source]).get(key) if source in self._said else None
                if said is not None and said.hash == entry.hash:
                    found[key] = said
                    break
            else:
                return None
        return found

    def _graphs(self) -> list[str | None]:
        """The hashes that its graph may have."""
        planned: list[str | None] = []
        with suppress(StoreError):
            planned.append(self._movie.plans.load(self._row.run).graph_hash)
        return list(dict.fromkeys([*planned, *(manifest.graph for manifest in self._beside), None]))

    def _timelines(self, artefacts: Mapping[str, ManifestArtefact]) -> list[str | None]:
        """The artefacts that may be its timeline."""
        beside = [manifest.timeline for manifest in self._beside]
        return list(dict.fromkeys([*(name for name in beside if name in artefacts), None]))

    def _archives(self) -> list[ArchiveRef | None]:
        name = archive_path(self._row.run)
        try:
            return [ArchiveRef(name=name, hash=self._movie.archives.digest(self._row.run)), None]
        except DamageError:
            return [None]

    def _manifest(
        self,
        inputs: dict[str, ManifestInput],
        artefacts: dict[str, ManifestArtefact],
        graph: str | None,
        timeline: str | None,
        archive: ArchiveRef | None,
    ) -> Manifest:
        row = self._row
        return Manifest(
            format=bounds.FORMAT_VERSION,
            movie=self._movie.id,
            revision=revision_name(row.number),
            base_revision=revision_name(row.number - 1) if row.number > 1 else None,
            base_hash=row.base_hash,
            run=row.run,
            archive=archive,
            created_at=row.created_at,
            content_hash=content_hash(inputs, artefacts, timeline),
            graph=graph,
            inputs=inputs,
            artefacts=artefacts,
            timeline=timeline,
            metrics=Metrics(made=row.made, reused=row.reused, cost=row.cost, saved=row.saved or None),
        )


def _each(events: list[InputEvent | ArtefactEvent]) -> _Said:
    """What events say, each alone: of an id there is one at most."""
    inputs = fold_inputs({}, (event for event in events if isinstance(event, InputEvent)))
    artefacts: dict[str, ManifestArtefact] = {}
    for event in events:
        if isinstance(event, ArtefactEvent):
            artefacts.update(fold_artefacts({}, [event]))
    return _Said(inputs, artefacts)
