"""A desk to call producers from."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.producers.calling import Desk


@pytest.fixture
def desk(tmp_path: Path) -> Desk:
    """Calls in folders below the test's own."""
    return Desk(tmp_path / "calls")
