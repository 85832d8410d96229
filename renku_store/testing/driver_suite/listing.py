"""Listings: of folders, of many objects, beside writers; and what is asked or removed of many at once."""

from __future__ import annotations

from renku_store.drivers.base import Driver
from renku_store.testing.driver_suite.racing import at_once

_MANY = 1_050
"""More than one page or one request of an object storage holds."""
_DEEP = 40
_EACH = 15


class ListingClaims:
    """What listings hold."""

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

    def test_a_folder_may_be_called_like_those_of_temporary_and_lock_files(self, driver: Driver) -> None:
        """It is shown beside others, and seen from within it holds its objects: any folder may be a movie."""
        for name in ("tmp", "locks"):
            assert driver.sub(name).create("format.json", b"{}")
            assert f"{name}/" in set(driver.children(""))
            assert driver.sub(name).read("format.json") == driver.read(f"{name}/format.json") == b"{}"
            assert [found.name for found in driver.sub(name).list("")] == ["format.json"]

    def test_names_may_lie_deep(self, driver: Driver) -> None:
        """Every level lists the next one; a name that only begins like a folder is not in it."""
        folder = "".join(f"level-{number}/" for number in range(_DEEP))
        driver.create(f"{folder}object", b"x")
        driver.create(f"{folder.rstrip('/')}-not", b"y")
        driver.create("level", b"z")
        assert [found.name for found in driver.list(folder)] == [f"{folder}object"]
        for number in range(_DEEP - 1):
            level = "".join(f"level-{above}/" for above in range(number))
            assert f"level-{number}/" in set(driver.children(level))
        assert {found.name for found in driver.list("level-0/")} == {f"{folder}object", f"{folder.rstrip('/')}-not"}

    def test_a_listing_beside_writers_holds_what_was_there(self, driver: Driver) -> None:
        """Whatever others create and delete meanwhile, and never what nobody wrote."""
        there = {f"there/{number}" for number in range(_EACH)}
        passing = {f"passing/{number}-{round_}" for number in range(8) for round_ in range(_EACH)}
        for name in there:
            driver.create(name, b"x")

        def write_or_list(number: int) -> bool:
            for round_ in range(_EACH):
                if number % 2:
                    driver.create(f"passing/{number}-{round_}", b"y")
                    driver.delete(f"passing/{number}-{round_}")
                else:
                    found = {stat.name for stat in driver.list("")}
                    children = set(driver.children("there/"))
                    if not (there <= found <= there | passing and children == {str(n) for n in range(_EACH)}):
                        return False
            return True

        assert all(at_once(write_or_list))
        assert {stat.name for stat in driver.list("")} == there

    def test_many_objects_are_listed_looked_at_and_deleted(self, driver: Driver) -> None:
        """More than any storage gives in one answer; those that are not there are left out, and are no error."""
        names = [f"many/{number % 7}/{number:05d}" for number in range(_MANY)]
        with driver.batch() as batch:
            for number, name in enumerate(names):
                staged = batch.stage()
                staged.write(b"x" * (number % 5))
                batch.name(staged, name)
            assert batch.commit() == frozenset()
        assert {found.name: found.size for found in driver.list("")} == {
            name: number % 5 for number, name in enumerate(names)
        }
        assert len(list(driver.children("many/3/"))) == _MANY // 7
        found = driver.stat_many(name for name in [*names, "nothing", "many", *names[:3]])
        assert {name: stat.size for name, stat in found.items()} == {name: n % 5 for n, name in enumerate(names)}
        assert found[names[0]] == driver.stat(names[0])
        assert driver.among(name for name in [*names, "nothing", "many", *names[:3]]) == set(names)
        read = driver.read_many(name for name in [*names, "nothing", "many", *names[:3]])
        assert read == {name: b"x" * (number % 5) for number, name in enumerate(names)}
        assert driver.read_many([names[4], "nothing"], limit=2) == {names[4]: b"xx"}
        assert driver.read_many([]) == {}
        driver.delete_many(name for name in ["nothing", *names[1:], names[1]])
        assert [stat.name for stat in driver.list("")] == names[:1]
        assert driver.stat_many([]) == {}
        driver.delete_many([])
