"""A run of which nobody heard for more than a week, whose own large input another machine has collected since."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import closing, suppress
from pathlib import Path

import pytest

from renku_store import (
    BlobMissingError,
    Job,
    JobContext,
    Movie,
    Produced,
    abandon,
    check_movie,
    collect,
    plan_movie,
    run_movie,
)
from renku_store.drivers.caching.cache import ObjectCache
from renku_store.store import Store
from renku_store.testing.interleaving.shared_objects import SharedObjects
from renku_store.testing.invariants import check_invariants
from tests.authoring import LONG
from tests.test_two_machines import DAY, Machines, film

OWN = {"@config": {"first": {"config": {"note": LONG}}}, "a": 2}


class Cached(Machines):
    """Machines that keep what they have put, or do not (`keeps`)."""

    keeps = False

    def store(self, name: str) -> Store:
        """The root as a process of a machine has it that has just opened it."""
        folder = self.folder / name
        cache = ObjectCache(folder / "cache", 2**20) if self.keeps else None
        driver = SharedObjects(self.storage, folder, step=self._count, cache=cache)
        store = Store("shared://objects", driver, self.timeline)
        self._opened.append(store)
        return store


@pytest.fixture
def machines(tmp_path: Path) -> Iterator[Cached]:
    machines = Cached(tmp_path)
    with closing(machines):
        yield machines


async def killed(_job: Job, _context: JobContext) -> Produced:
    raise KeyboardInterrupt


def silent_for_long(machines: Cached) -> Movie:
    """The movie as its machine opens it again, whose run was killed eight days ago; another one has collected since."""
    here = machines.store("here").create_movie("film")
    film(here)
    machines.run(here)
    there = machines.open("there")
    with suppress(KeyboardInterrupt):
        asyncio.run(run_movie(here, produce=killed, inputs=OWN))
    here.close()
    machines.timeline.pass_by(8 * DAY)
    before = {*there.blobs.digests()}
    assert collect(there, force=True).removed >= 1
    assert {*there.blobs.digests()} < before
    return machines.open("here")


def test_its_machine_is_told_which_input_is_gone_and_nothing_is_published(machines: Cached) -> None:
    """By the name of the run and the input; given again, they are put again; given up, the run is in nobody's way."""
    movie = silent_for_long(machines)
    [unfinished] = movie.leases.unfinished()
    for attempt in (lambda: machines.run(movie), lambda: plan_movie(movie)):
        with pytest.raises(
            BlobMissingError, match=f"{unfinished.run} cannot be taken up: .* @config is gone"
        ) as caught:
            attempt()
        assert f"renku-store abandon {unfinished.run}" in caught.value.hint
    assert movie.manifests.resolve("latest") == "rev-0001"
    [problem] = check_movie(movie).problems
    assert problem.message.endswith("is missing (the input @config of what is pending).")
    report = machines.run(movie, inputs=OWN)
    assert (report.status, report.revision) == ("published", "rev-0002")
    assert movie.manifests.load("rev-0002").inputs["a"].value == 2
    abandon(movie, unfinished.run)
    assert machines.run(movie).status == "unchanged"
    check_invariants(movie, with_fsck=True)


def test_what_its_machine_has_kept_is_put_again(machines: Cached) -> None:
    """The run is taken up as if nothing had happened, and its revision is whole on the other machine, too."""
    machines.keeps = True
    movie = silent_for_long(machines)
    [unfinished] = movie.leases.unfinished()
    report = machines.run(movie)
    assert (report.run, report.status, report.revision) == (unfinished.run, "published", "rev-0002")
    machines.keeps = False
    there = machines.open("there")
    assert there.value(there.manifests.load("rev-0002").inputs["@config"]) == OWN["@config"]
    check_invariants(there, with_fsck=True)
