"""What every driver has to do, as tests: subclass `DriverSuite` and give it a fixture `driver`.

What a driver does not promise is not asked of it: `driver.guarantees` says what it does. For assertions that tell more,
let pytest rewrite them: `pytest.register_assert_rewrite("renku_store.testing.driver_suite")` in a `conftest.py`.
"""

from __future__ import annotations

import pytest

from renku_store.drivers.base import Driver
from renku_store.testing.driver_suite.batches import BatchClaims
from renku_store.testing.driver_suite.listing import ListingClaims
from renku_store.testing.driver_suite.locks import LockClaims
from renku_store.testing.driver_suite.objects import ObjectClaims
from renku_store.testing.driver_suite.places import PlaceClaims
from renku_store.testing.driver_suite.reading import ReadingClaims


class DriverSuite(ObjectClaims, ReadingClaims, ListingClaims, BatchClaims, LockClaims, PlaceClaims):
    """Objects under names, streams, listings, batches, locks. Each test gets an empty, writable `driver` of its own."""

    @pytest.fixture
    def driver(self) -> Driver:
        """An empty driver; given by the subclass."""
        raise NotImplementedError
