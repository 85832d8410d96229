"""S3 through obstore: the shared suite on real servers."""

from __future__ import annotations

from pathlib import Path

import pytest

from renku_store.drivers.objects.driver import ObjectDriver
from renku_store.drivers.objects.obstore_client import ObstoreClient
from renku_store.drivers.objects.options import S3Place
from renku_store.testing.driver_suite import DriverSuite
from tests.drivers.servers import credentials


def obstore_driver(place: S3Place, workspace: Path) -> ObjectDriver:
    """A driver for a place through obstore."""
    return ObjectDriver(
        ObstoreClient(place, credentials=credentials), url=place.url, prefix=place.prefix, workspace=workspace
    )


class TestObstoreOnSeaweedFS(DriverSuite):
    """The suite, on SeaweedFS."""

    @pytest.fixture
    def driver(self, seaweed_place: S3Place, tmp_path: Path) -> ObjectDriver:
        return obstore_driver(seaweed_place, tmp_path / "workspace")


class TestObstoreOnMoto(DriverSuite):
    """The suite, on moto's server."""

    @pytest.fixture
    def driver(self, moto_place: S3Place, tmp_path: Path) -> ObjectDriver:
        return obstore_driver(moto_place, tmp_path / "workspace")
