"""The probe of a driver, and the gate that it opens."""

from __future__ import annotations

import itertools
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace

from renku_store import SystemClock, UnsafeDriverError, open_store, probe_root
from renku_store.drivers.base import Guarantees, ObjectStat
from renku_store.drivers.guarding import KEPT, Gate, GuardedDriver
from renku_store.drivers.memory.driver import MemoryDriver, open_memory
from renku_store.drivers.opening import open_driver
from renku_store.drivers.probe import ProbeReport, probe
from tests.drivers.servers import Server

_names = itertools.count()
REMOTE = Guarantees(atomic_create=True, compare_and_swap=True, strong_listing=True, shared_index=False)


class Remote:
    """Objects in memory that are declared, like those of a server, to be shared with other machines."""

    guarantees = REMOTE

    def __init__(self, workspace: Path | None = None, inner: MemoryDriver | None = None) -> None:
        self.inner = inner or open_memory(f"memory://probe-{next(_names)}", {})
        self.place = workspace
        self.creations = 0

    def __getattr__(self, name: str) -> Any:
        return getattr(self.inner, name)

    def workspace(self) -> Path | None:
        return self.place

    def sub(self, prefix: str) -> Remote:
        made = type(self)(self.place, self.inner.sub(prefix))
        made.__dict__ |= {name: value for name, value in self.__dict__.items() if name != "inner"}
        return made


class Clock(SystemClock):
    """A clock that is set by hand."""

    def __init__(self) -> None:
        self.at = datetime(2026, 1, 1, tzinfo=UTC)

    def now(self) -> datetime:
        return self.at


class IgnoresConditions(Remote):
    """Every creation succeeds."""

    def create(self, name: str, data: bytes) -> bool:
        self.inner.replace(name, data)
        return True


class LetsTheLastWin(Remote):
    """One is told that it has won; the bytes of another are there."""

    def create(self, name: str, data: bytes) -> bool:
        if self.inner.create(name, data):
            return True
        self.inner.replace(name, data)
        return False


class SwapsAnything(Remote):
    """Replaces whatever is there."""

    def compare_and_swap(self, name: str, expected: bytes | None, data: bytes) -> bool:
        self.inner.replace(name, data)
        return True


class ListsLate(Remote):
    """A listing does not hold what was written last."""

    def list(self, prefix: str) -> Iterator[ObjectStat]:
        found = list(self.inner.list(prefix))
        return iter(found if prefix.startswith(".renku-probe") else found[1:])


class ReadsOld(Remote):
    """A replaced object is read as it was."""

    def replace(self, name: str, data: bytes) -> None:
        if not name.startswith("seen"):
            self.inner.replace(name, data)


class KeepsDeleted(Remote):
    """A deletion comes later."""

    def delete(self, name: str) -> None:
        return


class DeclaresNothing(Remote):
    """Says itself what it cannot do."""

    guarantees = Guarantees(atomic_create=False, compare_and_swap=False, strong_listing=False, shared_index=False)


class CannotSwap(Remote):
    """Creates exclusively, and that is all."""

    guarantees = replace(REMOTE, compare_and_swap=False)


def asked(driver: Any) -> ProbeReport:
    """What the probe says."""
    return probe(driver, SystemClock())


def test_a_driver_that_keeps_what_it_declares_is_safe() -> None:
    """The latency is told, nothing stays behind."""
    driver = Remote()
    report = asked(driver)
    assert report.safe
    assert report.missing == ()
    assert report.write_seconds is not None
    assert report.read_seconds is not None
    assert list(driver.inner.list("")) == []


@pytest.mark.parametrize(
    ("faulty", "words"),
    [
        (IgnoresConditions, "16 of 16 that created one name at the same time"),
        (LetsTheLastWin, "written over by another creator"),
        (SwapsAnything, "16 of 16 that replaced one object"),
        (ListsLate, "not listed"),
        (ReadsOld, "read as it was"),
        (KeepsDeleted, "still there"),
    ],
)
def test_each_broken_promise_is_found_and_named(faulty: type[Remote], words: str) -> None:
    """In words that say what happened; a driver that breaks one is not safe."""
    driver = faulty()
    report = asked(driver)
    assert not report.safe
    assert [words in said for said in report.missing] == [True]
    with pytest.raises(UnsafeDriverError, match=words):
        report.raise_unsafe()


def test_what_a_driver_says_itself_is_believed() -> None:
    """Nothing is tried: all that is missing is named."""
    driver = DeclaresNothing()
    report = asked(driver)
    assert len(report.missing) == 2
    assert "exclusive creation" in report.missing[0]
    assert "listings" in report.missing[1]
    assert report.write_seconds is None


def test_a_driver_without_conditional_replacement_is_safe_and_weaker() -> None:
    """The pointer goes forward only, and is repaired by whoever opens the movie; that is told."""
    report = asked(CannotSwap())
    assert report.safe
    assert any("current.json" in said for said in report.weaker)


def test_a_probe_that_was_killed_leaves_nothing_for_ever() -> None:
    """Its objects go with a later probe, once they are old by the clock of the storage; another's stay meanwhile."""
    driver = Remote()
    driver.inner.create(".renku-probe/killed/created-0", b"x")
    driver.inner.create("film/format.json", b"{}")
    asked(driver)
    assert {found.name for found in driver.inner.list("")} == {".renku-probe/killed/created-0", "film/format.json"}

    class Later(Remote):
        def list(self, prefix: str) -> Iterator[ObjectStat]:
            return (
                replace(found, modified=found.modified - (7_200 if "killed" in found.name else 0))
                for found in self.inner.list(prefix)
            )

    asked(Later(inner=driver.inner))
    assert {found.name for found in driver.inner.list("")} == {"film/format.json"}


# The gate


class Counting(Remote):
    """Counts probes by the name that each races for first."""

    probes: list[str]

    def __init__(self, workspace: Path | None = None, inner: MemoryDriver | None = None) -> None:
        super().__init__(workspace, inner)
        self.probes = []
        self.held = threading.Lock()

    def create(self, name: str, data: bytes) -> bool:
        made = self.inner.create(name, data)
        if made and name == "created-0":
            self.probes.append(name)
        return made


def gate(driver: Any, clock: Clock | None = None, via: str = "client 1") -> GuardedDriver:
    """The driver behind a gate, as another process opens it."""
    return GuardedDriver(driver, Gate(driver, via, clock or Clock()))


def test_only_a_first_write_asks_and_only_once(tmp_path: Path) -> None:
    """Reading asks nothing and writes nothing, here and there; every later write, in any folder, passes."""
    driver = Counting(tmp_path / "workspace")
    guarded = gate(driver)
    assert list(guarded.list("")) == []
    assert list(guarded.children("")) == []
    assert guarded.stat("film/format.json") is None
    assert guarded.sub("film").stat_many(["format.json"]) == {}
    assert driver.probes == []
    assert not (tmp_path / "workspace").exists()
    assert guarded.sub("film").create("format.json", b"{}")
    guarded.sub("film").replace("current.json", b"{}")
    assert guarded.create("x", b"")
    assert len(driver.probes) == 1


WRITES: dict[str, Callable[[GuardedDriver], object]] = {
    "create": lambda driver: driver.create("x", b""),
    "replace": lambda driver: driver.replace("x", b""),
    "compare_and_swap": lambda driver: driver.compare_and_swap("x", None, b""),
    "batch": lambda driver: driver.batch(),
    "move": lambda driver: driver.move("x", "y"),
    "renew": lambda driver: driver.renew("x"),
    "delete": lambda driver: driver.delete("x"),
    "delete_many": lambda driver: driver.delete_many(["x"]),
}


@pytest.mark.parametrize("write", WRITES)
def test_no_way_of_writing_passes_a_closed_gate(write: str, tmp_path: Path) -> None:
    """Again and again, with the same words, and the answer is in the workspace for whoever looks."""
    driver = IgnoresConditions(tmp_path)
    guarded = gate(driver)
    for _ in range(2):
        with pytest.raises(UnsafeDriverError, match="16 of 16"):
            WRITES[write](guarded.sub("film"))
    assert list(driver.inner.list("")) == []
    assert b"16 of 16" in (tmp_path / KEPT).read_bytes()


def test_a_good_answer_is_kept_for_thirty_days(tmp_path: Path) -> None:
    """For this root, this library in this version, and this version of the probe; a broken file counts for nothing."""
    clock = Clock()
    driver = Counting(tmp_path / "workspace")

    def asks(via: str = "client 1") -> bool:
        before = len(driver.probes)
        gate(driver, clock, via).replace("x", b"")
        return len(driver.probes) > before

    assert asks()
    assert not asks()
    clock.at += timedelta(days=29, hours=23)
    assert not asks()
    clock.at += timedelta(hours=1)
    assert asks()
    clock.at -= timedelta(seconds=1)
    assert asks()
    assert asks("client 2")
    kept = tmp_path / "workspace" / KEPT
    for old, new in ((b'"version": 1', b'"version": 0'), (b'"url": "', b'"url": "another-'), (b"{", b"<")):
        content = kept.read_bytes()
        assert old in content
        kept.write_bytes(content.replace(old, new, 1))
        assert asks("client 2")
    assert [path.name for path in kept.parent.iterdir()] == [KEPT]


def test_a_bad_answer_is_asked_for_again_by_the_next_process(tmp_path: Path) -> None:
    """The server may have been replaced by a better one."""
    bad = IgnoresConditions(tmp_path)
    with pytest.raises(UnsafeDriverError):
        gate(bad).create("x", b"")
    good = Remote(tmp_path, bad.inner)
    assert gate(good).create("x", b"")


def test_an_answer_that_cannot_be_kept_still_counts(tmp_path: Path) -> None:
    """A workspace that cannot be made is no reason not to write."""
    (tmp_path / "file").write_bytes(b"")
    for workspace in (None, tmp_path / "file" / "below"):
        driver = Counting(workspace)
        guarded = gate(driver)
        guarded.replace("x", b"")
        guarded.replace("x", b"")
        assert len(driver.probes) == 1


# Real roots


@pytest.fixture(params=["s3+fsspec", "s3+obstore"])
def remote_url(request: pytest.FixtureRequest, s3_environment: Mapping[str, str]) -> Callable[[Server], str]:
    """Gives a new root on a server, through each client."""

    def url(server: Server) -> str:
        place = server.place()
        return f"{request.param}://{place.bucket}/{place.prefix}?endpoint={place.endpoint}&region={place.region}"

    return url


@pytest.mark.parametrize("name", ["seaweed", "moto"])
def test_real_servers_with_conditions_are_safe(
    name: str, remote_url: Callable[[Server], str], request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    """Through each client, on each server; the first movie needs no more."""
    url = remote_url(request.getfixturevalue(name))
    report = probe_root(url, cache=tmp_path)
    assert report.missing == ()
    assert report.guarantees == REMOTE
    assert report.write_seconds is not None
    assert report.via.partition(" ")[0] in {"obstore", "s3fs"}
    assert report.workspace is not None
    assert (report.workspace / KEPT).exists()
    with closing(open_driver(url, {"cache": tmp_path})) as driver:
        assert list(driver.list("")) == []
    with open_store(url, cache=tmp_path) as store:
        assert store.create_movie("film").id == "film"


def test_a_folder_and_memory_are_believed(tmp_path: Path) -> None:
    """Nothing is written there."""
    for root in (tmp_path / "builds", f"memory://probe-{next(_names)}"):
        report = probe_root(root)
        assert report.safe
        assert report.write_seconds is None
    assert not (tmp_path / "builds" / ".renku-probe").exists()
