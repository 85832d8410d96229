"""Where this machine keeps what belongs to no root: databases and blobs of remote ones, limits of providers."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

from renku_store.drivers.urls import checked_path


def cache_folder(cache: str | os.PathLike[str] | None, environment: Mapping[str, str]) -> Path:
    """`renku-store` in `cache`, else in `$RENKU_STORE_CACHE`, `$XDG_CACHE_HOME` or `~/.cache`; not made."""
    kept = cache or environment.get("RENKU_STORE_CACHE") or environment.get("XDG_CACHE_HOME") or "~/.cache"
    return Path(os.path.abspath(os.path.expanduser(checked_path(os.fspath(kept)))), "renku-store")
