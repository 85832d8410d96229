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

    `members` are those that are there, with their turns; `jobs` has every place of the loops, by labels, and None where
    `when` says no; `labels` has, for each loop, the labels that occur, in loop order. `awaited` are the members that
    are placeholders; `deciders` has the artefacts by which members are there. `is_made`: artefacts decide which members
    there are.
    """

    spec: ProducerSpec
    is_made: bool = False
    members: list[tuple[str, tuple[Turn, ...]]] = field(default_factory=list)
    jobs: dict[Labels, str | None] = field(default_factory=dict)
    labels: list[dict[str, None]] = field(default_factory=list)
    awaited: dict[str, Awaited] = field(default_factory=dict)
    deciders: dict[str, tuple[str, ...]] = field(default_factory=dict)

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
