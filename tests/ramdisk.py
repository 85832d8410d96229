"""Folders in memory, for tests that sync a lot and do not ask what a disk does, such as those that kill processes."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

_MEMORY: Final = Path("/dev/shm")
_ENOUGH_BYTES: Final = 1 << 30
"""Containers may have 64 MiB there: then the disk is used."""


@contextmanager
def fast_folder() -> Iterator[Path]:
    """An empty folder in memory where the system has room for it, else on disk; it is removed in the end."""
    there = _MEMORY.is_dir() and shutil.disk_usage(_MEMORY).free >= _ENOUGH_BYTES
    with tempfile.TemporaryDirectory(prefix="renku-tests-", dir=_MEMORY if there else None) as folder:
        yield Path(folder)
