"""The jobs of one producer: which there are, what they are called, and which stand for jobs that are not known yet."""

from __future__ import annotations

from collections.abc import Iterator

from msgspec import Struct, field

from renku_store.blueprint.document import ProducerSpec
from renku_store.blueprint.selecting import Turn, Turns
from renku_store.records.graph import EVERY_LABEL, Awaited

Labels = tuple[str, ...]


class Family(Struct):
    """The jobs of one producer.

    `job_ids` are those that are there, `places` their turns; producers of the same loops share the list of these.
    `labels` has, for each loop, the labels that occur, in loop order. `awaited` are the jobs that are placeholders;
    `deciders` has the artefacts by which jobs are there. `is_made`: artefacts decide which jobs there are.
    `known_jobs`: as `jobs`, where that is more than what `job_ids` and `places` say.
    """

    spec: ProducerSpec
    is_made: bool = False
    job_ids: list[str] = field(default_factory=list)
    places: list[tuple[Turn, ...]] = field(default_factory=list)
    labels: list[dict[str, None]] = field(default_factory=list)
    awaited: dict[str, Awaited] = field(default_factory=dict)
    deciders: dict[str, tuple[str, ...]] = field(default_factory=dict)
    known_jobs: dict[Labels, str | None] | None = None

    @property
    def jobs(self) -> dict[Labels, str | None]:
        """Every place of the loops, by labels, and None where `when` says no."""
        if self.known_jobs is None:
            labels = (tuple([turn.label for turn in places]) for places in self.places)
            self.known_jobs = dict(zip(labels, self.job_ids, strict=True))
        return self.known_jobs

    def in_step(self, other: Family) -> bool:
        """Whether both have a job for each place of their loops, and the same places in the same order."""
        if self.places is other.places:
            return True
        counts = {len(self.job_ids), len(self.jobs), len(other.job_ids), len(other.jobs)}
        return len(counts) == 1 and list(self.jobs) == list(other.jobs)

    def turns(self, places: tuple[Turn, ...]) -> Turns:
        """The turns by the names of their loops."""
        return dict(zip(self.spec.loops, places, strict=True))

    def names(self) -> Iterator[str]:
        """The job ids of all places, also of those where `when` says no."""
        return (job_name(self.spec.name, labels) for labels in self.jobs)

    def agreeing(self, labels: Labels) -> list[str]:
        """The jobs that a place may come to mean of which not all is known; none where all is known of all places."""
        if not self.awaited and EVERY_LABEL not in labels:
            return []
        return [job for own, job in self.jobs.items() if job is not None and agree(own, labels)]

    def may_have(self, labels: Labels) -> bool:
        """Whether a place is there, or may be once all is known."""
        return labels in self.jobs or bool(self.agreeing(labels))


def agree(own: Labels, other: Labels) -> bool:
    """Whether two places may be the same one: `*` is any label."""
    return len(own) == len(other) and all(
        one == two or EVERY_LABEL in (one, two) for one, two in zip(own, other, strict=True)
    )


def job_name(producer: str, labels: Labels) -> str:
    """`picture[2][0]`."""
    return f"{producer}[{']['.join(labels)}]" if labels else producer
