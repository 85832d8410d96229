"""A store to migrate into, and a folder of the older layout to write by hand."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from renku_store import Store, open_store
from tests.migration.checking import Old


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    """An empty build root."""
    with open_store(tmp_path / "root") as opened:
        yield opened


@pytest.fixture
def old(tmp_path: Path) -> Old:
    """A movie in revision folders, empty but for its metadata."""
    return Old(tmp_path / "film")
