"""What a person's choices for one run come to in a graph: which jobs are made anew, kept, wanted, left out. Pure."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping

from msgspec import Struct

from renku_store import bounds
from renku_store.errors import InvalidValueError
from renku_store.graph import GraphIndex
from renku_store.records.graph import EVERY_LABEL, GraphNode, labels_of
from renku_store.records.plan import Choices, PlannedJob
from renku_store.versions import Held


class Chosen(Struct, frozen=True):
    """The jobs that a person's choices come to; `wanted` is None where all are."""

    forced: set[str]
    pinned: set[str]
    wanted: set[str] | None
    deepest: int | None

    @classmethod
    def of(cls, index: GraphIndex, choices: Choices, held: Held) -> Chosen:
        """Raises `NotFoundError` for what names nothing, `InvalidValueError` for what contradicts itself."""
        forced, pinned, targets = (
            {job for name in names for job in index.jobs_named(name)}
            for names in (choices.regen, choices.pin, choices.targets)
        )
        _refuse_layer(choices.up_to_layer)
        _refuse_both(index, choices, forced & pinned)
        for name in choices.regen:
            _refuse_unseen(index, name, held)
        wanted = {*targets, *index.ancestors(targets)} if choices.targets else None
        return cls(forced, pinned, wanted, choices.up_to_layer)

    def restrict(
        self, index: GraphIndex, jobs: dict[str, PlannedJob], decided: Collection[str]
    ) -> dict[str, PlannedJob]:
        """Leave out what is not wanted, and what reads from that; not what is `decided` already."""
        if self.wanted is None and self.deepest is None:
            return jobs
        left_out: set[str] = set()
        for job_id, job in jobs.items():
            if job.state == "clean" or job_id in decided:
                continue
            if not self._wants(job_id, job) or any(maker in left_out for maker in index.dependencies(job_id)):
                left_out.add(job_id)
        if not left_out:
            return jobs
        return {key: job.replace(left_out=True) if key in left_out else job for key, job in jobs.items()}

    def told(self, jobs: Mapping[str, PlannedJob]) -> list[str]:
        """A sentence for each job that is to be made anew, and that is left out."""
        lost = sorted(job for job in self.forced if jobs[job].left_out)
        return [f"{job} is to be made anew, and this run leaves it out." for job in lost]

    def _wants(self, job_id: str, job: PlannedJob) -> bool:
        return (self.wanted is None or job_id in self.wanted) and (self.deepest is None or job.layer <= self.deepest)


def _refuse_layer(deepest: int | None) -> None:
    """Refuse what is no number of a layer, or one that no plan can be written down with."""
    if deepest is not None and (type(deepest) is not int or not 0 <= deepest <= bounds.INTEGER_MAX):
        raise InvalidValueError(f"{deepest!r} is not the number of a layer.", hint="Layers are counted from 0.")


def _refuse_both(index: GraphIndex, choices: Choices, jobs: Iterable[str]) -> None:
    """Refuse to make anew what is to be kept. Of what a placeholder stands for, one may be made anew, another kept."""
    for job in sorted(jobs):
        node = index.node(job)
        named = [job] if node.awaits is None else _named_twice(node, choices)
        if named:
            raise InvalidValueError(
                f"{named[0]} is to be made anew and kept as it is.", hint="Name it once: --regen or --pin."
            )


def _named_twice(placeholder: GraphNode, choices: Choices) -> list[str]:
    """The more exact of two names of which one says to make a job of the placeholder anew, the other to keep it."""
    every = {name: _labels(placeholder, name) for name in (*choices.regen, *choices.pin)}
    named = {name: labels for name, labels in every.items() if labels is not None}
    pairs = [(one, two) for one in choices.regen for two in choices.pin if one in named and two in named]
    return [
        min(one, two, key=lambda name: named[name].count(EVERY_LABEL))
        for one, two in pairs
        if all(a == b or EVERY_LABEL in (a, b) for a, b in zip(named[one], named[two], strict=True))
    ]


def _labels(placeholder: GraphNode, name: str) -> list[str] | None:
    """The labels of the jobs that a name means of those for which a placeholder stands; None where it means none."""
    if name == placeholder.producer:
        return labels_of(placeholder.job_id, placeholder.producer)
    output = placeholder.output_for(name)
    job = name if output is None else name.removesuffix(f".{output.name}")
    return labels_of(job, placeholder.producer) if placeholder.stands_for(job) else None


def _refuse_unseen(index: GraphIndex, name: str, held: Held) -> None:
    """Refuse to make anew what nobody would see: what lies under people's versions only."""
    jobs = index.jobs_named(name)
    if all(held.all_edited(index.node(job)) for job in jobs):
        raise InvalidValueError(
            f"{name} cannot be made anew: it would lie under a person's version.",
            hint=f"Undo that first: renku-store edit '{index.node(jobs[0]).produces[0].id}' --undo",
        )
