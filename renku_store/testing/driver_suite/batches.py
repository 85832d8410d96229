"""Batches: many new objects that get their names together, and nothing before."""

from __future__ import annotations

import contextlib
import random
from pathlib import Path

import pytest

from renku_store import bounds
from renku_store.drivers.base import Driver
from renku_store.testing.driver_suite.racing import AT_ONCE, at_once

_MANY = 3 * bounds.SYNCFS_MIN_FILES
_CHUNK = random.Random(1).randbytes(bounds.CHUNK_BYTES)  # noqa: S311 (bytes, no secret)


class BatchClaims:
    """What a batch does."""

    @pytest.mark.parametrize("count", [1, _MANY])
    def test_a_batch_names_nothing_before_it_is_committed(self, driver: Driver, count: int) -> None:
        """Then everything at once; a batch can be used again."""
        with driver.batch() as batch:
            for round_ in ("first", "second"):
                for number in range(count):
                    staged = batch.stage()
                    staged.write(b"%d" % number)
                    staged.write(b"!")
                    batch.name(staged, f"{round_}/{number}")
                assert list(driver.list(f"{round_}/")) == []
                assert batch.commit() == frozenset()
                assert {found.name for found in driver.list(f"{round_}/")} == {f"{round_}/{n}" for n in range(count)}
        assert driver.read(f"second/{count - 1}") == b"%d!" % (count - 1)

    def test_leaving_a_batch_discards_what_was_not_committed(self, driver: Driver) -> None:
        """After an error as well as without one."""
        stack = contextlib.ExitStack()
        with driver.batch() as batch:
            batch.name(batch.stage(), "a")
            batch.stage()
        batch = stack.enter_context(driver.batch())
        batch.name(batch.stage(), "b")
        stack.__exit__(ZeroDivisionError, ZeroDivisionError(), None)
        assert list(driver.list("")) == []

    def test_a_batch_leaves_existing_names_alone_and_tells_them(self, driver: Driver) -> None:
        """Of two files for one name within a batch the first stays."""
        driver.create("taken", b"old")
        with driver.batch() as batch:
            for name, data in (("taken", b"new"), ("free", b"one"), ("free", b"two")):
                staged = batch.stage()
                staged.write(data)
                batch.name(staged, name)
            assert batch.commit() == {"taken", "free"}
        assert (driver.read("taken"), driver.read("free")) == (b"old", b"one")

    @pytest.mark.parametrize("count", [1, _MANY])
    def test_whole_objects_are_added_as_those_written_in_pieces_are(self, driver: Driver, count: int) -> None:
        """Together with them, in any number; what is not committed goes, and what exists is left alone and told."""
        driver.create("taken", b"old")
        with driver.batch() as batch:
            for number in range(count):
                batch.add(b"added %d" % number, f"added/{number}")
                staged = batch.stage()
                staged.write(b"pieces")
                batch.name(staged, f"pieces/{number}")
            batch.add(b"new", "taken")
            batch.add(b"another", "added/0")
            assert [found.name for found in driver.list("") if found.name != "taken"] == []
            assert batch.commit() == {"taken", "added/0"}
            for number in range(count):
                batch.add(b"lost", f"lost/{number}")
        found = {found.name for found in driver.list("")}
        assert found == {"taken", *(f"{folder}/{number}" for folder in ("added", "pieces") for number in range(count))}
        assert driver.read("taken") == b"old"
        assert driver.read(f"added/{count - 1}") == b"added %d" % (count - 1)
        assert driver.read(f"pieces/{count - 1}") == b"pieces"

    def test_a_discarded_file_gets_no_name(self, driver: Driver) -> None:
        """Even if it was named already."""
        with driver.batch() as batch:
            kept, dropped = batch.stage(), batch.stage()
            batch.name(kept, "kept")
            batch.name(dropped, "dropped")
            batch.discard(dropped)
            batch.commit()
        assert [found.name for found in driver.list("")] == ["kept"]

    def test_a_staged_file_can_be_read_back(self, driver: Driver) -> None:
        """From its start, while it is being written."""
        with driver.batch() as batch:
            staged = batch.stage()
            staged.write(memoryview(b"abc"))
            staged.write(bytearray(b"def"))
            with staged.read_back() as stream:
                assert stream.read() == b"abcdef"

    def test_a_batch_takes_large_objects_beside_small_ones(self, driver: Driver) -> None:
        """Written in pieces, in turns; read back before and after they have their names."""
        with driver.batch() as batch:
            large, small, dropped = batch.stage(), batch.stage(), batch.stage()
            for number in range(20):
                large.write(memoryview(_CHUNK)[number:])
                small.write(b"%d," % number)
                dropped.write(_CHUNK)
            with large.read_back() as stream:
                assert stream.read(len(_CHUNK)) == _CHUNK
            batch.name(large, "large")
            batch.name(small, "small")
            batch.name(dropped, "dropped")
            batch.discard(dropped)
            assert batch.commit() == frozenset()
            assert batch.commit() == frozenset()
        assert driver.read("large") == b"".join(_CHUNK[number:] for number in range(20))
        assert driver.read("small") == b"".join(b"%d," % number for number in range(20))
        assert len(list(driver.list(""))) == 2

    def test_a_batch_that_was_committed_has_room_again(self, driver: Driver) -> None:
        """Whether it says that it is full or not, it takes everything; an empty one is not full."""
        with driver.batch() as batch:
            assert not batch.full
            for number in range(24):
                staged = batch.stage()
                staged.write(_CHUNK)
                staged.write(_CHUNK[number:])
                batch.name(staged, f"{number}")
            assert batch.commit() == frozenset()
            assert not batch.full
        assert driver.read("23") == _CHUNK + _CHUNK[23:]

    def test_a_staged_file_may_share_the_blocks_of_a_whole_file(self, driver: Driver, tmp_path: Path) -> None:
        """Or say that it cannot, and then has nothing of it; the same on the way back."""
        (tmp_path / "source").write_bytes(_CHUNK)
        with driver.batch() as batch:
            staged = batch.stage()
            if not staged.clone_from(tmp_path / "source"):
                staged.write(_CHUNK)
            batch.name(staged, "x")
            batch.commit()
        assert driver.read("x") == _CHUNK
        (tmp_path / "target").touch()
        cloned = driver.clone_to("x", tmp_path / "target")
        assert (tmp_path / "target").read_bytes() == (_CHUNK if cloned else b"")

    def test_batches_at_once_share_names_without_harm(self, driver: Driver) -> None:
        """Every name appears once, whole, with the bytes of one of those who gave it."""

        def write(number: int) -> frozenset[str]:
            with driver.batch() as batch:
                for place in range(_MANY):
                    staged = batch.stage()
                    staged.write(b"%d" % number * 1_000)
                    batch.name(staged, f"shared/{place}")
                return batch.commit()

        existing = at_once(write)
        for place in range(_MANY):
            data = driver.read(f"shared/{place}")
            assert data in {b"%d" % number * 1_000 for number in range(AT_ONCE)}
            assert sum(f"shared/{place}" in names for names in existing) == AT_ONCE - 1
