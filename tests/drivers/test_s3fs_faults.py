"""The claims about a network that fails, as for the other client, with s3fs behind the proxy."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path

import pytest

from renku_store.drivers.objects.driver import ObjectDriver
from renku_store.drivers.objects.options import S3Place
from renku_store.drivers.objects.s3fs_client import S3fsClient
from tests.drivers import test_s3_faults as faults
from tests.drivers.proxy import Proxy
from tests.drivers.servers import behind
from tests.drivers.test_s3 import obstore_driver

pytestmark = [pytest.mark.long, pytest.mark.usefixtures("short_pauses")]

_SILENCE_SECONDS = 1.5
"""s3fs takes longer for what it does itself."""


@pytest.fixture
def storage(seaweed_place: S3Place, tmp_path: Path) -> Iterator[faults.Storage]:
    """An empty root on SeaweedFS, through s3fs, seen past the proxy through obstore."""
    assert seaweed_place.endpoint is not None
    with Proxy(int(seaweed_place.endpoint.rpartition(":")[2])) as proxy, contextlib.ExitStack() as stack:
        far = behind(seaweed_place, proxy.endpoint)

        def driver(client: S3fsClient, folder: str) -> ObjectDriver:
            made = ObjectDriver(client, url=far.url, prefix=far.prefix, workspace=tmp_path / folder)
            return stack.enter_context(contextlib.closing(made))

        patient = driver(S3fsClient(far), "workspace")
        hasty = driver(S3fsClient(far, read_seconds=_SILENCE_SECONDS), "hasty")
        yield faults.Storage(patient, hasty, obstore_driver(seaweed_place, tmp_path / "direct"), proxy)


test_one_failure_is_made_up_for = faults.test_one_failure_is_made_up_for
test_no_swap_is_lost_or_doubled_among_racing_writers = faults.test_no_swap_is_lost_or_doubled_among_racing_writers
test_of_racing_creators_one_wins_whatever_replies_are_lost = (
    faults.test_of_racing_creators_one_wins_whatever_replies_are_lost
)
test_an_outcome_that_cannot_be_known_is_said_to_be_unknown = (
    faults.test_an_outcome_that_cannot_be_known_is_said_to_be_unknown
)
