"""What happened to artefacts in an old revision, as events: what was made, what failed, and what it took.

Every result is a trace, so that it can be read and chosen as a take. One of which nobody knows what it was made from
has a signature of its own, which no job ever has: it is never taken by itself. Where no revision holds its bytes, it is
chosen for that signature, which keeps them from collection.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from renku_store.hashing import hash_value
from renku_store.migration.contents import ContentCarrier
from renku_store.migration.described import NOTHING_LEFT, OldAttempt, OldRevision
from renku_store.migration.signing import Jobs
from renku_store.records.events import ArtefactEvent, JobFailure
from renku_store.records.graph import GraphNode
from renku_store.records.manifest import ArtefactValue, ManifestArtefact

_STAND_IN: Final = "renku-store migrate: a result of unknown inputs"
_Artefacts = Mapping[str, ManifestArtefact]


@dataclass(slots=True)
class _Take:
    """A result that did not stay: by artefact what it gave, with the attempt that says so, where one does."""

    node: GraphNode | None
    outputs: dict[str, tuple[ArtefactValue, OldAttempt | None]] = field(
        default_factory=dict[str, tuple[ArtefactValue, OldAttempt | None]]
    )

    @property
    def created_at(self) -> str:
        """When the last of it was made."""
        return max(attempt.created_at for _, attempt in self.outputs.values() if attempt is not None)


class Chronicle:
    """The artefact events of one revision; afterwards `made` jobs gave a result, and all took `cost` US dollars.

    Attempts that were told of before are told no more; `results` has what those gave (`told.ToldAttempts`).
    """

    def __init__(
        self,
        carrier: ContentCarrier,
        new_id: Callable[[], str],
        jobs: Jobs | None,
        results: Mapping[str, Mapping[str, tuple[str, str]]],
    ) -> None:
        self._results = results
        self._carrier = carrier
        self._new_id = new_id
        self._makers: Mapping[str, GraphNode] = jobs.makers if jobs else {}
        self.made = 0
        self.cost = 0.0

    def attempts(
        self, run: str, revision: OldRevision, artefacts: _Artefacts, before: _Artefacts
    ) -> Iterator[ArtefactEvent]:
        """The events of a revision that holds these artefacts, where the one `before` held those.

        First what did not stay, in its order; then what the revision holds that is new in it, job by job.
        """
        standing: dict[str, OldAttempt] = {}
        earlier: list[tuple[OldAttempt, ArtefactValue | None]] = []
        for attempt in revision.attempts:
            self.cost += attempt.cost or 0.0
            value = self._value(attempt)
            held = artefacts.get(attempt.artefact)
            if value is not None and held is not None and held.hash == value.hash and held.edited_by is None:
                if attempt.artefact in standing:
                    earlier.append((standing[attempt.artefact], self._value(standing[attempt.artefact])))
                standing[attempt.artefact] = attempt
            else:
                earlier.append((attempt, value))
        earlier = [(attempt, value) for attempt, value in earlier if attempt.told is None]
        for attempt, value in earlier:
            if value is None and (attempt.cost or not attempt.succeeded):
                yield self._failure(run, attempt)
        for take in self._takes(earlier, {**artefacts, **before}):
            yield from self._earlier(run, take)
        yield from self._standing(run, revision, artefacts, before, standing)

    def _value(self, attempt: OldAttempt) -> ArtefactValue | None:
        return self._carrier.value(attempt.value.content, attempt.value.mime_type) if attempt.value else None

    # What did not stay

    def _failure(self, run: str, attempt: OldAttempt) -> ArtefactEvent:
        node = self._makers.get(attempt.artefact)
        said = NOTHING_LEFT if attempt.succeeded else attempt.error or "It failed."
        return self._event(
            run,
            attempt.artefact,
            node,
            status="failed",
            producer=node.producer if node else attempt.producer,
            failure=JobFailure(kind="ProducerError", message=said, cost=attempt.cost),
            cost=attempt.cost,
            attempts=1,
            duration_seconds=attempt.seconds,
            created_at=attempt.created_at,
        )

    def _takes(self, earlier: Iterable[tuple[OldAttempt, ArtefactValue | None]], known: _Artefacts) -> Iterable[_Take]:
        """The results, each whole as far as what stood beside it is `known`: a take stands for all outputs of a job."""
        takes: list[_Take] = []
        growing: dict[str, _Take] = {}
        for attempt, value in earlier:
            node = self._makers.get(attempt.artefact)
            job = node.job_id if node else f"artefact {attempt.artefact}"
            if value is None:
                continue
            if job not in growing or attempt.artefact in growing[job].outputs:
                growing[job] = _Take(node)
                takes.append(growing[job])
            growing[job].outputs[attempt.artefact] = (value, attempt)
        beside = {key: _made(held) for key, held in known.items() if held.edited_by is None}
        for take in takes:
            for output in take.node.produces if take.node else ():
                if output.id not in take.outputs and output.id in beside:
                    take.outputs[output.id] = (beside[output.id], None)
            beside.update({key: value for key, (value, _) in take.outputs.items()})
        return takes

    def _earlier(self, run: str, take: _Take) -> Iterator[ArtefactEvent]:
        result = self._new_id()
        signed = {"signature": hash_value([_STAND_IN, run, result]), "result": result}
        for key, (value, attempt) in take.outputs.items():
            yield self._event(
                run,
                key,
                take.node,
                status="succeeded",
                producer=take.node.producer if take.node else attempt.producer if attempt else None,
                value=value,
                cost=attempt.cost if attempt else None,
                attempts=1 if attempt else None,
                duration_seconds=attempt.seconds if attempt else None,
                created_at=attempt.created_at if attempt else take.created_at,
                **signed,
            )
        if any(value.blob is not None for value, _ in take.outputs.values()):
            key = next(iter(take.outputs))
            producer = take.node.producer if take.node else None
            yield self._event(
                run, key, take.node, status="chosen", producer=producer, created_at=take.created_at, **signed
            )

    # What the revision holds

    def _standing(
        self,
        run: str,
        revision: OldRevision,
        artefacts: _Artefacts,
        before: _Artefacts,
        standing: Mapping[str, OldAttempt],
    ) -> Iterator[ArtefactEvent]:
        """What the revision holds and the one before did not, or what was made again to the same bytes."""
        groups: dict[str, list[str]] = {}
        for key, held in artefacts.items():
            if key in standing or not _same(before.get(key), held):
                groups.setdefault(held.job or f"artefact {key}", []).append(key)
        for keys in groups.values():
            tried = [standing[key] for key in keys if key in standing]
            self.made += bool(tried)
            for key in keys:
                if artefacts[key].edited_by is not None:
                    yield self._edited(run, revision, key, artefacts[key])
            own = [key for key in keys if artefacts[key].edited_by is None]
            if own:
                yield from self._result(run, revision, artefacts, own, {one.artefact: one for one in tried})

    def _edited(self, run: str, revision: OldRevision, key: str, held: ManifestArtefact) -> ArtefactEvent:
        return self._event(
            run,
            key,
            self._makers.get(key),
            status="chosen",
            job=held.job,
            producer=held.produced_by,
            signature=held.signature,
            value=_made(held),
            edited_by=held.edited_by,
            created_at=revision.created_at,
        )

    def _result(
        self, run: str, revision: OldRevision, artefacts: _Artefacts, own: list[str], tried: Mapping[str, OldAttempt]
    ) -> Iterator[ArtefactEvent]:
        """The outputs of a job of which some are new: its result is what the revision holds of all of them."""
        node = self._makers.get(own[0])
        outputs = [output.id for output in node.produces] if node else own
        beside = [key for key in outputs if key not in own and key in artefacts and artefacts[key].edited_by is None]
        whole = {*outputs} <= {*own, *beside}
        signature = artefacts[own[0]].signature if whole else None
        told = self._told([*own, *beside], artefacts, tried)
        if told is not None:
            yield from self._chosen(run, told, signature, [*own, *beside], artefacts, tried)
            return
        result = self._new_id()
        fresh = [attempt for attempt in tried.values() if attempt.told is None]
        costs = [attempt.cost for attempt in fresh if attempt.cost is not None]
        seconds = [attempt.seconds for attempt in fresh if attempt.seconds is not None]
        for key in [*own, *beside]:
            held, first = artefacts[key], key == own[0]
            yield self._event(
                run,
                key,
                node,
                status="succeeded",
                job=held.job,
                producer=held.produced_by,
                signature=signature or hash_value([_STAND_IN, run, result]),
                result=result,
                value=_made(held),
                cost=sum(costs) if first and costs else None,
                attempts=1 if first and tried else None,
                duration_seconds=max(seconds) if first and seconds else None,
                created_at=tried[key].created_at if key in tried else revision.created_at,
            )

    def _told(self, keys: Sequence[str], artefacts: _Artefacts, tried: Mapping[str, OldAttempt]) -> str | None:
        """The result that was told of before and gave exactly what the revision holds of a job; None without one."""
        for attempt in tried.values():
            given = self._results.get(attempt.told or "", {})
            named = {key: (artefacts[key].hash, _output(self._makers.get(key), key) or key) for key in keys}
            if given and all(given.get(key) == one for key, one in named.items()):
                return attempt.told
        return None

    def _chosen(
        self,
        run: str,
        result: str,
        signature: str | None,
        keys: Sequence[str],
        artefacts: _Artefacts,
        tried: Mapping[str, OldAttempt],
    ) -> Iterator[ArtefactEvent]:
        """A result that was told of before, as that of its job: it stays one take, and its cost is not told again."""
        when = max(attempt.created_at for attempt in tried.values())
        for key in keys:
            held = artefacts[key]
            yield self._event(
                run,
                key,
                self._makers.get(key),
                status="chosen",
                job=held.job,
                producer=held.produced_by,
                signature=signature or hash_value([_STAND_IN, run, result]),
                result=result,
                value=_made(held),
                created_at=when,
            )

    def _event(self, run: str, artefact: str, node: GraphNode | None, **more: Any) -> ArtefactEvent:
        named = {"output": _output(node, artefact), "job": node.job_id if node else None}
        return ArtefactEvent(id=self._new_id(), run=run, artefact=artefact, **{**named, **more})


def _output(node: GraphNode | None, artefact: str) -> str | None:
    """The name that an artefact has as an output of its job."""
    return next((output.name for output in node.produces if output.id == artefact), None) if node else None


def _made(held: ManifestArtefact) -> ArtefactValue:
    return held.value_alone()


def _same(before: ManifestArtefact | None, now: ManifestArtefact) -> bool:
    return before is not None and (before.hash, before.mime_type, before.edited_by) == (
        now.hash,
        now.mime_type,
        now.edited_by,
    )
