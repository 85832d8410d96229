"""What two machines do at once that put the same bytes, of which neither index has a row, beside collections."""

from __future__ import annotations

from contextlib import suppress
from typing import Final

import zstandard

from renku_store import StoreUnavailableError, bounds, collect
from renku_store.hashing import hash_bytes
from renku_store.records.blob import Encoding, blob_path
from renku_store.testing.interleaving import Machine, Scenario
from tests.stateful.machines import LONG_AGO, MACHINES, collector, fleet_of, known_on_both, opened, settled
from tests.stateful.protocols import Ends


def _plain(said: str) -> bytes:
    """A content that is stored as it is."""
    return said.encode()


def _packed(said: str) -> bytes:
    """A content that is stored compressed."""
    return said.encode() * (1 + bounds.COMPRESSION_MIN_BYTES // len(said))


def _frame(data: bytes) -> bytes:
    return zstandard.ZstdCompressor(level=bounds.COMPRESSION_LEVEL, write_checksum=True).compress(data)


ABSENT: Final = _plain("of which there is nothing")
OLD: Final = _plain("of which there is an old object")
EMPTY: Final = _plain("of which there is an object without a byte")
WRONG: Final = _plain("of which there is an object of as many other bytes")
PACKED: Final = _packed("of which there is an old frame ")
OTHER: Final = _packed("of which there is an old object that is not compressed ")
OTHER_EMPTY: Final = _packed("of which there is one without a byte that is not compressed ")

THERE: Final[tuple[tuple[bytes, Encoding, bytes], ...]] = (
    (OLD, "raw", OLD),
    (EMPTY, "raw", b""),
    (WRONG, "raw", bytes(len(WRONG))),
    (PACKED, "zstd", _frame(PACKED)),
    (OTHER, "raw", OTHER),
    (OTHER_EMPTY, "raw", b""),
)
"""Contents, and what is there under which of their names; no index has heard of any."""
DAMAGED: Final = (EMPTY, WRONG, OTHER_EMPTY)
BY_MANY: Final = (ABSENT, OLD, PACKED, OTHER, OTHER_EMPTY)
BY_ONE: Final = (EMPTY, WRONG)
"""Of two who repair one object at once the later one moves away what the other has written, and writes it anew."""


def unknown_objects(machine: Machine) -> None:
    """A movie that both machines know, and objects of long ago that neither does."""
    known_on_both(machine)
    for data, encoding, stored in THERE:
        machine.storage.set(blob_path(hash_bytes(data), encoding), stored, machine.storage.now())
    machine.timeline.pass_by(LONG_AGO)


def is_there(machine: Machine, data: bytes) -> bool:
    """Whether an object gives this content, at this moment."""
    objects, digest = machine.storage.objects, hash_bytes(data)
    if objects.get(blob_path(digest), (b"", 0.0))[0] == data:
        return True
    frame = objects.get(blob_path(digest, "zstd"))
    return frame is not None and zstandard.ZstdDecompressor().decompress(frame[0]) == data


def without_damage(machine: Machine) -> None:
    """Take away what was damaged from the beginning and is still there, which a check would tell of."""
    objects = machine.storage.objects
    for data, encoding, stored in THERE:
        name = blob_path(hash_bytes(data), encoding)
        if data in DAMAGED and name in objects and objects[name][0] == stored:
            del objects[name]


def putter(machine: Machine, on: str, name: str, contents: list[bytes], done: set[bytes]) -> None:
    """Somebody on a machine who puts contents, again if a collector takes one meanwhile."""
    movie = opened(machine, on, name)
    together = machine.random.random() < 0.5 and not {*BY_ONE} & {*contents}

    def put(contents: list[bytes]) -> None:
        while True:
            before = machine.timeline.unix_seconds()
            with suppress(StoreUnavailableError):
                blobs = movie.blobs.put_many(contents) if together else [movie.blobs.put(data) for data in contents]
                break
        for blob, data in zip(blobs, contents, strict=True):
            assert is_there(machine, data), f"9: {blob.hash} was put, and is not there"
            machine.promise(blob.hash, before + bounds.GC_GRACE_SECONDS - bounds.YOUNG_SECONDS - 60.0)
            done.add(data)

    def work() -> None:
        if together:
            put(contents)
        else:
            for data in contents:
                put([data])

    machine.scheduler.spawn(name, work)


def put_beside_collectors(machine: Machine) -> Ends:
    """Putters of the same contents on either machine, collectors on one or both."""
    random = machine.random
    contents = random.sample(BY_MANY, random.randint(1, 2))
    fleet_of(machine).in_batches_of(random.choice([1, 500]))
    done: set[bytes] = set()
    first = random.choice(MACHINES)
    for on in MACHINES if random.random() < 0.6 else (first,):
        collector(machine, on)
    for number in range(random.randint(1, 2)):
        putter(machine, random.choice(MACHINES), f"putter {number + 1}", random.sample(contents, len(contents)), done)
    if random.random() < 0.3:
        putter(machine, random.choice(MACHINES), "mender", [random.choice(BY_ONE)], done)

    def end() -> None:
        machine.timeline.pass_by(2 * bounds.SWEEP_SECONDS)
        without_damage(machine)
        movie = settled(machine)
        for data in done:
            assert movie.blobs.read(hash_bytes(data)) == data
        with suppress(StoreUnavailableError):
            collect(movie, force=True)
        for data in done:
            assert movie.blobs.read(hash_bytes(data)) == data

    return end


PUT_APART = Scenario(
    "put_apart",
    unknown_objects,
    put_beside_collectors,
    horizon=120,
    mortals=("collector here", "collector there", "putter 1", "putter 2", "mender"),
    kills=2,
)
