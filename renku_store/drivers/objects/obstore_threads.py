"""The threads that obstore has in a process; a process that is forked from it has none of them."""

from __future__ import annotations

import os

from renku_store.errors import StoreUnavailableError

_process: int | None = None
"""Which process the threads run in."""


def check_process() -> None:
    """Refuse, rather than wait for ever, in a process that was forked from one in which the threads run."""
    global _process  # noqa: PLW0603
    if _process is None:
        _process = os.getpid()
    elif _process != os.getpid():
        raise StoreUnavailableError(
            "S3 cannot be used in a process that was forked from one that has used it.",
            hint="Start processes by spawning them (multiprocessing: the method 'spawn'), or open s3+fsspec:// roots.",
        )
