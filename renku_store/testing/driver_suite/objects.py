"""Single objects: created once, replaced whole, swapped, moved, removed; and which names there may be."""

from __future__ import annotations

import pytest

from renku_store.drivers.base import Driver
from renku_store.errors import BlobMissingError, InvalidIdError
from renku_store.testing.driver_suite.racing import AT_ONCE, at_once

_WHOLE = 100_000
_ROUNDS = 20


class ObjectClaims:
    """What one object does."""

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
        won = at_once(lambda number: driver.create("rev", b"%d" % number))
        assert won.count(True) == 1
        assert driver.read("rev") == b"%d" % won.index(True)

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
        with pytest.raises(InvalidIdError):
            driver.compare_and_swap(name, None, b"")
        for many in (driver.stat_many, driver.among, driver.read_many, driver.delete_many):
            with pytest.raises(InvalidIdError):
                many(["fine", name])
        with pytest.raises(InvalidIdError):
            driver.move("x", name)
        assert list(driver.list("")) == []

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

        at_once(raise_it)
        assert driver.read("counter") == b"%d" % (5 * AT_ONCE)

    def test_an_object_moves_to_a_free_name_only(self, driver: Driver) -> None:
        """What is not there does not move, what is taken is not overwritten."""
        driver.create("a", b"1")
        driver.create("b", b"2")
        assert not driver.move("a", "b")
        assert not driver.move("nothing", "c")
        assert driver.move("a", "quarantine/a")
        assert {(found.name, found.size) for found in driver.list("")} == {("b", 1), ("quarantine/a", 1)}
        driver.settle(["b", "quarantine/a"])

    def test_of_racing_swaps_of_nothing_exactly_one_wins(self, driver: Driver) -> None:
        """The object holds the bytes of the one that was told so."""
        won = at_once(lambda number: driver.compare_and_swap("current.json", None, b"%d" % number))
        assert won.count(True) == 1
        assert driver.read("current.json") == b"%d" % won.index(True)

    def test_a_swap_for_the_same_bytes_is_one(self, driver: Driver) -> None:
        """It says that the bytes were those expected, and still are."""
        driver.create("pointer", b"same")
        assert driver.compare_and_swap("pointer", b"same", b"same")
        assert not driver.compare_and_swap("pointer", b"other", b"same again")
        assert driver.read("pointer") == b"same"

    def test_a_replacement_is_never_half_seen(self, driver: Driver) -> None:
        """Whoever reads meanwhile gets one version, whole."""
        driver.create("x", b"0" * _WHOLE)

        def replace_or_read(number: int) -> bool:
            for _ in range(_ROUNDS):
                if number % 2:
                    driver.replace("x", b"%d" % number * _WHOLE)
                elif len(data := driver.read("x")) != _WHOLE or set(data) != {data[0]}:
                    return False
            return True

        assert all(at_once(replace_or_read))

    def test_times_are_unix_seconds_that_do_not_go_back(self, driver: Driver) -> None:
        """An object that was written, or renewed, after another is not older; renewing leaves the bytes alone."""
        driver.create("first", b"1")
        driver.create("second", b"2")
        before = driver.stat_many(["first", "second"])
        assert 1_500_000_000 < before["first"].modified <= before["second"].modified
        driver.renew("first")
        renewed = driver.stat("first")
        assert renewed is not None
        assert renewed.modified >= before["second"].modified
        assert (driver.read("first"), renewed.size) == (b"1", 1)

    def test_what_is_not_there_cannot_be_renewed(self, driver: Driver) -> None:
        """It is no error, and makes nothing."""
        driver.renew("nothing")
        assert list(driver.list("")) == []
