"""Which older layouts there are, and which movies a folder holds in one of them."""

from __future__ import annotations

import stat
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
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


_NAME_ONE: Final = "Name the folder of a movie, or one of such folders."


@dataclass(frozen=True, slots=True)
class OldPlace:
    """The folder of a movie in an older layout, and how it is read."""

    path: Path
    read: Read


def places_in(source: Path) -> tuple[bool, list[OldPlace]]:
    """The movies in a folder, by name, and whether it is one itself.

    A folder in it that cannot be read may be a movie, and is among them. Raises `NotFoundError` where there is no such
    folder, and `MigrationError` where it cannot be read, is a file, holds no movie, or is one of this project already.
    """
    try:
        is_folder = stat.S_ISDIR(source.stat().st_mode)
        folders = sorted(path for path in source.iterdir() if _is_folder(path)) if is_folder else []
    except (FileNotFoundError, NotADirectoryError) as error:
        raise NotFoundError(f"There is no folder {source}.", hint=_NAME_ONE) from error
    except OSError as error:
        raise MigrationError(
            f"The folder {source} cannot be read: {error.strerror}.", hint="Check its mode, and those above it."
        ) from error
    if not is_folder:
        raise MigrationError(f"{source} is a file.", hint=_NAME_ONE)
    own = _place(source)
    if own is not None:
        return True, [own]
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
        hint=_NAME_ONE,
    )


def _place(path: Path) -> OldPlace | None:
    if _is_ours(path):
        return None
    try:
        with OldFolder(path) as folder:
            return next((OldPlace(path, read) for is_one, read in _LAYOUTS if is_one(folder)), None)
    except MigrationError as error:
        return OldPlace(path, partial(_raise, error))


def _raise(error: MigrationError, _folder: OldFolder) -> OldMovie:
    raise error


def _is_folder(path: Path) -> bool:
    try:
        return stat.S_ISDIR(path.stat().st_mode)
    except OSError:  # a link to nothing, or to where nobody may look
        return False


def _is_ours(path: Path) -> bool:
    try:
        document = orjson.loads((path / "format.json").read_bytes())
    except (OSError, orjson.JSONDecodeError):
        return False
    return isinstance(document, dict) and document.get("hash") == "blake3"
