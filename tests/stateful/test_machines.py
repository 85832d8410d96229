"""Two machines with indexes of their own, under thousands of schedules; and proof that these find what is wrong."""

from __future__ import annotations

import os
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from weakref import WeakKeyDictionary

import pytest

from renku_store.announcing import Announced, Announcer
from renku_store.blobs import apart, keeping, store
from renku_store.blobs.presence import Presence
from renku_store.drivers.base import Driver
from renku_store.gc.apart import CollectionApart
from renku_store.gc.survey import Moment
from renku_store.manifests import ManifestStore
from renku_store.records.blob import BlobRow
from renku_store.testing.interleaving import Fleet, Scenario, ScheduleError, explore, replay
from renku_store.testing.interleaving.scenario import prepared
from renku_store.testing.interleaving.shared_objects import SharedObjects
from tests.stateful import machines, putting

SCENARIOS = {
    machines.PUBLISH_APART: (300, 20_000),
    machines.COLLECT_APART: (600, 60_000),
    machines.RUN_APART: (200, 20_000),
    putting.PUT_APART: (500, 40_000),
}
"""How many schedules of each `make check` runs, and `make check-long` beyond those."""
CHUNKS = 10
ONLY_SEED = os.environ.get("RENKU_SCHEDULE_SEED")
"""A seed that a failure has printed: then only that schedule is run."""

every_scenario = pytest.mark.parametrize("scenario", SCENARIOS, ids=lambda scenario: scenario.name)


@pytest.fixture
def fleet() -> Iterator[Fleet]:
    with Fleet() as fleet:
        yield fleet


@every_scenario
def test_no_schedule_of_two_machines_breaks_a_promise(fleet: Fleet, scenario: Scenario) -> None:
    """Whoever goes first, is killed, or has a wrong clock: no blob is missing, one chain, the pointer goes forward."""
    count, _ = SCENARIOS[scenario]
    found = explore(fleet, scenario, [int(ONLY_SEED)] if ONLY_SEED else range(count))
    if not ONLY_SEED:
        assert found.schedules == count
        assert found.distinct > 0.8 * count
        assert found.kills > 0.1 * count


@pytest.mark.long
@pytest.mark.parametrize("chunk", range(CHUNKS))
@every_scenario
def test_none_of_many_schedules_of_two_machines_breaks_a_promise(fleet: Fleet, scenario: Scenario, chunk: int) -> None:
    """The same, with seeds that no other test has."""
    first, count = SCENARIOS[scenario]
    first += chunk * count // CHUNKS
    assert explore(fleet, scenario, range(first, first + count // CHUNKS)).schedules == count // CHUNKS


# That the schedules find what is wrong


def collect_without_reading_the_intents_again(patch: pytest.MonkeyPatch) -> None:
    """A collector knows the intents of when it began, not of when its marker was there."""
    living = Announcer.living
    known = WeakKeyDictionary[Announcer, list[Announced]]()

    def once(self: Announcer, now: float) -> list[Announced]:
        if self not in known:
            known[self] = living(self, now)
        return known[self]

    patch.setattr(Announcer, "living", once)


def collect_without_looking_at_the_age_again(patch: pytest.MonkeyPatch) -> None:
    """What somebody has put again since the collector looked goes all the same."""

    def still_old(self: CollectionApart, group: Iterable[str], when: Moment) -> list[str]:
        return [*group]

    patch.setattr(CollectionApart, "_still_old", still_old)


def wait_for_no_collector(patch: pytest.MonkeyPatch) -> None:
    """Nobody looks for markers."""
    patch.setattr(Announcer, "wait_for_sweeps", lambda self, names: None)


def publish_without_saying_so(patch: pytest.MonkeyPatch) -> None:
    """No intent names the blobs of a manifest."""
    patch.setattr(Announcer, "announce", lambda self, run, blobs=(): None)


def rest_on_what_is_old(patch: pytest.MonkeyPatch) -> None:
    """A dedup hit, or an earlier result, is taken as it is."""

    def kept(driver: Driver, announcer: Announcer, found: Mapping[str, Presence]) -> dict[str, Presence]:
        return dict(found)

    patch.setattr(apart, "kept_young", kept)
    patch.setattr(keeping, "kept_young", kept)


def trust_the_rows(patch: pytest.MonkeyPatch) -> None:
    """A publisher takes what its own index says for true, though another machine has removed it."""

    def live(self: store.BlobStore, writer: object, hashes: Collection[str]) -> None:
        return

    patch.setattr(store.BlobStore, "revive", live)


def create_that_replaces(patch: pytest.MonkeyPatch) -> None:
    """A storage that ignores conditions."""

    def create(self: SharedObjects, name: str, data: bytes) -> bool:
        self.replace(name, data)
        return True

    patch.setattr(SharedObjects, "create", create)


def put_without_a_look_afterwards(patch: pytest.MonkeyPatch) -> None:
    """What was written counts as there, as the storage has said that it was written."""

    def believed(self: apart.IntakeApart, rows: Mapping[str, BlobRow]) -> None:
        return

    patch.setattr(apart.IntakeApart, "_see_again", believed)


def put_without_waiting_for_collectors(patch: pytest.MonkeyPatch) -> None:
    """What was written is seen again at once, while a collector that has looked before it is about to delete it."""
    patch.setattr(Announcer, "wait_for_sweeps", lambda self, names: None)


def take_any_object_for_what_is_sent(patch: pytest.MonkeyPatch) -> None:
    """A name that is taken tells that the blob is there, whatever its object holds and however old it is."""

    def there(self: apart.IntakeApart, sizes: Mapping[str, int], rows: Mapping[str, BlobRow]) -> set[str]:
        return set()

    patch.setattr(apart.IntakeApart, "_look", there)


def pointer_that_goes_back(patch: pytest.MonkeyPatch) -> None:
    """`current.json` names whatever was published last, not the newest."""
    patch.setattr(ManifestStore, "_is_ahead", lambda self, named, number, digest: False)


MUTANTS: dict[Callable[[pytest.MonkeyPatch], None], Scenario] = {
    collect_without_reading_the_intents_again: machines.COLLECT_APART,
    collect_without_looking_at_the_age_again: machines.COLLECT_APART,
    wait_for_no_collector: machines.COLLECT_APART,
    publish_without_saying_so: machines.COLLECT_APART,
    rest_on_what_is_old: machines.COLLECT_APART,
    trust_the_rows: machines.COLLECT_APART,
    create_that_replaces: machines.PUBLISH_APART,
    pointer_that_goes_back: machines.PUBLISH_APART,
    put_without_a_look_afterwards: putting.PUT_APART,
    put_without_waiting_for_collectors: putting.PUT_APART,
    take_any_object_for_what_is_sent: putting.PUT_APART,
}


@pytest.mark.parametrize("mutate", MUTANTS, ids=lambda mutate: mutate.__name__)
def test_what_is_wrong_between_machines_is_found(
    fleet: Fleet, monkeypatch: pytest.MonkeyPatch, mutate: Callable[[pytest.MonkeyPatch], None]
) -> None:
    """Each mutant breaks a promise under one of the schedules that `make check` runs; its seed shows it again."""
    scenario = MUTANTS[mutate]
    snapshot = prepared(fleet, scenario)
    mutate(monkeypatch)
    with pytest.raises(ScheduleError) as caught:
        explore(fleet, scenario, range(SCENARIOS[scenario][0]), snapshot)
    with pytest.raises(ScheduleError) as again:
        replay(fleet, scenario, caught.value.seed, snapshot)
    assert again.value.trace == caught.value.trace
