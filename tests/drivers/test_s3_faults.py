"""An S3 driver behind a proxy where requests go wrong: the right answer or a named error, never a wrong one.

Each way in which a request can fail meets each operation. What was answered is then compared with what
lies in the storage, seen past the proxy.
"""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import get_args

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from renku_store import bounds
from renku_store.drivers.objects.driver import ObjectDriver
from renku_store.drivers.objects.obstore_client import ObstoreClient
from renku_store.drivers.objects.options import S3Place
from renku_store.errors import BlobMissingError, StoreUnavailableError
from tests.drivers.proxy import Fault, Kind, Proxy
from tests.drivers.servers import Server, behind, credentials
from tests.drivers.test_s3 import obstore_driver

_KINDS: tuple[Kind, ...] = tuple(kind for kind in get_args(Kind) if kind != "corrupt")
_OLD, _NEW = b"old" * 10, b"new" * 11
_PART_BYTES = 5 * 1_048_576
"""The least that S3 allows."""
_LONG = bytes(range(256)) * 6_000
_LARGE = bytes(range(256)) * (_PART_BYTES // 256 + 1)
_SILENCE_SECONDS = 0.4
"""How long a reply may take where one is held back; it is asked for again, so that slow ones are no failures."""


@dataclass
class Storage:
    """One root seen twice: `driver` by way of the proxy, `direct` past it. `hasty` is one that waits but shortly."""

    driver: ObjectDriver
    hasty: ObjectDriver
    direct: ObjectDriver
    proxy: Proxy

    def write(self, name: str, data: bytes) -> frozenset[str]:
        """Write one object in a batch, by way of the proxy."""
        with self.driver.batch() as batch:
            staged = batch.stage()
            staged.write(data)
            batch.name(staged, name)
            return batch.commit()

    def there(self, name: str) -> bytes | None:
        """The bytes in the storage, or None."""
        try:
            return self.direct.read(name)
        except BlobMissingError:
            return None


@pytest.fixture(autouse=True)
def _small_parts(short_pauses: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bounds, "OBJECT_PART_BYTES", _PART_BYTES)
    monkeypatch.setattr(bounds, "OBJECT_WINDOW_BYTES", 1_048_576)


@contextlib.contextmanager
def storage_behind(place: S3Place, folder: Path) -> Iterator[Storage]:
    """A storage at a place."""
    assert place.endpoint is not None
    with Proxy(int(place.endpoint.rpartition(":")[2])) as proxy:
        far = behind(place, proxy.endpoint)
        client = ObstoreClient(far, credentials=credentials, read_seconds=_SILENCE_SECONDS, request_seconds=2)
        hasty = ObjectDriver(client, url=place.url, prefix=place.prefix, workspace=folder / "hasty")
        driver = obstore_driver(far, folder / "workspace")
        yield Storage(driver, hasty, obstore_driver(place, folder / "direct"), proxy)


@pytest.fixture(params=["seaweed_place", pytest.param("moto_place", marks=pytest.mark.long)])
def storage(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Storage]:
    """An empty root on SeaweedFS and, in long runs, on moto's server."""
    with storage_behind(request.getfixturevalue(request.param), tmp_path) as made:
        yield made


def wait_until(condition: Callable[[], bool]) -> None:
    """Wait for something that comes soon."""
    deadline = time.monotonic() + 600
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.005)


def create(storage: Storage, name: str) -> bool:
    """True, and ours is there; False, and another's is."""
    created = storage.driver.create(name, _NEW)
    assert storage.there(name) == (_NEW if created else _OLD)
    return created


def create_taken(storage: Storage, name: str) -> bool:
    """False, and what was there is untouched."""
    storage.direct.create(name, _OLD)
    assert not create(storage, name)
    return True


def create_same(storage: Storage, name: str) -> bool:
    """False even where the bytes are the same: somebody else has won."""
    storage.direct.create(name, _NEW)
    assert not storage.driver.create(name, _NEW)
    return True


def replace(storage: Storage, name: str) -> bool:
    """The new bytes are there."""
    storage.direct.create(name, _OLD)
    storage.driver.replace(name, _NEW)
    return storage.there(name) == _NEW


def swap(storage: Storage, name: str) -> bool:
    """True, and ours is there."""
    storage.direct.create(name, _OLD)
    return storage.driver.compare_and_swap(name, _OLD, _NEW) and storage.there(name) == _NEW


def swap_nothing(storage: Storage, name: str) -> bool:
    """The same where nothing is expected."""
    return storage.driver.compare_and_swap(name, None, _NEW) and storage.there(name) == _NEW


def swap_another(storage: Storage, name: str) -> bool:
    """False, and what is there is untouched."""
    storage.direct.create(name, _OLD)
    return not storage.driver.compare_and_swap(name, b"what nobody wrote", _NEW) and storage.there(name) == _OLD


def batch(storage: Storage, name: str) -> bool:
    """The object is there, whole."""
    return storage.write(name, _NEW) <= {name} and storage.there(name) == _NEW


def batch_taken(storage: Storage, name: str) -> bool:
    """What was there is told of and untouched."""
    storage.direct.create(name, _OLD)
    return storage.write(name, _NEW) == {name} and storage.there(name) == _OLD


def large(storage: Storage, name: str) -> bool:
    """The same in parts."""
    return storage.write(name, _LARGE) <= {name} and storage.there(name) == _LARGE


def read(storage: Storage, name: str) -> bool:
    """The bytes, all of them."""
    storage.direct.create(name, _OLD)
    return storage.driver.read(name) == _OLD and storage.driver.read(name, 5) == _OLD[:5]


def stream(storage: Storage, name: str) -> bool:
    """The same, over several windows."""
    storage.direct.replace(name, _LONG)
    with storage.driver.open(name) as opened:
        return opened.read() == _LONG


def stat(storage: Storage, name: str) -> bool:
    """The size; None where nothing is."""
    storage.direct.create(name, _OLD)
    found = storage.driver.stat(name)
    return found is not None and found.size == len(_OLD) and storage.driver.stat(f"{name}-not") is None


def listing(storage: Storage, name: str) -> bool:
    """Everything."""
    storage.direct.create(name, _OLD)
    storage.direct.create(f"{name}-too/below", _OLD)
    folder = name.rpartition("/")[0]
    listed = sorted(found.name for found in storage.driver.list(f"{folder}/"))
    children = sorted(storage.driver.children(f"{folder}/"))
    return (listed, children) == ([name, f"{name}-too/below"], ["object", "object-too/"])


def delete(storage: Storage, name: str) -> bool:
    """Gone."""
    storage.direct.create(name, _OLD)
    storage.driver.delete(name)
    return storage.there(name) is None


def move(storage: Storage, name: str) -> bool:
    """At its new name only."""
    storage.direct.create(name, _OLD)
    moved = storage.driver.move(name, f"{name}-moved")
    return moved and storage.there(name) is None and storage.there(f"{name}-moved") == _OLD


def renew(storage: Storage, name: str) -> bool:
    """As it was."""
    storage.direct.create(name, _OLD)
    storage.driver.renew(name)
    return storage.there(name) == _OLD


_OPERATIONS: tuple[Callable[[Storage, str], bool], ...] = (
    create, create_taken, create_same, replace, swap, swap_nothing, swap_another, batch, batch_taken, large, read,
    stream, stat, listing, delete, move, renew,
)  # fmt: skip


@pytest.mark.parametrize("kind", _KINDS)
@pytest.mark.parametrize("operation", _OPERATIONS)
def test_one_failure_is_made_up_for(storage: Storage, kind: Kind, operation: Callable[[Storage, str], bool]) -> None:
    """Whichever of its requests it meets, it ends as if nothing had been; a request that comes late changes nothing."""
    if kind == "delay":
        storage.driver = storage.hasty
    nth = 0
    while True:
        nth += 1
        name = f"{nth}/object"
        fault = storage.proxy.inject(Fault(kind, first=nth, last=nth, keep=10))
        assert operation(storage, name), nth
        before = storage.there(name)
        storage.proxy.calm()
        if not fault.struck:
            break
        if kind == "late":
            wait_until(lambda waited=fault: storage.proxy.settled(waited))
            assert storage.there(name) == before
    assert nth > 1


@pytest.mark.parametrize("kind", ["drop", "reset", "truncate", "answer", "answer after"])
@pytest.mark.parametrize("operation", _OPERATIONS)
def test_failures_without_end_are_named(
    storage: Storage, kind: Kind, operation: Callable[[Storage, str], bool]
) -> None:
    """The error says what could not be done and where; nothing half-written is seen."""
    storage.proxy.inject(Fault(kind, last=10**9, keep=10))
    name = "folder/object"
    failures: list[StoreUnavailableError] = []
    try:
        # A reply without a body cannot be truncated, and some writes need no other.
        assert operation(storage, name)
    except StoreUnavailableError as error:
        failures.append(error)
    assert all(error.hint and storage.driver.url in error.message for error in failures)
    assert storage.there(name) in {None, _OLD, _NEW} or operation in {large, stream}


_SCRIPTS = st.lists(
    st.tuples(
        st.sampled_from(
            ["create", "replace", "swap", "wrong swap", "batch", "delete", "move", "renew", "read", "list"]
        ),
        st.sampled_from(["a", "b"]),
        st.lists(
            st.tuples(st.sampled_from([kind for kind in _KINDS if kind != "delay"]), st.integers(1, 3)), max_size=2
        ),
    ),
    max_size=8,
)


class Model:
    """What an object storage holds, and what each operation answers, as two dictionaries would have it."""

    def __init__(self) -> None:
        self.held: dict[str, bytes] = {}

    def do(self, operation: str, name: str, data: bytes) -> object:
        """The answer; afterwards `held` is what the storage has to hold."""
        before = self.held.get(name)
        match operation:
            case "create" | "batch":
                self.held.setdefault(name, data)
                return before is None
            case "replace":
                self.held[name] = data
            case "swap":
                self.held[name] = data
                return True
            case "wrong swap":
                return False
            case "delete":
                self.held.pop(name, None)
            case "move":
                if before is None or "c" in self.held:
                    return False
                self.held["c"] = self.held.pop(name)
                return True
            case "read":
                return before
            case "list":
                return set(self.held)
        return None


def do(storage: Storage, operation: str, name: str, data: bytes, expected: bytes | None) -> object:
    """The same by way of the proxy; `expected` is what lies under the name."""
    driver = storage.driver
    match operation:
        case "create":
            return driver.create(name, data)
        case "batch":
            return storage.write(name, data) == frozenset()
        case "replace":
            driver.replace(name, data)
        case "swap":
            return driver.compare_and_swap(name, expected, data)
        case "wrong swap":
            return driver.compare_and_swap(name, b"what nobody wrote", data)
        case "delete":
            driver.delete(name)
        case "renew":
            driver.renew(name)
        case "move":
            return driver.move(name, "c")
        case "read":
            try:
                return driver.read(name)
            except BlobMissingError:
                return None
        case "list":
            return {found.name for found in driver.list("")}
    return None


@given(script=_SCRIPTS)
@settings(max_examples=40)
def test_whatever_fails_the_storage_agrees_with_a_model(
    seaweed: Server,
    tmp_path_factory: pytest.TempPathFactory,
    script: list[tuple[str, str, list[tuple[Kind, int]]]],
) -> None:
    """Each answer is the model's; after a named error an object is as it was, or as it would have become."""
    model = Model()
    with storage_behind(seaweed.place(), tmp_path_factory.mktemp("script")) as storage:
        for number, (operation, name, faults) in enumerate(script):
            for kind, nth in faults:
                storage.proxy.inject(Fault(kind, first=nth, last=nth, keep=7))
            before, data = dict(model.held), b"%d" % number
            expected = model.do(operation, name, data)
            with contextlib.suppress(StoreUnavailableError):
                assert do(storage, operation, name, data, before.get(name)) == expected
            struck = list(storage.proxy.faults)
            storage.proxy.calm()
            wait_until(lambda waited=struck: all(map(storage.proxy.settled, waited)))
            now = {each.name: storage.direct.read(each.name) for each in storage.direct.list("")}
            assert now == model.held


def _raise_counter(storage: Storage) -> tuple[int, int]:
    """Raise the counter five times by swapping: how often that is known to have been done, and not known."""
    known = unknown = 0
    while known + unknown < 5:
        try:
            seen = storage.driver.read("counter")
            known += storage.driver.compare_and_swap("counter", seen, b"%d" % (int(seen) + 1))
        except StoreUnavailableError:
            unknown += 1
    return known, unknown


def test_no_swap_is_lost_or_doubled_among_racing_writers(storage: Storage) -> None:
    """Eight threads raise a counter while every seventh reply to a write is lost, although all write the same bytes."""
    storage.direct.create("counter", b"0")
    for nth in range(1, 400, 7):
        storage.proxy.inject(Fault("drop", lambda request: request.conditional, first=nth, last=nth))
    with ThreadPoolExecutor(8) as pool:
        counts = list(pool.map(lambda _: _raise_counter(storage), range(8)))
    known, unknown = (sum(column) for column in zip(*counts, strict=True))
    assert known <= int(storage.direct.read("counter")) <= known + unknown
    assert any(fault.struck for fault in storage.proxy.faults)


def test_of_racing_creators_one_wins_whatever_replies_are_lost(storage: Storage) -> None:
    """Eight threads create the same names with the same bytes; each name has exactly one that was told it had won."""
    for nth in range(1, 200, 3):
        storage.proxy.inject(Fault("drop", lambda request: request.conditional, first=nth, last=nth))

    def create_all(_: int) -> list[bool]:
        return [storage.driver.create(f"manifests/rev-{number:04d}.json", b"the same") for number in range(10)]

    with ThreadPoolExecutor(8) as pool:
        told = list(pool.map(create_all, range(8)))
    assert [sum(column) for column in zip(*told, strict=True)] == [1] * 10


def test_an_outcome_that_cannot_be_known_is_said_to_be_unknown(storage: Storage) -> None:
    """The reply to a swap is lost, and before it can be looked after somebody has built on what it wrote."""
    storage.direct.create("pointer", b"1")
    held = storage.proxy.inject(Fault("delay", lambda request: request.conditional))
    failures: list[str] = []

    def swap_it() -> None:
        try:
            storage.hasty.compare_and_swap("pointer", b"1", b"2")
        except StoreUnavailableError as error:
            failures.append(error.message)

    looking = storage.proxy.inject(Fault("delay", lambda request: request.method == "GET" and bool(held.struck)))
    swapping = threading.Thread(target=swap_it)
    swapping.start()
    wait_until(lambda: storage.there("pointer") == b"2")
    assert storage.direct.compare_and_swap("pointer", b"2", b"3")
    wait_until(lambda: bool(looking.struck))
    storage.proxy.calm()
    swapping.join()
    assert len(failures) == 1
    assert "Nobody knows whether" in failures[0]
