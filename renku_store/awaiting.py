"""Which job of a run waits for which: for who makes what it reads, unless people's versions stand for all of that.

Those are there before the run begins, whatever becomes of a job that makes other outputs beside them.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from renku_store.graph import GraphIndex
from renku_store.records.manifest import ManifestArtefact
from renku_store.selection import artefacts_awaited


class Awaiting:
    """The dependencies of a graph as they are in one run; `edits` as in its plan."""

    def __init__(self, index: GraphIndex, edits: Mapping[str, ManifestArtefact]) -> None:
        self._index = index
        self._spared = {*_spared(index, edits)} if edits else frozenset[tuple[str, str]]()

    def makers(self, job: str) -> list[str]:
        """The jobs that this one waits for."""
        makers = self._index.dependencies(job)
        return [maker for maker in makers if (maker, job) not in self._spared] if self._spared else makers

    def waiting(self, job: str) -> list[str]:
        """The jobs that wait for this one."""
        after = self._index.dependents(job)
        return [other for other in after if (job, other) not in self._spared] if self._spared else after

    def all_waiting(self, job: str) -> list[str]:
        """All that wait for this one, near or far, in topological order."""
        after = self._index.descendants([job])
        if not self._spared:
            return after
        reached: dict[str, None] = {job: None}
        for other in after:
            if not reached.keys().isdisjoint(self.makers(other)):
                reached[other] = None
        return [*reached][1:]


def _spared(index: GraphIndex, edits: Mapping[str, ManifestArtefact]) -> Iterator[tuple[str, str]]:
    """Job and reader, where the reader takes nothing of the job's but people's versions."""
    edited = {artefact for artefact, entry in edits.items() if entry.edited_by is not None}
    makers = {maker for artefact in edited if (maker := index.maker(artefact)) is not None}
    for job in {job for maker in makers for job in index.dependents(maker)}:
        read = {*artefacts_awaited(index.node(job))}
        waited_for = {index.maker(artefact) for artefact in read - edited}
        for maker in {index.maker(artefact) for artefact in read & edited} - waited_for:
            if maker is not None:
                yield maker, job
