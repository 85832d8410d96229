"""Locks: exclusive or shared, freed whatever happens, and by whom they are held."""

from __future__ import annotations

import pytest

from renku_store.drivers.base import Driver
from renku_store.errors import StoreUnavailableError
from renku_store.testing.driver_suite.racing import at_once


class LockClaims:
    """What a lock does among threads of one process."""

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

        assert all(at_once(hold))

    def test_a_lock_belongs_to_its_folder(self, driver: Driver) -> None:
        """The same name in another folder is another lock; the same folder gives the same one."""
        with driver.sub("film").lock("writer", wait_seconds=0):
            with driver.lock("writer", wait_seconds=0), driver.sub("other").lock("writer", wait_seconds=0):
                pass
            with (
                pytest.raises(StoreUnavailableError) as caught,
                driver.sub("film").lock("writer", wait_seconds=0),
            ):
                pytest.fail("Two held an exclusive lock.")
        assert caught.value.reason == "busy"
