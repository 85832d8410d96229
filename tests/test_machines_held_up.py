"""Two machines on the same objects, one of which was held up, comes late, or may not write: nothing goes for that."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import closing, suppress
from pathlib import Path
from unittest import mock

import pytest

from renku_store import (
    LeaseLostError,
    Movie,
    NotFoundError,
    RetentionPolicy,
    StoreUnavailableError,
    bounds,
    check_movie,
    collect,
    prune,
    restore_expired,
    set_inputs,
    tag_revision,
)
from renku_store.announcing import Announcer
from renku_store.archiving import RunArchiver
from renku_store.commit import Committer
from renku_store.conclusion import end_run
from renku_store.hashing import hash_bytes
from renku_store.records.manifest import ArchiveRef
from renku_store.testing.interleaving.shared_objects import SharedObjects
from renku_store.testing.invariants import check_invariants
from tests.authoring import LONG, artefact_event, publish
from tests.test_two_machines import DAY, Machines, film, objects


@pytest.fixture
def machines(tmp_path: Path) -> Iterator[Machines]:
    machines = Machines(tmp_path)
    with closing(machines):
        yield machines


@pytest.fixture
def here(machines: Machines) -> Movie:
    return machines.store("here").create_movie("film")


def once(change: Callable[[], object]) -> Callable[[], None]:
    """What happens the first time alone."""
    done: list[bool] = []

    def happen() -> None:
        if not done:
            done.append(True)
            change()

    return happen


# Markers


def test_a_collector_that_was_held_up_lets_no_tagged_revision_go(machines: Machines, here: Movie) -> None:
    """It had read the tags; by the time it goes on, its marker is dead to who has tagged the revision since."""
    publish(here, {"a": LONG})
    publish(here, {"a": LONG + "2"})
    there = machines.open("there")
    prune(there, RetentionPolicy(keep_last=1))
    machines.timeline.pass_by(30 * DAY)

    def tagged_meanwhile() -> None:
        machines.timeline.pass_by(bounds.SWEEP_SECONDS + 60.0)
        tag_revision(here, "rev-0001", "first-cut")

    suspended = once(tagged_meanwhile)
    read = SharedObjects.read

    def held_up(self: SharedObjects, name: str, limit: int | None = None) -> bytes:
        data = read(self, name, limit)
        if name == "manifests/rev-0001.json" and objects(machines, "gc"):
            suspended()
        return data

    with (
        mock.patch.object(SharedObjects, "read", held_up),
        pytest.raises(StoreUnavailableError, match="held up"),
    ):
        collect(there, force=True)
    assert here.manifests.load("first-cut").artefacts["a"].size == len(LONG)
    assert collect(there, force=True).expired == 0
    check_invariants(here)


def test_a_collector_that_was_held_up_removes_no_intent(machines: Machines, here: Movie) -> None:
    """It took a run for dead, which has been taken up since."""
    publish(here, {"a": LONG})
    there = machines.open("there")
    run = here.events.new_id()
    here.leases.release(here.leases.start(run, base_revision="rev-0001", edits_through=0))
    machines.timeline.pass_by(8 * DAY)

    def taken_up() -> None:
        machines.timeline.pass_by(bounds.SWEEP_SECONDS + 60.0)
        here.leases.take_over(run)

    resumed = once(taken_up)
    is_over = Announcer.__dict__["_is_over"]

    def held_up(self: Announcer, run: str, now: float) -> bool:
        over: bool = is_over(self, run, now)
        if objects(machines, "gc"):
            resumed()
        return over

    with (
        mock.patch.object(Announcer, "_is_over", held_up),
        pytest.raises(StoreUnavailableError, match="held up"),
    ):
        collect(there, force=True)
    assert objects(machines, "intents") == [f"intents/{run}.json"]


# The trash


def test_a_revision_that_goes_while_it_is_brought_back_is_gone_for_every_machine(
    machines: Machines, here: Movie
) -> None:
    """Its mark is there again, by which they learn of it."""
    publish(here, {"a": LONG})
    publish(here, {"a": LONG + "2"})
    there = machines.open("there")
    third = machines.open("third")
    prune(there, RetentionPolicy(keep_last=1))
    machines.timeline.pass_by(30 * DAY)
    collected = once(lambda: collect(there, force=True))
    delete = SharedObjects.delete

    def late(self: SharedObjects, name: str) -> None:
        if name.endswith(".expired.json"):
            collected()
        delete(self, name)

    with mock.patch.object(SharedObjects, "delete", late), pytest.raises(NotFoundError, match="cannot be brought back"):
        restore_expired(here, ["rev-0001"])
    for movie in (here, there, third):
        movie.committer.repair()
        with movie.metadata.read() as reader:
            row = reader.revisions.get(1)
        assert row is not None
        assert row.expired
        assert check_movie(movie).ok


def test_a_tag_that_cannot_be_moved_stays_where_it_was(machines: Machines, here: Movie) -> None:
    """The revision that it was to name has gone at that moment."""
    for text in ("1", "2", "3"):
        publish(here, {"a": LONG + text})
    there = machines.open("there")
    tag_revision(here, "rev-0001", "cut")
    prune(there, RetentionPolicy(keep_last=1))
    machines.timeline.pass_by(30 * DAY)
    gone = NotFoundError("rev-0002 has gone.")
    with (
        mock.patch("renku_store.retention.tagging.check_not_swept", side_effect=gone),
        pytest.raises(NotFoundError, match="has gone"),
    ):
        tag_revision(here, "rev-0002", "cut", move=True)
    assert here.manifests.resolve("cut") == "rev-0001"
    collect(there, force=True)
    assert here.manifests.load("cut").artefacts["a"].size == len(LONG) + 1


# Edits


def test_an_older_edit_of_another_machine_overrules_no_later_one(machines: Machines, here: Movie) -> None:
    """It comes with the archive of a run that failed there; what was set here since is what the next run takes."""
    film(here)
    machines.run(here)
    there = machines.open("there")
    set_inputs(here, {"a": 5, "b": 5})
    machines.failing = {"first"}
    assert machines.run(here).status == "failed"
    machines.failing = set()
    machines.timeline.pass_by(3_600.0)
    set_inputs(there, {"a": 7})
    assert machines.run(there).revision == "rev-0002"
    taken = there.manifests.load("rev-0002").inputs
    assert (taken["a"].value, taken["b"].value) == (7, 5)
    here.committer.repair()
    assert here.events.pending() == there.events.pending() == []


def test_a_later_edit_of_another_machine_overrules_an_older_one(machines: Machines, here: Movie) -> None:
    """Whichever machine takes them."""
    film(here)
    machines.run(here)
    there = machines.open("there")
    set_inputs(there, {"a": 7})
    machines.timeline.pass_by(3_600.0)
    set_inputs(here, {"a": 5})
    machines.failing = {"first"}
    assert machines.run(here).status == "failed"
    machines.failing = set()
    assert machines.run(there).revision == "rev-0002"
    assert there.manifests.load("rev-0002").inputs["a"].value == 5


def test_an_edit_stays_as_long_as_its_machine_works_on_the_movie(machines: Machines, here: Movie) -> None:
    """However long it waits for a run."""
    publish(here, {"a": LONG})
    there = machines.open("there")
    here.events.append_artefact(artefact_event(here, "b", LONG + "b"))
    for _ in range(20):
        machines.timeline.pass_by(bounds.EDIT_INTENT_SECONDS / 10)
        here.committer.repair()
        collect(there, force=True)
    assert here.blobs.has(hash_bytes((LONG + "b").encode()))
    machines.timeline.pass_by(bounds.EDIT_INTENT_SECONDS + DAY)
    assert collect(there, force=True).removed == 1


def test_an_edit_whose_value_is_gone_is_replaced_by_another(machines: Machines, here: Movie) -> None:
    """A machine that comes back after so long goes on as soon as somebody has set the input again."""
    film(here)
    machines.run(here)
    there = machines.open("there")
    set_inputs(here, {"@config": {"later": {"config": {"note": LONG}}}})
    machines.timeline.pass_by(bounds.EDIT_INTENT_SECONDS + DAY)
    assert collect(there, force=True).removed == 1
    set_inputs(here, {"@config": {}, "a": 2})
    assert machines.run(here).status == "published"
    check_invariants(here)


# Runs


def test_a_late_holder_does_not_end_the_run_of_the_present_one(machines: Machines, here: Movie) -> None:
    """The run was taken over while it was archived: it goes on, here and in the eyes of other machines."""
    film(here)
    machines.run(here)
    run = here.events.new_id()
    token = here.leases.start(run, base_revision="rev-0001", edits_through=0)
    other = machines.open("here")
    archive = RunArchiver.archive

    def overtaken(self: RunArchiver, *arguments: object, **options: object) -> ArchiveRef:
        reference = archive(self, *arguments, **options)  # type: ignore[arg-type]
        other.leases.release(token)
        other.leases.take_over(run)
        return reference

    with mock.patch.object(RunArchiver, "archive", overtaken), pytest.raises(LeaseLostError):
        end_run(here, token, "abandoned", 0, {})
    assert objects(machines, "intents") == [f"intents/{run}.json"]
    assert other.leases.record(run).status == "running"


def test_what_was_left_behind_keeps_nobody_from_reading(machines: Machines, here: Movie) -> None:
    """The intent of a publisher that died at its end is for somebody to remove who may."""
    publish(here, {"a": LONG})
    with here.metadata.read() as reader:
        row = reader.revisions.get(1)
    assert row is not None
    here.announcer.announce(row.run)
    refused = StoreUnavailableError("permission is denied")
    writes = ("replace", "create", "delete", "delete_many", "compare_and_swap", "renew")
    with mock.patch.multiple(SharedObjects, **{name: mock.Mock(side_effect=refused) for name in writes}):
        there = machines.open("there")
        assert there.manifests.load_current() == here.manifests.load_current()
    assert objects(machines, "intents") == [f"intents/{row.run}.json"]
    with suppress(StoreUnavailableError):
        there.committer.repair()
    assert objects(machines, "intents") == []


def test_a_publisher_that_was_held_up_publishes_nothing_without_its_blobs(machines: Machines, here: Movie) -> None:
    """Its machine slept for a week between its last look and the manifest: it looks again, and makes what is gone."""
    film(here)
    machines.run(here)
    set_inputs(here, {"a": 2})
    there = machines.open("there")

    def forgotten() -> None:
        for name in objects(machines, "events")[1:]:  # as if it had never been archived
            machines.storage.set(f"film/{name}", None)
        machines.timeline.pass_by(8 * DAY)
        assert collect(there, force=True).removed >= 1

    slept = once(forgotten)
    settled = Committer.__dict__["_record"]

    def held_up(self: Committer, *arguments: object) -> object:
        intent = settled(self, *arguments)
        slept()
        return intent

    with (
        mock.patch.object(Committer, "_record", held_up),
        pytest.raises(StoreUnavailableError, match="held up"),
    ):
        machines.run(here)
    assert here.manifests.resolve("latest") == "rev-0001"
    assert machines.run(here).revision == "rev-0002"
    check_invariants(here)


def test_a_run_that_has_gone_on_elsewhere_is_no_damage_here(machines: Machines, here: Movie) -> None:
    """A check of an index that has not caught up says so, and finds nothing wrong."""
    film(here)
    machines.failing = {"first"}
    machines.run(here)
    machines.open("there").close()
    machines.run(here)
    looked = machines.store("there").examine("film")
    report = check_movie(looked)
    looked.close()
    assert report.ok
    assert any("another machine" in note for note in report.notes)
