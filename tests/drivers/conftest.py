"""What tests of drivers share; and the assertions of the shared suite are made as telling as those of a test file."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from renku_store import bounds
from tests.drivers.proxy import Proxy
from tests.drivers.servers import Server

pytest.register_assert_rewrite("renku_store.testing.driver_suite")


@pytest.fixture
def short_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    """Failures of a server are told soon."""
    monkeypatch.setattr(bounds, "OBJECT_FIRST_PAUSE_SECONDS", 0.002)
    monkeypatch.setattr(bounds, "OBJECT_PAUSE_MAX_SECONDS", 0.02)


@pytest.fixture
def proxy(seaweed: Server) -> Iterator[Proxy]:
    """A proxy before SeaweedFS."""
    with Proxy(seaweed.port) as made:
        yield made
