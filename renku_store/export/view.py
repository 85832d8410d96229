"""The view of a movie: a folder that always shows its newest revision.

An export in all respects, but for two: which revision it shows is decided when nobody else writes there, so that of two
who update it the later one finds the newer revision; and it belongs to one movie of one root.
"""

from __future__ import annotations

import os

from renku_store.drivers.base import identity_of
from renku_store.errors import NotFoundError
from renku_store.export.folder import ExportReport, export_into, local_folder
from renku_store.movie import Movie


def update_view(movie: Movie, folder: str | os.PathLike[str], *, link: bool = False) -> ExportReport | None:
    """Let `folder`/<movie id> show the newest revision, writing only what differs; None where there is none yet.

    To be called after each publication, and at any other time; whatever a killed update left is put right. Raises what
    `export_revision` raises, and `InvalidValueError` where the folder is the view of a movie of another root.
    """
    target = local_folder(folder) / movie.id
    try:
        movie.manifests.number("latest")
    except NotFoundError:
        return None
    return export_into(
        movie, target, lambda: movie.manifests.load_with_hash("latest"), link=link, view_of=identity_of(movie.driver)
    )
