"""Which older layouts there are, and which movies a folder holds in one of them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import orjson

from renku_store.errors import MigrationError, NotFoundError
from renku_store.migration.described import OldMovie
from renku_store.migration.folder import OldFolder
from renku_store.migration.manifest_logs import is_manifest_logs, read_manifest_logs
from renku_store.migration.revision_folders import is_revision_folders, read_revision_folders

Read = Callable[[OldFolder], OldMovie]
_LAYOUTS: Final = ((is_revision_folders, read_revision_folders), (is_manifest_logs, read_manifest_logs))


@dataclass(frozen=True, slots=True)
class OldPlace:
    """The folder of a movie in an older layout, and how it is read."""

    path: Path
    read: Read


def places_in(source: Path) -> tuple[bool, list[OldPlace]]:
    """The movies in a folder, by name, and whether it is one itself.

    Raises `NotFoundError` where there is no such folder, and `MigrationError` where it is a file, holds no movie, or is
    one of this project already.
    """
    if not source.exists():
        raise NotFoundError(f"There is no folder {source}.", hint="Name the folder of a movie, or one of such folders.")
    if not source.is_dir():
        raise MigrationError(f"{source} is a file.", hint="Name the folder of a movie, or one of such folders.")
    own = _place(source)
    if own is not None:
        return True, [own]
    try:
        folders = sorted(path for path in source.iterdir() if path.is_dir())
    except OSError as error:
        raise MigrationError(
            f"The folder {source} cannot be read: {error.strerror}.", hint="Check its mode."
        ) from error
    found = [place for path in folders if (place := _place(path)) is not None]
    if found:
        return False, found
    if any(_is_ours(path) for path in (source, *folders)):
        raise MigrationError(
            f"The movies in {source} have this project's layout already.",
            hint="`renku-store copy SRC DST` brings them to another build root.",
        )
    raise MigrationError(
        f"There is no movie in {source}: neither `dag/` with `assets/`, nor `manifests/` with `events/`.",
        hint="Name the folder of a movie, or one of such folders.",
    )


def _place(path: Path) -> OldPlace | None:
    if _is_ours(path):
        return None
    try:
        with OldFolder(path) as folder:
            return next((OldPlace(path, read) for is_one, read in _LAYOUTS if is_one(folder)), None)
    except MigrationError:
        return None


def _is_ours(path: Path) -> bool:
    try:
        document = orjson.loads((path / "format.json").read_bytes())
    except (OSError, orjson.JSONDecodeError):
        return False
    return isinstance(document, dict) and document.get("hash") == "blake3"
