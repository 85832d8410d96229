"""What is asked of a storage that is far away: few round trips, none of them while the database is locked."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from shutil import copytree
from unittest import mock

import pytest

from renku_store import (
    ManifestConflictError,
    Movie,
    RetentionPolicy,
    StoreUnavailableError,
    abandon,
    bounds,
    collect,
    copy_movies,
    open_store,
    prune,
    set_inputs,
)
from renku_store.drivers.local import LocalDriver
from renku_store.testing.interleaving.shared_objects import SharedObjects
from renku_store.testing.invariants import check_invariants
from tests.authoring import LONG, publish
from tests.test_two_machines import DAY, Machines, film, objects


class Watched(Machines):
    """Machines of which it is noted what one of them asks while its database is locked."""

    watched: Path | None = None
    while_locked: list[str]

    def _count(self, what: str, name: str) -> None:
        super()._count(what, name)
        if self.watched is None:
            return
        try:
            with LocalDriver(self.watched).lock("write", wait_seconds=0.0):
                pass
        except StoreUnavailableError:
            self.while_locked.append(f"{what} {name}")


@pytest.fixture
def machines(tmp_path: Path) -> Iterator[Watched]:
    machines = Watched(tmp_path)
    machines.while_locked = []
    with closing(machines):
        yield machines


@pytest.fixture
def here(machines: Watched) -> Movie:
    return machines.store("here").create_movie("film")


@contextmanager
def round_trips(machines: Machines) -> Iterator[Callable[[], int]]:
    """How many times one waits for an answer from here on: what is asked for side by side counts once."""
    began, saved = machines.requests.total(), [0]

    def at_once(name: str) -> Callable[..., object]:
        method = getattr(SharedObjects, name)

        def counted(self: SharedObjects, *arguments: object, **options: object) -> object:
            before = machines.requests.total()
            answer = method(self, *arguments, **options)
            saved[0] += max(machines.requests.total() - before - 1, 0)
            return answer

        return counted

    names = ("read_many", "stat_many", "delete_many")
    with mock.patch.multiple(SharedObjects, **{name: at_once(name) for name in names}):
        yield lambda: machines.requests.total() - began - saved[0]


def much_has_happened(machines: Machines, movie: Movie, count: int) -> None:
    """So many revisions, and as many runs that failed or were given up, some of whose edits name a blob."""
    for number in range(count):
        publish(movie, {f"a{number}": LONG + str(number)})
        set_inputs(movie, {"b": number})
        machines.failing = {"first", "second"}
        run = machines.run(movie, inputs={"a": number + 10}).run or ""
        machines.failing = set()
        if number % 2:
            abandon(movie, run)


# Opening


def test_filling_an_index_does_not_wait_for_each_archive(machines: Watched, here: Movie) -> None:
    """Four times as many revisions and archives take hardly more round trips; all of it is there, as it was."""
    film(here)
    much_has_happened(machines, here, 3)
    with round_trips(machines) as trips:
        machines.open("there").close()
        few = trips()
    much_has_happened(machines, here, 9)
    with round_trips(machines) as trips:
        third = machines.open("third")
        many = trips()
    assert many <= few + 3
    assert third.manifests.load_current() == here.manifests.load_current()
    ids = [{event.id for event in movie.events.stream() if event.type != "run"} for movie in (here, third)]
    assert ids[0] <= ids[1] | {event.id for event in here.events.pending()}
    check_invariants(third)


def test_catching_up_does_not_wait_for_each_archive(machines: Watched, here: Movie) -> None:
    """A machine that was away for long asks for what is new side by side, and books as much as ever."""
    film(here)
    publish(here, {"a": LONG})
    there = machines.open("there")
    third = machines.open("third")
    much_has_happened(machines, here, 2)
    with round_trips(machines) as trips:
        there.committer.repair()
        few = trips()
    much_has_happened(machines, here, 8)
    with round_trips(machines) as trips:
        there.committer.repair()
        assert trips() <= few + 3
    with mock.patch("renku_store.bounds.INDEX_FETCH_REVISIONS", 3):
        third.committer.repair()
    assert third.manifests.load_current() == here.manifests.load_current()
    check_invariants(third)
    assert [row for row, _ in there.manifests.history()] == [row for row, _ in here.manifests.history()]
    check_invariants(there)
    assert there.manifests.load_current() == here.manifests.load_current()


def test_nobody_waits_for_the_storage_while_an_index_is_filled(machines: Watched, here: Movie) -> None:
    """Manifests and archives are there before the database is locked; the lease of a run beside it is renewed."""
    film(here)
    much_has_happened(machines, here, 2)
    machines.watched = machines.folder / "there" / "film"
    machines.open("there")
    assert machines.while_locked == []


def test_filling_an_index_can_be_killed_anywhere(machines: Watched, here: Movie) -> None:
    """Whatever it was that was asked for last; who opens the movie next finds all of it."""
    film(here)
    much_has_happened(machines, here, 2)
    read_many = SharedObjects.read_many
    for place in range(1, 4):
        asked: list[int] = []

        def killed(self: SharedObjects, *arguments: object, asked: list[int] = asked, last: int = place) -> object:
            asked.append(1)
            if len(asked) == last:
                raise KeyboardInterrupt
            return read_many(self, *arguments)  # type: ignore[arg-type]

        name = f"machine {place}"
        with mock.patch.object(SharedObjects, "read_many", killed), pytest.raises(KeyboardInterrupt):
            machines.open(name)
        again = machines.open(name)
        assert again.manifests.load_current() == here.manifests.load_current()
        check_invariants(again)


def test_two_processes_may_fill_one_index_at_once(machines: Watched, here: Movie) -> None:
    """The one that comes second finds it filled, and goes on from there."""
    first, second = machines.open("there"), machines.open("there")
    film(here)
    much_has_happened(machines, here, 2)
    read_many = SharedObjects.read_many
    done: list[bool] = []

    def late(self: SharedObjects, *arguments: object) -> object:
        answer = read_many(self, *arguments)  # type: ignore[arg-type]
        if not done:
            done.append(True)
            second.committer.repair()
        return answer

    with mock.patch.object(SharedObjects, "read_many", late):
        first.committer.repair()
    assert done
    for movie in (first, second):
        assert movie.manifests.load_current() == here.manifests.load_current()
        check_invariants(movie)
    seen = [event.id for event in first.events.stream()]
    assert len(seen) == len({*seen})


def test_opening_does_not_grow_with_the_trash(machines: Watched, here: Movie) -> None:
    """A manifest in it is read once, and once more when it has gone for good."""
    for number in range(8):
        publish(here, {"a": LONG + str(number)})
    there = machines.open("there")
    machines.requests.clear()
    there.committer.repair()
    without = machines.requests.total()
    prune(here, RetentionPolicy(keep_last=1))
    there.committer.repair()
    machines.requests.clear()
    there.committer.repair()
    assert machines.requests.total() == without
    machines.timeline.pass_by(8 * DAY)
    assert collect(here, force=True).expired == 7
    there.committer.repair()
    with there.metadata.read() as reader:
        assert [row.expired for row in reader.revisions.list(limit=10)] == [False] + [True] * 7


# Publishing


def test_nobody_waits_for_the_storage_while_a_revision_is_published(machines: Watched, here: Movie) -> None:
    """Blobs are seen, side by side, before the database is locked."""
    publish(here, {f"a{number}": LONG + str(number) for number in range(20)})
    here.blobs.put_many([LONG.encode() + bytes([number]) for number in range(20)])
    machines.watched = machines.folder / "here" / "film"
    with round_trips(machines) as trips:
        publish(here, {"b": "short"})
        assert trips() < 40
    assert [asked for asked in machines.while_locked if " blobs/" in asked] == []


def test_a_copy_that_comes_to_nothing_takes_back_what_it_has_announced(machines: Watched, tmp_path: Path) -> None:
    """Somebody else has published there at that moment, or the storage fails: no collection waits for it."""
    with open_store(tmp_path / "source") as source:
        publish(source.create_movie("film"), {"a": LONG})
        target = machines.store("here")
        there = machines.store("there").create_movie("film")
        create = SharedObjects.create

        def late(self: SharedObjects, name: str, data: bytes) -> bool:
            if name == "manifests/rev-0001.json" and not objects(machines, "manifests"):
                with mock.patch.object(SharedObjects, "create", create):
                    publish(there, {"other": LONG})
            return create(self, name, data)

        failing = mock.patch("renku_store.blobs.store.BlobStore.look", side_effect=StoreUnavailableError("no answer"))
        with failing, pytest.raises(StoreUnavailableError, match="no answer"):
            copy_movies(source, target, clock=machines.timeline)
        assert objects(machines, "intents") == []
        with mock.patch.object(SharedObjects, "create", late):
            report = copy_movies(source, target, clock=machines.timeline)
        assert isinstance(report.problem, ManifestConflictError)
        run = source.movie("film").manifests.load_current()[0].run
        assert f"intents/{run}.json" not in objects(machines, "intents")


# Collecting


def test_what_a_dead_machine_had_on_its_way_in_the_storage_is_removed(machines: Watched, here: Movie) -> None:
    """A copy below `tmp/`, once it is a day old, however short the grace time: it may be somebody's who lives."""
    publish(here, {"a": LONG})
    here.driver.replace("tmp/0123456789abcdef", b"half of a renewal")
    assert collect(here, grace_seconds=0.0).temporary == 0
    assert objects(machines, "tmp") == ["tmp/0123456789abcdef"]
    machines.timeline.pass_by(bounds.GC_GRACE_SECONDS + 60.0)
    assert collect(here).temporary == 1
    assert objects(machines, "tmp") == []
    check_invariants(here)


def test_a_grace_time_of_less_than_the_age_of_what_is_young_is_remarked_upon(machines: Watched, here: Movie) -> None:
    """What was put again is made young from twelve hours on only: the report says so, as does one of a dry run."""
    publish(here, {"a": LONG})
    for report in (collect(here, grace_seconds=3_600.0), collect(here, grace_seconds=3_600.0, dry_run=True)):
        assert report.grace_seconds == 3_600.0
        assert any("below 12 hours" in note for note in report.to_json()["notes"])
    assert collect(here).notes == []
    here.leases.start(here.events.new_id(), base_revision="rev-0001", edits_through=0)
    report = collect(here, grace_seconds=3_600.0)
    assert report.grace_seconds >= bounds.YOUNG_SECONDS
    assert any("on some machine" in note for note in report.notes)


def test_a_copy_of_a_machine_takes_its_marker_for_another_machines(machines: Watched, here: Movie) -> None:
    """The folder says the same on both; a collection of one must not end what keeps others waiting for the other."""
    publish(here, {"a": LONG})
    here.announcer.sweep()
    here.close()
    copytree(machines.folder / "here", machines.folder / "copy")
    original, copied = machines.open("here").announcer, machines.open("copy").announcer
    assert original.sweep().machine == copied.sweep().machine, "as long as it is one machine"
    sweep = original.sweep()
    with sweep.over(["a" * 64]):
        machines.timeline.pass_by(bounds.SWEEP_OWN_SECONDS + 1.0)
        with mock.patch("renku_store.announcing.host_name", return_value="another"):
            copied.sweep()
        sweep.check()
        original.sweep()
        with pytest.raises(StoreUnavailableError, match="held up"):
            sweep.check()
