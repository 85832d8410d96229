"""The protocols under thousands of schedules; and proof that the schedules find what is wrong."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path

import pytest

from renku_store.blobs.intake import Intake
from renku_store.blobs.removal import finish_deleting
from renku_store.blobs.store import BlobStore
from renku_store.commit import PUBLISH_LOCK
from renku_store.gc.collection import SharedCollection
from renku_store.gc.survey import Moment, Survey
from renku_store.leases import ClaimAnswer, RunLeases
from renku_store.manifests import ManifestStore
from renku_store.metadata.sqlite import blobs as blob_statements
from renku_store.metadata.sqlite.blobs import BlobTable
from renku_store.metadata.sqlite.runs import RunTables
from renku_store.records.run import LeaseToken
from renku_store.tags import RETENTION_LOCK
from renku_store.testing.interleaving import (
    Machine,
    Scenario,
    ScheduleError,
    SimulatedDriver,
    explore,
    replay,
)
from renku_store.testing.interleaving.scenario import prepared
from tests.stateful import expiring, protocols, rebasing

SCENARIOS = {
    protocols.PUBLISH: (1_000, 180_000),
    protocols.TAKE_OVER: (1_300, 250_000),
    protocols.SINGLE_FLIGHT: (1_000, 280_000),
    protocols.COLLECT: (1_300, 180_000),
    expiring.EXPIRE: (750, 90_000),
    rebasing.REBASE: (300, 20_000),
}
"""How many schedules of each `make check` runs, and `make check-long` beyond those: a million together."""
CHUNKS = 10
"""Of each scenario's long exploration, so that several processes share it."""
ONLY_SEED = os.environ.get("RENKU_SCHEDULE_SEED")
"""A seed that a failure has printed: then only that schedule is run."""

every_scenario = pytest.mark.parametrize("scenario", SCENARIOS, ids=lambda scenario: scenario.name)


@pytest.fixture
def machine() -> Iterator[Machine]:
    with Machine() as machine:
        yield machine


@every_scenario
def test_no_schedule_breaks_a_promise(machine: Machine, scenario: Scenario) -> None:
    """Whoever goes first, is killed, is late, or sets the clock."""
    count, _ = SCENARIOS[scenario]
    found = explore(machine, scenario, [int(ONLY_SEED)] if ONLY_SEED else range(count))
    if not ONLY_SEED:
        assert found.schedules == count
        assert found.distinct > 0.8 * count
        assert found.kills > 0.1 * count


@pytest.mark.long
@pytest.mark.parametrize("chunk", range(CHUNKS))
@every_scenario
def test_none_of_a_million_schedules_breaks_a_promise(machine: Machine, scenario: Scenario, chunk: int) -> None:
    """The same, with seeds that no other test has."""
    first, count = SCENARIOS[scenario]
    first += chunk * count // CHUNKS
    assert explore(machine, scenario, range(first, first + count // CHUNKS)).schedules == count // CHUNKS


def test_the_long_exploration_has_a_million_schedules() -> None:
    """As many as are promised."""
    assert sum(count for _, count in SCENARIOS.values()) == 1_000_000


# That the schedules find what is wrong


def no_touch(patch: pytest.MonkeyPatch) -> None:
    """A dedup hit leaves the row as old as it was."""
    patch.setattr(BlobTable, "touch", lambda self, digests: None)


def condemn_what_is_young(patch: pytest.MonkeyPatch) -> None:
    """The grace time is looked at before the transaction that condemns, and not in it."""
    condemn = BlobTable.condemn
    patch.setattr(BlobTable, "condemn", lambda self, digests, before_ms: condemn(self, digests, 2**62))


def condemn_by_a_clock_of_before(patch: pytest.MonkeyPatch) -> None:
    """A clock that is set back while a collection goes on is not noticed."""

    def condemn(self: SharedCollection, found: Survey, when: Moment) -> int:
        with self._movie.metadata.write() as writer:
            self._roots.catch_up(writer)
            self._revive(writer, found.condemned)
            return writer.blobs.condemn([d for d in found.candidates if d not in self._roots], when.before_ms)

    patch.setattr(SharedCollection, "_condemn", condemn)


def sweep_without_looking_at_the_state(patch: pytest.MonkeyPatch) -> None:
    """What a writer has revived since it was condemned is deleted all the same."""
    statement = blob_statements.BEGIN_DELETING
    assert " AND state = 'condemned'" in statement
    patch.setattr(blob_statements, "BEGIN_DELETING", statement.replace(" AND state = 'condemned'", ""))


def no_wait_for_deleting(patch: pytest.MonkeyPatch) -> None:
    """Who puts bytes that are being deleted takes them for stored."""
    settle = Intake._settle_known

    def hurried(self: Intake, sizes: dict[str, int], missing: set[str]) -> set[str]:
        settle(self, sizes, missing)
        return set()

    patch.setattr(Intake, "_settle_known", hurried)


def delete_without_the_lock(patch: pytest.MonkeyPatch) -> None:
    """A writer finishes what a collector deletes that is not dead."""

    def finish(self: Intake, digests: Iterable[str]) -> bool:
        finish_deleting(self._driver, self._metadata, digests)
        return True

    patch.setattr(Intake, "_unmark_for_the_dead", finish)


def publish_without_reviving(patch: pytest.MonkeyPatch) -> None:
    """What events and manifests name is not looked at in the transaction that records them."""
    patch.setattr(BlobStore, "revive", lambda self, writer, hashes: None)


def claim_without_looking_for_a_result(patch: pytest.MonkeyPatch) -> None:
    """A claim does not ask whether there is a trace by now."""
    patch.setattr("renku_store.leases.usable_trace", lambda reader, signature: None)


def claim_under_a_lease_that_is_overdue(patch: pytest.MonkeyPatch) -> None:
    """A claim is as old as the lease that it was made under."""
    claim = RunLeases.claim

    def without(self: RunLeases, signature: str, token: LeaseToken, job: str) -> ClaimAnswer:
        with pytest.MonkeyPatch.context() as inner:
            inner.setattr(RunTables, "renew", lambda self, token, seconds: True)
            return claim(self, signature, token, job)

    patch.setattr(RunLeases, "claim", without)


def store_without_the_claim(patch: pytest.MonkeyPatch) -> None:
    """A result that comes after its claim was lost counts as made."""
    patch.setattr(RunTables, "claims_held", lambda self, signatures, token: set(signatures))


def publish_without_the_lease(patch: pytest.MonkeyPatch) -> None:
    """A late holder is taken for the present one."""
    patch.setattr(RunTables, "holds", lambda self, token: True)


def pointer_that_goes_back(patch: pytest.MonkeyPatch) -> None:
    """`current.json` names whatever was published last, not the newest."""
    patch.setattr(ManifestStore, "_is_ahead", lambda self, named, number, digest: False)


def create_that_replaces(patch: pytest.MonkeyPatch) -> None:
    """A driver without create-if-absent."""

    def link(self: SimulatedDriver, data: bytes, written: float, name: str) -> bool:
        self.replace(name, data)
        return True

    patch.setattr(SimulatedDriver, "link", link)


def expire_without_the_lock(patch: pytest.MonkeyPatch) -> None:
    """Nobody waits while manifests become stubs."""
    _without_lock(patch, RETENTION_LOCK)


def withdraw_without_the_lock(patch: pytest.MonkeyPatch) -> None:
    """Who gives a run up does not wait for whoever has seen that its manifest is meant."""
    _without_lock(patch, PUBLISH_LOCK)


def _without_lock(patch: pytest.MonkeyPatch, missing: str) -> None:
    lock = SimulatedDriver.lock

    def unlocked(
        self: SimulatedDriver, name: str, *, shared: bool = False, wait_seconds: float
    ) -> AbstractContextManager[None]:
        return nullcontext() if name == missing else lock(self, name, shared=shared, wait_seconds=wait_seconds)

    patch.setattr(SimulatedDriver, "lock", unlocked)


MUTANTS: dict[Callable[[pytest.MonkeyPatch], None], Scenario] = {
    no_touch: protocols.COLLECT,
    condemn_what_is_young: protocols.COLLECT,
    condemn_by_a_clock_of_before: protocols.COLLECT,
    sweep_without_looking_at_the_state: protocols.COLLECT,
    no_wait_for_deleting: protocols.COLLECT,
    delete_without_the_lock: protocols.COLLECT,
    publish_without_reviving: protocols.COLLECT,
    claim_without_looking_for_a_result: protocols.SINGLE_FLIGHT,
    claim_under_a_lease_that_is_overdue: protocols.SINGLE_FLIGHT,
    store_without_the_claim: protocols.SINGLE_FLIGHT,
    publish_without_the_lease: protocols.TAKE_OVER,
    withdraw_without_the_lock: protocols.TAKE_OVER,
    pointer_that_goes_back: protocols.PUBLISH,
    create_that_replaces: protocols.PUBLISH,
    expire_without_the_lock: expiring.EXPIRE,
}


@pytest.mark.parametrize("mutate", MUTANTS, ids=lambda mutate: mutate.__name__)
def test_what_is_wrong_is_found(
    machine: Machine, monkeypatch: pytest.MonkeyPatch, mutate: Callable[[pytest.MonkeyPatch], None]
) -> None:
    """Each mutant breaks a promise under one of the schedules that `make check` runs; its seed shows it again."""
    scenario = MUTANTS[mutate]
    snapshot = prepared(machine, scenario)
    mutate(monkeypatch)
    with pytest.raises(ScheduleError) as caught:
        explore(machine, scenario, range(SCENARIOS[scenario][0]), snapshot)
    with pytest.raises(ScheduleError) as again:
        replay(machine, scenario, caught.value.seed, snapshot)
    assert again.value.trace == caught.value.trace
    assert f"RENKU_SCHEDULE_SEED={caught.value.seed}" in str(again.value)


# That a seed is a schedule

_TRACES = """
import sys
from hashlib import sha256
from renku_store.testing.interleaving import Machine, replay
from renku_store.testing.interleaving.scenario import prepared
from tests.stateful import expiring, protocols, rebasing
with Machine() as machine:
    for scenario in (*protocols.ALL, expiring.EXPIRE, rebasing.REBASE):
        snapshot = prepared(machine, scenario)
        traces = [replay(machine, scenario, seed, snapshot) for seed in range(30)]
        print(scenario.name, sha256(repr(traces).encode()).hexdigest())
"""


def test_a_seed_is_the_same_schedule_in_every_process(checkout: Path) -> None:
    """Whatever the order of its sets, and whatever it has run before."""
    told = {
        subprocess.run(
            [sys.executable, "-c", _TRACES],
            env={**os.environ, "PYTHONHASHSEED": seed},
            cwd=checkout,
            check=True,
            capture_output=True,
            text=True,
        ).stdout
        for seed in ("1", "2")
    }
    assert len(told) == 1
