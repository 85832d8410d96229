"""What happened to artefacts in an old revision, as events: what was made, what failed, and what it took."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence

from renku_store.migration.contents import ContentCarrier
from renku_store.migration.described import OldAttempt, OldRevision
from renku_store.migration.signing import Jobs
from renku_store.records.events import ArtefactEvent, JobFailure
from renku_store.records.graph import GraphNode
from renku_store.records.manifest import ArtefactValue, ManifestArtefact


class Chronicle:
    """The artefact events of one revision; afterwards `made` jobs gave a result, and all took `cost` US dollars."""

    def __init__(self, carrier: ContentCarrier, new_id: Callable[[], str], jobs: Jobs | None) -> None:
        self._carrier = carrier
        self._new_id = new_id
        self._makers: Mapping[str, GraphNode] = jobs.makers if jobs else {}
        self.made = 0
        self.cost = 0.0

    def attempts(
        self,
        run: str,
        revision: OldRevision,
        artefacts: Mapping[str, ManifestArtefact],
        before: Mapping[str, ManifestArtefact],
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
        for attempt, value in earlier:
            if value is not None or not attempt.succeeded:
                yield self._earlier(run, attempt, value)
        yield from self._standing(run, revision, artefacts, before, standing)

    def _value(self, attempt: OldAttempt) -> ArtefactValue | None:
        return self._carrier.value(attempt.value.content, attempt.value.mime_type) if attempt.value else None

    def _earlier(self, run: str, attempt: OldAttempt, value: ArtefactValue | None) -> ArtefactEvent:
        node = self._makers.get(attempt.artefact)
        failure = None
        if not attempt.succeeded:
            said = attempt.error or "It failed."
            failure = JobFailure(kind="ProducerError", message=said, cost=attempt.cost)
        return ArtefactEvent(
            id=self._new_id(),
            run=run,
            artefact=attempt.artefact,
            status="succeeded" if attempt.succeeded else "failed",
            output=_output(node, attempt.artefact),
            job=node.job_id if node else None,
            producer=node.producer if node else attempt.producer,
            result=self._new_id() if attempt.succeeded else None,
            value=value,
            cost=attempt.cost,
            attempts=1,
            duration_seconds=attempt.seconds,
            failure=failure,
            created_at=attempt.created_at,
        )

    def _standing(
        self,
        run: str,
        revision: OldRevision,
        artefacts: Mapping[str, ManifestArtefact],
        before: Mapping[str, ManifestArtefact],
        standing: Mapping[str, OldAttempt],
    ) -> Iterator[ArtefactEvent]:
        """What the revision holds and the one before did not, or what was made again to the same bytes."""
        groups: dict[str | None, list[str]] = {}
        for key, held in artefacts.items():
            if key in standing or not _same(before.get(key), held):
                groups.setdefault(held.job, []).append(key)
        for keys in groups.values():
            tried = [standing[key] for key in keys if key in standing]
            self.made += bool(tried)
            yield from self._group(run, revision, artefacts, keys, tried)

    def _group(
        self,
        run: str,
        revision: OldRevision,
        artefacts: Mapping[str, ManifestArtefact],
        keys: Sequence[str],
        tried: Sequence[OldAttempt],
    ) -> Iterator[ArtefactEvent]:
        node = self._makers.get(keys[0])
        own = [key for key in keys if artefacts[key].edited_by is None]
        whole = node is not None and {output.id for output in node.produces} <= {*own}
        result = self._new_id()
        when = {attempt.artefact: attempt.created_at for attempt in tried}
        costs = [attempt.cost for attempt in tried if attempt.cost is not None]
        seconds = [attempt.seconds for attempt in tried if attempt.seconds is not None]
        for key in keys:
            held = artefacts[key]
            first = bool(own) and key == own[0]
            edited = held.edited_by is not None
            yield ArtefactEvent(
                id=self._new_id(),
                run=run,
                artefact=key,
                status="chosen" if edited else "succeeded",
                output=_output(node, key),
                job=held.job,
                producer=held.produced_by,
                signature=held.signature if whole else None,
                result=None if edited else result if whole else self._new_id(),
                value=ArtefactValue(**{name: getattr(held, name) for name in ArtefactValue.model_fields}),
                cost=sum(costs) if first and costs else None,
                attempts=1 if first and tried else None,
                duration_seconds=max(seconds) if first and seconds else None,
                edited_by=held.edited_by,
                created_at=when.get(key, revision.created_at),
            )


def _same(before: ManifestArtefact | None, now: ManifestArtefact) -> bool:
    return before is not None and (before.hash, before.mime_type, before.edited_by) == (
        now.hash,
        now.mime_type,
        now.edited_by,
    )


def _output(node: GraphNode | None, artefact: str) -> str | None:
    return next((output.name for output in node.produces if output.id == artefact), None) if node else None
