"""Removing many files: side by side where there are many, for a file system waits for its journal with each.

A removal is one call without Python's lock: four at a time take half as long as one by one (benchmarks/gc).
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterable
from typing import TYPE_CHECKING, Final

from renku_store.durability import step
from renku_store.late import late_module

if TYPE_CHECKING:
    from concurrent import futures
else:
    futures = late_module("concurrent.futures")

_THREADS: Final = 4
_SHARE_MIN_FILES: Final = 32
"""Fewer for each thread are removed sooner than threads are started."""


def remove_all(paths: Iterable[str]) -> None:
    """Remove files; no error for what is not there. Raises the first `OSError`; what follows it in its share stays."""
    given = list(paths)
    share = -(-len(given) // _THREADS)
    if share < _SHARE_MIN_FILES:
        _remove(given)
        return
    with futures.ThreadPoolExecutor(_THREADS, thread_name_prefix="remove") as pool:
        # None is given up because another failed: the executor's own `map` would.
        shares = [pool.submit(_remove, given[start : start + share]) for start in range(0, len(given), share)]
    for done in shares:
        done.result()


def _remove(paths: Iterable[str]) -> None:
    for path in paths:
        with contextlib.suppress(FileNotFoundError), step("object delete"):
            os.unlink(path)
