"""What every driver has to do, as tests: subclass `DriverSuite` and give it a fixture `driver`."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import pytest

from renku_store import bounds
from renku_store.drivers.base import Driver
from renku_store.errors import BlobMissingError, InvalidIdError, StoreUnavailableError

_MANY = 3 * bounds.SYNCFS_MIN_FILES
_AT_ONCE = 8


def _at_once(action: Callable[[int], bool]) -> list[bool]:
    """Run an action in several threads that start together."""
    barrier = threading.Barrier(_AT_ONCE)

    def run(number: int) -> bool:
        barrier.wait()
        return action(number)

    with ThreadPoolExecutor(_AT_ONCE) as pool:
        return list(pool.map(run, range(_AT_ONCE)))


class DriverSuite:
    """Objects under names, batches, conditional writes, locks. Each test gets an empty, writable `driver`."""

    @pytest.fixture
    def driver(self) -> Driver:
        """An empty driver; given by the subclass."""
        raise NotImplementedError

    def test_a_created_object_is_read_back_whole(self, driver: Driver) -> None:
        """Bytes, size and stream agree, also for no bytes at all."""
        for name, data in (("a.json", b"{}"), ("deep/er/b", bytes(range(256))), ("empty", b"")):
            assert driver.create(name, data)
            assert driver.read(name) == data
            found = driver.stat(name)
            assert found is not None
            assert (found.name, found.size) == (name, len(data))
            with driver.open(name) as stream:
                assert stream.read() == data

    def test_only_the_first_creator_of_a_name_wins(self, driver: Driver) -> None:
        """A second creation answers False and changes nothing."""
        assert driver.create("manifests/rev-0001.json", b"first")
        assert not driver.create("manifests/rev-0001.json", b"second")
        assert driver.read("manifests/rev-0001.json") == b"first"

    def test_of_racing_creators_exactly_one_wins(self, driver: Driver) -> None:
        """The object holds the bytes of the one that was told so."""
        won = _at_once(lambda number: driver.create("rev", b"%d" % number))
        assert won.count(True) == 1
        assert driver.read("rev") == b"%d" % won.index(True)

    def test_a_read_can_be_limited(self, driver: Driver) -> None:
        """At most so many bytes come back; a limit beyond the end is no error."""
        driver.create("x", b"0123456789")
        assert [driver.read("x", limit) for limit in (0, 4, 10, 99)] == [b"", b"0123", b"0123456789", b"0123456789"]

    def test_what_is_not_there_is_named_as_missing(self, driver: Driver) -> None:
        """Reading and opening raise, looking answers None, deleting is no error."""
        for name in ("nothing", "no/where"):
            with pytest.raises(BlobMissingError, match=name):
                driver.read(name)
            with pytest.raises(BlobMissingError, match=name):
                driver.open(name)
            assert driver.stat(name) is None
            driver.delete(name)

    def test_a_folder_is_not_an_object(self, driver: Driver) -> None:
        """The folder of an object can neither be read nor looked at."""
        driver.create("folder/object", b"x")
        assert driver.stat("folder") is None
        with pytest.raises(BlobMissingError):
            driver.read("folder")

    @pytest.mark.parametrize(
        "name", ["", "/etc/x", "../x", "a/../../x", "a/..", ".", "a/./b", "a//b", "a/", "nul\0", "\ud800"]
    )
    def test_names_that_leave_the_root_are_refused(self, driver: Driver, name: str) -> None:
        """Absolute names, dots, empty parts and what no file system can hold are refused by every operation."""
        for operation in (driver.read, driver.open, driver.stat, driver.delete):
            with pytest.raises(InvalidIdError):
                operation(name)
        with pytest.raises(InvalidIdError):
            driver.create(name, b"")
        with pytest.raises(InvalidIdError):
            driver.replace(name, b"")

    @pytest.mark.parametrize("name", ["a..b", "...", ".hidden", "a b/ü", "x\ny", "rev-0001.json"])
    def test_unusual_names_are_names(self, driver: Driver, name: str) -> None:
        """Dots within a part, blanks and letters beyond ASCII are nothing special."""
        driver.replace(name, b"x")
        assert driver.read(name) == b"x"
        assert [found.name for found in driver.list("")] == [name]

    def test_replacing_needs_no_predecessor(self, driver: Driver) -> None:
        """The newest bytes are read back."""
        driver.replace("current.json", b"1")
        driver.replace("current.json", b"22")
        assert driver.read("current.json") == b"22"

    def test_a_deleted_object_is_gone_and_its_name_free(self, driver: Driver) -> None:
        """It can be created again."""
        driver.create("x", b"1")
        driver.delete("x")
        assert driver.stat("x") is None
        assert driver.create("x", b"2")

    def test_a_swap_needs_the_expected_bytes(self, driver: Driver) -> None:
        """None expects that there is no object."""
        assert not driver.compare_and_swap("pointer", b"old", b"new")
        assert driver.compare_and_swap("pointer", None, b"one")
        assert not driver.compare_and_swap("pointer", None, b"two")
        assert not driver.compare_and_swap("pointer", b"two", b"three")
        assert driver.compare_and_swap("pointer", b"one", b"two")
        assert driver.read("pointer") == b"two"

    def test_no_swap_is_lost_among_racing_writers(self, driver: Driver) -> None:
        """A counter that many threads raise by swapping ends at the number of raises."""
        driver.create("counter", b"0")

        def raise_it(_: int) -> bool:
            for _ in range(5):
                while not driver.compare_and_swap("counter", seen := driver.read("counter"), b"%d" % (int(seen) + 1)):
                    pass
            return True

        _at_once(raise_it)
        assert driver.read("counter") == b"%d" % (5 * _AT_ONCE)

    def test_a_listing_holds_every_object_below_a_folder(self, driver: Driver) -> None:
        """With sizes; folders are not objects, and `children` tells one from the other."""
        for name in ("a/1", "a/b/2", "c", "ab"):
            driver.create(name, name.encode())
        assert {(found.name, found.size) for found in driver.list("")} == {
            ("a/1", 3),
            ("a/b/2", 5),
            ("c", 1),
            ("ab", 2),
        }
        assert {found.name for found in driver.list("a/")} == {"a/1", "a/b/2"}
        assert set(driver.children("a/")) == {"1", "b/"}
        assert [*driver.list("nowhere/"), *driver.children("nowhere/")] == []

    def test_temporary_and_lock_files_are_not_objects(self, driver: Driver) -> None:
        """A listing of everything holds objects only, also while a batch is open and a lock held."""
        with driver.lock("writer", wait_seconds=1), driver.batch() as batch:
            batch.stage().write(b"x")
            driver.scratch()
            assert list(driver.list("")) == []

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

    def test_an_object_moves_to_a_free_name_only(self, driver: Driver) -> None:
        """What is not there does not move, what is taken is not overwritten."""
        driver.create("a", b"1")
        driver.create("b", b"2")
        assert not driver.move("a", "b")
        assert not driver.move("nothing", "c")
        assert driver.move("a", "quarantine/a")
        assert {(found.name, found.size) for found in driver.list("")} == {("b", 1), ("quarantine/a", 1)}
        driver.settle(["b", "quarantine/a"])

    def test_an_exclusive_lock_excludes_and_names_its_holder(self, driver: Driver) -> None:
        """Also within one process; who waits in vain is told which process holds it."""
        with driver.lock("writer", wait_seconds=0):
            for shared in (False, True):
                with (
                    pytest.raises(StoreUnavailableError, match="held by process"),
                    driver.lock("writer", shared=shared, wait_seconds=0.01),
                ):
                    pytest.fail("Two held an exclusive lock.")
            with driver.lock("another", wait_seconds=0):
                pass
        with driver.lock("writer", wait_seconds=0):
            pass

    def test_shared_locks_are_held_together(self, driver: Driver) -> None:
        """And keep an exclusive one out until the last has gone."""
        with driver.lock("open", shared=True, wait_seconds=0):
            with driver.lock("open", shared=True, wait_seconds=0):
                pass
            with pytest.raises(StoreUnavailableError), driver.lock("open", wait_seconds=0):
                pytest.fail("An exclusive lock was held beside a shared one.")
        with driver.lock("open", wait_seconds=0):
            pass

    def test_a_lock_is_free_after_an_error(self, driver: Driver) -> None:
        """Whatever ended the block that held it."""
        with pytest.raises(ZeroDivisionError), driver.lock("writer", wait_seconds=0):
            raise ZeroDivisionError
        with driver.lock("writer", wait_seconds=0):
            pass

    def test_at_most_one_thread_at_a_time_holds_a_lock(self, driver: Driver) -> None:
        """All of them get it in the end."""
        inside: list[int] = []

        def hold(number: int) -> bool:
            with driver.lock("writer", wait_seconds=30):
                inside.append(number)
                alone = len(inside) == 1
                inside.remove(number)
            return alone

        assert all(_at_once(hold))

    def test_a_sub_driver_sees_the_same_storage_from_a_folder(self, driver: Driver) -> None:
        """In both directions, with names of its own."""
        sub = driver.sub("movie")
        sub.create("format.json", b"{}")
        driver.create("movie/current.json", b"[]")
        assert driver.read("movie/format.json") == b"{}"
        assert {found.name for found in sub.list("")} == {"format.json", "current.json"}
        assert "movie/" in driver.children("")
        with pytest.raises(InvalidIdError):
            driver.sub("../elsewhere")

    def test_the_scratch_folder_is_there_and_local(self, driver: Driver) -> None:
        """Files can be made in it."""
        folder = driver.scratch()
        (folder / "x").write_bytes(b"x")
        assert driver.scratch() == folder

    def test_the_guarantees_hold_that_the_protocols_rest_on(self, driver: Driver) -> None:
        """A driver under test has all of them and is writable."""
        found = driver.guarantees
        assert found.atomic_create
        assert found.compare_and_swap
        assert found.strong_listing
        assert not driver.read_only
