"""Putting small contents that this machine's index does not know: sent without a look, seen afterwards."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from types import SimpleNamespace
from unittest import mock

import pytest
import zstandard

from renku_store import BlobRef, Movie, StoreUnavailableError, bounds, collect
from renku_store.hashing import hash_bytes
from renku_store.records.blob import Encoding, blob_path
from renku_store.testing.invariants import check_invariants
from tests.authoring import publish
from tests.test_gc import at
from tests.test_two_machines import DAY, Machines, objects

SMALL = b"a line of speech"
PACKED = b"a line of speech " * 1_000
LARGE = os.urandom(bounds.PUT_UNSEEN_MAX_BYTES + 1)


@pytest.fixture
def machines(tmp_path: Path) -> Iterator[Machines]:
    machines = Machines(tmp_path)
    with closing(machines):
        yield machines


@pytest.fixture
def here(machines: Machines) -> Movie:
    """The movie on a machine that has looked at the storage's clock."""
    movie = machines.store("here").create_movie("film")
    movie.blobs.put(b"the first blob of all")
    machines.requests.clear()
    return movie


def there_is(machines: Machines, data: bytes, stored: bytes, encoding: Encoding = "raw", age: float = 0.0) -> str:
    """Let there be an object of a content, of which no index has heard; gives its path."""
    path = blob_path(hash_bytes(data), encoding)
    machines.storage.set(f"film/{path}", stored, machines.storage.now() - age)
    return path


def stored(machines: Machines, path: str) -> bytes:
    """What is there under a path."""
    return machines.storage.objects[f"film/{path}"][0]


def is_live(movie: Movie, blob: BlobRef) -> bool:
    """Whether this machine's index has the blob."""
    with movie.metadata.read() as reader:
        return blob.hash in reader.blobs.get([blob.hash])


def folder_of(data: bytes) -> str:
    """The folder of a blob, by which requests are counted."""
    return hash_bytes(data)[:2]


def test_a_new_small_blob_costs_one_write_and_the_look_afterwards(machines: Machines, here: Movie) -> None:
    """And one listing of markers, however many are put together."""
    contents = [b"%d" % number for number in range(40)]
    stored = here.blobs.put_many(contents)
    requests = {what.partition(" ")[0] for what in machines.requests}
    assert requests == {"put", "head", "list"}
    assert sum(machines.requests.values()) == 40 + 40 + 1
    assert machines.requests["list gc"] == 1
    assert [here.blobs.read(blob) for blob in stored] == contents


def test_what_this_machine_knows_is_looked_for_before_it_is_sent(machines: Machines, here: Movie) -> None:
    """Its bytes are not sent a second time; what is fresh is seen again, as a collector may have looked before."""
    here.blobs.put(SMALL)
    machines.requests.clear()
    here.blobs.put_many([SMALL])
    assert machines.requests == {f"head {folder_of(SMALL)}": 2, "list gc": 1}
    machines.timeline.pass_by(2 * bounds.SWEEP_SECONDS)
    machines.requests.clear()
    here.blobs.put_many([SMALL])
    assert machines.requests == {f"head {folder_of(SMALL)}": 1}


def test_a_large_blob_is_looked_for_before_it_is_sent(machines: Machines, here: Movie) -> None:
    """Its bytes cost more than the looks: of one that another machine has put they are not sent."""
    large = os.urandom(bounds.PUT_UNSEEN_MAX_BYTES + 1)
    there_is(machines, large, large, age=2 * bounds.SWEEP_SECONDS)
    here.blobs.put_many([large])
    assert machines.requests == {f"head {folder_of(large)}": 1}
    machines.requests.clear()
    small = large[:-1]
    here.blobs.put_many([small])
    assert machines.requests == {f"put if absent {folder_of(small)}": 1, f"head {folder_of(small)}": 1, "list gc": 1}


@pytest.mark.parametrize("age", [0.0, bounds.YOUNG_SECONDS + 60.0])
@pytest.mark.parametrize("data", [SMALL, PACKED], ids=["raw", "zstd"])
def test_what_another_machine_has_put_is_left_as_it_is_and_made_young(
    machines: Machines, here: Movie, data: bytes, age: float
) -> None:
    """Its name is taken, so nothing is written; then its age counts, as ever."""
    packed = zstandard.compress(data)
    path = there_is(machines, data, *((data, "raw") if data is SMALL else (packed, "zstd")), age=age)
    before = stored(machines, path)
    blob = here.blobs.put(data)
    assert is_live(here, blob)
    assert stored(machines, path) == before
    modified = machines.storage.objects[f"film/{path}"][1]
    assert modified > machines.storage.now() - bounds.YOUNG_SECONDS
    assert here.blobs.read(blob) == data
    assert objects(machines, "quarantine") == []


@pytest.mark.parametrize("damage", [b"", SMALL[:-1], bytes(len(SMALL))], ids=["empty", "cut off", "other bytes"])
def test_a_damaged_object_of_that_name_moves_to_quarantine(machines: Machines, here: Movie, damage: bytes) -> None:
    """And its content is written anew, from what was held until then."""
    path = there_is(machines, SMALL, damage)
    blob = here.blobs.put(SMALL)
    assert stored(machines, path) == SMALL
    assert is_live(here, blob)
    assert [stored(machines, name) for name in objects(machines, "quarantine")] == [damage]


def test_many_contents_some_of_which_are_there_are_all_put(machines: Machines, here: Movie) -> None:
    """Damaged ones and whole ones among new ones, over several batches, in order."""
    contents = [b"%d" % number for number in range(50)]
    for number, data in enumerate(contents):
        if number % 3:
            there_is(machines, data, b"" if number % 3 == 1 else data, age=number * 3_600.0)
    with mock.patch("renku_store.bounds.BATCH_FAR_MAX_FILES", 7):
        blobs = here.blobs.put_many(contents)
    assert [here.blobs.read(blob) for blob in blobs] == contents
    assert all(is_live(here, blob) for blob in blobs)
    assert len(objects(machines, "quarantine")) == len(contents[1::3])
    check_invariants(here)


@pytest.mark.parametrize("other", [PACKED, b""], ids=["sound", "damaged"])
def test_an_object_of_the_other_form_is_no_obstacle(machines: Machines, here: Movie, other: bytes) -> None:
    """It is not looked for: both are there then, and the sound one is read."""
    path = there_is(machines, PACKED, other, age=3 * DAY)
    blob = here.blobs.put(PACKED)
    there = machines.open("there")
    assert here.blobs.read(blob) == there.blobs.read(blob) == PACKED
    assert stored(machines, path) == other
    with here.blobs.open(blob) as stream:
        assert stream.read() == PACKED
    machines.timeline.pass_by(DAY / 2)
    collect(there, force=True)
    assert here.blobs.read(blob) == PACKED, "the age of the younger one counts for both"


def test_what_a_collector_deletes_after_it_was_written_is_not_put(machines: Machines, here: Movie) -> None:
    """It had looked before that, when the name held what is old: whoever puts waits for it, looks, and says so."""
    publish(here, {"a": "short"})
    there = machines.open("there")
    path = there_is(machines, SMALL, SMALL, age=3 * DAY)
    waiting, over = threading.Event(), threading.Event()
    refused: list[StoreUnavailableError] = []

    def told(_seconds: float) -> None:
        waiting.set()
        over.wait(600)

    def put_here() -> None:
        try:
            here.blobs.put(SMALL)
        except StoreUnavailableError as error:
            refused.append(error)
        finally:
            waiting.set()

    putting = threading.Thread(target=put_here)

    def beside() -> None:
        machines.storage.set(f"film/{path}", None)  # as a second collector does
        putting.start()
        waiting.wait(600)
        assert stored(machines, path) == SMALL

    with mock.patch("renku_store.announcing.time", SimpleNamespace(sleep=told)):
        collect(there, force=True, on_progress=at("deleting", beside))
        over.set()
        putting.join()
    assert path not in objects(machines, "blobs")
    assert [error.reason for error in refused] == ["busy"]
    blob = here.blobs.put(SMALL)
    assert stored(machines, path) == SMALL
    assert here.blobs.read(blob) == SMALL
    check_invariants(here)


@pytest.mark.parametrize("known", [False, True])
@pytest.mark.parametrize("data", [SMALL, LARGE], ids=["small", "large"])
def test_a_young_object_that_a_collector_is_about_to_delete_is_written_anew(
    machines: Machines, here: Movie, data: bytes, known: bool
) -> None:
    """Another machine has written it since the collector looked: a name that is taken is believed after the sweep."""
    publish(here, {"a": "short"})
    if known:
        here.blobs.put(data)
    there = machines.open("there")
    path = there_is(machines, data, data, age=3 * DAY)
    waiting, over = threading.Event(), threading.Event()

    def told(_seconds: float) -> None:
        waiting.set()
        over.wait(600)

    def put_here() -> None:
        try:
            here.blobs.put(data)
        finally:
            waiting.set()

    putting = threading.Thread(target=put_here)

    def beside() -> None:
        there_is(machines, data, data)
        putting.start()
        waiting.wait(600)

    with mock.patch("renku_store.announcing.time", SimpleNamespace(sleep=told)):
        assert collect(there, force=True, on_progress=at("deleting", beside)).removed >= 1
        over.set()
        putting.join()
    assert stored(machines, path) == data
    check_invariants(here)
