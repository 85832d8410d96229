"""A database on disk, and one in memory."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from renku_store.metadata.sqlite import SqliteMetadata, open_sqlite


@pytest.fixture
def path(tmp_path: Path) -> Path:
    folder = tmp_path / "movie"
    folder.mkdir()
    return folder / "metadata.db"


@pytest.fixture
def store(path: Path) -> Iterator[SqliteMetadata]:
    opened = open_sqlite(path, busy_seconds=20)
    yield opened
    opened.close()


@pytest.fixture
def memory() -> Iterator[SqliteMetadata]:
    opened = open_sqlite(Path(":memory:"))
    yield opened
    opened.close()
