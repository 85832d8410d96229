"""Where this machine keeps what belongs to no root: databases and blobs of remote ones, limits of providers."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

from renku_store.drivers.urls import checked_path
from renku_store.errors import InvalidValueError


def cache_folder(cache: str | os.PathLike[str] | None, environment: Mapping[str, str]) -> Path:
    """`renku-store` in `cache`, else in `$RENKU_STORE_CACHE`, `$XDG_CACHE_HOME` or `~/.cache`; not made.

    Raises `InvalidValueError` where that is in the home of a user who has none.
    """
    kept = cache or environment.get("RENKU_STORE_CACHE") or environment.get("XDG_CACHE_HOME") or "~/.cache"
    path = os.path.expanduser(checked_path(os.fspath(kept)))
    if path.startswith("~"):
        raise InvalidValueError(
            f"There is no folder for the cache: {path} names a home folder, and this user has none.",
            hint="Set RENKU_STORE_CACHE to a folder that can be written.",
        )
    return Path(os.path.abspath(path), "renku-store")
