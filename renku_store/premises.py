"""Where movies may not be written into: the folders of other movies, and build roots.

A movie is self-contained: what lies in its folder, and is none of its objects, would go along with every copy of that
folder, and be listed and checked by nobody.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Final

import orjson

from renku_store.drivers.base import Driver, is_near
from renku_store.encoding import manifest_path
from renku_store.errors import BlobMissingError, InvalidValueError
from renku_store.records.ids import revision_name

FORMAT: Final = "format.json"
"""What marks a movie, in its folder; one that has lost it still has its first revision, or a stub of that."""
_SAID_MAX_BYTES: Final = 4_096


def movie_around(folder: Path) -> Path | None:
    """The movie that a folder of this machine is or lies in, at any depth and by any link; None for none."""
    place = folder.resolve()
    return next((above for above in (place, *place.parents) if _is_movie(above)), None)


def holds_movies(folder: Path) -> bool:
    """Whether a folder of this machine is a build root; one that nobody may look into is none."""
    try:
        with os.scandir(folder) as entries:
            return any(_is_movie(Path(entry.path)) for entry in entries if entry.is_dir())
    except OSError:
        return False


def check_root(driver: Driver) -> None:
    """Raise `InvalidValueError` for a build root that is a movie, or lies in one where that can be seen."""
    folder = driver.workspace()
    if folder is not None and is_near(driver):
        around = movie_around(folder)
        shown = None if around is None else str(around)
    else:
        try:
            shown = driver.url if _says_movie(driver.read(FORMAT, _SAID_MAX_BYTES)) else None
        except BlobMissingError:
            shown = None
    if shown is not None:
        raise InvalidValueError(
            f"{driver.url} is no place for movies: {shown} is a movie itself.", hint="Name the build root above it."
        )


def _is_movie(folder: Path) -> bool:
    try:
        with (folder / FORMAT).open("rb") as file:
            if _says_movie(file.read(_SAID_MAX_BYTES)):
                return True
    except OSError:
        pass
    return os.path.lexists(folder / manifest_path(revision_name(1)))


def _says_movie(data: bytes) -> bool:
    """Whether a file of that name is a movie's, and not somebody's who calls something else so."""
    try:
        document = orjson.loads(data)
    except orjson.JSONDecodeError:
        return False
    return isinstance(document, dict) and isinstance(document.get("format"), int) and "hash" in document
