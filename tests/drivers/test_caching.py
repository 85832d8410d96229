"""The read cache of this machine: its limit, what goes first, parts, damage, and many processes at once."""

from __future__ import annotations

import io
import itertools
import logging
import random
import signal
from contextlib import closing
from pathlib import Path

import pytest
from blake3 import blake3
from hypothesis import given, settings
from hypothesis import strategies as st

from renku_store import bounds
from renku_store.drivers.caching.cache import ObjectCache
from renku_store.drivers.caching.ledger import Ledger, blocks
from renku_store.drivers.caching.parts import Part
from tests import children

CHUNK = bounds.CHUNK_BYTES
_BLOCK = bounds.CACHE_BLOCK_BYTES
_DATA = random.Random(5).randbytes(2 * CHUNK + 12_345)


def taken(folder: Path) -> int:
    """What the files of a cache take."""
    return sum(blocks(path.stat().st_size) for path in folder.rglob("*") if path.is_file() and path.parent != folder)


def files(folder: Path) -> set[str]:
    """The names of the files of a cache."""
    return {path.name for path in folder.rglob("*") if path.is_file() and path.parent != folder}


def new_cache(folder: Path, max_bytes: int = 100 * CHUNK) -> ObjectCache:
    """A cache whose every use has a time of its own."""
    return ObjectCache(folder, max_bytes, now_ns=itertools.count(1_000_000_000_000_000_000, 1_000_000).__next__)


def begun(cache: ObjectCache, name: str, size: int, *, resume: bool = True) -> Part:
    """A part that nobody else has."""
    part = cache.begin(name, size, resume=resume)
    assert part is not None
    return part


_STEPS = st.lists(
    st.tuples(
        st.sampled_from(["keep", "keep", "read", "part", "drop", "hold"]), st.integers(0, 7), st.integers(0, 40_000)
    ),
    max_size=40,
)


@given(steps=_STEPS)
def test_the_limit_holds_after_every_step(tmp_path_factory: pytest.TempPathFactory, steps: list[tuple]) -> None:
    """Files never take more than the limit nor than is noted, and what is here has its right bytes."""
    folder = tmp_path_factory.mktemp("cache")
    cache, limit = new_cache(folder, 16 * _BLOCK), 16 * _BLOCK
    held = []
    for kind, number, size in steps:
        name, data = f"{number:02}-{size}", bytes([number]) * size
        if kind == "keep":
            cache.keep(name, data)
        elif kind == "drop":
            cache.drop(name)
        elif kind == "read":
            assert cache.read(name) in {None, data}
        elif (part := cache.begin(name, size)) is not None:
            part.append(data)
            if kind == "part":
                part.close()
            else:
                held.append(part)
        assert taken(folder) <= limit
        assert cache.used_bytes() >= taken(folder)
    for part in held:
        part.close()


@given(uses=st.lists(st.integers(0, 11), max_size=30), size=st.integers(1, 9_000))
def test_what_was_used_least_recently_goes_first(
    tmp_path_factory: pytest.TempPathFactory, uses: list[int], size: int
) -> None:
    """Nothing that is gone was used later than something that is here; what was just kept is here."""
    folder = tmp_path_factory.mktemp("cache")
    cache = new_cache(folder, 20 * _BLOCK)
    last: dict[str, int] = {}
    for moment, number in enumerate(uses):
        name = f"{number:02}"
        cache.keep(name, b"x" * size)
        assert cache.read(name) == b"x" * size
        last[name] = moment
    here = files(folder)
    assert all(last[gone] < last[name] for gone in last.keys() - here for name in here)


def test_an_object_of_more_than_half_of_the_limit_is_not_kept(tmp_path: Path) -> None:
    """It would push everything else out."""
    cache = new_cache(tmp_path, 20 * _BLOCK)
    cache.keep("small", b"x")
    cache.keep("large", bytes(11 * _BLOCK))
    assert cache.begin("large", 11 * _BLOCK) is None
    assert (cache.read("small"), cache.read("large")) == (b"x", None)


def test_an_object_appears_when_it_is_finished(tmp_path: Path) -> None:
    """Not before, though all of its bytes are there."""
    cache = new_cache(tmp_path)
    part = cache.begin("film", len(_DATA))
    assert part is not None
    for at in range(0, len(_DATA), CHUNK):
        assert part.append(_DATA[at : at + CHUNK])
    assert cache.read("film") is None
    part.finish()
    assert cache.read("film") == _DATA
    assert files(tmp_path) == {"film"}


def test_a_part_goes_on_where_it_was_cut_off(tmp_path: Path) -> None:
    """With the chunks that are whole; a torn one, and a damaged one with all that follow, are written again."""
    cache = new_cache(tmp_path)
    for damage in (None, -1, CHUNK + 1_000, 1_000):
        with closing(begun(cache, "film", len(_DATA), resume=False)) as part:
            assert part.append(_DATA[:CHUNK])
            assert part.append(_DATA[CHUNK : 2 * CHUNK])
        (path,) = tmp_path.rglob("film.part")
        content = bytearray(path.read_bytes())
        if damage == -1:
            del content[-1]
        elif damage is not None:
            content[damage] ^= 1
        path.write_bytes(content)
        part = begun(cache, "film", len(_DATA))
        read = [chunk for number in range(3) if (chunk := part.chunk(number)) is not None and part.chunks > number]
        assert part.chunks == {None: 2, -1: 1, CHUNK + 1_000: 1, 1_000: 0}[damage]
        assert read[: part.chunks] == [_DATA[:CHUNK], _DATA[CHUNK : 2 * CHUNK]][: part.chunks]
        for at in range(part.chunks * CHUNK, len(_DATA), CHUNK):
            assert part.append(_DATA[at : at + CHUNK])
        part.finish()
        assert cache.read("film") == _DATA
        cache.drop("film")


def test_a_part_of_another_size_is_begun_anew(tmp_path: Path) -> None:
    """It is of another object, or of the same in another form."""
    cache = new_cache(tmp_path)
    with closing(begun(cache, "film", len(_DATA))) as part:
        assert part.append(_DATA[:CHUNK])
    with closing(begun(cache, "film", len(_DATA) + 1)) as part:
        assert part.chunks == 0


def test_a_part_in_use_is_neither_taken_up_nor_removed(tmp_path: Path) -> None:
    """Nobody else gets it, and room is made with other things only."""
    cache = new_cache(tmp_path, 24 * _BLOCK)
    part = cache.begin("mine", 8 * _BLOCK)
    assert part is not None
    assert part.append(bytes(8 * _BLOCK))
    assert ObjectCache(tmp_path, 24 * _BLOCK).begin("mine", 8 * _BLOCK) is None
    for number in range(40):
        cache.keep(f"{number:02}", bytes(3 * _BLOCK))
    part.finish()
    assert cache.read("mine") == bytes(8 * _BLOCK)


def test_parts_that_nobody_uses_make_room(tmp_path: Path) -> None:
    """Those of killed processes do not stay for ever."""
    cache = new_cache(tmp_path, 24 * _BLOCK)
    with closing(begun(cache, "left", 8 * _BLOCK)) as part:
        assert part.append(bytes(8 * _BLOCK))
    for number in range(40):
        cache.keep(f"{number:02}", bytes(3 * _BLOCK))
    assert not any(name.endswith(".part") for name in files(tmp_path))


def test_an_open_object_stays_readable_when_it_makes_room(tmp_path: Path) -> None:
    """Whoever has opened it reads on."""
    cache = new_cache(tmp_path, 24 * _BLOCK)
    cache.keep("first", b"right" * 1_000)
    records = cache.open("first")
    assert records is not None
    with closing(records):
        for number in range(40):
            cache.keep(f"{number:02}", bytes(3 * _BLOCK))
        assert "first" not in files(tmp_path)
        assert records.chunk(0) == b"right" * 1_000


@settings(max_examples=30)
@given(place=st.integers(0, 2 * CHUNK + 12_000), how=st.sampled_from(["flip", "cut", "zeros"]))
def test_damage_is_never_handed_over(tmp_path_factory: pytest.TempPathFactory, place: int, how: str) -> None:
    """Wherever it is: the object is dropped instead."""
    folder = tmp_path_factory.mktemp("cache")
    cache = new_cache(folder)
    cache.keep("film", _DATA)
    path = folder / "fi" / "film"
    whole = path.read_bytes()
    broken = {
        "flip": whole[:place] + bytes([whole[place] ^ 1]) + whole[place + 1 :],
        "cut": whole[:place],
        "zeros": whole[:place] + bytes(len(whole) - place),
    }[how]
    path.write_bytes(broken)
    assert cache.read("film") is None
    assert not path.exists()
    cache.keep("film", _DATA)
    assert cache.read("film") == _DATA


def test_an_object_under_another_name_is_none(tmp_path: Path) -> None:
    """A file that somebody renamed is not what it was."""
    cache = new_cache(tmp_path)
    cache.keep("first", b"first")
    (tmp_path / "fi" / "first").rename(tmp_path / "fi" / "fifth")
    assert cache.read("fifth") is None


def test_a_file_that_changes_meanwhile_is_not_kept(tmp_path: Path) -> None:
    """Its bytes are not what the name says."""
    cache = new_cache(tmp_path)
    right = blake3(_DATA).digest()
    for data in (_DATA[:-1] + b"!", _DATA[:-1]):
        hasher = blake3()

        def is_right(chunk: bytes, hasher: blake3 = hasher) -> bool:
            hasher.update(chunk)
            return hasher.digest() == right

        cache.keep_file("film", io.BytesIO(data), len(_DATA), is_right)
        assert files(tmp_path) <= {"film.part"}
    assert cache.read("film") is None


def test_a_folder_that_cannot_be_written_is_told_once(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """And keeps nobody from anything."""
    (tmp_path / "file").write_bytes(b"")
    cache = new_cache(tmp_path / "file" / "cache")
    with caplog.at_level(logging.WARNING, "renku_store"):
        for number in range(3):
            cache.keep(f"name-{number}", b"x")
            assert cache.begin("film", 9) is None
            assert cache.read(f"name-{number}") is None
            cache.drop(f"name-{number}")
    assert len(caplog.records) == 1
    assert cache.used_bytes() == 0


_ON_A_FULL_DISK = """
import resource, sys
from pathlib import Path
from renku_store.drivers.caching.cache import ObjectCache
resource.setrlimit(resource.RLIMIT_FSIZE, (300_000, 300_000))
cache = ObjectCache(Path(sys.argv[1]), 100_000_000)
cache.keep("large", bytes(1_000_000))
part = cache.begin("other", 1_000_000)
print(cache.read("large"), part, cache.read("kept") == b"x")
"""


def test_what_does_not_fit_on_the_disk_is_not_kept(tmp_path: Path) -> None:
    """Then nothing more is written; what is here can be read."""
    ObjectCache(tmp_path, 100_000_000).keep("kept", b"x")
    ended = children.run(_ON_A_FULL_DISK, tmp_path)
    assert (ended.code, ended.out) == (0, "None None True\n")
    assert ended.err.count("nothing more is kept") == 1


_KEEPER = """
import random, sys
from pathlib import Path
from renku_store.drivers.caching.cache import ObjectCache
random.seed(int(sys.argv[2]))
cache = ObjectCache(Path(sys.argv[1]), 64 * 4096)
print("begun", flush=True)
while True:
    number = random.randrange(60)
    name, data = f"{number:02}", bytes([number]) * (number * 400)
    if random.random() < 0.5:
        cache.keep(name, data)
    elif (part := cache.begin(name, len(data))) is not None:
        part.append(data)
        part.finish()
    read = cache.read(name)
    if read not in (None, data):
        sys.exit(f"{name} is wrong")
"""


def test_processes_that_are_killed_leave_the_limit_and_right_bytes(tmp_path: Path) -> None:
    """Three at a time write, read and make room; whatever one is killed in, what is here stays right and bounded."""
    for turn in range(3):
        crowd = [children.start(_KEEPER, tmp_path, 10 * turn + number) for number in range(3)]
        for child in crowd:
            assert child.stdout is not None
            assert child.stdout.readline() == "begun\n"
        ledger = Ledger(tmp_path, 64 * _BLOCK)
        for _ in range(30):
            with ledger.alone() as account:  # who looks while others write counts what has gone, too
                assert account is None or taken(tmp_path) <= min(ledger.noted(), 64 * _BLOCK)
        for child in crowd:
            child.send_signal(signal.SIGKILL)
        ended = [children.finish(child) for child in crowd]
        assert [one.code for one in ended] == [-signal.SIGKILL] * 3, [one.err for one in ended]
        cache = ObjectCache(tmp_path, 64 * _BLOCK)
        assert taken(tmp_path) <= min(cache.used_bytes(), 64 * _BLOCK)
        for number in range(60):
            assert cache.read(f"{number:02}") in {None, bytes([number]) * (number * 400)}
