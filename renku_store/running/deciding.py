"""What is to be done for a job whose inputs are final: nothing, take an earlier result over, or call.

Jobs that are ready at once are looked up, and claimed, together: in one thread, one look and one commit. One that reads
into a document which has not been read yet, from wherever that lies, holds up nobody.

Keeps its part of invariant 10: what is to be called is claimed; who is cancelled meanwhile is told.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from functools import partial
from typing import Final, Protocol

from msgspec import Struct
from msgspec.structs import replace

from renku_store.errors import ConflictError, InvalidValueError, StoreError, UnusableError
from renku_store.finishing import in_thread_to_the_end
from renku_store.graph import GraphIndex
from renku_store.growth import Growth
from renku_store.hashing import signature
from renku_store.leases import ClaimAnswer, Wanted
from renku_store.records.events import Trace
from renku_store.records.graph import GraphNode
from renku_store.records.manifest import ArtefactValue, ManifestArtefact
from renku_store.records.plan import ExecutionPlan
from renku_store.running.earlier import EarlierResults
from renku_store.running.grouping import Grouped
from renku_store.selection import Selection, references
from renku_store.versions import Held

_GROUP_MAX: Final = 256
"""Jobs in one look-up: no job waits for more."""


class Decision(Struct, frozen=True, gc=False):  # it holds no cycle
    """What is to be done for a job whose inputs are final: nothing, take `trace` over, or call.

    `forced`: without a `trace` call whatever results there are, which are those `known`. `claim` is what the claim of
    what is to be called was answered; None where it is still to be asked for.
    """

    signature: str
    clean: bool = False
    trace: Trace | None = None
    forced: bool = False
    known: frozenset[str] = frozenset()
    claim: ClaimAnswer | None = None

    @property
    def asks(self) -> bool:
        """Whether it is still to be seen if there is a result."""
        return not (self.clean or self.forced or self.trace)


class Known(Protocol):
    """What a run knows by now."""

    @property
    def plan(self) -> ExecutionPlan:
        """The plan, as far as it has grown."""
        ...

    @property
    def index(self) -> GraphIndex:
        """The jobs of the plan."""
        ...

    @property
    def held(self) -> Held:
        """What the revision under the run holds, with what people decided on."""
        ...

    @property
    def growth(self) -> Growth:
        """What becomes of lists that are made."""
        ...

    @property
    def artefacts(self) -> Mapping[str, ManifestArtefact]:
        """What there is of the artefacts."""
        ...

    def selection(self) -> Selection:
        """The references of the run against what is known."""
        ...

    def is_read(self, node: GraphNode) -> bool:
        """Whether every document that a job reads into is in memory."""
        ...

    def await_upstream(self, node: GraphNode) -> None:
        """Raise `NotFoundError` if something that the job reads has not been made; touches the disk."""
        ...


class Decider:
    """Decides on the jobs of one run, for many tasks of one event loop."""

    def __init__(
        self, known: Known, earlier: EarlierResults, claim: Callable[[Sequence[Wanted]], Sequence[ClaimAnswer]]
    ) -> None:
        self._known = known
        self._earlier = earlier
        self._claim = claim
        self._grouped = Grouped(self._decide_group, _GROUP_MAX)

    async def decide(self, job_id: str) -> tuple[Decision, bool]:
        """Compute a job's signature, once its inputs are final, see whether its result is there already, else claim it.

        Says, too, whether the caller was cancelled meanwhile. Raises `NotFoundError` if a job upstream has not been
        made, and what `RunLeases.claim_many` raises.
        """
        if self._known.is_read(self._known.index.node(job_id)):
            return await self._grouped.ask_to_the_end(job_id)
        (answer,), cancelled = await in_thread_to_the_end(partial(self._decide_all, [job_id]))
        if isinstance(answer, Exception):
            raise answer
        return answer, cancelled

    async def _decide_group(self, jobs: Sequence[str]) -> Sequence[Decision | Exception]:
        decided, _ = await in_thread_to_the_end(partial(self._decide_all, jobs))
        return decided

    def _decide_all(self, jobs: Sequence[str]) -> list[Decision | Exception]:
        """The decision on each job, or what is the matter with it, in one look and one commit. Touches the disk."""
        decided: list[Decision | Exception] = []
        for job in jobs:
            try:
                decided.append(self._signed(job))
            except Exception as error:  # noqa: BLE001 (the job gets it; none is swallowed)
                decided.append(error)
        traces = self._traces([one.signature for one in decided if isinstance(one, Decision) and one.asks])
        decided = [_with(one, traces.get(one.signature)) if isinstance(one, Decision) else one for one in decided]
        return self._claimed(jobs, decided)

    def _claimed(self, jobs: Sequence[str], decided: list[Decision | Exception]) -> list[Decision | Exception]:
        """The same with the claims of what is to be called.

        Where the matter of one job fails the group, each is to ask for itself.
        """
        wanted = {
            place: Wanted(one.signature, job, forced=one.forced)
            for place, (job, one) in enumerate(zip(jobs, decided, strict=True))
            if isinstance(one, Decision) and not (one.clean or one.trace)
        }
        if not wanted:
            return decided
        try:
            answers = dict(zip(wanted, self._claim(list(wanted.values())), strict=True))
        except (UnusableError, ConflictError) as error:
            return [error if place in wanted else one for place, one in enumerate(decided)]
        except StoreError:
            return decided
        return [
            replace(one, claim=answers[place]) if isinstance(one, Decision) and place in answers else one
            for place, one in enumerate(decided)
        ]

    def _signed(self, job_id: str) -> Decision:
        """Compute the signature of a job; if it is neither clean nor forced, it is still to be seen what there is."""
        known = self._known
        node = known.index.node(job_id)
        if node.awaits is not None:
            raise InvalidValueError(
                f"{job_id} stands for jobs that are not known before {', '.join(node.awaits.artefacts)} is made.",
                hint="`Runner.expand` gives the plan that has them.",
            )
        known.await_upstream(node)
        signed = self._signature(node)
        if not any(reason.kind == "forced" for reason in known.plan.jobs[job_id].reasons):
            return Decision(signed, clean=self._is_clean(node, signed))
        own = self._earlier.own(job_id, signed)
        if own is not None and known.growth.decides_nothing(known.plan, node, own.outputs, self._present):
            own = None
        return Decision(signed, trace=own, forced=True, known=self._earlier.known(signed))

    def _signature(self, node: GraphNode) -> str:
        """Of a job that reads nothing but inputs, which the plan has frozen, the planner has computed it already.

        Raises `InvalidValueError` for a job that reads a part of an artefact that is no value.
        """
        planned = self._known.plan.jobs[node.job_id]
        if planned.state == "dirty" and planned.signature is not None and not _reads_artefacts(node):
            return planned.signature
        selection = self._known.selection()
        signed = signature(node, selection.signed_inputs(node))
        fault = selection.fault(node)
        if fault is not None:
            raise InvalidValueError(fault)
        return signed

    def _traces(self, signatures: Sequence[str]) -> Mapping[str, Trace | StoreError]:
        """The result for each signature that has one; what one of them meets is the matter of that one alone."""
        if not signatures:
            return {}
        try:
            return self._earlier.usable_among(signatures)
        except UnusableError:
            raise
        except StoreError as error:
            if len(signatures) == 1:
                return {signatures[0]: error}
            return {known: found for one in signatures for known, found in self._traces([one]).items()}

    def _is_clean(self, node: GraphNode, signed: str) -> bool:
        held = self._known.held
        made = [held.made(output.id, signed) for output in node.produces if not held.edited(output.id)]
        whole = not self._known.plan.jobs[node.job_id].damaged
        return whole and all(present is not None and present.signature == signed for present in made)

    def _present(self, artefacts: Collection[str]) -> dict[str, ArtefactValue]:
        found = self._known.artefacts
        return {key: found[key] for key in artefacts if key in found}


def _reads_artefacts(node: GraphNode) -> bool:
    return any(reference.kind == "artefact" for entry in node.inputs for reference in references(entry))


def _with(decision: Decision, found: Trace | StoreError | None) -> Decision | StoreError:
    if not decision.asks or found is None:
        return decision
    return found if isinstance(found, StoreError) else replace(decision, trace=found)
