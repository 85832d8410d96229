"""Adopting what there is for jobs whose producer has changed: the results stay, under the signature of today.

Keeps invariant 9: what is adopted is seen, and live, when that is noted.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Final

import orjson

from renku_store.clock import timestamp
from renku_store.errors import DamageError, InvalidValueError
from renku_store.graph import GraphIndex
from renku_store.hashing import parse_json, signature
from renku_store.media_types import is_json
from renku_store.movie import Movie
from renku_store.outlook import Outlook, look
from renku_store.records._base import Hash, Json, Record
from renku_store.records.events import ArtefactEvent
from renku_store.records.graph import GraphNode
from renku_store.records.manifest import ArtefactValue, ManifestArtefact
from renku_store.records.plan import PlannedJob
from renku_store.selection import MISSING, Missing, Selection, references
from renku_store.versions import Held, source_changed

_SILENCED: Final = frozenset({"producer changed", "upstream", "last attempt failed"})
"""The reasons that adopting answers: with any other the results are those of other inputs, or are not there."""


class Accepted(Record):
    """A job whose results are adopted, and the signature under which they stand from now on."""

    job: str
    signature: Hash


def accept_results(movie: Movie, name: str, *, edited_by: str = "user") -> list[Accepted]:
    """Adopt what the newest revision holds of a job, an artefact's job, or all jobs of a producer, which has changed.

    Movie-wide, durable on return; the next run takes it, and calls nobody for these jobs. Jobs that are dirty for
    another reason as well are left alone. Raises `NotFoundError` for a name that there is not, `InvalidValueError`
    where no job that it names can be adopted, which says why.
    """
    outlook = look(movie)
    adoption = _Adoption(movie, outlook)
    named = adoption.index.jobs_named(name)
    wanted = set(named)
    for job in adoption.index.order:
        if job in wanted:
            adoption.take(job)
    if not adoption.found:
        raise InvalidValueError(
            f"There is nothing to accept of {name}: {adoption.refused[named[0]]}.",
            hint="`renku-store plan` shows what would run, and why; `run --pin` keeps a job as it is, once.",
        )
    movie.events.append_many(adoption.events(edited_by))
    return [Accepted(job=job, signature=known) for job, known in adoption.found.items()]


@dataclass(slots=True)
class _Adoption:
    """Jobs taken one after another, in the order of the graph: what one reads is known when it comes."""

    movie: Movie
    outlook: Outlook
    index: GraphIndex = field(init=False)
    found: dict[str, str] = field(default_factory=dict[str, str])
    refused: dict[str, str] = field(default_factory=dict[str, str])
    _held: Held = field(init=False)
    _now: Selection = field(init=False)

    def __post_init__(self) -> None:
        plan, base = self.outlook.plan, self.outlook.base
        self.index = GraphIndex(plan.graph)
        self._held = Held(base.artefacts if base else {}, plan.edits)
        adopted = {key: edit for key, edit in plan.edits.items() if self._is_clean(key)}
        shown = {**self._held.everything(), **adopted}
        self._now = Selection(self.outlook.values, shown, self._document)

    def take(self, job: str) -> None:
        """Adopt the results of a job, or note why not."""
        node, planned = self.index.node(job), self.outlook.plan.jobs[job]
        why = self._why_not(node, planned)
        if why is not None:
            self.refused[job] = why
            return
        known = planned.signature or signature(node, self._now.signed_inputs(node))
        fault = self._now.fault(node)
        if fault is not None:
            self.refused[job] = fault
        else:
            self.found[job] = known

    def events(self, edited_by: str) -> Iterator[ArtefactEvent]:
        """What is to be noted: every output of every job that was adopted."""
        now = timestamp(self.movie.events.clock.now())
        for job, known in self.found.items():
            node = self.index.node(job)
            result = self._result(node)
            for output in node.produces:
                made = self._held.made(output.id, known)
                if made is not None:
                    yield ArtefactEvent(
                        id=self.movie.events.new_id(),
                        artefact=output.id,
                        status="accepted",
                        output=output.name,
                        job=job,
                        producer=node.producer,
                        signature=known,
                        result=result,
                        value=made.value_alone(),
                        edited_by=edited_by,
                        source=node.source,
                        created_at=now,
                    )

    def _why_not(self, node: GraphNode, planned: PlannedJob) -> str | None:
        if planned.state == "clean":
            changed = source_changed(node, self._held, planned.signature) and not (planned.edited or planned.pinned)
            return None if changed else f"{node.job_id} is clean"
        other = [reason for reason in planned.reasons if reason.kind not in _SILENCED]
        if other:
            detail = f" ({other[0].detail})" if other[0].detail else ""
            return f"{node.job_id} is dirty for another reason: {other[0].kind}: {other[0].subject}{detail}"
        if not any(reason.kind == "producer changed" for reason in planned.reasons):
            return f"the producer of {node.job_id} has not changed"
        waits = [maker for maker in self._dirty_makers(node) if maker not in self.found]
        return f"{node.job_id} reads what {waits[0]} is still to make" if waits else None

    def _dirty_makers(self, node: GraphNode) -> Iterator[str]:
        for entry in node.inputs:
            for reference in references(entry):
                if reference.kind == "artefact" and not self._held.edited(reference.id):
                    maker = self.index.maker(reference.id)
                    if maker is not None and self.outlook.plan.jobs[maker].state != "clean":
                        yield maker

    def _is_clean(self, artefact: str) -> bool:
        """Whether the job is clean that makes an artefact; one that no job makes yet is nobody's to read."""
        maker = self.index.maker(artefact)
        return maker is not None and self.outlook.plan.jobs[maker].state == "clean"

    def _result(self, node: GraphNode) -> str | None:
        """The result that the outputs of a job are, if the index still tells: look-ups then give it, too."""
        held = {output.name: made for output in node.produces if (made := self._held.made(output.id, None))}
        signatures = {made.signature for made in held.values() if made.signature is not None}
        with self.movie.metadata.read() as reader:
            traces = [trace for known in sorted(signatures) for trace in reader.events.traces(known)]
        hashes = _hashes(held)
        return next((trace.result for trace in reversed(traces) if _hashes(trace.outputs) == hashes), None)

    def _document(self, artefact: ArtefactValue) -> Json | Missing:
        try:
            return parse_json(self.movie.read(artefact)) if is_json(artefact.mime_type) else MISSING
        except (DamageError, orjson.JSONDecodeError):
            return MISSING


def _hashes(outputs: dict[str, ManifestArtefact] | dict[str, ArtefactValue]) -> dict[str, str]:
    return {name: value.hash for name, value in outputs.items()}
