"""Which jobs of a graph are clean, and why the others are not. Pure; the planner makes plans of it.

Most jobs of most plans are ordinary: nothing that they read is to be made, and nobody has decided anything about them.
For those there is one short way, without a list of reasons; every other job goes the long one, and both say the same.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final, TypeAlias

from renku_store.choosing import Chosen
from renku_store.errors import BlobMissingError, InvalidValueError
from renku_store.graph import GraphIndex
from renku_store.many import ManySigner
from renku_store.reasons import Differences, Origin, in_words
from renku_store.records._base import Json
from renku_store.records.columns import JobColumns
from renku_store.records.graph import GraphNode, ProducerGraph
from renku_store.records.manifest import ArtefactValue, ManifestArtefact
from renku_store.records.plan import Choices, PlannedJob, Reason
from renku_store.records.sheet import Sheet
from renku_store.selection import MISSING, Missing, Selection, artefacts_awaited
from renku_store.signing import Signer
from renku_store.versions import Held, made_by_others, source_changed

Document: TypeAlias = Callable[[ArtefactValue], Json | Missing]
"""Gives the parsed JSON of an artefact; `MISSING` where there is none."""
Premises: TypeAlias = tuple[Mapping[str, GraphNode], Mapping[str, Json]] | None
"""The jobs, by id, and the input values that the base revision was made from; None where nobody can tell."""
Former: TypeAlias = Callable[[], Premises]
"""Gives what the base revision was made from."""


def made_from(graph: ProducerGraph | None, inputs: Mapping[str, Json] | None) -> Former:
    """A base revision of which the graph and the inputs are at hand, or one of them is not."""

    def found() -> tuple[Mapping[str, GraphNode], Mapping[str, Json]] | None:
        if graph is None or inputs is None:
            return None
        return {node.job_id: node for node in graph.nodes}, inputs

    return found


def contents(documents: Mapping[str, Json]) -> Document:
    """Documents that are at hand, by the hash of the artefact."""
    return lambda artefact: documents.get(artefact.hash, MISSING)


_NO_REASONS: Final[list[Reason]] = []


def _clean(signature: str | None, layer: int) -> PlannedJob:
    return PlannedJob(state="clean", reasons=_NO_REASONS, signature=signature, layer=layer)


@dataclass(slots=True)
class Verdicts:
    """One planning: what is given, and how far it has come.

    `shown` is what stands for artefacts; takes that people chose come into `takes`, which is the same where there are
    any decisions. `decisions` is what people decided on artefacts, `damaged` are hashes of blobs that cannot be used,
    `failed` signatures whose last attempt failed, `decided` the jobs of an earlier plan that stay as they are.
    """

    index: GraphIndex
    base: Mapping[str, ManifestArtefact]
    decisions: dict[str, ManifestArtefact]
    held: Held
    shown: Mapping[str, ManifestArtefact]
    takes: dict[str, ManifestArtefact]
    now: Selection
    differences: Differences
    chosen: Chosen
    damaged: set[str] = field(default_factory=set[str])
    failed: set[str] = field(default_factory=set[str])
    warnings: list[str] = field(default_factory=list[str])
    lapsed: set[str] = field(default_factory=set[str])
    decided: Mapping[str, PlannedJob] = field(default_factory=dict[str, PlannedJob])
    before: Mapping[str, int] = field(default_factory=dict[str, int])
    named: set[str] = field(init=False)
    signer: Signer = field(init=False)

    def __post_init__(self) -> None:
        self.named = self.chosen.forced | self.chosen.pinned
        self.signer = Signer(self.now)

    @classmethod
    def of(
        cls,
        index: GraphIndex,
        base: Mapping[str, ManifestArtefact],
        decisions: dict[str, ManifestArtefact],
        values: Mapping[str, Json],
        document: Document,
        former: Former,
        origins: Mapping[str, Origin] | None,
        choices: Choices | None,
    ) -> Verdicts:
        """What a graph is compared with: a base, what people decided on, and what `former` says it was made from."""
        held = Held(base, decisions)
        takes = {**held.everything()} if decisions else {}
        shown = takes if decisions else held.everything()

        def before() -> tuple[Mapping[str, GraphNode], Selection]:
            nodes, inputs = former() or ({}, {})
            return nodes, Selection(inputs, base, document)

        now = Selection(values, shown, document)
        chosen = Chosen.of(index, choices or Choices(), held)
        return cls(index, base, decisions, held, shown, takes, now, Differences(before, now, origins), chosen)

    def jobs(self) -> dict[str, PlannedJob]:
        """Every job of the graph, each after what it waits for."""
        index, known = self.index, self._known_at_once()
        jobs: dict[str, PlannedJob] = {}
        if known is None:
            self._judge(jobs, index.positions, [""] * len(index))
        else:
            layers, order = index.layers_by_position, index.positions
            jobs = {
                job_id: PlannedJob(
                    state="clean", reasons=_NO_REASONS, signature=known[position], layer=layers[position]
                )
                for position, job_id in zip(order, index.ids_at(order), strict=True)
            }
            if not all(known):
                self._judge(
                    jobs, index.affected(place for place, signature in enumerate(known) if not signature), known
                )
        self._warn_of_sources(jobs)
        return jobs

    def _judge(self, jobs: dict[str, PlannedJob], positions: Iterable[int], known: Sequence[str | None]) -> None:
        """Look at those jobs that are not ordinary, or come after one that is not, in topological order."""
        index, layers = self.index, self.index.layers_by_position
        open_positions: set[int] = set()
        for position in positions:
            layer, job = layers[position], None
            if not open_positions or open_positions.isdisjoint(index.positions_before(position)):
                signature = known[position]
                if signature:
                    job = _clean(signature, layer)
                elif signature is not None:
                    job = self._ordinary(index.node_at(position), layer)
            if job is None:
                job = self._job(position, jobs)
                if job.state != "clean":
                    open_positions.add(position)
            jobs[index.job_id(position)] = job

    def _known_at_once(self) -> list[str | None] | None:
        """By position the signature of a job that is ordinary if nothing before it is to be made; None: it is not.

        An empty text says that nobody knows: the job is to be looked at. None instead of a list: that holds for all.
        """
        sheet = self.index.sheet
        choices = any(entry.edited_by is None for entry in self.decisions.values())
        if sheet is None or not self.base or self.decided or choices:
            return None
        many, known = ManySigner(self.now, self.signer), list[str | None]([""]) * len(sheet)
        for family in sheet.families:
            due = many.signatures(family)
            if due is not None:
                known[family.start : family.start + len(due)] = self._held(due, sheet, family)
        for job_id in self.named:
            known[self.index.position(job_id)] = None
        for artefact in self.decisions:
            if artefact in sheet.makers:
                known[sheet.makers[artefact]] = None
        return known

    def _held(self, due: Sequence[str], sheet: Sheet, family: JobColumns) -> list[str | None]:
        """Of jobs those signatures that the base holds all outputs with, whole."""
        found: list[str | None] = list(due)
        damaged = self.damaged
        for _, ids in family.outputs:
            held = list(map(self.base.get, ids))
            found = [
                present.signature  # one text for both
                if present is not None
                and present.signature == wanted
                and present.edited_by is None
                and not (damaged and present.blob in damaged)
                else None
                for present, wanted in zip(held, found, strict=True)
            ]
            sheet.share_ids(family, [None if present is None else present.job for present in held])
        return found if family.outputs else [None for _ in due]

    def _ordinary(self, node: GraphNode, layer: int) -> PlannedJob | None:
        """A job whose outputs the base holds, whole, as its inputs give them now; None: it is to be looked at."""
        job_id = node.job_id
        if node.awaits is not None or job_id in self.named or job_id in self.decided:
            return None
        known: str | None = None
        for output in node.produces:
            present = self.base.get(output.id)
            if present is None or present.edited_by is not None or output.id in self.decisions:
                return None
            if present.blob in self.damaged:
                return None
            if known is None:
                known = self.signer.signature(node)
            if present.signature != known:
                return None
            known = present.signature  # one text for both
        return None if known is None else _clean(known, layer)

    def _job(self, position: int, jobs: Mapping[str, PlannedJob]) -> PlannedJob:
        """A job, whatever is the matter with it."""
        node, layer = self.index.node_at(position), self.index.layers_by_position[position]
        job_id = node.job_id
        if job_id in self.decided:
            planned = _moved(self.decided[job_id], layer)
            self._take_choice(node, planned)
            return planned
        waits = self._dirty_makers(node, position, jobs)
        if node.awaits is not None or any(jobs[maker].state == "deferred" for maker in waits):
            return self._deferred(node, waits)
        known = None if waits else self.signer.signature(node)
        if self.held.all_edited(node):
            return self._edited(node, known, waits)
        if job_id in self.chosen.pinned:
            return self._pinned(node, known)
        reasons = [Reason(kind="upstream", subject=maker) for maker in waits]
        reasons += self._reasons(node, known)
        if job_id in self.chosen.forced:
            reasons.append(Reason(kind="forced", subject=job_id))
        fault = self.now.fault(node) if known is not None else None
        if fault is not None:
            self.warnings.append(fault)
        planned = PlannedJob(
            state="dirty" if reasons else "clean",
            reasons=reasons,
            signature=known if fault is None else None,
            layer=layer,
            made_in=self.differences.made_in(job_id) if reasons else None,
        )
        self._take_choice(node, planned)
        return planned

    def _deferred(self, node: GraphNode, waits: Sequence[str]) -> PlannedJob:
        """A placeholder, or a job that comes after one: what it is to read is known during the run."""
        reasons = [Reason(kind="upstream", subject=maker) for maker in waits]
        if node.awaits is not None and node.awaits.problem is not None:
            makers = dict.fromkeys(self.index.maker(artefact) for artefact in node.awaits.artefacts)
            reasons = [Reason(kind="upstream", subject=maker or "", detail=node.awaits.problem) for maker in makers]
        if node.job_id in self.chosen.forced:
            reasons.append(Reason(kind="forced", subject=node.job_id))
        before = self.before.get(node.job_id) if node.awaits is not None else None
        return PlannedJob(state="deferred", reasons=reasons, layer=self.index.layer(node.job_id), jobs_before=before)

    def _pinned(self, node: GraphNode, known: str | None) -> PlannedJob:
        """A job that is kept as it is: it needs something good to keep. One that is clean is so without being kept."""
        outputs = [output for output in node.produces if not self.held.edited(output.id)]
        made = {output.id: self.held.made(output.id, known) for output in outputs}
        for output in outputs:
            present = made[output.id]
            if present is None or present.blob in self.damaged:
                wrong = "missing" if present is None else "damaged"
                raise InvalidValueError(
                    f"{node.job_id} cannot be kept as it is: {output.id} is {wrong}.",
                    hint="Let it be made once, then pin it.",
                )
        layer = self.index.layer(node.job_id)
        signatures = [present.signature for present in made.values() if present is not None]
        if known is not None and set(signatures) <= {known}:
            return PlannedJob(state="clean", signature=known, layer=layer)
        held = signatures[0] if signatures else None
        return PlannedJob(
            state="clean",
            reasons=[Reason(kind="pinned", subject=node.job_id)],
            signature=held,
            layer=layer,
            pinned=True,
        )

    def _dirty_makers(self, node: GraphNode, position: int, jobs: Mapping[str, PlannedJob]) -> list[str]:
        """The jobs whose outputs this one reads and that are not clean, each once, in the order of reading."""
        makers: dict[str, None] = {}
        for artefact, maker in self._read(node, position):
            if maker is not None and not self.held.edited(artefact) and jobs[maker].state != "clean":
                makers[maker] = None
        return list(makers)

    def _read(self, node: GraphNode, position: int) -> Iterator[tuple[str, str | None]]:
        """The artefacts that a job waits for, with the jobs that make them."""
        sheet = self.index.sheet
        if sheet is None:
            return ((artefact, self.index.maker(artefact)) for artefact in artefacts_awaited(node))
        return ((artefact, sheet.job_id(maker)) for artefact, maker in sheet.read_at(position))

    def _is_persons(self, artefact: str) -> bool:
        """Whether a person's version stands for an artefact; `BlobMissingError` where it is damaged."""
        if not self.held.edited(artefact):
            return False
        if self.shown[artefact].blob in self.damaged:
            raise BlobMissingError(
                f"{self.shown[artefact].edited_by}'s version of {artefact} is missing or damaged; no run can make it.",
                hint=f"Give it again with `renku-store edit '{artefact}' @FILE`, or go back with `--undo`.",
            )
        return True

    def _edited(self, node: GraphNode, known: str | None, waits: Sequence[str]) -> PlannedJob:
        """A job whose outputs are all people's versions: it does not run, and says so where it would have."""
        if node.job_id in self.chosen.forced:
            self.warnings.append(f"{node.job_id} is not made anew: what it makes would lie under a person's version.")
        for output in node.produces:
            self._is_persons(output.id)
            made = self.held.made(output.id, known)
            if made is not None and (known is None or made.signature != known):
                changed = [in_words(reason) for reason in self.differences.of(node, sure=False)]
                changed += [f"{maker} is made anew" for maker in waits]
                if changed:
                    stays = f"{output.id} stays {self.shown[output.id].edited_by}'s version"
                    self.warnings.append(f"{stays}, though: {'; '.join(changed)}.")
        made_with = [self.shown[output.id].signature for output in node.produces]
        reasons = [
            Reason(kind="edited", subject=output.id, detail=f"by {self.shown[output.id].edited_by}")
            for output in node.produces
        ]
        layer = self.index.layer(node.job_id)
        return PlannedJob(state="clean", reasons=reasons, signature=made_with[0], layer=layer, edited=True)

    def _warn_of_sources(self, jobs: Mapping[str, PlannedJob]) -> None:
        """Say of which producers the files have changed, and not the version, since they made what stays."""
        changed: dict[str, int] = {}
        sheet = self.index.sheet
        for job_id, planned in jobs.items() if self.index.has_sources else ():
            if planned.state != "clean" or planned.edited:
                continue
            if sheet is None:
                node = self.index.node(job_id)
                producer, other = node.producer, source_changed(node, self.held, planned.signature)
            else:
                family, place = sheet.family_at(self.index.position(job_id))
                outputs = (ids[place] for _, ids in family.outputs)
                producer = family.common.producer
                other = made_by_others(family.common.source, outputs, self.held, planned.signature)
            if other:
                changed[producer] = changed.get(producer, 0) + 1
        for producer, count in changed.items():
            jobs_stay = "1 job stays" if count == 1 else f"{count:,} jobs stay"
            self.warnings.append(
                f"The files of {producer} have changed, its version has not: {jobs_stay} as made before."
                f" Raise `version` to make them anew, or `renku-store accept {producer}` to keep them."
            )

    def _take_choice(self, node: GraphNode, planned: PlannedJob) -> None:
        """Let what comes after a job read the take chosen for it, if the choice holds."""
        for output in node.produces:
            take = self.held.chosen(output.id)
            if take is None or planned.signature is None:
                continue
            if take.signature == planned.signature:
                self.takes[output.id] = take
            else:
                self.lapsed.add(output.id)
                self.warnings.append(f"What was chosen for {output.id} holds no longer: its inputs have changed since.")

    def _reasons(self, node: GraphNode, known: str | None) -> list[Reason]:
        """Why a job is dirty by itself, whatever is upstream of it."""
        reasons: list[Reason] = []
        changed = False
        for output in node.produces:
            if self._is_persons(output.id):
                continue
            present = self.held.made(output.id, known)
            if present is None:
                reasons.append(Reason(kind="output missing", subject=output.id))
            elif present.blob in self.damaged:
                reasons.append(Reason(kind="blob missing or damaged", subject=output.id, detail=present.hash))
            elif known is not None and present.signature != known:
                changed = True
        if changed or (known is None and not reasons):
            reasons = [*self.differences.of(node, sure=known is not None), *reasons]
        if reasons and known in self.failed:
            reasons.append(Reason(kind="last attempt failed", subject=node.job_id))
        return reasons


def _moved(job: PlannedJob, layer: int) -> PlannedJob:
    """The same job where it stands in another graph."""
    return job if job.layer == layer else job.replace(layer=layer)
