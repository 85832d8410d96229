"""Expired revisions: pruned, tagged, brought back and taken for good, all at once."""

from __future__ import annotations

from contextlib import suppress

from renku_store import (
    ManifestConflictError,
    NotFoundError,
    RetentionPolicy,
    RevisionExistsError,
    StoreUnavailableError,
    collect,
    prune,
    restore_expired,
    tag_revision,
)
from renku_store.testing.interleaving import Machine, Scenario
from tests.stateful.protocols import GRACE, JUMPS, Ends, first_revision, published, settled, told


def half_in_the_trash(machine: Machine) -> None:
    """Four revisions, each with a blob of its own; two of them were expired a while ago, and may go."""
    first_revision(machine)
    movie = machine.open("author again")
    for number in range(2, 5):
        told(machine, movie, "a", b"revision %d" % number)
        published(movie)
    prune(movie, RetentionPolicy(keep_last=2))
    machine.timeline.pass_by(3 * GRACE)


def collector(machine: Machine, name: str) -> None:
    """Add a collector whose trash lasts an hour."""
    movie = machine.open(name)

    def work() -> None:
        with suppress(StoreUnavailableError):
            collect(movie, grace_seconds=GRACE, trash_seconds=GRACE, force=True)

    machine.scheduler.spawn(name, work)


def other(machine: Machine, kind: str, whole: set[str]) -> None:
    """Add somebody who notes which revision has to stay, as he was told that it does."""
    movie = machine.open(kind)

    def work() -> None:
        with suppress(NotFoundError, ManifestConflictError, RevisionExistsError):
            if kind == "undo":
                restore_expired(movie, ["rev-0001"])
                whole.add("rev-0001")
            elif kind == "tag":
                tag_revision(movie, "rev-0002", "final-cut")
                whole.add("rev-0002")
            elif kind == "prune":
                prune(movie, RetentionPolicy(), expire=["rev-0003"])
            else:
                told(machine, movie, "b", b"another")
                whole.add(published(movie).revision)

    machine.scheduler.spawn(kind, work)


def expire_and_undo(machine: Machine) -> Ends:
    """One or two collectors, and some of: undo, tag, prune, publish."""
    whole: set[str] = set()
    kinds = ["undo", "tag", "prune", "publish"]
    machine.random.shuffle(kinds)
    for number in range(machine.random.choice([1, 1, 2])):
        collector(machine, f"collector{number}")
    for kind in kinds[: machine.random.randint(1, 3)]:
        other(machine, kind, whole)

    def end() -> None:
        movie = settled(machine)
        for revision in whole:
            for artefact in movie.manifests.load(revision).artefacts.values():
                movie.read(artefact)
        movie.manifests.load_current()

    return end


EXPIRE = Scenario(
    "expire",
    half_in_the_trash,
    expire_and_undo,
    horizon=150,
    mortals=("collector0", "collector1", "undo", "tag", "prune"),
    kills=2,
    jumps=JUMPS,
)
